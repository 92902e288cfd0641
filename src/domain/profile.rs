//! The profiles: the sets of rules that a `KeyPair` can follow.
//!
//! Each profile is one table ([`ProfileRules`]) in a file of its own. The Rust checks, the CEL rules of the CRD, the tables
//! of the documentation and the values of `--profile` are all generated from these tables. To add a profile, add a file and a
//! variant: the compiler then names the two arms that are missing, and a test the element of [`Profile::ALL`].

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

/// The algorithms of a profile that restricts none.
static EVERY_ALGORITHM: &[Algorithm] = &[Algorithm::Rsa, Algorithm::Ecdsa, Algorithm::Ed25519];

/// The rules that a key pair follows: name rule, key types, form of the fingerprint and error codes.
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

impl FingerprintForm {
    /// The form in words.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Md5Colons => "MD5, with colons",
            Self::Md5Plain => "MD5, without colons",
            Self::Md5ProjectIdBody => "MD5 of project, key pair ID, `|` and body, with colons",
            Self::Sha256 => "`SHA256:` and base64",
        }
    }
}

/// Everything that differs between profiles.
#[derive(Debug)]
pub struct ProfileRules {
    /// The name rule of an imported pair.
    pub import_name: &'static TextRule,
    /// The name rule of a generated pair.
    pub generate_name: &'static TextRule,
    /// The key types accepted on import.
    pub import_types: &'static [KeyType],
    /// The algorithms for generated pairs.
    pub generates: &'static [Algorithm],
    /// The form of `status.fingerprint`.
    pub fingerprint: FingerprintForm,
    /// The cloud's names of the parameters.
    pub parameters: ParameterNames,
    /// The cloud's errors that differ from the neutral ones, which are Volcengine's.
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

    /// Whether any profile allows this key pair name, for an import or for a generated pair.
    #[must_use]
    pub fn any_allows_name(name: &str) -> bool {
        let rules = Self::ALL.into_iter().map(Self::rules);
        rules.flat_map(|rules| [rules.import_name, rules.generate_name]).any(|rule| rule.allows(name))
    }

    /// The fingerprint of `key` in the profile's form.
    ///
    /// `body` is the public key as the user wrote it. `UCloud` hashes it with the project and the identifier. The others hash
    /// the key blob; for a certificate that is the blob of its plain key, as in `ssh-keygen -l`.
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

    /// The message that the profile's cloud would have answered with, then what is wrong with this object and what to do.
    #[must_use]
    pub fn explain(self, refusal: &Refusal) -> String {
        format!("{}. {refusal}", self.error(refusal).message.trim_end_matches('.'))
    }

