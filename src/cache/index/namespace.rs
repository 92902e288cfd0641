//! The state of one namespace: its `KeyPair`s, its region, and its ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::ResourceExt;

use super::Claimant;
use crate::{
    api::ClaimRequest,
    cache::duplicate_keys::DuplicateKeys,
    domain::{
        ledger::{Claim, Ledger},
        region::Region,
    },
};

/// The state of one namespace.
#[derive(Debug, Clone, Default)]
pub struct Namespace {
    /// The `KeyPair`s in it, valid or not, by `metadata.name`.
    names: BTreeSet<Arc<str>>,
    /// The names of those that do not match the schema of this version.
    undecoded: BTreeSet<Arc<str>>,
    /// `None` if the region was never known.
    ledger: Option<Ledger>,
    /// Whether the region is known. If not, the ledger is that of a deleted namespace of this name, and grants nothing.
    has_region: bool,
    /// The `KeyPair`s that a write may be accepting: for each UID, the version that the write replaces. While that is the newest version
    /// from the watch, the write may still reach the API server.
    pending: BTreeMap<Arc<str>, Box<str>>,
    duplicate_keys: DuplicateKeys,
}

/// A `KeyPair` of the current list.
#[derive(Debug, Clone)]
pub struct Listed {
    name: Arc<str>,
    /// The fingerprint of its key, if duplicate keys are tracked.
    fingerprint: Option<String>,
    claim: Option<Claim>,
    /// Its UID, if a write may be accepting it.
    pending: Option<Arc<str>>,
    is_decoded: bool,
}

impl Listed {
    /// A `KeyPair` whose claim is not evaluated yet.
    pub fn of(key_pair: &impl Claimant, fingerprint: Option<String>) -> Self {
        let name = key_pair.name_any().into();
        Self { name, fingerprint, claim: None, pending: None, is_decoded: key_pair.is_decoded() }
    }
}

impl Namespace {
    /// Whether the region is known.
    pub fn has_region(&self) -> bool {
        self.has_region
    }

    /// Whether the state can be dropped.
    pub fn is_empty(&self) -> bool {
        !self.has_region && self.names.is_empty()
    }

