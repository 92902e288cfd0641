//! Compares what two servers have answered.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::{
    play::{Answer, Record},
    script::{Script, Step},
};

/// A place where the answers differ.
struct Difference<'a> {
    pointer: &'a str,
    real: &'a Value,
    simulated: &'a Value,
    /// The whole answers.
    answers: [&'a Answer; 2],
}

/// What may differ.
pub struct Allowed {
    what: &'static str,
    why: &'static str,
    applies: fn(&Difference) -> bool,
}

impl Difference<'_> {
    fn is_code(&self, code: u16) -> bool {
        self.answers.iter().all(|answer| answer.status == code)
    }
}

/// Everything that may differ.
pub const ALLOWED: &[Allowed] = &[];

pub fn compare(name: &str, script: &Script, real: &Record, simulated: &Record) {
    let (real, simulated) = (normalized(real), normalized(simulated));
    let mut told = Vec::new();
    for ((step, real), simulated) in script.0.iter().zip(&real).zip(&simulated) {
        let mut found = Vec::new();
        if real.status != simulated.status {
            found.push(format!("status {} and not {}", real.status, simulated.status));
        }
        differences("", &real.body, &simulated.body, &mut |pointer, one, other| {
            let difference = Difference { pointer, real: one, simulated: other, answers: [real, simulated] };
            if !ALLOWED.iter().any(|allowed| (allowed.applies)(&difference)) {
                found.push(format!("{pointer}: {one} and not {other}"));
            }
        });
        if !found.is_empty() {
            let step = match step {
                Step::Request(request) => {
                    format!("{} {} {}", request.method, request.path, request.body.clone().unwrap_or_default())
                }
                step => format!("{step:?}"),
            };
            told.push(format!("{step}\n    {}", found.join("\n    ")));
        }
    }
    assert!(told.is_empty(), "{name}: the real server answers\n{}", told.join("\n"));
}

fn differences(pointer: &str, real: &Value, simulated: &Value, tell: &mut impl FnMut(&str, &Value, &Value)) {
    match (real, simulated) {
        (Value::Object(one), Value::Object(other)) => {
            let mut keys: Vec<&String> = one.keys().chain(other.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let part = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or(json!("(absent)"));
                differences(&format!("{pointer}/{key}"), &part(one), &part(other), tell);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                differences(&format!("{pointer}/{index}"), one, other, tell);
            }
        }
        _ if real == simulated => {}
        _ => tell(pointer, real, simulated),
    }
}

/// The answers with UIDs and versions by their order, and without times.
fn normalized(record: &Record) -> Vec<Answer> {
    let mut versions: Vec<u64> = Vec::new();
    for answer in &record.0 {
        collect_versions(&answer.body, &mut versions);
    }
    versions.sort_unstable();
    versions.dedup();
    let mut names = Names {
        uids: BTreeMap::new(),
        versions,
        uid: Regex::new("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").unwrap(),
    };
    record
        .0
        .iter()
        .map(|answer| {
            let mut body = answer.body.clone();
            names.normalize(&mut body);
            sort_causes(&mut body);
            Answer { status: answer.status, body }
        })
        .collect()
}

/// Mistakes are found in the order of a map in Go, which has none.
fn sort_causes(body: &mut Value) {
    if let Some(causes) = body.pointer_mut("/details/causes").and_then(Value::as_array_mut) {
        causes.sort_by_key(Value::to_string);
    }
}

/// Whether these are the metadata of a list or a bookmark: its version is that of the whole store, which others change, too.
fn is_of_a_list(metadata: &Value) -> bool {
    metadata.get("name").is_none() && metadata.get("resourceVersion").is_some()
}

fn collect_versions(value: &Value, versions: &mut Vec<u64>) {
    match value {
        Value::Object(fields) => {
            if let Some(metadata) = fields.get("metadata").filter(|metadata| !is_of_a_list(metadata)) {
                versions
                    .extend(metadata.get("resourceVersion").and_then(|version| version.as_str()?.parse::<u64>().ok()));
            }
            fields.values().for_each(|value| collect_versions(value, versions));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_versions(item, versions)),
        _ => {}
    }
}

struct Names {
    uids: BTreeMap<String, usize>,
    versions: Vec<u64>,
    uid: Regex,
}

impl Names {
    fn normalize(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("managedFields");
                let is_list = fields.get("metadata").is_some_and(is_of_a_list);
                if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
                    self.metadata(metadata, is_list);
                }
                fields.values_mut().for_each(|value| self.normalize(value));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.normalize(item)),
            Value::String(text) => *text = self.text(text),
            _ => {}
        }
    }

    fn metadata(&mut self, metadata: &mut Map<String, Value>, is_list: bool) {
        for time in ["creationTimestamp", "deletionTimestamp"] {
            if metadata.get(time).is_some_and(Value::is_string) {
                metadata.insert(time.to_owned(), json!("(time)"));
            }
        }
        if metadata.contains_key("continue") {
            metadata.insert("continue".to_owned(), json!("(token)"));
        }
        if metadata.contains_key("generateName") && metadata.contains_key("name") {
            metadata.insert("name".to_owned(), json!("(generated)"));
        }
        if let Some(version) = metadata.get_mut("resourceVersion") {
            let number = version.as_str().and_then(|version| version.parse::<u64>().ok()).unwrap_or_default();
            *version = match self.versions.binary_search(&number) {
                Ok(rank) if !is_list => json!(format!("(version {rank})")),
                _ => json!("(version)"),
            };
        }
    }

    fn text(&mut self, text: &str) -> String {
        let found: Vec<String> = self.uid.find_iter(text).map(|found| found.as_str().to_owned()).collect();
        found.into_iter().fold(text.to_owned(), |text, uid| {
            let next = self.uids.len();
            let number = *self.uids.entry(uid.clone()).or_insert(next);
            text.replace(&uid, &format!("(uid {number})"))
        })
    }
}
