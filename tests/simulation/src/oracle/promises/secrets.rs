//! What is promised of Secrets: foreign ones are not touched, and no key is lost or doubled.

use std::sync::Arc;

use serde_json::Value;

use super::{Life, Place, Seen};
use crate::{
    oracle::facts::{annotation, is_operator, keys_in, owner, owners, secret_tails, uid},
    server::Change,
};

impl Seen {
    pub(super) fn secret(&mut self, change: &Change) {
        let place = (change.namespace.clone(), change.name.clone());
        let before = change.before.clone();
        self.secret_tails.extend(change.after.as_deref().into_iter().flat_map(secret_tails));
        match &change.after {
            Some(after) => self.secrets.insert(place.clone(), Arc::clone(after)),
            None => self.secrets.remove(&place),
        };
        if is_operator(&change.user) {
            self.written(&place, before.as_deref(), change);
        } else if let Some(before) = before.as_deref() {
            let touched: Vec<&str> = owner(before).into_iter().chain(owners(before)).collect();
            for uid in touched {
                if let Some(life) = self.lives.get_mut(uid) {
                    life.is_touched = true;
                }
            }
        }
    }

    /// The operator has written a Secret.
    fn written(&mut self, place: &Place, before: Option<&Value>, change: &Change) {
        let at = format!("{}/{}", place.0, place.1);
        let after = change.after.as_deref();
        if let Some(before) = before {
            let is_known = |uid: &str| self.lives.contains_key(uid);
            let ours = owner(before).is_some_and(is_known) || owners(before).any(is_known);
            let is_offered = annotation(before, "keypairs.dev/adopt").is_some();
            if !ours && !is_offered && !self.is_restored {
                self.violated(&format!("{at}: a foreign Secret was changed"));
            }
            let changes_hands = after.and_then(owner).zip(owner(before)).is_some_and(|(now, before)| now != before);
            if changes_hands && !is_offered {
                self.violated(&format!("{at}: a Secret was taken from another KeyPair"));
            }
        }
        match (before, after) {
            (None, Some(after)) => self.created(&at, after),
            (Some(before), None) if !self.made.contains(uid(before)) && !self.is_restored => {
                self.violated(&format!("{at}: a Secret that somebody else had made was deleted"));
            }
            _ => {}
        }
        let now = after.map(keys_in).unwrap_or_default();
        for key in before.map(keys_in).unwrap_or_default() {
            let elsewhere =
                || self.secrets.iter().any(|(other, secret)| other.0 == place.0 && keys_in(secret).contains(&key));
            let of = |life: &&Life| life.is_there && life.place.0 == place.0 && life.given.as_ref() == Some(&key);
            if !now.contains(&key) && self.lives.values().any(|life| of(&life) && !life.is_touched) && !elsewhere() {
                self.violated(&format!("{at}: the last copy of a private key that a status gives out was removed"));
            }
        }
        if let Some(after) = after.filter(|after| self.is_mutated && is_mutated(after)) {
            let of = annotation(after, "keypairs.dev/keypair").map(|name| (place.0.clone(), name.to_owned()));
            let uid = of.and_then(|of| self.key_pairs.get(&of)).map(|key_pair| uid(key_pair).to_owned());
            if let Some(life) = uid.and_then(|uid| self.lives.get_mut(&uid)) {
                life.is_touched = true;
            }
        }
        let Some(uid) = after.and_then(owner) else { return };
        let excused = self.is_late || self.is_restored;
        let Some(life) = self.lives.get_mut(uid) else { return };
        life.keys.extend(now);
        if life.keys.len() > 1 && !life.is_touched && !excused {
            let name = life.place.1.clone();
            self.violated(&format!("{at}: a second key for {name}"));
        }
    }
}

impl Seen {
    /// The operator has made a Secret: where a key is not to be generated anew, it is the one that the status gives out.
    fn created(&mut self, at: &str, secret: &Value) {
        self.made.insert(uid(secret).to_owned());
        let Some(life) = owner(secret).and_then(|uid| self.lives.get(uid)) else { return };
        let keys = keys_in(secret);
        let is_another = life.given.as_ref().is_some_and(|given| !keys.contains(given));
        // Somebody may have put another key into the Secret that is being copied.
        let namespace = &life.place.0;
        let is_copy = || {
            let others = self.secrets.iter().filter(|((of, _), other)| of == namespace && uid(other) != uid(secret));
            others.flat_map(|(_, other)| keys_in(other)).any(|key| keys.contains(&key))
        };
        if is_another && !is_copy() && !life.has_regenerated && !self.is_restored {
            let name = life.place.1.clone();
            self.violated(&format!("{at}: another key for {name}, unasked"));
        }
    }
}

/// Whether something that the operator puts on each Secret is not there: with `Retain` there need not be an owner.
fn is_mutated(secret: &Value) -> bool {
    let manager = secret.pointer("/metadata/labels").and_then(|labels| labels.get("app.kubernetes.io/managed-by"));
    manager.is_none_or(|manager| manager != "keypair-operator")
        || owner(secret).is_none()
        || owners(secret).count() == 0
}
