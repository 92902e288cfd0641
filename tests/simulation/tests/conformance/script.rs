//! A sequence of requests that can be sent to any server.

use keypair_simulation::Server;
use serde_json::Value;

/// The steps, in order. In paths and bodies, `{ns}` is the script's namespace, and `{label.uid}`, `{label.version}`, `{label.future}`,
/// `{label.continue}` and `{label.name}` come from the answer that was kept under that label.
#[derive(Default, Debug)]
pub struct Script(pub Vec<Step>);

/// A step of a script.
#[derive(Debug, Clone)]
pub enum Step {
    Request(Request),
    /// Starts a watch, which stays open during the next steps.
    Watch {
        label: String,
        path: String,
        accept: &'static str,
    },
    /// The events that this watch has received so far.
    Events(String),
    /// Sets up something that each server needs in its own way: these objects are created in the real one, and this function changes the
    /// simulated one. The setup is complete when a create of an object gets this status and contains this text.
    Setup {
        real: Vec<(String, Value)>,
        simulated: fn(&Server),
        path: String,
        tried: Value,
        status: u16,
        has: &'static str,
    },
    /// Restarts the API server.
    Restart,
    /// Waits until the object meets the condition.
    Until(String, fn(&Value) -> bool),
    /// Waits until the object no longer exists.
    Gone(String),
}

#[derive(Debug, Clone)]
pub struct Request {
    pub is_alice: bool,
    pub method: &'static str,
    pub path: String,
    pub content: &'static str,
    pub accept: &'static str,
    pub body: Option<Value>,
    /// The label under which its answer is kept.
    pub label: String,
}

pub const JSON: &str = "application/json";
pub const MERGE: &str = "application/merge-patch+json";
pub const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
pub const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

impl Script {
    /// A script that starts with the creation of its namespace.
    pub fn new() -> Self {
        let mut script = Self::default();
        script.post(
            "space",
            "/api/v1/namespaces",
            serde_json::json!({ "metadata": { "name": "{ns}", "labels": { "script": "{ns}" } } }),
        );
        script
    }

    pub fn send(&mut self, label: &str, method: &'static str, path: &str, body: Option<Value>) -> &mut Request {
        self.0.push(Step::Request(Request {
            is_alice: false,
            method,
            path: path.to_owned(),
            content: if method == "PATCH" { MERGE } else { JSON },
            accept: JSON,
            body,
            label: label.to_owned(),
        }));
        match self.0.last_mut() {
            Some(Step::Request(request)) => request,
            _ => unreachable!("the request was just added"),
        }
    }

    pub fn get(&mut self, path: &str) -> &mut Request {
        self.send("", "GET", path, None)
    }

    pub fn post(&mut self, label: &str, path: &str, body: Value) -> &mut Request {
        self.send(label, "POST", path, Some(body))
    }

    pub fn put(&mut self, path: &str, body: Value) -> &mut Request {
        self.send("", "PUT", path, Some(body))
    }

    pub fn patch(&mut self, path: &str, body: Value) -> &mut Request {
        self.send("", "PATCH", path, Some(body))
    }

    pub fn delete(&mut self, path: &str) -> &mut Request {
        self.send("", "DELETE", path, None)
    }

    pub fn delete_with(&mut self, path: &str, options: Value) -> &mut Request {
        self.send("", "DELETE", path, Some(options))
    }

    pub fn watch(&mut self, label: &str, path: &str, accept: &'static str) {
        self.0.push(Step::Watch { label: label.to_owned(), path: path.to_owned(), accept });
    }

    pub fn events(&mut self, label: &str) {
        self.0.push(Step::Events(label.to_owned()));
    }

    pub fn restart(&mut self) {
        self.0.push(Step::Restart);
    }

    pub fn gone(&mut self, path: &str) {
        self.0.push(Step::Gone(path.to_owned()));
    }
}

impl Request {
    pub fn accept(&mut self, accept: &'static str) -> &mut Self {
        self.accept = accept;
        self
    }

    pub fn by_alice(&mut self) -> &mut Self {
        self.is_alice = true;
        self
    }

    pub fn keep(&mut self, label: &str) -> &mut Self {
        label.clone_into(&mut self.label);
        self
    }
}
