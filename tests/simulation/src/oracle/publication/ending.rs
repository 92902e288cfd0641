//! Checks publications and their targets after the faults have ended and the operator has stopped writing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    model::{KINDS, Wanted, selects, target_of, wanted},
    text::{entries, is_wanted, keys_in, read_line},
};
use crate::{
    Server,
    oracle::facts::{name, namespace, owners, ready, text, uid},
};

/// The longest message of a condition, in bytes.
const LONGEST_MESSAGE: usize = 1024;

/// The objects that concern publications.
struct Objects {
    publications: Vec<Value>,
    key_pairs: Vec<Value>,
    /// `ConfigMap`s and Secrets, each with the plural.
    targets: Vec<(&'static str, Value)>,
}

impl Objects {
    fn of(server: &Server) -> Self {
        Self {
            publications: KINDS.iter().flat_map(|kind| server.objects(kind)).collect(),
            key_pairs: server.objects("keypairs"),
            targets: ["configmaps", "secrets"]
                .into_iter()
                .flat_map(|plural| server.objects(plural).into_iter().map(move |object| (plural, object)))
                .collect(),
        }
    }

    fn key_pairs(&self) -> Vec<&Value> {
        self.key_pairs.iter().collect()
    }

    fn target(&self, publication: &Value) -> Option<&Value> {
        let (plural, wanted, _) = target_of(publication);
        let is_it = |(of, object): &&(&str, Value)| {
            *of == plural && namespace(object) == namespace(publication) && name(object) == wanted
        };
        self.targets.iter().find(is_it).map(|(_, object)| object)
    }
}

/// What is wrong with the publications and their targets.
#[must_use]
pub fn unsettled(server: &Server) -> Vec<String> {
    let objects = Objects::of(server);
    let mut found = Vec::new();
    for publication in &objects.publications {
        let kind = text(publication, "/kind").unwrap_or_default();
        let about = |text: String| format!("{kind} {}/{}: {text}", namespace(publication), name(publication));
        found.extend(of_publication(publication, &objects).into_iter().map(about));
    }
    let uids: BTreeSet<&str> = objects.publications.iter().map(uid).collect();
    for (plural, target) in &objects.targets {
        let publications = target.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let is_publication = |owner: &&Value| matches!(text(owner, "/kind"), Some("AuthorizedKeys" | "KnownHosts"));
        let mut publications = publications.into_iter().flatten().filter(is_publication);
        if publications.any(|owner| text(owner, "/uid").is_none_or(|uid| !uids.contains(uid))) {
            let place = format!("{plural} {}/{}", namespace(target), name(target));
            found.push(format!("{place}: its publication is gone, and it was not collected"));
        }
    }
    found
}

fn is_owned(target: &Value, publication: &Value) -> bool {
    owners(target).any(|owner| owner == uid(publication))
}

fn is_labelled(target: &Value) -> bool {
    let labels = target.pointer("/metadata/labels");
    labels.and_then(|labels| labels.get("app.kubernetes.io/managed-by")).is_some_and(|by| by == "keypair-operator")
}

fn of_publication(publication: &Value, objects: &Objects) -> Vec<String> {
    let mut found = Vec::new();
    let generation = publication.pointer("/metadata/generation");
    let observed = publication.pointer("/status/observedGeneration");
    let (status, reason) = ready(publication);
    if observed != generation || reason.is_empty() {
        return vec![format!("not settled: generation {generation:?}, observed {observed:?}, reason {reason:?}")];
    }
    let wanted = wanted(publication, &objects.key_pairs());
    let (plural, target_name, entry) = target_of(publication);
    let target = objects.target(publication);
    let own = target.filter(|target| is_owned(target, publication));
    let is_right = own.is_some_and(|own| is_labelled(own) && differences(own, entry, &wanted).is_empty());
    let cannot_change = |own: &Value| {
        own.get("immutable") == Some(&Value::Bool(true))
            || plural == "secrets" && text(own, "/type").is_some_and(|of| of != "Opaque")
    };
    let is_conflict = match (target, own) {
        (Some(_), None) => true,
        (_, Some(own)) => !is_right && cannot_change(own),
        (None, None) => false,
    };
    let expected = match wanted.reason {
        Some("InvalidEntry") => "InvalidEntry",
        _ if is_conflict => "TargetConflict",
        Some(reason) => reason,
        None => "Published",
    };
    if reason != expected || (status == "True") != (expected == "Published") {
        found.push(format!("is told {status} {reason}, and {expected} is right: {:?}", message(publication)));
    }
    let message = message(publication);
    if message.is_empty() || message.len() > LONGEST_MESSAGE || message.contains('\n') {
        found.push(format!("the message has {} bytes: {message:?}", message.len()));
    }
    let is_stalled = condition(publication, "Stalled").is_some_and(|stalled| text(stalled, "/status") == Some("True"));
    if is_stalled != (expected == "InvalidEntry") {
        found.push(format!("is stalled: {is_stalled}, with the reason {reason}"));
    }
    if !is_conflict {
        match own {
            None => found.push(format!("there are no {plural} {target_name}")),
            Some(own) if !is_labelled(own) => found.push("its target has not the label".to_owned()),
            Some(own) => found.extend(differences(own, entry, &wanted)),
        }
    }
    found.extend(of_status(publication, &wanted, is_conflict));
    found.extend(of_former_targets(publication, objects, &wanted, is_conflict));
    found
}

fn condition<'a>(object: &'a Value, of: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().find(|condition| text(condition, "/type") == Some(of))
}

