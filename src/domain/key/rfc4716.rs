//! The public key file format of RFC 4716, as `ssh-keygen -e` writes it.

use std::borrow::Cow;

use super::armor;
use super::error::PublicKeyError;

/// The first line of a block.
pub(super) const BEGIN: &str = "---- BEGIN SSH2 PUBLIC KEY ----";
const END: &str = "---- END SSH2 PUBLIC KEY ----";

/// The key blob and the comment of a block. `body` must contain nothing else.
pub(super) fn parse(body: &str) -> Result<(Vec<u8>, Cow<'_, str>), PublicKeyError> {
    let lines = armor::inner_lines(body, END)?;
    let (comment, data) = split_headers(&lines)?;
    let blob = armor::decode(data)?;
    Ok((blob.to_vec(), comment))
}

/// Separates the headers (§3.3) from the base64 lines, and returns the comment from the headers.
///
/// A header contains a colon, and base64 does not. A line that ends with a backslash continues on the next line.
fn split_headers<'a, 'l>(lines: &'l [&'a str]) -> Result<(Cow<'a, str>, &'l [&'a str]), PublicKeyError> {
    let mut comment = Cow::Borrowed("");
    let mut rest = lines;
    while let Some((&line, after)) = rest.split_first() {
        let Some((tag, value)) = line.split_once(':') else {
            break;
        };
        rest = after;
        let mut value = Cow::Borrowed(value);
        while value.ends_with('\\') {
            let (&next, after) = rest.split_first().ok_or(PublicKeyError::BrokenArmor)?;
            // The text grows in place, because copying it for each of thousands of continuation lines takes quadratic time.
            let text = value.to_mut();
            text.pop();
            text.push_str(next);
            rest = after;
        }
        if tag.eq_ignore_ascii_case("Comment") {
            comment = unquote(value);
        }
    }
    Ok((comment, rest))
}

/// Removes white space around the text, and one pair of quotation marks, which §3.3.2 mentions as customary.
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
    fn a_header_can_span_lines() {
        assert_eq!(comment(&["Comment: a \\", "b: \\", "c", "AAAA"]), Ok(("a b: c".into(), 1)));
        assert_eq!(comment(&["Comment: a \\"]), Err(PublicKeyError::BrokenArmor));
    }

    /// The time is linear: sixteen times as many lines take sixteen times as long, not 256 times.
    #[test]
    fn a_long_header_is_read_in_linear_time() {
        use rustix::time::{ClockId, clock_gettime};
        fn processor_time() -> i128 {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
        }
        let effort = |number: usize| {
            let lines = [vec!["Comment: a\\"], vec!["abc\\"; number], vec!["z", "AAAA"]].concat();
            let tries = (0..5).map(|_| {
                let before = processor_time();
                assert_eq!(comment(&lines).map(|(comment, data)| (comment.len(), data)), Ok((number * 3 + 2, 1)));
                processor_time() - before
            });
            tries.min().unwrap()
        };
        let (few, many) = (effort(5_000), effort(80_000));
        assert!(many < few * 64, "{few} ns and {many} ns");
    }
}
