//! Rules for short texts (names, descriptions, tags), defined once for every place that checks them.
//!
//! A [`TextRule`] is data: the Rust check, the CEL rule of the CRD, the documentation and the tests are all derived from
//! it. Its pattern uses only syntax to which Rust's `regex` and Go's RE2 (which evaluates CEL) give the same meaning,
//! whatever version of Unicode each is built with.

use std::sync::OnceLock;

use regex::Regex;

/// The characters that the cloud documents call Chinese, as the inside of a character class.
///
/// Whole blocks rather than `\p{Han}`: the API server and the operator are built with different versions of Unicode, so
/// one would admit an ideograph that the other refuses. Planes 2 and 3 are reserved for ideographs.
macro_rules! han {
    () => {
        r"\x{2E80}-\x{2FDF}\x{3005}\x{3007}\x{3021}-\x{3029}\x{3038}-\x{303B}\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}\x{20000}-\x{3FFFD}"
    };
}

/// Characters that show nothing, or change how the text around them is shown, as the inside of a character class: format
/// characters, line and paragraph separators, private use and noncharacters. Spaces are not included, nor are control
/// characters, which some texts may contain.
macro_rules! invisible {
    () => {
        concat!(
            r"\p{Cf}\p{Zl}\p{Zp}\p{Co}\x{FDD0}-\x{FDEF}",
            r"\x{FFFE}\x{FFFF}\x{1FFFE}\x{1FFFF}\x{2FFFE}\x{2FFFF}\x{3FFFE}\x{3FFFF}\x{4FFFE}\x{4FFFF}",
            r"\x{5FFFE}\x{5FFFF}\x{6FFFE}\x{6FFFF}\x{7FFFE}\x{7FFFF}\x{8FFFE}\x{8FFFF}\x{9FFFE}\x{9FFFF}",
            r"\x{AFFFE}\x{AFFFF}\x{BFFFE}\x{BFFFF}\x{CFFFE}\x{CFFFF}\x{DFFFE}\x{DFFFF}\x{EFFFE}\x{EFFFF}",
            r"\x{FFFFE}\x{FFFFF}\x{10FFFE}\x{10FFFF}",
        )
    };
}

/// Letters, digits, punctuation and symbols of any script, as a whole character class.
///
/// Defined by what it excludes (separators, controls, invisible format characters, private use, noncharacters), because
/// those sets no longer change, while every version of Unicode adds letters and symbols.
macro_rules! visible {
    () => {
        concat!(r"[^\p{Z}\p{Cc}", $crate::domain::text_rule::invisible!(), "]")
    };
}

pub(crate) use {han, invisible, visible};

/// A rule for a text. Lengths count characters (Unicode scalar values), not bytes.
#[derive(Debug)]
pub struct TextRule {
    /// The minimum number of characters.
    pub min_chars: usize,
    /// The maximum number of characters.
    pub max_chars: usize,
    /// The pattern that the whole text must match, without anchors and single quotes; `None`: any text.
    pub pattern: Option<&'static str>,
    /// What the text must not begin with, in lower case as in the documents.
    pub forbidden_prefixes: &'static [&'static str],
    /// The rule in words, to follow "must be".
    pub words: &'static str,
    compiled: OnceLock<Regex>,
}

impl TextRule {
    /// A rule for length and characters.
    #[must_use]
    pub const fn new(min_chars: usize, max_chars: usize, pattern: &'static str, words: &'static str) -> Self {
        Self { min_chars, max_chars, pattern: Some(pattern), forbidden_prefixes: &[], words, compiled: OnceLock::new() }
    }

    /// A rule for the length alone.
    #[must_use]
    pub const fn any(min_chars: usize, max_chars: usize, words: &'static str) -> Self {
        Self { min_chars, max_chars, pattern: None, forbidden_prefixes: &[], words, compiled: OnceLock::new() }
    }

    /// The same rule, which also refuses texts that begin with one of `prefixes`.
    #[must_use]
    pub const fn without_prefixes(mut self, prefixes: &'static [&'static str]) -> Self {
        self.forbidden_prefixes = prefixes;
        self
    }

    /// The pattern with anchors, for both regular-expression engines.
    #[must_use]
    pub fn anchored(&self) -> Option<String> {
        self.pattern.map(|pattern| format!("^(?:{pattern})$"))
    }

    /// Whether `text` follows the rule.
    ///
    /// # Panics
    ///
    /// Only if the pattern, a constant of this crate, does not compile. A test compiles every pattern.
    #[must_use]
    pub fn allows(&self, text: &str) -> bool {
        let compile = || {
            let pattern = self.anchored().unwrap_or_default();
            Regex::new(&pattern).expect("the pattern of a rule is a constant that a test compiles")
        };
        let matches = || self.pattern.is_none() || self.compiled.get_or_init(compile).is_match(text);
        (self.min_chars..=self.max_chars).contains(&text.chars().count())
            && !self.forbidden_prefixes.iter().any(|prefix| text.starts_with(prefix))
            && matches()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static HAN: TextRule = TextRule::new(1, 1, concat!("[", han!(), "]"), "a Chinese character");
    static VISIBLE: TextRule = TextRule::new(1, 1, visible!(), "a visible character");

    #[test]
    fn every_han_character_of_this_version_of_unicode_is_chinese() {
        let script = Regex::new(r"^\p{Han}$").unwrap();
        // U+16FE2..U+16FF6 are marks of old Chinese punctuation and reading aids, outside every block of ideographs.
        let missing: Vec<char> = (0..=0x0010_FFFF)
            .filter_map(char::from_u32)
            .filter(|c| script.is_match(&c.to_string()) && !HAN.allows(&c.to_string()))
            .filter(|c| !('\u{16FE2}'..='\u{16FF6}').contains(c))
            .collect();
        assert_eq!(missing, Vec::<char>::new());
    }

    #[test]
    fn visible_characters_follow_unicode_categories() {
        let positive = Regex::new(r"^[\p{L}\p{M}\p{N}\p{P}\p{S}]$").unwrap();
        let unassigned = Regex::new(r"^\p{Cn}$").unwrap();
        for c in (0..=0x0010_FFFF).filter_map(char::from_u32) {
            let text = c.to_string();
            if !unassigned.is_match(&text) {
                assert_eq!(VISIBLE.allows(&text), positive.is_match(&text), "U+{:04X}", c as u32);
            }
        }
    }

    #[test]
    fn lengths_count_characters() {
        static RULE: TextRule = TextRule::new(2, 3, concat!("[", han!(), "]+"), "2 to 3 Chinese characters");
        assert!(!RULE.allows("中"));
        assert!(RULE.allows("中文"));
        assert!(RULE.allows("中文字"));
        assert!(!RULE.allows("中文字符"));
    }

    #[test]
    fn a_final_newline_is_part_of_the_text() {
        static RULE: TextRule = TextRule::new(1, 9, "[a-z]+", "letters");
        assert!(!RULE.allows("abc\n"));
    }
}
