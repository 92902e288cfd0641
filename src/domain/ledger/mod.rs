//! The index of one namespace: which claims hold a slot of the quota and a name, and which claim is the original of each client
//! token.
//!
//! A [`Ledger`] is updated from watch events and answers from memory. No answer scans the namespace: each update costs a few
//! look-ups in trees and hash tables. The ledger grants slots and names as soon as they are free, to the oldest claim first,
//! and returns the `KeyPair`s whose state changed, so that these are reconciled without an edit. The same events give the same
//! answers in the same order, since no answer depends on the order of a hash table.
//!
//! An accepted pair is never evicted, whatever the quota becomes. Neither is a pair whose acceptance may be in the middle of a
//! write ([`Ledger::begin_writing`]): the write may reach the API server late, and no other pair must have the slot or the name
//! then. A grant that no write has recorded lasts as long as there is room.
//!
//! Of the claims with the same client token, one is the original: one that is already granted, or else the oldest. Only the
//! original asks for a slot and a name; the others are its replays.

mod claim;
mod slots;
mod tokens;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

pub use self::claim::{Claim, ClaimState, Seniority};
use self::slots::{QueuePosition, Slots, all_for, first_for, queue_position};
use super::region::Region;

/// The claims of one namespace.
#[derive(Clone)]
pub struct Ledger {
    region: Region,
    slots: Slots,
    /// The claims with a client token, by UID.
    token_claims: HashMap<Arc<str>, Claim>,
    /// The UID of the original of each client token.
    originals: HashMap<Arc<str>, Arc<str>>,
    /// The claims by their client token. One set for all tokens: one set for each token takes ten times the memory.
    by_token: BTreeSet<(Arc<str>, QueuePosition)>,
    /// The accepted ones of these.
    accepted_by_token: BTreeSet<(Arc<str>, QueuePosition)>,
}

impl Ledger {
    /// A ledger without claims.
    #[must_use]
    pub fn new(region: Region) -> Self {
        Self {
            slots: Slots::new(region.limit()),
            region,
            token_claims: HashMap::new(),
            originals: HashMap::new(),
            by_token: BTreeSet::new(),
            accepted_by_token: BTreeSet::new(),
        }
    }

    /// A ledger of all claims of a namespace. Grants nothing before it has all of them.
    ///
    /// `previous` is the ledger that this one replaces, possibly with other settings of the region. Its grants last as long as
    /// there is room; those that may be in the middle of a write last in any case.
    #[must_use]
    pub fn load(region: Region, claims: impl IntoIterator<Item = Claim>, previous: Option<&Self>) -> Self {
        let mut ledger = Self::new(region);
        let mut requests = Vec::new();
        for claim in claims {
            if claim.token.is_some() {
                ledger.add_to_token(claim);
            } else {
                requests.push(claim);
            }
        }
        let is_granted =
            |claim: &Claim| claim.accepted || previous.is_some_and(|previous| previous.slots.has_granted(claim));
        for (token, original) in &mut ledger.originals {
            let claims = all_for(&ledger.by_token, token).filter_map(|(_, uid)| ledger.token_claims.get(uid));
            // An accepted pair is the original, whatever was granted before statuses were restored.
            let has_holder = first_for(&ledger.accepted_by_token, token).is_some();
            let mut holders =
                claims.filter(|claim| if has_holder { claim.accepted } else { is_granted(claim) }).peekable();
            if let Some(first) = holders.peek() {
                original.clone_from(&first.uid);
                requests.extend(holders.cloned());
            } else if let Some((_, first)) = first_for(&ledger.by_token, token) {
                original.clone_from(first);
                requests.extend(ledger.token_claims.get(first).cloned());
            }
        }
        ledger.slots = Slots::load(ledger.region.limit(), requests, previous.map(|previous| &previous.slots));
        ledger.revoke();
        ledger.slots.grant_free_slots();
        ledger
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The state of the claim of the `KeyPair` with this UID.
    #[must_use]
    pub fn claim_state(&self, uid: &str) -> ClaimState {
        let claim_state = self.slots.claim_state(uid);
        if claim_state != ClaimState::Unknown {
            return claim_state;
        }
        let Some((claim, original)) =
            self.token_claims.get(uid).and_then(|claim| Some((claim, self.original_of(claim)?)))
        else {
            return ClaimState::Unknown;
        };
        claim.state_as_replay_of(original)
    }

    /// The state that the claim would have if it were added now. Changes nothing.
    #[must_use]
    pub fn preview(&self, claim: &Claim) -> ClaimState {
        if claim.accepted {
            return ClaimState::Granted;
        }
        match self.original_of(claim) {
            Some(original) if original.uid != claim.uid && !self.would_be_original(claim, original) => {
                claim.state_as_replay_of(original)
            }
            _ => self.slots.preview(claim),
        }
    }

    /// Whether `claim` would replace `original` as the original of its token.
    fn would_be_original(&self, claim: &Claim, original: &Claim) -> bool {
        let has_holder = original.accepted || self.slots.has_slot(&original.uid);
        !has_holder && queue_position(claim) < queue_position(original)
    }

    /// The number of granted claims.
    #[must_use]
    pub fn granted_count(&self) -> usize {
        self.slots.granted_count()
    }

    /// The claim of the `KeyPair` with this UID.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<Claim> {
        self.token_claims.get(uid).cloned().or_else(|| self.slots.get(uid))
    }

