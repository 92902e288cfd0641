//! Label selectors in the syntax of `kubectl --selector`; they select the namespaces that are regions.

use std::{collections::BTreeMap, str::FromStr};

use super::display;

/// Requirements that a set of labels must all meet. An empty list selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    /// As in Kubernetes, a missing label meets this, too.
    NotIn(String, Vec<String>),
}

/// A text that is not a label selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a label requirement: use key=value, key!=value, key in (a,b), key notin (a,b), key or !key",
    display::quoted(.0)
)]
pub struct LabelSelectorError(String);

impl LabelSelector {
    /// Whether the selector matches these labels.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Absent(key) => !labels.contains_key(key),
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
        })
    }
}

impl FromStr for LabelSelector {
    type Err = LabelSelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim_matches(SPACE).is_empty() {
            return Ok(Self::default());
        }
        split(text).into_iter().map(|part| requirement(part.trim_matches(SPACE))).collect::<Result<_, _>>().map(Self)
    }
}

/// White space between tokens.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut within = false;
    text.split(|c| {
        within = (within || c == '(') && c != ')';
        c == ',' && !within
    })
    .collect()
}

/// Parses one requirement. The grammar is that of `k8s.io/apimachinery/pkg/labels`, without `>` and `<`.
fn requirement(text: &str) -> Result<Requirement, LabelSelectorError> {
    parse_requirement(text).ok_or_else(|| LabelSelectorError(text.to_owned()))
}

fn parse_requirement(text: &str) -> Option<Requirement> {
    let (is_negated, rest) =
        text.strip_prefix('!').map_or((false, text), |rest| (true, rest.trim_start_matches(SPACE)));
    let (key, rest) = split_word(rest);
    let key = Some(key).filter(|key| is_key(key))?.to_owned();
    match (is_negated, rest.is_empty()) {
        (true, true) => return Some(Requirement::Absent(key)),
        (true, false) => return None,
        (false, true) => return Some(Requirement::Exists(key)),
        (false, false) => {}
    }
    if let Some(other) = rest.strip_prefix("!=") {
        return Some(Requirement::NotIn(key, vec![value(other)?]));
    }
    if let Some(same) = rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')) {
        return Some(Requirement::In(key, vec![value(same)?]));
    }
    let (operator, set) = split_word(rest);
    let set = set.strip_prefix('(')?.strip_suffix(')')?;
    let values = set.split(',').map(value).collect::<Option<_>>()?;
    match operator {
        "in" => Some(Requirement::In(key, values)),
        "notin" => Some(Requirement::NotIn(key, values)),
        _ => None,
    }
}

/// The first word, and the rest after the white space that follows it.
fn split_word(text: &str) -> (&str, &str) {
    let end = text.find(|c| SPACE.contains(&c) || "=!()<>".contains(c)).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_start_matches(SPACE))
}

fn value(text: &str) -> Option<String> {
    Some(text.trim_matches(SPACE)).filter(|text| is_value(text)).map(str::to_owned)
}

/// Whether `text` is a qualified name: `example.com/name`, or `name` alone.
fn is_key(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    !name.is_empty() && is_value(name) && prefix.is_none_or(is_subdomain)
}

/// Whether `text` is a DNS subdomain (RFC 1123) in lower case.
fn is_subdomain(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_label = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    text.len() <= 253 && text.split('.').all(|label| is_label(label) && label.chars().all(is_inner))
}

/// Whether `text` is empty, or a name that begins and ends with a letter or digit.
fn is_value(text: &str) -> bool {
    let is_end = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.chars().all(|c| is_end(c) || "-_.".contains(c))
        && (text.is_empty() || text.starts_with(is_end) && text.ends_with(is_end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        selector.parse::<LabelSelector>().unwrap().selects(&labels)
    }

    #[test]
    fn operators_have_the_meaning_that_kubectl_gives_them() {
        let labels = [("tier", "gold"), ("example.com/region", "")];
        for yes in [
            "",
            " ",
            "tier",
            "!zone",
            "tier=gold",
            "tier==gold",
            "tier!=silver",
            "zone!=a",
            "tier in (gold, silver)",
            "tier notin (silver)",
            "zone notin (a,b)",
            "example.com/region",
            "example.com/region=",
            "tier in (gold,silver),!zone,example.com/region",
            "tier in(gold)",
            "tier\tnotin ( silver , )",
            "! zone , tier = gold",
        ] {
            assert!(selects(yes, &labels), "{yes}");
        }
        for no in
            ["zone", "!tier", "tier=silver", "tier!=gold", "tier in (silver)", "tier notin (gold,silver)", "tier,zone"]
        {
            assert!(!selects(no, &labels), "{no}");
        }
    }

    #[test]
    fn invalid_selectors_are_refused() {
        for text in [
            "a b",
            "=b",
            "a in b",
            "a in (b",
            "!",
            "a=b=c",
            "a in (b c)",
            "a>1",
            "a,",
            ",a",
            "a=(b)",
            "/a",
            "A/b",
            "a/",
            "-a",
            "a=-",
        ] {
            assert!(text.parse::<LabelSelector>().is_err(), "{text}");
        }
    }
}
