//! Label selectors in the syntax of `kubectl --selector`, which select the namespaces that are regions, and as fields of objects, which
//! select `KeyPair`s.

use std::{collections::BTreeMap, str::FromStr};

use super::display;

/// A Kubernetes `LabelSelector` as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectorParameters {
    /// `matchLabels`.
    pub match_labels: BTreeMap<String, String>,
    /// `matchExpressions`: key, operator (`In`, `NotIn`, `Exists`, `DoesNotExist`) and values.
    pub match_expressions: Vec<(String, String, Vec<String>)>,
}

/// `matchLabels` and `matchExpressions`, and the values of an expression: the maximum number of each.
pub const MAX_REQUIREMENTS: usize = 16;

/// The size limit of the labels of a `KeyPair` in bytes, keys and values. Beyond it, no selector matches the `KeyPair`.
pub const MAX_LABEL_BYTES: usize = 4096;
/// The maximum number of labels of a `KeyPair`. Beyond it, no selector matches the `KeyPair`.
pub const MAX_LABELS: usize = 64;

/// Whether a selector can match a `KeyPair` with so many labels of so many bytes, keys and values.
#[must_use]
pub const fn are_selectable(labels: usize, bytes: usize) -> bool {
    labels <= MAX_LABELS && bytes <= MAX_LABEL_BYTES
}

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
    /// The selector of an object.
    ///
    /// # Errors
    ///
    /// The fields that are invalid, relative to the selector, each with what is wrong.
    pub fn from_parameters(parameters: &SelectorParameters) -> Result<Self, Vec<(String, String)>> {
        let mut mistakes = Vec::new();
        let mut requirements = Vec::new();
        let count = parameters.match_labels.len();
        if count > MAX_REQUIREMENTS {
            mistakes.push(("matchLabels".to_owned(), format!("at most {MAX_REQUIREMENTS} labels are allowed")));
        }
        for (index, (key, value)) in parameters.match_labels.iter().enumerate().take(MAX_REQUIREMENTS) {
            // Keys can be long and arbitrary, so messages give their positions in alphabetical order.
            let field = || "matchLabels".to_owned();
            let position = index + 1;
            if !is_key(key) {
                mistakes.push((field(), format!("key {position} must be {KEY_WORDS}")));
            }
            if !is_value(value) {
                mistakes.push((field(), format!("the value of key {position} must be {VALUE_WORDS}")));
            }
            requirements.push(Requirement::In(key.clone(), vec![value.clone()]));
        }
        let count = parameters.match_expressions.len();
        if count > MAX_REQUIREMENTS {
            let detail = format!("at most {MAX_REQUIREMENTS} expressions are allowed");
            mistakes.push(("matchExpressions".to_owned(), detail));
        }
        for (index, expression) in parameters.match_expressions.iter().enumerate().take(MAX_REQUIREMENTS) {
            match from_expression(expression) {
                Ok(requirement) => requirements.push(requirement),
                Err((field, detail)) => mistakes.push((format!("matchExpressions[{index}].{field}"), detail)),
            }
        }
        if mistakes.is_empty() { Ok(Self(requirements)) } else { Err(mistakes) }
    }

    /// Whether the selector matches these labels.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selects_by(|key| labels.get(key).map(String::as_str))
    }

    /// Whether the selector matches the labels with the values that `value` finds by key.
    pub fn selects_by<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        let is_in = |values: &[String], value: &str| values.iter().any(|it| it == value);
        self.0.iter().all(|requirement| match requirement {
            Requirement::Exists(key) => value(key).is_some(),
            Requirement::Absent(key) => value(key).is_none(),
            Requirement::In(key, values) => value(key).is_some_and(|value| is_in(values, value)),
            Requirement::NotIn(key, values) => value(key).is_none_or(|value| !is_in(values, value)),
        })
    }

    /// A requirement that demands a label, for an index: the key of the label and, unless any value is allowed, its values. `None` if
    /// the selector also matches objects without labels.
    #[must_use]
    pub fn demanded_label(&self) -> Option<(&str, Option<&[String]>)> {
        let demanded = self.0.iter().filter_map(|requirement| match requirement {
            Requirement::In(key, values) => Some((key.as_str(), Some(values.as_slice()))),
            Requirement::Exists(key) => Some((key.as_str(), None)),
            Requirement::Absent(_) | Requirement::NotIn(..) => None,
        });
        // The fewest values select best.
        demanded.min_by_key(|(_, values)| values.map_or(usize::MAX, <[String]>::len))
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

/// The form of a key, to follow "must be".
const KEY_WORDS: &str = "the key of a label, such as app or example.com/app";
/// The form of a value, to follow "must be".
const VALUE_WORDS: &str = "at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit";

/// A requirement of `matchExpressions`, or the field that is wrong and what is wrong with it.
fn from_expression((key, operator, values): &(String, String, Vec<String>)) -> Result<Requirement, (String, String)> {
    let mistake = |field: &str, detail: String| Err((field.to_owned(), detail));
    if !is_key(key) {
        return mistake("key", format!("must be {KEY_WORDS}"));
    }
    let needs_values = match operator.as_str() {
        "In" | "NotIn" => true,
        "Exists" | "DoesNotExist" => false,
        _ => return mistake("operator", "must be In, NotIn, Exists or DoesNotExist".to_owned()),
    };
    if values.is_empty() && needs_values {
        return mistake("values", format!("must not be empty with the operator {operator}"));
    }
    if !values.is_empty() && !needs_values {
        return mistake("values", format!("must be empty with the operator {operator}"));
    }
    if values.len() > MAX_REQUIREMENTS {
        return mistake("values", format!("at most {MAX_REQUIREMENTS} values are allowed"));
    }
    if let Some(index) = values.iter().position(|value| !is_value(value)) {
        return mistake(&format!("values[{index}]"), format!("must be {VALUE_WORDS}"));
    }
    Ok(match operator.as_str() {
        "In" => Requirement::In(key.clone(), values.clone()),
        "NotIn" => Requirement::NotIn(key.clone(), values.clone()),
        "Exists" => Requirement::Exists(key.clone()),
        _ => Requirement::Absent(key.clone()),
    })
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
    fn the_demanded_label_is_one_that_every_match_has() {
        for (selector, demanded) in [
            ("", None),
            ("!a,b!=c", None),
            ("a", Some(("a", None))),
            ("a,b in (c,d),e=f", Some(("e", Some(&["f".to_owned()] as &[_])))),
        ] {
            assert_eq!(selector.parse::<LabelSelector>().unwrap().demanded_label(), demanded, "{selector}");
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
