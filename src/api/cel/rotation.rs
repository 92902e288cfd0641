//! The checks of the rotation.

use super::{
    expression::{allows, list, quote},
    secret::key_names,
    tree::{Check, Node, check, present, variable, when},
};
use crate::domain::{
    reason::{Parameter, Reason},
    rotation::{MAX_GATES, MAX_HOURS, Phase},
    rules::{CONDITION_TYPE, DATA_KEY, DURATION, OWN_CONDITION_TYPES},
};

/// The checks of `spec.rotation`. The annotation that requests a rotation is not visible to the rules of a CRD.
pub fn checks() -> Vec<Node> {
    let import = rotation_check(
        "",
        "!publicKey.hasValue()",
        "An imported key pair cannot be rotated: omit rotation, or omit publicKey to generate a key pair.",
    );
    // An imported pair has no Secret.
    let entries = when("!publicKey.hasValue()", vec![key_names("secret", entries())]);
    // No other check needs the value, so it has no variable, which would cost every write.
    let rotation = present("settings", "spec.?rotation", vec![import.into(), durations(), gates(), entries]);
    vec![when("hasMore", vec![rotation])]
}

fn rotation_check(field: &str, condition: impl Into<String>, words: impl Into<String>) -> Check {
    check(format!("rotation{field}"), (Reason::InvalidRotation, Parameter::Rotation), condition, words)
}

fn durations() -> Node {
    // `duration()` fails on a text that is no duration.
    let is_valid = |text: &str| format!("{} && duration({text}) <= duration('{MAX_HOURS}h')", allows(text, &DURATION));
    let valid = |field: &str, condition: &str| -> Node {
        rotation_check(field, condition, format!("It must be {}.", DURATION.words)).into()
    };
    let positive = rotation_check(
        ".every",
        "interval > duration('0s')",
        "every must be longer than 0s: omit it to rotate on request only.",
    );
    let long = rotation_check(
        ".every",
        "interval >= duration(publishBefore)",
        "every must not be shorter than publishBefore: the next key is published that long before it becomes current.",
    );
    let long = when("canPublish && interval > duration('0s')", vec![long.into()]);
    let interval = variable("interval", "duration(every)", vec![positive.into(), long]);
    let every = variable(
        "isInterval",
        is_valid("every"),
        vec![valid(".every", "isInterval"), when("isInterval", vec![interval])],
    );
    let checks = vec![
        valid(".publishBefore", "canPublish"),
        variable("text", "settings.keepAfter", vec![valid(".keepAfter", &is_valid("text"))]),
        present("every", "settings.?every", vec![every]),
    ];
    // These two fields have defaults: they are always there.
    variable("publishBefore", "settings.publishBefore", vec![variable("canPublish", is_valid("publishBefore"), checks)])
}

fn gates() -> Node {
    let gate_check = |condition: String, words: String| -> Node { rotation_check(".gates", condition, words).into() };
    let is_short = format!("size(list) <= {MAX_GATES}");
    let contents = vec![
        gate_check(
            format!("list.all(text, {})", allows("text", &CONDITION_TYPE)),
            format!("Each gate must be {}.", CONDITION_TYPE.words),
        ),
        gate_check(
            format!("!list.exists(gate, gate in {})", list(OWN_CONDITION_TYPES.into_iter())),
            "A gate must not be a condition that the operator itself sets.".to_owned(),
        ),
        gate_check(
            "list.all(gate, list.exists_one(other, other == gate))".to_owned(),
            "Gates must be unique.".to_owned(),
        ),
    ];
    let number = gate_check(is_short.clone(), format!("At most {MAX_GATES} gates are allowed."));
    present("list", "settings.?gates", vec![number, when(is_short, contents)])
}

/// The checks that the entries of the next and the previous key have valid names that nothing else uses.
fn entries() -> Vec<Node> {
    let suffixes = [Phase::Next.suffix(), Phase::Previous.suffix()];
    let longest = suffixes.into_iter().max_by_key(|suffix| suffix.len()).unwrap_or_default();
    let names =
        [("keys.privateKey", "privateKeyName", "publicKeyName"), ("keys.publicKey", "publicKeyName", "privateKeyName")];
    let checks = names.map(|(field, name, other)| -> [Node; 2] {
        let short = rotation_check(
            "",
            format!("size({name}) <= {}", DATA_KEY.max_chars.saturating_sub(longest.len())),
            format!("The name in secret.{field} is too long for an entry with the suffix {longest}: shorten it."),
        );
        let entries: Vec<String> = suffixes.into_iter().map(|suffix| format!("{name} + {}", quote(suffix))).collect();
        let free = rotation_check(
            "",
            format!(
                "[{}].all(entry, entry != {other} && [?secret.?template.?stringData].all(map, !(entry in map)))",
                entries.join(", ")
            ),
            format!(
                "The rotation uses the data key that secret.{field} names, with the suffixes {}: do not use them for another entry.",
                suffixes.join(" and ")
            ),
        );
        [short.into(), free.into()]
    });
    checks.into_iter().flatten().collect()
}
