//! The rules that apply in every profile.

use super::text_rule::{TextRule, han};

/// The pattern of the key of a label or annotation, without its optional prefix.
macro_rules! qualified_name {
    () => {
        "[a-zA-Z0-9](?:[-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
    };
}

/// `spec.publicKey`: the maximum number of characters.
pub const PUBLIC_KEY_MAX_CHARS: usize = 32_768;

/// `spec.tags`: the maximum number of tags (`CreateKeyPair`: `Tag.n`, n from 1 to 20).
pub const MAX_TAGS: usize = 20;

const RESERVED_TAG_PREFIXES: &[&str] = &["aliyun", "acs:", "http://", "https://"];

/// `spec.description` (Volcengine).
pub static DESCRIPTION: TextRule = TextRule::new(
    1,
    255,
    concat!("[a-zA-Z", han!(), "][a-zA-Z0-9", han!(), "._=,， 。-]*"),
    "1 to 255 characters: a Latin letter or Chinese character, then Latin letters, Chinese characters, digits, spaces and any of . _ - = , ， 。",
);

/// `spec.project` (`UCloud`'s `ProjectId`, Volcengine's `ProjectName`); empty means the namespace's default project.
pub static PROJECT: TextRule =
    TextRule::new(0, 64, "[a-zA-Z0-9_.-]*", "at most 64 characters: Latin letters, digits, '_', '.' and '-'");

/// The key of a tag (`CreateKeyPair`).
pub static TAG_KEY: TextRule =
    TextRule::any(1, 64, "1 to 64 characters that do not begin with aliyun, acs:, http:// or https://")
        .without_prefixes(RESERVED_TAG_PREFIXES);

/// The value of a tag (`CreateKeyPair`).
pub static TAG_VALUE: TextRule =
    TextRule::any(0, 128, "at most 128 characters that do not begin with aliyun, acs:, http:// or https://")
        .without_prefixes(RESERVED_TAG_PREFIXES);

/// `spec.clientToken` (Volcengine); empty means none.
pub static CLIENT_TOKEN: TextRule = TextRule::new(0, 64, r"[\x00-\x7F]*", "at most 64 ASCII characters");

/// `spec.secret.name`: a name of a Secret, as Kubernetes validates it.
pub static SECRET_NAME: TextRule = TextRule::new(
    1,
    253,
    r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*",
    "a DNS subdomain: 1 to 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
);

/// A resource version: opaque, but always a single word.
pub static RESOURCE_VERSION: TextRule =
    TextRule::new(1, 64, "[a-zA-Z0-9_.:-]+", "1 to 64 letters, digits, '_', '.', ':' and '-'");

/// The UID of an object: a UUID, but clients must not rely on that.
pub static UID: TextRule = TextRule::new(1, 64, "[a-zA-Z0-9_.-]+", "1 to 64 letters, digits, '_', '.' and '-'");

/// `spec.secret.keys.*`: a key of a Secret's data, as Kubernetes validates it.
pub static DATA_KEY: TextRule = TextRule::new(
    1,
    253,
    r"\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*",
    "1 to 253 characters: letters, digits, '-', '_' and '.', not beginning with '..'",
);

/// The keys of a template's labels, as Kubernetes validates them, but shorter: Kubernetes allows 317 characters, of which 253
/// before the slash.
pub static LABEL_KEY: TextRule = TextRule::new(
    1,
    253,
    concat!("(?:", r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*", "/)?", qualified_name!()),
    "at most 253 characters: an optional DNS subdomain and '/', then 1 to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
);

/// The values of a template's labels, as Kubernetes validates them.
pub static LABEL_VALUE: TextRule = TextRule::new(
    0,
    63,
    concat!("(?:", qualified_name!(), ")?"),
    "at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
);

/// The keys of a template's annotations: like [`LABEL_KEY`], but Kubernetes also allows capital letters before the slash.
pub static ANNOTATION_KEY: TextRule = TextRule::new(
    1,
    253,
    concat!(
        "(?:",
        r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?)*",
        "/)?",
        qualified_name!()
    ),
    LABEL_KEY.words,
);

/// `spec.rotation.*`: a duration as `metav1.Duration` writes it, or shorter: `2160h`, `1h30m`, `0s`.
///
/// Only the last unit has a fraction, as jiff demands, and there are so few digits that Go's durations, which CEL uses, do not overflow.
pub static DURATION: TextRule = TextRule::new(
    1,
    40,
    concat!(
        r"[0-9]{1,5}(?:\.[0-9]{1,9})?h",
        r"|(?:[0-9]{1,5}h)?[0-9]{1,7}(?:\.[0-9]{1,9})?m",
        r"|(?:[0-9]{1,5}h)?(?:[0-9]{1,7}m)?[0-9]{1,9}(?:\.[0-9]{1,9})?s",
        r"|[0-9]{1,9}(?:\.[0-9]{1,9})?ms"
    ),
    "a duration of 1 to 40 characters such as 2160h, 90m, 1h30m or 0s, at most 87600h",
);

/// The value of the annotation that requests a rotation. The status repeats it.
pub static ROTATION_REQUEST: TextRule =
    TextRule::new(1, 64, "[a-zA-Z0-9_.:+-]+", "1 to 64 letters, digits, '_', '.', ':', '+' and '-', such as a time");

/// `spec.rotation.gates`: the type of a condition, as `metav1.Condition` documents it.
pub static CONDITION_TYPE: TextRule = TextRule::new(
    1,
    316,
    concat!(
        r"(?:[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*/)?",
        "(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
    ),
    "the type of a condition, such as example.com/registered: 1 to 316 characters: an optional DNS subdomain and '/', then letters, digits, '-', '_' and '.'",
);

/// The types of the conditions that the operator sets.
pub const OWN_CONDITION_TYPES: [&str; 3] = ["Ready", "Stalled", "Rotating"];
