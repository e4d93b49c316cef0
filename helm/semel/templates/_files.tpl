{{/* The server's files, in TOML. toToml of Helm would write every number with a fraction, which the server refuses. */}}

{{- define "semel.toml.value" -}}
{{- if kindIs "string" . -}}
{{- . | toJson -}}
{{- else if kindIs "bool" . -}}
{{- . -}}
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . }}{{ $items = append $items (include "semel.toml.value" .) }}{{ end -}}
{{- printf "[%s]" (join ", " $items) -}}
{{- else if eq (float64 .) (floor .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* The values of a table, a line each; tables in it are left out. */}}
{{- define "semel.toml.lines" -}}
{{- range $key, $value := . }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ $key }} = {{ include "semel.toml.value" $value }}
{{- end }}
{{- end }}
{{- end -}}

{{/* semel.toml. Tables that both the chart and `config` have a part of are merged here. */}}
{{- define "semel.settings" -}}
{{- $config := deepCopy .Values.config -}}
{{- $top := dict "listen" "0.0.0.0:7400" "ops_listen" "0.0.0.0:7401" "insecure" true -}}
{{- $_ := set $top "store" (ternary "embedded" "scylla" (eq .Values.mode "embedded")) -}}
{{- if eq .Values.mode "embedded" }}{{ $_ := set $top "data_dir" (printf "/var/lib/semel/%s" .Values.persistence.directory) }}{{ end -}}
{{- if include "semel.hasPolicy" . }}{{ $_ := set $top "policy" (printf "/etc/semel/policy/%s" .Values.policy.key) }}{{ end -}}
{{- with .Values.keyHashSecret }}{{ if .existingSecret }}{{ $_ := set $top "key_hash_secret_file" (printf "/etc/semel/key-hash/%s" .key) }}{{ end }}{{ end -}}
{{- with .Values.encryption }}{{ if .existingSecret }}{{ $_ := set $top "encryption_key_file" (printf "/etc/semel/encryption/%s" .key) }}{{ end }}{{ end -}}
{{- $auth := dict -}}
{{- if include "semel.credentialsSecret" . }}{{ $_ := set $auth "credentials_file" (printf "/etc/semel/credentials/%s" .Values.auth.credentials.key) }}{{ end -}}
{{- with .Values.auth.trustDomain }}{{ $_ := set $auth "trust_domain" . }}{{ end -}}
{{- with .Values.auth.jwt }}{{ if .existingConfigMap -}}
{{- $_ := set $auth "jwks_file" (printf "/etc/semel/jwks/%s" .key) -}}
{{- $_ := set $auth "jwt_algorithms" (join "," .algorithms) -}}
{{- $_ := set $auth "jwt_issuer" .issuer -}}
{{- $_ := set $auth "jwt_audience" .audience -}}
{{- end }}{{ end -}}
{{- $tls := dict -}}
{{- if include "semel.encrypts" . -}}
{{- $_ := set $tls "certificate_file" "/etc/semel/tls/tls.crt" -}}
{{- $_ := set $tls "key_file" "/etc/semel/tls/tls.key" -}}
{{- end -}}
{{- with .Values.tls.clientCa }}{{ if .existingSecret }}{{ $_ := set $tls "client_ca_file" (printf "/etc/semel/client-ca/%s" .key) }}{{ end }}{{ end -}}
{{- if $tls }}{{ $_ := set $tls "client_certificates" .Values.tls.clientCertificates }}{{ end -}}
{{- $limits := dict "drain_time" (printf "%vs" .Values.shutdown.drainSeconds) -}}
{{- $scylla := dict -}}
{{- if eq .Values.mode "cluster" -}}
{{- $_ := set $scylla "nodes" (join "," .Values.database.nodes) -}}
{{- $_ := set $scylla "keyspace" .Values.database.keyspace -}}
{{- with .Values.database.datacenter }}{{ $_ := set $scylla "datacenter" . }}{{ end -}}
{{- with .Values.database }}{{ if .existingSecret -}}
{{- $_ := set $scylla "user_file" (printf "/etc/semel/database/%s" .userKey) -}}
{{- $_ := set $scylla "password_file" (printf "/etc/semel/database/%s" .passwordKey) -}}
{{- end }}{{ end -}}
{{- with .Values.database.tls }}{{ if .existingSecret -}}
{{- $_ := set $scylla "tls_ca_file" "/etc/semel/database-tls/ca.crt" -}}
{{- if .clientCertificate -}}
{{- $_ := set $scylla "tls_certificate_file" "/etc/semel/database-tls/tls.crt" -}}
{{- $_ := set $scylla "tls_key_file" "/etc/semel/database-tls/tls.key" -}}
{{- end -}}
{{- end }}{{ end -}}
{{- end -}}
{{- $all := mergeOverwrite $config $top (dict "auth" $auth "tls" $tls "limits" $limits "scylla" $scylla) -}}
# Made by Helm. `insecure` is for the operations port alone, which is plain and without credentials wherever it listens:
# the chart refuses a gRPC port without encryption or credentials itself, where its own `insecure` is not set.
{{- include "semel.toml.lines" $all }}
{{- range $name, $table := $all }}
{{- if and (kindIs "map" $table) $table }}

[{{ $name }}]
{{- include "semel.toml.lines" $table }}
{{- end }}
{{- end }}
{{ end -}}

{{/* policy.toml */}}
{{- define "semel.policy" -}}
# Made by Helm.
{{- with .Values.policy.defaults }}

[defaults]
{{- include "semel.toml.lines" . }}
{{- end }}
{{- range .Values.policy.rules }}

[[rule]]
{{- include "semel.toml.lines" . }}
{{- end }}
{{ end -}}

{{/* credentials.toml. Moments are written as TOML has them, without quotes. */}}
{{- define "semel.credentials" -}}
# Made by Helm.
{{- range .Values.auth.credentials.tokens }}

[[token]]
{{- include "semel.toml.lines" (omit . "created" "expires" "revoked") }}
{{- range $moment, $value := pick . "created" "expires" "revoked" }}
{{ $moment }} = {{ $value }}
{{- end }}
{{- end }}
{{- range .Values.auth.credentials.certificates }}

[[certificate]]
{{- include "semel.toml.lines" . }}
{{- end }}
{{ end -}}

{{/* A value as a variable holds it: as in TOML, but for the quotes. */}}
{{- define "semel.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ include "semel.toml.value" . }}{{ end -}}
{{- end -}}
