{{/* The pod of a server; its root is where `template:` of a workload goes on. */}}
{{- define "semel.podTemplate" -}}
metadata:
  labels:
    {{- /* Without the versions of chart and release: they alone are no reason to replace a server. */}}
    {{- include "semel.serverLabels" . | nindent 4 }}
    {{- with .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: semel
    checksum/settings: {{ include "semel.settings" . | sha256sum }}
    {{- if .Values.restartOnChange }}
    checksum/policy: {{ include "semel.policy" . | sha256sum }}
    checksum/credentials: {{ include "semel.credentials" . | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "semel.podBasics" . | nindent 2 }}
  serviceAccountName: {{ include "semel.serviceAccountName" . }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and .Values.topologySpreadConstraints (eq .Values.mode "cluster") }}
  topologySpreadConstraints:
    {{- range .Values.topologySpreadConstraints }}
    - {{ toYaml . | nindent 6 | trim }}
      {{- if not (hasKey . "labelSelector") }}
      labelSelector:
        matchLabels:
          {{- include "semel.serverLabels" $ | nindent 10 }}
      {{- end }}
      {{- if not (hasKey . "matchLabelKeys") }}
      matchLabelKeys: [pod-template-hash]
      {{- end }}
    {{- end }}
  {{- end }}
  terminationGracePeriodSeconds: {{ include "semel.gracePeriod" . }}
  containers:
    - name: semel
      image: {{ include "semel.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve]
      env:
        - name: SEMEL_CONFIG
          value: /etc/semel/settings/semel.toml
        {{- with include "semel.otlpEnv" . }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: grpc
          containerPort: 7400
        - name: ops
          containerPort: 7401
      livenessProbe:
        httpGet:
          path: /livez
          port: ops
        {{- toYaml .Values.livenessProbe | nindent 8 }}
      readinessProbe:
        httpGet:
          path: /readyz
          port: ops
        {{- toYaml .Values.readinessProbe | nindent 8 }}
      {{- if and (eq .Values.mode "cluster") .Values.shutdown.preStopSeconds }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.shutdown.preStopSeconds }}
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - name: settings
          mountPath: /etc/semel/settings
          readOnly: true
        {{- with include "semel.files" (dict "root" . "of" "mounts") }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- if eq .Values.mode "embedded" }}
        - name: data
          mountPath: /var/lib/semel
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: settings
      configMap:
        name: {{ include "semel.fullname" . }}
    {{- with include "semel.files" (dict "root" . "of" "volumes") }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- if eq .Values.mode "embedded" }}
    {{- if not .Values.persistence.enabled }}
    - name: data
      emptyDir: {}
    {{- else if .Values.persistence.existingClaim }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ .Values.persistence.existingClaim }}
    {{- end }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* What every pod of the chart has: servers, Jobs, the test. */}}
{{- define "semel.podBasics" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
The files that a server reads beside its settings: as `volumes`, or as `mounts` of them. Whole directories, so that a
change reaches a server that runs; readable by its group alone.
*/}}
{{- define "semel.files" -}}
{{- $v := .root.Values -}}
{{- $secrets := dict
  "credentials" (include "semel.credentialsSecret" .root)
  "tls" (include "semel.tlsSecret" .root)
  "client-ca" $v.tls.clientCa.existingSecret
  "key-hash" $v.keyHashSecret.existingSecret
  "encryption" $v.encryption.existingSecret
-}}
{{- if eq $v.mode "cluster" -}}
{{- $_ := set $secrets "database" $v.database.existingSecret -}}
{{- $_ := set $secrets "database-tls" $v.database.tls.existingSecret -}}
{{- end -}}
{{- $configMaps := dict "jwks" $v.auth.jwt.existingConfigMap -}}
{{- if include "semel.hasPolicy" .root }}{{ $_ := set $configMaps "policy" (include "semel.policyConfigMap" .root) }}{{ end -}}
{{- include "semel.mounted" (dict "of" .of "secrets" $secrets "configMaps" $configMaps) -}}
{{- end -}}

{{- define "semel.mounted" -}}
{{- $items := list -}}
{{- $of := .of -}}
{{- range $name, $object := .configMaps }}{{ if $object -}}
{{- $volume := dict "name" $name "configMap" (dict "name" $object) -}}
{{- $items = append $items (ternary $volume (dict "name" $name "mountPath" (printf "/etc/semel/%s" $name) "readOnly" true) (eq $of "volumes")) -}}
{{- end }}{{ end -}}
{{- range $name, $object := .secrets }}{{ if $object -}}
{{- $volume := dict "name" $name "secret" (dict "secretName" $object "defaultMode" 0440) -}}
{{- $items = append $items (ternary $volume (dict "name" $name "mountPath" (printf "/etc/semel/%s" $name) "readOnly" true) (eq $of "volumes")) -}}
{{- end }}{{ end -}}
{{- if $items }}{{ toYaml $items }}{{ end -}}
{{- end -}}

{{/* The way to a collector. Without one nothing is set. */}}
{{- define "semel.otlpEnv" -}}
{{- with .Values.otlp -}}
{{- if .endpoint -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ .protocol }}
- name: OTEL_TRACES_EXPORTER
  value: {{ ternary "otlp" "none" .traces }}
- name: OTEL_METRICS_EXPORTER
  value: {{ ternary "otlp" "none" .metrics }}
- name: OTEL_RESOURCE_ATTRIBUTES
  {{- $attributes := list (printf "k8s.namespace.name=%s" $.Release.Namespace) "k8s.pod.name=$(POD_NAME)" "service.instance.id=$(POD_NAME)" }}
  {{- range $name, $value := .resourceAttributes }}{{ $attributes = append $attributes (printf "%s=%v" $name $value) }}{{ end }}
  value: {{ join "," $attributes | quote }}
{{- with .sampler }}
- name: OTEL_TRACES_SAMPLER
  value: {{ . }}
{{- end }}
{{- with .samplerArg }}
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ . | quote }}
{{- end }}
{{- if .headersSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ .headersSecret }}
      key: {{ .headersKey }}
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}
