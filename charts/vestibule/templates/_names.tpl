{{/* Names and labels. The data plane's Service is named after the release: it is what callers write down. */}}

{{- define "vestibule.dataplane" -}}{{ .Release.Name }}-dataplane{{- end }}

{{- define "vestibule.operator" -}}{{ .Release.Name }}-operator{{- end }}

{{/* Two releases of one name may watch one namespace: each has a Role of its own there. */}}
{{- define "vestibule.watch" -}}{{ .Release.Name }}-operator-of-{{ .Release.Namespace }}{{- end }}

{{/* Takes {root, component}. What a selector may hold: it must never change. */}}
{{- define "vestibule.selectorLabels" -}}
app.kubernetes.io/name: vestibule
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Takes {root, component}. Ours stand before commonLabels: Services and policies select by them. */}}
{{- define "vestibule.labels" -}}
{{- $ours := dict
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/part-of" "vestibule"
  "app.kubernetes.io/managed-by" .root.Release.Service
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_")
-}}
{{- merge $ours (include "vestibule.selectorLabels" . | fromYaml) .root.Values.commonLabels | toYaml }}
{{- end }}

{{/* Takes {image, version}. */}}
{{- define "vestibule.image" -}}
{{- $reference := printf "%s:%s" .image.repository (.image.tag | default .version) -}}
{{- if .image.digest }}{{ $reference = printf "%s@%s" $reference .image.digest }}{{ end -}}
{{- $reference -}}
{{- end }}

{{/* The Secret with the server's certificate. */}}
{{- define "vestibule.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled }}{{ .Release.Name }}-tls{{ else }}{{ .Values.tls.existingSecret }}{{ end -}}
{{- end }}

{{/* The namespaces to watch, separated by commas. */}}
{{- define "vestibule.watchNamespaces" -}}
{{- join "," (.Values.watchNamespaces | default (list .Release.Namespace)) -}}
{{- end }}

{{/* The names of the Secrets that a snapshot may take, as a list in YAML: the head, and 15 further parts when it outgrows one Secret. */}}
{{- define "vestibule.snapshotSecrets" -}}
- vestibule-snapshot
{{- range untilStep 1 16 1 }}
- vestibule-snapshot-{{ . }}
{{- end }}
{{- end }}

{{/* "true" where several data-plane pods may run at once. */}}
{{- define "vestibule.several" -}}
{{- with .Values.dataplane }}{{ if or .autoscaling.enabled (gt (int .replicas) 1) }}true{{ end }}{{ end -}}
{{- end }}
