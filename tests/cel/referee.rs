//! Submits the same objects to the API server and to the Rust check, and compares the answers.

use std::fmt;

use futures::{StreamExt as _, stream};
use keypair_operator::{
    api::{KeyPair, translate},
    domain::request,
};
use kube::{Client, core::Request};
use serde_json::Value;

/// Maximum number of concurrent requests.
const AT_ONCE: usize = 32;
/// Maximum number of disagreements to report.
const SHOWN: usize = 20;
/// The message of the API server if the schema is violated and it therefore evaluates no rules.
const RULES_SKIPPED: &str = "some validation rules were not checked";

/// How far two answers must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Both accept, or both refuse with a common error code.
    Exact,
    /// The Rust check refuses everything that the API server refuses, with the same code; it may refuse more.
    OneSided,
}

/// The answer of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    /// Holds the codes of the Rust check or the causes of the API server.
    Refused(Vec<String>),
}

impl Answer {
    pub fn accepts(&self) -> bool {
        *self == Self::Accepted
    }
}

/// The counts of the answers.
#[derive(Debug, Default)]
pub struct Tally {
    pub accepted: usize,
    pub refused: usize,
    /// Refused by the schema, before any rule was evaluated.
    pub by_schema: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} accepted, {} refused ({} by the schema)", self.accepted, self.refused, self.by_schema)
    }
}

/// An object about which the two checks disagree.
#[derive(Debug)]
pub struct Disagreement {
    pub why: &'static str,
    pub object: Value,
    pub ours: Answer,
    pub theirs: Answer,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, object, ours, theirs } = self;
        write!(f, "{why}\n  object: {}\n  Rust: {ours:?}\n  API server: {theirs:?}", escaped(object))
    }
}

/// The answer of the Rust check.
pub fn ours(object: &Value) -> Answer {
    let Ok(key_pair) = serde_json::from_value::<KeyPair>(object.clone()) else { return Answer::Refused(Vec::new()) };
    let parameters = translate::parameters(&key_pair);
    match request::check(&parameters) {
        Ok(_) => Answer::Accepted,
        Err(refusals) => {
            Answer::Refused(refusals.iter().map(|refusal| parameters.profile.error(refusal).code).collect())
        }
    }
}

/// The answer of the API server to a request that creates or replaces an object.
pub async fn theirs(client: &Client, request: http::Request<Vec<u8>>) -> Answer {
    match client.request::<Value>(request).await {
        Ok(_) => Answer::Accepted,
        Err(kube::Error::Api(status)) if status.code == 422 || status.code == 400 => {
            let causes = status.details.as_ref().map(|details| details.causes.clone()).unwrap_or_default();
            let mut messages: Vec<String> = causes.into_iter().map(|cause| cause.message).collect();
            if messages.is_empty() {
                messages.push(status.message.clone());
            }
            Answer::Refused(messages)
        }
        Err(error) => panic!("the API server returned neither success nor a refusal: {error}"),
    }
}

/// A dry-run create, which writes nothing.
pub fn create(object: &Value) -> http::Request<Vec<u8>> {
    let parameters = kube::api::PostParams { dry_run: true, field_manager: None };
    let url = "/apis/keypairs.dev/v1alpha1/namespaces/default/keypairs";
    Request::new(url).create(&parameters, object.to_string().into_bytes()).expect("the request should be valid")
}

/// Compares the answers for each of `objects`, and panics if any disagree.
pub async fn compare(
    client: &Client,
    agreement: Agreement,
    objects: impl IntoIterator<Item = Value, IntoIter: Send>,
) -> Tally {
    let (tally, disagreements) = disagreements(client, agreement, objects).await;
    assert!(
        disagreements.is_empty(),
        "{} disagreements, for example\n{}",
        disagreements.len(),
        disagreements.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join("\n")
    );
    tally
}

/// Compares the answers for each of `objects`, and returns those that disagree.
pub async fn disagreements(
    client: &Client,
    agreement: Agreement,
    objects: impl IntoIterator<Item = Value, IntoIter: Send>,
) -> (Tally, Vec<Disagreement>) {
    let mut answers = stream::iter(objects)
        .map(|object| async move {
            let theirs = theirs(client, create(&object)).await;
            (ours(&object), theirs, object)
        })
        .buffer_unordered(AT_ONCE);
    let (mut tally, mut disagreements) = (Tally::default(), Vec::new());
    while let Some((ours, theirs, object)) = answers.next().await {
        match &theirs {
            Answer::Accepted => tally.accepted += 1,
            Answer::Refused(messages) => {
                tally.refused += 1;
                tally.by_schema += usize::from(by_schema(messages));
            }
        }
        if let Some(why) = disagreement(agreement, &ours, &theirs) {
            disagreements.push(Disagreement { why, object, ours, theirs });
        }
    }
    (tally, disagreements)
}

fn by_schema(messages: &[String]) -> bool {
    messages.iter().any(|message| message.contains(RULES_SKIPPED))
}

/// How two answers violate the agreement, if they do.
fn disagreement(agreement: Agreement, ours: &Answer, theirs: &Answer) -> Option<&'static str> {
    match (ours, theirs) {
        (Answer::Accepted, Answer::Accepted) => None,
        (Answer::Accepted, Answer::Refused(_)) => Some("only the API server refuses"),
        (Answer::Refused(_), Answer::Accepted) if agreement == Agreement::OneSided => None,
        (Answer::Refused(_), Answer::Accepted) => Some("only the Rust check refuses"),
        (Answer::Refused(_), Answer::Refused(messages)) if by_schema(messages) => None,
        (Answer::Refused(codes), Answer::Refused(messages)) => {
            let said = |code: &String| messages.iter().any(|message| begins_with_code(message, code));
            (!codes.iter().any(said)).then_some("both refuse, but with different codes")
        }
    }
}

/// Whether the message of a cause, `Invalid value: <what>: <code>: …`, has this code.
fn begins_with_code(message: &str, code: &str) -> bool {
    let prefixes = ["Invalid value: \"object\": ", "Invalid value: "];
    prefixes
        .iter()
        .any(|prefix| message.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(&format!("{code}: "))))
}

/// The object as text, with all characters escaped that are not plainly visible.
pub fn escaped(object: &Value) -> String {
    object
        .to_string()
        .chars()
        .map(|c| if c.is_ascii_graphic() { c.to_string() } else { c.escape_unicode().to_string() })
        .collect()
}
