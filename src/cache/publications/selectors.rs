//! The label selectors of publications, indexed by a label that each of them demands.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    cache::watched::{Labels, PairLabels},
    domain::label_selector::LabelSelector,
};

/// An entry of a publication: the number of the publication, and the index of the entry.
pub(super) type EntryId = (u32, usize);

/// A selector, and the pairs that it matches.
#[derive(Debug)]
pub(super) struct Selector {
    selector: LabelSelector,
    pub(super) matched: BTreeSet<Arc<str>>,
}

impl Selector {
    /// Whether it matches a pair with these labels.
    pub(super) fn matches(&self, labels: &PairLabels<Arc<Labels>>) -> bool {
        static NO_LABELS: Labels = Labels::new();
        match labels {
            PairLabels::None => self.selector.selects(&NO_LABELS),
            PairLabels::Some(labels) => self.selector.selects(labels),
            PairLabels::TooLarge => false,
        }
    }

    /// Whether it matches only pairs that have labels.
    pub(super) fn demands_label(&self) -> bool {
        self.selector.demanded_label().is_some()
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

    pub(super) fn ids(&self) -> Vec<EntryId> {
        self.all.keys().copied().collect()
    }

    pub(super) fn insert(&mut self, entry: EntryId, selector: LabelSelector) {
        match places(&selector) {
            Some((key, values)) => {
                let by_value = self.by_label.entry(key).or_default();
                for value in values {
                    by_value.entry(value).or_default().insert(entry);
                }
            }
            None => drop(self.others.insert(entry)),
        }
        self.all.insert(entry, Selector { selector, matched: BTreeSet::new() });
    }

    /// Removes a selector, and returns the pairs that it matched.
    pub(super) fn remove(&mut self, entry: EntryId) -> BTreeSet<Arc<str>> {
        let Some(Selector { selector, matched }) = self.all.remove(&entry) else { return BTreeSet::new() };
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
                let found = [by_value.get(&None), by_value.get(&Some(value.clone()))];
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
