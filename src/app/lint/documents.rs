//! Splits a file into documents and parses them as `kubectl` does.
//!
//! A file that begins with a brace is a sequence of JSON values. If the first value is not JSON, or the file begins with anything
//! else, it is a sequence of YAML documents, separated by lines that begin with `---`. Numbers and booleans follow YAML 1.1.

use std::borrow::Cow;

use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Options};

/// Separates YAML documents, at the beginning of a line.
const SEPARATOR: &str = "---";
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A document, as far as it could be parsed.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The content; `None` if it cannot be parsed.
    pub(super) value: Option<Value>,
    /// Why it cannot be parsed.
    pub(super) error: Option<String>,
    /// What is discouraged about it.
    pub(super) warning: Option<String>,
}

impl Document {
    /// Names only the line: the message of the parser can quote the text, which can contain a private key.
    fn unparsable(line: Option<u64>) -> Self {
        let place = line.map_or_else(String::new, |line| format!(" at line {line}"));
        Self { error: Some(format!("this is not valid YAML or JSON{place}")), ..Self::default() }
    }
}

/// The documents of a text, in order, without empty ones.
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
            // What follows a separator is YAML, of which JSON is a subset.
            Err(_) if text.get(read..).is_some_and(|rest| rest.trim_start().starts_with(SEPARATOR)) => {
                documents.extend(yaml_from(text, read));
            }
            Err(error) => documents.push(Document::unparsable(u64::try_from(error.line()).ok())),
        }
        read = values.byte_offset();
    }
    Some(documents)
}

fn yaml(text: &str) -> Vec<Document> {
    yaml_from(text, 0)
}

/// The YAML documents from the byte `offset` on.
fn yaml_from(text: &str, offset: usize) -> Vec<Document> {
    let (before, text) = text.split_at_checked(offset).unwrap_or_default();
    let first_line = before.matches('\n').count();
    let text = if offset == 0 { text } else { text.trim_start_matches([' ', '\t']) };
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
                error: Some(format!(
                    "text after the document separator --- at line {}: move it to the next line",
                    first_line + number + 1
                )),
                ..Document::default()
            });
            // `kubectl` reads no further.
            return documents;
        }
    }
    documents.extend(document(text.get(begin.0..).unwrap_or_default(), begin.1));
    documents
}

/// Parses one YAML document, which `lines_before` lines of the file precede.
fn document(text: &str, lines_before: usize) -> Option<Document> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let has_content = text.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#'));
    has_content.then_some(())?;
    let line_of = |error: &serde_saphyr::Error| {
        error.location().map(|place| place.line() + u64::try_from(lines_before).unwrap_or_default())
    };
    match value(text, DuplicateKeyPolicy::Error) {
        Ok(value) => Some(Document { value: Some(value), ..Document::default() }),
        // `kubectl` uses the last of two equal keys; other tools refuse them.
        Err(error) => match value(text, DuplicateKeyPolicy::LastWins) {
            Ok(value) => {
                let place = line_of(&error).map_or_else(String::new, |line| format!(" at line {line}"));
                let warning = format!("duplicate field{place}: the last value is used; remove the others");
                Some(Document { value: Some(value), warning: Some(warning), ..Document::default() })
            }
            Err(error) => Some(Document::unparsable(line_of(&error))),
        },
    }
}

fn value(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Value, serde_saphyr::Error> {
    let mut options = Options::default();
    options.duplicate_keys = duplicate_keys;
    options.legacy_octal_numbers = true;
    let text = unix_lines(text);
    // `kubectl` ignores what follows `...`.
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(&text, options)?;
    Ok(documents.into_iter().next().unwrap_or_default())
}

/// Also treats a lone carriage return as the end of a line.
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
    fn each_document_is_parsed_separately() {
        assert_eq!(values(""), []);
        assert_eq!(values("# a\n---\n\n---\n"), []);
        assert_eq!(
            values("a: 1\n--- # x\n\u{feff}a: 2\n...\n---\na: [\n---\r\na: 3\r\n"),
            [Some(json!({"a": 1})), Some(json!({"a": 2})), None, Some(json!({"a": 3})),]
        );
        let broken = read("a: 1\n---\nb: [\n");
        assert_eq!(
            broken[1].error.as_deref().unwrap().split(" at line").next(),
            Some("this is not valid YAML or JSON")
        );
        let glued = read("a: 1\n--- {a: 2}\n---\na: 3");
        assert!(glued.len() == 2 && glued[1].error.as_ref().unwrap().contains(" at line 2:"), "{glued:?}");
    }

    #[test]
    fn json_is_parsed_value_by_value() {
        assert_eq!(values("{\"a\": 1}\n {\"a\": 2, \"a\": 3}"), [Some(json!({"a": 1})), Some(json!({"a": 3}))]);
        assert_eq!(values("{\"a\": 1} x"), [Some(json!({"a": 1})), None]);
        assert_eq!(values("{a: 1}"), [Some(json!({"a": 1}))]);
        let mixed = "{\"a\": 1}\n---\n{\"a\": 2}\n---\na: 3\n---\nb: [\n";
        assert_eq!(values(mixed), [Some(json!({"a": 1})), Some(json!({"a": 2})), Some(json!({"a": 3})), None]);
        assert!(read(mixed)[3].error.as_ref().unwrap().ends_with(" at line 7"), "{:?}", read(mixed));
    }

    #[test]
    fn the_last_duplicate_field_wins_with_a_warning() {
        let documents = read("b: 1\n---\na: 1\na: 2\n");
        assert_eq!(documents[1].value, Some(json!({"a": 2})));
        assert!(documents[1].warning.as_ref().unwrap().contains("at line 4"), "{documents:?}");
        assert!(documents[0].warning.is_none());
    }

    #[test]
    fn booleans_and_numbers_follow_yaml_1_1() {
        let text = "[yes, off, y, 010, 0o10, 0x10, 1_000, 1:30, 2026-01-01, ~]";
        assert_eq!(values(text), [Some(json!([true, false, true, 8, 8, 16, 1000, "1:30", "2026-01-01", null]))]);
    }
}
