//! The rules on names, keys, texts and tags.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

use super::rule::{Level, allows, list, quote, rule};
use crate::domain::{
    display::{NAMED_CHARACTERS, name_of},
    key::{Algorithm, BARE_TOKENS, KeySpec, KeyType, PRIVATE_KEY_MARKERS},
    profile::Profile,
    reason::{Parameter, Reason},
    rules::{CLIENT_TOKEN, DESCRIPTION, MAX_TAGS, PROJECT, PUBLIC_KEY_MAX_CHARS, TAG_KEY, TAG_VALUE},
    text_rule::{TextRule, invisible},
};

/// Whether all fields that the rule on `metadata.name` depends on are unchanged. For rules on the spec, the API server itself
/// ignores violations by unchanged values. For rules on the whole object, which every status write changes, it does not.
const UNCHANGED: &str = "(oldSelf.hasValue() && oldSelf.value().spec.profile == self.spec.profile && \
    has(oldSelf.value().spec.keyPairName) == has(self.spec.keyPairName) && \
    has(oldSelf.value().spec.publicKey) == has(self.spec.publicKey))";

/// The characters that [`first_invisible`](crate::domain::display::first_invisible) finds.
const INVISIBLE: &str = concat!("[", invisible!(), "]");

/// The rules on all fields of the spec except `secret`.
pub fn rules() -> Vec<ValidationRule> {
    [missing(), names(Level::Spec), public_key(), generate(), texts(), tags()].concat()
}

/// The name rules for objects without `spec.keyPairName`, whose name is `metadata.name`.
pub fn default_name_rules() -> Vec<ValidationRule> {
    names(Level::Object)
}

fn missing() -> Vec<ValidationRule> {
    let required = |field: &str, present: &str, parameter, words| {
        rule(Level::Spec, field, &Profile::ALL, present, (Reason::MissingParameter, parameter), words)
    };
    vec![
        required(
            "keyPairName",
            "!has(self.keyPairName) || self.keyPairName != ''",
            Parameter::KeyPairName,
            "Set a name, or omit the field to use metadata.name.",
        ),
        required(
            "publicKey",
            "!has(self.publicKey) || self.publicKey.trim() != ''",
            Parameter::PublicKey,
            "Set a public key, or omit the field to generate a key pair.",
        ),
    ]
}

fn names(level: Level) -> Vec<ValidationRule> {
    let spec = level.spec();
    // An empty name is a missing parameter, not a malformed one.
    let (name, elsewhere) = match level {
        Level::Spec => ("self.keyPairName", "!has(self.keyPairName) || self.keyPairName == ''".to_owned()),
        Level::Object => ("self.metadata.name", format!("has(self.spec.keyPairName) || {UNCHANGED}")),
    };
    let named = |profile: Profile, other: &str, text_rule: &TextRule| {
        let mut named = rule(
            level,
            "keyPairName",
            &[profile],
            &format!("{elsewhere}{other} || ({})", allows(name, text_rule)),
            (Reason::InvalidKeyPairName, Parameter::KeyPairName),
            &format!("The name must be {}.", text_rule.words),
        );
        named.optional_old_self = matches!(level, Level::Object).then_some(true);
        named
    };
    let mut rules = Vec::new();
    for profile in Profile::ALL {
        let table = profile.rules();
        if std::ptr::eq(table.import_name, table.generate_name) {
            rules.push(named(profile, "", table.import_name));
        } else {
            rules.push(named(profile, &format!(" || !has({spec}.publicKey)"), table.import_name));
            rules.push(named(profile, &format!(" || has({spec}.publicKey)"), table.generate_name));
        }
    }
    rules
}

fn public_key() -> Vec<ValidationRule> {
    let key_rule = |profiles: &[Profile], condition: &str, words: &str| {
        let condition = format!("!has(self.publicKey) || {condition}");
        rule(Level::Spec, "publicKey", profiles, &condition, (Reason::InvalidPublicKey, Parameter::PublicKey), words)
    };
    let mut rules = vec![
        with_character_name(key_rule(
            &Profile::ALL,
            &format!("!self.publicKey.matches(r'{INVISIBLE}')"),
            "The public key contains an invisible character: remove it.",
        )),
        key_rule(
            &Profile::ALL,
            "!has(self.generate)",
            "publicKey and generate are mutually exclusive: set publicKey to import a key, or omit it to generate a key pair.",
        ),
        key_rule(
            &Profile::ALL,
            &format!("size(self.publicKey) <= {PUBLIC_KEY_MAX_CHARS}"),
            &format!("The public key must be at most {PUBLIC_KEY_MAX_CHARS} characters."),
        ),
        // If admission rejects a private key, the API server does not store it.
        key_rule(
            &Profile::ALL,
            &format!(
                "!{}.exists(marker, self.publicKey.upperAscii().contains(marker))",
                list(PRIVATE_KEY_MARKERS.iter().copied())
            ),
            "This is a private key: set the public key instead. Anyone who can read this manifest or the API server's audit log may have seen the private key, so replace the key pair.",
        ),
    ];
    for (types, profiles) in groups(|profile| profile.rules().import_types) {
        let tokens: Vec<String> = tokens(types).into_iter().map(regex_literal).collect();
        let names: Vec<&str> = types.iter().copied().map(KeyType::name).collect();
        rules.push(key_rule(
            &profiles,
            &format!(
                "self.publicKey.trim() == '' || self.publicKey.trim().matches(r'^(?:(?:{})[ \\t]|---- BEGIN SSH2 PUBLIC KEY ----|-----BEGIN (?:RSA )?PUBLIC KEY-----)')",
                tokens.join("|")
            ),
            &format!(
                "The public key must be one OpenSSH line, RFC 4716 block or PEM public key, of one of the types {}.",
                names.join(", ")
            ),
        ));
    }
    rules
}

