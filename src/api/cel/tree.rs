//! Checks as a tree: variables and preconditions, with the checks below them.

use crate::domain::{
    profile::Profile,
    reason::{Parameter, Reason, Refusal},
};

/// A part of a tree.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// A variable for the nodes below it.
    Variable { name: &'static str, value: String, nodes: Vec<Self> },
    /// A variable for the value of an optional. Without a value, the nodes below it do not apply.
    Present { name: &'static str, optional: String, nodes: Vec<Self> },
    /// The nodes below it apply if the condition is true.
    When { condition: String, nodes: Vec<Self> },
    /// A check.
    Check(Check),
}

impl Node {
    /// The checks of the tree, in the order in which they are evaluated.
    pub(super) fn checks(&self) -> Vec<&Check> {
        match self {
            Self::Variable { nodes, .. } | Self::Present { nodes, .. } | Self::When { nodes, .. } => {
                nodes.iter().flat_map(Self::checks).collect()
            }
            Self::Check(check) => vec![check],
        }
    }
}

impl From<Check> for Node {
    fn from(check: Check) -> Self {
        Self::Check(check)
    }
}

/// A condition on a field of the spec.
#[derive(Debug, Clone)]
pub struct Check {
    /// The path of the field below `spec`.
    pub field: String,
    /// The profiles that the check applies to.
    pub profiles: Vec<Profile>,
    /// The reason for a refusal.
    pub reason: Reason,
    /// The parameter that the refusal names.
    pub parameter: Parameter,
    /// What is wrong, and what to do.
    pub words: String,
    /// A CEL expression for more words, on this value.
    pub(super) detail: Option<String>,
    /// The CEL expression that is true if the value is allowed.
    pub(super) condition: String,
    /// The CEL expression that is true if a value that is not allowed is stored already and did not change.
    pub(super) unchanged: Option<String>,
}

impl Check {
    /// The same check, for these profiles only.
    pub(super) fn only_for(self, profiles: &[Profile]) -> Self {
        Self { profiles: profiles.to_vec(), ..self }
    }

    /// The same check, whose message ends with the value of `detail`.
    pub(super) fn with_detail(self, detail: String) -> Self {
        Self { detail: Some(detail), ..self }
    }

    /// The same check, which tolerates stored values for which `unchanged` is true.
    pub(super) fn tolerates(self, unchanged: Option<String>) -> Self {
        Self { unchanged, ..self }
    }

    /// The code and message of `profile`.
    pub(super) fn answer(&self, profile: Profile) -> String {
        let error = profile.error(&Refusal::new(self.reason, self.parameter, ""));
        format!("{}: {}.", error.code, error.message.trim_end().trim_end_matches('.'))
    }
}

/// A check for all profiles.
pub(super) fn check(
    field: impl Into<String>,
    (reason, parameter): (Reason, Parameter),
    condition: impl Into<String>,
    words: impl Into<String>,
) -> Check {
    Check {
        field: field.into(),
        profiles: Profile::ALL.to_vec(),
        reason,
        parameter,
        words: words.into(),
        detail: None,
        condition: condition.into(),
        unchanged: None,
    }
}

/// Nodes below a variable.
pub(super) fn variable(name: &'static str, value: impl Into<String>, nodes: Vec<Node>) -> Node {
    Node::Variable { name, value: value.into(), nodes }
}

/// Nodes below a variable for the value of an optional.
pub(super) fn present(name: &'static str, optional: impl Into<String>, nodes: Vec<Node>) -> Node {
    Node::Present { name, optional: optional.into(), nodes }
}

/// Nodes below a precondition.
pub(super) fn when(condition: impl Into<String>, nodes: Vec<Node>) -> Node {
    Node::When { condition: condition.into(), nodes }
}
