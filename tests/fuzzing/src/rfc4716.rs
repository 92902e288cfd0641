//! RFC 4716 blocks: their headers, and the comment among them.
//!
//! If the first byte is 0, the rest is a comment in pieces, each of which ends with a zero byte. It becomes a header with
//! continuation lines, so the expected result is known. Otherwise, the data is the text between the BEGIN and the END line.

use std::fmt::Write as _;

use keypair_operator::domain::key::{PublicKey, PublicKeyError};

use crate::{armor, public_key, seeds};

const ED25519: &str = include_str!("../../vectors/public/ed25519.pub");

/// For any block: nothing panics, and a comment means the same as in a line.
///
/// # Panics
///
/// If any of this does not hold.
pub fn check(data: &[u8]) {
    if let Some((0, pieces)) = data.split_first() {
        return check_comment(pieces);
    }
    let Ok(inner) = std::str::from_utf8(data) else { return };
    let block = format!("---- BEGIN SSH2 PUBLIC KEY ----\n{inner}\n---- END SSH2 PUBLIC KEY ----");
    public_key::check(block.as_bytes());
}

fn check_comment(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A line break would end the header, and a backslash at the end would continue it.
    let pieces: Vec<&str> = text.split('\0').collect();
    let Some((last, before)) = pieces.split_last() else { return };
    let looks_like_an_end = before.iter().skip(1).chain([last]).any(|piece| piece.trim_start().starts_with("----"));
    if looks_like_an_end || text.contains(['\n', '\r']) || last.trim().is_empty() || last.trim().ends_with('\\') {
        return;
    }
    let mut header = "Comment: ".to_owned();
    let mut comment = String::new();
    for (place, piece) in before.iter().enumerate() {
        let _ = writeln!(header, "{piece}\\");
        // White space around a continuation line is ignored.
        comment.push_str(if place == 0 { piece } else { piece.trim_start() });
    }
    let _ = writeln!(header, "{last}");
    comment.push_str(last.trim());

    let line = PublicKey::parse(ED25519).expect("the vector is a key");
    let bare = armor::line(line.blob());
    let in_line = PublicKey::parse(&format!("{bare} {}", unquoted(&comment)));
    let in_block = PublicKey::parse(&armor::rfc4716(&header, line.blob()));
    assert_eq!(placeless(in_block), placeless(in_line), "the comment differs between the block and the line");
}

/// The position of a character differs between a block and a line.
fn placeless(read: Result<PublicKey, PublicKeyError>) -> Result<PublicKey, PublicKeyError> {
    read.map_err(|error| match error {
        PublicKeyError::InvisibleCharacter { character, .. } => {
            PublicKeyError::InvisibleCharacter { character, place: 0 }
        }
        error => error,
    })
}

/// The text without white space around it, and without one pair of quotation marks.
fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let quoted = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    if quoted { text[1..text.len() - 1].trim() } else { text }
}

/// The content of the existing blocks, and comments.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let inner = |body: String| {
        let rest = body.trim().strip_prefix("---- BEGIN SSH2 PUBLIC KEY ----")?;
        rest.split("\n----").next().map(|inner| inner.trim().as_bytes().to_vec())
    };
    let comments =
        ["\0me@example.com", "\0\"3072-bit RSA, \0converted by me\0@example.com\"", "\0a: b\0 c\\d", "\0\"\0\""];
    let comments = comments.into_iter().map(|comment| comment.as_bytes().to_vec());
    seeds::public_bodies().into_iter().filter_map(inner).chain(comments).collect()
}
