//! Why a command fails, in words that say what to do, and its exit code.

use std::{error::Error as _, io, path::Path};

use kube::core::Status;

use crate::{
    client::{kubeconfig, summarize},
    domain::display,
};

/// Refused, not found, or failed.
const FAILED: u8 = 1;
/// Timed out.
const TIMED_OUT: u8 = 3;

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no usable configuration of a cluster.
    #[error("no cluster to connect to: {0}. Set --kubeconfig or KUBECONFIG, and check it with `kubectl cluster-info`")]
    Kubeconfig(#[from] kubeconfig::Error),
    /// The API server refused a request, or did not answer. The text says what to do.
    #[error("{0}")]
    Request(String),
    /// The object exists, and its state does not allow the command. The text says what to do.
    #[error("{0}")]
    State(String),
    /// Not done in time.
    #[error("timed out after {0}")]
    TimedOut(String),
    /// A file could not be read or written.
    #[error("cannot {what}: {source}")]
    File {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    /// The exit code of the command.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::TimedOut(_) => TIMED_OUT,
            _ => FAILED,
        }
    }

    /// The state of an object does not allow the command.
    pub fn state(text: impl Into<String>) -> Self {
        Self::State(text.into())
    }

    /// A file could not be read or written.
    pub fn file(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("{what} {}", shown(path));
        move |source| Self::File { what, source }
    }
}

/// A path for a message.
pub(super) fn shown(path: &Path) -> String {
    display::escaped(&path.display().to_string()).into_owned()
}

/// What a request is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What is done, such as `get`.
    pub verb: &'a str,
    /// The kind of the object.
    pub kind: Kind,
    /// Its name; empty for a list.
    pub name: &'a str,
    /// Its namespace; empty: all.
    pub namespace: &'a str,
}

/// The kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `KeyPair`.
    KeyPair,
    /// `Secret`.
    Secret,
    /// `AuthorizedKeys`.
    AuthorizedKeys,
    /// `KnownHosts`.
    KnownHosts,
}

impl Kind {
    /// The kind and its plural, as kubectl writes it.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::KeyPair => ("KeyPair", "keypairs"),
            Self::Secret => ("Secret", "secrets"),
            Self::AuthorizedKeys => ("AuthorizedKeys", "authorizedkeys"),
            Self::KnownHosts => ("KnownHosts", "knownhosts"),
        }
    }
}

impl Subject<'_> {
    /// Explains the failure of a request about this.
    pub fn failed(self, error: &kube::Error) -> Error {
        Error::Request(match error {
            kube::Error::Api(status) => self.answered(status),
            // Its output may contain a token, and is on the terminal already.
            kube::Error::Auth(_) => "cannot get credentials for the API server: log in to the cluster again".to_owned(),
            kube::Error::SerdeError(_) => format!("cannot read the API server's answer about {}", self.object()),
            other => format!("cannot reach the API server: {}; check it with `kubectl cluster-info`", chain(other)),
        })
    }

    fn object(self) -> String {
        let (kind, _) = self.kind.names();
        if self.name.is_empty() { kind.to_owned() } else { format!("{kind} {:?}", self.name) }
    }

    fn answered(self, status: &Status) -> String {
        let (kind, plural) = self.kind.names();
        let Self { verb, name, namespace, .. } = self;
        let message = display::sentence(&status.message);
        let place = if namespace.is_empty() { "all namespaces".to_owned() } else { format!("namespace {namespace:?}") };
        let scope = if namespace.is_empty() { "-A".to_owned() } else { format!("-n {namespace}") };
        // A policy may quote the Secret that it refuses.
        let denied = if self.kind == Kind::Secret { None } else { denied_by_webhook(status) };
        if let Some(denied) = denied {
            return format!("{} was refused: {}", self.object(), display::sentence(&denied));
        }
        match status.code {
            401 => "the API server does not accept your credentials: log in again, and check them with `kubectl auth whoami`"
                .to_owned(),
            403 if status.message.contains(" is forbidden: User ") => format!(
                "you may not {verb} {plural} in {place}: ask for the role edit there, and check it with `kubectl auth can-i {verb} {plural} {scope}` ({message})"
            ),
            404 if status.message.starts_with("namespaces ") => {
                format!("namespace {namespace:?} does not exist: see `kubectl get namespaces`")
            }
            404 if is_about(status, name) => {
                format!("{kind} {name:?} does not exist in {place}: see `kubectl get {plural} {scope}`")
            }
            404 => format!("the cluster does not know {plural}: install keypair-operator and its CRDs ({message})"),
            409 if status.is_already_exists() => format!(
                "{kind} {name:?} exists already in {place}: choose another name, or see `kubectl get {plural} {name} {scope}`"
            ),
            // A policy may quote the Secret that it refuses.
            _ if self.kind == Kind::Secret => {
                let error = kube::Error::Api(Box::new(status.clone()));
                format!("cannot {verb} {}: {}", self.object(), summarize(&error))
            }
            _ => format!("{} was refused:{}", self.object(), refusal(status)),
        }
    }
}