    /// Notes that the acceptance of the `KeyPair` with this UID is about to be written. Returns whether it may be: not if the
    /// grant has been revoked.
    #[must_use]
    pub fn begin_writing(&mut self, uid: &str) -> bool {
        self.slots.begin_writing(uid)
    }

    /// Notes that no write of the acceptance of the `KeyPair` with this UID can reach the API server any more. Returns the object names
    /// of the `KeyPair`s whose state changed.
    pub fn end_writing(&mut self, uid: &str) -> BTreeSet<String> {
        self.slots.end_writing(uid);
        self.revoke()
    }

    /// Sets the quota of the region; `None`: it is invalid. Returns the object names of the `KeyPair`s whose state changed, or the
    /// reason for it.
    pub fn set_quota(&mut self, quota: Option<usize>) -> BTreeSet<String> {
        let before = std::mem::replace(&mut self.region.quota, quota);
        let mut changed = self.slots.set_quota(self.region.limit());
        changed.extend(self.revoke());
        if before.is_none() != quota.is_none() {
            changed.extend(self.slots.objects_lacking_a_slot());
        }
        changed
    }

    /// Adds or updates a claim. Returns the object names of the other `KeyPair`s whose state changed, or that are replays of this
    /// request.
    pub fn claim(&mut self, claim: Claim) -> BTreeSet<String> {
        let (uid, object_name) = (claim.uid.clone(), claim.seniority.object_name.clone());
        let token = |claim: &Claim| claim.token.as_ref().map(|token| token.token.clone());
        let moved = self.token_claims.get(&uid).is_some_and(|before| token(before) != token(&claim));
        let mut changed = if moved { self.remove_from_token(&uid) } else { BTreeSet::new() };
        if claim.token.is_some() {
            changed.extend(self.claim_with_token(claim));
        } else {
            changed.extend(self.slots.claim(claim));
        }
        changed.extend(self.revoke());
        changed.remove(&*object_name);
        changed
    }

    /// Revokes the grants for which there is no room, and elects new originals for the tokens of the revoked claims.
    fn revoke(&mut self) -> BTreeSet<String> {
        let (revoked, mut changed) = self.slots.revoke();
        for uid in &revoked {
            let token =
                self.token_claims.get(uid).and_then(|claim| claim.token.as_ref()).map(|token| token.token.clone());
            if let Some(token) = token {
                changed.extend(self.elect_original(&token));
            }
        }
        if !revoked.is_empty() {
            changed.extend(self.slots.grant_free_slots());
        }
        changed
    }

    fn claim_with_token(&mut self, claim: Claim) -> BTreeSet<String> {
        let Some(token) = claim.token.as_ref().map(|token| token.token.clone()) else { return BTreeSet::new() };
        self.add_to_token(claim.clone());
        let is_original = self.original_of(&claim).is_some_and(|original| original.uid == claim.uid);
        let mut changed = if is_original { self.objects_with_token(&token) } else { BTreeSet::new() };
        changed.extend(if is_original || claim.accepted {
            self.slots.claim(claim)
        } else {
            // It may have had a claim of its own before it got this token.
            self.slots.withdraw(&claim.uid)
        });
        changed.extend(self.elect_original(&token));
        changed
    }

    /// Removes a claim whose `KeyPair` is gone or no longer valid. Returns the object names of the `KeyPair`s whose state changed.
    pub fn withdraw(&mut self, uid: &str) -> BTreeSet<String> {
        let mut changed = self.slots.withdraw(uid);
        changed.extend(self.remove_from_token(uid));
        changed
    }
}

/// Independent of the order of the hash tables.
impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("region", &self.region)
            .field("slots", &self.slots)
            .field("token_claims", &self.token_claims.iter().collect::<BTreeMap<_, _>>())
            .field("originals", &self.originals.iter().collect::<BTreeMap<_, _>>())
            .field("by_token", &self.by_token)
            .field("accepted_by_token", &self.accepted_by_token)
            .finish()
    }
}

#[cfg(test)]
mod tests;