fn message(publication: &Value) -> &str {
    condition(publication, "Ready").and_then(|ready| text(ready, "/message")).unwrap_or_default()
}

/// Checks what the status counts and names. Without a target, it does not.
fn of_status(publication: &Value, wanted: &Wanted, is_conflict: bool) -> Vec<String> {
    let mut found = Vec::new();
    let number = |field: &str| publication.pointer(&format!("/status/{field}")).and_then(Value::as_u64);
    let count = |number: usize| (!is_conflict).then_some(number as u64);
    for (field, wanted) in [("keys", count(wanted.keys().len())), ("keyPairs", count(wanted.key_pairs))] {
        if number(field) != wanted {
            found.push(format!("status.{field} is {:?}, and {wanted:?} is right", number(field)));
        }
    }
    let (plural, name, entry) = target_of(publication);
    let kind = if plural == "secrets" { "Secret" } else { "ConfigMap" };
    let right = (!is_conflict).then_some((Some(kind), Some(name), entry));
    let told = publication.pointer("/status/target").filter(|target| !target.is_null());
    let told = told.map(|target| (text(target, "/kind"), text(target, "/name"), text(target, "/key")));
    if told != right {
        found.push(format!("status.target is {told:?}, and {right:?} is right"));
    }
    found
}

/// Checks the data of a target; `entry` is the only one of the layout `File`.
fn differences(target: &Value, entry: Option<&str>, wanted: &Wanted) -> Vec<String> {
    let there: BTreeMap<&str, String> = entries(target);
    if target.get("binaryData").is_some() {
        return vec!["its target has binaryData".to_owned()];
    }
    let names: Vec<&str> = there.keys().copied().collect();
    let Some(entry) = entry else {
        let lines = there.iter().filter(|(name, text)| {
            let [line] = text.lines().collect::<Vec<_>>()[..] else { return false };
            let read = read_line(line).filter(|_| text.ends_with('\n'));
            read.is_some_and(|line| {
                let stem = line.comment.replace(['/', '#'], ".");
                name.starts_with(&stem) && wanted.lines.iter().any(|wanted| is_wanted(&line, wanted))
            })
        });
        let is_right = lines.count() == there.len() && there.len() == wanted.lines.len();
        return if is_right { Vec::new() } else { vec![told(&there, wanted)] };
    };
    if names != [entry] {
        return vec![format!("its target has the entries {names:?}, and not only {entry}")];
    }
    let text = there.get(entry).map(String::as_str).unwrap_or_default();
    let lines: Vec<_> = text.lines().map(read_line).collect();
    let is_right = lines.len() == wanted.lines.len()
        && lines.iter().zip(&wanted.lines).all(|(line, wanted)| line.as_ref().is_some_and(|it| is_wanted(it, wanted)))
        && (text.is_empty() || text.ends_with('\n'));
    if is_right { Vec::new() } else { vec![told(&there, wanted)] }
}

fn told(there: &BTreeMap<&str, String>, wanted: &Wanted) -> String {
    format!("its target says {there:?}, and this is right: {:?}", wanted.lines)
}

/// Checks the former targets: they are gone or, if there is no other, up to date. Without its label, the operator does not see one.
fn of_former_targets(publication: &Value, objects: &Objects, wanted: &Wanted, is_conflict: bool) -> Vec<String> {
    let (plural, current, _) = target_of(publication);
    let is_former = |(of, object): &&(&'static str, Value)| {
        namespace(object) == namespace(publication)
            && is_owned(object, publication)
            && is_labelled(object)
            && (*of, name(object)) != (plural, current)
    };
    let mut found = Vec::new();
    for (of, former) in objects.targets.iter().filter(is_former) {
        if !is_conflict {
            found.push(format!("its former target remains: {of} {}", name(former)));
            continue;
        }
        let keys = keys_in(former);
        let is_current = keys.iter().map(String::as_str).collect::<BTreeSet<_>>() == wanted.keys();
        if !is_current && former.get("immutable") != Some(&Value::Bool(true)) {
            found.push(format!("its former target {of} {} is not kept up to date: {keys:?}", name(former)));
        }
    }
    found
}

/// The publications that select a `KeyPair` and whose target has not this key: type and base64.
pub fn unpublished(server: &Server, key_pair: &Value, key: &str) -> Vec<String> {
    let objects = Objects::of(server);
    let lacks = |publication: &&Value| {
        let own = objects.target(publication).filter(|target| is_owned(target, publication));
        selects(publication, key_pair, &objects.key_pairs()) && !own.is_some_and(|own| keys_in(own).contains(key))
    };
    objects.publications.iter().filter(lacks).map(|publication| name(publication).to_owned()).collect()
}
