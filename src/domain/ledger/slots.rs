//! Who holds a slot of the quota and who holds a name, and who waits for which of the two.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{Claim, Seniority, Standing};

/// Its seniority and the UID.
pub(super) type Place = (Seniority, Arc<str>);

/// A claim, in as little room as it can have: of most nobody asks anything any more.
#[derive(Debug)]
struct Entry {
    created: i64,
    name: Arc<str>,
    /// Mostly the same text as `name`, and then the same memory.
    key_pair_name: Arc<str>,
    has_token: bool,
    granted: bool,
}

impl Entry {
    fn place(&self, uid: &str) -> Place {
        (Seniority { created: self.created, name: Arc::clone(&self.name) }, uid.into())
    }
}

/// Slots and names, and the claims that hold them or wait for them.
#[derive(Debug)]
pub(super) struct Slots {
    quota: usize,
    /// By UID.
    entries: HashMap<Arc<str>, Entry>,
    granted: usize,
    /// How many granted claims hold each name; more than one only where objects are older than this rule.
    held_names: HashMap<Arc<str>, u32>,
    /// The claims that wait, by name. One set for all names: a set of its own for each takes ten times the room.
    waiting: BTreeSet<(Arc<str>, Place)>,
    /// Of every name that is free, the oldest claim that waits for it: what only a slot is missing to.
    next: BTreeSet<Place>,
}

impl Slots {
    /// Slots without claims.
    pub(super) fn new(quota: usize) -> Self {
        Self {
            quota,
            entries: HashMap::new(),
            granted: 0,
            held_names: HashMap::new(),
            waiting: BTreeSet::new(),
            next: BTreeSet::new(),
        }
    }

    /// Claims that are all known at once: nothing is granted before the last of them is in.
    ///
    /// `previous` is what this replaces: what it granted and may be written just now stays granted. But where a pair is accepted that
    /// it had not granted, the statuses are of another history, in which that was never so: then only what is left stays granted.
    pub(super) fn load(quota: usize, mut claims: Vec<Claim>, previous: Option<&Self>) -> Self {
        let mut slots = Self::new(quota);
        let had_granted = |claim: &Claim| previous.is_some_and(|previous| previous.has_granted(claim));
        let is_put_back = previous.is_some() && claims.iter().any(|claim| claim.accepted && !had_granted(claim));
        claims.sort_by_key(|claim| !claim.accepted);
        for mut claim in claims {
            let is_left = slots.granted < quota && !slots.held_names.contains_key(&claim.key_pair_name);
            claim.accepted |= had_granted(&claim) && (is_left || !is_put_back);
            slots.insert(claim);
        }
        slots.grant_free_slots();
        slots
    }

    /// How the claim of the `KeyPair` with this UID stands.
    pub(super) fn standing(&self, uid: &str) -> Standing {
        match self.entries.get(uid) {
            None => Standing::Unknown,
            Some(entry) if entry.granted => Standing::Granted,
            Some(entry) if self.next.contains(&entry.place(uid)) => Standing::NoSlot,
            Some(_) => Standing::NameTaken,
        }
    }

    /// How the claim would stand if it were taken in now.
    pub(super) fn foresee(&self, claim: &Claim) -> Standing {
        let name = &claim.key_pair_name;
        let own = self.entries.get(&claim.uid);
        match own {
            Some(own) if own.key_pair_name == *name => return self.standing(&claim.uid),
            _ => {}
        }
        let place = place(claim);
        let is_overtaken = self.head(name).is_some_and(|first| first < place);
        if is_overtaken || self.held_names.contains_key(name) {
            return Standing::NameTaken;
        }
        // With another name it gives back the slot that it has.
        let taken = self.granted - usize::from(own.is_some_and(|own| own.granted));
        let is_next = self.next.iter().find(|(_, uid)| *uid != claim.uid).is_none_or(|next| place < *next);
        if taken < self.quota && is_next { Standing::Granted } else { Standing::NoSlot }
    }

    /// The number of granted claims.
    pub(super) fn granted(&self) -> usize {
        self.granted
    }

    /// The UIDs of the claims without a client token, granted or waiting, with the names of their `KeyPair`s.
    pub(super) fn without_token(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.entries.iter().filter(|(_, entry)| !entry.has_token);
        entries.map(|(uid, entry)| (&**uid, &*entry.name))
    }

    /// Takes in a new claim, or one that changed. Returns the names of the other `KeyPair`s whose standing
    /// changed.
    pub(super) fn claim(&mut self, claim: Claim) -> BTreeSet<String> {
        let uid = claim.uid.clone();
        let name = claim.seniority.name.clone();
        let mut changed = match self.entries.get_mut(&uid) {
            // Nothing that matters here has changed: the UID fixes the place, and what is granted stays granted.
            Some(entry) if entry.key_pair_name == claim.key_pair_name && (entry.granted || !claim.accepted) => {
                entry.has_token = claim.token.is_some();
                return BTreeSet::new();
            }
            Some(_) => self.take_out(&uid),
            None => BTreeSet::new(),
        };
        changed.extend(self.insert(claim));
        changed.extend(self.grant_free_slots());
        changed.remove(&*name);
        changed
    }

