{{/*
What makes no sense together: a sentence each, which says what to change. All of them are told at once. What a single
value may be is in values.schema.json.
*/}}
{{- define "semel.refusals" -}}
{{- $v := .Values -}}
{{- $embedded := eq $v.mode "embedded" -}}
{{- $cluster := not $embedded -}}
{{- $no := list -}}

{{- if $embedded -}}
{{- if gt (int $v.replicaCount) 1 }}{{ $no = append $no (printf "replicaCount is %v, and mode embedded has one server: its records are on one volume. Leave replicaCount out, or set mode: cluster and a database" $v.replicaCount) }}{{ end -}}
{{- if $v.autoscaling.enabled }}{{ $no = append $no "autoscaling.enabled is true, and mode embedded has one server. Set it to false, or mode: cluster and a database" }}{{ end -}}
{{- if $v.database.nodes }}{{ $no = append $no "database.nodes is set, and mode embedded uses no database. Set mode: cluster, or take the nodes out" }}{{ end -}}
{{- if $v.schema.raiseRecordFormat }}{{ $no = append $no "schema.raiseRecordFormat is true, and mode embedded has no schema. Take it out" }}{{ end -}}
{{- if $v.networkPolicy.database }}{{ $no = append $no "networkPolicy.database is set, and mode embedded uses no database. Take it out" }}{{ end -}}
{{- if $v.config.scylla }}{{ $no = append $no "config.scylla is set, and mode embedded uses no database. Take it out, or set mode: cluster" }}{{ end -}}
{{- if and $v.persistence.existingClaim (not $v.persistence.enabled) }}{{ $no = append $no "persistence.existingClaim is set, and persistence.enabled is false: nothing would be kept on it. Set one or the other" }}{{ end -}}
{{- end -}}

{{- if $cluster -}}
{{- if not $v.database.nodes }}{{ $no = append $no "database.nodes is empty, and mode cluster needs a database. Name some nodes of ScyllaDB or Cassandra, such as database.nodes={10.0.0.1,10.0.0.2}, or set mode: embedded" }}{{ end -}}
{{- if $v.persistence.existingClaim }}{{ $no = append $no "persistence.existingClaim is set, and mode cluster keeps nothing on a volume. Take it out, or set mode: embedded" }}{{ end -}}
{{- if $v.config.embedded }}{{ $no = append $no "config.embedded is set, and mode cluster has no embedded store. Take it out, or set mode: embedded" }}{{ end -}}
{{- if and $v.database.tls.clientCertificate (not $v.database.tls.existingSecret) }}{{ $no = append $no "database.tls.clientCertificate is true, and database.tls.existingSecret names no Secret that has it. Set both" }}{{ end -}}
{{- if and $v.schema.raiseRecordFormat (not $v.schema.apply) }}{{ $no = append $no "schema.raiseRecordFormat is true, and schema.apply is false. Set schema.apply to true, or raise the format by hand with semel schema apply" }}{{ end -}}
{{- $least := int (include "semel.leastReplicas" .) -}}
{{- with $v.podDisruptionBudget -}}
{{- if .enabled -}}
{{- if not (or (kindIs "invalid" .minAvailable) (kindIs "invalid" .maxUnavailable)) }}{{ $no = append $no "podDisruptionBudget has both minAvailable and maxUnavailable, and Kubernetes takes one. Set the other to null" }}
{{- else if or (eq (toString .minAvailable) "100%") (and (not (kindIs "invalid" .minAvailable)) (not (kindIs "string" .minAvailable)) (ge (int .minAvailable) $least)) }}{{ $no = append $no (printf "podDisruptionBudget.minAvailable is %v of %d servers: no node with a server could ever be drained. Set it lower, or podDisruptionBudget.enabled to false" .minAvailable $least) }}
{{- else if has (toString .maxUnavailable) (list "0" "0%") }}{{ $no = append $no (printf "podDisruptionBudget.maxUnavailable is %v: no node with a server could ever be drained. Set it to 1 or more, or podDisruptionBudget.enabled to false" .maxUnavailable) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with $v.autoscaling -}}
{{- if .enabled -}}
{{- if gt (int .minReplicas) (int .maxReplicas) }}{{ $no = append $no (printf "autoscaling.minReplicas is %v and autoscaling.maxReplicas %v. Set the second to no less than the first" .minReplicas .maxReplicas) }}{{ end -}}
{{- if and (kindIs "invalid" .targetCPUUtilizationPercentage) (kindIs "invalid" .targetMemoryUtilizationPercentage) }}{{ $no = append $no "autoscaling.enabled is true, and there is nothing to scale by. Set autoscaling.targetCPUUtilizationPercentage, or the one of memory" }}{{ end -}}
{{- $requests := dig "requests" dict $v.resources -}}
{{- if and (not (kindIs "invalid" .targetCPUUtilizationPercentage)) (not (hasKey $requests "cpu")) }}{{ $no = append $no "autoscaling.targetCPUUtilizationPercentage is a share of resources.requests.cpu, which is not set. Set it" }}{{ end -}}
{{- if and (not (kindIs "invalid" .targetMemoryUtilizationPercentage)) (not (hasKey $requests "memory")) }}{{ $no = append $no "autoscaling.targetMemoryUtilizationPercentage is a share of resources.requests.memory, which is not set. Set it" }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with $v.updateStrategy -}}
{{- if and (has (toString .maxUnavailable) (list "0" "0%")) (has (toString .maxSurge) (list "0" "0%")) }}{{ $no = append $no "updateStrategy.maxUnavailable and updateStrategy.maxSurge are both 0: no server could ever be replaced. Set updateStrategy.maxSurge to 1" }}{{ end -}}
{{- end -}}
{{- end -}}

