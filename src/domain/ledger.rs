//! The index of one namespace: who holds a slot of the quota and who holds a name.
//!
//! A [`Ledger`] is updated from watch events and answers from memory; no answer scans the namespace, each update costs a few
//! look-ups in trees and hash tables. It grants slots and names by itself, the oldest claim first, as soon as they are free,
//! and says whose standing changed, so that those can be reconciled without an edit. What it granted stays granted until
//! the claim is withdrawn: an accepted pair is never evicted, whatever the quota becomes.

use std::collections::{BTreeSet, HashMap, HashSet};

/// Who comes first: the older `KeyPair`, and of two created in the same second the one whose name sorts first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seniority {
    /// `metadata.creationTimestamp`, in seconds since 1970.
    pub created: i64,
    /// `metadata.name`.
    pub name: String,
}

/// What one `KeyPair` with a valid request asks of its namespace: a slot and a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// `metadata.uid`.
    pub uid: String,
    /// Its place in the queue.
    pub seniority: Seniority,
    /// The effective key pair name.
    pub key_pair_name: String,
    /// Whether the status says that the pair has been accepted.
    pub accepted: bool,
}

/// How a claim stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The ledger does not know the claim.
    Unknown,
    /// It has its slot and its name.
    Granted,
    /// Another pair has the name, or an older claim is before it.
    NameTaken,
    /// The name is free, but no slot.
    NoSlot,
}

type Place = (Seniority, String);

#[derive(Debug)]
struct Entry {
    claim: Claim,
    granted: bool,
}

/// The claims of one namespace.
#[derive(Debug)]
pub struct Ledger {
    quota: usize,
    entries: HashMap<String, Entry>,
    granted: usize,
    /// How many granted claims hold each name; more than one only where objects are older than this rule.
    held_names: HashMap<String, usize>,
    /// The claims that wait, by name.
    waiting: HashMap<String, BTreeSet<Place>>,
    /// Of every name that is free, the oldest claim that waits for it: what only a slot is missing to.
    next: BTreeSet<Place>,
}

impl Ledger {
    /// A ledger without claims.
    #[must_use]
    pub fn new(quota: usize) -> Self {
        Self {
            quota,
            entries: HashMap::new(),
            granted: 0,
            held_names: HashMap::new(),
            waiting: HashMap::new(),
            next: BTreeSet::new(),
        }
    }

    /// A ledger of claims that are all known at once: nothing is granted before the last of them is in.
    ///
    /// `previous` is the ledger that this one replaces: what it granted and may be written just now stays granted.
    #[must_use]
    pub fn load(quota: usize, claims: impl IntoIterator<Item = Claim>, previous: Option<&Self>) -> Self {
        let mut ledger = Self::new(quota);
        for mut claim in claims {
            claim.accepted |= previous.is_some_and(|previous| previous.has_granted(&claim));
            ledger.insert(claim);
        }
        ledger.grant_free_slots();
        ledger
    }

    /// How the claim of the `KeyPair` with this UID stands.
    #[must_use]
    pub fn standing(&self, uid: &str) -> Standing {
        match self.entries.get(uid) {
            None => Standing::Unknown,
            Some(entry) if entry.granted => Standing::Granted,
            Some(Entry { claim, .. }) if self.next.contains(&place(claim)) => Standing::NoSlot,
            Some(_) => Standing::NameTaken,
        }
    }

    /// The names of the `KeyPair`s that stand otherwise here than in `previous`.
    #[must_use]
    pub fn changed_since(&self, previous: Option<&Self>) -> HashSet<String> {
        self.entries
            .iter()
            .filter(|(uid, _)| {
                previous.map_or(Standing::Unknown, |previous| previous.standing(uid)) != self.standing(uid)
            })
            .map(|(_, entry)| entry.claim.seniority.name.clone())
            .collect()
    }

    /// The number of granted claims.
    #[must_use]
    pub fn granted(&self) -> usize {
        self.granted
    }

    /// The number of claims, granted or waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no claim.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes in a new claim, or one that changed. Returns the names of the other `KeyPair`s whose standing
    /// changed.
    pub fn claim(&mut self, claim: Claim) -> HashSet<String> {
        let uid = claim.uid.clone();
        let name = claim.seniority.name.clone();
        let mut changed = match self.entries.get(&uid) {
            // Nothing that matters here has changed: the UID fixes the place, and what is granted stays granted.
            Some(entry) if entry.claim.key_pair_name == claim.key_pair_name && (entry.granted || !claim.accepted) => {
                return HashSet::new();
            }
            Some(_) => self.take_out(&uid),
            None => HashSet::new(),
        };
        changed.extend(self.insert(claim));
        changed.extend(self.grant_free_slots());
        changed.remove(&name);
        changed
    }

    /// Withdraws a claim, because its `KeyPair` is gone or no longer valid. Returns the names of the
    /// `KeyPair`s whose standing changed.
    pub fn withdraw(&mut self, uid: &str) -> HashSet<String> {
        let mut changed = self.take_out(uid);
        changed.extend(self.grant_free_slots());
        changed
    }

