//! What is promised of `KeyPair`s: identifiers, slots, names, and the keys that their statuses give out.

use std::sync::Arc;

use serde_json::Value;

use super::{Life, Seen};
use crate::{
    oracle::facts::{accepted, effective_name, fingerprint, is_import, is_operator, is_replay, ready, uid},
    server::Change,
};

impl Seen {
    pub(super) fn key_pair(&mut self, change: &Change) {
        let place = (change.namespace.clone(), change.name.clone());
        let Some(after) = change.after.clone() else {
            self.key_pairs.remove(&place);
            if let Some(life) = change.before.as_deref().and_then(|before| self.lives.get_mut(uid(before))) {
                life.is_there = false;
            }
            return;
        };
        self.key_pairs.insert(place.clone(), Arc::clone(&after));
        let after = &*after;
        let life = self.lives.entry(uid(after).to_owned()).or_default();
        let id = accepted(after).map(str::to_owned);
        if life.id.is_none() {
            life.born(&place, after);
        }
        life.regenerates = after.pointer("/spec/secret/onLoss").is_some_and(|on_loss| on_loss == "Regenerate");
        life.has_regenerated |= life.regenerates;
        let is_untouched = !life.is_touched;
        let before = life.id.clone();
        let given =
            fingerprint(after).filter(|_| !is_replay(after) && id.is_some() && !is_import(after)).map(Arc::from);
        let given_before = life.given.clone();
        let may_change = life.is_touched && life.regenerates;
        if life.id.is_none() {
            life.id.clone_from(&id);
        }
        if given.is_some() {
            life.given.clone_from(&given);
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
            // What it has it keeps, whatever the quota becomes.
            (Some(_), Some(_)) if matches!(ready(after).1, "QuotaExceeded" | "KeyPairNameConflict") => {
                self.violated(&format!("{place}: an accepted pair is told {}", ready(after).1));
            }
            (None, Some(_)) => self.accepted(change, after),
            _ => {}
        }
        if let (Some(before), Some(now)) = (given_before, given)
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
        self.no_key(change);
    }

    /// A pair has been accepted: there is room for it, and nobody else has its name.
    fn accepted(&mut self, change: &Change, after: &Value) {
        if self.is_restored {
            return;
        }
        let there: Vec<&Life> = self
            .lives
            .values()
            .filter(|life| life.is_there && life.id.is_some() && life.place.0 == change.namespace)
            .collect();
        let (count, quota) = (there.len(), self.quota(&change.namespace, &change.user));
        let same = there.iter().filter(|life| life.key_pair_name == effective_name(after)).count();
        if count > quota && !self.is_late {
            self.violated(&format!("{}: {count} accepted pairs, the quota is {quota}", change.namespace));
        }
        if same > 1 && !self.is_late {
            self.violated(&format!(
                "{}: {same} accepted pairs of the name {}",
                change.namespace,
                effective_name(after)
            ));
        }
    }
}
