//! The state of the index.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::runtime::reflector::ObjectRef;

use super::{
    PairLookup,
    namespace::Pairs,
    pair::{Interner, PairState, WatchedPair},
    selectors::EntryId,
};
use crate::{
    api::KeyPair,
    domain::publication::{Problem, Publication, PublicationKind, PublicationRef, PublishedKeys, Resolved, Source},
};

/// A publication as a watch shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `metadata.uid`.
    pub uid: String,
    /// The sources of its entries; `None` for an invalid entry.
    pub sources: Vec<Option<Source>>,
    /// The reason of its condition `Ready`.
    pub reason: Option<&'static str>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// The publications by number, which is shorter than their names.
    numbers: BTreeMap<PublicationRef, u32>,
    publications: BTreeMap<u32, Record>,
    last_number: u32,
    /// The pairs by namespace.
    pairs: BTreeMap<String, Pairs>,
    labels: Interner,
    /// The part of the current list of `KeyPair`s that has arrived: those with labels, and those that are too large for the store.
    listed: BTreeMap<String, BTreeMap<String, WatchedPair>>,
    /// The part of the current list of each kind of publication that has arrived.
    listed_publications: BTreeMap<PublicationKind, BTreeMap<PublicationRef, Change>>,
}

#[derive(Debug)]
struct Record {
    reference: PublicationRef,
    change: Change,
    /// The keys that are verifiably in its target; `None` if that is not known.
    published: Option<PublishedKeys>,
}

impl Record {
    /// Whether it may see a pair of this namespace in this state.
    fn sees(&self, namespace: &str, pair: &PairState) -> bool {
        self.reference.namespace == namespace || pair.is_shared_with(&self.reference.namespace)
    }
}

impl State {
    pub(super) fn begin_list(&mut self) {
        self.listed.clear();
    }

    pub(super) fn add_listed(&mut self, namespace: String, name: String, pair: WatchedPair) {
        self.listed.entry(namespace).or_default().insert(name, pair);
    }

    pub(super) fn end_list(&mut self, pairs: &impl PairLookup) {
        let mut listed = std::mem::take(&mut self.listed);
        for namespace in listed.keys() {
            self.pairs.entry(namespace.clone()).or_default();
        }
        for (namespace, known) in &mut self.pairs {
            known.replace(namespace, listed.remove(namespace).unwrap_or_default(), pairs, &mut self.labels);
        }
        self.pairs.retain(|_, known| !known.is_empty());
    }

    /// Applies a change of a pair (`None`: it is gone), and returns the publications for which it changes something.
    pub(super) fn apply_pair(&mut self, namespace: &str, name: &str, pair: Option<WatchedPair>) -> Vec<PublicationRef> {
        let publications = &self.publications;
        let is_visible = |(number, _): EntryId, pair: &PairState| {
            publications.get(&number).is_some_and(|record| record.sees(namespace, pair))
        };
        let known = self.pairs.entry(namespace.to_owned()).or_default();
        let entries = known.apply(name, pair, &mut self.labels, is_visible);
        if known.is_empty() {
            self.pairs.remove(namespace);
        }
        self.publications_of(entries.into_iter())
    }

    fn publications_of(&self, entries: impl Iterator<Item = EntryId>) -> Vec<PublicationRef> {
        let numbers: BTreeSet<u32> = entries.map(|(number, _)| number).collect();
        let records = numbers.iter().filter_map(|number| self.publications.get(number));
        records.map(|record| record.reference.clone()).collect()
    }

    pub(super) fn begin_publications(&mut self, kind: PublicationKind) {
        self.listed_publications.remove(&kind);
    }

    pub(super) fn add_listed_publication(&mut self, kind: PublicationKind, reference: PublicationRef, change: Change) {
        self.listed_publications.entry(kind).or_default().insert(reference, change);
    }

