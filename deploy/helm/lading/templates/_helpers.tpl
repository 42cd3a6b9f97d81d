{{- define "lading.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "lading.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "lading.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "lading.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "lading.selector" -}}
app.kubernetes.io/name: {{ include "lading.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: registry
{{- end -}}

{{- define "lading.labels" -}}
{{ include "lading.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "lading.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "lading.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "lading.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "lading.hasDatabase" -}}
{{- if or .Values.database.url .Values.database.existingSecret -}}yes{{- end -}}
{{- end -}}

{{- define "lading.hasManyPods" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) -}}yes{{- end -}}
{{- end -}}

{{/* An object store, once named, is in place of the volume. */}}
{{- define "lading.hasObjectStore" -}}
{{- $storage := .Values.config.storage | default dict -}}
{{- if or $storage.s3 $storage.gcs $storage.azure -}}yes{{- end -}}
{{- end -}}

{{/* What cannot work is said before anything is changed. */}}
{{- define "lading.check" -}}
{{- $files := not (include "lading.hasObjectStore" .) -}}
{{- if and (include "lading.hasManyPods" .) (not (include "lading.hasDatabase" .)) -}}
{{- fail "several pods share their index: set database.url or database.existingSecret, or replicas: 1" -}}
{{- end -}}
{{- if and (include "lading.hasManyPods" .) $files (not (has "ReadWriteMany" .Values.persistence.accessModes)) -}}
{{- fail "several pods share their store: set config.storage to an object store, or persistence.accessModes: [ReadWriteMany], or replicas: 1" -}}
{{- end -}}
{{- if and $files (not .Values.persistence.enabled) -}}
{{- fail "blobs in files need persistence.enabled: true; or set config.storage to an object store" -}}
{{- end -}}
{{- if and (not (include "lading.hasDatabase" .)) (not .Values.persistence.enabled) -}}
{{- fail "an index in SQLite needs persistence.enabled: true; or set database.url" -}}
{{- end -}}
{{- end -}}

{{/* config.yml: what was given, with what the chart decides laid upon it. */}}
{{- define "lading.config" -}}
{{- $debug := dict "addr" ":5001" "prometheus" (dict "enabled" .Values.metrics.enabled) -}}
{{- $http := dict "addr" ":5000" "draintimeout" (printf "%ds" (int .Values.drainSeconds)) "debug" $debug -}}
{{- $own := dict "http" $http "server" (dict "workers" (int .Values.workers)) -}}
{{- if .Values.htpasswd.existingSecret -}}
{{- $_ := set $own "auth" (dict "htpasswd" (dict "realm" .Values.htpasswd.realm "path" "/etc/lading-htpasswd/htpasswd")) -}}
{{- end -}}
{{- $all := mergeOverwrite (deepCopy .Values.config) $own -}}
{{- if include "lading.hasObjectStore" . -}}
{{- $_ := set $all "storage" (omit $all.storage "filesystem") -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{- define "lading.env" -}}
{{- if include "lading.hasDatabase" . }}
- name: REGISTRY_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.existingSecret | default (printf "%s-database" (include "lading.fullname" .)) }}
      key: {{ if .Values.database.existingSecret }}{{ .Values.database.existingSecretKey }}{{ else }}url{{ end }}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}
