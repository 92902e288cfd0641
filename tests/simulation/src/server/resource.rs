//! The resources that the server serves.

/// A resource.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// The plural, as in URLs.
    pub plural: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The version of the group.
    pub version: &'static str,
    /// The kind, as in objects.
    pub kind: &'static str,
    /// Whether it is namespaced.
    pub is_namespaced: bool,
    /// Whether it is a custom resource, with a status subresource and a generation.
    pub is_custom: bool,
    /// Whether an update of an object that does not exist creates it.
    pub creates_on_update: bool,
}

/// A built-in resource.
const fn built_in(plural: &'static str, group: &'static str, kind: &'static str) -> Resource {
    Resource { plural, group, version: "v1", kind, is_namespaced: true, is_custom: false, creates_on_update: false }
}

/// A custom resource of the operator.
const fn custom(plural: &'static str, kind: &'static str) -> Resource {
    Resource { version: "v1alpha1", is_custom: true, ..built_in(plural, "keypairs.dev", kind) }
}

/// All resources, ordered by plural.
pub static RESOURCES: [Resource; 10] = [
    custom("authorizedkeys", "AuthorizedKeys"),
    built_in("configmaps", "", "ConfigMap"),
    Resource { creates_on_update: true, ..built_in("events", "events.k8s.io", "Event") },
    custom("keypairs", "KeyPair"),
    custom("knownhosts", "KnownHosts"),
    Resource { creates_on_update: true, ..built_in("leases", "coordination.k8s.io", "Lease") },
    Resource {
        is_namespaced: false,
        ..built_in("mutatingwebhookconfigurations", "admissionregistration.k8s.io", "MutatingWebhookConfiguration")
    },
    Resource { is_namespaced: false, ..built_in("namespaces", "", "Namespace") },
    built_in("secrets", "", "Secret"),
    Resource {
        is_namespaced: false,
        ..built_in("validatingwebhookconfigurations", "admissionregistration.k8s.io", "ValidatingWebhookConfiguration")
    },
];

impl Resource {
    /// The resource with this plural.
    #[must_use]
    pub fn named(plural: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|resource| resource.plural == plural)
    }

    /// The resource of a kind, as in owner references.
    #[must_use]
    pub fn of_kind(api_version: &str, kind: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|resource| resource.kind == kind && resource.api_version() == api_version)
    }

    /// `apiVersion`, as in objects.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The plural with the group, as in messages.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The kind with the group, as in messages about invalid objects.
    #[must_use]
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.to_owned() } else { format!("{}.{}", self.kind, self.group) }
    }
}
