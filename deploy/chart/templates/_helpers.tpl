{{- /* This chart keeps to the part of the template language that `heddle install` reads (docs/adr/0017). */ -}}

{{- /* The revision, which is the name of nearly everything: heddle, or heddle-canary. */ -}}
{{- define "heddle.name" -}}
{{- if or (empty .Values.revision) (eq .Values.revision "heddle") -}}
heddle
{{- else if hasPrefix "heddle-" .Values.revision -}}
{{ .Values.revision }}
{{- else -}}
heddle-{{ .Values.revision }}
{{- end -}}
{{- end -}}

{{- /* The names by which the control plane looks for its webhook configurations (heddle/cluster/webhook_bundle.py). */ -}}
{{- define "heddle.injector" -}}
heddle-injector{{ include "heddle.suffix" . }}
{{- end -}}
{{- define "heddle.validator" -}}
heddle-validator{{ include "heddle.suffix" . }}
{{- end -}}
{{- define "heddle.suffix" -}}
{{- if ne (include "heddle.name" .) "heddle" -}}
-{{ include "heddle.name" . }}
{{- end -}}
{{- end -}}

{{- define "heddle.isDefault" -}}
{{- if eq (toString .Values.isDefault) "auto" -}}
{{ eq (include "heddle.name" .) "heddle" }}
{{- else -}}
{{ .Values.isDefault }}
{{- end -}}
{{- end -}}

{{- /* What selects its pods; this must not change in an upgrade. */ -}}
{{- define "heddle.selector" -}}
app.kubernetes.io/name: heddle
heddle.io/revision: {{ include "heddle.name" . }}
{{- end -}}

{{- define "heddle.labels" -}}
{{ include "heddle.selector" . }}
app.kubernetes.io/part-of: heddle
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "heddle.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "heddle.host" -}}
{{ include "heddle.name" . }}.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "heddle.meshConfigNamespace" -}}
{{ default .Release.Namespace .Values.meshConfig.namespace }}
{{- end -}}

{{- /* The kinds of Istio's that Heddle reads, here alone: its rights and its validation follow. */ -}}
{{- define "heddle.networkingKinds" -}}
[destinationrules, gateways, sidecars, virtualservices]
{{- end -}}
{{- define "heddle.networkingStatuses" -}}
[destinationrules/status, gateways/status, sidecars/status, virtualservices/status]
{{- end -}}
{{- define "heddle.securityKinds" -}}
[authorizationpolicies, peerauthentications]
{{- end -}}
{{- define "heddle.securityStatuses" -}}
[authorizationpolicies/status, peerauthentications/status]
{{- end -}}

{{- define "heddle.settings" -}}
namespace: {{ .Release.Namespace | quote }}
revision: {{ include "heddle.name" . }}
injection:
  {{- if ne (toString .Values.isDefault) "auto" }}
  isDefault: {{ .Values.isDefault }}
  {{- end }}
  takeOverIstioInjection: {{ .Values.injection.takeOverIstioInjection }}
  excludedNamespaces:
    {{- range .Values.injection.excludedNamespaces }}
    - {{ . | quote }}
    {{- else }} []
    {{- end }}
  proxyImage: {{ .Values.injection.proxyImage | quote }}
  initImage: {{ default (include "heddle.image" .) .Values.injection.initImage | quote }}
  imagePullPolicy: {{ .Values.injection.imagePullPolicy }}
  xdsAddress: {{ include "heddle.host" . }}:15012
  serverName: {{ include "heddle.host" . }}
  rootConfigMap: heddle-root
  tokenLife: {{ .Values.injection.tokenLife | quote }}
  resources:
    {{- range $name, $amount := .Values.injection.resources }}
    {{- if $amount }}
    {{ $name }}: {{ $amount | quote }}
    {{- end }}
    {{- else }} {}
    {{- end }}
  concurrency: {{ .Values.injection.concurrency }}
  logLevel: {{ .Values.injection.logLevel }}
  drain: {{ .Values.injection.drain | quote }}
  ipFamily: {{ .Values.injection.ipFamily }}
validation:
  onError: {{ .Values.validation.onError }}
{{- end -}}
