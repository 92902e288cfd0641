//! Parsing takes time in proportion to the length of the text, whatever it contains.
//!
//! Parses each text at one size and at sixteen times that size, and compares the CPU time of this thread: sixteen times the
//! time is linear, and 256 times the time is quadratic. The best of several tries counts, so that a busy machine does not
//! matter.

use std::fmt::Write as _;

use keypair_operator::domain::{
    key::{PrivateKey, PublicKey},
    label_selector::LabelSelector,
    region::{DEFAULT_PROJECT_ANNOTATION, PROJECTS_ANNOTATION, QUOTA_ANNOTATION, Region, RegionSettings},
};
use rustix::time::{ClockId, clock_gettime};

use crate::vectors::{line, read, string};

/// Makes a text of about the given size.
type Maker = Box<dyn Fn(usize) -> String>;
/// Reads a text.
type Reader<'a> = &'a dyn Fn(&str);

const GROWTH: usize = 16;
/// Between 16 and 256, and far from both.
const TOO_MUCH: i128 = 48;
const TRIES: usize = 2;
/// Shorter times, in nanoseconds, cannot be compared.
const GRAIN: i128 = 20_000;
/// The size of the larger text in bytes: larger than any field, and enough to distinguish linear from quadratic time.
const GREATER: usize = 1 << 17;

/// The CPU time of this thread in nanoseconds.
fn processor_time() -> i128 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// The CPU time of `read`, at best.
fn effort(read: &dyn Fn(&str), text: &str) -> i128 {
    let tries = (0..TRIES).map(|_| {
        let before = processor_time();
        read(text);
        processor_time() - before
    });
    tries.min().unwrap_or_default()
}

fn assert_linear(what: &str, reader: &str, read: &dyn Fn(&str), make: &dyn Fn(usize) -> String) {
    let (lesser, greater) = (make(GREATER / GROWTH), make(GREATER));
    let growth = greater.len() / lesser.len();
    assert!((14..=18).contains(&growth), "{what} grows {growth} times");
    let (before, after) = (effort(read, &lesser).max(GRAIN), effort(read, &greater));
    assert!(
        after < before * TOO_MUCH,
        "{what}, {reader}: {before} ns for {}, {after} ns for {}",
        lesser.len(),
        greater.len()
    );
}

/// Repeats `part` to a length of about `size` bytes.
fn repeated(part: &str, size: usize) -> String {
    part.repeat(size / part.len())
}

/// Texts of about a given size, each with many repetitions of something that a parser looks for.
fn texts() -> Vec<(&'static str, Maker)> {
    const BEGIN: &str = "---- BEGIN SSH2 PUBLIC KEY ----";
    const END: &str = "---- END SSH2 PUBLIC KEY ----";
    let key = read("public/ed25519.pub").trim().to_owned();
    let block = |inside: String| format!("{BEGIN}\n{inside}\nAAAA\n{END}\n");
    let of = |part: &'static str| move |size| repeated(part, size);
    let armoured = |label: &'static str, part: &'static str| {
        move |size| format!("-----BEGIN {label}-----\n{}-----END {label}-----\n", repeated(part, size))
    };
    let commented = move |part: &'static str| {
        let key = key.clone();
        move |size| format!("{key} {}", repeated(part, size))
    };
    vec![
        ("a header that goes on", Box::new(move |size| block(format!("Comment: {}a", repeated("a\\\n", size))))),
        (
            "a header of no interest that goes on",
            Box::new(move |size| block(format!("X: {}a", repeated("\\\n", size)))),
        ),
        ("many headers", Box::new(move |size| block(repeated("Comment: \"a\"\n", size)))),
        ("many backslashes", Box::new(move |size| block(format!("Comment: {}", repeated("\\", size))))),
        ("a block of many lines", Box::new(move |size| block(repeated("AAAA\n", size)))),
        ("a block of blank lines", Box::new(move |size| block(repeated(" \n", size)))),
        ("a block without an end", Box::new(move |size| format!("{BEGIN}\n{}", repeated("AAAA\n", size)))),
        ("PEM of many lines", Box::new(armoured("PUBLIC KEY", "MIIB\n"))),
        ("PEM of one kind of byte", Box::new(armoured("PUBLIC KEY", "MDAw\n"))),
        ("a private key of many lines", Box::new(armoured("PRIVATE KEY", "MIIB\n"))),
        ("an OpenSSH private key of many lines", Box::new(armoured("OPENSSH PRIVATE KEY", "b3Bl\n"))),
        (
            "EC parameters before EC parameters",
            Box::new(of("-----BEGIN EC PARAMETERS-----\n-----END EC PARAMETERS-----\n")),
        ),
        ("BEGIN after BEGIN", Box::new(of("-----BEGIN PUBLIC KEY-----\n"))),
        ("a comment of words", Box::new(commented("a "))),
        ("a comment of types", Box::new(commented("ssh-rsa "))),
        ("a comment of keys that are none", Box::new(commented("AAAA "))),
        ("a comment of tabs", Box::new(commented("a\t"))),
        ("a comment of one word", Box::new(commented("é"))),
        ("base64 alone", Box::new(of("AAAA"))),
        ("a type and base64", Box::new(|size| format!("ssh-rsa {}", repeated("AAAA", size)))),
        ("types only", Box::new(of("ssh-rsa "))),
        ("lines of types", Box::new(of("ssh-rsa AAAA\n"))),
        ("options", Box::new(of("restrict,"))),
        ("numbers", Box::new(of("1 "))),
        ("spaces", Box::new(of("\u{3000}"))),
        ("what looks like DER", Box::new(of("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC="))),
        ("quotation marks", Box::new(of("\",\","))),
        ("beginnings of markers", Box::new(of("PRIVATE KEY "))),
        ("dashes", Box::new(of("-"))),
        ("certificates with many principals", Box::new(certificate)),
    ]
}

