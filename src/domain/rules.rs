//! The rules that are the same in every profile.

use super::text_rule::{TextRule, han};

/// `spec.publicKey`: the greatest number of characters.
pub const PUBLIC_KEY_MAX_CHARS: usize = 32_768;

/// `spec.tags`: the greatest number of tags (`CreateKeyPair`: `Tag.n`, n from 1 to 20).
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

/// `spec.secret.name`: what Kubernetes takes as the name of a Secret.
pub static SECRET_NAME: TextRule = TextRule::new(
    1,
    253,
    r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*",
    "a DNS subdomain: 1 to 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
);

/// `spec.secret.keys.*`: what Kubernetes takes as a key of a Secret's data.
pub static DATA_KEY: TextRule = TextRule::new(
    1,
    253,
    r"\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*",
    "1 to 253 characters: letters, digits, '-', '_' and '.', not beginning with '..'",
);
