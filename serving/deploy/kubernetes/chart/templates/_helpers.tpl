{{- define "bertbundle.selector" -}}
app.kubernetes.io/name: bertbundle
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "bertbundle.metadata" -}}
name: {{ .Release.Name }}
labels:
  {{- include "bertbundle.selector" . | nindent 2 }}
{{- end }}

{{- define "bertbundle.image" -}}
{{- $image := index .Values.images .Values.server -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "bertbundle.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
