//! Label selectors as `kubectl --selector` takes them, evaluated here: which namespaces are regions.

use std::{collections::BTreeMap, str::FromStr};

use super::display;

/// A list of requirements, all of which a set of labels must meet; the empty list selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    /// Met by a label of another value and by none, as Kubernetes has it.
    NotIn(String, Vec<String>),
}

/// Why a text is no label selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a requirement on labels: write key=value, key!=value, key in (a,b), key notin (a,b), key or !key",
    display::quoted(.0)
)]
pub struct LabelSelectorError(String);

impl LabelSelector {
    /// Whether the selector selects an object with these labels.
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
        let requirements = split(text).into_iter().map(str::trim).filter(|part| !part.is_empty()).map(requirement);
        requirements.collect::<Result<_, _>>().map(Self)
    }
}

/// The parts between the commas that are not within parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut within = false;
    text.split(|c| {
        within = (within || c == '(') && c != ')';
        c == ',' && !within
    })
    .collect()
}

fn requirement(text: &str) -> Result<Requirement, LabelSelectorError> {
    let error = || LabelSelectorError(text.to_owned());
    let key = |key: &str| Some(key.trim()).filter(|key| is_key(key)).map(str::to_owned).ok_or_else(error);
    let values = |text: &str| {
        let inner = text.trim().strip_prefix('(').and_then(|text| text.strip_suffix(')')).ok_or_else(error)?;
        let values: Vec<String> = inner.split(',').map(|value| value.trim().to_owned()).collect();
        if values.iter().all(|value| is_value(value)) { Ok(values) } else { Err(error()) }
    };
    let value = |text: &str| values(&format!("({text})"));
    if let Some((name, set)) = text.split_once(" notin ") {
        return Ok(Requirement::NotIn(key(name)?, values(set)?));
    }
    if let Some((name, set)) = text.split_once(" in ") {
        return Ok(Requirement::In(key(name)?, values(set)?));
    }
    if let Some((name, other)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(key(name)?, value(other)?));
    }
    if let Some((name, same)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(key(name)?, value(same)?));
    }
    match text.strip_prefix('!') {
        Some(name) => Ok(Requirement::Absent(key(name)?)),
        None => Ok(Requirement::Exists(key(text)?)),
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
}

fn is_value(text: &str) -> bool {
    text.len() <= 63 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        selector.parse::<LabelSelector>().unwrap().selects(&labels)
    }

    #[test]
    fn every_operator_means_what_kubectl_means_by_it() {
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
    fn what_is_no_selector_is_refused() {
        for text in ["a b", "=b", "a in b", "a in (b", "!", "a=b=c", "a in (b c)", "a>1"] {
            assert!(text.parse::<LabelSelector>().is_err(), "{text}");
        }
    }
}
