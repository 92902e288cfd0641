//! What is known of one namespace: the `KeyPair`s in it, what it is to them, and who holds what.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::ResourceExt;

use super::Claimant;
use crate::{
    api::ClaimRequest,
    controller::same_keys::SameKeys,
    domain::{
        ledger::{Claim, Ledger},
        region::Region,
    },
};

/// One namespace.
#[derive(Debug, Clone, Default)]
pub struct Namespace {
    /// The `KeyPair`s in it, valid or not, by `metadata.name`.
    names: BTreeSet<Arc<str>>,
    /// Those of them that are not of the schema of this version.
    undecoded: BTreeSet<Arc<str>>,
    /// Who holds what; `None`: it was never known what the namespace is.
    ledger: Option<Ledger>,
    /// Whether it is known what the namespace is now. If not, the ledger is that of the one that was there before, and grants nothing.
    is_known: bool,
    /// The `KeyPair`s that may be being accepted just now: of each UID the version that is to be replaced. While that is the newest
    /// version which the watch has shown, the write may still reach the API server.
    pending: BTreeMap<Arc<str>, Box<str>>,
    same_keys: SameKeys,
}

/// A `KeyPair` of a list that is under way.
#[derive(Debug, Clone)]
pub struct Listed {
    name: Arc<str>,
    key: Option<String>,
    claim: Option<Claim>,
    /// Its UID, if it may be being accepted.
    pending: Option<Arc<str>>,
    is_decoded: bool,
}

impl Listed {
    /// A `KeyPair` that has not been judged yet.
    pub fn of(key_pair: &impl Claimant, key: Option<String>) -> Self {
        let name = key_pair.name_any().into();
        Self { name, key, claim: None, pending: None, is_decoded: key_pair.is_decoded() }
    }
}

impl Namespace {
    /// Whether it is known what the namespace is now.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// Whether there is nothing to know about it.
    pub fn is_empty(&self) -> bool {
        !self.is_known && self.names.is_empty()
    }

