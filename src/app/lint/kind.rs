//! The kinds of objects that `lint` checks.

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;

use crate::{api, domain::publication::PublicationKind};

/// A kind of the operator's custom resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CheckedKind {
    KeyPair,
    Publication(PublicationKind),
}

impl CheckedKind {
    /// Every kind, that of `KeyPair` first.
    pub(super) const ALL: [Self; 3] = [
        Self::KeyPair,
        Self::Publication(PublicationKind::AuthorizedKeys),
        Self::Publication(PublicationKind::KnownHosts),
    ];

    /// The kind of this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The kind in `CamelCase`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::KeyPair => "KeyPair",
            Self::Publication(kind) => kind.as_str(),
        }
    }

    /// The names of all kinds, to follow "expected".
    pub(super) fn any() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }

    /// The schema of the kind.
    pub(super) fn schema(self) -> &'static JSONSchemaProps {
        static SCHEMAS: LazyLock<BTreeMap<String, JSONSchemaProps>> = LazyLock::new(|| {
            let schemas = api::crds().into_iter().map(|crd| {
                let version = crd.spec.versions.into_iter().next();
                let schema = version.and_then(|version| version.schema?.open_api_v3_schema);
                (crd.spec.names.kind, schema.unwrap_or_default())
            });
            schemas.collect()
        });
        static NONE: LazyLock<JSONSchemaProps> = LazyLock::new(JSONSchemaProps::default);
        SCHEMAS.get(self.as_str()).unwrap_or(&NONE)
    }
}

impl fmt::Display for CheckedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