    /// Withdraws a claim, because its `KeyPair` is gone or no longer valid. Returns the names of the
    /// `KeyPair`s whose standing changed.
    pub(super) fn withdraw(&mut self, uid: &str) -> BTreeSet<String> {
        let mut changed = self.take_out(uid);
        changed.extend(self.grant_free_slots());
        changed
    }

    pub(super) fn has_granted(&self, claim: &Claim) -> bool {
        self.entries.get(&claim.uid).is_some_and(|entry| entry.granted && entry.key_pair_name == claim.key_pair_name)
    }

    fn insert(&mut self, claim: Claim) -> BTreeSet<String> {
        let granted = claim.accepted;
        let name = Arc::clone(&claim.seniority.name);
        let key_pair_name =
            if name == claim.key_pair_name { Arc::clone(&name) } else { Arc::clone(&claim.key_pair_name) };
        let mut changed = BTreeSet::new();
        if granted {
            changed.extend(self.hold(&key_pair_name));
        } else {
            let overtaken = self.head(&key_pair_name);
            self.waiting.insert((Arc::clone(&key_pair_name), place(&claim)));
            changed.extend(self.line_up(&key_pair_name, overtaken));
        }
        let has_token = claim.token.is_some();
        let entry = Entry { created: claim.seniority.created, name, key_pair_name, has_token, granted };
        self.entries.insert(claim.uid, entry);
        changed
    }

    fn take_out(&mut self, uid: &str) -> BTreeSet<String> {
        let Some(entry) = self.entries.remove(uid) else {
            return BTreeSet::new();
        };
        let name = &entry.key_pair_name;
        let before = self.head(name);
        if entry.granted {
            self.granted -= 1;
            if let Some(holders) = self.held_names.get_mut(name) {
                *holders -= 1;
                if *holders == 0 {
                    self.held_names.remove(name);
                }
            }
        } else {
            let waiting = (Arc::clone(&entry.key_pair_name), entry.place(uid));
            self.waiting.remove(&waiting);
            self.next.remove(&waiting.1);
        }
        self.line_up(name, before)
    }

    /// Gives a slot and the name to one more claim.
    fn hold(&mut self, name: &Arc<str>) -> BTreeSet<String> {
        self.granted += 1;
        *self.held_names.entry(Arc::clone(name)).or_default() += 1;
        // Whoever was next for the name now waits for the name itself.
        let overtaken = self.head(name);
        self.line_up(name, overtaken)
    }

    /// The oldest claim that waits for `name`.
    fn head(&self, name: &Arc<str>) -> Option<Place> {
        first_of(&self.waiting, name).cloned()
    }

    /// Makes `next` say the truth about `name`, whose oldest waiting claim was `before`.
    fn line_up(&mut self, name: &Arc<str>, before: Option<Place>) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        let after = if self.held_names.contains_key(name) { None } else { self.head(name) };
        if let Some(before) = before
            && after.as_ref() != Some(&before)
            && self.next.remove(&before)
        {
            changed.insert(before.0.name.to_string());
        }
        if let Some(after) = after
            && self.next.insert(after.clone())
        {
            changed.insert(after.0.name.to_string());
        }
        changed
    }

    fn grant_free_slots(&mut self) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        while self.granted < self.quota
            && let Some((seniority, uid)) = self.next.pop_first()
        {
            let Some(entry) = self.entries.get_mut(&uid) else { continue };
            entry.granted = true;
            let waiting = (Arc::clone(&entry.key_pair_name), (seniority, uid));
            self.waiting.remove(&waiting);
            let (name, (seniority, _)) = waiting;
            changed.extend(self.hold(&name));
            changed.insert(seniority.name.to_string());
        }
        changed
    }
}

/// The first place in the part of `places` that is about `key`.
pub(super) fn first_of<'a>(places: &'a BTreeSet<(Arc<str>, Place)>, key: &Arc<str>) -> Option<&'a Place> {
    all_of(places, key).next()
}

/// The places in the part of `places` that is about `key`, in their order.
pub(super) fn all_of<'a>(places: &'a BTreeSet<(Arc<str>, Place)>, key: &Arc<str>) -> impl Iterator<Item = &'a Place> {
    let least = (Seniority { created: i64::MIN, name: Arc::default() }, Arc::default());
    let key = Arc::clone(key);
    places.range((Arc::clone(&key), least)..).take_while(move |(of, _)| *of == key).map(|(_, place)| place)
}

pub(super) fn place(claim: &Claim) -> Place {
    (claim.seniority.clone(), claim.uid.clone())
}
