//! Histories without the steps that a real cluster cannot perform in a test.

use std::time::Duration;

use keypair_simulation::history::{Action, History, Step, Verb, draw};
use serde_json::{Value, json};

/// The longest pause between two steps.
const LONGEST: Duration = Duration::from_secs(1);
/// The shortest time between two faults of a group of histories.
const BETWEEN_FAULTS: Duration = Duration::from_millis(700);
/// The quota of the operator that all histories share.
pub const QUOTA: usize = 500;
const ANNOTATION: &str = "keypairs.dev/quota";

/// The history of this seed without lagging watches, clock jumps, restores and policies, and with short pauses. All histories share one
/// operator, so a namespace without its own quota gets the quota of the history.
pub fn without_what_is_simulated(seed: u64, faults: bool) -> History {
    let mut history = draw(seed);
    let quota = history.setup.quota;
    history.setup.quota = QUOTA;
    history.setup.replicas = if faults { 2 } else { 1 };
    history.setup.lease = 3;
    history.setup.concurrency = 16;
    history.setup.answers_reviews = false;
    let (mut at, mut before) = (Duration::ZERO, Duration::ZERO);
    let steps = std::mem::take(&mut history.steps).into_iter().filter(|step| is_real(&step.action, faults));
    history.steps = steps
        .map(|mut step| {
            at += step.at.saturating_sub(before).min(LONGEST);
            before = step.at;
            step.at = at;
            if quota != QUOTA {
                with_quota(&mut step.action, quota);
            }
            step
        })
        .collect();
    history
}

fn is_real(action: &Action, faults: bool) -> bool {
    match action {
        Action::User { .. } | Action::Gate { .. } => true,
        Action::Crash { .. }
        | Action::Start(_)
        | Action::Stop(_)
        | Action::Suspend(_)
        | Action::Resume(_)
        | Action::Network(..) => faults,
        _ => false,
    }
}

fn with_quota(action: &mut Action, quota: usize) {
    let Action::User { verb, resource: "namespaces", body, .. } = action else { return };
    let quota = json!(quota.to_string());
    let annotation = body.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    match (*verb, annotation) {
        (Verb::Create, Some(annotations)) => {
            annotations.entry(ANNOTATION).or_insert(quota);
        }
        (Verb::Create, None) => *body = json!({ "metadata": { "annotations": { ANNOTATION: quota } } }),
        (Verb::Patch, Some(annotations)) => {
            if let Some(value) = annotations.get_mut(ANNOTATION).filter(|value| value.is_null()) {
                *value = quota;
            }
        }
        _ => {}
    }
}

/// Whether users do enough in this history.
pub fn is_worthwhile(history: &History) -> bool {
    history.steps.iter().filter(|step| matches!(step.action, Action::User { .. })).count() >= 6
}

/// Applies the faults of each history to all of them, as far as there is time between them, and returns these faults.
pub fn share_faults(mut histories: Vec<History>) -> (Vec<History>, Vec<Step>) {
    let is_fault = |step: &Step| !matches!(step.action, Action::User { .. });
    let drawn = histories.iter_mut().flat_map(|history| history.steps.extract_if(.., |step| is_fault(step)));
    let mut drawn: Vec<Step> = drawn.collect();
    drawn.sort_by_key(|step| step.at);
    let mut faults: Vec<Step> = Vec::new();
    for step in drawn {
        // The end of a fault is never skipped.
        let ends = match &step.action {
            Action::Start(_) | Action::Resume(_) => true,
            Action::Network(_, faults) => !faults.partitioned && faults.errors + faults.lost_responses == 0,
            _ => false,
        };
        if ends || faults.last().is_none_or(|last| step.at >= last.at + BETWEEN_FAULTS) {
            faults.push(step);
        }
    }
    for history in &mut histories {
        history.steps.extend(faults.iter().cloned());
        history.steps.sort_by_key(|step| step.at);
    }
    (histories, faults)
}
