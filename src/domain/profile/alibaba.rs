//! Alibaba Cloud ECS `ImportKeyPair` and `CreateKeyPair`.

use super::{FingerprintForm, ProfileRules};
use crate::domain::{
    key::{Algorithm, KeyType},
    reason::{ErrorRow, Parameter, ParameterNames, Reason},
    text_rule::{TextRule, han},
};

const URLS: &[&str] = &["http://", "https://"];

static IMPORT_NAME: TextRule = TextRule::new(
    2,
    128,
    concat!("[a-zA-Z", han!(), "][a-zA-Z0-9", han!(), "._-]*"),
    "2 to 128 characters: a Latin letter or Chinese character, then Latin letters, Chinese characters, digits, '.', '_' or '-'",
)
.without_prefixes(URLS);

static GENERATE_NAME: TextRule = TextRule::new(
    2,
    128,
    concat!("[a-zA-Z", han!(), "][a-zA-Z0-9", han!(), ":_-]*"),
    "2 to 128 characters: a Latin letter or Chinese character, then Latin letters, Chinese characters, digits, ':', '_' or '-'",
)
.without_prefixes(URLS);

pub(super) static RULES: ProfileRules = ProfileRules {
    import_name: &IMPORT_NAME,
    generate_name: &GENERATE_NAME,
    import_types: &[
        KeyType::Rsa,
        KeyType::Dss,
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::EcdsaP521,
        KeyType::RsaCertV00,
        KeyType::DssCertV00,
        KeyType::RsaCertV01,
        KeyType::DssCertV01,
        KeyType::EcdsaP256CertV01,
        KeyType::EcdsaP384CertV01,
        KeyType::EcdsaP521CertV01,
    ],
    generates: &[Algorithm::Rsa],
    fingerprint: FingerprintForm::Md5Colons,
    parameters: ParameterNames {
        key_pair_name: "KeyPairName",
        public_key: "PublicKeyBody",
        description: "Description",
        tag_key: "Tag.n.Key",
        tag_value: "Tag.n.Value",
        client_token: "ClientToken",
        project: "ProjectName",
        region: "RegionId",
        quota: "KeyPair",
    },
    errors: &[
        // The typographic quotes are the document's.
        ErrorRow::new(
            Reason::MissingParameter,
            400,
            "MissingParameter",
            "The input parameter “{parameter}” that is mandatory for processing this request is not supplied.",
        ),
        ErrorRow::new(
            Reason::InvalidKeyPairName,
            400,
            "InvalidKeyPairName.Malformed",
            "Specified Key Pair name is not valid.",
        ),
        // The document has one code for both: "not valid, or already in use".
        ErrorRow::new(
            Reason::KeyPairNameConflict,
            400,
            "InvalidKeyPairName.Malformed",
            "Specified Key Pair name is not valid.",
        ),
        ErrorRow::new(
            Reason::InvalidPublicKey,
            400,
            "InvalidPublicKeyBody.Malformed",
            "The PublicKeyBody format is not supported.",
        ),
        ErrorRow::new(Reason::QuotaExceeded, 403, "QuotaExceed.KeyPair", "The key pair quota exceeds."),
        ErrorRow::of(
            Reason::RegionNotFound,
            Parameter::Region,
            404,
            "InvalidRegionId.NotFound",
            "The specified RegionId does not exist.",
        ),
    ],
};