    pub(super) fn end_publications(
        &mut self,
        kind: PublicationKind,
        pairs: &impl PairLookup,
    ) -> Vec<ObjectRef<KeyPair>> {
        let listed = self.listed_publications.remove(&kind).unwrap_or_default();
        let is_gone = |reference: &&PublicationRef| reference.kind == kind && !listed.contains_key(reference);
        let gone: Vec<PublicationRef> = self.numbers.keys().filter(is_gone).cloned().collect();
        let mut affected: Vec<ObjectRef<KeyPair>> =
            gone.iter().flat_map(|reference| self.remove_publication(reference)).collect();
        for (reference, change) in listed {
            affected.extend(self.apply_publication(&reference, change, pairs));
        }
        affected
    }

    /// Applies a change of a publication, and returns the pairs with a next key that it selected before.
    pub(super) fn apply_publication(
        &mut self,
        reference: &PublicationRef,
        change: Change,
        pairs: &impl PairLookup,
    ) -> Vec<ObjectRef<KeyPair>> {
        if let Some(record) = self.numbers.get(reference).and_then(|number| self.publications.get_mut(number))
            && record.change.sources == change.sources
            && record.change.uid == change.uid
        {
            record.change.reason = change.reason;
            return Vec::new();
        }
        // What an edited publication has in its target, it still has.
        let published = self.record(reference).filter(|record| record.change.uid == change.uid);
        let published = published.and_then(|record| record.published.clone());
        let affected = self.remove_publication(reference);
        self.last_number = self.last_number.wrapping_add(1);
        let number = self.last_number;
        for (index, source) in change.sources.iter().enumerate() {
            let entry = (number, index);
            match source {
                Some(Source::KeyPair { namespace, name }) => {
                    let known = self.pairs.entry(namespace.clone()).or_default();
                    known.add_named(name, entry, |name| pairs.pair(namespace, name));
                }
                Some(Source::Selector { namespace, selector }) => {
                    let known = self.pairs.entry(namespace.clone()).or_default();
                    known.add_selector(namespace, entry, selector.clone(), pairs);
                }
                Some(Source::PublicKeys(_)) | None => {}
            }
        }
        self.numbers.insert(reference.clone(), number);
        self.publications.insert(number, Record { reference: reference.clone(), change, published });
        affected
    }

    /// Removes a publication, and returns the pairs with a next key that it selected.
    pub(super) fn remove_publication(&mut self, reference: &PublicationRef) -> Vec<ObjectRef<KeyPair>> {
        let Some(number) = self.numbers.remove(reference) else { return Vec::new() };
        let Some(record) = self.publications.remove(&number) else { return Vec::new() };
        let mut affected = BTreeSet::new();
        for (index, source) in record.change.sources.iter().enumerate() {
            let Some(namespace) = namespace_of(source.as_ref()) else { continue };
            let entry = (number, index);
            let Some(known) = self.pairs.get_mut(namespace) else { continue };
            affected.extend(
                selected(known, entry, source.as_ref())
                    .filter(|pair| pair.next.is_some())
                    .filter_map(|pair| pair.published.as_ref())
                    .map(|pair| (namespace.to_owned(), Arc::clone(&pair.name))),
            );
            if let Some(Source::KeyPair { name, .. }) = source {
                known.remove_named(name, entry);
            } else {
                known.remove_selector(entry);
            }
            if known.is_empty() {
                self.pairs.remove(namespace);
            }
        }
        affected.iter().map(|(namespace, name)| ObjectRef::new(name).within(namespace)).collect()
    }

    fn record(&self, reference: &PublicationRef) -> Option<&Record> {
        self.publications.get(self.numbers.get(reference)?)
    }

