//! The claims that hold a slot of the quota and a key pair name, and those that wait for one of the two.

mod transitions;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use super::{Claim, ClaimState, Seniority};

/// The position of a claim in the queue: its seniority and UID.
pub(super) type QueuePosition = (Seniority, Arc<str>);

/// The progress of a claim. From [`Self::Granted`] on it has its slot and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It waits for a slot or its name.
    Waiting,
    /// No write of its acceptance is in progress, so the grant can be revoked.
    Granted,
    /// Its acceptance may be in the middle of a write.
    Writing,
    /// Its status says that it is accepted.
    Accepted,
}

/// A claim in compact form: most claims are never read again.
#[derive(Debug, Clone)]
struct Entry {
    created: i64,
    object_name: Arc<str>,
    /// Usually the same text as `object_name`, and then the same allocation.
    key_pair_name: Arc<str>,
    has_token: bool,
    progress: Progress,
}

impl Entry {
    fn queue_position(&self, uid: &str) -> QueuePosition {
        (self.seniority(), uid.into())
    }

    fn seniority(&self) -> Seniority {
        Seniority { created: self.created, object_name: Arc::clone(&self.object_name) }
    }

    fn is_granted(&self) -> bool {
        self.progress != Progress::Waiting
    }
}

/// Slots and key pair names, and the claims that hold them or wait for them.
#[derive(Clone)]
pub(super) struct Slots {
    quota: usize,
    /// By UID.
    entries: HashMap<Arc<str>, Entry>,
    granted: usize,
    /// How many granted claims hold each key pair name; more than one only if the objects are older than this rule.
    key_pair_name_holders: HashMap<Arc<str>, u32>,
    /// The waiting claims by key pair name. One set for all names: one set for each name takes ten times the memory.
    waiting: BTreeSet<(Arc<str>, QueuePosition)>,
    /// For each free key pair name, the oldest claim that waits for it. These claims only lack a slot.
    heads: BTreeSet<QueuePosition>,
    /// The granted claims that can still be revoked.
    revocable: BTreeSet<QueuePosition>,
    /// The claims whose acceptance may be in the middle of a write.
    writing: BTreeSet<QueuePosition>,
    /// The key pair names that got a second holder since the last [`Self::revoke`].
    contested: BTreeSet<Arc<str>>,
}

impl Slots {
    /// Slots without claims.
    pub(super) fn new(quota: usize) -> Self {
        Self {
            quota,
            entries: HashMap::new(),
            granted: 0,
            key_pair_name_holders: HashMap::new(),
            waiting: BTreeSet::new(),
            heads: BTreeSet::new(),
            revocable: BTreeSet::new(),
            writing: BTreeSet::new(),
            contested: BTreeSet::new(),
        }
    }

    /// Slots with these claims. Grants no free slot.
    ///
    /// The grants of `previous`, which this replaces, last as long as there is room.
    pub(super) fn load(quota: usize, claims: impl IntoIterator<Item = Claim>, previous: Option<&Self>) -> Self {
        let mut slots = Self::new(quota);
        for claim in claims {
            let before = previous.and_then(|previous| previous.progress_before_acceptance(&claim));
            let progress = if claim.accepted { Progress::Accepted } else { before.unwrap_or(Progress::Waiting) };
            slots.insert(claim, progress);
        }
        slots
    }

    /// The progress of this claim up to its acceptance: an accepted claim is [`Progress::Granted`].
    fn progress_before_acceptance(&self, claim: &Claim) -> Option<Progress> {
        let entry = self.entries.get(&claim.uid).filter(|entry| entry.key_pair_name == claim.key_pair_name)?;
        Some(if entry.progress == Progress::Accepted { Progress::Granted } else { entry.progress })
    }

    /// The state of the claim of the `KeyPair` with this UID.
    pub(super) fn claim_state(&self, uid: &str) -> ClaimState {
        match self.entries.get(uid) {
            None => ClaimState::Unknown,
            Some(entry) if entry.progress == Progress::Writing && self.is_over_quota(&entry.queue_position(uid)) => {
                ClaimState::NoSlot
            }
            Some(entry) if entry.is_granted() => ClaimState::Granted,
            Some(entry) if self.heads.contains(&entry.queue_position(uid)) => ClaimState::NoSlot,
            Some(_) => ClaimState::NameTaken,
        }
    }

    /// Whether this claim has a slot, even if only until the outcome of a write is known.
    pub(super) fn has_slot(&self, uid: &str) -> bool {
        self.entries.get(uid).is_some_and(Entry::is_granted)
    }

    /// Whether this claim is over the quota while its acceptance may be in the middle of a write. It keeps its slot and name
    /// until the outcome is known, but must not be accepted if it is not accepted yet.
    fn is_over_quota(&self, position: &QueuePosition) -> bool {
        let too_many = self.granted.saturating_sub(self.quota);
        self.writing.iter().rev().take(too_many).any(|other| other == position)
    }

