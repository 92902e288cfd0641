//! The `KeyPair`s of one namespace, and which publications select them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    PairLookup,
    pair::{Interner, PairState, WatchedPair},
    selectors::{EntryId, Room, Selector, Selectors},
};
use crate::{
    cache::watched::{Labels, PairLabels},
    domain::label_selector::LabelSelector,
};

/// The pairs of one namespace, as far as publications may need them.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// The labels of those that have any.
    labels: BTreeMap<Arc<str>, PairLabels<Arc<Labels>>>,
    /// The publications that name a pair, which may not exist.
    named: BTreeMap<String, BTreeSet<EntryId>>,
    selectors: Selectors,
    /// The pairs that an entry selects and may see, and those that are too large for the store.
    kept: BTreeMap<Arc<str>, KeptPair>,
}

#[derive(Debug)]
struct KeptPair {
    state: PairState,
    /// The entries that select it by its labels.
    selected_by: BTreeSet<EntryId>,
    is_summarized: bool,
}

impl Pairs {
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.named.is_empty() && self.selectors.is_empty() && self.kept.is_empty()
    }

    /// What is known of a pair; `None` if it does not exist, or if nothing selects it.
    pub(super) fn state(&self, name: &str) -> Option<&PairState> {
        self.kept.get(name).map(|pair| &pair.state)
    }

    /// The pairs that the selector of this entry matches, in the order of their names.
    pub(super) fn matched(&self, entry: EntryId) -> impl Iterator<Item = &PairState> {
        let names = self.selectors.get(entry).into_iter().flat_map(Selector::matched);
        names.filter_map(|name| self.state(name))
    }

    /// Whether this entry matches more pairs than there is room for.
    pub(super) fn is_short(&self, entry: EntryId) -> bool {
        self.selectors.get(entry).is_some_and(Selector::is_short)
    }

    /// The entries that select a pair: those that name it, and those whose selector matches it.
    pub(super) fn selecting(&self, name: &str) -> impl Iterator<Item = EntryId> {
        let named = self.named.get(name).into_iter().flatten();
        named.chain(self.kept.get(name).into_iter().flat_map(|pair| &pair.selected_by)).copied()
    }

    /// Applies a change of a pair (`None`: it is gone), and returns the entries for which it changes something, and those whose matches
    /// may be incomplete although there is room again. `is_visible` tells whether an entry may see a pair in this state: the others do not
    /// match it, so that nobody fills the memory with the pairs of another namespace.
    pub(super) fn apply(
        &mut self,
        name: &str,
        pair: Option<WatchedPair>,
        interner: &mut Interner,
        is_visible: impl Fn(EntryId, &PairState) -> bool,
    ) -> BTreeSet<EntryId> {
        let before = self.kept.remove(name);
        let mut matched = self.update_labels(name, pair.as_ref().map(|pair| &pair.labels), interner);
        matched.retain(|entry| pair.as_ref().is_some_and(|pair| is_visible(*entry, &pair.state)));
        let (before, matched_before) = match before {
            Some(KeptPair { state, selected_by, .. }) => (Some(state), selected_by),
            None => (None, BTreeSet::new()),
        };
        let shared: Arc<str> = name.into();
        let mut affected = BTreeSet::new();
        for gone in matched_before.difference(&matched) {
            if self.selectors.get_mut(*gone).is_some_and(|selector| selector.remove(name)) {
                affected.insert(*gone);
            }
        }
        matched.retain(|entry| self.selectors.get_mut(*entry).is_some_and(|selector| selector.add(&shared)));
        let after = pair.as_ref().map(|pair| &pair.state);
        let is_seen = |entry, state: Option<&PairState>| state.is_some_and(|state| is_visible(entry, state));
        let differs = |entry, before: Option<&PairState>, after: Option<&PairState>, existence_counts: bool| {
            let before = before.filter(|_| is_seen(entry, before)).map(|state| &state.published);
            let after = after.filter(|_| is_seen(entry, after)).map(|state| &state.published);
            if existence_counts {
                before != after
            } else {
                before.and_then(Option::as_ref) != after.and_then(Option::as_ref)
            }
        };
        // Whether a named pair exists makes a difference, too.
        let naming = self.named.get(name).into_iter().flatten().copied();
        affected.extend(naming.filter(|entry| differs(*entry, before.as_ref(), after, true)));
        affected.extend(matched_before.union(&matched).copied().filter(|entry| {
            let before = before.as_ref().filter(|_| matched_before.contains(entry));
            differs(*entry, before, after.filter(|_| matched.contains(entry)), false)
        }));
        if let Some(WatchedPair { state, is_summarized, .. }) = pair {
            let mut naming = self.named.get(name).into_iter().flatten();
            if is_summarized || !matched.is_empty() || naming.any(|entry| is_visible(*entry, &state)) {
                self.kept.insert(shared, KeptPair { state, selected_by: matched, is_summarized });
            }
        }
        affected
    }

    /// Updates the labels of a pair (`None`: it is gone), and returns the entries whose selector matches them.
    fn update_labels(&mut self, name: &str, labels: Option<&PairLabels>, interner: &mut Interner) -> BTreeSet<EntryId> {
        let is_same = match (self.labels.get(name), labels) {
            (Some(before), Some(labels)) => before.is_same(labels),
            _ => false,
        };
        if !is_same {
            if let Some(PairLabels::Some(before)) = self.labels.remove(name) {
                interner.release(&before);
            }
            let labels = match labels {
                None | Some(PairLabels::None) => None,
                Some(PairLabels::TooLarge) => Some(PairLabels::TooLarge),
                Some(PairLabels::Some(labels)) => Some(PairLabels::Some(interner.intern(labels))),
            };
            if let Some(labels) = labels {
                self.labels.insert(name.into(), labels);
            }
        }
        if labels.is_none() { BTreeSet::new() } else { self.selectors.matching(self.labels_of(name)) }
    }

    fn labels_of(&self, name: &str) -> &PairLabels<Arc<Labels>> {
        self.labels.get(name).unwrap_or(&PairLabels::None)
    }

    /// Adds an entry that names a pair. `look_up` finds it if the entry may see it.
    pub(super) fn add_named(&mut self, name: &str, entry: EntryId, look_up: impl Fn(&str) -> Option<PairState>) {
        self.named.entry(name.to_owned()).or_default().insert(entry);
        if !self.kept.contains_key(name)
            && let Some(state) = look_up(name)
        {
            self.kept.insert(name.into(), KeptPair { state, selected_by: BTreeSet::new(), is_summarized: false });
        }
    }

    /// Adds an entry with a selector, which matches nothing before [`Self::match_pairs`].
    pub(super) fn add_selector(&mut self, entry: EntryId, selector: LabelSelector, room: &Arc<Room>) {
        self.selectors.insert(entry, selector, room);
    }

    /// Matches the pairs with these new entries (`None`: with all). Looks at the pairs with labels or, if a selector matches pairs without
    /// labels, at all pairs, and reads each only once.
    pub(super) fn match_pairs(
        &mut self,
        namespace: &str,
        new: Option<&BTreeSet<EntryId>>,
        pairs: &impl PairLookup,
        is_visible: impl Fn(EntryId, &PairState) -> bool,
    ) {
        let demands_label = |entry| self.selectors.get(entry).is_none_or(Selector::demands_label);
        let looks_at_all =
            new.map_or(self.selectors.look_at_all(), |new| !new.iter().all(|entry| demands_label(*entry)));
        let names: Vec<Arc<str>> = if looks_at_all {
            pairs.names(namespace).into_iter().map(Into::into).collect()
        } else {
            self.labels.keys().cloned().collect()
        };
        for name in names {
            let labels = self.labels_of(&name);
            let matches = |entry: &EntryId| self.selectors.get(*entry).is_some_and(|selector| selector.matches(labels));
            let mut selecting: BTreeSet<EntryId> = match new {
                Some(new) => new.iter().copied().filter(matches).collect(),
                None => self.selectors.matching(labels),
            };
            if selecting.is_empty() {
                continue;
            }
            let read = if self.kept.contains_key(&name) { None } else { pairs.pair(namespace, &name) };
            let Some(state) = self.state(&name).or(read.as_ref()) else { continue };
            selecting.retain(|entry| is_visible(*entry, state));
            selecting.retain(|entry| self.selectors.get_mut(*entry).is_some_and(|selector| selector.add(&name)));
            if let Some(pair) = self.kept.get_mut(&name) {
                pair.selected_by.extend(selecting);
            } else if let Some(state) = read.filter(|_| !selecting.is_empty()) {
                self.kept.insert(name, KeptPair { state, selected_by: selecting, is_summarized: false });
            }
        }
    }

    /// Removes an entry that names a pair.
    pub(super) fn remove_named(&mut self, name: &str, entry: EntryId) {
        if let Some(naming) = self.named.get_mut(name) {
            naming.remove(&entry);
            if naming.is_empty() {
                self.named.remove(name);
            }
        }
        self.drop_unselected(name);
    }

    /// Removes an entry with a selector.
    pub(super) fn remove_selector(&mut self, entry: EntryId) {
        for name in self.selectors.remove(entry) {
            if let Some(pair) = self.kept.get_mut(&name) {
                pair.selected_by.remove(&entry);
            }
            self.drop_unselected(&name);
        }
    }

    fn drop_unselected(&mut self, name: &str) {
        if let Some(pair) = self.kept.get(name)
            && !pair.is_summarized
            && pair.selected_by.is_empty()
            && !self.named.contains_key(name)
        {
            self.kept.remove(name);
        }
    }

    /// Replaces all pairs, at the end of a list. `listed` has those with labels, and those that are too large for the store.
    pub(super) fn replace(
        &mut self,
        namespace: &str,
        listed: BTreeMap<String, WatchedPair>,
        pairs: &impl PairLookup,
        interner: &mut Interner,
        is_visible: impl Fn(EntryId, &PairState) -> bool,
    ) {
        self.selectors.clear();
        for (_, labels) in std::mem::take(&mut self.labels) {
            if let PairLabels::Some(labels) = labels {
                interner.release(&labels);
            }
        }
        self.kept.clear();
        for (name, WatchedPair { state, labels, is_summarized }) in listed {
            let name: Arc<str> = name.into();
            let labels = match labels {
                PairLabels::None => None,
                PairLabels::TooLarge => Some(PairLabels::TooLarge),
                PairLabels::Some(labels) => Some(PairLabels::Some(interner.intern(&labels))),
            };
            if let Some(labels) = labels {
                self.labels.insert(Arc::clone(&name), labels);
            }
            if is_summarized {
                self.kept.insert(name, KeptPair { state, selected_by: BTreeSet::new(), is_summarized });
            }
        }
        for (name, naming) in &self.named {
            if !self.kept.contains_key(name.as_str())
                && let Some(state) = pairs.pair(namespace, name)
                && naming.iter().any(|entry| is_visible(*entry, &state))
            {
                let pair = KeptPair { state, selected_by: BTreeSet::new(), is_summarized: false };
                self.kept.insert(name.as_str().into(), pair);
            }
        }
        self.match_pairs(namespace, None, pairs, is_visible);
    }
}

#[cfg(test)]
impl Pairs {
    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }
}
