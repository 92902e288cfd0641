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
    api::{KeyPair, claim, translate},
    cache::{ScopeCache, ScopeCaches},
    domain::{
        admission, advice,
        key::PublicKey,
        ledger::{Claim, ClaimState},
        profile::Profile,
        reason::{Reason, Refusal},
        region::Region,
    },
};

/// How many refusals the message lists. The causes list all of them.
const MAX_LISTED: usize = 10;

/// The namespaces that the operator watches, and whose KeyPairs the webhook reviews.
#[derive(Debug, Clone, Default)]
pub struct Scopes(Option<BTreeSet<String>>);

impl Scopes {
    /// Creates the scopes: each a namespace, or `None` for all namespaces.
    pub fn new(scopes: impl IntoIterator<Item = Option<String>>) -> Self {
        Self(scopes.into_iter().collect())
    }

    /// The namespaces; `None`: all namespaces.
    #[must_use]
    pub fn namespaces(&self) -> Option<&BTreeSet<String>> {
        self.0.as_ref()
    }

    fn contains(&self, namespace: &str) -> bool {
        self.0.as_ref().is_none_or(|namespaces| namespaces.contains(namespace))
    }
}

/// The answer to a review.
pub struct ReviewAnswer {
    /// The response to the API server.
    pub response: AdmissionResponse,
    /// The reason, if the request is refused.
    pub refused: Option<Reason>,
}

/// Answers a review at the time `now`, in seconds since 1970. `None`: the KeyPairs of the namespace are not listed yet, so the API
/// server must apply the failure policy.
#[must_use]
pub fn review(
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
    Some(ReviewAnswer { refused: Some(first.reason), response })
}

/// Fills in what the API server fills in, and removes what it does not store. At the mutating webhook, the API server has not done
/// this yet.
fn fill_in_metadata(new: &mut KeyPair, namespace: &str, uid: &str, old: Option<&KeyPair>) {
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
