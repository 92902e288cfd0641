//! The answer to an admission review.

use std::{collections::BTreeSet, fmt::Write as _};

use kube::{
    ResourceExt,
    core::{
        Status,
        admission::{AdmissionRequest, AdmissionResponse, Operation},
        response::{StatusCause, StatusDetails, StatusSummary},
    },
};

use crate::{
    api::{KeyPair, translate},
    controller::{View, Views},
    domain::{
        admission, advice,
        key::PublicKey,
        ledger::{Claim, Standing},
        profile::Profile,
        reason::{Reason, Refusal},
        region::Region,
    },
};

/// How many mistakes the message tells of. The causes have all of them.
const MOST_TOLD: usize = 10;

/// Which namespaces are answered for: those that the operator watches.
#[derive(Debug, Clone, Default)]
pub struct Scopes(Option<BTreeSet<String>>);

impl Scopes {
    /// Those of these views, each a namespace, or `None` for all.
    pub fn new(scopes: impl IntoIterator<Item = Option<String>>) -> Self {
        Self(scopes.into_iter().collect())
    }

    /// The namespaces; `None`: all.
    #[must_use]
    pub fn namespaces(&self) -> Option<&BTreeSet<String>> {
        self.0.as_ref()
    }

    fn contains(&self, namespace: &str) -> bool {
        self.0.as_ref().is_none_or(|namespaces| namespaces.contains(namespace))
    }
}

/// What is to be said, and why the request is refused, if it is.
pub struct Answer {
    /// What the API server is told.
    pub response: AdmissionResponse,
    /// The reason of the refusal.
    pub refused: Option<Reason>,
}

/// Answers a review at the time `now`, in seconds since 1970. `None`: it is not known yet what there is in the namespace, and
/// the API server is to do as its failure policy says.
#[must_use]
pub fn review(request: AdmissionRequest<KeyPair>, views: &Views, scopes: &Scopes, now: u64) -> Option<Answer> {
    let mut response = AdmissionResponse::from(&request);
    let admitted = |response| Some(Answer { response, refused: None });
    let namespace = request.namespace.clone().unwrap_or_default();
    // Deletions; the subresources are the operator's own.
    let Some(mut new) = request.object else { return admitted(response) };
    if !scopes.contains(&namespace) || request.sub_resource.is_some() {
        return admitted(response);
    }
    let old = match (request.operation, request.old_object) {
        (Operation::Create, _) => None,
        (Operation::Update, Some(old)) => Some(old),
        _ => return admitted(response),
    };
    let view = views.of(&namespace)?;
    complete(&mut new, &namespace, &request.uid, old.as_ref());
    let refusals = refusals(&view, &namespace, &new, old.as_ref());
    let Some(first) = refusals.first() else {
        let changed = old.as_ref().is_none_or(|old| translate::parameters(old) != translate::parameters(&new));
        let warnings = if changed { warnings(&view, &namespace, &new, now) } else { Vec::new() };
        response.warnings = Some(warnings).filter(|warnings| !warnings.is_empty());
        return admitted(response);
    };
    response.allowed = false;
    response.result = status(new.spec.profile, first, &refusals);
    Some(Answer { refused: Some(first.reason), response })
}

/// Fills in what the API server will, and takes out what it will not store: at the first question it has not done so yet.
fn complete(new: &mut KeyPair, namespace: &str, uid: &str, old: Option<&KeyPair>) {
    new.metadata.namespace = Some(namespace.to_owned());
    translate::assume_name(new);
    if let Some(old) = old {
        new.status.clone_from(&old.status);
        new.metadata.uid.clone_from(&old.metadata.uid);
        new.metadata.creation_timestamp.clone_from(&old.metadata.creation_timestamp);
        new.metadata.deletion_timestamp.clone_from(&old.metadata.deletion_timestamp);
    } else {
        new.status = None;
        new.metadata.uid = Some(uid.to_owned());
        new.metadata.creation_timestamp = None;
        new.metadata.deletion_timestamp = None;
    }
}

fn refusals(view: &View, namespace: &str, new: &KeyPair, old: Option<&KeyPair>) -> Vec<Refusal> {
    // A namespace that has just been made, or a watch that has been down for long: the request itself can still be judged.
    let known = view.index.region(namespace).filter(|_| !view.is_outdated());
    // One of this name is there: the API server will say so, or it has just been deleted.
    let is_there = old.is_none() && view.index.has(namespace, &new.name_any());
    let can_foresee = known.is_some() && !is_there;
    let foresee = |claim: &Claim| {
        let foreseen = view.index.with_ledger(namespace, |ledger| ledger.foresee(claim));
        foreseen.filter(|_| can_foresee).unwrap_or(Standing::Granted)
    };
    let region = known.unwrap_or_else(|| Region::with_quota(usize::MAX));
    let mut candidate = translate::candidate(new, &region);
    if old.is_none()
        && let Some(claim) = &mut candidate.claim
    {
        // The youngest of all.
        claim.seniority.created = i64::MAX;
    }
    let old = old.map(|old| translate::candidate(old, &region));
    admission::review(&candidate, old.as_ref(), &region, foresee)
}

fn warnings(view: &View, namespace: &str, new: &KeyPair, now: u64) -> Vec<String> {
    let Some(Ok(key)) = new.spec.public_key.as_deref().map(PublicKey::parse) else { return Vec::new() };
    let mut warnings = advice::on_key(&key, now);
    let same = view.index.with_same_key(namespace, &new.name_any(), &key.fingerprints().sha256);
    warnings.extend(same.map(|name| advice::on_same_key(&name)));
    warnings
}

/// What the cloud would have answered, and then everything that is wrong.
fn status(profile: Profile, first: &Refusal, refusals: &[Refusal]) -> Status {
    let error = profile.error(first);
    let mut message = profile.explain(first);
    for refusal in refusals.iter().take(MOST_TOLD).skip(1) {
        let _ = write!(message, "; {refusal}");
    }
    if refusals.len() > MOST_TOLD {
        let _ = write!(message, "; and {} more", refusals.len() - MOST_TOLD);
    }
    let causes = refusals.iter().map(|refusal| StatusCause {
        reason: refusal.reason.to_string(),
        message: refusal.detail.clone(),
        field: refusal.parameter.field().to_owned(),
    });
    let details = StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: causes.collect(),
        retry_after_seconds: 0,
    };
    Status {
        status: Some(StatusSummary::Failure),
        code: error.http_status,
        reason: error.code,
        message,
        details: Some(details),
        metadata: None,
    }
}
