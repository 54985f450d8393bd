{{- define "hearth.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "hearth.labels" -}}
app.kubernetes.io/name: hearth
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- /* Every pod of this release: KubeRay labels the pods it makes with what their template says, and these. */ -}}
{{- define "hearth.pods" -}}
app.kubernetes.io/name: hearth
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "hearth.head" -}}
{{ include "hearth.pods" . }}
hearth/role: head
{{- end -}}

{{- define "hearth.image" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{- define "hearth.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "hearth.podSecurity" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* What every Ray process has to find in its environment before it starts. */ -}}
{{- define "hearth.rayEnvironment" -}}
- {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
- {name: RAY_AUTH_MODE, value: token}
- name: RAY_AUTH_TOKEN
  valueFrom: {secretKeyRef: {name: {{ .Values.ray.tokenSecret | quote }}, key: {{ .Values.ray.tokenKey | quote }}}}
- {name: HEARTH_SHARD_HOST, value: $(POD_IP)}
{{- if .Values.ray.tlsSecret }}
- {name: RAY_USE_TLS, value: "1"}
- {name: RAY_TLS_SERVER_CERT, value: /etc/hearth/ray-tls/tls.crt}
- {name: RAY_TLS_SERVER_KEY, value: /etc/hearth/ray-tls/tls.key}
- {name: RAY_TLS_CA_CERT, value: /etc/hearth/ray-tls/ca.crt}
{{- end }}
- {name: OMP_NUM_THREADS, value: "1"}
- {name: NUMBA_NUM_THREADS, value: "1"}
- {name: RAY_memory_monitor_refresh_ms, value: "0"}
- {name: RAY_raylet_start_wait_time_s, value: "120"}
- {name: RAY_health_check_period_ms, value: "500"}
- {name: RAY_health_check_timeout_ms, value: "2000"}
- {name: RAY_health_check_failure_threshold, value: "4"}
{{- range $name, $value := .Files.Get "files/ray-environment.yaml" | fromYaml }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- /* Ray's folder, its shared memory, compiled kernels, the data directory, what all nodes see, and certificates. */ -}}
{{- define "hearth.mounts" -}}
- {name: temporary, mountPath: /tmp}
- {name: shared-memory, mountPath: /dev/shm}
- {name: kernels, mountPath: /var/cache/hearth}
- {name: data, mountPath: /data}
- {name: shared, mountPath: /shared}
{{- if .Values.tls.secret }}
- {name: tls, mountPath: /etc/hearth/tls, readOnly: true}
{{- end }}
{{- if .Values.tls.probeSecret }}
- {name: probe-tls, mountPath: /etc/hearth/probe-tls, readOnly: true}
{{- end }}
{{- if .Values.access.secret }}
- {name: access, mountPath: /etc/hearth/access, readOnly: true}
{{- end }}
{{- if .Values.ray.tlsSecret }}
- {name: ray-tls, mountPath: /etc/hearth/ray-tls, readOnly: true}
{{- end }}
{{- end -}}

{{- define "hearth.volumes" -}}
- {name: temporary, emptyDir: {sizeLimit: {{ .Values.storage.temporary }}}}
- {name: shared-memory, emptyDir: {medium: Memory, sizeLimit: {{ .Values.storage.sharedMemory }}}}
- {name: kernels, emptyDir: {}}
- {name: shared, persistentVolumeClaim: {claimName: {{ include "hearth.name" . }}-shared}}
{{- if .Values.tls.secret }}
- {name: tls, secret: {secretName: {{ .Values.tls.secret | quote }}, defaultMode: 0440}}
{{- end }}
{{- if .Values.tls.probeSecret }}
- {name: probe-tls, secret: {secretName: {{ .Values.tls.probeSecret | quote }}, defaultMode: 0440}}
{{- end }}
{{- if .Values.access.secret }}
- {name: access, secret: {secretName: {{ .Values.access.secret | quote }}, defaultMode: 0440}}
{{- end }}
{{- if .Values.ray.tlsSecret }}
- {name: ray-tls, secret: {secretName: {{ .Values.ray.tlsSecret | quote }}, defaultMode: 0440}}
{{- end }}
{{- end -}}
