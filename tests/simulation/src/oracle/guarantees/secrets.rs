//! The guarantees for Secrets: foreign ones are not modified, and no key is lost or generated twice.

use std::sync::Arc;

use serde_json::Value;

use super::{Checker, KeyPairRecord, NamespacedName};
use crate::{
    oracle::facts::{annotation, is_operator, keys_in, owner, owners, secret_tails, uid},
    server::Change,
};

impl Checker {
    pub(super) fn secret(&mut self, change: &Change) {
        let place = (change.namespace.clone(), change.name.clone());
        let before = change.before.clone();
        self.secret_tails.extend(change.after.as_deref().into_iter().flat_map(secret_tails));
        match &change.after {
            Some(after) => self.secrets.insert(place.clone(), Arc::clone(after)),
            None => self.secrets.remove(&place),
        };
        if is_operator(&change.user) {
            self.check_write(&place, before.as_deref(), change);
            return;
        }
        let keys = |secret: Option<&Value>| secret.map(keys_in).unwrap_or_default();
        let (keys_before, keys_after) = (keys(before.as_deref()), keys(change.after.as_deref()));
        self.user_keys.extend(keys_after.difference(&keys_before).cloned());
        if let Some(before) = before.as_deref() {
            let touched: Vec<&str> = owner(before).into_iter().chain(owners(before)).collect();
            for uid in touched {
                if let Some(record) = self.records.get_mut(uid) {
                    record.is_modified_by_others = true;
                }
            }
        }
    }

    /// Checks a write of the operator.
    fn check_write(&mut self, place: &NamespacedName, before: Option<&Value>, change: &Change) {
        let at = format!("{}/{}", place.0, place.1);
        let after = change.after.as_deref();
        if let Some(before) = before {
            let is_known = |uid: &str| self.records.contains_key(uid);
            let ours =
                owner(before).is_some_and(is_known) || owners(before).any(is_known) || self.published.owns(before);
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
            (None, Some(after)) => self.check_created(&at, after),
            (Some(before), None) if !self.created_secrets.contains(uid(before)) && !self.is_restored => {
                self.violated(&format!("{at}: a Secret that somebody else had made was deleted"));
            }
            _ => {}
        }
        let now = after.map(keys_in).unwrap_or_default();
        for key in before.map(keys_in).unwrap_or_default() {
            let elsewhere =
                || self.secrets.iter().any(|(other, secret)| other.0 == place.0 && keys_in(secret).contains(&key));
            let of = |record: &&KeyPairRecord| {
                record.exists && record.place.0 == place.0 && record.published_key.as_ref() == Some(&key)
            };
            if !now.contains(&key)
                && self.records.values().any(|record| of(&record) && !record.is_modified_by_others)
                && !elsewhere()
            {
                self.violated(&format!("{at}: the last copy of a private key that a status gives out was removed"));
            }
        }
        if let Some(after) = after.filter(|after| self.is_mutated && is_mutated(after)) {
            let of = annotation(after, "keypairs.dev/keypair").map(|name| (place.0.clone(), name.to_owned()));
            let uid = of.and_then(|of| self.key_pairs.get(&of)).map(|key_pair| uid(key_pair).to_owned());
            if let Some(record) = uid.and_then(|uid| self.records.get_mut(&uid)) {
                record.is_modified_by_others = true;
            }
        }
        self.check_rotation(&at, change);
        let Some(uid) = after.and_then(owner) else { return };
        let excused = self.may_outlast_lease || self.is_restored;
        let Some(record) = self.records.get_mut(uid) else { return };
        record.keys.extend(now);
        // A KeyPair that is not accepted yet adopts a key. Before, the operator had generated another one, which it never discards.
        let is_offered = before.and_then(|before| annotation(before, "keypairs.dev/adopt")).is_some();
        if is_offered && record.published_key.is_none() && record.keys.len() > 1 {
            record.is_modified_by_others = true;
        }
        let may_have_several = record.is_modified_by_others || record.rotation.is_configured;
        if record.keys.len() > 1 && !may_have_several && !excused {
            let name = record.place.1.clone();
            self.violated(&format!("{at}: a second key for {name}"));
        }
    }
}

impl Checker {
    /// Checks a Secret that the operator created: unless the key may be regenerated, it is the one in the status.
    fn check_created(&mut self, at: &str, secret: &Value) {
        self.created_secrets.insert(uid(secret).to_owned());
        let Some(record) = owner(secret).and_then(|uid| self.records.get(uid)) else { return };
        let keys = keys_in(secret);
        let is_another = record.published_key.as_ref().is_some_and(|key_now| !keys.contains(key_now));
        // A user may have put another key into the Secret that the operator copies, and replaced it since.
        let namespace = &record.place.0;
        let is_copy = || {
            let others = self.secrets.iter().filter(|((of, _), other)| of == namespace && uid(other) != uid(secret));
            others.flat_map(|(_, other)| keys_in(other)).any(|key| keys.contains(&key))
                || keys.iter().any(|key| self.user_keys.contains(key))
        };
        if is_another && !is_copy() && !record.has_regenerated && !self.is_restored {
            let name = record.place.1.clone();
            self.violated(&format!("{at}: another key for {name}, unasked"));
        }
    }
}

/// Whether a Secret lacks metadata that the operator sets. With `Retain`, a missing owner reference is normal, but counts here, too.
fn is_mutated(secret: &Value) -> bool {
    let manager = secret.pointer("/metadata/labels").and_then(|labels| labels.get("app.kubernetes.io/managed-by"));
    manager.is_none_or(|manager| manager != "keypair-operator")
        || owner(secret).is_none()
        || owners(secret).count() == 0
}
