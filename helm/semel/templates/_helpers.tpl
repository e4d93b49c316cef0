{{/* Names and labels. */}}

{{- define "semel.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters: "-0", "-headless", "-raise-record-format" and the like come behind it. */}}
{{- define "semel.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "semel.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "semel.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "semel.instanceLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Of everything that runs: servers, Jobs, the test. */}}
{{- define "semel.instanceLabels" -}}
app.kubernetes.io/name: {{ include "semel.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Of the servers. Never to be changed: selectors cannot be. */}}
{{- define "semel.serverLabels" -}}
{{ include "semel.instanceLabels" . }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "semel.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "semel.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "semel.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* How callers inside the cluster reach the servers. */}}
{{- define "semel.url" -}}
{{- $scheme := ternary "https" "http" (eq (include "semel.encrypts" .) "true") -}}
{{- printf "%s://%s.%s.svc:%v" $scheme (include "semel.fullname" .) .Release.Namespace .Values.service.port -}}
{{- end -}}

{{/* "true" where it is so, else nothing. */}}
{{- define "semel.encrypts" -}}
{{- if or .Values.tls.existingSecret .Values.tls.certManager.enabled -}}true{{- end -}}
{{- end -}}

{{- define "semel.authenticates" -}}
{{- if or (include "semel.credentialsSecret" .) .Values.auth.jwt.existingConfigMap .Values.tls.clientCa.existingSecret -}}true{{- end -}}
{{- end -}}

{{- define "semel.hasPolicy" -}}
{{- if or .Values.policy.existingConfigMap .Values.policy.defaults .Values.policy.rules -}}true{{- end -}}
{{- end -}}

{{/* Names of what is mounted, whoever made it. */}}
{{- define "semel.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{- printf "%s-tls" (include "semel.fullname" .) -}}
{{- else -}}
{{- .Values.tls.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "semel.credentialsSecret" -}}
{{- if .Values.auth.credentials.create -}}
{{- printf "%s-credentials" (include "semel.fullname" .) -}}
{{- else -}}
{{- .Values.auth.credentials.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "semel.policyConfigMap" -}}
{{- default (printf "%s-policy" (include "semel.fullname" .)) .Values.policy.existingConfigMap -}}
{{- end -}}

{{/* How many servers there are to be where no autoscaler says it. */}}
{{- define "semel.replicas" -}}
{{- if kindIs "invalid" .Values.replicaCount -}}
{{- ternary 1 3 (eq .Values.mode "embedded") -}}
{{- else -}}
{{- .Values.replicaCount -}}
{{- end -}}
{{- end -}}

{{/* How many servers there are at least. */}}
{{- define "semel.leastReplicas" -}}
{{- if .Values.autoscaling.enabled -}}
{{- .Values.autoscaling.minReplicas -}}
{{- else -}}
{{- include "semel.replicas" . -}}
{{- end -}}
{{- end -}}

{{- define "semel.gracePeriod" -}}
{{- $pause := ternary 0 (int .Values.shutdown.preStopSeconds) (eq .Values.mode "embedded") -}}
{{- add $pause .Values.shutdown.drainSeconds 10 -}}
{{- end -}}
