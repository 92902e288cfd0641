//! The neutral profile: everything that OpenSSH supports, with Volcengine's errors.

use super::{EVERY_ALGORITHM, FingerprintForm, ProfileRules, volcengine};
use crate::domain::{
    key::KeyType,
    text_rule::{TextRule, visible},
};

static NAME: TextRule = TextRule::new(
    1,
    128,
    concat!(visible!(), "+"),
    "1 to 128 letters, digits, punctuation marks or symbols of any script, without spaces and control characters",
);

pub(super) static RULES: ProfileRules = ProfileRules {
    import_name: &NAME,
    generate_name: &NAME,
    import_types: KeyType::ALL,
    generates: EVERY_ALGORITHM,
    fingerprint: FingerprintForm::Sha256,
    parameters: volcengine::PARAMETERS,
    errors: &[],
};
