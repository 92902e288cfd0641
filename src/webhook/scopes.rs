//! The namespaces whose objects the webhook reviews.

use std::collections::BTreeSet;

/// The namespaces that the operator watches, and whose KeyPairs the webhook reviews.
#[derive(Debug, Clone, Default)]
pub struct Scopes(Option<BTreeSet<String>>);

impl Scopes {
    /// Creates the scopes: each a namespace, or `None` for all namespaces.
    pub fn new(scopes: impl IntoIterator<Item = Option<String>>) -> Self {
        Self(scopes.into_iter().collect())
    }

    /// The namespaces; `None`: all namespaces.
    #[must_use]
    pub fn namespaces(&self) -> Option<&BTreeSet<String>> {
        self.0.as_ref()
    }

    pub(super) fn contains(&self, namespace: &str) -> bool {
        self.0.as_ref().is_none_or(|namespaces| namespaces.contains(namespace))
    }
}
