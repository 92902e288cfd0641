//! The profiles: whose rules a `KeyPair` obeys.
//!
//! Each profile is one table ([`ProfileRules`]) in a file of its own. The Rust checks, the CEL rules of the CRD, the tables
//! of the documentation and the tests are all made from these tables; a new profile is a new file, a new variant and a new
//! arm of [`Profile::rules`].

mod alibaba;
mod openssh;
mod ucloud;
mod volcengine;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    key::{self, Algorithm, KeyType, PublicKey},
    key_pair_id::KeyPairId,
    reason::{ApiError, ErrorRow, ParameterNames, Refusal},
    text_rule::TextRule,
};

/// Whose rules a key pair obeys: name rule, key types, form of the fingerprint and error codes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Profile {
    /// Alibaba Cloud ECS, `ImportKeyPair` and `CreateKeyPair`.
    #[default]
    Alibaba,
    /// `UCloud`, `ImportUHostKeyPairs`.
    UCloud,
    /// Volcengine ECS, `ImportKeyPair`.
    Volcengine,
    /// No cloud: everything that OpenSSH can do.
    OpenSSH,
}

/// The form in which a profile shows the fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FingerprintForm {
    /// MD5 of the key blob, lower hex with colons (RFC 4716 §4).
    Md5Colons,
    /// MD5 of the key blob, lower hex without colons.
    Md5Plain,
    /// MD5 over project, key pair ID, `|` and the public key body, lower hex with colons.
    Md5ProjectIdBody,
    /// `SHA256:` and unpadded base64, as OpenSSH prints it.
    Sha256,
}

/// Everything in which profiles differ.
#[derive(Debug)]
pub struct ProfileRules {
    /// The name rule of an imported pair.
    pub import_name: &'static TextRule,
    /// The name rule of a generated pair.
    pub generate_name: &'static TextRule,
    /// The key types taken on import.
    pub import_types: &'static [KeyType],
    /// The algorithms offered for generation.
    pub generates: &'static [Algorithm],
    /// The form of `status.fingerprint`.
    pub fingerprint: FingerprintForm,
    /// What the cloud calls its parameters.
    pub parameters: ParameterNames,
    /// Where the cloud's errors differ from the neutral ones, which are Volcengine's.
    pub errors: &'static [ErrorRow],
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 4] = [Self::Alibaba, Self::UCloud, Self::Volcengine, Self::OpenSSH];

    /// The profile's table.
    #[must_use]
    pub fn rules(self) -> &'static ProfileRules {
        match self {
            Self::Alibaba => &alibaba::RULES,
            Self::UCloud => &ucloud::RULES,
            Self::Volcengine => &volcengine::RULES,
            Self::OpenSSH => &openssh::RULES,
        }
    }

    /// The profile's name, as `spec.profile` spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alibaba => "Alibaba",
            Self::UCloud => "UCloud",
            Self::Volcengine => "Volcengine",
            Self::OpenSSH => "OpenSSH",
        }
    }

    /// The fingerprint of `key` in the profile's form.
    ///
    /// `body` is the public key as the user gave it; `UCloud` hashes it with the project and the identifier, the others
    /// hash the key blob (of a certificate: the blob of its plain key, as `ssh-keygen -l` does).
    #[must_use]
    pub fn fingerprint(self, key: &PublicKey, body: &str, project: &str, id: &KeyPairId) -> String {
        match self.rules().fingerprint {
            FingerprintForm::Md5Colons => key::md5_colons(key.plain_blob()),
            FingerprintForm::Md5Plain => key::md5_hex(key.plain_blob()),
            FingerprintForm::Sha256 => key::sha256_base64(key.plain_blob()),
            FingerprintForm::Md5ProjectIdBody => {
                key::md5_colons(format!("{project}{}|{}", id.as_str(), body.trim()).as_bytes())
            }
        }
    }

    /// What the profile's cloud would have answered to the request that was refused.
    #[must_use]
    pub fn error(self, refusal: &Refusal) -> ApiError {
        let rules = self.rules();
        let row = rules.error_row(refusal);
        let fill = |text: &str| {
            text.replace("{parameter}", rules.parameters.get(refusal.parameter)).replace("{detail}", &refusal.detail)
        };
        ApiError {
            reason: refusal.reason,
            code: fill(row.code),
            message: fill(row.message),
            http_status: row.http_status,
        }
    }
}

impl ProfileRules {
    fn error_row(&self, refusal: &Refusal) -> &'static ErrorRow {
        self.errors
            .iter()
            .chain(volcengine::ERRORS)
            .find(|row| row.answers(refusal))
            .unwrap_or(&volcengine::INTERNAL_ERROR)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
