//! Renders a tree of checks as the CEL expressions of one rule.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

use super::{
    expression::{list, quote},
    tree::{Check, Node},
};
use crate::domain::profile::Profile;

/// What the API server says if it cannot evaluate the message.
const FALLBACK: &str = "The spec breaks a rule of the profile: see the reference of KeyPair.";

/// The program of a rule.
pub(super) struct Program(Vec<Node>);

impl Program {
    pub(super) const fn new(tree: Vec<Node>) -> Self {
        Self(tree)
    }

    /// The expression that is true if every check allows the object. Where it has `||`, it has parentheses.
    pub(super) fn condition(&self) -> String {
        all(&self.0)
    }

    /// The field and the messages of the rule.
    pub(super) fn report(&self) -> ValidationRule {
        ValidationRule {
            field_path: Some(".spec".to_owned()),
            message: Some(FALLBACK.to_owned()),
            message_expression: Some(format!("({}).trim()", messages(&self.0))),
            ..ValidationRule::default()
        }
    }
}

fn all(nodes: &[Node]) -> String {
    nodes.iter().map(condition).collect::<Vec<_>>().join("\n&& ")
}

fn condition(node: &Node) -> String {
    match node {
        Node::Variable { name, value, nodes } => format!("[{value}].all({name},{})", indented(&all(nodes))),
        Node::Present { name, optional, nodes } => format!("[?{optional}].all({name},{})", indented(&all(nodes))),
        Node::When { condition, nodes } => format!("({condition} ?{}\n  : true)", indented(&all(nodes))),
        Node::Check(check) => match &check.unchanged {
            Some(unchanged) => format!("({} || {unchanged})", allowed(check)),
            None => format!("({})", allowed(check)),
        },
    }
}

fn indented(text: &str) -> String {
    format!("\n  {}", text.replace('\n', "\n  "))
}

/// The expression that is true if the check allows the new value.
fn allowed(check: &Check) -> String {
    let Check { profiles, condition, .. } = check;
    match profiles.as_slice() {
        [profile] => format!("profile != {} || {condition}", quote(profile.as_str())),
        profiles if profiles.len() == Profile::ALL.len() => condition.clone(),
        profiles => {
            format!("!(profile in {}) || {condition}", list(profiles.iter().map(|profile| profile.as_str())))
        }
    }
}

/// The expression for the messages of all checks that do not allow the object, each followed by a space.
fn messages(nodes: &[Node]) -> String {
    nodes.iter().map(message).collect::<Vec<_>>().join("\n+ ")
}

fn message(node: &Node) -> String {
    match node {
        Node::Variable { name, value, nodes } => format!("[{value}].map({name},{})[0]", indented(&messages(nodes))),
        Node::Present { name, optional, nodes } => {
            // The API server has no bound for the length of `join()`.
            let nodes = indented(&indented(&messages(nodes)));
            format!("({optional}.hasValue() ?\n  [{optional}.value()].map({name},{nodes})[0] : '')")
        }
        Node::When { condition, nodes } => format!("({condition} ?{}\n  : '')", indented(&messages(nodes))),
        Node::Check(check) => format!("({} ? '' : {})", allowed(check), refusal(check)),
    }
}

/// The expression for the message of a check: the profile's code and message, what is wrong and what to do, and the field.
fn refusal(check: &Check) -> String {
    let answers: Vec<(Profile, String)> =
        check.profiles.iter().map(|profile| (*profile, check.answer(*profile))).collect();
    let (words, field) = (format!(" {} ", check.words), format!("(spec.{}) ", check.field));
    let words = match &check.detail {
        Some(detail) => format!("{} + {detail} + {}", quote(&words), quote(&field)),
        None => quote(&(words + &field)),
    };
    match answers.as_slice() {
        [(_, first), others @ ..] if others.iter().all(|(_, other)| other == first) => {
            format!("{} + {words}", quote(first))
        }
        answers => {
            let answers: Vec<String> = answers
                .iter()
                .map(|(profile, answer)| format!("{}: {}", quote(profile.as_str()), quote(answer)))
                .collect();
            format!("{{{}}}[profile] + {words}", answers.join(", "))
        }
    }
}
