//! Random bodies, and randomly damaged ones: nothing panics, and an accepted key stays the same.

use std::sync::OnceLock;

use keypair_operator::domain::key::{KeyType, PublicKey};
use proptest::prelude::*;

use crate::vectors::{Vector, blob, line, public_vectors, read, string};

/// A body with one byte or character changed, removed or inserted, or with a part repeated.
fn mutated() -> impl Strategy<Value = String> {
    let bodies: Vec<String> = public_vectors().into_iter().map(|vector| vector.body).collect();
    (prop::sample::select(bodies), any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<char>(), 0..6)
        .prop_map(|(body, one, other, inserted, kind)| {
            let mut chars: Vec<char> = body.chars().collect();
            let (one, other) = (one.index(chars.len()), other.index(chars.len()));
            let (start, end) = (one.min(other), one.max(other));
            match kind {
                0 => chars[one] = inserted,
                1 => chars.truncate(one),
                2 => chars.insert(one, inserted),
                3 => drop(chars.drain(start..end)),
                4 => drop(chars.splice(end..end, chars[start..end].to_vec()).collect::<Vec<_>>()),
                _ => chars.swap(one, other),
            }
            chars.into_iter().collect()
        })
}

/// An accepted body can be parsed again from its normalised form.
fn holds(body: &str) -> Result<(), TestCaseError> {
    if let Ok(key) = PublicKey::parse(body) {
        prop_assert_eq!(PublicKey::parse(&key.to_openssh()), Ok(key));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_text_never_breaks_the_parser(body in any::<String>()) {
        holds(&body)?;
    }

    #[test]
    fn arbitrary_blobs_never_break_the_parser(key_type in prop::sample::select(KeyType::ALL), rest in any::<Vec<u8>>()) {
        holds(&line(key_type.name(), &[string(key_type.name()), rest]))?;
    }

    #[test]
    fn damaged_text_never_breaks_the_parser(body in mutated()) {
        holds(&body)?;
    }

    #[test]
    fn damaged_blobs_never_break_the_parser(
        row in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), byte: u8, cut: bool,
    ) {
        let vectors = lines();
        let (key_type, blob) = &vectors[row.index(vectors.len())];
        let mut blob = blob.clone();
        let place = place.index(blob.len());
        if cut { blob.truncate(place) } else { blob[place] = byte }
        holds(&line(key_type, &[blob]))?;
    }

    #[test]
    fn any_comment_is_kept(comment in any::<String>()) {
        let body = format!("{} {comment}", read("public/sk-ed25519.pub").split(" vector").next().unwrap_or_default());
        if let Ok(key) = PublicKey::parse(&body) {
            prop_assert_eq!(key.comment(), comment.trim());
        }
        holds(&body)?;
    }
}

/// Type and blob of the vectors that are lines, parsed once.
fn lines() -> &'static [(String, Vec<u8>)] {
    static LINES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    LINES.get_or_init(|| {
        let vectors = public_vectors().into_iter().filter(Vector::is_line);
        vectors.map(|vector| (vector.key_type.clone(), blob(&vector.body))).collect()
    })
}
