//! The index against a naive model, which looks at everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::json;

use super::{state::State, *};
use crate::{
    api::AuthorizedKeys,
    cache::watched::Labels,
    domain::{
        label_selector::LabelSelector,
        publication::{Entry, KeyOptions, Layout, Line, Problem, PublishedKey, PublishedPair, bounds::MAX_MATCHES},
    },
};

const NAMESPACES: [&str; 2] = ["shop", "ops"];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const SELECTORS: [&str; 7] = ["", "team=red", "team in (red,blue)", "team", "!team", "team!=red", "tier=gold,team"];

type PairName = (&'static str, &'static str);

fn state(namespace: &str, name: &str, lines: &[u8], share_with: &[&str], has_next: bool) -> PairState {
    let key = |line: &u8| PublishedKey {
        revision: u32::from(*line),
        line: format!("ssh-ed25519 {line}").into(),
        is_certificate: false,
    };
    let keys: Vec<PublishedKey> = lines.iter().map(key).collect();
    PairState {
        next: keys.last().filter(|_| has_next).map(|key| Arc::clone(&key.line)),
        published: (!keys.is_empty())
            .then(|| Arc::new(PublishedPair { namespace: namespace.into(), name: name.into(), keys: keys.clone() })),
        share_with: share_with.iter().map(ToString::to_string).collect(),
    }
}

fn labels() -> impl Strategy<Value = PairLabels> {
    let label = |key: &'static str, values: &'static [&'static str]| {
        proptest::option::of(select(values).prop_map(move |value| (key.to_owned(), value.to_owned())))
    };
    let some = (label("team", &["red", "blue"]), label("tier", &["gold"])).prop_map(|(team, tier)| {
        let labels = Labels::from(&team.into_iter().chain(tier).collect());
        if labels == Labels::default() { PairLabels::None } else { PairLabels::Some(labels) }
    });
    prop_oneof![9 => some, 1 => Just(PairLabels::TooLarge)]
}

fn pair(namespace: &'static str, name: &'static str) -> impl Strategy<Value = WatchedPair> {
    let share_with = select(&[&[] as &[&str], &["*"], &["shop"], &["ops"]] as &[_]);
    let lines = select(&[&[] as &[u8], &[1], &[1, 2], &[2]] as &[_]);
    (lines, share_with, any::<bool>(), labels(), any::<bool>()).prop_map(
        move |(lines, share_with, has_next, labels, is_summarized)| WatchedPair {
            state: state(namespace, name, lines, share_with, has_next),
            labels,
            is_summarized,
        },
    )
}

fn source() -> impl Strategy<Value = Option<Source>> {
    let named = (select(&NAMESPACES), select(&NAMES))
        .prop_map(|(namespace, name)| Source::KeyPair { namespace: namespace.to_owned(), name: name.to_owned() });
    let selected = (select(&NAMESPACES), select(&SELECTORS)).prop_map(|(namespace, selector)| Source::Selector {
        namespace: namespace.to_owned(),
        selector: selector.parse::<LabelSelector>().unwrap(),
    });
    prop_oneof![
        4 => named.prop_map(Some),
        6 => selected.prop_map(Some),
        1 => Just(Some(Source::PublicKeys(Vec::new()))),
        1 => Just(None),
    ]
}

#[derive(Debug, Clone)]
enum Operation {
    Pair(PairName, Option<WatchedPair>),
    /// A list of all pairs, of which some have changed.
    Relist(BTreeMap<PairName, WatchedPair>),
    Publication(PublicationRef, Vec<Option<Source>>),
    Removed(PublicationRef),
    RelistPublications(Vec<(PublicationRef, Vec<Option<Source>>)>),
    Published(PublicationRef, Vec<(PairName, u8)>),
}

fn pair_name() -> impl Strategy<Value = PairName> {
    (select(&NAMESPACES), select(&NAMES))
}

