//! How claims get slots and names, and lose them.

use std::{collections::BTreeSet, sync::Arc};

use super::{Claim, Entry, Progress, QueuePosition, Slots, first_for, queue_position};

impl Slots {
    /// Revokes grants, the youngest first, after the quota was lowered or another pair was accepted with the same name. Returns the
    /// UIDs of these claims, and the object names of all `KeyPair`s whose state changed.
    pub(in crate::domain::ledger) fn revoke(&mut self) -> (Vec<Arc<str>>, BTreeSet<String>) {
        let (mut revoked, mut changed) = (Vec::new(), BTreeSet::new());
        for key_pair_name in std::mem::take(&mut self.contested) {
            let holders: Vec<QueuePosition> = self
                .revocable
                .iter()
                .rev()
                .filter(|position| self.has_key_pair_name(position, &key_pair_name))
                .cloned()
                .collect();
            for position in holders {
                if self.key_pair_name_holders.get(&key_pair_name).is_some_and(|holders| *holders > 1) {
                    changed.extend(self.revoke_claim(&position));
                    revoked.push(position.1);
                }
            }
        }
        while self.granted > self.quota
            && let Some(position) = self.revocable.last().cloned()
        {
            changed.extend(self.revoke_claim(&position));
            revoked.push(position.1);
        }
        (revoked, changed)
    }

    pub(super) fn has_key_pair_name(&self, (_, uid): &QueuePosition, key_pair_name: &Arc<str>) -> bool {
        self.entries.get(uid).is_some_and(|entry| entry.key_pair_name == *key_pair_name)
    }

    /// Makes a granted claim wait again.
    pub(super) fn revoke_claim(&mut self, position: &QueuePosition) -> BTreeSet<String> {
        let Some(claim) = self.get(&position.1) else { return BTreeSet::new() };
        let has_token = self.entries.get(&position.1).is_some_and(|entry| entry.has_token);
        let mut changed = self.remove(&position.1);
        changed.extend(self.insert(claim, Progress::Waiting));
        if let Some(entry) = self.entries.get_mut(&position.1) {
            entry.has_token = has_token;
        }
        changed.insert(position.0.object_name.to_string());
        changed
    }

    /// Sets the progress of a granted claim.
    pub(super) fn advance(&mut self, uid: &str, progress: Progress) {
        let Some(entry) = self.entries.get_mut(uid).filter(|entry| entry.progress != progress) else { return };
        entry.progress = progress;
        let position = entry.queue_position(uid);
        self.revocable.remove(&position);
        self.writing.remove(&position);
        self.track_granted(position, progress);
    }

    pub(super) fn track_granted(&mut self, position: QueuePosition, progress: Progress) {
        match progress {
            Progress::Granted => drop(self.revocable.insert(position)),
            Progress::Writing => drop(self.writing.insert(position)),
            Progress::Waiting | Progress::Accepted => {}
        }
    }

    pub(super) fn insert(&mut self, claim: Claim, progress: Progress) -> BTreeSet<String> {
        let object_name = Arc::clone(&claim.seniority.object_name);
        let key_pair_name = if object_name == claim.key_pair_name {
            Arc::clone(&object_name)
        } else {
            Arc::clone(&claim.key_pair_name)
        };
        let mut changed = BTreeSet::new();
        if progress == Progress::Waiting {
            let overtaken = self.oldest_waiting(&key_pair_name);
            self.waiting.insert((Arc::clone(&key_pair_name), queue_position(&claim)));
            changed.extend(self.update_heads(&key_pair_name, overtaken));
        } else {
            changed.extend(self.add_holder(&key_pair_name));
            self.track_granted(queue_position(&claim), progress);
        }
        let has_token = claim.token.is_some();
        let entry = Entry { created: claim.seniority.created, object_name, key_pair_name, has_token, progress };
        self.entries.insert(claim.uid, entry);
        changed
    }

    pub(super) fn remove(&mut self, uid: &str) -> BTreeSet<String> {
        let Some(entry) = self.entries.remove(uid) else {
            return BTreeSet::new();
        };
        let key_pair_name = &entry.key_pair_name;
        let before = self.oldest_waiting(key_pair_name);
        let position = entry.queue_position(uid);
        if entry.is_granted() {
            self.granted -= 1;
            self.revocable.remove(&position);
            self.writing.remove(&position);
            if let Some(holders) = self.key_pair_name_holders.get_mut(key_pair_name) {
                *holders -= 1;
                if *holders == 0 {
                    self.key_pair_name_holders.remove(key_pair_name);
                }
            }
        } else {
            self.heads.remove(&position);
            self.waiting.remove(&(Arc::clone(key_pair_name), position));
        }
        self.update_heads(key_pair_name, before)
    }

    /// Gives a slot and the name to one more claim.
    pub(super) fn add_holder(&mut self, key_pair_name: &Arc<str>) -> BTreeSet<String> {
        self.granted += 1;
        let holders = self.key_pair_name_holders.entry(Arc::clone(key_pair_name)).or_default();
        *holders += 1;
        if *holders > 1 {
            self.contested.insert(Arc::clone(key_pair_name));
        }
        // The claim that only lacked a slot now lacks the key pair name.
        let overtaken = self.oldest_waiting(key_pair_name);
        self.update_heads(key_pair_name, overtaken)
    }

    /// The oldest claim that waits for `key_pair_name`.
    pub(super) fn oldest_waiting(&self, key_pair_name: &Arc<str>) -> Option<QueuePosition> {
        first_for(&self.waiting, key_pair_name).cloned()
    }

    /// Updates `heads` for `key_pair_name`, whose oldest waiting claim was `before`.
    pub(super) fn update_heads(&mut self, key_pair_name: &Arc<str>, before: Option<QueuePosition>) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        let after = if self.key_pair_name_holders.contains_key(key_pair_name) {
            None
        } else {
            self.oldest_waiting(key_pair_name)
        };
        if let Some(before) = before
            && after.as_ref() != Some(&before)
            && self.heads.remove(&before)
        {
            changed.insert(before.0.object_name.to_string());
        }
        if let Some(after) = after
            && self.heads.insert(after.clone())
        {
            changed.insert(after.0.object_name.to_string());
        }
        changed
    }

    /// Grants free slots, the oldest claim first.
    pub(in crate::domain::ledger) fn grant_free_slots(&mut self) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        while self.granted < self.quota
            && let Some(position) = self.heads.pop_first()
        {
            let Some(entry) = self.entries.get_mut(&position.1) else { continue };
            entry.progress = Progress::Granted;
            self.revocable.insert(position.clone());
            let waiting = (Arc::clone(&entry.key_pair_name), position);
            self.waiting.remove(&waiting);
            let (key_pair_name, (seniority, _)) = waiting;
            changed.extend(self.add_holder(&key_pair_name));
            changed.insert(seniority.object_name.to_string());
        }
        changed
    }
}