    /// The names of its `KeyPair`s.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.names.iter().cloned().collect()
    }

    /// Whether it has a `KeyPair` with this name.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The number of `KeyPair`s that do not match the schema of this version.
    pub fn undecoded(&self) -> usize {
        self.undecoded.len()
    }

    /// The ledger, if the region is known.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref().filter(|_| self.has_region)
    }

    /// Another `KeyPair` than the one with this name that has the key with this SHA256 fingerprint.
    pub fn duplicate_of(&self, name: &str, sha256: &str) -> Option<String> {
        self.duplicate_keys.other_with_key(name, sha256)
    }

    /// Applies a new or changed `KeyPair`, and returns the names of the others whose claim state changed.
    pub fn apply(&mut self, key_pair: &impl Claimant, fingerprint: Option<&str>) -> BTreeSet<String> {
        let name = self.intern_name(&key_pair.name_any());
        if key_pair.is_decoded() {
            self.undecoded.remove(&name);
        } else if self.undecoded.insert(Arc::clone(&name)) {
            log_undecoded(&key_pair.namespace().unwrap_or_default(), &name);
        }
        self.duplicate_keys.set(&name, fingerprint);
        let request = key_pair.claim_request();
        let mut changed = self.resolve_pending(&request);
        let is_pending = self.is_acceptance_pending(request.uid(), request.version());
        let Some(ledger) = self.ledger.as_mut().filter(|_| self.has_region) else { return changed };
        match claim(&request, &name, ledger.region()) {
            Some(claim) => changed.extend(ledger.claim(claim)),
            None if is_pending => {}
            None => changed.extend(ledger.withdraw(request.uid())),
        }
        changed.remove(&*name);
        changed
    }

    /// Removes a deleted `KeyPair`, and returns the names of the others whose claim state changed.
    pub fn delete(&mut self, key_pair: &impl Claimant) -> BTreeSet<String> {
        let name = key_pair.name_any().into();
        self.names.remove(&name);
        self.undecoded.remove(&name);
        self.duplicate_keys.set(&name, None);
        let uid = key_pair.meta().uid.as_deref().unwrap_or_default();
        self.pending.remove(uid);
        self.ledger.as_mut().map(|ledger| ledger.withdraw(uid)).unwrap_or_default()
    }

    /// Sets the region if it differs only in its quota, so that every claim stays the same. Returns the object names of the `KeyPair`s that
    /// this affects, or `None` if all claims have to be evaluated again.
    pub fn set_region_if_only_quota_differs(&mut self, region: &Region) -> Option<BTreeSet<String>> {
        let ledger = self.ledger.as_mut().filter(|_| self.has_region)?;
        if ledger.region() == region {
            return Some(BTreeSet::new());
        }
        let only_quota = Region { quota: region.quota, ..ledger.region().clone() } == *region;
        only_quota.then(|| ledger.set_quota(region.quota))
    }

    /// Forgets the region of a deleted namespace. Pending writes stay: they may still reach a namespace that was created again.
    pub fn forget_region(&mut self) {
        self.has_region = false;
    }

    /// Sets the region, and evaluates all requests again.
    pub fn reload(&mut self, region: Region, requests: &[(Arc<str>, ClaimRequest)]) {
        self.resolve_all_pending(requests);
        let previous = self.ledger.take();
        let claims = requests
            .iter()
            .filter_map(|(name, request)| self.effective_claim(request, name, &region, previous.as_ref()));
        let claims: Vec<Claim> = claims.collect();
        self.ledger = Some(Ledger::load(region, claims, previous.as_ref()));
        self.has_region = true;
    }

    /// Evaluates all requests again, in the same region.
    pub fn reevaluate(&mut self, requests: &[(Arc<str>, ClaimRequest)]) {
        match self.ledger().map(|ledger| ledger.region().clone()) {
            Some(region) => self.reload(region, requests),
            None => self.resolve_all_pending(requests),
        }
    }

    /// Sets the claim of a `KeyPair` of the current list.
    pub fn evaluate_listed(&self, listed: &mut Listed, request: &ClaimRequest) {
        let Some(ledger) = self.ledger() else { return };
        listed.claim = self.effective_claim(request, &listed.name, ledger.region(), Some(ledger));
        let is_pending = !request.is_accepted() && self.is_acceptance_pending(request.uid(), request.version());
        listed.pending = is_pending.then(|| request.uid().into());
    }

    /// Replaces the state by a complete list. With `is_evaluated` its claims are final; otherwise [`Self::reevaluate`] follows.
    pub fn end_list(&mut self, namespace: &str, listed: Vec<Listed>, is_evaluated: bool) {
        self.names = listed.iter().map(|listed| Arc::clone(&listed.name)).collect();
        self.duplicate_keys = DuplicateKeys::default();
        let before = std::mem::take(&mut self.undecoded);
        for Listed { name, fingerprint, is_decoded, .. } in &listed {
            self.duplicate_keys.set(name, fingerprint.as_deref());
            if !is_decoded {
                if !before.contains(name) {
                    log_undecoded(namespace, name);
                }
                self.undecoded.insert(Arc::clone(name));
            }
        }
        if !is_evaluated || !self.has_region {
            return;
        }
        let pending: BTreeSet<Arc<str>> = listed.iter().filter_map(|listed| listed.pending.clone()).collect();
        let claims: Vec<Claim> = listed.into_iter().filter_map(|listed| listed.claim).collect();
        let accepted: BTreeSet<&str> = claims.iter().filter(|claim| claim.accepted).map(|claim| &*claim.uid).collect();
        let Some(mut previous) = self.ledger.take() else { return };
        self.pending.retain(|uid, _| {
            let is_pending = pending.contains(uid);
            if !is_pending && !accepted.contains(&**uid) {
                previous.end_writing(uid);
            }
            is_pending
        });
        self.ledger = Some(Ledger::load(previous.region().clone(), claims, Some(&previous)));
    }

    /// Records that a write is about to accept this version of a `KeyPair`. Returns false if it must not.
    pub fn begin_acceptance(&mut self, uid: &str, version: &str) -> bool {
        let may_accept = self.has_region && self.ledger.as_mut().is_some_and(|ledger| ledger.begin_writing(uid));
        if may_accept {
            self.pending.insert(uid.into(), version.into());
        }
        may_accept
    }

    /// Whether a write may be accepting this version of a `KeyPair`.
    pub fn is_acceptance_pending(&self, uid: &str, version: Option<&str>) -> bool {
        self.pending.get(uid).is_some_and(|pending| version == Some(&**pending))
    }

    /// The claim of a request. While a write may be accepting the `KeyPair`, its previous claim counts even if it is no longer valid.
    fn effective_claim(
        &self,
        request: &ClaimRequest,
        name: &Arc<str>,
        region: &Region,
        previous: Option<&Ledger>,
    ) -> Option<Claim> {
        claim(request, name, region).or_else(|| {
            let previous = previous.filter(|_| self.is_acceptance_pending(request.uid(), request.version()))?;
            previous.get(request.uid())
        })
    }

    /// Ends the pending write of a `KeyPair` once another version shows whether the write succeeded.
    fn resolve_pending(&mut self, request: &ClaimRequest) -> BTreeSet<String> {
        let uid = request.uid();
        if !self.pending.contains_key(uid)
            || !request.is_accepted() && self.is_acceptance_pending(uid, request.version())
        {
            return BTreeSet::new();
        }
        self.pending.remove(uid);
        match &mut self.ledger {
            Some(ledger) if !request.is_accepted() => ledger.end_writing(uid),
            _ => BTreeSet::new(),
        }
    }

    /// [`Self::resolve_pending`] for all `KeyPair`s of the namespace.
    fn resolve_all_pending(&mut self, requests: &[(Arc<str>, ClaimRequest)]) {
        if self.pending.is_empty() {
            return;
        }
        for (_, request) in requests {
            self.resolve_pending(request);
        }
        let existing: BTreeSet<&str> = requests.iter().map(|(_, request)| request.uid()).collect();
        self.pending.retain(|uid, _| existing.contains(&**uid));
    }

    /// Adds the name of a `KeyPair`, and returns the shared copy of it.
    fn intern_name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        name
    }
}

/// The claim of the `KeyPair` with this name, which shares the copy of the name.
fn claim(request: &ClaimRequest, name: &Arc<str>, region: &Region) -> Option<Claim> {
    let mut claim = request.claim(region)?;
    claim.seniority.object_name = Arc::clone(name);
    Some(claim)
}

/// The decoding error is not logged: it would quote the object, which may contain a pasted private key.
fn log_undecoded(namespace: &str, name: &str) {
    tracing::error!(
        namespace,
        name,
        "the KeyPair does not match the schema of this version and is not processed; if accepted, it keeps its slot and name"
    );
}