/// Adds the name of the character to the message, if it is a well-known one.
fn with_character_name(rule: ValidationRule) -> ValidationRule {
    let names: Vec<String> = NAMED_CHARACTERS
        .iter()
        .map(|(character, _)| {
            format!("'{}': {}", escape(*character), quote(&format!(" It is {}.", name_of(*character))))
        })
        .collect();
    let names = format!("{{{}}}", names.join(", "));
    let first = format!("self.publicKey.find(r'{INVISIBLE}')");
    let which = format!("({first} in {names} ? {names}[{first}] : '')");
    ValidationRule { message_expression: rule.message_expression.map(|words| format!("{words} + {which}")), ..rule }
}

/// A character, escaped for a CEL literal.
fn escape(character: char) -> String {
    format!("\\u{:04x}", u32::from(character))
}

/// The words that an OpenSSH line may begin with if `types` are accepted.
fn tokens(types: &[KeyType]) -> Vec<&'static str> {
    let bare = BARE_TOKENS
        .iter()
        .filter(|(_, family)| family.iter().all(|key_type| types.contains(key_type)))
        .map(|(token, _)| *token);
    types.iter().copied().map(KeyType::name).chain(bare).collect()
}

/// A text as a regular expression. Names of key types contain no other special character than the dot.
fn regex_literal(text: &str) -> String {
    text.replace('.', r"\.")
}

fn generate() -> Vec<ValidationRule> {
    let about = (Reason::InvalidPublicKey, Parameter::Generate);
    let mut rules = Vec::new();
    for (algorithms, profiles) in groups(|profile| profile.rules().generates) {
        let names: Vec<&str> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
        rules.push(rule(
            Level::Spec,
            "generate.algorithm",
            &profiles,
            &format!("!has(self.generate) || self.generate.algorithm in {}", list(names.iter().copied())),
            about,
            &format!("Key algorithms that the profile can generate: {}.", names.join(", ")),
        ));
    }
    for algorithm in [Algorithm::Rsa, Algorithm::Ecdsa, Algorithm::Ed25519] {
        let sizes: Vec<String> = KeySpec::ALL
            .iter()
            .filter(|spec| spec.algorithm() == algorithm)
            .map(|spec| spec.bits().to_string())
            .collect();
        let sizes = sizes.join(", ");
        rules.push(rule(
            Level::Spec,
            "generate.bits",
            &Profile::ALL,
            &format!(
                "!has(self.generate) || !has(self.generate.bits) || self.generate.algorithm != '{algorithm}' || self.generate.bits in [{sizes}]",
            ),
            about,
            &format!("Supported sizes of an {algorithm} key in bits: {sizes}."),
        ));
    }
    rules
}

fn texts() -> Vec<ValidationRule> {
    [
        ("description", &DESCRIPTION, Reason::InvalidDescription, Parameter::Description),
        ("project", &PROJECT, Reason::ProjectNotFound, Parameter::Project),
        ("clientToken", &CLIENT_TOKEN, Reason::InvalidClientToken, Parameter::ClientToken),
    ]
    .into_iter()
    .map(|(field, text_rule, reason, parameter)| {
        rule(
            Level::Spec,
            field,
            &Profile::ALL,
            &format!("!has(self.{field}) || ({})", allows(&format!("self.{field}"), text_rule)),
            (reason, parameter),
            &format!("It must be {}.", text_rule.words),
        )
    })
    .collect()
}

fn tags() -> Vec<ValidationRule> {
    let tag_rule = |parameter, condition: &str, words: &str| {
        let condition = format!("!has(self.tags) || {condition}");
        rule(Level::Spec, "tags", &Profile::ALL, &condition, (Reason::InvalidTag, parameter), words)
    };
    vec![
        tag_rule(
            Parameter::TagKey,
            &format!("size(self.tags) <= {MAX_TAGS}"),
            &format!("At most {MAX_TAGS} tags are allowed."),
        ),
        tag_rule(
            Parameter::TagKey,
            &format!("self.tags.all(tag, {})", allows("tag.key", &TAG_KEY)),
            &format!("Each key must be {}.", TAG_KEY.words),
        ),
        tag_rule(
            Parameter::TagValue,
            &format!("self.tags.all(tag, !has(tag.value) || ({}))", allows("tag.value", &TAG_VALUE)),
            &format!("Each value must be {}.", TAG_VALUE.words),
        ),
        tag_rule(
            Parameter::TagKey,
            "self.tags.all(tag, self.tags.exists_one(other, other.key == tag.key))",
            "Tag keys must be unique.",
        ),
    ]
}

/// The profiles grouped by equal values, so that the CRD contains each value once.
fn groups<T: PartialEq>(value: impl Fn(Profile) -> T) -> Vec<(T, Vec<Profile>)> {
    let mut groups: Vec<(T, Vec<Profile>)> = Vec::new();
    for profile in Profile::ALL {
        let value = value(profile);
        match groups.iter_mut().find(|(shared, _)| *shared == value) {
            Some((_, profiles)) => profiles.push(profile),
            None => groups.push((value, vec![profile])),
        }
    }
    groups
}
