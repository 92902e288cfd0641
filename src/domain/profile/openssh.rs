//! The neutral profile: whatever OpenSSH can do, with Volcengine's errors.

use super::{FingerprintForm, ProfileRules, volcengine};
use crate::domain::{
    key::{Algorithm, KeyType},
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
    parameters: volcengine::PARAMETERS,
    errors: &[],
};
