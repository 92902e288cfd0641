//! Safe display of untrusted text: in a status, an Event, a log line or on a terminal.
//!
//! A control character can move the cursor, a line break can make one message look like two, and an invisible or
//! bidirectional format character can make one text look like another. So untrusted text is shown only through the
//! functions of this module, which escape such characters and limit the length.

use std::{borrow::Cow, fmt::Write as _, sync::LazyLock};

use regex::Regex;

use super::text_rule::invisible;

/// The longest text that is quoted in full, in characters: the longest name in Kubernetes.
const QUOTED_MAX_CHARS: usize = 253;
/// The longest sentence, in characters: more than twice as long as what a status shows of it.
const SENTENCE_MAX_CHARS: usize = 2048;
/// How many names of a list are shown.
const LISTED_MAX: usize = 10;
/// Marks truncated text.
const ELLIPSIS: char = '…';

/// Invisible characters, without spaces and control characters.
static INVISIBLE: LazyLock<Regex> = LazyLock::new(|| class(concat!("[", invisible!(), "]")));
/// [`INVISIBLE`] and control characters.
static UNPRINTABLE: LazyLock<Regex> = LazyLock::new(|| class(concat!(r"[\p{Cc}", invisible!(), "]")));

fn class(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant that a test compiles")
}

/// Characters that are easily pasted unnoticed, with their Unicode names. The CEL rules use these names, too.
pub const NAMED_CHARACTERS: &[(char, &str)] = &[
    ('\u{00a0}', "NO-BREAK SPACE"),
    ('\u{00ad}', "SOFT HYPHEN"),
    ('\u{061c}', "ARABIC LETTER MARK"),
    ('\u{180e}', "MONGOLIAN VOWEL SEPARATOR"),
    ('\u{200b}', "ZERO WIDTH SPACE"),
    ('\u{200c}', "ZERO WIDTH NON-JOINER"),
    ('\u{200d}', "ZERO WIDTH JOINER"),
    ('\u{200e}', "LEFT-TO-RIGHT MARK"),
    ('\u{200f}', "RIGHT-TO-LEFT MARK"),
    ('\u{2028}', "LINE SEPARATOR"),
    ('\u{2029}', "PARAGRAPH SEPARATOR"),
    ('\u{202a}', "LEFT-TO-RIGHT EMBEDDING"),
    ('\u{202b}', "RIGHT-TO-LEFT EMBEDDING"),
    ('\u{202c}', "POP DIRECTIONAL FORMATTING"),
    ('\u{202d}', "LEFT-TO-RIGHT OVERRIDE"),
    ('\u{202e}', "RIGHT-TO-LEFT OVERRIDE"),
    ('\u{202f}', "NARROW NO-BREAK SPACE"),
    ('\u{2060}', "WORD JOINER"),
    ('\u{2066}', "LEFT-TO-RIGHT ISOLATE"),
    ('\u{2067}', "RIGHT-TO-LEFT ISOLATE"),
    ('\u{2068}', "FIRST STRONG ISOLATE"),
    ('\u{2069}', "POP DIRECTIONAL ISOLATE"),
    ('\u{3000}', "IDEOGRAPHIC SPACE"),
    ('\u{feff}', "BYTE ORDER MARK"),
];

/// Letters, marks and symbols that show nothing, or only change the character before them. A name may contain them, a key
/// never does.
const BLANK: &[std::ops::RangeInclusive<char>] = &[
    '\u{034f}'..='\u{034f}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{e0100}'..='\u{e01ef}',
];

/// The code point of a character, and its name if it is one of [`NAMED_CHARACTERS`]: `U+202E RIGHT-TO-LEFT OVERRIDE`.
#[must_use]
pub fn name_of(character: char) -> String {
    let mut name = format!("U+{:04X}", u32::from(character));
    if let Some((_, words)) = NAMED_CHARACTERS.iter().find(|(named, _)| *named == character) {
        name.push(' ');
        name.push_str(words);
    }
    name
}

/// The first invisible character of `text`, except control characters, and its position in characters, from 1.
#[must_use]
pub fn first_invisible(text: &str) -> Option<(char, usize)> {
    let at = INVISIBLE.find(text)?.start();
    let before = text.get(..at)?;
    let character = text.get(at..)?.chars().next()?;
    Some((character, before.chars().count() + 1))
}

