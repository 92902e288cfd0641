//! The documents of a file, split and read as `kubectl` does it.
//!
//! It reads JSON values one after the other where the file begins with a brace, and otherwise, or where the first is no JSON,
//! the YAML between lines that begin with three dashes, each by itself; numbers and truth values are those of YAML 1.1.

use std::borrow::Cow;

use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Options};

/// Separates documents, at the beginning of a line.
const SEPARATOR: &str = "---";
const BYTE_ORDER_MARK: char = '\u{feff}';

/// What was read of a document.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// What it says; nothing where it cannot be read.
    pub(super) value: Option<Value>,
    /// Why it cannot be read.
    pub(super) mistake: Option<String>,
    /// What is odd about it.
    pub(super) warning: Option<String>,
}

impl Document {
    /// Only the place is told: the parser's message may quote the text, and there may be a private key in it.
    fn unreadable(line: Option<u64>) -> Self {
        let place = line.map_or_else(String::new, |line| format!(" at line {line}"));
        Self { mistake: Some(format!("this is not valid YAML or JSON{place}")), ..Self::default() }
    }
}

/// The documents of a text, in order, those without content left out.
pub(super) fn read(text: &str) -> Vec<Document> {
    json(text).unwrap_or_else(|| yaml(text))
}

fn json(text: &str) -> Option<Vec<Document>> {
    text.trim_start().starts_with('{').then_some(())?;
    let mut documents: Vec<Document> = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut read = 0;
    while let Some(value) = values.next() {
        match value {
            Ok(value) => documents.push(Document { value: Some(value), ..Document::default() }),
            Err(_) if documents.is_empty() => return None,
            // What follows a line of dashes is YAML, which JSON is, too.
            Err(_) if text.get(read..).is_some_and(|rest| rest.trim_start().starts_with(SEPARATOR)) => {
                documents.extend(yaml_from(text, read));
            }
            Err(error) => documents.push(Document::unreadable(u64::try_from(error.line()).ok())),
        }
        read = values.byte_offset();
    }
    Some(documents)
}

fn yaml(text: &str) -> Vec<Document> {
    yaml_from(text, 0)
}

/// The documents from this place on.
fn yaml_from(text: &str, from: usize) -> Vec<Document> {
    let (before, text) = text.split_at_checked(from).unwrap_or_default();
    let first_line = before.matches('\n').count();
    let text = if from == 0 { text } else { text.trim_start_matches([' ', '\t']) };
    let mut documents = Vec::new();
    let mut begin = (0, first_line);
    let mut place = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let end = place;
        place += line.len();
        let Some(rest) = line.strip_prefix(SEPARATOR) else { continue };
        documents.extend(document(text.get(begin.0..end).unwrap_or_default(), begin.1));
        begin = (place, first_line + number + 1);
        let rest = rest.trim();
        if !rest.is_empty() && !rest.starts_with('#') {
            documents.push(Document {
                mistake: Some(format!(
                    "at line {} there is text behind the dashes that separate documents",
                    first_line + number + 1
                )),
                ..Document::default()
            });
            // The rest is read by nobody.
            return documents;
        }
    }
    documents.extend(document(text.get(begin.0..).unwrap_or_default(), begin.1));
    documents
}

/// The document in `text`, before which there are so many lines in the file.
fn document(text: &str, lines_before: usize) -> Option<Document> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let has_content = text.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#'));
    has_content.then_some(())?;
    let line_of = |error: &serde_saphyr::Error| {
        error.location().map(|place| place.line() + u64::try_from(lines_before).unwrap_or_default())
    };
    match value(text, DuplicateKeyPolicy::Error) {
        Ok(value) => Some(Document { value: Some(value), ..Document::default() }),
        // The last of two is taken, as by `kubectl`; others refuse this.
        Err(error) => match value(text, DuplicateKeyPolicy::LastWins) {
            Ok(value) => {
                let place = line_of(&error).map_or_else(String::new, |line| format!(" at line {line}"));
                let warning = format!("a field is given twice{place}, and the last counts: remove one");
                Some(Document { value: Some(value), warning: Some(warning), ..Document::default() })
            }
            Err(error) => Some(Document::unreadable(line_of(&error))),
        },
    }
}

fn value(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Value, serde_saphyr::Error> {
    let mut options = Options::default();
    options.duplicate_keys = duplicate_keys;
    options.legacy_octal_numbers = true;
    let text = unix_lines(text);
    // What follows three dots is read by nobody.
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(&text, options)?;
    Ok(documents.into_iter().next().unwrap_or_default())
}

/// A carriage return alone ends a line, too.
fn unix_lines(text: &str) -> Cow<'_, str> {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(text: &str) -> Vec<Option<Value>> {
        read(text).into_iter().map(|document| document.value).collect()
    }

    #[test]
    fn each_document_is_read_by_itself() {
        assert_eq!(values(""), []);
        assert_eq!(values("# a\n---\n\n---\n"), []);
        assert_eq!(
            values("a: 1\n--- # x\n\u{feff}a: 2\n...\n---\na: [\n---\r\na: 3\r\n"),
            [Some(json!({"a": 1})), Some(json!({"a": 2})), None, Some(json!({"a": 3})),]
        );
        let broken = read("a: 1\n---\nb: [\n");
        assert_eq!(
            broken[1].mistake.as_deref().unwrap().split(" at line").next(),
            Some("this is not valid YAML or JSON")
        );
        let glued = read("a: 1\n--- {a: 2}\n---\na: 3");
        assert!(glued.len() == 2 && glued[1].mistake.as_ref().unwrap().starts_with("at line 2 "), "{glued:?}");
    }

    #[test]
    fn json_is_read_value_by_value() {
        assert_eq!(values("{\"a\": 1}\n {\"a\": 2, \"a\": 3}"), [Some(json!({"a": 1})), Some(json!({"a": 3}))]);
        assert_eq!(values("{\"a\": 1} x"), [Some(json!({"a": 1})), None]);
        assert_eq!(values("{a: 1}"), [Some(json!({"a": 1}))]);
        let mixed = "{\"a\": 1}\n---\n{\"a\": 2}\n---\na: 3\n---\nb: [\n";
        assert_eq!(values(mixed), [Some(json!({"a": 1})), Some(json!({"a": 2})), Some(json!({"a": 3})), None]);
        assert!(read(mixed)[3].mistake.as_ref().unwrap().ends_with(" at line 7"), "{:?}", read(mixed));
    }

    #[test]
    fn the_last_of_two_fields_counts_and_is_warned_of() {
        let documents = read("b: 1\n---\na: 1\na: 2\n");
        assert_eq!(documents[1].value, Some(json!({"a": 2})));
        assert!(documents[1].warning.as_ref().unwrap().contains("at line 4"), "{documents:?}");
        assert!(documents[0].warning.is_none());
    }

    #[test]
    fn words_and_numbers_are_those_of_yaml_1_1() {
        let text = "[yes, off, y, 010, 0o10, 0x10, 1_000, 1:30, 2026-01-01, ~]";
        assert_eq!(values(text), [Some(json!([true, false, true, 8, 8, 16, 1000, "1:30", "2026-01-01", null]))]);
    }
}
