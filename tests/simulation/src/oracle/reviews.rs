//! Compares a replica's answers to admission reviews with the current objects.

use keypair_operator::{
    cache::ScopeCaches,
    webhook::{Scopes, envelope, review},
};
use serde_json::{Value, json};

use super::facts::{accepted, annotation, effective_name, name, namespace};
use crate::{Server, history::Setup, replica::NAMESPACE};

/// The time of the reviews, in seconds since 1970: certificates in keys may have expired.
const NOW: u64 = 1_800_000_000;

/// The wrong answers of a replica.
#[must_use]
pub fn wrong_answers(server: &Server, setup: &Setup, caches: &ScopeCaches) -> Vec<String> {
    let key_pairs = server.objects("keypairs");
    let mut found = Vec::new();
    for place in server.objects("namespaces").iter().filter(|place| name(place) != NAMESPACE) {
        let there: Vec<&Value> = key_pairs.iter().filter(|pair| namespace(pair) == name(place)).collect();
        found.extend(of_namespace(place, &there, setup.quota, caches));
    }
    found
}

fn of_namespace(place: &Value, there: &[&Value], default_quota: usize, caches: &ScopeCaches) -> Vec<String> {
    let quota = annotation(place, "keypairs.dev/quota");
    let quota = quota.map_or(default_quota, |text| text.trim().parse().unwrap_or(0));
    let taken: Vec<&str> =
        there.iter().filter(|pair| accepted(pair).is_some()).map(|pair| effective_name(pair)).collect();
    let (place, has_projects) = (name(place), has_projects(place));
    let mut found = Vec::new();
    let mut judge = |wanted: &str| {
        let Ok(refused) = answer(caches, place, wanted) else {
            found.push(format!("{place}: a review of {wanted} is not answered"));
            return;
        };
        let refused = refused.as_deref();
        // The project settings of the namespace may refuse every review.
        let is_of_project = has_projects && refused.is_some_and(|reason| reason == "ProjectNotFound");
        let is_right = match refused {
            None => !taken.contains(&wanted) && taken.len() < quota,
            Some("KeyPairNameConflict") => there.iter().any(|pair| effective_name(pair) == wanted),
            // A KeyPair that waits for something else already holds a slot.
            Some("QuotaExceeded") => there.len() >= quota,
            Some(_) => false,
        };
        if !is_right && !is_of_project {
            let count = taken.len();
            found.push(format!(
                "{place}: a review of {wanted} says {refused:?}; {count} are accepted of {quota}, {taken:?}"
            ));
        }
    };
    judge("brand-new");
    for name in &taken {
        judge(name);
    }
    found
}

fn has_projects(place: &Value) -> bool {
    ["keypairs.dev/projects", "keypairs.dev/default-project"].iter().any(|name| annotation(place, name).is_some())
}

/// The replica cannot read the review, or has not listed the `KeyPair`s of the namespace.
struct Unanswered;

/// The reason for which the replica refuses a `KeyPair` with this key pair name.
fn answer(caches: &ScopeCaches, namespace: &str, wanted: &str) -> Result<Option<String>, Unanswered> {
    let asked = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "question",
            "kind": { "group": "keypairs.dev", "version": "v1alpha1", "kind": "KeyPair" },
            "resource": { "group": "keypairs.dev", "version": "v1alpha1", "resource": "keypairs" },
            "namespace": namespace,
            "name": "question",
            "operation": "CREATE",
            "userInfo": {},
            "object": {
                "apiVersion": "keypairs.dev/v1alpha1",
                "kind": "KeyPair",
                "metadata": { "name": "question", "namespace": namespace },
                "spec": { "profile": "OpenSSH", "keyPairName": wanted, "generate": { "algorithm": "Ed25519" } },
            },
        },
    });
    let request = envelope::read(asked.to_string().as_bytes()).ok_or(Unanswered)?;
    let answer = review(request, caches, &Scopes::default(), NOW).ok_or(Unanswered)?;
    Ok(answer.refused.map(ToString::to_string))
}