/// The first character of `text` that a reader does not see but that makes a key invalid, and its position in characters,
/// from 1.
///
/// Such a character is a blank letter, mark or symbol, a space other than ASCII (as web pages and word processors insert), a
/// control character, or a carriage return without a line feed.
#[must_use]
pub fn first_invisible_in_key(text: &str) -> Option<(char, usize)> {
    let after = text.chars().skip(1).chain(['\n']);
    let (before, (character, _)) = text.chars().zip(after).enumerate().find(|(_, (c, next))| {
        c.is_whitespace() && !c.is_ascii()
            || c.is_control() && !matches!(c, '\t' | '\n' | '\r')
            || *c == '\r' && *next != '\n'
            || BLANK.iter().any(|blank| blank.contains(c))
    })?;
    Some((character, before + 1))
}

/// `text` with every control character and invisible character escaped as in a Rust or JavaScript literal.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    UNPRINTABLE.replace_all(text, |found: &regex::Captures<'_>| found[0].escape_default().to_string())
}

/// [`escaped`] for JSON: the strings keep their values.
#[must_use]
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    UNPRINTABLE.replace_all(json, |found: &regex::Captures<'_>| {
        let mut escape = String::new();
        for unit in found[0].encode_utf16() {
            // Writing to a `String` does not fail.
            let _ = write!(escape, r"\u{unit:04x}");
        }
        escape
    })
}

/// `text` in quotation marks, escaped, and truncated if it is longer than any name.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("{:?}", truncated(text, QUOTED_MAX_CHARS))
}

/// A sentence that may contain untrusted text, escaped and truncated.
#[must_use]
pub fn sentence(text: &str) -> String {
    truncated(&escaped(text), SENTENCE_MAX_CHARS).into_owned()
}

/// The first names of a list, and the number of the others.
pub fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(LISTED_MAX);
    let mut shown: Vec<Cow<'_, str>> = names.take(LISTED_MAX).map(|name| escaped(name).into_owned().into()).collect();
    if more > 0 {
        shown.push(format!("and {more} more").into());
    }
    shown.join(", ")
}

fn truncated(text: &str, max_chars: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}{ELLIPSIS}", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The escape sequence that clears a terminal, a forged second line, an override, a zero-width space, a private-use
    /// character and a noncharacter.
    const HOSTILE: &str = "a\u{1b}[2Jb\nReady: True\r\u{202e}c\u{200b}d\u{9b}\u{2028}\u{e000}\u{fffe}\u{e0041}";

    fn is_plain(text: &str) -> bool {
        !UNPRINTABLE.is_match(text)
    }

    #[test]
    fn unprintable_characters_are_escaped() {
        assert!(!is_plain(HOSTILE));
        for shown in [escaped(HOSTILE).as_ref(), &quoted(HOSTILE), &sentence(HOSTILE), &listed([HOSTILE].into_iter())] {
            assert!(is_plain(shown), "{shown:?}");
            assert!(shown.contains("\\u{202e}") && shown.contains("\\n"), "{shown}");
        }
        // `quoted` relies on the standard library to escape every character of the class.
        for c in ('\0'..=char::MAX).filter(|c| UNPRINTABLE.is_match(c.encode_utf8(&mut [0; 4]))) {
            assert!(is_plain(&format!("{:?}", c.to_string())), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn plain_text_is_unchanged() {
        let plain = "user@host 密钥 é ❤️ #1 \\ \"";
        assert!(matches!(escaped(plain), Cow::Borrowed(text) if text == plain));
        assert_eq!(sentence(plain), plain);
        assert_eq!(first_invisible("user@host\t密钥\n"), None);
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let text = "a\u{202e}\u{e0041}\u{7f}".to_owned();
        let json = serde_json::to_string(&text).unwrap();
        let escaped = escaped_json(&json);
        assert!(is_plain(&escaped), "{escaped}");
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
    }

    #[test]
    fn lengths_are_bounded() {
        assert_eq!(quoted(&"键".repeat(1000)).chars().count(), QUOTED_MAX_CHARS + 3);
        assert_eq!(sentence(&"\n".repeat(100_000)).chars().count(), SENTENCE_MAX_CHARS + 1);
        let names: Vec<String> = (0..250).map(|n| format!("p{n}")).collect();
        let listed = listed(names.iter().map(String::as_str));
        assert!(listed.starts_with("p0, p1, ") && listed.ends_with("p9, and 240 more"), "{listed}");
    }

    #[test]
    fn an_invisible_character_is_named_with_its_position() {
        let (character, position) = first_invisible("né\u{202e}w").unwrap();
        assert_eq!((name_of(character).as_str(), position), ("U+202E RIGHT-TO-LEFT OVERRIDE", 3));
        assert_eq!(name_of('\u{e0041}'), "U+E0041");
    }
}
