{{- define "vgg-serve.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of every object: the release's, with the chart's behind it unless it is in it. */}}
{{- define "vgg-serve.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "vgg-serve.selectorLabels" -}}
app.kubernetes.io/name: {{ include "vgg-serve.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "vgg-serve.labels" -}}
{{ include "vgg-serve.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "vgg-serve.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "vgg-serve.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "vgg-serve.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default (printf "%s%s" .Chart.AppVersion (ternary "-cuda" "" .Values.gpu.enabled)) .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "vgg-serve.claim" -}}
{{- default (printf "%s-models" (include "vgg-serve.fullname" .)) .Values.persistence.existingClaim -}}
{{- end -}}

{{/* "true" if one node alone can mount the weights: then no second pod may start beside the first. */}}
{{- define "vgg-serve.alone" -}}
{{- if and .Values.persistence.enabled (not .Values.persistence.existingClaim) -}}
{{- if not (or (has "ReadWriteMany" .Values.persistence.accessModes) (has "ReadOnlyMany" .Values.persistence.accessModes)) -}}
true
{{- end -}}
{{- end -}}
{{- end -}}

{{/* All settings: the chart's own, and those of the values. */}}
{{- define "vgg-serve.settings" -}}
{{- $own := dict "VGG_HOST" "*" "VGG_PORT" "8000" "VGG_MODEL_DIR" "/models" "VGG_CACHE_DIR" "/cache" -}}
{{- $_ := set $own "VGG_DEVICE" (ternary "cuda" "cpu" .Values.gpu.enabled) -}}
{{- if .Values.auth.existingSecret -}}
{{- $_ := set $own "VGG_API_KEYS_FILE" (printf "/keys/%s" .Values.auth.secretKey) -}}
{{- end -}}
{{- if .Values.grpc.enabled -}}
{{- $_ := set $own "VGG_GRPC_PORT" (toString .Values.grpc.port) -}}
{{- end -}}
{{- if and .Values.ingress.enabled (ne .Values.ingress.path "/") -}}
{{- $_ := set $own "VGG_ROOT_PATH" (trimSuffix "/" .Values.ingress.path) -}}
{{- end -}}
{{- range $name, $value := .Values.settings -}}
{{- if not (kindIs "invalid" $value) -}}
{{- /* A large number of YAML would be written as 2.5e+07. */ -}}
{{- $text := toString $value -}}
{{- if kindIs "float64" $value -}}
{{- $text = ternary (toString (int64 $value)) (toString $value) (eq (floor $value) $value) -}}
{{- end -}}
{{- $_ := set $own $name $text -}}
{{- end -}}
{{- end -}}
{{- toYaml $own -}}
{{- end -}}

{{/* Seconds of a drain and of the last run: no pod is killed before it has answered. */}}
{{- define "vgg-serve.gracePeriod" -}}
{{- $settings := include "vgg-serve.settings" . | fromYaml -}}
{{- $delay := float64 (default 1000 (get $settings "VGG_DRAIN_DELAY_MS")) -}}
{{- $timeout := float64 (default 15000 (get $settings "VGG_DRAIN_TIMEOUT_MS")) -}}
{{- add (ceil (divf (addf $delay $timeout) 1000)) 10 -}}
{{- end -}}

{{/* The labels of this release's metrics in Prometheus. */}}
{{- define "vgg-serve.of" -}}
job="{{ include "vgg-serve.name" . }}", namespace="{{ .Release.Namespace }}", service="{{ include "vgg-serve.fullname" . }}"
{{- end -}}

{{/* The predicted wait, in seconds, at which there are enough replicas. */}}
{{- define "vgg-serve.wait" -}}
{{- $settings := include "vgg-serve.settings" . | fromYaml -}}
{{- mulf (divf (float64 (default 2000 (get $settings "VGG_QUEUE_BUDGET_MS"))) 1000) .Values.autoscaling.waitShare -}}
{{- end -}}

{{/* Variables beside the settings. */}}
{{- define "vgg-serve.env" -}}
{{- if or .Values.pull.existingSecret .Values.extraEnv -}}
env:
  {{- with .Values.pull.existingSecret }}
  - name: HF_TOKEN
    valueFrom:
      secretKeyRef:
        name: {{ . }}
        key: {{ $.Values.pull.secretKey }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* The resources of the service, with its GPUs. */}}
{{- define "vgg-serve.resources" -}}
{{- $resources := deepCopy (default dict .Values.resources) -}}
{{- if .Values.gpu.enabled -}}
{{- $limits := merge (dict .Values.gpu.resource .Values.gpu.count) (default dict $resources.limits) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* What was asked for over what was answered, while more than one of twenty photos is refused; otherwise 0. */}}
{{- define "vgg-serve.load" -}}
{{- $of := include "vgg-serve.of" . -}}
{{- $refused := printf "sum(rate(vgg_rejected_total{%s, reason=~\"overloaded|uploads-full\"}[1m]))" $of -}}
{{- $answered := printf "sum(rate(vgg_requests_total{%s, code=\"200\"}[1m]))" $of -}}
(clamp_max(1 + {{ $refused }} / {{ $answered }}, 10) > 1.05) or vector(0)
{{- end -}}

{{/* Up at once and by double, down slowly: a new replica takes a minute to become ready. */}}
{{- define "vgg-serve.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - type: Percent
      value: 100
      periodSeconds: 60
    - type: Pods
      value: 4
      periodSeconds: 60
scaleDown:
  stabilizationWindowSeconds: 300
  policies:
    - type: Percent
      value: 25
      periodSeconds: 60
{{- end -}}

{{- define "vgg-serve.authenticationRef" -}}
{{- with .Values.autoscaling.prometheus.authenticationRef -}}
authenticationRef:
  name: {{ . }}
{{- end -}}
{{- end -}}
