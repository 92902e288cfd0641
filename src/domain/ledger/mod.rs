//! The index of one namespace: who holds a slot of the quota, who holds a name, and whose request a client token stands for.
//!
//! A [`Ledger`] is updated from watch events and answers from memory; no answer scans the namespace, each update costs a few
//! look-ups in trees and hash tables. It grants slots and names by itself, the oldest claim first, as soon as they are free,
//! and says whose standing changed, so that those can be reconciled without an edit. An accepted pair is never evicted, whatever
//! the quota becomes, and neither is one whose acceptance may be being written just now ([`Ledger::begin_writing`]): that write
//! may reach the API server late, and nobody else must have the slot or the name then. What was granted and nobody has been told
//! of stays granted as long as there is room. What the ledger answers never depends on the
//! order of a hash table: the same events give the same answers, in the same order.
//!
//! Of the claims that share a client token, one is the request: one that has been granted already, or else the oldest. Only
//! that one asks for a slot and a name; the others are told whose replay they are.

mod slots;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use self::slots::{Place, Slots, all_of, first_of, place};
use super::{region::Region, request::TokenUse};

/// Who comes first: the older `KeyPair`, and of two created in the same second the one whose name sorts first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seniority {
    /// `metadata.creationTimestamp`, in seconds since 1970.
    pub created: i64,
    /// `metadata.name`.
    pub name: Arc<str>,
}

/// What one `KeyPair` with a valid request asks of its namespace: a slot and a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// Its place in the queue.
    pub seniority: Seniority,
    /// The effective key pair name.
    pub key_pair_name: Arc<str>,
    /// Whether the status says that the pair has been accepted, as a pair of its own and not as a replay.
    pub accepted: bool,
    /// Its client token, if it has one, and what else is compared when another has the same.
    pub token: Option<TokenUse>,
}

impl Claim {
    /// How it stands beside the request for which its token stands.
    fn beside(&self, original: &Self) -> Standing {
        let name = original.seniority.name.to_string();
        if original.token.as_ref().is_some_and(|token| !token.is_known()) {
            // Until it can be read by whoever comes next, nobody can say whether they ask for the same.
            Standing::ReplayOfPending(name)
        } else if !self.is_same_request(original) {
            Standing::TokenReused(name)
        } else if original.accepted {
            Standing::Replay(name)
        } else {
            Standing::ReplayOfPending(name)
        }
    }

    /// Whether the two, which have the same client token, ask for the same.
    fn is_same_request(&self, other: &Self) -> bool {
        // Where neither gives a name, the names are those of the two objects and no part of the request.
        let named = |claim: &Self| claim.token.as_ref().is_some_and(|token| token.is_named);
        let same_name = self.key_pair_name == other.key_pair_name || (!named(self) && !named(other));
        let digest = |claim: &Self| claim.token.as_ref().map(|token| token.digest);
        same_name && digest(self) == digest(other)
    }
}

/// How a claim stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The ledger does not know the claim.
    Unknown,
    /// It has its slot and its name.
    Granted,
    /// Another pair has the name, or an older claim is before it.
    NameTaken,
    /// The name is free, but no slot.
    NoSlot,
    /// It repeats the request of the `KeyPair` of this name, which has been accepted.
    Replay(String),
    /// It repeats the request of the `KeyPair` of this name, which has not been accepted yet.
    ReplayOfPending(String),
    /// It has the client token of the `KeyPair` of this name and asks for something else.
    TokenReused(String),
}

/// The claims of one namespace.
#[derive(Clone)]
pub struct Ledger {
    region: Region,
    slots: Slots,
    /// The claims with a client token, by UID.
    tokened: HashMap<Arc<str>, Claim>,
    /// The UID of the claim that is the request for which each client token stands.
    originals: HashMap<Arc<str>, Arc<str>>,
    /// The claims by their client token. One set for all tokens: a set of its own for each takes ten times the room.
    sharers: BTreeSet<(Arc<str>, Place)>,
    /// Those of them that are accepted as pairs of their own.
    accepted: BTreeSet<(Arc<str>, Place)>,
}

impl Ledger {
    /// A ledger without claims.
    #[must_use]
    pub fn new(region: Region) -> Self {
        Self {
            slots: Slots::new(region.limit()),
            region,
            tokened: HashMap::new(),
            originals: HashMap::new(),
            sharers: BTreeSet::new(),
            accepted: BTreeSet::new(),
        }
    }

