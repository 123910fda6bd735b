{{- /* The user that the operator is to the API server. */ -}}
{{- define "agentsession.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ .Release.Name }}-operator
{{- end }}

{{- /* The begin of a ValidatingAdmissionPolicy; called with (list . "runners"). */ -}}
{{- define "agentsession.policy" -}}
{{- $root := first . -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ $root.Release.Name }}-{{ last . }}
  labels:
    {{- include "agentsession.labels" $root | nindent 4 }}
{{- end }}

{{- /* What puts a policy into force, everywhere; called with (list . "runners"). */ -}}
{{- define "agentsession.policyBinding" -}}
{{- $root := first . -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $root.Release.Name }}-{{ last . }}
  labels:
    {{- include "agentsession.labels" $root | nindent 4 }}
spec:
  policyName: {{ $root.Release.Name }}-{{ last . }}
  validationActions: [Deny]
{{- end }}

{{- /* A rule of policies on what the operator creates: only where the installer wants runners. */ -}}
{{- define "agentsession.inRunnersNamespace" -}}
- expression: >-
    request.operation != 'CREATE' ||
    namespaceObject.metadata.?labels[?'agentsession.io/sessions'].orValue('') == 'allowed'
  reason: Forbidden
  messageExpression: >-
    'namespace ' + request.namespace + ' is not one for sessions: an administrator allows them with ' +
    'kubectl label namespace ' + request.namespace + ' agentsession.io/sessions=allowed'
{{- end }}

{{- /* The images and RuntimeClasses of the installer, the default first, as JSON, which CEL reads as it is. */ -}}
{{- define "agentsession.images" -}}
{{- prepend .Values.runner.images (include "agentsession.image" (list . .Values.runner.image)) | toRawJson -}}
{{- end }}

{{- define "agentsession.runtimeClasses" -}}
{{- prepend .Values.runner.runtimeClassNames .Values.runner.runtimeClassName | compact | toRawJson -}}
{{- end }}

{{- /* A variable of policies: whether the installer lets AgentPools of the namespace be shared. */ -}}
{{- define "agentsession.shared" -}}
- name: shared
  expression: request.namespace in {{ toRawJson .Values.pools.sharedNamespaces }}
{{- end }}