    /// The names of the `KeyPair`s in it.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.names.iter().cloned().collect()
    }

    /// Whether there is a `KeyPair` of this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// How many `KeyPair`s are not of the schema of this version.
    pub fn undecoded(&self) -> usize {
        self.undecoded.len()
    }

    /// Who holds what, if it is known what the namespace is.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref().filter(|_| self.is_known)
    }

    /// A `KeyPair` other than that of this name which has the key with this fingerprint (SHA256).
    pub fn with_same_key(&self, name: &str, sha256: &str) -> Option<String> {
        self.same_keys.other_than(name, sha256)
    }

    /// Takes in a `KeyPair` that has come or changed, and returns the names of the others whose standing changed.
    pub fn apply(&mut self, key_pair: &impl Claimant, key: Option<&str>) -> BTreeSet<String> {
        let name = self.name(&key_pair.name_any());
        if key_pair.is_decoded() {
            self.undecoded.remove(&name);
        } else if self.undecoded.insert(Arc::clone(&name)) {
            tell_undecoded(&key_pair.namespace().unwrap_or_default(), &name);
        }
        self.same_keys.set(&name, key);
        let request = key_pair.claim_request();
        let mut changed = self.settle(&request);
        let is_pending = self.is_pending(request.uid(), request.version());
        let Some(ledger) = self.ledger.as_mut().filter(|_| self.is_known) else { return changed };
        match claim(&request, &name, ledger.region()) {
            Some(claim) => changed.extend(ledger.claim(claim)),
            None if is_pending => {}
            None => changed.extend(ledger.withdraw(request.uid())),
        }
        changed.remove(&*name);
        changed
    }

    /// Takes out a `KeyPair` that is gone, and returns the names of the others whose standing changed.
    pub fn delete(&mut self, key_pair: &impl Claimant) -> BTreeSet<String> {
        let name = key_pair.name_any().into();
        self.names.remove(&name);
        self.undecoded.remove(&name);
        self.same_keys.set(&name, None);
        let uid = key_pair.meta().uid.as_deref().unwrap_or_default();
        self.pending.remove(uid);
        self.ledger.as_mut().map(|ledger| ledger.withdraw(uid)).unwrap_or_default()
    }

    /// Says that the namespace is this now, if it is the same but for its quota: then every claim stays what it is. Returns the names of
    /// the `KeyPair`s that this concerns; `None`: they have to be judged anew.
    pub fn set_quota(&mut self, region: &Region) -> Option<BTreeSet<String>> {
        let ledger = self.ledger.as_mut().filter(|_| self.is_known)?;
        if ledger.region() == region {
            return Some(BTreeSet::new());
        }
        let only_quota = Region { quota: region.quota, ..ledger.region().clone() } == *region;
        only_quota.then(|| ledger.set_quota(region.clone()))
    }

    /// Forgets what the namespace was, which is gone. What may be being written is still written, into what was made anew perhaps.
    pub fn forget_region(&mut self) {
        self.is_known = false;
    }

    /// Says what the namespace is now, and judges all that is in it anew.
    pub fn reload(&mut self, region: Region, requests: &[(Arc<str>, ClaimRequest)]) {
        self.settle_all(requests);
        let previous = self.ledger.take();
        let claims =
            requests.iter().filter_map(|(name, request)| self.judged(request, name, &region, previous.as_ref()));
        let claims: Vec<Claim> = claims.collect();
        self.ledger = Some(Ledger::load(region, claims, previous.as_ref()));
        self.is_known = true;
    }

    /// The same, where nothing else has become known of the namespace.
    pub fn catch_up(&mut self, requests: &[(Arc<str>, ClaimRequest)]) {
        match self.ledger().map(|ledger| ledger.region().clone()) {
            Some(region) => self.reload(region, requests),
            None => self.settle_all(requests),
        }
    }

    /// Says what a `KeyPair` of a list asks for here.
    pub fn judge(&self, listed: &mut Listed, request: &ClaimRequest) {
        let Some(ledger) = self.ledger() else { return };
        listed.claim = self.judged(request, &listed.name, ledger.region(), Some(ledger));
        let is_pending = !request.is_accepted() && self.is_pending(request.uid(), request.version());
        listed.pending = is_pending.then(|| request.uid().into());
    }

    /// Puts what a list has brought in the place of what was known. `is_judged`: its claims count, and nothing is to come after it.
    pub fn end_list(&mut self, namespace: &str, listed: Vec<Listed>, is_judged: bool) {
        self.names = listed.iter().map(|listed| Arc::clone(&listed.name)).collect();
        self.same_keys = SameKeys::default();
        let before = std::mem::take(&mut self.undecoded);
        for Listed { name, key, is_decoded, .. } in &listed {
            self.same_keys.set(name, key.as_deref());
            if !is_decoded {
                if !before.contains(name) {
                    tell_undecoded(namespace, name);
                }
                self.undecoded.insert(Arc::clone(name));
            }
        }
        if !is_judged || !self.is_known {
            return;
        }
        let pending: BTreeSet<Arc<str>> = listed.iter().filter_map(|listed| listed.pending.clone()).collect();
        let claims: Vec<Claim> = listed.into_iter().filter_map(|listed| listed.claim).collect();
        let accepted: BTreeSet<&str> = claims.iter().filter(|claim| claim.accepted).map(|claim| &*claim.uid).collect();
        let Some(mut previous) = self.ledger.take() else { return };
        self.pending.retain(|uid, _| {
            let goes_on = pending.contains(uid);
            if !goes_on && !accepted.contains(&**uid) {
                previous.end_writing(uid);
            }
            goes_on
        });
        self.ledger = Some(Ledger::load(previous.region().clone(), claims, Some(&previous)));
    }

    /// Notes that this version of a `KeyPair` is being replaced by one that is accepted. Whether it may be.
    pub fn begin_acceptance(&mut self, uid: &str, version: &str) -> bool {
        let begun = self.is_known && self.ledger.as_mut().is_some_and(|ledger| ledger.begin_writing(uid));
        if begun {
            self.pending.insert(uid.into(), version.into());
        }
        begun
    }

    /// Whether this is the version of a `KeyPair` that is to be replaced by one that is accepted.
    pub fn is_pending(&self, uid: &str, version: Option<&str>) -> bool {
        self.pending.get(uid).is_some_and(|pending| version == Some(&**pending))
    }

    /// The claim that counts: of one that may be being accepted also one that is not valid any more.
    fn judged(
        &self,
        request: &ClaimRequest,
        name: &Arc<str>,
        region: &Region,
        previous: Option<&Ledger>,
    ) -> Option<Claim> {
        claim(request, name, region).or_else(|| {
            let previous = previous.filter(|_| self.is_pending(request.uid(), request.version()))?;
            previous.get(request.uid())
        })
    }

    /// Notes what a `KeyPair` is now: of one that has another version than that which was to be replaced, it is known whether it was.
    fn settle(&mut self, request: &ClaimRequest) -> BTreeSet<String> {
        let uid = request.uid();
        if !self.pending.contains_key(uid) || !request.is_accepted() && self.is_pending(uid, request.version()) {
            return BTreeSet::new();
        }
        self.pending.remove(uid);
        match &mut self.ledger {
            Some(ledger) if !request.is_accepted() => ledger.end_writing(uid),
            _ => BTreeSet::new(),
        }
    }

    /// The same of all that there are.
    fn settle_all(&mut self, requests: &[(Arc<str>, ClaimRequest)]) {
        if self.pending.is_empty() {
            return;
        }
        for (_, request) in requests {
            self.settle(request);
        }
        let there: BTreeSet<&str> = requests.iter().map(|(_, request)| request.uid()).collect();
        self.pending.retain(|uid, _| there.contains(&**uid));
    }

    /// Notes that there is a `KeyPair` of this name, and returns the one place where the name is kept.
    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        name
    }
}

/// The claim of the `KeyPair` of this name, which is kept once.
fn claim(request: &ClaimRequest, name: &Arc<str>, region: &Region) -> Option<Claim> {
    let mut claim = request.claim(region)?;
    claim.seniority.name = Arc::clone(name);
    Some(claim)
}

/// Why it cannot be decoded is not said: that would quote the object, and somebody may have pasted a private key into it.
fn tell_undecoded(namespace: &str, name: &str) {
    tracing::error!(
        namespace,
        name,
        "this KeyPair is not of the schema of this version: nothing is done about it; if it is accepted it keeps its slot and its name"
    );
}