    /// The state that the claim would have if it were added now.
    pub(super) fn preview(&self, claim: &Claim) -> ClaimState {
        let key_pair_name = &claim.key_pair_name;
        let own = self.entries.get(&claim.uid);
        match own {
            Some(own) if own.key_pair_name == *key_pair_name => return self.claim_state(&claim.uid),
            _ => {}
        }
        let position = queue_position(claim);
        let is_overtaken = self.oldest_waiting(key_pair_name).is_some_and(|first| first < position);
        if is_overtaken || self.key_pair_name_holders.contains_key(key_pair_name) {
            return ClaimState::NameTaken;
        }
        // With another name the claim returns its slot.
        let taken = self.granted - usize::from(own.is_some_and(Entry::is_granted));
        let is_first = self.heads.iter().find(|(_, uid)| *uid != claim.uid).is_none_or(|head| position < *head);
        if taken < self.quota && is_first { ClaimState::Granted } else { ClaimState::NoSlot }
    }

    /// The number of granted claims.
    pub(super) fn granted_count(&self) -> usize {
        self.granted
    }

    /// The object names of the `KeyPair`s that only lack a slot.
    pub(super) fn objects_lacking_a_slot(&self) -> impl Iterator<Item = String> {
        self.heads.iter().map(|(seniority, _)| seniority.object_name.to_string())
    }

    /// The claim with this UID, without its client token.
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

    /// Adds or updates a claim. Returns the object names of the other `KeyPair`s whose state changed.
    pub(super) fn claim(&mut self, claim: Claim) -> BTreeSet<String> {
        let uid = claim.uid.clone();
        let object_name = claim.seniority.object_name.clone();
        let mut changed = match self.entries.get_mut(&uid) {
            // The UID determines the position, and a grant lasts.
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
            Some(_) => self.remove(&uid),
            None => BTreeSet::new(),
        };
        let progress = if claim.accepted { Progress::Accepted } else { Progress::Waiting };
        changed.extend(self.insert(claim, progress));
        changed.extend(self.grant_free_slots());
        changed.remove(&*object_name);
        changed
    }

    /// Removes a claim whose `KeyPair` is gone or no longer valid. Returns the object names of the `KeyPair`s whose state changed.
    pub(super) fn withdraw(&mut self, uid: &str) -> BTreeSet<String> {
        let mut changed = self.remove(uid);
        changed.extend(self.grant_free_slots());
        changed
    }

    /// Sets how many claims may be granted.
    pub(super) fn set_quota(&mut self, quota: usize) -> BTreeSet<String> {
        self.quota = quota;
        self.grant_free_slots()
    }

    /// Notes that the acceptance of this claim is about to be written, so that the grant is not revoked. Returns whether the
    /// claim is granted.
    pub(super) fn begin_writing(&mut self, uid: &str) -> bool {
        if self.claim_state(uid) != ClaimState::Granted {
            return false;
        }
        if self.entries.get(uid).is_some_and(|entry| entry.progress == Progress::Granted) {
            self.advance(uid, Progress::Writing);
        }
        true
    }

    /// Notes that the write of the acceptance of this claim has ended.
    pub(super) fn end_writing(&mut self, uid: &str) {
        if self.entries.get(uid).is_some_and(|entry| entry.progress == Progress::Writing) {
            self.advance(uid, Progress::Granted);
        }
    }

    pub(super) fn has_granted(&self, claim: &Claim) -> bool {
        self.progress_before_acceptance(claim).is_some_and(|progress| progress != Progress::Waiting)
    }
}

/// Independent of the order of the hash tables.
impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("quota", &self.quota)
            .field("entries", &self.entries.iter().collect::<BTreeMap<_, _>>())
            .field("granted", &self.granted)
            .field("key_pair_name_holders", &self.key_pair_name_holders.iter().collect::<BTreeMap<_, _>>())
            .field("waiting", &self.waiting)
            .field("heads", &self.heads)
            .field("revocable", &self.revocable)
            .field("writing", &self.writing)
            .field("contested", &self.contested)
            .finish()
    }
}

/// The first position for `key`.
pub(super) fn first_for<'a>(
    positions: &'a BTreeSet<(Arc<str>, QueuePosition)>,
    key: &Arc<str>,
) -> Option<&'a QueuePosition> {
    all_for(positions, key).next()
}

/// The positions for `key`, in order.
pub(super) fn all_for<'a>(
    positions: &'a BTreeSet<(Arc<str>, QueuePosition)>,
    key: &Arc<str>,
) -> impl Iterator<Item = &'a QueuePosition> {
    let least = (Seniority { created: i64::MIN, object_name: Arc::default() }, Arc::default());
    let key = Arc::clone(key);
    positions
        .range((Arc::clone(&key), least)..)
        .take_while(move |(other, _)| *other == key)
        .map(|(_, position)| position)
}

pub(super) fn queue_position(claim: &Claim) -> QueuePosition {
    (claim.seniority.clone(), claim.uid.clone())
}