    pub(super) fn resolve(&self, reference: &PublicationRef, publication: &Publication) -> Vec<Resolved> {
        let entries = publication.entries.iter().enumerate();
        let number = self.numbers.get(reference).copied().unwrap_or_default();
        let record = self.publications.get(&number);
        entries
            .map(|(index, entry)| {
                let Some(entry) = entry else { return Resolved::default() };
                let (namespace, if_none) = match &entry.source {
                    Source::PublicKeys(_) => return Resolved::default(),
                    Source::KeyPair { namespace, .. } if *namespace == reference.namespace => {
                        (namespace, Problem::KeyPairNotFound)
                    }
                    // Whether a pair exists that is not shared is not told.
                    Source::KeyPair { namespace, .. } => (namespace, Problem::NotShared),
                    Source::Selector { namespace, .. } => (namespace, Problem::NothingSelected),
                };
                // The entries may have been edited since.
                let is_current = record.and_then(|record| record.change.sources.get(index)?.as_ref());
                let known = self.pairs.get(namespace).filter(|_| is_current == Some(&entry.source));
                let mut is_visible = false;
                let mut pairs = Vec::new();
                for pair in known.into_iter().flat_map(|known| selected(known, (number, index), Some(&entry.source))) {
                    if record.is_some_and(|record| record.sees(namespace, pair)) {
                        is_visible = true;
                        pairs.extend(pair.published.clone());
                    }
                }
                let problem = match (&entry.source, pairs.is_empty()) {
                    (_, false) => None,
                    (Source::KeyPair { .. }, true) if is_visible => Some(Problem::NotAccepted),
                    _ => Some(if_none),
                };
                Resolved { pairs, problem }
            })
            .collect()
    }

    pub(super) fn set_published(
        &mut self,
        reference: &PublicationRef,
        published: Option<PublishedKeys>,
    ) -> Vec<ObjectRef<KeyPair>> {
        let Some(number) = self.numbers.get(reference).copied() else { return Vec::new() };
        let Some(record) = self.publications.get_mut(&number) else { return Vec::new() };
        let before = std::mem::replace(&mut record.published, published).unwrap_or_default();
        let Some(now) = &record.published else { return Vec::new() };
        let mut triggered = BTreeSet::new();
        for (index, source) in record.change.sources.iter().enumerate() {
            let Some(namespace) = namespace_of(source.as_ref()) else { continue };
            let Some(known) = self.pairs.get(namespace) else { continue };
            for pair in selected(known, (number, index), source.as_ref()) {
                let (Some(next), Some(published)) = (&pair.next, &pair.published) else { continue };
                let is_in = |keys: &PublishedKeys| keys.contains(namespace, &published.name, next);
                if is_in(now) && !is_in(&before) {
                    triggered.insert((namespace.to_owned(), Arc::clone(&published.name)));
                }
            }
        }
        triggered.iter().map(|(namespace, name)| ObjectRef::new(name).within(namespace)).collect()
    }

    /// The publications that select a pair, and do not have this line of it in their targets.
    pub(super) fn waiting(&self, namespace: &str, name: &str, line: &str) -> Vec<PublicationRef> {
        let Some(known) = self.pairs.get(namespace) else { return Vec::new() };
        let Some(pair) = known.state(name) else { return Vec::new() };
        let is_waiting = |(number, _): &EntryId| {
            self.publications.get(number).is_some_and(|record| {
                let has_line = record.published.as_ref().is_some_and(|keys| keys.contains(namespace, name, line));
                record.sees(namespace, pair) && !has_line
            })
        };
        let mut waiting = self.publications_of(known.selecting(name).filter(is_waiting));
        waiting.sort();
        waiting
    }

    pub(super) fn count_by_reason(&self) -> BTreeMap<(PublicationKind, &'static str), usize> {
        let mut counts = BTreeMap::new();
        for Record { reference, change, .. } in self.publications.values() {
            *counts.entry((reference.kind, change.reason.unwrap_or("Pending"))).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
impl State {
    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.publications.is_empty() && self.pairs.is_empty() && self.labels.is_empty()
    }
}

/// The pairs that an entry selects, shared with it or not.
fn selected<'a>(known: &'a Pairs, entry: EntryId, source: Option<&Source>) -> impl Iterator<Item = &'a PairState> {
    let named = match source {
        Some(Source::KeyPair { name, .. }) => known.state(name),
        _ => None,
    };
    named.into_iter().chain(known.matched(entry))
}

/// The namespace into which an entry looks.
fn namespace_of(source: Option<&Source>) -> Option<&str> {
    match source? {
        Source::KeyPair { namespace, .. } | Source::Selector { namespace, .. } => Some(namespace),
        Source::PublicKeys(_) => None,
    }
}