/// Code, message and field of a refusal by an admission webhook. The operator's answers with the code and the HTTP status of the cloud,
/// so a 404 is not about a missing object.
fn denied_by_webhook(status: &Status) -> Option<String> {
    let (webhook, said) = status.message.split_once("\" denied the request: ")?;
    webhook.strip_prefix("admission webhook \"")?;
    let has_code = !status.reason.is_empty() && !said.starts_with(&status.reason);
    Some(if has_code { format!("{}: {said}", status.reason) } else { said.to_owned() })
}

/// Whether a 404 is about the object of this name, not about its kind.
fn is_about(status: &Status, name: &str) -> bool {
    !name.is_empty() && status.details.as_ref().is_some_and(|details| details.name == name)
}

/// What the API server, a rule of the CRD, a policy or a webhook says about an object: code, message and field, one line each.
fn refusal(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut lines: Vec<String> = causes
        .map(|cause| {
            let message = cause.message.strip_prefix("Invalid value: ").unwrap_or(&cause.message);
            // Before Kubernetes 1.31, the type of the value follows.
            let message = message.strip_prefix("\"object\": ").unwrap_or(message);
            // The rules of the CRD name the field at the end of the message.
            let field = Some(cause.field.as_str()).filter(|field| !field.is_empty() && *field != "spec");
            match field {
                Some(field) if !message.contains(field) => format!("{field}: {message}"),
                _ => message.to_owned(),
            }
        })
        .collect();
    if lines.is_empty() {
        lines.push(status.message.clone());
    }
    lines.dedup();
    let separator = if lines.len() == 1 { " " } else { "\n  " };
    lines.iter().flat_map(|line| [separator.to_owned(), display::sentence(line)]).collect()
}

/// An error with its causes, each once.
fn chain(error: &kube::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        source = error.source();
    }
    display::sentence(&texts.join(": "))
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    fn said(status: Status) -> String {
        let subject = Subject { verb: "create", kind: Kind::KeyPair, name: "web", namespace: "shop" };
        subject.failed(&kube::Error::Api(status.boxed())).to_string()
    }

    fn with_causes(causes: &[(&str, &str)]) -> StatusDetails {
        let cause = |(field, message): &(&str, &str)| StatusCause {
            field: (*field).to_owned(),
            message: (*message).to_owned(),
            reason: String::new(),
        };
        let causes = causes.iter().map(cause).collect();
        StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes,
            retry_after_seconds: 0,
        }
    }

    #[test]
    fn a_refusal_shows_code_message_and_field() {
        let rule = "InvalidKeyPairName.Malformed: The specified KeyPairName is malformed. The name must be … (spec.keyPairName)";
        for prefix in ["Invalid value: ", "Invalid value: \"object\": "] {
            let details = with_causes(&[("spec", &format!("{prefix}{rule}"))]);
            let status = Status::failure("…", "Invalid").with_code(422).with_details(details);
            assert_eq!(said(status), format!("KeyPair \"web\" was refused: {rule}"));
        }
        let details = with_causes(&[("spec.profile", "Unsupported value"), ("spec", rule)]);
        let status = Status::failure("…", "Invalid").with_code(422).with_details(details);
        assert_eq!(said(status), format!("KeyPair \"web\" was refused:\n  spec.profile: Unsupported value\n  {rule}"));
    }

    /// The answers of the operator's webhook have the code of the cloud as their reason, and its HTTP status.
    #[test]
    fn a_refusal_by_the_webhook_shows_the_code_of_the_cloud() {
        let text = "The specified KeyPairName already exists. spec.keyPairName: choose another name";
        let denied = |said: &str| format!("admission webhook \"validate.keypairs.dev\" denied the request: {said}");
        for (code, reason) in [(409, "InvalidKeyPairName.Conflict"), (404, "InvalidRegionId.NotFound"), (400, "230")] {
            let details = with_causes(&[("spec.keyPairName", "choose another name")]);
            let status = Status::failure(&denied(text), reason).with_code(code).with_details(details);
            assert_eq!(said(status), format!("KeyPair \"web\" was refused: {reason}: {text}"));
        }
        // That of others.
        let status = Status::failure(&denied("no"), "").with_code(400);
        assert_eq!(said(status), "KeyPair \"web\" was refused: no");
    }

    #[test]
    fn other_answers_say_what_to_do() {
        let forbidden = "keypairs.keypairs.dev is forbidden: User \"me\" cannot create resource";
        for (code, reason, message, expected) in [
            (403, "Forbidden", forbidden, "kubectl auth can-i create keypairs -n shop"),
            (409, "AlreadyExists", "keypairs \"web\" already exists", "choose another name"),
            (404, "NotFound", "namespaces \"shop\" not found", "kubectl get namespaces"),
            (404, "NotFound", "404 page not found", "install keypair-operator"),
            (401, "Unauthorized", "Unauthorized", "log in again"),
        ] {
            let told = said(Status::failure(message, reason).with_code(code));
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn no_answer_about_a_secret_is_repeated() {
        let subject = Subject { verb: "patch", kind: Kind::Secret, name: "web", namespace: "shop" };
        let quoting = "admission webhook \"policy.example.com\" denied the request: data: c2VjcmV0";
        let error = kube::Error::Api(Status::failure(quoting, "Forbidden").with_code(403).boxed());
        let told = subject.failed(&error).to_string();
        assert!(!told.contains("c2VjcmV0") && told.contains("policy.example.com"), "{told}");
    }
}