{{- $encrypts := include "semel.encrypts" . -}}
{{- $authenticates := include "semel.authenticates" . -}}
{{- if not $v.insecure -}}
{{- if not $encrypts }}{{ $no = append $no "calls would not be encrypted. Set tls.existingSecret or tls.certManager.enabled, or say insecure: true if the network is trusted" }}{{ end -}}
{{- if not $authenticates }}{{ $no = append $no "callers would not be asked for a credential. Set auth.credentials, auth.jwt or tls.clientCa, or say insecure: true if everybody in the network may read, write and settle every record" }}{{ end -}}
{{- end -}}
{{- with $v.tls -}}
{{- if and .existingSecret .certManager.enabled }}{{ $no = append $no "tls.existingSecret and tls.certManager.enabled are both set, and there is one certificate. Take one out" }}{{ end -}}
{{- if and .certManager.enabled (not .certManager.issuerRef.name) }}{{ $no = append $no "tls.certManager.enabled is true, and tls.certManager.issuerRef.name names no issuer. Set it" }}{{ end -}}
{{- if and .clientCa.existingSecret (not $encrypts) }}{{ $no = append $no "tls.clientCa.existingSecret is set, and calls are not encrypted: nobody could show a certificate. Set tls.existingSecret or tls.certManager.enabled" }}{{ end -}}
{{- if and (eq .clientCertificates "required") (not .clientCa.existingSecret) }}{{ $no = append $no "tls.clientCertificates is required, and tls.clientCa.existingSecret names no authority. Set it, or say optional" }}{{ end -}}
{{- end -}}
{{- with $v.auth -}}
{{- $credentials := or .credentials.existingSecret .credentials.create -}}
{{- if and $v.tls.clientCa.existingSecret (not .trustDomain) (not $credentials) }}{{ $no = append $no "tls.clientCa.existingSecret is set, and no certificate would stand for anybody. Set auth.trustDomain, or auth.credentials with certificates" }}{{ end -}}
{{- if and .trustDomain (not $v.tls.clientCa.existingSecret) }}{{ $no = append $no "auth.trustDomain is set, and tls.clientCa.existingSecret names no authority of clients. Set both" }}{{ end -}}
{{- if and .credentials.existingSecret .credentials.create }}{{ $no = append $no "auth.credentials.existingSecret and auth.credentials.create are both set, and the server reads one file. Take one out" }}{{ end -}}
{{- if and .credentials.create (not (or .credentials.tokens .credentials.certificates)) }}{{ $no = append $no "auth.credentials.create is true, and there is nothing in it: nobody would be let in. Add auth.credentials.tokens or certificates" }}{{ end -}}
{{- if and (or .credentials.tokens .credentials.certificates) (not .credentials.create) }}{{ $no = append $no "auth.credentials has tokens or certificates, and auth.credentials.create is false: nobody would read them. Set it to true" }}{{ end -}}
{{- with .jwt -}}
{{- if and .existingConfigMap (not (and .algorithms .issuer .audience)) }}{{ $no = append $no "auth.jwt.existingConfigMap is set, and auth.jwt.algorithms, issuer and audience are not all set: any token of the issuer would do. Set them" }}{{ end -}}
{{- if and (or .algorithms .issuer .audience) (not .existingConfigMap) }}{{ $no = append $no "auth.jwt.algorithms, issuer or audience is set, and auth.jwt.existingConfigMap names no keys to check tokens by. Set it" }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if and $v.test.certificateSecret (not $encrypts) }}{{ $no = append $no "test.certificateSecret is set, and calls are not encrypted: the test could not show it. Take it out, or turn tls on" }}{{ end -}}
{{- if and $v.policy.existingConfigMap (or $v.policy.defaults $v.policy.rules) }}{{ $no = append $no "policy.existingConfigMap is set, and so are policy.defaults or policy.rules, which nobody would read. Take one or the other out" }}{{ end -}}

{{- with $v.networkPolicy -}}
{{- if .enabled -}}
{{- if not .callers }}{{ $no = append $no "networkPolicy.enabled is true, and networkPolicy.callers is empty: nobody could call. List who may, such as [{podSelector: {matchLabels: {semel-client: \"true\"}}}]" }}{{ end -}}
{{- if and $cluster (not .database) }}{{ $no = append $no "networkPolicy.enabled is true, and networkPolicy.database is empty: the servers could not reach the database. List where it is, such as [{ipBlock: {cidr: 10.0.0.0/24}}]" }}{{ end -}}
{{- if and $v.otlp.endpoint (not .collector) }}{{ $no = append $no "networkPolicy.enabled is true, and networkPolicy.collector is empty: otlp.endpoint could not be reached. List where it is" }}{{ end -}}
{{- if and $v.serviceMonitor.enabled (not .metrics) }}{{ $no = append $no "networkPolicy.enabled is true, and networkPolicy.metrics is empty: Prometheus could not scrape what serviceMonitor names. List where it is" }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if and $v.grpcRoute.enabled (not $v.grpcRoute.parentRefs) }}{{ $no = append $no "grpcRoute.enabled is true, and grpcRoute.parentRefs names no Gateway. Set it" }}{{ end -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) }}{{ $no = append $no "ingress.enabled is true, and ingress.hosts is empty. Name the hosts" }}{{ end -}}

{{- if $no -}}
{{- fail (printf "\n\nThese values will not do:\n\n- %s.\n" (join ".\n- " $no)) -}}
{{- end -}}
{{- end -}}
