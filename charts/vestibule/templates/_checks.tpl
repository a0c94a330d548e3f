{{/* What the schema cannot say: combinations that would not work, each refused with a sentence that says what to change. */}}

{{- define "vestibule.checks" -}}
{{- include "vestibule.checkReplicas" . -}}
{{- include "vestibule.checkTls" . -}}
{{- include "vestibule.checkNamespaces" . -}}
{{- include "vestibule.checkExposure" . -}}
{{- include "vestibule.checkMetrics" . -}}
{{- end }}

{{- define "vestibule.checkReplicas" -}}
{{- if not .Values.database.existingSecret }}
{{- if .Values.dataplane.autoscaling.enabled }}
{{- fail "\n\ndataplane.autoscaling needs a database that several pods can share: SQLite is one file of one process. Name a Secret with the URL of a PostgreSQL in database.existingSecret, or set dataplane.autoscaling.enabled to false." }}
{{- end }}
{{- if gt (int .Values.dataplane.replicas) 1 }}
{{- fail (printf "\n\ndataplane.replicas is %d, and SQLite is one file of one process: set dataplane.replicas to 1, or name a Secret with the URL of a PostgreSQL in database.existingSecret." (int .Values.dataplane.replicas)) }}
{{- end }}
{{- end }}
{{- with .Values.dataplane.autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
{{- fail (printf "\n\ndataplane.autoscaling.minReplicas is %d: set it to maxReplicas, %d, or less." (int .minReplicas) (int .maxReplicas)) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vestibule.checkTls" -}}
{{- $chosen := list }}
{{- if .Values.tls.existingSecret }}{{ $chosen = append $chosen "tls.existingSecret" }}{{ end }}
{{- if .Values.tls.certManager.enabled }}{{ $chosen = append $chosen "tls.certManager.enabled" }}{{ end }}
{{- if .Values.dataplane.plainHttp }}{{ $chosen = append $chosen "dataplane.plainHttp" }}{{ end }}
{{- if not $chosen }}
{{- fail "\n\nchoose how callers reach the data plane: name a Secret with tls.crt and tls.key in tls.existingSecret, or set tls.certManager.enabled for a certificate by cert-manager, or set dataplane.plainHttp to serve without TLS." }}
{{- end }}
{{- if gt (len $chosen) 1 }}
{{- fail (printf "\n\nkeep one of these, they exclude each other: %s." (join " and " $chosen)) }}
{{- end }}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.certManager.issuerRef.name) }}
{{- fail "\n\nname the Issuer that signs the certificate in tls.certManager.issuerRef.name." }}
{{- end }}
{{- if and .Values.tls.clientCa.existingSecret .Values.dataplane.plainHttp }}
{{- fail "\n\ntls.clientCa.existingSecret asks callers for certificates, which only TLS carries: remove it, or set dataplane.plainHttp to false." }}
{{- end }}
{{- end }}

{{- define "vestibule.checkNamespaces" -}}
{{- if and (has "*" .Values.watchNamespaces) (gt (len .Values.watchNamespaces) 1) }}
{{- fail "\n\nwatchNamespaces has \"*\", which is all namespaces: remove the others, or the \"*\"." }}
{{- end }}
{{- if and (has "*" .Values.tenants.clusterEgress) (gt (len .Values.tenants.clusterEgress) 1) }}
{{- fail "\n\ntenants.clusterEgress has \"*\", which is all namespaces: remove the others, or the \"*\"." }}
{{- end }}
{{- end }}

{{- define "vestibule.checkExposure" -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "\n\nwrite the names that people reach it by in ingress.hosts." }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "\n\nname the Gateway that the route belongs to in httpRoute.parentRefs." }}
{{- end }}
{{- with .Values.httpRoute.backendTls }}
{{- if and .enabled $.Values.dataplane.plainHttp }}
{{- fail "\n\nhttpRoute.backendTls is for a data plane that serves TLS: set it to enabled: false, or dataplane.plainHttp to false." }}
{{- end }}
{{- if and .enabled (not .caConfigMap) }}
{{- fail "\n\nname the ConfigMap with the CA that signed the data plane's certificate in httpRoute.backendTls.caConfigMap." }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vestibule.checkMetrics" -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.metricsFrom) (or .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled) }}
{{- fail "\n\nsay in networkPolicy.metricsFrom which pods may read metrics, or Prometheus will be kept out: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]." }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled }}
{{- fail "\n\nkeep one of metrics.serviceMonitor and metrics.podMonitor: both would count everything twice." }}
{{- end }}
{{- end }}
