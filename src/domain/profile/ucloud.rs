//! `UCloud` `ImportUHostKeyPairs`.
//!
//! The document describes no errors beyond `RetCode` and `Message`; the codes are from `UCloud`'s common list. `UCloud`
//! answers every request with HTTP 200, so the HTTP status is the neutral one.

use super::{EVERY_ALGORITHM, FingerprintForm, ProfileRules, volcengine::INTERNAL_MESSAGE};
use crate::domain::{
    key::KeyType,
    reason::{ErrorRow, ParameterNames, Reason},
    text_rule::{TextRule, visible},
};

static NAME: TextRule = TextRule::new(
    1,
    63,
    concat!(visible!(), "+"),
    "1 to 63 letters, digits, punctuation marks or symbols of any script, without spaces and control characters",
);

/// The message of most of `UCloud`'s errors.
const NOT_AVAILABLE: &str = "Params [{parameter}] not available";

const fn not_available(reason: Reason, http_status: u16) -> ErrorRow {
    ErrorRow::new(reason, http_status, "230", NOT_AVAILABLE)
}

pub(super) static RULES: ProfileRules = ProfileRules {
    import_name: &NAME,
    generate_name: &NAME,
    import_types: KeyType::ALL,
    generates: EVERY_ALGORITHM,
    fingerprint: FingerprintForm::Md5ProjectIdBody,
    parameters: ParameterNames {
        key_pair_name: "KeyPairName",
        public_key: "PublicKeyBody",
        description: "Description",
        tag_key: "Tag",
        tag_value: "Tag",
        client_token: "ClientToken",
        project: "ProjectId",
        region: "Region",
        quota: "KeyPairs",
    },
    errors: &[
        ErrorRow::new(Reason::MissingParameter, 400, "220", "Missing params [{parameter}]"),
        not_available(Reason::InvalidKeyPairName, 400),
        not_available(Reason::KeyPairNameConflict, 409),
        not_available(Reason::InvalidPublicKey, 400),
        not_available(Reason::InvalidDescription, 400),
        not_available(Reason::InvalidTag, 400),
        not_available(Reason::InvalidClientToken, 400),
        not_available(Reason::InvalidSecret, 400),
        not_available(Reason::InvalidRotation, 400),
        not_available(Reason::QuotaExceeded, 400),
        not_available(Reason::RegionNotFound, 404),
        ErrorRow::new(Reason::ProjectNotFound, 404, "292", NOT_AVAILABLE),
        not_available(Reason::IdempotentParameterMismatch, 400),
        not_available(Reason::IdempotentProcessing, 412),
        ErrorRow::new(Reason::SecretConflict, 500, "1000", INTERNAL_MESSAGE),
        ErrorRow::new(Reason::PrivateKeyLost, 500, "1000", INTERNAL_MESSAGE),
        ErrorRow::new(Reason::PrivateKeyMismatch, 500, "1000", INTERNAL_MESSAGE),
        ErrorRow::new(Reason::InternalError, 500, "1000", INTERNAL_MESSAGE),
    ],
};
