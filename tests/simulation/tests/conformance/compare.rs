//! Compares the responses of two servers.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::{
    play::{Answer, Record},
    script::{Script, Step},
};

/// Normalizes an answer where the servers may differ.
type PutAlike = fn(&mut Answer);

/// All permitted differences, each with the reason. The functions make both answers equal where they may differ.
const ALLOWED: &[(&str, PutAlike)] = &[
    (
        "The rules in CEL are not evaluated: the domain's checks stand in for them, whose words are others, and which \
              tell of several rules about one field once. The codes and the fields are compared.",
        codes_of_rules,
    ),
    ("Go's maps have no order, so neither have the mistakes in an object.", sort_causes),
    ("What the parser of selectors and of continue tokens says is of no use to a program.", without_parsers),
    (
        "A server tells watches now and then how far they are: when is its own affair. What ends the first events is compared.",
        without_bookmarks,
    ),
    ("Why a body cannot be decoded is told in the words of the decoder.", without_decoders),
];

fn details_kind(answer: &Answer) -> &str {
    answer.body.pointer("/details/kind").and_then(Value::as_str).unwrap_or_default()
}

fn codes_of_rules(answer: &mut Answer) {
    if answer.status != 422 || details_kind(answer) != "KeyPair" {
        return;
    }
    // A message lists what is wrong with each field: the code first, the field last.
    let rule = Regex::new(r"([A-Z][A-Za-z.]+|[0-9]{3,4}): .*? \((spec\.[A-Za-z]+)[A-Za-z.]*\)").unwrap();
    let Some(causes) = answer.body.pointer_mut("/details/causes").and_then(Value::as_array_mut) else { return };
    let mut has_rules = false;
    for cause in causes.iter_mut().filter(|cause| cause["field"] == "spec") {
        let message = cause["message"].as_str().unwrap_or_default().to_owned();
        let Some(message) = message.strip_prefix("Invalid value: ") else { continue };
        let told: BTreeSet<(&str, &str)> = rule
            .captures_iter(message)
            .map(|captures| captures.extract())
            .map(|(_, [code, field])| (code, field))
            .collect();
        has_rules = !told.is_empty();
        *cause = json!({ "field": "spec", "rules": told });
    }
    causes.sort_by_key(Value::to_string);
    causes.dedup();
    if has_rules {
        answer.body["message"] = json!("(rules)");
    }
}

fn sort_causes(answer: &mut Answer) {
    if let Some(causes) = answer.body.pointer_mut("/details/causes").and_then(Value::as_array_mut) {
        causes.sort_by_key(Value::to_string);
        if causes.len() > 1 {
            answer.body["message"] = json!("(several)");
        }
    }
}

fn without_bookmarks(answer: &mut Answer) {
    if let Some(events) = answer.body.as_array_mut() {
        let ends_first = "/object/metadata/annotations/k8s.io~1initial-events-end";
        events.retain(|event| event["type"] != "BOOKMARK" || event.pointer(ends_first).is_some());
    }
}

fn without_parsers(answer: &mut Answer) {
    let message = answer.body["message"].as_str().unwrap_or_default();
    let is_token = message.contains("continue key is not valid");
    let is_selector = message.contains("expected: ") || message.contains("unable to parse requirement");
    if answer.status == 400 && (is_token || is_selector) {
        answer.body["message"] = json!("(a parser's words)");
    }
}

fn without_decoders(answer: &mut Answer) {
    let message = answer.body["message"].as_str().unwrap_or_default();
    let words = [
        "cannot unmarshal",
        "illegal base64 data",
        "cannot read ",
        "cannot be handled as",
        "is missing in",
        "the object provided is unrecognized",
    ];
    if answer.status == 400 && words.iter().any(|word| message.contains(word)) {
        answer.body["message"] = json!("(a decoder's words)");
    }
}

pub fn compare(name: &str, script: &Script, real: &Record, simulated: &Record) {
    let (real, simulated) = (normalized(real), normalized(simulated));
    assert_eq!(real.len(), script.0.len());
    let mut told = Vec::new();
    for ((step, real), simulated) in script.0.iter().zip(&real).zip(&simulated) {
        let mut found = Vec::new();
        if real.status != simulated.status {
            found.push(format!("status {} and not {}", real.status, simulated.status));
        }
        let is_watch = real.status == 0;
        let both = [&real.body, &simulated.body].map(|body| if is_watch { brief(body) } else { Value::Null });
        if both[0] != both[1] {
            found.push(format!("{}\n and not {}", both[0], both[1]));
        }
        differences("", &real.body, &simulated.body, &mut |pointer, one, other| {
            if is_watch && both[0] != both[1] {
                return;
            }
            found.push(format!("{pointer}: {one} and not {other}"));
        });
        if !found.is_empty() {
            told.push(format!("{}\n    {}", written(step), found.join("\n    ")));
        }
    }
    if !told.is_empty() {
        println!("The script {name}:");
        script.0.iter().for_each(|step| println!("  {}", written(step)));
    }
    assert!(told.is_empty(), "{name}: the real server answers\n{}", told.join("\n"));
}

/// A step in readable form.
fn written(step: &Step) -> String {
    match step {
        Step::Request(request) => {
            let body = request.body.as_ref().map(Value::to_string).unwrap_or_default();
            format!("{} {} {body}", request.method, request.path)
        }
        step => format!("{step:?}"),
    }
}

/// The events of a watch in a short, readable form.
fn brief(events: &Value) -> Value {
    let text =
        |event: &Value, pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let events = events.as_array().into_iter().flatten();
    events
        .map(|event| {
            format!(
                "{} {} {}",
                text(event, "/type"),
                text(event, "/object/metadata/name"),
                text(event, "/object/metadata/resourceVersion")
            )
        })
        .collect()
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

/// The answers without times, and with UIDs and versions replaced by their order.
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
        record: Regex::new(r"(ResourceVersion in record |ResourceVersion in the precondition |current: |resource version: )\(?\d+( \(\d+\))?\)?").unwrap(),
    };
    record
        .0
        .iter()
        .map(|answer| {
            let mut body = answer.body.clone();
            names.normalize(&mut body);
            let mut answer = Answer { status: answer.status, body };
            for (_, put_alike) in ALLOWED {
                put_alike(&mut answer);
            }
            answer
        })
        .collect()
}

/// Whether this is the metadata of a list or a bookmark: its version is that of the whole store, which others change, too.
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
    /// Matches a version in a message.
    record: Regex,
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
        if metadata.get("continue").is_some_and(|token| token != "") {
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
        let text = &self.record.replace_all(text, "$1(version)").into_owned();
        let found: Vec<String> = self.uid.find_iter(text).map(|found| found.as_str().to_owned()).collect();
        found.into_iter().fold(text.to_owned(), |text, uid| {
            let next = self.uids.len();
            let number = *self.uids.entry(uid.clone()).or_insert(next);
            text.replace(&uid, &format!("(uid {number})"))
        })
    }
}
