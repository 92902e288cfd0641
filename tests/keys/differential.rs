//! The same lines for the operator and for `ssh-keygen -l`: both read them alike, except for what the operator refuses on
//! purpose.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use keypair_operator::domain::key::{PublicKey, PublicKeyError as E};
use proptest::{prelude::*, sample::select};

use crate::vectors::read;

/// What `ssh-keygen -l` prints of a file: bits, fingerprint, comment.
fn ssh_keygen(text: &str) -> Option<(String, String, String)> {
    let mut child = Command::new("ssh-keygen")
        .args(["-l", "-f", "-"])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("ssh-keygen");
    child.stdin.take().expect("an input").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let line = printed.strip_suffix('\n').filter(|_| output.status.success())?;
    let (bits, rest) = line.split_once(' ')?;
    let (fingerprint, rest) = rest.split_once(' ')?;
    let (comment, _family) = rest.rsplit_once(" (")?;
    Some((bits.to_owned(), fingerprint.to_owned(), comment.to_owned()))
}

/// Refused though `ssh-keygen` reads it: comments end up in status, Secrets and on terminals; of several keys all but one
/// would be lost, and so would text before the key.
fn is_on_purpose(error: &E) -> bool {
    matches!(
        error,
        E::PrivateKey
            | E::SeveralKeys
            | E::SeveralLines
            | E::ControlCharacter
            | E::InvisibleCharacter { .. }
            | E::Options
            | E::KnownHostsLine
    )
}

fn compare(body: &str) {
    // The operator ignores white space of any kind around a key, and so do the rules of the CRD.
    let theirs = ssh_keygen(body.trim());
    match (PublicKey::parse(body), theirs) {
        (Ok(ours), Some((bits, fingerprint, comment))) => {
            assert_eq!(ours.bits().to_string(), bits, "{body:?}");
            assert_eq!(ours.fingerprints().sha256, fingerprint, "{body:?}");
            // For `ssh-keygen`, a comment of the file, not of the key. The operator keeps it, so that nothing is lost.
            let is_none = ours.comment().is_empty() || ours.comment().starts_with('#');
            let expected = if is_none { "no comment" } else { ours.comment() };
            assert_eq!(expected, comment.trim(), "{body:?}");
            // The published line is read alike, too.
            let again = ssh_keygen(&ours.to_openssh()).expect("the normalised line");
            assert_eq!((again.0, again.1, again.2.trim()), (bits, fingerprint, comment.trim()), "{body:?}");
        }
        (Err(_), None) => {}
        (Err(error), Some(_)) => {
            assert!(is_on_purpose(&error), "ssh-keygen reads {body:?}; the operator says {error:?}");
        }
        (Ok(_), None) => panic!("ssh-keygen does not read {body:?}"),
    }
}

fn keys() -> Vec<String> {
    ["ed25519.pub", "ecdsa256.pub", "rsa2048.pub", "rsa2048-by-ed25519.cert", "sk-ed25519.pub"]
        .iter()
        .map(|name| {
            let line = read(format!("public/{name}"));
            line.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned()
        })
        .collect()
}

/// Parts of comments, and what people put between keys.
const PARTS: &[&str] = &[
    "ops",
    "@",
    "lab",
    " ",
    "  ",
    "\t",
    "#",
    "# x",
    "\"",
    "'",
    "\\",
    "\\n",
    "=",
    "==",
    ",",
    ";",
    "|",
    "(RSA)",
    "é",
    "密钥",
    "❤️",
    "😀",
    "\u{a0}",
    "\u{3000}",
    "\u{ad}",
    "\u{200b}",
    "\u{202e}",
    "\u{feff}",
    "\r",
    "\u{7f}",
    "\u{1b}[2J",
    "no comment",
    "AAAA",
    "ssh-rsa",
    "ssh-rsa AAAA",
    "AAAAB3NzaC1yc2E",
    "-----",
    "0x",
    "%0a",
    "$(id)",
    "`id`",
    "&",
    "<!-- -->",
    "*",
    "!",
    "~",
    "1024 35 1",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(64), ..ProptestConfig::default() })]

    #[test]
    fn comments_are_read_as_ssh_keygen_reads_them(
        key in select(keys()),
        before in select(vec!["", "", "", " ", "\t", "  \t", "\n", "\r\n", "# c\n", "\u{feff}", "\u{a0}"]),
        space in select(vec![" ", "\t", "  ", " \t ", "\u{a0}", ""]),
        parts in prop::collection::vec(select(PARTS), 0..6),
        after in select(vec!["", "\n", "\r\n", " ", "\t\n", " \r\n", "\n\n"]),
    ) {
        compare(&format!("{before}{key}{space}{}{after}", parts.concat()));
    }

    #[test]
    fn several_keys_are_refused_whatever_separates_them(
        first in select(keys()),
        second in select(keys()),
        comment in select(vec!["", " ops@lab", " ops lab", "\tops"]),
        between in select(vec![
            " ", "\t", ",", ", ", ";", "|", "\\n", "\\r\\n", "\n", "\r", "\r\n", "\0", "\u{a0}", "\u{3000}", "\u{1f}", "\u{b}", "", "'", "\"",
            "/", "&", "#", " # ", "\\", "\\0", "%0A", "<br>", "\n\n\n", " and ", "、", "；", "，", "\u{85}", "\u{2028}", "-----", "x", "0", "=",
        ]),
        bare in any::<bool>(),
    ) {
        // Even without its type, or with an invalid one, the second counts as a key.
        let second = if bare { second.split_once(' ').expect("a line").1.to_owned() } else { second };
        let body = format!("{first}{comment}{between}{second}");
        // A line or paragraph separator is reported by name, which also says what to correct.
        let expected = |error: &E| matches!(error, E::SeveralKeys) || matches!(error, E::InvisibleCharacter { .. });
        match PublicKey::parse(&body) {
            Err(error) if expected(&error) => {}
            Err(E::NotBase64 | E::SeveralLines | E::TrailingBytes) if comment.is_empty() || bare => {}
            other => prop_assert!(false, "{body:?}: {other:?}"),
        }
    }
}