    /// A ledger of claims that are all known at once: nothing is granted before the last of them is in.
    ///
    /// `previous` is the ledger that this one replaces, of the same region or of what that was before: what it granted stays
    /// granted as long as there is room, and what may be being written just now stays granted in any case.
    #[must_use]
    pub fn load(region: Region, claims: impl IntoIterator<Item = Claim>, previous: Option<&Self>) -> Self {
        let mut ledger = Self::new(region);
        let mut asking = Vec::new();
        for claim in claims {
            if claim.token.is_some() {
                ledger.share(claim);
            } else {
                asking.push(claim);
            }
        }
        let granted =
            |claim: &Claim| claim.accepted || previous.is_some_and(|previous| previous.slots.has_granted(claim));
        for (token, original) in &mut ledger.originals {
            let claims = all_of(&ledger.sharers, token).filter_map(|(_, uid)| ledger.tokened.get(uid));
            // A pair that has been accepted is the request, whatever was granted in a history that is no more.
            let is_settled = first_of(&ledger.accepted, token).is_some();
            let mut holders =
                claims.filter(|claim| if is_settled { claim.accepted } else { granted(claim) }).peekable();
            if let Some(first) = holders.peek() {
                original.clone_from(&first.uid);
                asking.extend(holders.cloned());
            } else if let Some((_, first)) = first_of(&ledger.sharers, token) {
                original.clone_from(first);
                asking.extend(ledger.tokened.get(first).cloned());
            }
        }
        ledger.slots = Slots::load(ledger.region.limit(), asking, previous.map(|previous| &previous.slots));
        ledger.revoke();
        ledger.slots.grant_free_slots();
        ledger
    }

    /// What the namespace is.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// How the claim of the `KeyPair` with this UID stands.
    #[must_use]
    pub fn standing(&self, uid: &str) -> Standing {
        let standing = self.slots.standing(uid);
        if standing != Standing::Unknown {
            return standing;
        }
        let Some((claim, original)) = self.tokened.get(uid).and_then(|claim| Some((claim, self.original_of(claim)?)))
        else {
            return Standing::Unknown;
        };
        claim.beside(original)
    }

    /// How the claim would stand if it were taken in now. Changes nothing; what else happens until then is not known.
    #[must_use]
    pub fn foresee(&self, claim: &Claim) -> Standing {
        if claim.accepted {
            return Standing::Granted;
        }
        match self.original_of(claim) {
            Some(original) if original.uid != claim.uid && !self.would_be_original(claim, original) => {
                claim.beside(original)
            }
            _ => self.slots.foresee(claim),
        }
    }

    /// Whether `claim` would be the request for which its token stands, in the place of `original`.
    fn would_be_original(&self, claim: &Claim, original: &Claim) -> bool {
        let is_settled = original.accepted || self.slots.has_slot(&original.uid);
        !is_settled && place(claim) < place(original)
    }

    /// The number of granted claims.
    #[must_use]
    pub fn granted(&self) -> usize {
        self.slots.granted()
    }

