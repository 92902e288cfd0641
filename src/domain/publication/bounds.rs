//! The rules for the texts of a publication, and the bounds of its lists. The schema, the CEL rules and the checks are derived from them.

use crate::domain::text_rule::{TextRule, invisible};

/// `spec.entries`: the maximum number.
pub const MAX_ENTRIES: usize = 64;
/// `hosts` of an entry: the maximum number.
pub const MAX_HOSTS: usize = 16;
/// `publicKeys` of an entry: the maximum number.
pub const MAX_PUBLIC_KEYS: usize = 32;
/// The maximum number of elements of every other list of an entry, and of `environment`.
pub const MAX_ELEMENTS: usize = 32;
/// The maximum size of a spec as JSON in bytes. Each is in memory, compressed.
pub const SPEC_MAX_BYTES: usize = 128 * 1024;
/// The maximum number of matches of a publication's selectors, each of an entry and a `KeyPair`. A full target has fewer lines.
pub const MAX_MATCHES: usize = 20_000;
/// The maximum size of the data of a target in bytes, its keys included. etcd and the API server allow little more.
pub const TARGET_MAX_BYTES: usize = 1_000_000;
/// The maximum size in bytes of a message of a condition.
pub const MESSAGE_MAX_BYTES: usize = 1024;

/// Names of ConfigMaps that others write into every namespace: they and the operator would overwrite each other without end.
pub const RESERVED_TARGETS: [&str; 3] = ["kube-root-ca.crt", "openshift-service-ca.crt", "istio-ca-root-cert"];
/// [`RESERVED_TARGETS`] in words.
pub const RESERVED_TARGETS_WORDS: &str =
    "kube-root-ca.crt, openshift-service-ca.crt or istio-ca-root-cert, which Kubernetes, OpenShift and Istio write";

/// The characters of free text in quotes: no control character and no invisible one.
macro_rules! quotable {
    ($also:expr) => {
        concat!(r"[^\p{Cc}", invisible!(), $also, "]")
    };
}

/// An element of `publicKeys`: a public key. Its parser says the rest.
pub static PUBLIC_KEY: TextRule = TextRule::any(1, 4096, "a public key of at most 4096 characters");

/// `namespace`, as Kubernetes validates it.
pub static NAMESPACE: TextRule = TextRule::new(
    1,
    63,
    "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?",
    "the name of a namespace: 1 to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit",
);

/// An element of `hosts`: a name, an address or a pattern of these, or one with a port in the form `[host]:port`.
///
/// The characters exclude what ends the host names of a line (white space), separates them (`,`), or has a meaning at the beginning of a
/// line (`@`, `#`, `|`). Only an address has colons outside the brackets.
pub static HOST: TextRule = TextRule::new(
    1,
    262,
    concat!(
        r"!?(?:[a-zA-Z0-9._*?-]{1,253}|[a-fA-F0-9:.*?]{1,253}(?:%[a-zA-Z0-9._-]{1,15})?",
        r"|\[(?:[a-zA-Z0-9._*?-]{1,253}|[a-fA-F0-9:.*?]{1,253}(?:%[a-zA-Z0-9._-]{1,15})?)\]:(?:[1-9][0-9]{0,4}|\*))"
    ),
    "a host name, an address or a pattern with '*' and '?', or one with a port, such as [host]:2222; '!' before it excludes",
);

/// An element of `options.from`: an address, a CIDR block, or a pattern of these or of host names.
pub static FROM: TextRule = TextRule::new(
    1,
    253,
    "!?[a-zA-Z0-9.:_*?-]+(?:/[0-9]{1,3})?",
    "an address, a CIDR block, or a pattern of addresses or host names with '*' and '?'; '!' before it excludes",
);

/// `options.command`. sshd cannot read a quoted text that ends with a backslash.
pub static COMMAND: TextRule = TextRule::new(
    1,
    4096,
    concat!(quotable!(""), "*", quotable!(r"\\")),
    "1 to 4096 characters without control characters and invisible characters, not ending with a backslash",
);

/// A key of `options.environment`.
pub static ENVIRONMENT_NAME: TextRule = TextRule::new(
    1,
    253,
    "[a-zA-Z_][a-zA-Z0-9_]*",
    "the name of an environment variable: 1 to 253 Latin letters, digits and '_', not beginning with a digit",
);

/// A value of `options.environment`.
pub static ENVIRONMENT_VALUE: TextRule = TextRule::new(
    0,
    1024,
    concat!("(?:", quotable!(""), "*", quotable!(r"\\"), ")?"),
    "at most 1024 characters without control characters and invisible characters, not ending with a backslash",
);

/// `options.expiryTime`: a time of RFC 3339 without a fraction of a second.
pub static EXPIRY_TIME: TextRule = TextRule::new(
    20,
    25,
    concat!(
        "(?:19[7-9][0-9]|[2-9][0-9]{3})-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])",
        "T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
    ),
    "a time such as 2027-01-01T00:00:00Z",
);

/// An element of `options.principals`. sshd compares principals with whole elements of the list, so that a pattern matches nothing.
pub static PRINCIPAL: TextRule = TextRule::new(
    1,
    253,
    r"[a-zA-Z0-9!#$%&()+./:;<=>@\[\]^_{|}~-]+",
    "1 to 253 ASCII letters, digits and punctuation marks, but no quotation mark, comma, backslash, '*' or '?'",
);

/// An element of `options.permitOpen`.
pub static PERMIT_OPEN: TextRule = TextRule::new(
    3,
    253,
    r"(?:\*|[a-zA-Z0-9._-]+|\[[a-fA-F0-9:.]+\]):(?:[1-9][0-9]{0,4}|\*)",
    "host:port or [address]:port, where host and port may each be '*'",
);

/// An element of `options.permitListen`. Unlike `permitOpen`, its host may be a pattern.
pub static PERMIT_LISTEN: TextRule = TextRule::new(
    1,
    253,
    r"(?:(?:[a-zA-Z0-9._*?-]+|\[[a-fA-F0-9:.*?]+\]):)?(?:[1-9][0-9]{0,4}|\*)",
    "port, host:port or [address]:port, where host and address may have '*' and '?', and port may be '*'",
);

/// `options.tunnel`.
pub static TUNNEL: TextRule =
    TextRule::new(1, 9, "0|[1-9][0-9]{0,8}", "the number of a tun device: 0 to 999999999, without leading zeros");
