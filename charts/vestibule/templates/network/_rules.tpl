{{/* Takes {to, ports}: one rule of egress over TCP. */}}
{{- define "vestibule.egressRule" -}}
{{- if or .to .ports }}
{{- $first := "- " }}
{{- with .to }}
{{ $first }}to:
    {{- toYaml . | nindent 4 }}
{{- $first = "  " }}
{{- end }}
{{- with .ports }}
{{ $first }}ports:
    {{- range . }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}
{{- else }}
- {}
{{- end }}
{{- end }}

{{/* Name lookups, over UDP and TCP. */}}
{{- define "vestibule.dnsRule" -}}
{{- with .Values.networkPolicy.egress.dns }}
- ports:
    {{- range .ports }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