    /// The claim of the `KeyPair` with this UID, as the ledger has it.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<Claim> {
        self.tokened.get(uid).cloned().or_else(|| self.slots.get(uid))
    }

    /// Notes that the acceptance of the `KeyPair` with this UID is being written. Whether it may be: whoever has lost what was
    /// granted must not be told so any more.
    #[must_use]
    pub fn begin_writing(&mut self, uid: &str) -> bool {
        self.slots.begin_writing(uid)
    }

    /// Notes that no write of an acceptance of the `KeyPair` with this UID can reach the API server any more. Returns the names of
    /// the `KeyPair`s whose standing changed.
    pub fn end_writing(&mut self, uid: &str) -> BTreeSet<String> {
        self.slots.end_writing(uid);
        self.revoke()
    }

    /// Says what the namespace is now, which differs in its quota only, so that every claim stays what it is. Returns the names of
    /// the `KeyPair`s whose standing changed, or the reason for it.
    pub fn set_quota(&mut self, region: Region) -> BTreeSet<String> {
        let before = std::mem::replace(&mut self.region, region);
        let mut changed = self.slots.set_quota(self.region.limit());
        changed.extend(self.revoke());
        if before.quota.is_none() != self.region.quota.is_none() {
            changed.extend(self.slots.without_slot());
        }
        changed
    }

    /// Takes in a new claim, or one that changed. Returns the names of the other `KeyPair`s whose standing changed, or that
    /// repeat this request and have to follow it.
    pub fn claim(&mut self, claim: Claim) -> BTreeSet<String> {
        let (uid, name) = (claim.uid.clone(), claim.seniority.name.clone());
        let token = |claim: &Claim| claim.token.as_ref().map(|token| token.token.clone());
        let moved = self.tokened.get(&uid).is_some_and(|before| token(before) != token(&claim));
        let mut changed = if moved { self.leave(&uid) } else { BTreeSet::new() };
        if claim.token.is_some() {
            changed.extend(self.claim_with_token(claim));
        } else {
            changed.extend(self.slots.claim(claim));
        }
        changed.extend(self.revoke());
        changed.remove(&*name);
        changed
    }

    /// Takes back what must not be granted any more, and lets others be the request for which a token stands where that was one.
    fn revoke(&mut self) -> BTreeSet<String> {
        let (revoked, mut changed) = self.slots.revoke();
        for uid in &revoked {
            let token = self.tokened.get(uid).and_then(|claim| claim.token.as_ref()).map(|token| token.token.clone());
            if let Some(token) = token {
                changed.extend(self.elect(&token));
            }
        }
        if !revoked.is_empty() {
            changed.extend(self.slots.grant_free_slots());
        }
        changed
    }

    fn claim_with_token(&mut self, claim: Claim) -> BTreeSet<String> {
        let Some(token) = claim.token.as_ref().map(|token| token.token.clone()) else { return BTreeSet::new() };
        self.share(claim.clone());
        let is_original = self.original_of(&claim).is_some_and(|original| original.uid == claim.uid);
        let mut changed = if is_original { self.names_of_sharers(&token) } else { BTreeSet::new() };
        changed.extend(if is_original || claim.accepted {
            self.slots.claim(claim)
        } else {
            // It may have asked for itself before it took this token.
            self.slots.withdraw(&claim.uid)
        });
        changed.extend(self.elect(&token));
        changed
    }

    /// Withdraws a claim, because its `KeyPair` is gone or no longer valid. Returns the names of the
    /// `KeyPair`s whose standing changed.
    pub fn withdraw(&mut self, uid: &str) -> BTreeSet<String> {
        let mut changed = self.slots.withdraw(uid);
        changed.extend(self.leave(uid));
        changed
    }

    /// The claim that is the request for which the token of `claim` stands.
    fn original_of(&self, claim: &Claim) -> Option<&Claim> {
        self.tokened.get(self.originals.get(&claim.token.as_ref()?.token)?)
    }

    fn names_of_sharers(&self, token: &Arc<str>) -> BTreeSet<String> {
        all_of(&self.sharers, token).map(|(seniority, _)| seniority.name.to_string()).collect()
    }

    /// Notes who has the token of `claim`. The first that has it is the request, until another is said to be.
    fn share(&mut self, claim: Claim) {
        let Some(token) = claim.token.as_ref().map(|token| &token.token) else { return };
        self.originals.entry(Arc::clone(token)).or_insert_with(|| Arc::clone(&claim.uid));
        let sharer = (Arc::clone(token), place(&claim));
        if claim.accepted {
            self.accepted.insert(sharer.clone());
        } else {
            self.accepted.remove(&sharer);
        }
        self.sharers.insert(sharer);
        self.tokened.insert(Arc::clone(&claim.uid), claim);
    }

    /// Ends the part of a claim in its token.
    fn leave(&mut self, uid: &str) -> BTreeSet<String> {
        let Some(claim) = self.tokened.remove(uid) else { return BTreeSet::new() };
        let Some(token) = claim.token.as_ref().map(|token| &token.token) else { return BTreeSet::new() };
        let sharer = (Arc::clone(token), place(&claim));
        self.sharers.remove(&sharer);
        self.accepted.remove(&sharer);
        if first_of(&self.sharers, token).is_none() {
            self.originals.remove(token);
        }
        self.elect(token)
    }

    /// Makes that one of the claims with this token the request which has been granted, or else the oldest.
    fn elect(&mut self, token: &Arc<str>) -> BTreeSet<String> {
        let Some(original) = self.originals.get_mut(token) else { return BTreeSet::new() };
        let is_there =
            self.tokened.get(original).is_some_and(|claim| self.sharers.contains(&(Arc::clone(token), place(claim))));
        if is_there && self.slots.has_slot(original) {
            return BTreeSet::new();
        }
        // Whoever is granted and not the request has been accepted.
        let first = first_of(&self.accepted, token).or_else(|| first_of(&self.sharers, token));
        let Some((_, wanted)) = first.filter(|(_, uid)| uid != original) else { return BTreeSet::new() };
        let wanted = Arc::clone(wanted);
        let before = std::mem::replace(original, Arc::clone(&wanted));
        let mut changed = self.names_of_sharers(token);
        if !self.slots.has_slot(&before) {
            // It is not the request any more, and so gives back what it waited for.
            changed.extend(self.slots.withdraw(&before));
        }
        if let Some(claim) = self.tokened.get(&wanted).cloned() {
            changed.extend(self.slots.claim(claim));
        }
        changed
    }
}

/// The same for the same claims, whatever the order in which its hash tables have them.
impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("region", &self.region)
            .field("slots", &self.slots)
            .field("tokened", &self.tokened.iter().collect::<BTreeMap<_, _>>())
            .field("originals", &self.originals.iter().collect::<BTreeMap<_, _>>())
            .field("sharers", &self.sharers)
            .field("accepted", &self.accepted)
            .finish()
    }
}

#[cfg(test)]
mod tests;