/// Texts with many of the separators of a selector or an annotation.
fn lists_of_much() -> Vec<(&'static str, Maker)> {
    let of = |part: &'static str| move |size| repeated(part, size);
    vec![
        (
            "requirements",
            Box::new(|size| {
                let mut text = String::new();
                (0..size / 10).for_each(|n| write!(text, "k{n:06}=v,").expect("a String takes it"));
                text
            }),
        ),
        ("a set of values", Box::new(|size| format!("a in ({}z)", repeated("v,", size)))),
        ("parentheses", Box::new(of("(),"))),
        ("blanks before a word", Box::new(of(" notin"))),
        ("projects that cannot be", Box::new(of("\u{202e},"))),
    ]
}

fn certificate(size: usize) -> String {
    let key = [string([7; 32])];
    let mut fields = vec![string("ssh-ed25519-cert-v01@openssh.com"), string([1; 32])];
    fields.extend(key.clone());
    fields.extend([vec![0; 8], vec![0, 0, 0, 1], string("id"), string(string("p").repeat(size * 3 / 4 / 5))]);
    fields.extend([vec![0; 8], vec![0xff; 8], string(""), string(""), string("")]);
    let signer = [string("ssh-ed25519"), string([7; 32])].concat();
    let signature = [string("ssh-ed25519"), string([7; 64])].concat();
    fields.extend([string(signer), string(signature)]);
    line("ssh-ed25519-cert-v01@openssh.com", &fields)
}

#[test]
fn keys_are_read_in_linear_time() {
    assert!(PublicKey::parse(&certificate(1000)).is_ok(), "the certificate must be valid to its end");
    let region = |text: &str| {
        let annotations = [PROJECTS_ANNOTATION, DEFAULT_PROJECT_ANNOTATION, QUOTA_ANNOTATION];
        let annotations = annotations.map(|key| (key.to_owned(), text.to_owned())).into();
        let (region, _) = Region::new(&RegionSettings::default(), "shop", &[].into(), &annotations);
        assert!(region.refusals("none").len() < 2);
    };
    // Both look for private keys first.
    let keys: [(&str, Reader<'_>); 2] =
        [("public key", &|text| drop(PublicKey::parse(text))), ("private key", &|text| drop(PrivateKey::parse(text)))];
    let lists: [(&str, Reader<'_>); 2] =
        [("selector", &|text| drop(text.parse::<LabelSelector>())), ("region", &region)];
    for (what, make) in texts() {
        for (reader, read) in keys {
            assert_linear(what, reader, read, &make);
        }
    }
    for (what, make) in lists_of_much() {
        for (reader, read) in lists {
            assert_linear(what, reader, read, &make);
        }
    }
}
