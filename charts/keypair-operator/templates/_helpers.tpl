{{- define "keypair-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The release name, followed by the chart name unless the release name contains it. */}}
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

{{/* Labels for selectors: they never change during the life of a release. */}}
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

{{/* The field `annotations` of an object, if it has any. Arguments: the context, and the annotations of this object alone. */}}
{{- define "keypair-operator.annotations" -}}
{{- $context := first . -}}
{{- with merge (deepCopy (last .)) $context.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The image reference: by digest if there is one, otherwise by tag. */}}
{{- define "keypair-operator.image" -}}
{{- $repository := required "image.repository is not set: set it to the registry and repository that you pushed the operator's image to, e.g. --set image.repository=registry.example.com/keypair-operator" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "keypair-operator.webhookName" -}}
{{ printf "%s-webhook" (include "keypair-operator.fullname" . | trunc 55 | trimSuffix "-") }}
{{- end -}}

{{/*
The operator's permissions: in a ClusterRole, or in a Role for each namespace of watchNamespaces. Each rule names the step that
needs it, and none is superfluous: tests/chart/rights.rs removes each verb in turn and checks that something fails.
*/}}
{{- define "keypair-operator.rules" -}}
# Observe: watch KeyPairs; list also reads a single KeyPair again that is too large for the cache. The operator never writes
# the spec.
- apiGroups: [keypairs.dev]
  resources: [keypairs]
  verbs: [list, watch]
# Apply: write the status by PUT on the status subresource, so that resourceVersion protects every write.
- apiGroups: [keypairs.dev]
  resources: [keypairs/status]
  verbs: [update]
# Observe: watch AuthorizedKeys and KnownHosts. The operator never writes the spec.
- apiGroups: [keypairs.dev]
  resources: [authorizedkeys, knownhosts]
  verbs: [list, watch]
# Apply: write their status, as that of a KeyPair.
- apiGroups: [keypairs.dev]
  resources: [authorizedkeys/status, knownhosts/status]
  verbs: [update]
# Observe: list and watch the metadata of ConfigMaps with the label app.kubernetes.io/managed-by=keypair-operator. Get a ConfigMap that
# an AuthorizedKeys or KnownHosts publishes, to compare its text. RBAC cannot restrict a rule to a label.
# Apply: create it, patch (with resourceVersion) its text, and delete the former one when spec.target moves. When the AuthorizedKeys or
# KnownHosts is deleted, the garbage collector deletes it.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
# Observe: list and watch the metadata of Secrets with the label app.kubernetes.io/managed-by=keypair-operator, of those with the
# label keypairs.dev/keypair-uid, and of up to 16 others in each scope, each by name: those that conflict with a KeyPair or are
# missing. Get the Secret that a KeyPair names. RBAC cannot restrict a rule to a label.
# Apply: create the Secret of a generated key; patch it after a change of spec.secret, and when it is adopted or given back; delete the
# Secret under the old name after a change of spec.secret.name, once the key has been read under the new one. When a KeyPair is
# deleted, the garbage collector deletes its Secret. A Secret that is the target of an AuthorizedKeys or KnownHosts is written as a
# ConfigMap is.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
# Apply: create Events about KeyPairs, AuthorizedKeys and KnownHosts. No patch: each Event has its own note, so none is aggregated.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}
