//! The trace of a run: requests, changes and steps in order, to compare two runs and to read one that fails.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use http::Request;
use kube::client::Body;
use serde_json::Value;
use tokio::time::Instant;

use crate::{oracle::ready, server::Change};

/// The lines so far, if tracing is enabled; a handle.
#[derive(Clone)]
pub struct Trace(Option<Arc<Noted>>);

struct Noted {
    begun: Instant,
    lines: Mutex<Vec<String>>,
}

impl Trace {
    /// A trace that starts now, or records nothing.
    #[must_use]
    pub fn new(notes: bool) -> Self {
        Self(notes.then(|| Arc::new(Noted { begun: Instant::now(), lines: Mutex::default() })))
    }

    /// Records a request of a replica.
    pub async fn note(&self, replica: usize, request: Request<Body>) -> Request<Body> {
        if self.0.is_none() {
            return request;
        }
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await.unwrap_or_default();
        let mut value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        without_times_and_keys(&mut value);
        let body = if value.is_null() { String::new() } else { format!(" {value}") };
        self.line(&format!("replica {replica}: {} {}{body}", parts.method, parts.uri));
        Request::from_parts(parts, Body::from(bytes.to_vec()))
    }

    /// Records a change of the store.
    pub fn change(&self, change: &Change) {
        if self.0.is_none() {
            return;
        }
        let Change { kind, resource, namespace, name, user, version, .. } = change;
        let name = if *resource == "events" { without_time(name) } else { name };
        let told = change.after.as_deref().map(|object| {
            let (status, reason) = ready(object);
            let is_custom = ["keypairs", "authorizedkeys", "knownhosts"].contains(resource);
            let of = if is_custom { format!(" {status} {reason}") } else { String::new() };
            format!("{of} {}", object.pointer("/metadata/annotations").unwrap_or(&Value::Null))
        });
        self.line(&format!(
            "    {version}: {kind:?} {resource} {namespace}/{name} by {user}{}",
            told.unwrap_or_default()
        ));
    }

    /// Records another line.
    pub fn line(&self, text: &str) {
        if let Some(noted) = &self.0 {
            let mut line = String::new();
            let _ = write!(line, "{:>9.3}s  {text}", noted.begun.elapsed().as_secs_f64());
            noted.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    /// The recorded lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let lines = self.0.as_ref().map(|noted| noted.lines.lock().unwrap_or_else(PoisonError::into_inner).clone());
        lines.unwrap_or_default()
    }
}

/// Removes times, which come from the wall clock, and private keys, whose encodings contain random numbers.
fn without_times_and_keys(value: &mut Value) {
    match value {
        Value::String(text) if is_time(text) => "(a time)".clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(without_times_and_keys),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("data" | "stringData", Value::Object(entries)) => {
                        entries.values_mut().for_each(|value| *value = "(an entry)".into());
                    }
                    // The name of an Event contains the time, too.
                    ("name", Value::String(name)) => {
                        let told = without_time(name).to_owned();
                        *name = told;
                    }
                    (_, value) => without_times_and_keys(value),
                }
            }
        }
        _ => {}
    }
}

/// The name of an Event without the timestamp at its end.
fn without_time(name: &str) -> &str {
    let is_time = |end: &&str| end.len() == 16 && end.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.rsplit_once('.').filter(|(_, end)| is_time(end)).map_or(name, |(name, _)| name)
}

fn is_time(text: &str) -> bool {
    let shape = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 | 16 => byte == b':',
        _ => byte.is_ascii_digit(),
    };
    text.len() >= 20 && text.bytes().take(19).enumerate().all(shape)
}
