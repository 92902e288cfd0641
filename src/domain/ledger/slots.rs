//! Who holds a slot of the quota and who holds a name, and who waits for which of the two.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use super::{Claim, Seniority, Standing};

/// Its seniority and the UID.
pub(super) type Place = (Seniority, Arc<str>);

/// How far a claim has got. From [`Self::Granted`] on it has its slot and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It waits for its slot or its name.
    Waiting,
    /// Nobody has been told yet, so both can be taken back.
    Granted,
    /// That it is accepted may be being written just now.
    Writing,
    /// Its status says that it is accepted.
    Accepted,
}

/// A claim, in as little room as it can have: of most nobody asks anything any more.
#[derive(Debug, Clone)]
struct Entry {
    created: i64,
    name: Arc<str>,
    /// Mostly the same text as `name`, and then the same memory.
    key_pair_name: Arc<str>,
    has_token: bool,
    progress: Progress,
}

impl Entry {
    fn place(&self, uid: &str) -> Place {
        (self.seniority(), uid.into())
    }

    fn seniority(&self) -> Seniority {
        Seniority { created: self.created, name: Arc::clone(&self.name) }
    }

    fn is_granted(&self) -> bool {
        self.progress != Progress::Waiting
    }
}

/// Slots and names, and the claims that hold them or wait for them.
#[derive(Clone)]
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
    /// The granted claims that can still be taken back.
    revocable: BTreeSet<Place>,
    /// Those that may be being accepted just now.
    writing: BTreeSet<Place>,
    /// Names that got a second holder since this was last looked at.
    doubled: BTreeSet<Arc<str>>,
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
            revocable: BTreeSet::new(),
            writing: BTreeSet::new(),
            doubled: BTreeSet::new(),
        }
    }

    /// Claims that are all known at once: nothing is granted before the last of them is in.
    ///
    /// `previous` is what this replaces: what it granted stays granted, as long as there is room.
    pub(super) fn load(quota: usize, claims: impl IntoIterator<Item = Claim>, previous: Option<&Self>) -> Self {
        let mut slots = Self::new(quota);
        for claim in claims {
            let before = previous.and_then(|previous| previous.progress(&claim));
            let progress = if claim.accepted { Progress::Accepted } else { before.unwrap_or(Progress::Waiting) };
            slots.insert(claim, progress);
        }
        slots
    }

    /// How far this claim has got, where it is not said to be accepted.
    fn progress(&self, claim: &Claim) -> Option<Progress> {
        let entry = self.entries.get(&claim.uid).filter(|entry| entry.key_pair_name == claim.key_pair_name)?;
        Some(if entry.progress == Progress::Accepted { Progress::Granted } else { entry.progress })
    }

    /// How the claim of the `KeyPair` with this UID stands.
    pub(super) fn standing(&self, uid: &str) -> Standing {
        match self.entries.get(uid) {
            None => Standing::Unknown,
            Some(entry) if entry.progress == Progress::Writing && self.is_too_many(&entry.place(uid)) => {
                Standing::NoSlot
            }
            Some(entry) if entry.is_granted() => Standing::Granted,
            Some(entry) if self.next.contains(&entry.place(uid)) => Standing::NoSlot,
            Some(_) => Standing::NameTaken,
        }
    }

    /// Whether this claim has a slot, even if that is only until it is known whether it was accepted.
    pub(super) fn has_slot(&self, uid: &str) -> bool {
        self.entries.get(uid).is_some_and(Entry::is_granted)
    }

    /// Whether this claim, which may be being accepted just now, would be taken back if it were not. It holds what it has until it is
    /// known what became of it, but must not be accepted if it has not been.
    fn is_too_many(&self, place: &Place) -> bool {
        let too_many = self.granted.saturating_sub(self.quota);
        self.writing.iter().rev().take(too_many).any(|other| other == place)
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
        let taken = self.granted - usize::from(own.is_some_and(Entry::is_granted));
        let is_next = self.next.iter().find(|(_, uid)| *uid != claim.uid).is_none_or(|next| place < *next);
        if taken < self.quota && is_next { Standing::Granted } else { Standing::NoSlot }
    }

    /// The number of granted claims.
    pub(super) fn granted(&self) -> usize {
        self.granted
    }

    /// The names of the `KeyPair`s that only a slot is missing to.
    pub(super) fn without_slot(&self) -> impl Iterator<Item = String> {
        self.next.iter().map(|(seniority, _)| seniority.name.to_string())
    }

    /// The claim with this UID, its client token aside.
    pub(super) fn get(&self, uid: &str) -> Option<Claim> {
        let (uid, entry) = self.entries.get_key_value(uid)?;
        Some(Claim {
            uid: Arc::clone(uid),
            seniority: entry.seniority(),
            key_pair_name: Arc::clone(&entry.key_pair_name),
            accepted: entry.progress == Progress::Accepted,
            token: None,
        })
    }

    /// Takes in a new claim, or one that changed. Returns the names of the other `KeyPair`s whose standing
    /// changed.
    pub(super) fn claim(&mut self, claim: Claim) -> BTreeSet<String> {
        let uid = claim.uid.clone();
        let name = claim.seniority.name.clone();
        let mut changed = match self.entries.get_mut(&uid) {
            // The UID fixes the place, and what is granted stays granted.
            Some(entry) if entry.key_pair_name == claim.key_pair_name && (entry.is_granted() || !claim.accepted) => {
                entry.has_token = claim.token.is_some();
                let progress = match entry.progress {
                    _ if claim.accepted => Progress::Accepted,
                    Progress::Accepted => Progress::Granted,
                    progress => progress,
                };
                self.advance(&uid, progress);
                return BTreeSet::new();
            }
            Some(_) => self.take_out(&uid),
            None => BTreeSet::new(),
        };
        let progress = if claim.accepted { Progress::Accepted } else { Progress::Waiting };
        changed.extend(self.insert(claim, progress));
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

    /// Sets how many claims may be granted.
    pub(super) fn set_quota(&mut self, quota: usize) -> BTreeSet<String> {
        self.quota = quota;
        self.grant_free_slots()
    }

    /// Notes that the acceptance of this claim is being written, so that nothing is taken back from it. Whether it is granted.
    pub(super) fn begin_writing(&mut self, uid: &str) -> bool {
        if self.standing(uid) != Standing::Granted {
            return false;
        }
        if self.entries.get(uid).is_some_and(|entry| entry.progress == Progress::Granted) {
            self.advance(uid, Progress::Writing);
        }
        true
    }

    /// Notes that no acceptance of this claim is being written any more.
    pub(super) fn end_writing(&mut self, uid: &str) {
        if self.entries.get(uid).is_some_and(|entry| entry.progress == Progress::Writing) {
            self.advance(uid, Progress::Granted);
        }
    }

    pub(super) fn has_granted(&self, claim: &Claim) -> bool {
        self.progress(claim).is_some_and(|progress| progress != Progress::Waiting)
    }

    /// Takes back what was granted and must not be any more, since the quota has become smaller or another has been accepted with
    /// the name: from the youngest first. Returns the UIDs of these claims, and the names of all `KeyPair`s whose standing changed.
    pub(super) fn revoke(&mut self) -> (Vec<Arc<str>>, BTreeSet<String>) {
        let (mut revoked, mut changed) = (Vec::new(), BTreeSet::new());
        for name in std::mem::take(&mut self.doubled) {
            let holders: Vec<Place> =
                self.revocable.iter().rev().filter(|place| self.holds(place, &name)).cloned().collect();
            for place in holders {
                if self.held_names.get(&name).is_some_and(|holders| *holders > 1) {
                    changed.extend(self.put_back(&place));
                    revoked.push(place.1);
                }
            }
        }
        while self.granted > self.quota
            && let Some(place) = self.revocable.last().cloned()
        {
            changed.extend(self.put_back(&place));
            revoked.push(place.1);
        }
        (revoked, changed)
    }

    fn holds(&self, (_, uid): &Place, name: &Arc<str>) -> bool {
        self.entries.get(uid).is_some_and(|entry| entry.key_pair_name == *name)
    }

    /// Lets a granted claim wait again.
    fn put_back(&mut self, place: &Place) -> BTreeSet<String> {
        let Some(claim) = self.get(&place.1) else { return BTreeSet::new() };
        let has_token = self.entries.get(&place.1).is_some_and(|entry| entry.has_token);
        let mut changed = self.take_out(&place.1);
        changed.extend(self.insert(claim, Progress::Waiting));
        if let Some(entry) = self.entries.get_mut(&place.1) {
            entry.has_token = has_token;
        }
        changed.insert(place.0.name.to_string());
        changed
    }

    /// Notes how far a granted claim has got.
    fn advance(&mut self, uid: &str, progress: Progress) {
        let Some(entry) = self.entries.get_mut(uid).filter(|entry| entry.progress != progress) else { return };
        entry.progress = progress;
        let place = entry.place(uid);
        self.revocable.remove(&place);
        self.writing.remove(&place);
        self.line_up_granted(place, progress);
    }

    fn line_up_granted(&mut self, place: Place, progress: Progress) {
        match progress {
            Progress::Granted => drop(self.revocable.insert(place)),
            Progress::Writing => drop(self.writing.insert(place)),
            Progress::Waiting | Progress::Accepted => {}
        }
    }

    fn insert(&mut self, claim: Claim, progress: Progress) -> BTreeSet<String> {
        let name = Arc::clone(&claim.seniority.name);
        let key_pair_name =
            if name == claim.key_pair_name { Arc::clone(&name) } else { Arc::clone(&claim.key_pair_name) };
        let mut changed = BTreeSet::new();
        if progress == Progress::Waiting {
            let overtaken = self.head(&key_pair_name);
            self.waiting.insert((Arc::clone(&key_pair_name), place(&claim)));
            changed.extend(self.line_up(&key_pair_name, overtaken));
        } else {
            changed.extend(self.hold(&key_pair_name));
            self.line_up_granted(place(&claim), progress);
        }
        let has_token = claim.token.is_some();
        let entry = Entry { created: claim.seniority.created, name, key_pair_name, has_token, progress };
        self.entries.insert(claim.uid, entry);
        changed
    }

    fn take_out(&mut self, uid: &str) -> BTreeSet<String> {
        let Some(entry) = self.entries.remove(uid) else {
            return BTreeSet::new();
        };
        let name = &entry.key_pair_name;
        let before = self.head(name);
        let place = entry.place(uid);
        if entry.is_granted() {
            self.granted -= 1;
            self.revocable.remove(&place);
            self.writing.remove(&place);
            if let Some(holders) = self.held_names.get_mut(name) {
                *holders -= 1;
                if *holders == 0 {
                    self.held_names.remove(name);
                }
            }
        } else {
            self.next.remove(&place);
            self.waiting.remove(&(Arc::clone(name), place));
        }
        self.line_up(name, before)
    }

    /// Gives a slot and the name to one more claim.
    fn hold(&mut self, name: &Arc<str>) -> BTreeSet<String> {
        self.granted += 1;
        let holders = self.held_names.entry(Arc::clone(name)).or_default();
        *holders += 1;
        if *holders > 1 {
            self.doubled.insert(Arc::clone(name));
        }
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

    /// Grants what can be granted, to the oldest claim first.
    pub(super) fn grant_free_slots(&mut self) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        while self.granted < self.quota
            && let Some(place) = self.next.pop_first()
        {
            let Some(entry) = self.entries.get_mut(&place.1) else { continue };
            entry.progress = Progress::Granted;
            self.revocable.insert(place.clone());
            let waiting = (Arc::clone(&entry.key_pair_name), place);
            self.waiting.remove(&waiting);
            let (name, (seniority, _)) = waiting;
            changed.extend(self.hold(&name));
            changed.insert(seniority.name.to_string());
        }
        changed
    }
}

/// The same for the same claims, whatever the order in which its hash tables have them.
impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("quota", &self.quota)
            .field("entries", &self.entries.iter().collect::<BTreeMap<_, _>>())
            .field("granted", &self.granted)
            .field("held_names", &self.held_names.iter().collect::<BTreeMap<_, _>>())
            .field("waiting", &self.waiting)
            .field("next", &self.next)
            .field("revocable", &self.revocable)
            .field("writing", &self.writing)
            .field("doubled", &self.doubled)
            .finish()
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
