{{- define "tether.labels" -}}
app.kubernetes.io/name: tether
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "tether.selector" -}}
app.kubernetes.io/name: tether
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "tether.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* What all pods share, as fields of a pod spec; of a dict with root, program (web, worker or migrate), and whether it writes pre-notifications. */}}
{{- define "tether.pod" -}}
{{- $program := .program }}
{{- $writes := .writes }}
{{- with .root -}}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: { type: RuntimeDefault }
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: temp
    emptyDir: { sizeLimit: 2Gi }
  {{- if and $writes .Values.preNotifications.claim }}
  - name: pre-notifications
    persistentVolumeClaim: { claimName: {{ .Values.preNotifications.claim }} }
  {{- end }}
  - name: secrets
    secret:
      secretName: {{ .Values.secretName }}
      defaultMode: 0440
      # A pod gets no secret that its program does not need; above all not the owner's password.
      items:
        {{- if eq $program "migrate" }}
        - { key: {{ .Values.database.ownerKey }}, path: DATABASE_URL }
        {{- if .Values.database.createRoles }}
        - { key: TETHER_WEB_ROLE_PASSWORD, path: TETHER_WEB_ROLE_PASSWORD }
        - { key: TETHER_WORKER_ROLE_PASSWORD, path: TETHER_WORKER_ROLE_PASSWORD }
        {{- end }}
        {{- else }}
        {{- $own := ternary .Values.database.webKey .Values.database.workerKey (eq $program "web") }}
        {{- $role := ternary .Values.database.webRole .Values.database.workerRole (eq $program "web") }}
        - { key: {{ ternary $own .Values.database.ownerKey (ne $role "") }}, path: DATABASE_URL }
        {{- range .Values.secretSettings }}
        - { key: {{ . }}, path: {{ . }} }
        {{- end }}
        {{- end }}
{{- end }}
{{- end }}

{{/* What all containers share. It ends with the mounts, for one that needs another. */}}
{{- define "tether.container" -}}
image: {{ include "tether.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
envFrom:
  - configMapRef: { name: {{ .Release.Name }}-settings }
volumeMounts:
  - { name: temp, mountPath: /tmp }
  - { name: secrets, mountPath: /run/secrets/tether, readOnly: true }
{{- end }}
