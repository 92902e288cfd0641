//! The resources that the server has.

/// A kind of object.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// As in URLs.
    pub plural: &'static str,
    /// Empty: the core group.
    pub group: &'static str,
    /// The version of the group.
    pub version: &'static str,
    /// As objects say it.
    pub kind: &'static str,
    /// Whether its objects are in namespaces.
    pub is_namespaced: bool,
    /// Whether it is a custom resource, with a status of its own and a generation.
    pub is_custom: bool,
    /// Whether a replacement of what is not there creates it.
    pub creates_on_update: bool,
}

/// A built-in resource.
const fn built_in(plural: &'static str, group: &'static str, kind: &'static str) -> Resource {
    Resource { plural, group, version: "v1", kind, is_namespaced: true, is_custom: false, creates_on_update: false }
}

/// Everything that there can be, ordered by plural.
pub static RESOURCES: [Resource; 8] = [
    built_in("configmaps", "", "ConfigMap"),
    Resource { creates_on_update: true, ..built_in("events", "events.k8s.io", "Event") },
    Resource { version: "v1alpha1", is_custom: true, ..built_in("keypairs", "keypairs.dev", "KeyPair") },
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
    /// That of this name.
    #[must_use]
    pub fn named(plural: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|resource| resource.plural == plural)
    }

    /// That of a kind, as owner references name it.
    #[must_use]
    pub fn of_kind(api_version: &str, kind: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|resource| resource.kind == kind && resource.api_version() == api_version)
    }

    /// `apiVersion`, as objects say it.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The name with its group, as messages say it.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The kind with its group, as messages of what is invalid say it.
    #[must_use]
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.to_owned() } else { format!("{}.{}", self.kind, self.group) }
    }
}
