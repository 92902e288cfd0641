//! The answer to an admission review.

use std::fmt::Write as _;

use kube::{
    ResourceExt,
    core::{
        Status,
        admission::{AdmissionRequest, AdmissionResponse, Operation},
        response::StatusCause,
    },
};

use crate::{
    api::{KeyPair, claim, translate},
    cache::{ScopeCache, ScopeCaches},
    domain::{
        admission, advice,
        key::PublicKey,
        ledger::{Claim, ClaimState},
        profile::Profile,
        reason::Refusal,
        region::Region,
    },
    webhook::{
        envelope::ReviewRequest,
        publication_review::review_publication,
        review_answer::{MAX_LISTED, ReviewAnswer, failure},
        scopes::Scopes,
    },
};

/// Answers a review at the time `now`, in seconds since 1970. `None`: the KeyPairs of the namespace are not listed yet, so the API
/// server must apply the failure policy.
#[must_use]
pub fn review(request: ReviewRequest, caches: &ScopeCaches, scopes: &Scopes, now: u64) -> Option<ReviewAnswer> {
    match request {
        ReviewRequest::KeyPair(request) => review_key_pair(*request, caches, scopes, now),
        ReviewRequest::AuthorizedKeys(request) => Some(review_publication(*request, caches, scopes)),
        ReviewRequest::KnownHosts(request) => Some(review_publication(*request, caches, scopes)),
    }
}

fn review_key_pair(
    request: AdmissionRequest<KeyPair>,
    caches: &ScopeCaches,
    scopes: &Scopes,
    now: u64,
) -> Option<ReviewAnswer> {
    let mut response = AdmissionResponse::from(&request);
    let admitted = |response| Some(ReviewAnswer { response, refused: None });
    let namespace = request.namespace.clone().unwrap_or_default();
    // A deletion has no object. Subresources are written by the operator.
    let Some(mut new) = request.object else { return admitted(response) };
    if !scopes.contains(&namespace) || request.sub_resource.is_some() {
        return admitted(response);
    }
    let old = match (request.operation, request.old_object) {
        (Operation::Create, _) => None,
        (Operation::Update, Some(old)) => Some(old),
        _ => return admitted(response),
    };
    let cache = caches.for_namespace(&namespace)?;
    fill_in_metadata(&mut new, &namespace, &request.uid, old.as_ref());
    let refusals = refusals(&cache, &namespace, &new, old.as_ref());
    let Some(first) = refusals.first() else {
        let changed = old.as_ref().is_none_or(|old| translate::parameters(old) != translate::parameters(&new));
        let warnings = if changed { warnings(&cache, &namespace, &new, now) } else { Vec::new() };
        response.warnings = Some(warnings).filter(|warnings| !warnings.is_empty());
        return admitted(response);
    };
    response.allowed = false;
    response.result = status(new.spec.profile, first, &refusals);
    Some(ReviewAnswer { refused: Some(first.reason.as_str()), response })
}

/// Fills in what the API server fills in, and removes what it does not store. At the mutating webhook, the API server has not done
/// this yet.
fn fill_in_metadata(new: &mut KeyPair, namespace: &str, uid: &str, old: Option<&KeyPair>) {
    new.metadata.namespace = Some(namespace.to_owned());
    translate::assume_name(&mut new.metadata);
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

fn refusals(cache: &ScopeCache, namespace: &str, new: &KeyPair, old: Option<&KeyPair>) -> Vec<Refusal> {
    // In a new namespace, or with an outdated cache, only the request itself is checked.
    let known = cache.index.region(namespace).filter(|_| !cache.is_outdated());
    // If an object of this name exists, the API server refuses the request, or the object was deleted a moment ago.
    let exists = old.is_none() && cache.index.contains(namespace, &new.name_any());
    let can_preview = known.is_some() && !exists;
    let preview = |claim: &Claim| {
        let previewed = cache.index.with_ledger(namespace, |ledger| ledger.preview(claim));
        previewed.filter(|_| can_preview).unwrap_or(ClaimState::Granted)
    };
    let region = known.unwrap_or_else(|| Region::with_quota(usize::MAX));
    let mut candidate = claim::candidate(new, &region);
    if old.is_none()
        && let Some(claim) = &mut candidate.claim
    {
        // A new object is the youngest.
        claim.seniority.created = i64::MAX;
    }
    let old = old.map(|old| claim::candidate(old, &region));
    admission::review(&candidate, old.as_ref(), &region, preview)
}

fn warnings(cache: &ScopeCache, namespace: &str, new: &KeyPair, now: u64) -> Vec<String> {
    let Some(Ok(key)) = new.spec.public_key.as_deref().map(PublicKey::parse) else { return Vec::new() };
    let mut warnings = advice::on_key(&key, now);
    let duplicates = cache.index.duplicate_of(namespace, &new.name_any(), &key.fingerprints().sha256);
    warnings.extend(duplicates.map(|name| advice::on_duplicate_key(&name)));
    warnings
}

/// The error of the cloud, followed by all refusals.
fn status(profile: Profile, first: &Refusal, refusals: &[Refusal]) -> Status {
    let error = profile.error(first);
    let mut message = profile.explain(first);
    for refusal in refusals.iter().take(MAX_LISTED).skip(1) {
        let _ = write!(message, "; {refusal}");
    }
    if refusals.len() > MAX_LISTED {
        let _ = write!(message, "; and {} more", refusals.len() - MAX_LISTED);
    }
    let causes = refusals.iter().map(|refusal| StatusCause {
        reason: refusal.reason.to_string(),
        message: refusal.detail.clone(),
        field: refusal.parameter.field().to_owned(),
    });
    failure(error.http_status, error.code, message, causes.collect())
}
