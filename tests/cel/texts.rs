//! Random texts at the limits of a rule.

use std::sync::LazyLock;

use keypair_operator::domain::{rules::DESCRIPTION, text_rule::TextRule};
use regex::Regex;

use crate::random::Random;

/// Representative characters: each script, plane and width, and characters that validation often misses.
const COMMON: &str = "azAZ09.-_:=,/+@#~!*'\"\\|<>(){}[]^$?&%; \t\n\r\u{0}\u{7f}\u{80}\u{a0}\u{ad}é\u{301}ßΩжあ한ع१中文々〇，。、　\u{200b}\u{200c}\u{200d}\u{200e}\u{2028}\u{2029}\u{2060}\u{feff}\u{fe0f}\u{fffd}\u{ffff}\u{e000}𐀀𠀀𠮷😀👩\u{1f3fb}\u{e0001}\u{e0100}\u{f0000}\u{10ffff}";

/// The groups of general categories whose first and last characters are the edges of a rule.
const CATEGORIES: [&str; 13] = [
    r"\p{Zs}",
    r"\p{Zl}",
    r"\p{Zp}",
    r"\p{Cc}",
    r"\p{Cf}",
    r"\p{Co}",
    r"\p{Z}",
    r"\p{Noncharacter_Code_Point}",
    r"\p{White_Space}",
    r"\p{Default_Ignorable_Code_Point}",
    r"\p{Emoji_Modifier}",
    r"\p{Join_Control}",
    r"\p{Variation_Selector}",
];

/// The first and last characters of each range of those groups and of the Chinese characters, with their neighbours.
pub static EDGES: LazyLock<Vec<char>> = LazyLock::new(|| {
    let everything: String = ('\0'..=char::MAX).collect();
    let mut edges: Vec<char> = Vec::new();
    for category in CATEGORIES {
        let Ok(runs) = Regex::new(&format!("{category}+")) else { continue };
        for run in runs.find_iter(&everything) {
            edges.extend(run.as_str().chars().next().into_iter().chain(run.as_str().chars().last()));
        }
    }
    let mut before = false;
    for c in '\0'..=char::MAX {
        let chinese = DESCRIPTION.allows(c.encode_utf8(&mut [0; 4]));
        if chinese != before {
            edges.push(c);
        }
        before = chinese;
    }
    let mut around: Vec<char> = edges
        .into_iter()
        .flat_map(|c| (u32::from(c).saturating_sub(1)..=u32::from(c) + 1).filter_map(char::from_u32))
        .chain(COMMON.chars())
        .collect();
    around.sort_unstable();
    around.dedup();
    around
});

/// A text that satisfies `rule` or nearly does.
pub fn near(rule: &TextRule, random: &mut Random) -> String {
    let length = length(rule, random);
    let pool = pool(rule, random);
    let mut text: Vec<char> = (0..length).map(|_| random.pick(&pool)).collect();
    if !random.one_in(4) {
        replace(&mut text, 0, random.pick(&['a', 'Z', '中', '𠀀']));
    }
    if random.one_in(3) {
        let last = text.len().saturating_sub(1);
        replace(&mut text, last, random.pick(&['z', '0', '文']));
    }
    for _ in 0..random.pick(&[0, 0, 1, 1, 2]) {
        spoil(&mut text, rule, random);
    }
    text.into_iter().collect()
}

/// A length at a limit, next to one, or in between.
fn length(rule: &TextRule, random: &mut Random) -> usize {
    let (min, max) = (rule.min_chars, rule.max_chars);
    match random.below(8) {
        0 => min.saturating_sub(1),
        1 => min,
        2 => min + 1,
        3 => max - 1,
        4 => max,
        5 => max + 1,
        _ => random.below(max.min(20)),
    }
}

/// The characters of a text: mostly those that the rule allows inside, in any mix or a single one repeated.
fn pool(rule: &TextRule, random: &mut Random) -> Vec<char> {
    let common: Vec<char> = COMMON.chars().collect();
    if random.one_in(12) {
        return common;
    }
    let inside: Vec<char> = common.into_iter().filter(|c| rule.allows(&format!("a{c}a"))).collect();
    match random.below(4) {
        0 => vec![random.pick(&inside)],
        1 => vec!['a', random.pick(&inside)],
        2 => vec!['a', 'B', '0', '9'],
        _ => inside,
    }
}

fn replace(text: &mut [char], at: usize, with: char) {
    if let Some(place) = text.get_mut(at) {
        *place = with;
    }
}

/// Makes one change, which may change the length.
fn spoil(text: &mut Vec<char>, rule: &TextRule, random: &mut Random) {
    let anywhere = random.below(text.len() + 1);
    let at = random.pick(&[0, text.len() / 2, text.len().saturating_sub(1), anywhere]);
    match random.below(9) {
        0..=3 => replace(text, at, random.pick(&EDGES)),
        4 => replace(text, at, random.char()),
        5 => text.insert(at, random.pick(&EDGES)),
        6 => text.push(random.pick(&['\n', ' ', '.', '-', '\r', '\0'])),
        7 => {
            for (offset, c) in random.pick(&["..", "--", ".-", "-.", "::", "  ", "__"]).chars().enumerate() {
                replace(text, at + offset, c);
            }
        }
        _ => begin_as_forbidden(text, rule, random),
    }
}

/// Overwrites the beginning with a forbidden prefix, or with something similar.
fn begin_as_forbidden(text: &mut [char], rule: &TextRule, random: &mut Random) {
    let forbidden = [rule.forbidden_prefixes, &["http://", "aliyun", "acs:"]].concat();
    for (at, c) in random.pick(&forbidden).chars().enumerate() {
        let upper = random.one_in(12);
        replace(text, at, if upper { c.to_ascii_uppercase() } else { c });
    }
}
