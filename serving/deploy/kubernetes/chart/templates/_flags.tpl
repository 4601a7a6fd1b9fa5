{{- /* The flags of each server. Those of TensorFlow Serving are explained in serving/deploy/compose.yaml. */ -}}
{{- define "bertbundle.flags.models" -}}
- --model_config_file=/config/models.config
- --model_config_file_poll_wait_seconds=30
- --allow_version_labels_for_unavailable_models=true
- --file_system_poll_wait_seconds=5
- --monitoring_config_file=/config/monitoring.config
- --enable_grpc_healthcheck_service=true
- --grpc_channel_arguments=grpc.max_connection_age_ms={{ mul .Values.maxConnectionAgeSeconds 1000 }}
{{- end }}

{{- define "bertbundle.flags.embedded" -}}
- --host=0.0.0.0
{{ include "bertbundle.flags.models" . }}
- --lame_duck_seconds={{ .Values.lameDuckSeconds }}
- --log_format=json
{{- end }}

{{- define "bertbundle.flags.tensorflow-serving" -}}
{{ include "bertbundle.flags.models" . }}
- --enable_batching=true
- --batching_parameters_file=/config/batching.config
- --grpc_max_threads=64
# TensorFlow would count the cores of the node.
- --tensorflow_intra_op_parallelism={{ .Values.cores }}
- --tensorflow_inter_op_parallelism={{ .Values.cores }}
{{- end }}

{{- define "bertbundle.flags.gateway" -}}
- --host=0.0.0.0
- --server={{ .Values.upstream }}
- --log_format=json
{{- end }}

{{- define "bertbundle.command" -}}
{{- get (dict "embedded" "bertbundle-serve" "tensorflow-serving" "/usr/bin/tensorflow_model_server" "gateway" "bertbundle-gateway") .Values.server -}}
{{- end }}
