//! The label selectors of publications, indexed by a label that each of them demands.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crate::{
    cache::watched::{Labels, PairLabels},
    domain::{label_selector::LabelSelector, publication::bounds::MAX_MATCHES},
};

/// An entry of a publication: the number of the publication, and the index of the entry. Entries with the same source share that of the
/// first of them.
pub(super) type EntryId = (u64, usize);

/// Room for the matches of one publication, for all its selectors together.
#[derive(Debug, Default)]
pub(super) struct Room {
    used: AtomicUsize,
    was_short: AtomicBool,
}

impl Room {
    /// Whether pairs may be missing that would now find room. A tenth has to be free, because to fill it, all pairs are looked at.
    pub(super) fn can_be_filled(&self) -> bool {
        self.was_short.load(Ordering::Relaxed) && self.used.load(Ordering::Relaxed) <= MAX_MATCHES - MAX_MATCHES / 10
    }

    /// The number of matches.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// A selector, and the pairs that it matches and whose state its publication may see.
#[derive(Debug)]
pub(super) struct Selector {
    labels: LabelSelector,
    matched: BTreeSet<Arc<str>>,
    room: Arc<Room>,
    is_short: bool,
}

impl Selector {
    /// Records a match, if there is room for it.
    pub(super) fn add(&mut self, name: &Arc<str>) -> bool {
        if self.matched.contains(name) {
            return true;
        }
        if self.room.used.load(Ordering::Relaxed) >= MAX_MATCHES {
            self.is_short = true;
            self.room.was_short.store(true, Ordering::Relaxed);
            return false;
        }
        self.room.used.fetch_add(1, Ordering::Relaxed);
        self.matched.insert(Arc::clone(name))
    }

    /// Removes a match. Returns whether pairs may be missing that would now find room.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        if self.matched.remove(name) {
            self.room.used.fetch_sub(1, Ordering::Relaxed);
        }
        self.room.can_be_filled()
    }

    /// Removes all matches.
    pub(super) fn clear(&mut self) {
        self.room.used.fetch_sub(self.matched.len(), Ordering::Relaxed);
        self.matched.clear();
        self.is_short = false;
    }

    /// Whether there was no room for some pairs.
    pub(super) fn is_short(&self) -> bool {
        self.is_short
    }

    /// The pairs, in the order of their names.
    pub(super) fn matched(&self) -> &BTreeSet<Arc<str>> {
        &self.matched
    }

    /// Whether it matches a pair with these labels.
    pub(super) fn matches(&self, labels: &PairLabels<Arc<Labels>>) -> bool {
        match labels {
            PairLabels::None => self.labels.selects_by(|_| None),
            PairLabels::Some(labels) => self.labels.selects_by(|key| labels.get(key)),
            PairLabels::TooLarge => false,
        }
    }

    /// Whether it matches only pairs that have labels.
    pub(super) fn demands_label(&self) -> bool {
        self.labels.demanded_label().is_some()
    }
}

/// The selectors that look into one namespace.
#[derive(Debug, Default)]
pub(super) struct Selectors {
    all: BTreeMap<EntryId, Selector>,
    /// Those that demand a label, by its key and, unless any value is allowed, by each value.
    by_label: BTreeMap<String, BTreeMap<Option<String>, BTreeSet<EntryId>>>,
    /// Those that demand no label.
    others: BTreeSet<EntryId>,
}

impl Selectors {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn get(&self, entry: EntryId) -> Option<&Selector> {
        self.all.get(&entry)
    }

    pub(super) fn get_mut(&mut self, entry: EntryId) -> Option<&mut Selector> {
        self.all.get_mut(&entry)
    }

    /// Removes all matches of all selectors.
    pub(super) fn clear(&mut self) {
        self.all.values_mut().for_each(Selector::clear);
    }

    /// Whether some of them match pairs without labels.
    pub(super) fn look_at_all(&self) -> bool {
        !self.others.is_empty()
    }

    pub(super) fn insert(&mut self, entry: EntryId, selector: LabelSelector, room: &Arc<Room>) {
        match places(&selector) {
            Some((key, values)) => {
                let by_value = self.by_label.entry(key).or_default();
                for value in values {
                    by_value.entry(value).or_default().insert(entry);
                }
            }
            None => drop(self.others.insert(entry)),
        }
        let room = Arc::clone(room);
        self.all.insert(entry, Selector { labels: selector, matched: BTreeSet::new(), room, is_short: false });
    }

    /// Removes a selector, and returns the pairs that it matched.
    pub(super) fn remove(&mut self, entry: EntryId) -> BTreeSet<Arc<str>> {
        let Some(Selector { labels: selector, matched, room, .. }) = self.all.remove(&entry) else {
            return BTreeSet::new();
        };
        room.used.fetch_sub(matched.len(), Ordering::Relaxed);
        self.others.remove(&entry);
        if let Some((key, values)) = places(&selector)
            && let Some(by_value) = self.by_label.get_mut(&key)
        {
            for value in values {
                if let Some(entries) = by_value.get_mut(&value) {
                    entries.remove(&entry);
                }
            }
            by_value.retain(|_, entries| !entries.is_empty());
            if by_value.is_empty() {
                self.by_label.remove(&key);
            }
        }
        matched
    }

    /// The selectors that match a pair with these labels. Looks only at those that demand one of the labels, or none.
    pub(super) fn matching(&self, labels: &PairLabels<Arc<Labels>>) -> BTreeSet<EntryId> {
        let mut candidates: Vec<EntryId> = self.others.iter().copied().collect();
        if let PairLabels::Some(labels) = labels {
            for (key, value) in labels.iter() {
                let Some(by_value) = self.by_label.get(key) else { continue };
                let found = [by_value.get(&None), by_value.get(&Some(value.to_owned()))];
                candidates.extend(found.into_iter().flatten().flatten());
            }
        }
        candidates.retain(|entry| self.get(*entry).is_some_and(|selector| selector.matches(labels)));
        candidates.into_iter().collect()
    }
}

/// Where the index has a selector: the key of the label that it demands, and its values.
fn places(selector: &LabelSelector) -> Option<(String, Vec<Option<String>>)> {
    let (key, values) = selector.demanded_label()?;
    let values = values.map_or_else(|| vec![None], |values| values.iter().cloned().map(Some).collect());
    Some((key.to_owned(), values))
}