fn publication_ref() -> impl Strategy<Value = PublicationRef> {
    (select(&NAMESPACES), select(&["x", "y"] as &[&str])).prop_map(|(namespace, name)| PublicationRef {
        kind: PublicationKind::AuthorizedKeys,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let any_pair = || pair_name().prop_flat_map(|(namespace, name)| (Just((namespace, name)), pair(namespace, name)));
    prop_oneof![
        8 => any_pair().prop_map(|(name, pair)| Operation::Pair(name, Some(pair))),
        2 => pair_name().prop_map(|name| Operation::Pair(name, None)),
        1 => vec(any_pair(), 0..6).prop_map(|pairs| Operation::Relist(pairs.into_iter().collect())),
        4 => (publication_ref(), vec(source(), 0..4)).prop_map(|(name, sources)| Operation::Publication(name, sources)),
        1 => publication_ref().prop_map(Operation::Removed),
        1 => vec((publication_ref(), vec(source(), 0..3)), 0..3).prop_map(Operation::RelistPublications),
        3 => (publication_ref(), vec((pair_name(), 1..3_u8), 0..5))
            .prop_map(|(name, keys)| Operation::Published(name, keys)),
    ]
}

/// The naive model.
#[derive(Debug, Default, Clone)]
struct Model {
    pairs: BTreeMap<(String, String), WatchedPair>,
    publications: BTreeMap<PublicationRef, Vec<Option<Source>>>,
    published: BTreeMap<PublicationRef, BTreeSet<(PairName, u8)>>,
}

impl PairLookup for Model {
    fn names(&self, namespace: &str) -> Vec<String> {
        let names = self.pairs.keys().filter(|(other, _)| other == namespace);
        names.map(|(_, name)| name.clone()).collect()
    }

    fn pair(&self, namespace: &str, name: &str) -> Option<PairState> {
        let pair = self.pairs.get(&(namespace.to_owned(), name.to_owned()))?;
        // The store has no more.
        Some(if pair.is_summarized { PairState::default() } else { pair.state.clone() })
    }
}

impl Model {
    fn selects(source: &Source, (namespace, name): &(String, String), pair: &WatchedPair) -> bool {
        match source {
            Source::KeyPair { namespace: of, name: wanted } => of == namespace && wanted == name,
            Source::Selector { namespace: of, selector } => {
                of == namespace
                    && match &pair.labels {
                        PairLabels::None => selector.selects(&BTreeMap::new()),
                        PairLabels::Some(labels) => selector.selects_by(|key| labels.get(key)),
                        PairLabels::TooLarge => false,
                    }
            }
            Source::PublicKeys(_) => false,
        }
    }

    fn is_visible(reference: &PublicationRef, namespace: &str, pair: &WatchedPair) -> bool {
        reference.namespace == namespace
            || pair.state.share_with.iter().any(|it| *it == reference.namespace || it == "*")
    }

    fn resolve_entry(&self, reference: &PublicationRef, source: &Source) -> Resolved {
        let visible: Vec<&WatchedPair> = self
            .pairs
            .iter()
            .filter(|(name, pair)| Self::selects(source, name, pair) && Self::is_visible(reference, &name.0, pair))
            .map(|(_, pair)| pair)
            .collect();
        let pairs: Vec<_> = visible.iter().filter_map(|pair| pair.state.published.clone()).collect();
        let problem = match source {
            _ if !pairs.is_empty() => None,
            Source::PublicKeys(_) => None,
            Source::Selector { .. } => Some(Problem::NothingSelected),
            Source::KeyPair { .. } if !visible.is_empty() => Some(Problem::NotAccepted),
            Source::KeyPair { namespace, .. } if *namespace == reference.namespace => Some(Problem::KeyPairNotFound),
            Source::KeyPair { .. } => Some(Problem::NotShared),
        };
        Resolved { pairs, problem }
    }

    fn resolve(&self, reference: &PublicationRef) -> Vec<Resolved> {
        let sources = self.publications.get(reference).into_iter().flatten();
        sources
            .map(|source| source.as_ref().map_or_else(Resolved::default, |it| self.resolve_entry(reference, it)))
            .collect()
    }

    fn selecting(&self, name: &(String, String)) -> BTreeSet<PublicationRef> {
        let Some(pair) = self.pairs.get(name) else { return BTreeSet::new() };
        let selects = |reference: &PublicationRef, sources: &[Option<Source>]| {
            Self::is_visible(reference, &name.0, pair)
                && sources.iter().flatten().any(|source| Self::selects(source, name, pair))
        };
        let selecting = self.publications.iter().filter(|(reference, sources)| selects(reference, sources));
        selecting.map(|(reference, _)| reference.clone()).collect()
    }
}

fn publication(reference: &PublicationRef, sources: &[Option<Source>]) -> Publication {
    let entry = |source: &Source| Entry { source: source.clone(), line: Line::Login(KeyOptions::default()) };
    Publication {
        kind: reference.kind,
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
        entries: sources.iter().map(|source| source.as_ref().map(entry)).collect(),
        target: None,
        layout: Layout::File,
        hash_hosts: false,
        mistakes: Vec::new(),
    }
}

fn change_to(sources: &[Option<Source>]) -> Change {
    Change { uid: "1".to_owned(), sources: sources.to_vec(), reason: None, is_being_deleted: false }
}

fn owned((namespace, name): PairName) -> (String, String) {
    (namespace.to_owned(), name.to_owned())
}

fn line(number: u8) -> String {
    format!("ssh-ed25519 {number}")
}

/// Applies an operation to both, and checks what the index says about it.
fn step(model: &mut Model, index: &mut State, operation: Operation) {
    let before = model.clone();
    match operation {
        Operation::Pair(name, pair) => {
            let key = owned(name);
            let (selecting_before, mut selecting) = (model.selecting(&key), BTreeSet::new());
            match &pair {
                Some(pair) => drop(model.pairs.insert(key.clone(), pair.clone())),
                None => drop(model.pairs.remove(&key)),
            }
            selecting.extend(model.selecting(&key));
            selecting.extend(selecting_before);
            let affected: BTreeSet<PublicationRef> =
                index.apply_pair(name.0, name.1, pair, model).into_iter().collect();
            let changed: BTreeSet<PublicationRef> =
                model.publications.keys().filter(|it| model.resolve(it) != before.resolve(it)).cloned().collect();
            assert!(affected.is_superset(&changed), "{affected:?} lacks some of {changed:?}");
            assert!(affected.is_subset(&selecting), "{affected:?} has more than {selecting:?}");
        }
        Operation::Relist(pairs) => {
            index.begin_list();
            // An interrupted list.
            index.add_listed("shop".to_owned(), "gone".to_owned(), WatchedPair::default());
            index.begin_list();
            model.pairs = pairs.into_iter().map(|(name, pair)| (owned(name), pair)).collect();
            for ((namespace, name), pair) in &model.pairs {
                if pair.is_summarized || pair.labels != PairLabels::None {
                    index.add_listed(namespace.clone(), name.clone(), pair.clone());
                }
            }
            index.end_list(model);
        }
        Operation::Publication(reference, sources) => {
            index.apply_publication(&reference, change_to(&sources), model);
            model.publications.insert(reference, sources);
        }
        Operation::Removed(reference) => {
            index.remove_publication(&reference);
            model.publications.remove(&reference);
            model.published.remove(&reference);
        }
        Operation::RelistPublications(listed) => {
            let kind = PublicationKind::AuthorizedKeys;
            index.begin_publications(kind);
            model.publications = listed.into_iter().collect();
            for (reference, sources) in &model.publications {
                index.add_listed_publication(kind, reference.clone(), change_to(sources));
            }
            index.end_publications(kind, model);
            model.published.retain(|reference, _| model.publications.contains_key(reference));
        }
        Operation::Published(reference, keys) => {
            let digests = keys
                .iter()
                .map(|((namespace, name), number)| ((*namespace).into(), (*name).into(), line(*number).into()));
            let triggered = index.set_published(&reference, "1", PublishedKeys::new(digests));
            if !model.publications.contains_key(&reference) {
                assert!(triggered.is_empty());
                return;
            }
            let before = model.published.insert(reference.clone(), keys.into_iter().collect()).unwrap_or_default();
            let mut expected = BTreeSet::new();
            for ((namespace, name), number) in model.published[&reference].difference(&before) {
                let key = ((*namespace).to_owned(), (*name).to_owned());
                let pair = model.pairs.get(&key);
                let is_selected = pair.is_some_and(|pair| {
                    Model::is_visible(&reference, &key.0, pair)
                        && model.publications[&reference].iter().flatten().any(|it| Model::selects(it, &key, pair))
                });
                let is_next = pair.is_some_and(|it| it.state.next.as_deref() == Some(&line(*number)));
                if is_next && is_selected {
                    expected.insert(key);
                }
            }
            let triggered: BTreeSet<(String, String)> =
                triggered.into_iter().map(|pair| (pair.namespace.unwrap(), pair.name)).collect();
            assert_eq!(triggered, expected);
        }
    }
}

fn check_all(model: &Model, index: &State) {
    for (reference, sources) in &model.publications {
        let resolved = index.resolve(reference, &publication(reference, sources));
        assert_eq!(resolved, model.resolve(reference), "{reference}");
    }
    for name in NAMESPACES.iter().flat_map(|namespace| NAMES.iter().map(|name| (*namespace, *name))) {
        for number in 1..3 {
            let has = |reference: &PublicationRef| {
                model.published.get(reference).is_some_and(|keys| keys.contains(&(name, number)))
            };
            let expected: Vec<PublicationRef> =
                model.selecting(&owned(name)).into_iter().filter(|reference| !has(reference)).collect();
            assert_eq!(index.waiting(name.0, name.1, &line(number)), expected, "{name:?}");
        }
    }
}

proptest! {
    #[test]
    fn the_index_agrees_with_a_naive_model(operations in vec(operation(), 1..40)) {
        let (mut model, mut index) = (Model::default(), State::default());
        for operation in operations {
            step(&mut model, &mut index, operation);
            check_all(&model, &index);
        }
        // Nothing is left behind.
        step(&mut model, &mut index, Operation::RelistPublications(Vec::new()));
        step(&mut model, &mut index, Operation::Relist(BTreeMap::new()));
        prop_assert!(index.is_empty());
    }
}

fn in_shop(name: &str) -> PublicationRef {
    PublicationRef { kind: PublicationKind::AuthorizedKeys, namespace: "shop".to_owned(), name: name.to_owned() }
}

fn selecting_in(namespace: &str, selector: &str) -> Source {
    Source::Selector { namespace: namespace.to_owned(), selector: selector.parse().unwrap() }
}

/// Pairs of the namespace `ops`, shared with these namespaces.
fn pairs_of_ops(count: usize, share_with: &[&str]) -> Model {
    let pair = |number: usize| {
        let name = format!("pair-{number:03}");
        let state = state("ops", &name, &[1], share_with, false);
        (("ops".to_owned(), name), WatchedPair { state, ..WatchedPair::default() })
    };
    Model { pairs: (0..count).map(pair).collect(), ..Model::default() }
}

#[test]
fn pairs_that_are_not_shared_are_not_in_memory() {
    let (mut model, mut index) = (pairs_of_ops(10, &[]), State::default());
    let sources = [
        Some(selecting_in("ops", "")),
        Some(Source::KeyPair { namespace: "ops".to_owned(), name: "pair-000".to_owned() }),
    ];
    index.apply_publication(&in_shop("x"), change_to(&sources), &model);
    assert_eq!((index.matches(&in_shop("x")), index.kept("ops")), (0, 0));
    let events = |index: &mut State, model: &Model| {
        for ((namespace, name), pair) in &model.pairs {
            index.apply_pair(namespace, name, Some(pair.clone()), model);
        }
        (index.matches(&in_shop("x")), index.kept("ops"))
    };
    assert_eq!(events(&mut index, &model), (0, 0));
    model.pairs = pairs_of_ops(10, &["shop"]).pairs;
    assert_eq!(events(&mut index, &model), (10, 10));
    model.pairs = pairs_of_ops(10, &["other"]).pairs;
    assert_eq!(events(&mut index, &model), (0, 0));
    index.begin_list();
    index.end_list(&model);
    assert_eq!((index.matches(&in_shop("x")), index.kept("ops")), (0, 0));
}

#[test]
fn equal_entries_need_the_memory_of_one() {
    let (model, mut index) = (pairs_of_ops(10, &["*"]), State::default());
    let sources = vec![Some(selecting_in("ops", "!a")); 64];
    index.apply_publication(&in_shop("x"), change_to(&sources), &model);
    assert_eq!(index.matches(&in_shop("x")), 10);
    let resolved = index.resolve(&in_shop("x"), &publication(&in_shop("x"), &sources));
    assert!(resolved.iter().all(|entry| entry.pairs.len() == 10));
}

#[test]
fn a_publication_has_a_bounded_number_of_matches() {
    let (mut model, mut index) = (pairs_of_ops(320, &["*"]), State::default());
    let sources: Vec<_> = (0..64).map(|number| Some(selecting_in("ops", &format!("!a{number}")))).collect();
    let reference = in_shop("x");
    index.apply_publication(&reference, change_to(&sources), &model);
    let problems = |index: &State| {
        let resolved = index.resolve(&reference, &publication(&reference, &sources));
        resolved.into_iter().filter_map(|entry| entry.problem).collect::<BTreeSet<_>>()
    };
    let too_many = BTreeSet::from([Problem::TooMany]);
    assert_eq!((index.matches(&reference), problems(&index)), (MAX_MATCHES, too_many.clone()));
    let more = WatchedPair { state: state("ops", "more", &[1], &["*"], false), ..WatchedPair::default() };
    model.pairs.insert(("ops".to_owned(), "more".to_owned()), more.clone());
    assert!(index.apply_pair("ops", "more", Some(more), &model).is_empty());
    index.begin_list();
    index.end_list(&model);
    assert_eq!((index.matches(&reference), problems(&index)), (MAX_MATCHES, too_many));
    // When there is room again, nothing is missing.
    while model.pairs.len() > 250 {
        let ((namespace, name), _) = model.pairs.pop_last().unwrap();
        index.apply_pair(&namespace, &name, None, &model);
    }
    assert_eq!((index.matches(&reference), problems(&index)), (250 * 64, BTreeSet::new()));
}

#[test]
fn keys_are_published_by_the_object_that_was_written() {
    let (model, mut index) = (pairs_of_ops(1, &["*"]), State::default());
    index.apply_publication(&in_shop("x"), change_to(&[Some(selecting_in("ops", ""))]), &model);
    let keys = PublishedKeys::new([("ops".into(), "pair-000".into(), line(1).into())].into_iter());
    index.set_published(&in_shop("x"), "0", keys.clone());
    assert_eq!(index.waiting("ops", "pair-000", &line(1)), [in_shop("x")], "it was deleted and created again");
    index.set_published(&in_shop("x"), "1", keys);
    assert!(index.waiting("ops", "pair-000", &line(1)).is_empty());
}

fn admins(spec: &serde_json::Value, status: &serde_json::Value) -> AuthorizedKeys {
    serde_json::from_value(json!({
        "metadata": { "name": "admins", "namespace": "shop", "uid": "1" }, "spec": spec, "status": status,
    }))
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_rotation_waits_until_both_kinds_are_known() {
    let publications = Publications::default();
    let watches = publications.watches();
    let progress = || publications.progress("shop", "web", "ssh-ed25519 1");
    assert_eq!(progress(), PublicationProgress::Unknown);
    watches.set_listed(PublicationKind::AuthorizedKeys);
    assert_eq!(progress(), PublicationProgress::Unknown);
    watches.set_forbidden_if_unlisted(PublicationKind::KnownHosts, true);
    watches.wait_until_known().await;
    assert_eq!(progress(), PublicationProgress::Unknown, "there may be some");
    watches.set_absent(PublicationKind::KnownHosts);
    assert_eq!(progress(), PublicationProgress::Published);
    // A watch that fails for a moment changes nothing.
    watches.set_current(PublicationKind::AuthorizedKeys, false);
    assert_eq!(progress(), PublicationProgress::Published);
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    assert_eq!(progress(), PublicationProgress::Unknown);
    watches.set_current(PublicationKind::AuthorizedKeys, true);
    assert_eq!(progress(), PublicationProgress::Published);
}

#[test]
fn publications_are_counted_by_reason() {
    let (publications, none) = (Publications::default(), Model::default());
    let entries = json!({ "entries": [{ "keyPair": "web" }] });
    let status = |reason: &str| {
        json!({ "conditions": [{
            "type": "Ready", "status": "False", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }] })
    };
    let counted = |status: &serde_json::Value| {
        publications.apply(&Event::Apply(admins(&entries, status)), &none);
        publications.count_by_reason().into_iter().collect::<Vec<_>>()
    };
    let kind = PublicationKind::AuthorizedKeys;
    assert_eq!(counted(&json!(null)), [((kind, "Pending"), 1)]);
    assert_eq!(counted(&status("KeyPairNotFound")), [((kind, "KeyPairNotFound"), 1)]);
    assert_eq!(counted(&status("Forged")), [((kind, "Pending"), 1)]);
}
