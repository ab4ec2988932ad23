{{- define "infobip-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- /* 50: what Kubernetes makes of it (the pods, the volume's claim, the hash of a revision) may have 63. */ -}}
{{- define "infobip-exporter.fullname" -}}
{{- $name := include "infobip-exporter.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "infobip-exporter.selector" -}}
app.kubernetes.io/name: {{ include "infobip-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "infobip-exporter.metadata" -}}
name: {{ include "infobip-exporter.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "infobip-exporter.selector" . | nindent 2 }}
  app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "infobip-exporter.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ printf "%s@%s" .repository .digest }}{{ else }}{{ printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}{{ end }}
{{- end }}
{{- end }}

{{- /* What a probe asks: `path` of `root`, or whether the port is open where a certificate is asked for. */ -}}
{{- define "infobip-exporter.probe" -}}
{{- $web := .root.Values.web -}}
{{- if $web.clientCertificates -}}
tcpSocket:
  port: metrics
{{- else -}}
httpGet:
  path: {{ if $web.passwords }}/-/healthy{{ else }}{{ .path }}{{ end }}
  port: metrics
  {{- if $web.tls }}
  scheme: HTTPS
  {{- end }}
{{- end }}
{{- end }}

{{- /* Something where the state is in PostgreSQL, else nothing. */ -}}
{{- define "infobip-exporter.postgres" -}}
{{- if hasPrefix "postgres" .Values.config.state.url }}yes{{ end }}
{{- end }}
