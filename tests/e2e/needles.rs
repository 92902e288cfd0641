//! Searches for parts of private keys in any encoding.

use std::collections::HashMap;

use base64ct::{Base64, Encoding as _};
use regex::Regex;

/// The length of a piece, in base64 characters and in bytes.
const PIECE: usize = 12;

type Pieces = HashMap<[u8; PIECE], String>;

/// Every piece of some private keys, as text and as decoded bytes, with the name of its key.
#[derive(Default)]
pub struct Needles {
    text: Pieces,
    bytes: Pieces,
}

impl Needles {
    /// Adds a private key: any text that contains base64, for example PEM, a PuTTY file, JSON or plain base64. Ignores the pieces
    /// that also occur in the public key `line`, which are not secret.
    pub fn add_without(&mut self, name: &str, text: &str, line: &str) {
        let mut public = Self::default();
        if let Some(base64) = line.split_whitespace().nth(1) {
            public.text.extend(pieces(name, base64.as_bytes()));
            public.add_bytes(name, &Base64::decode_vec(base64).unwrap());
        }
        let mut private = Self::default();
        // Join the lines, because a PEM key spans several; markers such as BEGIN and headers are not secret.
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("--") && !line.contains(": ")).collect();
        let in_json = |c: char| matches!(c, '"' | '{' | '}' | ':' | ',');
        for word in lines.concat().split(|c: char| c.is_whitespace() || in_json(c)).filter(|word| word.len() >= PIECE) {
            private.text.extend(pieces(name, word.as_bytes()));
            let mut padded = word.trim_end_matches('=').replace('-', "+").replace('_', "/");
            padded.push_str(["", "", "==", "="][padded.len() % 4]);
            if let Ok(bytes) = Base64::decode_vec(&padded) {
                private.add_bytes(name, &bytes);
            }
        }
        private.text.retain(|piece, _| !public.text.contains_key(piece));
        private.bytes.retain(|piece, _| !public.bytes.contains_key(piece));
        assert!(private.text.len() > PIECE && private.bytes.len() > PIECE, "{name} contains no base64");
        self.text.extend(private.text);
        self.bytes.extend(private.bytes);
    }

    /// Adds the bytes, and their base64 at each of the three alignments.
    fn add_bytes(&mut self, name: &str, bytes: &[u8]) {
        self.bytes.extend(pieces(name, bytes));
        for skipped in 0..3 {
            let base64 = Base64::encode_string(bytes.get(skipped..).unwrap_or_default());
            self.text.extend(pieces(name, base64.trim_end_matches('=').as_bytes()));
        }
    }

    /// The name of a key of which `haystack` contains a piece: as text, in hexadecimal, or as a Rust debug list of bytes.
    pub fn in_text(&self, haystack: &str) -> Option<&str> {
        let find = |pieces: &'_ Pieces, bytes: &[u8]| -> Option<[u8; PIECE]> {
            bytes.windows(PIECE).filter_map(|piece| piece.try_into().ok()).find(|piece| pieces.contains_key(piece))
        };
        let text = || find(&self.text, haystack.as_bytes()).map(|piece| &self.text[&piece]);
        let raw = || find(&self.bytes, haystack.as_bytes()).map(|piece| &self.bytes[&piece]);
        let listed =
            || lists(haystack).iter().find_map(|list| find(&self.bytes, list)).map(|piece| &self.bytes[&piece]);
        text().or_else(raw).or_else(listed).map(String::as_str)
    }
}

fn pieces(name: &str, bytes: &[u8]) -> impl Iterator<Item = ([u8; PIECE], String)> {
    bytes.windows(PIECE).filter_map(|piece| Some((piece.try_into().ok()?, name.to_owned())))
}

/// All byte sequences in a text, as hexadecimal digits with or without separators, or as a list of decimal numbers.
fn lists(text: &str) -> Vec<Vec<u8>> {
    let hexadecimal = Regex::new(r"(?i)(?:[0-9a-f]{2}[ :,]{0,2}){12,}").unwrap();
    let decimal = Regex::new(r"\d{1,3}(?:, ?\d{1,3}){11,}").unwrap();
    let mut lists = Vec::new();
    for found in hexadecimal.find_iter(text) {
        let digits: String = found.as_str().chars().filter(char::is_ascii_hexdigit).collect();
        // Start at the first and at the second digit: the match may begin with an unrelated digit.
        for digits in [digits.as_str(), &digits[1..]] {
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            lists.push(digits.as_bytes().chunks_exact(2).map(byte).collect());
        }
    }
    for found in decimal.find_iter(text) {
        lists.push(found.as_str().split(',').filter_map(|number| number.trim().parse().ok()).collect());
    }
    lists
}

#[test]
fn needles_are_found_in_every_encoding() {
    let secret: Vec<u8> = (0..64).map(|n: u8| n.wrapping_mul(37) ^ 0x5a).collect();
    let base64 = Base64::encode_string(&secret);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n{}\n-----END PRIVATE KEY-----\n", &base64[..40], &base64[40..]);
    let mut needles = Needles::default();
    needles.add_without("key", &pem, "");
    let hex = format!("{:02x?}", &secret[9..30]).replace(['[', ']', ',', ' '], "");
    for said in [
        format!("x {} y", &base64[33..45]),
        format!("x {} y", Base64::encode_string(&secret[20..40])),
        format!("{:?}", &secret[5..20]),
        format!("0{hex}"),
        format!("{:02X?}", &secret[5..20]),
    ] {
        assert_eq!(needles.in_text(&said), Some("key"), "{said}");
    }
    for said in ["-----BEGIN PRIVATE KEY-----", &base64[33..44], "[1, 2, 3]", "00112233445566778899aabbccddeeff"] {
        assert_eq!(needles.in_text(said), None, "{said}");
    }
}
