//! What a `KeyPair` asks of the ledger of its namespace, in a bounded size whatever the size of the object.

use kube::ResourceExt;
use serde::{Deserialize, Serialize};

use super::{KeyPair, KeyPairStatus, status::AcceptedRequest, translate};
use crate::domain::{
    ledger::{Claim, Seniority},
    region::Region,
    request::Parameters,
    request_summary::RequestSummary,
};

/// What a `KeyPair` asks for, whatever its namespace is.
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
    /// What `key_pair` asks for.
    #[must_use]
    pub fn of(key_pair: &KeyPair) -> Self {
        Self::with(key_pair, &translate::parameters(key_pair))
    }

    /// What counts of a `KeyPair` that could be read in part only: what it was accepted with. Where it was not accepted it asks for
    /// nothing, since nobody knows what it would ask for. `is_comparable`: its spec is whole.
    #[must_use]
    pub fn of_remains(key_pair: &KeyPair, is_comparable: bool) -> Self {
        let whole = Self::of(key_pair);
        Self { request: whole.request.into_remains(is_comparable), ..whole }
    }

    /// The same, where its parameters are known already.
    pub(super) fn with(key_pair: &KeyPair, parameters: &Parameters) -> Self {
        let status = key_pair.status.as_ref();
        let accepted = status.filter(|status| Self::is_acceptance(status));
        let request = RequestSummary::of(parameters);
        let request = match accepted {
            Some(status) => {
                let name = status.recorded_name();
                let asked = status.accepted_request.as_ref().and_then(AcceptedRequest::checked);
                let asked =
                    asked.as_ref().map(|it| [it.client_token.as_str(), it.digest.as_str(), it.project.as_str()]);
                request.accepted_as(name.as_deref(), asked)
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

    /// Whether this status says that a pair has been accepted: a replay shows the identifier of the pair that it repeats.
    #[must_use]
    pub fn is_acceptance(status: &KeyPairStatus) -> bool {
        status.key_pair_id.is_some() && !status.is_replay()
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

    /// Whether the status says that the pair has been accepted, as a pair of its own and not as a replay.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.is_accepted
    }

    /// The claim to a slot and a name of `region`; `None`: a request that is not valid takes no place in the queue.
    #[must_use]
    pub fn claim(&self, region: &Region) -> Option<Claim> {
        let is_valid = !self.is_being_deleted && self.request.is_valid_in(region);
        // What is accepted keeps its slot and its name until it is gone, whatever later rules would say of it.
        if self.uid.is_empty() || !(self.is_accepted || is_valid) {
            return None;
        }
        Some(Claim {
            uid: self.uid.as_str().into(),
            seniority: Seniority { created: self.created, name: self.name.as_str().into() },
            token: self.request.token_use(region),
            key_pair_name: self.request.key_pair_name().into(),
            accepted: self.is_accepted,
        })
    }
}
