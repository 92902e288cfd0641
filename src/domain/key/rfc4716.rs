//! The public key file format of RFC 4716, as `ssh-keygen -e` writes it.

use std::borrow::Cow;

use super::armor;
use super::error::PublicKeyError;

/// The line that begins a block.
pub(super) const BEGIN: &str = "---- BEGIN SSH2 PUBLIC KEY ----";
const END: &str = "---- END SSH2 PUBLIC KEY ----";

/// The key blob and the comment of a block, which must fill `body` from its first line to its last.
pub(super) fn parse(body: &str) -> Result<(Vec<u8>, Cow<'_, str>), PublicKeyError> {
    let lines = armor::inner_lines(body, END)?;
    let (comment, data) = split_headers(&lines)?;
    let blob = armor::decode(data)?;
    Ok((blob.to_vec(), comment))
}

/// Parts the headers (§3.3) from the base64 lines, and picks the comment out of the headers.
///
/// A header is known by its colon, which base64 does not have. It goes on to the next line as long
/// as its line ends with a backslash.
fn split_headers<'a, 'l>(lines: &'l [&'a str]) -> Result<(Cow<'a, str>, &'l [&'a str]), PublicKeyError> {
    let mut comment = Cow::Borrowed("");
    let mut rest = lines;
    while let Some((&line, after)) = rest.split_first() {
        let Some((tag, value)) = line.split_once(':') else {
            break;
        };
        rest = after;
        let mut value = Cow::Borrowed(value);
        while let Some(start) = value.strip_suffix('\\') {
            let (&next, after) = rest.split_first().ok_or(PublicKeyError::BrokenArmor)?;
            value = Cow::Owned(format!("{start}{next}"));
            rest = after;
        }
        if tag.eq_ignore_ascii_case("Comment") {
            comment = unquote(value);
        }
    }
    Ok((comment, rest))
}

/// Takes away the white space around the text, and one pair of quotation marks (§3.3.2 has them as
/// a custom).
fn unquote(value: Cow<'_, str>) -> Cow<'_, str> {
    fn inner(value: &str) -> &str {
        let value = value.trim();
        value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value).trim()
    }
    match value {
        Cow::Borrowed(value) => Cow::Borrowed(inner(value)),
        Cow::Owned(value) => Cow::Owned(inner(&value).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comment(lines: &[&str]) -> Result<(String, usize), PublicKeyError> {
        split_headers(lines).map(|(comment, data)| (comment.into_owned(), data.len()))
    }

    #[test]
    fn the_comment_is_found_among_headers() {
        assert_eq!(comment(&["AAAA"]), Ok((String::new(), 1)));
        assert_eq!(comment(&["Subject: me", "Comment: \"x y\"", "AAAA", "BBBB"]), Ok(("x y".into(), 2)));
        assert_eq!(comment(&["COMMENT: plain", "AAAA"]), Ok(("plain".into(), 1)));
        assert_eq!(comment(&["Comment: \"", "AAAA"]), Ok(("\"".into(), 1)));
    }

    #[test]
    fn a_header_can_go_on() {
        assert_eq!(comment(&["Comment: a \\", "b: \\", "c", "AAAA"]), Ok(("a b: c".into(), 1)));
        assert_eq!(comment(&["Comment: a \\"]), Err(PublicKeyError::BrokenArmor));
    }
}
