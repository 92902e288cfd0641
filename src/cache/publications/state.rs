//! The state of the index.

mod publications;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::runtime::reflector::ObjectRef;

use super::{
    PairLookup,
    namespace::Pairs,
    pair::{Interner, PairState, WatchedPair},
    selectors::{EntryId, Room},
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
    /// The sources of its entries, without literal keys; `None` for an invalid entry.
    pub sources: Vec<Option<Source>>,
    /// The reason of its condition `Ready`.
    pub reason: Option<&'static str>,
    /// Whether it is being deleted: then no rotation waits for it.
    pub is_being_deleted: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// The publications by number, which is shorter than their names.
    numbers: BTreeMap<PublicationRef, u64>,
    publications: BTreeMap<u64, Record>,
    last_number: u64,
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
    /// For the pairs that its selectors match.
    room: Arc<Room>,
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
            let is_visible = sees(&self.publications, namespace);
            let listed = listed.remove(namespace).unwrap_or_default();
            known.replace(namespace, listed, pairs, &mut self.labels, is_visible);
        }
        self.pairs.retain(|_, known| !known.is_empty());
        // One namespace may have left room for another.
        let incomplete = self.publications.values().filter(|record| record.room.can_be_filled());
        for reference in incomplete.map(|record| record.reference.clone()).collect::<Vec<_>>() {
            self.match_again(&reference, pairs);
        }
    }

    /// Applies a change of a pair (`None`: it is gone), and returns the publications for which it changes something.
    pub(super) fn apply_pair(
        &mut self,
        namespace: &str,
        name: &str,
        pair: Option<WatchedPair>,
        pairs: &impl PairLookup,
    ) -> Vec<PublicationRef> {
        let is_visible = sees(&self.publications, namespace);
        let known = self.pairs.entry(namespace.to_owned()).or_default();
        let entries = known.apply(name, pair, &mut self.labels, is_visible);
        if known.is_empty() {
            self.pairs.remove(namespace);
        }
        let affected = self.publications_of(entries.into_iter());
        for reference in &affected {
            if self.record(reference).is_some_and(|record| record.room.can_be_filled()) {
                self.match_again(reference, pairs);
            }
        }
        affected
    }

    /// Matches all pairs again with the selectors of a publication.
    fn match_again(&mut self, reference: &PublicationRef, pairs: &impl PairLookup) {
        let Some(record) = self.record(reference) else { return };
        let (change, published) = (record.change.clone(), record.published.clone());
        self.remove_publication(reference);
        self.insert_publication(reference, change, published, pairs);
    }

    fn publications_of(&self, entries: impl Iterator<Item = EntryId>) -> Vec<PublicationRef> {
        let numbers: BTreeSet<u64> = entries.map(|(number, _)| number).collect();
        let records = numbers.iter().filter_map(|number| self.publications.get(number));
        records.map(|record| record.reference.clone()).collect()
    }

    fn record(&self, reference: &PublicationRef) -> Option<&Record> {
        self.publications.get(self.numbers.get(reference)?)
    }

    fn record_mut(&mut self, reference: &PublicationRef) -> Option<&mut Record> {
        self.publications.get_mut(self.numbers.get(reference)?)
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
                let sources = record.map(|record| record.change.sources.as_slice()).unwrap_or_default();
                let is_same = |source: &Option<Source>| source.as_ref() == Some(&entry.source);
                let known = self.pairs.get(namespace).filter(|_| sources.get(index).is_some_and(is_same));
                let id = (number, sources.iter().position(is_same).unwrap_or_default());
                let mut is_visible = false;
                let mut pairs = Vec::new();
                for pair in known.into_iter().flat_map(|known| selected(known, id, &entry.source)) {
                    if record.is_some_and(|record| record.sees(namespace, pair)) {
                        is_visible = true;
                        pairs.extend(pair.published.clone());
                    }
                }
                let problem = match (&entry.source, pairs.is_empty()) {
                    _ if known.is_some_and(|known| known.is_short(id)) => Some(Problem::TooMany),
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
        uid: &str,
        published: PublishedKeys,
    ) -> Vec<ObjectRef<KeyPair>> {
        let Some(number) = self.numbers.get(reference).copied() else { return Vec::new() };
        // While the target was written, another object may have got the name.
        let record = self.publications.get_mut(&number).filter(|record| record.change.uid == uid);
        let Some(record) = record else { return Vec::new() };
        let before = record.published.replace(published).unwrap_or_default();
        let (record, mut triggered) = (&*record, BTreeSet::new());
        let Some(now) = &record.published else { return Vec::new() };
        for (index, namespace, source) in distinct(&record.change.sources) {
            let Some(known) = self.pairs.get(namespace) else { continue };
            for pair in selected(known, (number, index), source).filter(|pair| record.sees(namespace, pair)) {
                let (Some(next), Some(published)) = (&pair.next, &pair.published) else { continue };
                let is_in = |keys: &PublishedKeys| keys.contains(namespace, &published.name, next);
                if is_in(now) && !is_in(&before) {
                    triggered.insert((namespace.to_owned(), Arc::clone(&published.name)));
                }
            }
        }
        triggered.iter().map(|(namespace, name)| ObjectRef::new(name).within(namespace)).collect()
    }

    pub(super) fn forget_published(&mut self, reference: &PublicationRef, uid: &str) {
        if let Some(record) = self.record_mut(reference).filter(|record| record.change.uid == uid) {
            record.published = None;
        }
    }

    /// The publications that select a pair, and do not have this line of it in their targets.
    pub(super) fn waiting(&self, namespace: &str, name: &str, line: &str) -> Vec<PublicationRef> {
        let Some(known) = self.pairs.get(namespace) else { return Vec::new() };
        let Some(pair) = known.state(name) else { return Vec::new() };
        let is_waiting = |(number, _): &EntryId| {
            self.publications.get(number).is_some_and(|record| {
                let has_line = record.published.as_ref().is_some_and(|keys| keys.contains(namespace, name, line));
                record.sees(namespace, pair) && !record.change.is_being_deleted && !has_line
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
    /// The number of pairs in memory that the selectors of a publication match.
    pub(super) fn matches(&self, reference: &PublicationRef) -> usize {
        self.record(reference).map_or(0, |record| record.room.used())
    }

    /// The number of pairs of a namespace in memory.
    pub(super) fn kept(&self, namespace: &str) -> usize {
        self.pairs.get(namespace).map_or(0, Pairs::kept)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.publications.is_empty() && self.pairs.is_empty() && self.labels.is_empty()
    }
}

/// Whether an entry may see a pair of this namespace.
fn sees<'a>(
    publications: &'a BTreeMap<u64, Record>,
    namespace: &'a str,
) -> impl Fn(EntryId, &PairState) -> bool + use<'a> {
    move |(number, _), pair| publications.get(&number).is_some_and(|record| record.sees(namespace, pair))
}

/// The pairs that an entry selects. A pair that it names may be one that it may not see.
fn selected<'a>(known: &'a Pairs, entry: EntryId, source: &Source) -> impl Iterator<Item = &'a PairState> + use<'a> {
    let named = match source {
        Source::KeyPair { name, .. } => known.state(name),
        Source::Selector { .. } | Source::PublicKeys(_) => None,
    };
    named.into_iter().chain(known.matched(entry))
}

/// The different sources that look into a namespace, with the index of the first entry that has it and with that namespace.
fn distinct(sources: &[Option<Source>]) -> impl Iterator<Item = (usize, &str, &Source)> {
    sources.iter().enumerate().filter_map(|(index, source)| {
        let source = source.as_ref()?;
        let is_first = !sources.iter().take(index).flatten().any(|before| before == source);
        let (Source::KeyPair { namespace, .. } | Source::Selector { namespace, .. }) = source else { return None };
        is_first.then_some((index, namespace.as_str(), source))
    })
}
