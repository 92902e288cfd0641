//! The claim of a `KeyPair` on the ledger of its namespace, in bounded size.

use kube::ResourceExt;
use serde::{Deserialize, Serialize};

use super::{KeyPair, status::AcceptedRequest, translate};
use crate::domain::{
    admission::Candidate,
    ledger::{Claim, Seniority},
    region::Region,
    request::Parameters,
    request_summary::RequestSummary,
};

/// The request of a `KeyPair`, independent of its namespace. [`ClaimRequest::claim`] turns it into a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRequest {
    /// `metadata.uid`.
    uid: String,
    /// `metadata.creationTimestamp`, in seconds since 1970.
    created: i64,
    /// `metadata.name`.
    name: String,
    /// `metadata.resourceVersion`.
    version: Option<String>,
    is_accepted: bool,
    is_being_deleted: bool,
    request: RequestSummary,
}

impl ClaimRequest {
    /// The request of `key_pair`.
    #[must_use]
    pub fn of(key_pair: &KeyPair) -> Self {
        Self::with(key_pair, &translate::parameters(key_pair))
    }

    /// The request of a `KeyPair` that could be decoded only in part: what it was accepted with. A `KeyPair` that was not accepted
    /// requests nothing, because its request is unknown. `is_comparable`: the spec is complete.
    #[must_use]
    pub fn of_partial(key_pair: &KeyPair, is_comparable: bool) -> Self {
        let whole = Self::of(key_pair);
        Self { request: whole.request.into_partial(is_comparable), ..whole }
    }

    /// As [`ClaimRequest::of`], with parameters that are already translated.
    pub(super) fn with(key_pair: &KeyPair, parameters: &Parameters) -> Self {
        let status = key_pair.status.as_ref();
        let accepted = status.filter(|status| status.is_acceptance());
        let request = RequestSummary::of(parameters);
        let request = match accepted {
            Some(status) => {
                let name = status.recorded_name();
                let recorded = status.accepted_request.as_ref().and_then(AcceptedRequest::checked);
                let recorded =
                    recorded.as_ref().map(|it| [it.client_token.as_str(), it.digest.as_str(), it.project.as_str()]);
                request.accepted_as(name.as_deref(), recorded)
            }
            None => request,
        };
        Self {
            uid: key_pair.uid().unwrap_or_default(),
            created: key_pair.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
            name: key_pair.name_any(),
            version: key_pair.resource_version(),
            is_accepted: accepted.is_some(),
            is_being_deleted: key_pair.metadata.deletion_timestamp.is_some(),
            request,
        }
    }

    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// `metadata.resourceVersion`.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether the key pair is accepted, and not a replay.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.is_accepted
    }

    /// The claim on a slot and a name in `region`, or `None` for an invalid request, which does not enter the queue.
    #[must_use]
    pub fn claim(&self, region: &Region) -> Option<Claim> {
        let is_valid = !self.is_being_deleted && self.request.is_valid_in(region);
        // An accepted key pair keeps its slot and its name until it is deleted, even if it breaks a later rule.
        if self.uid.is_empty() || !(self.is_accepted || is_valid) {
            return None;
        }
        Some(Claim {
            uid: self.uid.as_str().into(),
            seniority: Seniority { created: self.created, object_name: self.name.as_str().into() },
            token: self.request.token_use(region),
            key_pair_name: self.request.key_pair_name().into(),
            accepted: self.is_accepted,
        })
    }
}

/// The request of `key_pair` as it is judged before it is stored.
#[must_use]
pub fn candidate(key_pair: &KeyPair, region: &Region) -> Candidate {
    let desired = translate::desired(key_pair);
    Candidate {
        recorded: translate::accepted_key_pair(key_pair),
        claim: ClaimRequest::with(key_pair, &desired.parameters).claim(region),
        desired,
    }
}
