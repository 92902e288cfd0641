//! Field and label selectors.

use serde_json::Value;

use super::{
    failure::Failure,
    metadata::{is_label_key, is_label_value},
    object,
    resource::Resource,
};

/// What a list or a watch selects.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    pub namespace: Option<String>,
    pub labels: Vec<Requirement>,
    /// The pointer to a field, a value, and whether the field must have that value or must not.
    pub fields: Vec<(&'static str, String, bool)>,
}

/// One term of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selection {
    /// Whether an object is selected.
    pub fn allows(&self, shown: &Value) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| object::text(shown, "/metadata/namespace") == namespace)
            && self.fields.iter().all(|(pointer, value, equal)| (object::text(shown, pointer) == value) == *equal)
            && self.labels.iter().all(|requirement| requirement.allows(shown))
    }

    /// Whether it selects by anything other than the namespace.
    pub fn is_narrow(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }

    /// Reads a field selector.
    pub fn set_fields(&mut self, text: &str, resource: &Resource) -> Result<(), Failure> {
        for term in text.split(',').filter(|term| !term.is_empty()) {
            let (field, value, equal) = term
                .split_once("!=")
                .map(|(field, value)| (field, value, false))
                .or_else(|| term.split_once("==").map(|(field, value)| (field, value, true)))
                .or_else(|| term.split_once('=').map(|(field, value)| (field, value, true)))
                .ok_or_else(|| {
                    Failure::bad_request(format!("invalid selector: '{text}'; can't understand '{term}'"))
                })?;
            let pointer = match field {
                "metadata.name" => "/metadata/name",
                "metadata.namespace" if resource.is_namespaced => "/metadata/namespace",
                "type" if resource.plural == "secrets" => "/type",
                "status.phase" if resource.plural == "namespaces" => "/status/phase",
                _ => {
                    let words = format!("field label not supported: {field}");
                    return Err(Failure::bad_request(words));
                }
            };
            self.fields.push((pointer, value.to_owned(), equal));
        }
        Ok(())
    }

    /// Reads a label selector.
    pub fn set_labels(&mut self, text: &str) -> Result<(), Failure> {
        let mut rest = text.trim();
        while !rest.is_empty() {
            let end = term_end(rest);
            let (term, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            let read = Requirement::read(term.trim()).filter(Requirement::is_valid);
            let read = read.ok_or_else(|| Failure::bad_request(format!("unable to parse requirement: {term}")))?;
            self.labels.push(read);
            rest = after.trim_start_matches(',').trim();
        }
        Ok(())
    }
}

/// The end of the first term: at a comma outside parentheses.
fn term_end(text: &str) -> usize {
    let mut depth = 0_i32;
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => return index,
            _ => {}
        }
    }
    text.len()
}

impl Requirement {
    fn read(term: &str) -> Option<Self> {
        let requirement = |key: &str, test| Some(Self { key: key.trim().to_owned(), test });
        let one = |value: &str| vec![value.trim().to_owned()];
        let is_word = |text: &str| !text.trim().contains(char::is_whitespace);
        if let Some(key) = term.strip_prefix('!') {
            return requirement(key, Test::Absent);
        }
        if let Some((key, value)) = term.split_once("!=").filter(|(key, value)| is_word(key) && is_word(value)) {
            return requirement(key, Test::NotIn(one(value)));
        }
        let equal = term.split_once("==").or_else(|| term.split_once('='));
        if let Some((key, value)) = equal.filter(|(key, value)| is_word(key) && is_word(value)) {
            return requirement(key, Test::In(one(value)));
        }
        if let Some((head, values)) = term.strip_suffix(')').and_then(|term| term.split_once('(')) {
            let values = values.split(',').map(|value| value.trim().to_owned()).collect();
            let head = head.trim();
            if let Some(key) = head.strip_suffix(" notin") {
                return requirement(key, Test::NotIn(values));
            }
            return head.strip_suffix(" in").and_then(|key| requirement(key, Test::In(values)));
        }
        (!term.is_empty() && is_word(term) && !term.contains('='))
            .then(|| Self { key: term.to_owned(), test: Test::Exists })
    }

    /// Whether the key and the values are valid for labels.
    fn is_valid(&self) -> bool {
        let values = match &self.test {
            Test::In(values) | Test::NotIn(values) => values.as_slice(),
            Test::Exists | Test::Absent => &[],
        };
        is_label_key(&self.key) && values.iter().all(|value| is_label_value(value))
    }

    fn allows(&self, shown: &Value) -> bool {
        let value = shown.pointer("/metadata/labels").and_then(|labels| labels.get(&self.key)).and_then(Value::as_str);
        match (&self.test, value) {
            (Test::In(values), Some(value)) => values.iter().any(|wanted| wanted == value),
            (Test::NotIn(values), Some(value)) => !values.iter().any(|wanted| wanted == value),
            (Test::NotIn(_) | Test::Absent, None) | (Test::Exists, Some(_)) => true,
            (Test::In(_) | Test::Exists, None) | (Test::Absent, Some(_)) => false,
        }
    }
}
