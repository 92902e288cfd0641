//! Asks the API server and the Rust check the same question and compares the answers.

use std::fmt;

use futures::{StreamExt as _, stream};
use keypair_operator::{
    api::{KeyPair, translate},
    domain::request,
};
use kube::{Client, core::Request};
use serde_json::Value;

/// Requests under way at the same time.
const AT_ONCE: usize = 32;
/// Disagreements to tell of.
const SHOWN: usize = 20;
/// What the API server adds where the schema is broken already, so that it evaluates no rule.
const RULES_SKIPPED: &str = "some validation rules were not checked";

/// What is true of two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Both accept, or both refuse with a code in common.
    Exact,
    /// What the API server refuses, the Rust check refuses with the same code; it may refuse more.
    OneSided,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    /// With the codes of the Rust check or the causes of the API server.
    Refused(Vec<String>),
}

impl Answer {
    pub fn accepts(&self) -> bool {
        *self == Self::Accepted
    }
}

/// What came of a number of questions.
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

/// An object about which the two do not agree.
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

/// What the Rust check says.
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

/// What the API server says to a request that would create or replace an object.
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
        Err(error) => panic!("the API server neither takes nor refuses it: {error}"),
    }
}

/// A dry run: everything but the writing is done.
pub fn create(object: &Value) -> http::Request<Vec<u8>> {
    let parameters = kube::api::PostParams { dry_run: true, field_manager: None };
    let url = "/apis/keypairs.dev/v1alpha1/namespaces/default/keypairs";
    Request::new(url).create(&parameters, object.to_string().into_bytes()).expect("a request")
}

/// Compares the answers to each of `objects`, and panics with the disagreements if there are any.
pub async fn compare(
    client: &Client,
    agreement: Agreement,
    objects: impl IntoIterator<Item = Value, IntoIter: Send>,
) -> Tally {
    let (tally, disagreements) = disagreements(client, agreement, objects).await;
    assert!(
        disagreements.is_empty(),
        "{} disagreements, such as\n{}",
        disagreements.len(),
        disagreements.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join("\n")
    );
    tally
}

/// Compares the answers to each of `objects`.
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

/// What is wrong with a pair of answers, if anything.
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

/// The object with every character that is not plain to see escaped.
pub fn escaped(object: &Value) -> String {
    object
        .to_string()
        .chars()
        .map(|c| if c.is_ascii_graphic() { c.to_string() } else { c.escape_unicode().to_string() })
        .collect()
}
