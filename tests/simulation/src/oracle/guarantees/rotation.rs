//! The guarantees of a rotation: a key becomes current only after it was published long enough, and the previous key is kept for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Checker, MAX_DELAY, MAX_DELAY_WITH_FAULTS};
use crate::{
    history::is_scheduled,
    oracle::facts::{annotation, current_key, keys_in, keys_of_status, owner, rotation, text},
    server::Change,
};

/// What is known about the rotation of one `KeyPair`.
#[derive(Debug, Default, Clone)]
pub struct RotationRecord {
    /// Whether `spec.rotation` was ever set.
    pub(super) is_configured: bool,
    /// Whether a rotation was ever requested: by the annotation, a schedule, or another `spec.generate`.
    is_requested: bool,
    /// The shortest `publishBefore` so far.
    publish_before: Option<SignedDuration>,
    /// The shortest `keepAfter` so far.
    keep_after: Option<SignedDuration>,
    /// The gates that the spec has had since the next key was published, and that have not been True in that time.
    closed_gates: BTreeSet<String>,
    /// When a status first showed each next key.
    published: BTreeMap<Arc<str>, Timestamp>,
    /// When each previous key was replaced, and by which key.
    replaced: BTreeMap<Arc<str>, (Timestamp, Arc<str>)>,
}

impl RotationRecord {
    /// Whether the Secret was switched to this key.
    pub(super) fn is_switched_to(&self, key: &str) -> bool {
        self.replaced.values().any(|(_, by)| &**by == key)
    }

    /// Records a change of the `KeyPair`.
    pub(super) fn see(&mut self, before: Option<&Value>, after: &Value, clock: Timestamp) {
        let rotation = rotation(after);
        self.is_configured |= rotation.is_some();
        let kind = |of: &Value| of.pointer("/spec/generate").cloned();
        self.is_requested |= annotation(after, "keypairs.dev/rotate").is_some()
            || is_scheduled(after)
            || before.is_some_and(|before| kind(before) != kind(after));
        let duration = |field: &str| {
            let text = rotation.and_then(|rotation| rotation.get(field)).and_then(Value::as_str);
            text.unwrap_or("24h").parse::<SignedDuration>().ok()
        };
        let shortest = |so_far: Option<SignedDuration>, field| so_far.into_iter().chain(duration(field)).min();
        self.publish_before = shortest(self.publish_before, "publishBefore");
        self.keep_after = shortest(self.keep_after, "keepAfter");
        let gates = after.pointer("/spec/rotation/gates").and_then(Value::as_array);
        let gates: BTreeSet<&str> = gates.into_iter().flatten().filter_map(Value::as_str).collect();
        if let Some((_, next)) = keys_of_status(after).find(|(phase, _)| *phase == "Next")
            && !self.published.contains_key(next)
        {
            self.published.insert(next.into(), clock);
            self.closed_gates = gates.iter().map(|gate| (*gate).to_owned()).collect();
        }
        let conditions = after.pointer("/status/conditions").and_then(Value::as_array);
        let is_true = |condition: &&Value| text(condition, "/status") == Some("True");
        let open: BTreeSet<&str> =
            conditions.into_iter().flatten().filter(is_true).filter_map(|condition| text(condition, "/type")).collect();
        self.closed_gates.retain(|gate| gates.contains(&**gate) && !open.contains(&**gate));
    }

    /// Records a switch from one key to another, and returns the violation, if there is one.
    fn of_switch(&mut self, from: &Arc<str>, to: &Arc<str>, clock: Timestamp, delay: SignedDuration) -> Option<String> {
        self.replaced.insert(Arc::clone(from), (clock, Arc::clone(to)));
        let Some(published) = self.published.get(to) else {
            return Some("a key became current that no status has shown before".to_owned());
        };
        let (lasted, least) = (clock.duration_since(*published), self.publish_before.unwrap_or_default());
        if lasted + delay < least {
            return Some(format!("a key became current that was published {lasted:?} before, and not {least:?}"));
        }
        let closed = self.closed_gates.first()?;
        Some(format!("a key became current while the gate {closed} was closed"))
    }

    /// Whether this key was replaced so recently that it must be kept.
    fn is_to_stay(&self, key: &str, clock: Timestamp) -> bool {
        let since = self.replaced.get(key).map(|(at, _)| clock.duration_since(*at));
        since.is_some_and(|since| since < self.keep_after.unwrap_or_default())
    }
}

impl Checker {
    /// Checks what a write of the operator does to the keys of a KeyPair.
    pub(super) fn check_rotation(&mut self, at: &str, change: &Change) {
        let (before, after) = (change.before.as_deref(), change.after.as_deref());
        let Some(uid) = before.or(after).and_then(owner) else { return };
        let is_excused = self.may_outlast_lease || self.is_restored;
        let delay = if self.is_held_up { MAX_DELAY_WITH_FAULTS } else { MAX_DELAY };
        let delay = SignedDuration::try_from(delay).unwrap_or_default();
        let keys = |secret: Option<&Value>| secret.map(keys_in).unwrap_or_default();
        let (keys_before, keys_after) = (keys(before), keys(after));
        let place = &change.namespace;
        let elsewhere: BTreeSet<Arc<str>> =
            self.secrets.iter().filter(|((of, _), _)| of == place).flat_map(|(_, secret)| keys_in(secret)).collect();
        let switched_to = before.and_then(current_key).zip(after.and_then(current_key)).filter(|(from, to)| from != to);
        let lacking = switched_to.map(|(_, to)| self.lacking(uid, &to)).unwrap_or_default();
        let is_late = self.has_late_watches;
        let Some(record) = self.records.get_mut(uid).filter(|record| !record.is_modified_by_others) else { return };
        let rotation = &mut record.rotation;
        let mut found = Vec::new();
        if let (Some(from), Some(to)) = (before.and_then(current_key), after.and_then(current_key))
            && from != to
        {
            found.extend(rotation.of_switch(&from, &to, change.clock, delay));
            if !lacking.is_empty() && !is_late {
                found.push(format!("a key became current that is not published by {}", lacking.join(", ")));
            }
            if !keys_after.contains(&from) {
                found.push("the previous key was removed with the switch".to_owned());
            }
        }
        let is_removed = |key: &&Arc<str>| !keys_after.contains(*key) && !elsewhere.contains(*key);
        if keys_before.iter().filter(is_removed).any(|key| rotation.is_to_stay(key, change.clock)) {
            found.push("a previous key was removed before keepAfter was over".to_owned());
        }
        let is_new = |key: &Arc<str>| !record.keys.contains(key) && !self.user_keys.contains(key);
        let is_unasked = rotation.is_configured && !rotation.is_requested;
        if is_unasked && !record.keys.is_empty() && keys_after.iter().any(is_new) {
            found.push("a rotation that nobody asked for".to_owned());
        }
        let exists = record.exists;
        for text in found.into_iter().filter(|_| exists && !is_excused) {
            self.violated(&format!("{at}: {text}"));
        }
    }
}