    /// Changes the quota. Returns the names of the `KeyPair`s whose standing changed.
    pub fn set_quota(&mut self, quota: usize) -> HashSet<String> {
        self.quota = quota;
        self.grant_free_slots()
    }

    fn has_granted(&self, claim: &Claim) -> bool {
        self.entries
            .get(&claim.uid)
            .is_some_and(|entry| entry.granted && entry.claim.key_pair_name == claim.key_pair_name)
    }

    fn insert(&mut self, claim: Claim) -> HashSet<String> {
        let granted = claim.accepted;
        let name = claim.key_pair_name.clone();
        let mut changed = HashSet::new();
        if granted {
            changed.extend(self.hold(&name));
        } else {
            let overtaken = self.head(&name);
            self.waiting.entry(name.clone()).or_default().insert(place(&claim));
            changed.extend(self.line_up(&name, overtaken));
        }
        self.entries.insert(claim.uid.clone(), Entry { claim, granted });
        changed
    }

    fn take_out(&mut self, uid: &str) -> HashSet<String> {
        let Some(Entry { claim, granted }) = self.entries.remove(uid) else {
            return HashSet::new();
        };
        let name = &claim.key_pair_name;
        let before = self.head(name);
        if granted {
            self.granted -= 1;
            if let Some(holders) = self.held_names.get_mut(name) {
                *holders -= 1;
                if *holders == 0 {
                    self.held_names.remove(name);
                }
            }
        } else if let Some(queue) = self.waiting.get_mut(name) {
            queue.remove(&place(&claim));
            if queue.is_empty() {
                self.waiting.remove(name);
            }
            self.next.remove(&place(&claim));
        }
        self.line_up(name, before)
    }

    /// Gives a slot and the name to one more claim.
    fn hold(&mut self, name: &str) -> HashSet<String> {
        self.granted += 1;
        *self.held_names.entry(name.to_owned()).or_default() += 1;
        // Whoever was next for the name now waits for the name itself.
        let overtaken = self.head(name);
        self.line_up(name, overtaken)
    }

    /// The oldest claim that waits for `name`.
    fn head(&self, name: &str) -> Option<Place> {
        self.waiting.get(name).and_then(BTreeSet::first).cloned()
    }

    /// Makes `next` say the truth about `name`, whose oldest waiting claim was `before`.
    fn line_up(&mut self, name: &str, before: Option<Place>) -> HashSet<String> {
        let mut changed = HashSet::new();
        let after = if self.held_names.contains_key(name) { None } else { self.head(name) };
        if let Some(before) = before
            && after.as_ref() != Some(&before)
            && self.next.remove(&before)
        {
            changed.insert(before.0.name);
        }
        if let Some(after) = after
            && self.next.insert(after.clone())
        {
            changed.insert(after.0.name);
        }
        changed
    }

    fn grant_free_slots(&mut self) -> HashSet<String> {
        let mut changed = HashSet::new();
        while self.granted < self.quota
            && let Some((seniority, uid)) = self.next.pop_first()
        {
            let Some(entry) = self.entries.get_mut(&uid) else { continue };
            entry.granted = true;
            let name = entry.claim.key_pair_name.clone();
            if let Some(queue) = self.waiting.get_mut(&name) {
                queue.remove(&(seniority.clone(), uid));
                if queue.is_empty() {
                    self.waiting.remove(&name);
                }
            }
            changed.extend(self.hold(&name));
            changed.insert(seniority.name);
        }
        changed
    }
}

