//! Parsing takes time in proportion to the length of the text, whatever it contains.
//!
//! The data is a pattern that is repeated, after a prefix that the first byte selects. The check compares a text with one
//! that is 16 times as long: 16 times the time is linear, and 256 times the time is quadratic.

use std::{hint::black_box, time::Duration};

use keypair_operator::domain::{
    key::{PrivateKey, PublicKey},
    label_selector::LabelSelector,
};
use rustix::time::{ClockId, clock_gettime};

/// In bytes. A fuzzer runs optimized code, in which quadratic time shows only with long texts.
const SHORT: usize = if cfg!(fuzzing) { 16 * 1024 } else { 4 * 1024 };
const TIMES: u32 = 16;
/// More than 16, because of cache effects, and far below 256.
const MOST: u32 = 22;
/// Shorter times are ignored, because the clock is not precise enough.
const NOTHING: Duration = Duration::from_millis(20);

/// Text before and after the pattern, so that parsers reach the pattern instead of failing on a missing END line.
const FRAMES: [(&str, &str); 8] = [
    ("", ""),
    ("ssh-ed25519 ", ""),
    ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICV0MGX/W9IvLA4FXpIuUcdDcbj5KX4syHgsTy7soVgf ", ""),
    ("---- BEGIN SSH2 PUBLIC KEY ----\n", "\n---- END SSH2 PUBLIC KEY ----"),
    ("---- BEGIN SSH2 PUBLIC KEY ----\nComment: ", "\nAAAA\n---- END SSH2 PUBLIC KEY ----"),
    ("-----BEGIN PUBLIC KEY-----\n", "\n-----END PUBLIC KEY-----"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "\n-----END OPENSSH PRIVATE KEY-----"),
    ("-----BEGIN EC PARAMETERS-----\n", "\n-----END EC PARAMETERS-----\n"),
];

type Read = fn(&str);

/// The parsers of text from users.
const READERS: [(&str, Read); 3] = [
    ("PublicKey::parse", |text| drop(black_box(PublicKey::parse(text)))),
    ("PrivateKey::parse", |text| drop(black_box(PrivateKey::parse(text)))),
    ("LabelSelector", |text| drop(black_box(text.parse::<LabelSelector>()))),
];

/// # Panics
///
/// If a reader takes more than linear time.
pub fn check(data: &[u8]) {
    let Some((first, pattern)) = data.split_first() else { return };
    let Ok(pattern) = std::str::from_utf8(pattern) else { return };
    if pattern.is_empty() || pattern.len() > 256 {
        return;
    }
    let (before, after) = FRAMES[usize::from(*first) % FRAMES.len()];
    let repeated = |length: usize| format!("{before}{}{after}", pattern.repeat(length / pattern.len()));
    let (long, short) = (repeated(SHORT * TIMES as usize), repeated(SHORT));
    for (name, read) in READERS {
        // Retries, because other load can disturb a single measurement.
        let is_linear = (0..3).any(|_| {
            let took = processor_time(|| read(&long));
            took < NOTHING || took < processor_time(|| read(&short)).max(NOTHING / TIMES) * MOST
        });
        assert!(is_linear, "{name} takes more than linear time");
    }
}

fn processor_time(work: impl FnOnce()) -> Duration {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
    };
    let before = now();
    work();
    now().saturating_sub(before)
}

/// Patterns that could be slow to parse, where parsers look for them.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let seeds: [(u8, &[&str]); 8] = [
        (
            0,
            &[
                "a",
                " ",
                "\n",
                "-",
                "- BEGIN ",
                "a=b,",
                "a in (b),",
                "(,",
                "ssh-rsa AAAA\n",
                "\"d\"",
                "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC ",
            ],
        ),
        (1, &["A", "= "]),
        (2, &["ssh-rsa ", "\u{2028}"]),
        (3, &["x: y\n", "Comment: a\\\n", "AAAA\n"]),
        (4, &["a\\\n", "\\\n"]),
        (5, &["AAAA\n"]),
        (6, &["AAAA\n"]),
        (7, &["-----END EC PARAMETERS-----"]),
    ];
    let seed = |first: u8, pattern: &str| [&[first], pattern.as_bytes()].concat();
    seeds.iter().flat_map(|(first, patterns)| patterns.iter().map(move |pattern| seed(*first, pattern))).collect()
}