    /// The error that the profile's cloud would have answered with.
    #[must_use]
    pub fn error(self, refusal: &Refusal) -> ApiError {
        let rules = self.rules();
        let row = rules.error_row(refusal);
        let fill = |text: &str| {
            let text = text.replace("{parameter}", rules.parameters.get(refusal.parameter));
            text.replace("{detail}", &refusal.detail).trim_end().to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reason::{Parameter, Reason};

    const PARAMETERS: [Parameter; 14] = [
        Parameter::Profile,
        Parameter::KeyPairName,
        Parameter::PublicKey,
        Parameter::Generate,
        Parameter::Description,
        Parameter::TagKey,
        Parameter::TagValue,
        Parameter::ClientToken,
        Parameter::Project,
        Parameter::Region,
        Parameter::Quota,
        Parameter::Secret,
        Parameter::Rotation,
        Parameter::ShareWith,
    ];

    /// The schema has a value for each variant.
    #[test]
    fn every_profile_is_listed() {
        let names = Profile::ALL.map(|profile| serde_json::Value::from(profile.as_str()));
        let schema = schemars::schema_for!(Profile);
        let values = schema.get("oneOf").and_then(serde_json::Value::as_array).unwrap();
        assert_eq!(values.iter().map(|value| value["const"].clone()).collect::<Vec<_>>(), names);
    }

    /// Every refusal has a row of its own, without unfilled placeholders.
    #[test]
    fn every_reason_has_an_error_in_every_profile() {
        for profile in Profile::ALL {
            for reason in Reason::ALL {
                for parameter in PARAMETERS {
                    let refusal = Refusal::new(reason, parameter, "what to do");
                    let error = profile.error(&refusal);
                    assert_eq!(error.reason, reason);
                    let internal = matches!(
                        reason,
                        Reason::SecretConflict
                            | Reason::PrivateKeyLost
                            | Reason::PrivateKeyMismatch
                            | Reason::InternalError
                    );
                    assert_eq!(error.http_status == 500, internal, "{profile} {reason}");
                    for text in [&error.code, &error.message] {
                        assert!(!text.is_empty() && !text.contains(['{', '}']), "{profile} {reason}: {text}");
                    }
                }
            }
        }
    }

    /// Compiles every pattern, so that [`TextRule::allows`] cannot panic. CEL needs patterns without single quotes.
    #[test]
    fn every_rule_is_well_formed() {
        use crate::domain::rules::{
            ANNOTATION_KEY, CLIENT_TOKEN, DATA_KEY, DESCRIPTION, LABEL_KEY, LABEL_VALUE, PROJECT, RESOURCE_VERSION,
            SECRET_NAME, TAG_KEY, TAG_VALUE, UID,
        };
        let names =
            Profile::ALL.iter().flat_map(|profile| [profile.rules().import_name, profile.rules().generate_name]);
        let texts = [&CLIENT_TOKEN, &DATA_KEY, &DESCRIPTION, &PROJECT, &SECRET_NAME, &TAG_KEY, &TAG_VALUE];
        let others = texts.into_iter().chain([&ANNOTATION_KEY, &LABEL_KEY, &LABEL_VALUE, &RESOURCE_VERSION, &UID]);
        for rule in names.chain(others) {
            let _compiles = rule.allows("a");
            assert!(!rule.pattern.unwrap_or_default().contains('\''), "{}", rule.words);
            assert!(!rule.words.is_empty());
            let numbers: Vec<usize> = rule.words.split(|c: char| !c.is_ascii_digit()).flat_map(str::parse).collect();
            for length in [rule.min_chars, rule.max_chars] {
                // Words that give only the maximum leave out that some text is needed.
                let is_implied = length <= 1 && rule.words.starts_with("at most");
                assert!(is_implied || numbers.contains(&length), "{length}: {}", rule.words);
            }
        }
    }

    #[test]
    fn each_profile_accepts_its_own_names() {
        let cases: [(Profile, &[&str], &[&str]); 4] = [
            (
                Profile::Alibaba,
                &["ab", "A.b_c-9", "中文", "中.1"],
                &["a", "1a", "_a", "a b", "a:b", "http://a", "é1", ""],
            ),
            (
                Profile::UCloud,
                &["1", "a b".trim_end_matches(" b"), "ключ", "!§$", "鍵🔑"],
                &["", "a b", "a\tb", "\u{200d}"],
            ),
            (Profile::Volcengine, &["ab", "a.b", "a-b.c-1", "1a"], &["a", "-ab", "ab-", ".ab", "a--b", "a.-b", "a_b"]),
            (Profile::OpenSSH, &["x", "user@host"], &["", "user host"]),
        ];
        for (profile, good, bad) in cases {
            let rule = profile.rules().import_name;
            for name in good {
                assert!(rule.allows(name), "{profile}: {name:?}");
            }
            for name in bad {
                assert!(!rule.allows(name), "{profile}: {name:?}");
            }
        }
        assert!(Profile::Alibaba.rules().generate_name.allows("a:b"));
        assert!(!Profile::Alibaba.rules().generate_name.allows("a.b"));
    }

    #[test]
    fn fingerprints_have_the_form_of_the_profile() {
        let body = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICV0MGX/W9IvLA4FXpIuUcdDcbj5KX4syHgsTy7soVgf me\n";
        let key = PublicKey::parse(body).unwrap();
        let id = KeyPairId::from_text("kp-1");
        let fingerprint = |profile: Profile| profile.fingerprint(&key, body, "shop", &id);
        assert_eq!(fingerprint(Profile::Alibaba), "32:03:14:e7:7e:cd:22:a6:da:41:31:ca:22:25:a6:14");
        assert_eq!(fingerprint(Profile::Volcengine), "320314e77ecd22a6da4131ca2225a614");
        assert!(fingerprint(Profile::OpenSSH).starts_with("SHA256:"));
        let hashed = format!("shopkp-1|{}", body.trim());
        assert_eq!(fingerprint(Profile::UCloud), key::md5_colons(hashed.as_bytes()));
    }
}
