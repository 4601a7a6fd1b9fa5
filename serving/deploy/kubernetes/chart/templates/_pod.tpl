{{- define "bertbundle.probes" -}}
{{- $tensorflow := eq .Values.server "tensorflow-serving" -}}
startupProbe:
  {{- if eq .Values.server "gateway" }}
  # Not its readiness, which is that of the servers: to restart the gateway does not help them.
  httpGet:
    path: /healthz
    port: rest
  {{- else }}
  {{- include "bertbundle.ready" . | nindent 2 }}
  {{- end }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ div .Values.startupSeconds 5 }}
readinessProbe:
  {{- include "bertbundle.ready" . | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
livenessProbe:
  {{- if $tensorflow }}
  tcpSocket:
    port: grpc
  {{- else }}
  httpGet:
    path: /healthz
    port: rest
  {{- end }}
  periodSeconds: 10
  timeoutSeconds: 10
  failureThreshold: 6
{{- if ne .Values.server "embedded" }}
lifecycle:
  {{- if $tensorflow }}
  # TensorFlow Serving drops the requests in flight when it receives SIGTERM, which follows this.
  {{- else }}
  # The gateway refuses new connections when it receives SIGTERM, which follows this.
  {{- end }}
  preStop:
    exec:
      command: [sleep, "{{ .Values.lameDuckSeconds }}"]
{{- end }}
{{- end }}

{{- define "bertbundle.ready" -}}
{{- if eq .Values.server "tensorflow-serving" -}}
# It has no address that names no model; its ports open when the models are loaded.
grpc:
  port: {{ .Values.ports.grpc }}
{{- else -}}
httpGet:
  path: /readyz
  port: rest
{{- end }}
{{- end }}

{{- define "bertbundle.environment" -}}
{{- if eq .Values.server "tensorflow-serving" }}
env:
  - {name: TF_CPP_MIN_LOG_LEVEL, value: "1"}
  - {name: MALLOC_ARENA_MAX, value: "1"}
  - {name: MALLOC_TRIM_THRESHOLD_, value: "100000"}
  - {name: MALLOC_MMAP_THRESHOLD_, value: "100000"}
{{- end }}
{{- end }}

{{- define "bertbundle.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if ne .Values.server "gateway" }}
# The directory, not its files: only then does a change of the ConfigMap arrive.
- name: config
  mountPath: /config
  readOnly: true
{{- if eq .Values.bundles.from "image" }}
{{- range .Values.models }}
- name: model-{{ .name }}
  mountPath: /models/{{ .name }}
  subPath: models
  readOnly: true
{{- end }}
{{- else }}
- name: models
  mountPath: /models
  readOnly: true
{{- end }}
{{- end }}
{{- end }}

{{- define "bertbundle.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- if ne .Values.server "gateway" }}
- name: config
  configMap:
    name: {{ .Release.Name }}
{{- if eq .Values.bundles.from "claim" }}
- name: models
  persistentVolumeClaim:
    claimName: {{ .Values.bundles.claim }}
    readOnly: true
{{- else if eq .Values.bundles.from "uri" }}
- name: models
  emptyDir:
    sizeLimit: {{ .Values.bundles.sizeLimit }}
{{- else }}
{{- range .Values.models }}
- name: model-{{ .name }}
  image:
    reference: {{ .image }}
    pullPolicy: IfNotPresent
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "bertbundle.fetchers" -}}
{{- range .Values.models }}
- name: fetch-{{ .name }}
  image: {{ $.Values.fetcher.repository }}:{{ $.Values.fetcher.tag }}
  args: [{{ .uri | quote }}, /models/{{ .name }}]
  env:
    - {name: HOME, value: /tmp}
  {{- with $.Values.fetcher.secret }}
  envFrom:
    - secretRef:
        name: {{ . }}
  {{- end }}
  resources:
    requests: {cpu: "1", memory: 1Gi}
    limits: {cpu: "1", memory: 1Gi}
  securityContext:
    {{- include "bertbundle.securityContext" $ | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /models}
    - {name: tmp, mountPath: /tmp}
{{- end }}
{{- end }}
