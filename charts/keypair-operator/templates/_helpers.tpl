{{- define "keypair-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The release name, or release and chart name where the first does not contain the second. */}}
{{- define "keypair-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "keypair-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "keypair-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What never changes during the life of a release: usable in a selector. */}}
{{- define "keypair-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "keypair-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "keypair-operator.labels" -}}
{{ include "keypair-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The annotations of an object, as a field, where there are any: its own, given behind the context, and those of every object. */}}
{{- define "keypair-operator.annotations" -}}
{{- $context := first . -}}
{{- with merge (deepCopy (last .)) $context.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "keypair-operator.webhookName" -}}
{{ printf "%s-webhook" (include "keypair-operator.fullname" . | trunc 55 | trimSuffix "-") }}
{{- end -}}

{{/*
What the operator does: in a ClusterRole when it watches all namespaces, in a Role for each of them when watchNamespaces
is set. Nothing else: tests/chart/rights.rs takes each verb away in turn and sees what fails. Each rule names the step that
needs it.
*/}}
{{- define "keypair-operator.rules" -}}
# Observe: the operator's own resource, by watches; a list of one is how a KeyPair too large to be kept is read again. It
# never writes the spec.
- apiGroups: [keypairs.dev]
  resources: [keypairs]
  verbs: [list, watch]
# Apply: the status is written with PUT on the status subresource, so that resourceVersion guards every write.
- apiGroups: [keypairs.dev]
  resources: [keypairs/status]
  verbs: [update]
# Observe: list and watch, metadata only, of the Secrets labelled app.kubernetes.io/managed-by=keypair-operator, and of up
# to 32 without that label, each by its name, which are in the way or have been lost; get of the one Secret that a KeyPair
# names. RBAC cannot restrict a rule to a label.
# Apply: create for a generated key; patch where spec.secret has changed, or a Secret is handed over for adoption or given
# back; delete of the Secret under its old name once the key is read under a new one (spec.secret.name). With its KeyPair, a Secret is
# deleted by the garbage collector.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
# Apply: Events on KeyPairs. No patch: each has a note of its own, so none is counted up.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}
