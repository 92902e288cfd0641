//! `spec.rotation`.

use jiff::SignedDuration;

use crate::domain::{
    reason::{Parameter, Reason, Refusal},
    request::Parameters,
    rotation::{Phase, ROTATE_ANNOTATION},
    rules::{CONDITION_TYPE, DATA_KEY, DURATION, OWN_CONDITION_TYPES, ROTATION_REQUEST},
    secret::SecretSettings,
};

/// `spec.rotation.gates`: the maximum number.
pub const MAX_GATES: usize = 8;

/// The longest duration, in hours: ten years. Longer ones overflow elsewhere.
pub const MAX_HOURS: i64 = 87_600;

/// `spec.rotation` as written, with the defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationTexts {
    /// The interval between rotations; `None`: on request only.
    pub every: Option<String>,
    /// How long the next key is published before it becomes current.
    pub publish_before: String,
    /// How long the previous key stays.
    pub keep_after: String,
    /// The types of the conditions that must be True before the switch.
    pub gates: Vec<String>,
    /// The value of [`ROTATE_ANNOTATION`].
    pub request: Option<String>,
}

impl Default for RotationTexts {
    fn default() -> Self {
        Self {
            every: None,
            publish_before: Self::DEFAULT_PUBLISH_BEFORE.to_owned(),
            keep_after: Self::DEFAULT_KEEP_AFTER.to_owned(),
            gates: Vec::new(),
            request: None,
        }
    }
}

impl RotationTexts {
    /// The default of `publishBefore`.
    pub const DEFAULT_PUBLISH_BEFORE: &str = "24h";
    /// The default of `keepAfter`.
    pub const DEFAULT_KEEP_AFTER: &str = "24h";
}

/// `spec.rotation`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationSettings {
    /// A new key becomes current at the latest this long after the present one did.
    pub every: Option<SignedDuration>,
    /// How long the next key is published before it becomes current.
    pub publish_before: SignedDuration,
    /// How long the previous key stays published.
    pub keep_after: SignedDuration,
    /// The types of the conditions that must be True before the switch.
    pub gates: Vec<String>,
    /// The value of [`ROTATE_ANNOTATION`], by which a rotation is requested.
    pub request: Option<String>,
}

impl RotationSettings {
    /// How long the previous key stays if the rotation is no longer configured.
    pub const KEEP_AFTER_WITHOUT_SETTINGS: SignedDuration = SignedDuration::from_hours(24);
}

/// A duration as `metav1.Duration` writes it, if it is one and not too long.
#[must_use]
pub fn parse_duration(text: &str) -> Option<SignedDuration> {
    let duration: SignedDuration = DURATION.allows(text).then(|| text.parse().ok())??;
    (duration <= SignedDuration::from_hours(MAX_HOURS)).then_some(duration)
}

/// Checks `spec.rotation`.
///
/// # Errors
///
/// The refusals; never empty.
pub fn check(parameters: &Parameters) -> Result<Option<RotationSettings>, Vec<Refusal>> {
    let Some(texts) = &parameters.rotation else { return Ok(None) };
    let mut details = Vec::new();
    if parameters.is_import() {
        details.push(
            "an imported key pair cannot be rotated: omit rotation, or omit publicKey to generate a key pair"
                .to_owned(),
        );
    }
    let mut parse = |field: &str, text: &str| {
        let parsed = parse_duration(text);
        if parsed.is_none() {
            details.push(format!("{field} must be {}", DURATION.words));
        }
        parsed
    };
    let every = texts.every.as_deref().map(|text| parse("every", text));
    let publish_before = parse("publishBefore", &texts.publish_before);
    let keep_after = parse("keepAfter", &texts.keep_after);
    if let Some(Some(every)) = every {
        if every.is_zero() {
            details.push("every must be longer than 0s: omit it to rotate on request only".to_owned());
        } else if publish_before.is_some_and(|publish_before| every < publish_before) {
            details.push("every must not be shorter than publishBefore: the next key is published that long before it becomes current".to_owned());
        }
    }
    details.extend(gate_mistakes(&texts.gates));
    if texts.request.as_ref().is_some_and(|request| !ROTATION_REQUEST.allows(request)) {
        details.push(format!("the value of the annotation {ROTATE_ANNOTATION} must be {}", ROTATION_REQUEST.words));
    }
    if !parameters.is_import() {
        details.extend(entry_mistakes(&parameters.secret));
    }
    match (publish_before, keep_after) {
        (Some(publish_before), Some(keep_after)) if details.is_empty() => Ok(Some(RotationSettings {
            every: every.flatten(),
            publish_before,
            keep_after,
            gates: texts.gates.clone(),
            request: texts.request.clone(),
        })),
        _ => Err(details.into_iter().map(refusal).collect()),
    }
}

fn refusal(detail: String) -> Refusal {
    Refusal::new(Reason::InvalidRotation, Parameter::Rotation, detail)
}

fn gate_mistakes(gates: &[String]) -> Vec<String> {
    if gates.len() > MAX_GATES {
        return vec![format!("at most {MAX_GATES} gates are allowed")];
    }
    let mut details = Vec::new();
    for (index, gate) in gates.iter().enumerate() {
        if !CONDITION_TYPE.allows(gate) {
            details.push(format!("gates[{index}] must be {}", CONDITION_TYPE.words));
        } else if OWN_CONDITION_TYPES.contains(&gate.as_str()) {
            details.push(format!("gates[{index}] must not be a condition that the operator itself sets"));
        }
        if gates.iter().take(index).any(|earlier| earlier == gate) {
            details.push(format!("gates[{index}] is a duplicate"));
        }
    }
    details
}

/// The entries of the next and the previous key must be valid data keys that nothing else uses.
fn entry_mistakes(secret: &SecretSettings) -> Vec<String> {
    let mut details = Vec::new();
    for (field, name, other) in [
        ("keys.privateKey", &secret.private_key, &secret.public_key),
        ("keys.publicKey", &secret.public_key, &secret.private_key),
    ] {
        for suffix in [Phase::Next.suffix(), Phase::Previous.suffix()] {
            let entry = format!("{name}{suffix}");
            if entry.len() > DATA_KEY.max_chars {
                details.push(format!(
                    "the name in secret.{field} is too long for an entry with the suffix {suffix}: shorten it"
                ));
            }
            if entry == *other || secret.string_data.contains_key(&entry) {
                details.push(format!(
                    "the rotation uses the data key that secret.{field} names, with the suffix {suffix}: do not use it for another entry"
                ));
            }
        }
    }
    details
}
