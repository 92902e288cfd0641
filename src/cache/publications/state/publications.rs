//! Changes of publications.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::runtime::reflector::ObjectRef;

use super::{Change, Record, State, distinct, sees, selected};
use crate::{
    api::KeyPair,
    cache::publications::{PairLookup, selectors::EntryId},
    domain::publication::{PublicationKind, PublicationRef, PublishedKeys, Source},
};

impl State {
    pub(in super::super) fn begin_publications(&mut self, kind: PublicationKind) {
        self.listed_publications.remove(&kind);
    }

    pub(in super::super) fn add_listed_publication(
        &mut self,
        kind: PublicationKind,
        reference: PublicationRef,
        change: Change,
    ) {
        self.listed_publications.entry(kind).or_default().insert(reference, change);
    }

    pub(in super::super) fn end_publications(
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
    pub(in super::super) fn apply_publication(
        &mut self,
        reference: &PublicationRef,
        change: Change,
        pairs: &impl PairLookup,
    ) -> Vec<ObjectRef<KeyPair>> {
        if let Some(record) = self.record_mut(reference)
            && record.change.sources == change.sources
            && record.change.uid == change.uid
            && record.change.is_being_deleted == change.is_being_deleted
        {
            record.change.reason = change.reason;
            return Vec::new();
        }
        // What an edited publication has in its target, it still has.
        let published = self.record(reference).filter(|record| record.change.uid == change.uid);
        let published = published.and_then(|record| record.published.clone());
        let affected = self.remove_publication(reference);
        self.insert_publication(reference, change, published, pairs);
        affected
    }

    pub(super) fn insert_publication(
        &mut self,
        reference: &PublicationRef,
        change: Change,
        published: Option<PublishedKeys>,
        pairs: &impl PairLookup,
    ) {
        self.last_number += 1;
        let number = self.last_number;
        let record = Record { reference: reference.clone(), change, published, room: Arc::default() };
        self.numbers.insert(reference.clone(), number);
        self.publications.insert(number, record);
        let Some(Record { change, room, .. }) = self.publications.get(&number) else { return };
        let mut selecting: BTreeMap<&str, BTreeSet<EntryId>> = BTreeMap::new();
        for (index, namespace, source) in distinct(&change.sources) {
            let entry = (number, index);
            let known = self.pairs.entry(namespace.to_owned()).or_default();
            match source {
                Source::KeyPair { name, .. } => {
                    let is_visible = sees(&self.publications, namespace);
                    let look_up = |name: &str| pairs.pair(namespace, name).filter(|pair| is_visible(entry, pair));
                    known.add_named(name, entry, look_up);
                }
                Source::Selector { selector, .. } => {
                    known.add_selector(entry, selector.clone(), room);
                    selecting.entry(namespace).or_default().insert(entry);
                }
                Source::PublicKeys(_) => {}
            }
        }
        for (namespace, entries) in selecting {
            if let Some(known) = self.pairs.get_mut(namespace) {
                known.match_pairs(namespace, Some(&entries), pairs, sees(&self.publications, namespace));
            }
        }
    }

    /// Removes a publication, and returns the pairs with a next key that it selected.
    pub(in super::super) fn remove_publication(&mut self, reference: &PublicationRef) -> Vec<ObjectRef<KeyPair>> {
        let Some(number) = self.numbers.remove(reference) else { return Vec::new() };
        let Some(record) = self.publications.remove(&number) else { return Vec::new() };
        let mut affected = BTreeSet::new();
        for (index, namespace, source) in distinct(&record.change.sources) {
            let entry = (number, index);
            let Some(known) = self.pairs.get_mut(namespace) else { continue };
            affected.extend(
                selected(known, entry, source)
                    .filter(|pair| pair.next.is_some())
                    .filter_map(|pair| pair.published.as_ref())
                    .map(|pair| (namespace.to_owned(), Arc::clone(&pair.name))),
            );
            if let Source::KeyPair { name, .. } = source {
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
}
