//! The CEL rules of the CRD, generated from the tables of the domain.
//!
//! CEL cannot check whether a key blob is well-formed, the quota, or the names of other key pairs. The controller checks those, and
//! everything else again, because stored objects can be older than the rules.
//!
//! # Cost
//!
//! The API server evaluates every rule at every write, also at writes of the status, and compares with the stored object only
//! if a rule fails. Two things cost most: each rule is a program, and each field access (`self.spec.name`, `has(…)`) copies the schemas
//! of all fields of the object that it accesses. So there is one rule for creates and one for updates, not one for each check, and they
//! read each field once, into a variable: `[value].all(variable, …)`, the only form of a variable that the API server has. The
//! rule for updates ends early at the first write of the status. Add a check to the tree of [`checks`]; do not add another rule.
//! `tests/cel/cost.rs` limits what the rules cost, as measured by the API server's own code. Its estimate also depends on the bounds of
//! the schema (`set_bounds` in `src/api/crd.rs`).
//!
//! A rule reports one field, so both report `spec`. The message names the field of each check that failed, after the cloud's
//! error code and message, and says what to do.

mod expression;
mod immutability;
mod program;
mod request;
mod rotation;
mod secret;
mod share_with;
mod tree;

pub(super) use expression::{allows, list, quote};
pub use tree::Check;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

use self::{
    program::Program,
    tree::{Node, variable, when},
};

/// The expressions for the objects that a program checks.
#[derive(Debug, Clone, Copy)]
struct Objects {
    /// The new object.
    new: &'static str,
    /// The name of the new object.
    name: &'static str,
    /// The stored object; `None`: there is none.
    stored: Option<&'static str>,
}

/// The objects of a rule of the CRD. `oldSelf` is the stored object only in rules for updates.
const OF_RULE: Objects = Objects { new: "self", name: "self.metadata.name", stored: None };

/// The objects of a match condition of a webhook.
const OF_WEBHOOK: Objects = Objects {
    new: "object",
    // With `generateName`, the object has no name yet. The API server appends five characters to the prefix.
    name: "(has(object.metadata.name) ? object.metadata.name : object.metadata.generateName + 'xxxxx')",
    stored: None,
};

/// The validation rules of the CRD, for the whole object: one for creates, one for updates.
#[must_use]
pub fn rules() -> Vec<ValidationRule> {
    let create = Program::new(checks_of(OF_RULE));
    let update = Program::new(checks_of(Objects { stored: Some("oldSelf"), ..OF_RULE }));
    vec![
        // A rule with an optional `oldSelf` is evaluated at creates, too.
        ValidationRule {
            rule: format!("oldSelf.hasValue() ||\n{}", create.condition()),
            optional_old_self: Some(true),
            ..create.report()
        },
        ValidationRule { rule: update_condition(&update, OF_RULE, "oldSelf"), ..update.report() },
    ]
}

/// The CEL expression, for `matchConditions` of a webhook, that is true if a rule of the CRD rejects the object.
///
/// The API server calls mutating webhooks before it evaluates the rules, and answers 422 if an object breaks one. The mutating
/// webhook gives the cloud's own answer to such objects and is called only for them; the validating webhook gets all others
/// later.
#[must_use]
pub fn refused_condition() -> String {
    const STORED: &str = "oldObject";
    let create = Program::new(checks_of(OF_WEBHOOK)).condition();
    let update = Program::new(checks_of(Objects { stored: Some(STORED), ..OF_WEBHOOK }));
    let update = update_condition(&update, OF_WEBHOOK, STORED);
    format!("!({STORED} == null ?\n{create}\n:\n{update})")
}

/// Every check of the rules.
#[must_use]
pub fn checks() -> Vec<Check> {
    checks_of(Objects { stored: Some("oldSelf"), ..OF_RULE }).iter().flat_map(Node::checks).cloned().collect()
}

/// The checks of a create, or of an update if there is a stored object.
fn checks_of(objects: Objects) -> Vec<Node> {
    let Objects { new, name, stored } = objects;
    let mut checks =
        [request::checks(stored), secret::checks(stored), rotation::checks(), share_with::checks()].concat();
    checks.extend(stored.map(|stored| when("isAccepted", immutability::checks(stored))));
    // Most specs have some of these fields and no other. To count the fields of an object is cheap, to look for one is not.
    let has_more = "size(dyn(spec)) > 1 + size([?publicKey, ?description]) + size([?tags])";
    let rare = |field: &str| format!("(hasMore ? spec.?{field} : optional.none())");
    let variables = [
        ("objectName", name.to_owned()),
        ("spec", format!("{new}.spec")),
        // The one field with a default: it is always there.
        ("profile", "spec.profile".to_owned()),
        ("publicKey", "spec.?publicKey".to_owned()),
        ("description", "spec.?description".to_owned()),
        ("tags", "spec.?tags".to_owned()),
        ("hasMore", has_more.to_owned()),
        ("keyPairName", rare("keyPairName")),
        ("generate", rare("generate")),
        ("project", rare("project")),
        ("clientToken", rare("clientToken")),
        ("secret", rare("secret")),
    ];
    let checks = variables.into_iter().rev().fold(checks, |nodes, (name, value)| vec![variable(name, value, nodes)]);
    let Some(stored) = stored else { return checks };
    // Whoever changes the status changes nothing else. Only the first write of the status is recognized: it has other fields than
    // before, so that the comparison ends at once.
    let same_status = format!("[{new}.?status].all(status, status == oldStatus)");
    let checks = when(format!("isAccepted || {same_status}"), checks);
    let is_accepted = variable("isAccepted", "oldStatus.?keyPairID.hasValue()", vec![checks]);
    vec![variable("oldStatus", format!("{stored}.?status"), vec![is_accepted])]
}

/// The condition of an update. A spec that did not change is tolerated: it may be older than the rules.
fn update_condition(update: &Program, objects: Objects, stored: &str) -> String {
    format!("{}\n|| {stored}.spec == {}.spec", update.condition(), objects.new)
}
