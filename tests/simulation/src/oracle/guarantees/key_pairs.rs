//! The guarantees for `KeyPair`s: identifiers, slots, names, and the keys in their statuses.

use std::sync::Arc;

use serde_json::Value;

use super::{Checker, KeyPairRecord};
use crate::{
    oracle::facts::{accepted, effective_name, fingerprint, is_import, is_operator, is_replay, ready, uid},
    server::Change,
};

impl Checker {
    pub(super) fn key_pair(&mut self, change: &Change) {
        let place = (change.namespace.clone(), change.name.clone());
        let Some(after) = change.after.clone() else {
            self.key_pairs.remove(&place);
            if let Some(record) = change.before.as_deref().and_then(|before| self.records.get_mut(uid(before))) {
                record.exists = false;
            }
            return;
        };
        self.key_pairs.insert(place.clone(), Arc::clone(&after));
        let after = &*after;
        let record = self.records.entry(uid(after).to_owned()).or_default();
        let id = accepted(after).map(str::to_owned);
        if record.id.is_none() {
            record.set_object(&place, after);
        }
        record.regenerates = after.pointer("/spec/secret/onLoss").is_some_and(|on_loss| on_loss == "Regenerate");
        record.has_regenerated |= record.regenerates;
        record.rotation.see(change.before.as_deref(), after, change.clock);
        let is_untouched = !record.is_modified_by_others;
        let before = record.id.clone();
        let key_now =
            fingerprint(after).filter(|_| !is_replay(after) && id.is_some() && !is_import(after)).map(Arc::from);
        let key_before = record.published_key.clone();
        let is_switched = key_now.as_deref().is_some_and(|key_now| record.rotation.is_switched_to(key_now));
        let may_change =
            is_switched || record.is_modified_by_others && (record.regenerates || record.rotation.is_configured);
        if record.id.is_none() {
            record.id.clone_from(&id);
        }
        if key_now.is_some() {
            record.published_key.clone_from(&key_now);
        }
        let place = format!("{}/{}", place.0, place.1);
        match (&before, &id) {
            (Some(before), Some(id)) if before != id => {
                self.violated(&format!("{place}: keyPairID was {before} and is {id}"));
            }
            (Some(_), None) => {
                let reason = ready(after).1;
                self.violated(&format!("{place}: an accepted pair is not accepted any more ({reason})"));
            }
            // An accepted KeyPair keeps its slot and name when the quota changes.
            (Some(_), Some(_)) if matches!(ready(after).1, "QuotaExceeded" | "KeyPairNameConflict") => {
                self.violated(&format!("{place}: an accepted pair is told {}", ready(after).1));
            }
            (None, Some(_)) => self.check_acceptance(change, after),
            _ => {}
        }
        if let (Some(before), Some(now)) = (key_before, key_now)
            && before != now
            && !may_change
            && !self.is_restored
        {
            self.violated(&format!("{place}: the status gave out the key {before}, and now {now}"));
        }
        if is_operator(&change.user)
            && ready(after).1 == "PrivateKeyLost"
            && id.is_some()
            && is_untouched
            && !self.is_restored
        {
            self.violated(&format!("{place}: its key is told to be lost, and nobody has touched its Secrets"));
        }
        self.check_no_private_key(change);
    }

    /// A key pair is accepted only if the quota has room for it and no other accepted one has its name.
    fn check_acceptance(&mut self, change: &Change, after: &Value) {
        if self.is_restored {
            return;
        }
        let there: Vec<&KeyPairRecord> = self
            .records
            .values()
            .filter(|record| record.exists && record.id.is_some() && record.place.0 == change.namespace)
            .collect();
        let (count, quota) = (there.len(), self.largest_possible_quota(&change.namespace, &change.user));
        let same = there.iter().filter(|record| record.key_pair_name == effective_name(after)).count();
        if count > quota && !self.may_outlast_lease {
            self.violated(&format!("{}: {count} accepted pairs, the quota is {quota}", change.namespace));
        }
        if same > 1 && !self.may_outlast_lease {
            self.violated(&format!(
                "{}: {same} accepted pairs of the name {}",
                change.namespace,
                effective_name(after)
            ));
        }
    }
}
