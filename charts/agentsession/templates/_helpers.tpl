{{- /* Labels that select the pods of one component; called with (list . "operator"). */ -}}
{{- define "agentsession.selector" -}}
{{- $root := first . -}}
app.kubernetes.io/name: agentsession
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{- define "agentsession.labels" -}}
app.kubernetes.io/name: agentsession
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "agentsession.componentLabels" -}}
{{ include "agentsession.labels" (first .) }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{- /* An image reference; called with (list . .Values.image). */ -}}
{{- define "agentsession.image" -}}
{{- $root := first . -}}
{{- with last . -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}
