//! The index of one namespace: who holds a slot of the quota, who holds a name, and whose request a client token stands for.
//!
//! A [`Ledger`] is updated from watch events and answers from memory; no answer scans the namespace, each update costs a few
//! look-ups in trees and hash tables. It grants slots and names by itself, the oldest claim first, as soon as they are free,
//! and says whose standing changed, so that those can be reconciled without an edit. What it granted stays granted until
//! the claim is withdrawn: an accepted pair is never evicted, whatever the quota becomes. What it answers never depends on the
//! order of a hash table: the same events give the same answers, in the same order.
//!
//! Of the claims that share a client token, one is the request: one that has been granted already, or else the oldest. Only
//! that one asks for a slot and a name; the others are told whose replay they are.

mod slots;

use std::{
    collections::{BTreeSet, HashMap},
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
        if !self.is_same_request(original) {
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
#[derive(Debug)]
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
            slots: Slots::new(region.quota),
            region,
            tokened: HashMap::new(),
            originals: HashMap::new(),
            sharers: BTreeSet::new(),
            accepted: BTreeSet::new(),
        }
    }

    /// A ledger of claims that are all known at once: nothing is granted before the last of them is in.
    ///
    /// `previous` is the ledger that this one replaces, of the same region or of what that was before: what it granted and may be written just now stays granted.
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
        ledger.slots = Slots::load(ledger.region.quota, asking, previous.map(|previous| &previous.slots));
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
        let is_settled = original.accepted || self.slots.standing(&original.uid) == Standing::Granted;
        !is_settled && place(claim) < place(original)
    }

    /// The names of the `KeyPair`s that stand otherwise here than in `previous`.
    #[must_use]
    pub fn changed_since(&self, previous: Option<&Self>) -> BTreeSet<String> {
        let tokened = self.tokened.values().map(|claim| (&*claim.uid, &*claim.seniority.name));
        self.slots
            .without_token()
            .chain(tokened)
            .filter(|(uid, _)| {
                let before = previous.map_or(Standing::Unknown, |previous| previous.standing(uid));
                before != self.standing(uid)
            })
            .map(|(_, name)| name.to_owned())
            .collect()
    }

    /// The number of granted claims.
    #[must_use]
    pub fn granted(&self) -> usize {
        self.slots.granted()
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
        changed.remove(&*name);
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
        if is_there && self.slots.standing(original) == Standing::Granted {
            return BTreeSet::new();
        }
        // Whoever is granted and not the request has been accepted.
        let first = first_of(&self.accepted, token).or_else(|| first_of(&self.sharers, token));
        let Some((_, wanted)) = first.filter(|(_, uid)| uid != original) else { return BTreeSet::new() };
        let wanted = Arc::clone(wanted);
        let before = std::mem::replace(original, Arc::clone(&wanted));
        let mut changed = self.names_of_sharers(token);
        if self.slots.standing(&before) != Standing::Granted {
            // It is not the request any more, and so gives back what it waited for.
            changed.extend(self.slots.withdraw(&before));
        }
        if let Some(claim) = self.tokened.get(&wanted).cloned() {
            changed.extend(self.slots.claim(claim));
        }
        changed
    }
}

#[cfg(test)]
mod tests;
