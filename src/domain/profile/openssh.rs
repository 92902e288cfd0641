//! The neutral profile: whatever OpenSSH can do, with Volcengine's errors.

use super::{FingerprintForm, ProfileRules};
use crate::domain::{
    key::{Algorithm, KeyType},
    reason::ParameterNames,
    text_rule::{TextRule, visible},
};

static NAME: TextRule = TextRule::new(
    1,
    128,
    concat!(visible!(), "+"),
    "1 to 128 letters, digits, punctuation marks or symbols of any script, without spaces and control characters",
);

/// Every key type that OpenSSH knows or once knew.
pub(super) static IMPORT_TYPES: &[KeyType] = KeyType::ALL;

/// Everything that can be generated.
pub(super) static GENERATES: &[Algorithm] = &[Algorithm::Rsa, Algorithm::Ecdsa, Algorithm::Ed25519];

pub(super) static RULES: ProfileRules = ProfileRules {
    import_name: &NAME,
    generate_name: &NAME,
    import_types: IMPORT_TYPES,
    generates: GENERATES,
    fingerprint: FingerprintForm::Sha256,
    parameters: ParameterNames {
        key_pair_name: "KeyPairName",
        public_key: "PublicKey",
        description: "Description",
        tag_key: "Tag.n.Key",
        tag_value: "Tag.n.Value",
        client_token: "ClientToken",
        project: "ProjectName",
        region: "Region",
        quota: "KeyPairs",
    },
    errors: &[],
};
