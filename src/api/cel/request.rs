//! The checks of names, keys, texts and tags.

use super::{
    expression::{allows, list, quote},
    tree::{Check, Node, check, present, variable, when},
};
use crate::domain::{
    display::{NAMED_CHARACTERS, name_of},
    key::{Algorithm, BARE_TOKENS, KeySpec, KeyType, PRIVATE_KEY_MARKERS},
    profile::Profile,
    reason::{Parameter, Reason},
    rules::{CLIENT_TOKEN, DESCRIPTION, MAX_TAGS, PROJECT, PUBLIC_KEY_MAX_CHARS, TAG_KEY, TAG_VALUE},
    text_rule::{TextRule, invisible},
};

/// The characters that [`first_invisible`](crate::domain::display::first_invisible) finds.
const INVISIBLE: &str = concat!("[", invisible!(), "]");

/// The number of characters at the start of a key that show its type: more than any type has.
const TYPE_CHARS: usize = 64;

/// The word that most of [`PRIVATE_KEY_MARKERS`] contain.
const COMMON_MARKER: &str = "PRIVATE";

/// The checks of all fields of the spec except `secret`.
pub fn checks(stored: Option<&str>) -> Vec<Node> {
    let names = [missing(), names(stored)].concat();
    let name = variable("name", "keyPairName.orValue(objectName)", names);
    [vec![name, public_key(), generate()], texts(), vec![tags()]].concat()
}

/// The checks of parameters that are empty. As in the cloud's answers, they come first.
fn missing() -> Vec<Node> {
    let missing = |field: &str, parameter, condition: &str, words: &str| -> Node {
        check(field, (Reason::MissingParameter, parameter), condition, words).into()
    };
    vec![
        missing(
            "keyPairName",
            Parameter::KeyPairName,
            "name != ''",
            "Set a name, or omit the field to use metadata.name.",
        ),
        present(
            "key",
            "publicKey",
            vec![missing(
                "publicKey",
                Parameter::PublicKey,
                "key.trim() != ''",
                "Set a public key, or omit the field to generate a key pair.",
            )],
        ),
    ]
}

/// The checks of `name`, which is `metadata.name` for objects without `spec.keyPairName`.
fn names(stored: Option<&str>) -> Vec<Node> {
    // Other fields of an object whose name is older than the rule can change.
    let unchanged = stored.map(|stored| {
        format!(
            "!keyPairName.hasValue() && [{stored}.spec].all(old, old.profile == profile && !has(old.keyPairName) \
             && has(old.publicKey) == publicKey.hasValue())"
        )
    });
    let named = |profile: Profile, text_rule: &TextRule| -> Node {
        check(
            "keyPairName",
            (Reason::InvalidKeyPairName, Parameter::KeyPairName),
            // An empty name is a missing parameter, not a malformed one.
            format!("name == '' || {}", allows("name", text_rule)),
            format!("The name must be {}.", text_rule.words),
        )
        .only_for(&[profile])
        .tolerates(unchanged.clone())
        .into()
    };
    let mut nodes = Vec::new();
    for profile in Profile::ALL {
        let table = profile.rules();
        if std::ptr::eq(table.import_name, table.generate_name) {
            nodes.push(named(profile, table.import_name));
        } else {
            nodes.push(when("publicKey.hasValue()", vec![named(profile, table.import_name)]));
            nodes.push(when("!publicKey.hasValue()", vec![named(profile, table.generate_name)]));
        }
    }
    nodes
}

fn public_key() -> Node {
    let size = key_check(
        format!("size(key) <= {PUBLIC_KEY_MAX_CHARS}"),
        format!("The public key must be at most {PUBLIC_KEY_MAX_CHARS} characters."),
    );
    let exclusive = key_check(
        "!generate.hasValue()",
        "publicKey and generate are mutually exclusive: set publicKey to import a key, or omit it to generate a key pair.",
    );
    let visible = key_check(
        // An ASCII character is one byte, and none of them is invisible.
        format!("size(bytes(key)) == size(key) || !key.matches(r'{INVISIBLE}')"),
        "The public key contains an invisible character: remove it.",
    );
    // If admission rejects a private key, the API server does not store it.
    let private = key_check(
        markers(),
        "This is a private key: set the public key instead. Anyone who can read this manifest or the API server's audit log may have seen the private key, so replace the key pair.",
    );
    let content = vec![
        exclusive.into(),
        visible.with_detail(name_of_first_invisible()).into(),
        variable("upper", "key.upperAscii()", vec![private.into()]),
        variable("trimmed", "key.trim()", vec![variable("start", start("trimmed"), key_types())]),
    ];
    // The API server limits the cost of a program, and the other checks read the whole key.
    let limited = when(format!("size(key) <= {PUBLIC_KEY_MAX_CHARS}"), content);
    present("key", "publicKey", vec![size.into(), limited])
}

/// A check of the variable `key`.
fn key_check(condition: impl Into<String>, words: impl Into<String>) -> Check {
    check("publicKey", (Reason::InvalidPublicKey, Parameter::PublicKey), condition, words)
}

