{{- /*
What operator and egress plane have in common: Deployment, PodDisruptionBudget, ServiceAccount. Called with a dict:
root, component, values (replicas, resources), port (name, number; beside http), grace (seconds).
*/ -}}
{{- define "agentsession.component" -}}
{{- $root := .root -}}
{{- $component := .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $root.Release.Name }}-{{ $component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "agentsession.componentLabels" (list $root $component) | nindent 4 }}
spec:
  replicas: {{ .values.replicas }}
  selector:
    matchLabels:
      {{- include "agentsession.selector" (list $root $component) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "agentsession.componentLabels" (list $root $component) | nindent 8 }}
      annotations:
        checksum/installation: {{ include "agentsession.installation" $root | sha256sum }}
    spec:
      serviceAccountName: {{ $root.Release.Name }}-{{ $component }}
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ .grace }}
      securityContext:
        runAsNonRoot: true
        seccompProfile:
          type: RuntimeDefault
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "agentsession.selector" (list $root $component) | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
      containers:
        - name: {{ $component }}
          image: {{ include "agentsession.image" (list $root $root.Values.image) }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [{{ $component }}, --config, /etc/agentsession/installation.yaml]
          ports:
            - name: http
              containerPort: 8081
            - name: {{ .port.name }}
              containerPort: {{ .port.number }}
          livenessProbe:
            httpGet:
              path: /healthz
              port: http
            initialDelaySeconds: 10
            periodSeconds: 10
            timeoutSeconds: 10
            failureThreshold: 6
          readinessProbe:
            httpGet:
              path: /readyz
              port: http
            periodSeconds: 2
            timeoutSeconds: 2
          resources:
            {{- toYaml .values.resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            capabilities:
              drop: [ALL]
            readOnlyRootFilesystem: true
          volumeMounts:
            - name: installation
              mountPath: /etc/agentsession
              readOnly: true
            - name: tmp
              mountPath: /tmp
      volumes:
        - name: installation
          configMap:
            name: {{ $root.Release.Name }}-installation
        - name: tmp
          emptyDir:
            sizeLimit: 64Mi
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $root.Release.Name }}-{{ $component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "agentsession.componentLabels" (list $root $component) | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "agentsession.selector" (list $root $component) | nindent 6 }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $root.Release.Name }}-{{ $component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "agentsession.componentLabels" (list $root $component) | nindent 4 }}
automountServiceAccountToken: true
{{- end }}