fn place(claim: &Claim) -> Place {
    (claim.seniority.clone(), claim.uid.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(uid: u32, key_pair_name: &str) -> Claim {
        Claim {
            uid: format!("uid-{uid}"),
            seniority: Seniority { created: i64::from(uid), name: format!("kp-{uid}") },
            key_pair_name: key_pair_name.to_owned(),
            accepted: false,
        }
    }

    fn names(uids: &[u32]) -> HashSet<String> {
        uids.iter().map(|uid| format!("kp-{uid}")).collect()
    }

    #[test]
    fn slots_go_to_the_oldest_and_are_handed_on() {
        let claims = (1..=4).rev().map(|uid| claim(uid, &format!("name-{uid}")));
        let mut ledger = Ledger::load(2, claims, None);
        assert_eq!(
            (1..=4).map(|uid| ledger.standing(&format!("uid-{uid}"))).collect::<Vec<_>>(),
            [Standing::Granted, Standing::Granted, Standing::NoSlot, Standing::NoSlot]
        );
        assert_eq!(ledger.withdraw("uid-1"), names(&[3]));
        assert_eq!(ledger.standing("uid-3"), Standing::Granted);
        assert_eq!(ledger.set_quota(1), names(&[]));
        assert_eq!(ledger.granted(), 2, "an accepted pair is never evicted");
    }

    #[test]
    fn names_go_to_the_oldest_and_are_handed_on() {
        let mut ledger = Ledger::new(9);
        assert_eq!(ledger.claim(claim(2, "web")), names(&[]));
        assert_eq!(ledger.claim(claim(1, "web")), names(&[]), "a granted name is kept even from an older claim");
        assert_eq!(ledger.claim(claim(3, "web")), names(&[]));
        assert_eq!(ledger.standing("uid-1"), Standing::NameTaken);
        assert_eq!(ledger.withdraw("uid-2"), names(&[1]));
        assert_eq!(ledger.standing("uid-3"), Standing::NameTaken);
        // The holder takes another name: the next in line gets the old one.
        assert_eq!(ledger.claim(claim(1, "db")), names(&[3]));
        assert_eq!(ledger.standing("uid-3"), Standing::Granted);
    }

    #[test]
    fn a_claim_without_a_name_takes_no_slot() {
        let mut ledger = Ledger::load(2, [claim(1, "web"), claim(2, "web"), claim(3, "db"), claim(4, "ci")], None);
        assert_eq!(ledger.standing("uid-2"), Standing::NameTaken);
        assert_eq!(ledger.standing("uid-3"), Standing::Granted);
        assert_eq!(ledger.standing("uid-4"), Standing::NoSlot);
        // The name is free now, and with it a slot, for which uid-2 is older than uid-4.
        assert_eq!(ledger.withdraw("uid-1"), names(&[2]));
    }

    #[test]
    fn a_reload_keeps_what_is_granted_but_not_yet_written() {
        let ledger = Ledger::load(1, [claim(2, "web")], None);
        let reloaded = Ledger::load(1, [claim(1, "db"), claim(2, "web")], Some(&ledger));
        assert_eq!(reloaded.standing("uid-2"), Standing::Granted);
        assert_eq!(reloaded.standing("uid-1"), Standing::NoSlot);
    }

    /// The rule in its plainest form, scanning everything: what the index must agree with.
    fn expected(quota: usize, claims: &HashMap<String, (Claim, bool)>) -> HashMap<String, Standing> {
        let held: HashSet<&str> =
            claims.values().filter(|(_, granted)| *granted).map(|(claim, _)| claim.key_pair_name.as_str()).collect();
        let full = claims.values().filter(|(_, granted)| *granted).count() >= quota;
        claims
            .iter()
            .map(|(uid, (claim, granted))| {
                let first = claims
                    .values()
                    .filter(|(other, granted)| !granted && other.key_pair_name == claim.key_pair_name)
                    .map(|(other, _)| place(other))
                    .min();
                let standing = if *granted {
                    Standing::Granted
                } else if held.contains(claim.key_pair_name.as_str()) || first != Some(place(claim)) {
                    Standing::NameTaken
                } else {
                    assert!(full, "a free slot and a free name, and nobody has them");
                    Standing::NoSlot
                };
                (uid.clone(), standing)
            })
            .collect()
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_rule(
            quota in 0_usize..5,
            steps in prop::collection::vec((0_u32..12, 0_u8..4, 0_u8..6), 1..80),
        ) {
            let mut ledger = Ledger::new(quota);
            let mut quota = quota;
            let mut model: HashMap<String, (Claim, bool)> = HashMap::new();
            for (uid, name, action) in steps {
                let before: HashMap<String, Standing> =
                    model.keys().map(|uid| (uid.clone(), ledger.standing(uid))).collect();
                let key = format!("uid-{uid}");
                let changed = match action {
                    0 => {
                        model.remove(&key);
                        ledger.withdraw(&key)
                    }
                    1 => {
                        quota = usize::from(name);
                        ledger.set_quota(quota)
                    }
                    _ => {
                        let claim = claim(uid, &format!("name-{name}"));
                        model.insert(key.clone(), (claim.clone(), false));
                        ledger.claim(claim)
                    }
                };
                // What is granted is the ledger's decision; everything else must follow from it.
                for (uid, (_, granted)) in &mut model {
                    let now = ledger.standing(uid) == Standing::Granted;
                    let renamed = action > 1 && *uid == key;
                    prop_assert!(now || renamed || before.get(uid) != Some(&Standing::Granted), "{uid} was evicted");
                    *granted = now;
                }
                let granted = model.values().filter(|(_, granted)| *granted).count();
                prop_assert_eq!(granted, ledger.granted());
                let was = before.values().filter(|standing| **standing == Standing::Granted).count();
                prop_assert!(granted <= quota.max(was), "{granted} granted of {quota}");
                let names: HashSet<&str> = model
                    .values()
                    .filter(|(_, granted)| *granted)
                    .map(|(claim, _)| claim.key_pair_name.as_str())
                    .collect();
                prop_assert_eq!(names.len(), granted, "two pairs of one name");
                let now = expected(quota, &model);
                for (uid, standing) in &now {
                    prop_assert_eq!(ledger.standing(uid), *standing, "{}", uid);
                    let name = &model[uid].0.seniority.name;
                    if *uid != key && before.get(uid) != Some(standing) {
                        prop_assert!(changed.contains(name), "{uid} is not told of its new standing");
                    }
                }
            }
        }
    }
}