/// The checks of `start`, the start of the key.
fn key_types() -> Vec<Node> {
    let accepted = |(types, profiles): (&[KeyType], Vec<Profile>)| {
        let tokens: Vec<String> = tokens(types).into_iter().map(regex_literal).collect();
        let names: Vec<&str> = types.iter().copied().map(KeyType::name).collect();
        let check = key_check(
            format!(
                "start == '' || start.matches(r'^(?:(?:{})[ \\t]|---- BEGIN SSH2 PUBLIC KEY ----|-----BEGIN (?:RSA )?PUBLIC KEY-----)')",
                tokens.join("|")
            ),
            format!(
                "The public key must be one OpenSSH line, RFC 4716 block or PEM public key, of one of the types {}.",
                names.join(", ")
            ),
        );
        check.only_for(&profiles).into()
    };
    groups(|profile| profile.rules().import_types).into_iter().map(accepted).collect()
}

/// The expression for the first [`TYPE_CHARS`] characters of the variable `text`.
fn start(text: &str) -> String {
    format!("{text}.substring(0, size({text}) < {TYPE_CHARS} ? size({text}) : {TYPE_CHARS})")
}

/// The condition that `upper` contains none of [`PRIVATE_KEY_MARKERS`].
fn markers() -> String {
    let (common, others): (Vec<&str>, Vec<&str>) =
        PRIVATE_KEY_MARKERS.iter().copied().partition(|marker| marker.contains(COMMON_MARKER));
    let without = |marker: &&str| format!("!upper.contains({})", quote(marker));
    let common: Vec<String> = common.iter().map(without).collect();
    let others: Vec<String> = others.iter().map(without).collect();
    format!("({} || {}) && {}", without(&COMMON_MARKER), common.join(" && "), others.join(" && "))
}

/// The expression for a sentence with the name of the first invisible character of `key`, if it is a well-known one.
fn name_of_first_invisible() -> String {
    let names: Vec<String> = NAMED_CHARACTERS
        .iter()
        .map(|(character, _)| {
            format!("'{}': {}", escape(*character), quote(&format!("It is {}. ", name_of(*character))))
        })
        .collect();
    let names = format!("{{{}}}", names.join(", "));
    format!("[key.find(r'{INVISIBLE}')].map(first, first in {names} ? {names}[first] : '')[0]")
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

fn generate() -> Node {
    let about = (Reason::InvalidPublicKey, Parameter::Generate);
    let algorithms = groups(|profile| profile.rules().generates).into_iter().map(|(algorithms, profiles)| -> Node {
        let names: Vec<&str> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
        check(
            "generate.algorithm",
            about,
            format!("algorithm in {}", list(names.iter().copied())),
            format!("Key algorithms that the profile can generate: {}.", names.join(", ")),
        )
        .only_for(&profiles)
        .into()
    });
    let sizes = [Algorithm::Rsa, Algorithm::Ecdsa, Algorithm::Ed25519].map(|algorithm| -> Node {
        let sizes: Vec<String> = KeySpec::ALL
            .iter()
            .filter(|spec| spec.algorithm() == algorithm)
            .map(|spec| spec.bits().to_string())
            .collect();
        let sizes = sizes.join(", ");
        check(
            "generate.bits",
            about,
            format!("algorithm != '{algorithm}' || bits in [{sizes}]"),
            format!("Supported sizes of an {algorithm} key in bits: {sizes}."),
        )
        .into()
    });
    let bits = present("bits", "settings.?bits", sizes.to_vec());
    let checks = algorithms.chain([bits]).collect();
    present("settings", "generate", vec![variable("algorithm", "settings.algorithm", checks)])
}

fn texts() -> Vec<Node> {
    [
        ("description", &DESCRIPTION, Reason::InvalidDescription, Parameter::Description),
        ("project", &PROJECT, Reason::ProjectNotFound, Parameter::Project),
        ("clientToken", &CLIENT_TOKEN, Reason::InvalidClientToken, Parameter::ClientToken),
    ]
    .into_iter()
    .map(|(field, text_rule, reason, parameter)| {
        let words = format!("It must be {}.", text_rule.words);
        let check = check(field, (reason, parameter), allows("text", text_rule), words);
        present("text", field, vec![check.into()])
    })
    .collect()
}

fn tags() -> Node {
    let tag_check = |parameter, condition: String, words: String| -> Node {
        check("tags", (Reason::InvalidTag, parameter), condition, words).into()
    };
    present(
        "list",
        "tags",
        vec![
            tag_check(
                Parameter::TagKey,
                format!("size(list) <= {MAX_TAGS}"),
                format!("At most {MAX_TAGS} tags are allowed."),
            ),
            tag_check(
                Parameter::TagKey,
                format!("list.all(tag, [tag.key].all(text, {}))", allows("text", &TAG_KEY)),
                format!("Each key must be {}.", TAG_KEY.words),
            ),
            tag_check(
                Parameter::TagValue,
                format!("list.all(tag, [?tag.?value].all(text, {}))", allows("text", &TAG_VALUE)),
                format!("Each value must be {}.", TAG_VALUE.words),
            ),
            tag_check(
                Parameter::TagKey,
                "size(list) == 1 || list.all(tag, list.exists_one(other, other.key == tag.key))".into(),
                "Tag keys must be unique.".into(),
            ),
        ],
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_key_contains_its_type() {
        let types: Vec<KeyType> =
            Profile::ALL.iter().flat_map(|profile| profile.rules().import_types).copied().collect();
        assert!(tokens(&types).iter().all(|token| token.len() < TYPE_CHARS));
    }
}
