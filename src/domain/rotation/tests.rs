//! Rotations in a simulated world: whatever is edited, whenever the operator crashes, every key is published as long as it must be.

use std::{collections::BTreeMap, sync::LazyLock};

use jiff::{SignedDuration, Timestamp, ToSpan as _};
use proptest::{prelude::*, sample::select};

use super::*;
use crate::{
    domain::{
        key::KeySpec,
        profile::Profile,
        publication::{PublicationKind, PublicationProgress, PublicationRef},
        reason::Reason,
        request::{Generate, Parameters},
        secret::SecretSettings,
    },
    keygen,
};

const UID: &str = "6b4a2a8e-f4bc-49f2-9a46-7c365480800c";

static KEYS: LazyLock<Vec<PublicKey>> = LazyLock::new(|| (0..64).map(|_| generate(KeySpec::Ed25519)).collect());

fn generate(spec: KeySpec) -> PublicKey {
    keygen::generate(spec).unwrap().public_key("").unwrap()
}

/// A plan without anything to do.
fn rest(state: RotationState) -> Plan {
    Plan { change: None, state, publication: PublicationProgress::Published, due: None }
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

fn settings(every: Option<i64>, publish_before: i64, keep_after: i64) -> RotationSettings {
    RotationSettings {
        every: every.map(seconds),
        publish_before: seconds(publish_before),
        keep_after: seconds(keep_after),
        gates: Vec::new(),
        request: None,
    }
}

/// One pair, its Secret and its status.
struct World {
    now: Timestamp,
    created: Timestamp,
    settings: Option<RotationSettings>,
    open_gates: OpenGates,
    publication: PublicationProgress,
    wanted: (KeySpec, bool),
    current: PublicKey,
    next: Option<PublicKey>,
    previous: Option<PublicKey>,
    revision: Option<u32>,
    recorded: Option<RotationState>,
    /// When the status first showed each key as the next one without a break.
    published: BTreeMap<Vec<u8>, Timestamp>,
    /// When the status first showed each key as the previous one.
    replaced: BTreeMap<Vec<u8>, Timestamp>,
    generated: usize,
    due: Option<Timestamp>,
}

impl World {
    fn new(settings: Option<RotationSettings>) -> Self {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        Self {
            now,
            created: now,
            settings,
            open_gates: OpenGates::new(),
            publication: PublicationProgress::default(),
            wanted: (KeySpec::Ed25519, true),
            current: KEYS[0].clone(),
            next: None,
            previous: None,
            revision: None,
            recorded: None,
            published: BTreeMap::new(),
            replaced: BTreeMap::new(),
            generated: 1,
            due: None,
        }
    }

    fn pass(&mut self, seconds: i64) {
        self.now += seconds.seconds();
    }

    fn plan(&self, is_read: bool) -> Plan {
        let held = HeldKeys {
            next: self.next.as_ref(),
            previous: self.previous.as_ref(),
            is_previous_kept: self.previous.is_some(),
            revision: self.revision,
        };
        plan(&Input {
            uid: UID,
            settings: self.settings.as_ref(),
            recorded: self.recorded.as_ref(),
            current: &self.current,
            held: is_read.then_some(held),
            wanted: self.wanted,
            open_gates: &self.open_gates,
            publication: &self.publication,
            created: self.created,
            now: self.now,
        })
    }

    /// Reconciles once; the operator crashes before this step.
    fn reconcile(&mut self, crash_before: Option<usize>) {
        for step in 0..8 {
            let plan = self.plan(true);
            if crash_before == Some(step) {
                return;
            }
            let Some(change) = plan.change else {
                self.write(plan.state);
                self.due = plan.due;
                return;
            };
            self.change(change);
        }
        panic!("the steps do not come to an end");
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::AddNext(spec) => {
                self.next = Some(if spec == KeySpec::Ed25519 {
                    KEYS[self.generated % KEYS.len()].clone()
                } else {
                    generate(spec)
                });
                self.generated += 1;
            }
            Change::Switch { revision } => {
                let next = self.next.take().unwrap();
                let settings = self.settings.as_ref().expect("without rotation nothing is exchanged");
                let published = self.published.get(next.blob()).copied().expect("the key was published");
                assert!(
                    self.now.duration_since(published) >= settings.publish_before,
                    "published for too short a time"
                );
                assert!(settings.gates.iter().all(|gate| self.open_gates.contains(gate)), "a gate is closed");
                assert_eq!(self.previous, None, "the previous key is removed first");
                self.previous = Some(std::mem::replace(&mut self.current, next));
                self.revision = Some(revision);
            }
            Change::RemoveNext => self.next = None,
            Change::RemovePrevious => {
                let previous = self.previous.take().unwrap();
                self.check_kept(&previous);
            }
        }
    }

    fn check_kept(&self, previous: &PublicKey) {
        let keep_after =
            self.settings.as_ref().map_or(RotationSettings::KEEP_AFTER_WITHOUT_SETTINGS, |it| it.keep_after);
        let since = self.replaced.get(previous.blob()).expect("the status showed the key as the previous one");
        assert!(self.now.duration_since(*since) >= keep_after, "the previous key goes too early");
    }

    fn write(&mut self, state: RotationState) {
        let before = self.recorded.clone().unwrap_or_default();
        let of = |state: &RotationState, phase| state.key(phase).map(|key| key.key.clone());
        let next = of(&state, Phase::Next);
        self.published.retain(|blob, _| next.as_ref().is_some_and(|next| next.blob() == blob.as_slice()));
        if let Some(next) = next.filter(|next| of(&before, Phase::Next).as_ref() != Some(next)) {
            self.published.insert(next.blob().to_vec(), self.now);
            // In the same write.
            self.open_gates.clear();
        }
        if let Some(previous) = of(&state, Phase::Previous) {
            self.replaced.entry(previous.blob().to_vec()).or_insert(self.now);
        }
        if let Some(gone) =
            of(&before, Phase::Previous).filter(|gone| of(&state, Phase::Previous).as_ref() != Some(gone))
            // It may have been removed according to earlier settings.
            && self.previous.as_ref() == Some(&gone)
        {
            self.check_kept(&gone);
        }
        // The status shows what the Secret holds.
        if !state.keys.is_empty() {
            assert_eq!(of(&state, Phase::Current).as_ref(), Some(&self.current));
        }
        assert_eq!(of(&state, Phase::Next), self.next);
        assert_eq!(of(&state, Phase::Previous), self.previous);
        assert!(state.revision >= before.revision || state.revision == 0, "a revision does not fall");
        let revisions: Vec<u32> = state.keys.iter().map(|key| key.revision).collect();
        assert!(revisions.is_sorted_by(|one, other| one < other), "{revisions:?}");
        self.recorded = Some(state);
    }

    fn state(&self) -> &RotationState {
        self.recorded.as_ref().unwrap()
    }

    fn request(&mut self, request: &str) {
        self.settings.as_mut().unwrap().request = Some(request.to_owned());
    }
}

#[test]
fn a_pair_without_rotation_records_nothing() {
    let mut world = World::new(None);
    for _ in 0..3 {
        world.reconcile(None);
        world.pass(1_000_000_000);
        assert!(world.state().is_empty() && world.generated == 1);
        assert_eq!(world.plan(false), rest(RotationState::default()));
    }
}

#[test]
fn a_schedule_publishes_then_switches_then_removes() {
    let mut world = World::new(Some(settings(Some(1000), 100, 200)));
    world.reconcile(None);
    let switch = world.state().next_switch.unwrap();
    let until = switch.duration_since(world.now).as_secs();
    assert!((900..=1000).contains(&until), "{until}");
    assert_eq!(world.due, Some(switch - 100.seconds()));
    world.now = world.due.unwrap();
    world.reconcile(None);
    let next = world.next.clone().unwrap();
    assert_eq!(world.state().keys.iter().map(|key| key.phase).collect::<Vec<_>>(), [Phase::Current, Phase::Next]);
    assert_eq!((world.state().revision, world.state().next_switch, world.due), (1, Some(switch), Some(switch)));
    world.pass(99);
    world.reconcile(None);
    assert_ne!(world.current, next);
    world.pass(1);
    world.reconcile(None);
    assert_eq!((&world.current, world.state().revision), (&next, 2));
    assert_eq!(world.state().keys.iter().map(|key| key.phase).collect::<Vec<_>>(), [Phase::Previous, Phase::Current]);
    world.pass(200);
    world.reconcile(None);
    assert_eq!(world.state().keys.len(), 1);
    assert!(world.state().next_switch.unwrap() > world.now);
}

#[test]
fn a_request_rotates_once_and_waits_for_the_rotation_before_it() {
    let mut world = World::new(Some(settings(None, 10, 20)));
    world.request("on-create");
    world.reconcile(None);
    assert_eq!((world.generated, world.state().handled_request.as_deref()), (1, Some("on-create")), "the key is new");
    assert_eq!((world.state().next_switch, world.due), (None, None));
    world.request("1");
    world.reconcile(None);
    assert_eq!((world.generated, world.state().handled_request.as_deref()), (2, Some("1")));
    world.request("2");
    world.reconcile(None);
    assert_eq!((world.generated, world.state().handled_request.as_deref()), (2, Some("1")));
    world.pass(10);
    world.reconcile(None);
    assert_eq!((world.generated, world.state().revision), (2, 2));
    assert_eq!(world.due, Some(world.now + 20.seconds()));
    world.pass(20);
    world.reconcile(None);
    assert_eq!((world.generated, world.state().handled_request.as_deref()), (3, Some("2")));
    world.pass(10);
    world.reconcile(None);
    world.pass(20);
    world.reconcile(None);
    assert_eq!((world.generated, world.state().revision, world.due), (3, 3, None));
}

#[test]
fn a_switch_waits_for_gates() {
    let gate = "example.com/registered".to_owned();
    let mut world = World::new(Some(RotationSettings { gates: vec![gate.clone()], ..settings(None, 10, 0) }));
    world.reconcile(None);
    world.open_gates.insert(gate.clone());
    world.request("1");
    world.reconcile(None);
    assert_eq!(world.state().waiting_for, std::slice::from_ref(&gate), "an old answer does not count");
    world.pass(100);
    world.reconcile(None);
    assert_eq!(world.state().revision, 1);
    world.open_gates.insert(gate);
    world.reconcile(None);
    assert_eq!(
        (world.state().revision, world.previous.is_some()),
        (2, true),
        "the status does not show the switch yet"
    );
    world.now = world.due.unwrap();
    world.reconcile(None);
    assert_eq!((world.state().revision, world.previous.clone()), (2, None), "keepAfter is 0s");
}

#[test]
fn a_switch_waits_for_publications() {
    let admins = PublicationRef {
        kind: PublicationKind::AuthorizedKeys,
        namespace: "shop".to_owned(),
        name: "admins".to_owned(),
    };
    let waiting = PublicationProgress::Waiting(vec![admins]);
    let mut world = World::new(Some(settings(None, 10, 0)));
    world.publication = waiting.clone();
    world.reconcile(None);
    world.request("1");
    world.reconcile(None);
    assert_eq!(world.plan(true).publication, PublicationProgress::Published, "its time has not come");
    world.pass(100);
    world.reconcile(None);
    let plan = world.plan(true);
    assert_eq!((world.state().revision, plan.change, plan.publication, plan.due), (1, None, waiting, None));
    world.publication = PublicationProgress::Unknown;
    let plan = world.plan(true);
    assert_eq!((plan.change, plan.publication), (None, PublicationProgress::Unknown));
    assert_eq!(plan.due, Some(world.now + 5.seconds()), "no event tells when they are known");
    world.publication = PublicationProgress::Published;
    world.reconcile(None);
    assert_eq!((world.state().revision, world.plan(true).publication), (2, PublicationProgress::Published));
}

#[test]
fn without_rotation_the_next_key_goes_and_the_previous_one_stays_a_day() {
    let mut world = World::new(Some(settings(None, 10, 10)));
    world.reconcile(None);
    world.request("1");
    world.reconcile(None);
    world.pass(10);
    world.settings = None;
    world.reconcile(None);
    assert_eq!((world.next.clone(), world.state().keys.len()), (None, 0));
    world.settings = Some(settings(None, 10, 10));
    world.reconcile(None);
    assert_eq!(world.generated, 2, "the request is handled");
    world.request("2");
    world.reconcile(None);
    world.pass(10);
    world.reconcile(None);
    assert_eq!(world.state().revision, 2);
    world.settings = None;
    world.reconcile(None);
    assert!(world.previous.is_some() && world.state().keys.len() == 2);
    world.pass(24 * 3600);
    world.reconcile(None);
    assert_eq!((world.previous.clone(), world.state().keys.len(), world.state().revision), (None, 0, 2));
}

/// The Secret cannot get it back.
#[test]
fn a_removed_previous_key_is_not_shown_when_keep_after_changes_before_the_status() {
    let mut world = World::new(Some(settings(None, 0, 10)));
    world.reconcile(None);
    world.request("1");
    world.reconcile(None);
    world.reconcile(None);
    assert_eq!((world.state().revision, world.state().keys.len()), (2, 2));
    world.pass(10);
    world.reconcile(Some(1));
    assert_eq!((world.previous.as_ref(), world.state().keys.len()), (None, 2), "the status was not written");
    world.settings = Some(RotationSettings { request: Some("1".to_owned()), ..settings(None, 0, 1000) });
    world.reconcile(None);
    assert_eq!(world.state().keys.len(), 1);
}

#[test]
fn another_kind_of_key_is_a_reason_to_rotate() {
    let mut world = World::new(Some(settings(None, 10, 10)));
    world.reconcile(None);
    world.wanted = (KeySpec::EcdsaP256, true);
    world.reconcile(None);
    assert_eq!(world.next.as_ref().map(PublicKey::bits), Some(256));
    // Edited again while the next key is published: it is replaced, and published for as long.
    world.pass(9);
    world.wanted = (KeySpec::EcdsaP384, true);
    world.reconcile(None);
    world.pass(9);
    world.reconcile(None);
    assert_eq!(world.current, KEYS[0]);
    world.pass(1);
    world.reconcile(None);
    assert_eq!(world.current.bits(), 384);
    world.pass(10);
    world.reconcile(None);
    assert_eq!((world.due, world.generated), (None, 3));
}

#[test]
fn pairs_that_are_due_together_are_spread() {
    let every = settings(Some(2160 * 3600), 24 * 3600, 24 * 3600);
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    for age in [0, 4000 * 3600] {
        let mut hours: Vec<i64> = Vec::new();
        for pair in 0..1000 {
            let uid = format!("{UID}-{pair}");
            let scheduled = schedule::Scheduled { uid: &uid, revision: 1, since: now - age.seconds(), recorded: None };
            let switch = schedule::next_switch(&every, scheduled, now).unwrap();
            let again = schedule::Scheduled { recorded: Some(switch), ..scheduled };
            let later = now + 3600.seconds();
            assert_eq!(schedule::next_switch(&every, again, later), Some(switch), "the status shows it beforehand");
            hours.push(switch.duration_since(now).as_hours());
        }
        hours.sort_unstable();
        let in_one_hour = hours.chunk_by(|one, other| one == other).map(<[i64]>::len).max().unwrap();
        assert!(in_one_hour < 25, "{in_one_hour} of 1000 in one hour");
        let (first, last) = (hours[0], hours[999]);
        let window = if age == 0 { 1944..=2160 } else { 24..=240 };
        assert!(window.contains(&first) && window.contains(&last), "{first} {last}");
    }
}

/// What happens to a pair.
#[derive(Debug, Clone)]
enum Act {
    Pass(i64),
    Reconcile(Option<usize>),
    Settings(Option<(Option<i64>, i64, i64, bool)>),
    Request(u8),
    OpenGate,
    CloseGate,
    Want(KeySpec),
    LoseNext,
    LoseStatus,
}

fn any_act() -> impl Strategy<Value = Act> {
    let times = || select(&[0_i64, 1, 5, 10, 60]);
    let every = prop::option::of(select(&[60_i64, 100, 200]));
    prop_oneof![
        6 => select(&[0_i64, 1, 4, 5, 9, 10, 11, 60, 100]).prop_map(Act::Pass),
        8 => prop::option::weighted(0.5, 0_usize..4).prop_map(Act::Reconcile),
        2 => prop::option::weighted(0.8, (every, times(), times(), any::<bool>())).prop_map(Act::Settings),
        3 => (0_u8..4).prop_map(Act::Request),
        3 => Just(Act::OpenGate),
        1 => Just(Act::CloseGate),
        1 => select(&[KeySpec::Ed25519, KeySpec::EcdsaP256]).prop_map(Act::Want),
        1 => Just(Act::LoseNext),
        1 => Just(Act::LoseStatus),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_key_is_published_as_long_as_it_must_be(acts in prop::collection::vec(any_act(), 1..60)) {
        let mut world = World::new(Some(settings(None, 10, 10)));
        world.reconcile(None);
        for act in acts {
            match act {
                Act::Pass(seconds) => world.pass(seconds),
                Act::Reconcile(crash) => world.reconcile(crash),
                Act::Settings(given) => {
                    world.settings = given.map(|(every, publish_before, keep_after, gated)| RotationSettings {
                        gates: if gated { vec!["gate".to_owned()] } else { Vec::new() },
                        request: world.settings.as_ref().and_then(|settings| settings.request.clone()),
                        ..settings(every, publish_before, keep_after)
                    });
                }
                Act::Request(request) => {
                    if let Some(settings) = &mut world.settings {
                        settings.request = Some(request.to_string());
                    }
                }
                Act::OpenGate => drop(world.open_gates.insert("gate".to_owned())),
                Act::CloseGate => drop(world.open_gates.remove("gate")),
                Act::Want(spec) => world.wanted = (spec, true),
                Act::LoseNext => world.next = None,
                Act::LoseStatus => {
                    // An earlier version writes statuses without these fields.
                    world.recorded = Some(RotationState::default());
                    world.published.clear();
                    world.replaced.clear();
                }
            }
        }
        // In the end it comes to rest: the spec is fulfilled.
        world.settings = Some(settings(None, 5, 5));
        for _ in 0..12 {
            world.pass(10);
            world.reconcile(None);
        }
        let (spec, _) = world.wanted;
        prop_assert_eq!((world.current.algorithm(), world.current.bits()), (spec.algorithm(), spec.bits()));
        prop_assert_eq!((world.next.clone(), world.previous.clone(), world.due), (None, None, None));
        prop_assert_eq!(world.plan(false), rest(world.state().clone()));
    }
}

fn parameters(rotation: Option<RotationTexts>) -> Parameters {
    Parameters {
        profile: Profile::OpenSSH,
        key_pair_name: "web".to_owned(),
        is_named: false,
        public_key: None,
        generate: Some(Generate::default()),
        description: None,
        project: String::new(),
        tags: Vec::new(),
        client_token: String::new(),
        secret: SecretSettings::named("web".to_owned()),
        rotation,
        share_with: Vec::new(),
    }
}

#[test]
fn settings_are_checked() {
    let texts = |change: fn(&mut RotationTexts)| {
        let mut texts = RotationTexts::default();
        change(&mut texts);
        check(&parameters(Some(texts)))
    };
    assert_eq!(check(&parameters(None)), Ok(None));
    let day = SignedDuration::from_hours(24);
    assert_eq!(texts(|_| ()).unwrap().map(|it| (it.every, it.publish_before, it.keep_after)), Some((None, day, day)));
    assert!(texts(|it| (it.every, it.publish_before) = (Some("2160h0m0s".into()), "1h30m".into())).is_ok());
    assert!(texts(|it| (it.publish_before, it.keep_after) = ("0s".into(), "500ms".into())).is_ok());
    let broken: [fn(&mut RotationTexts); 12] = [
        |it| it.every = Some("0s".into()),
        |it| it.every = Some("23h59m".into()),
        |it| it.every = Some("90d".into()),
        |it| it.every = Some(String::new()),
        |it| it.publish_before = "-1h".into(),
        |it| it.keep_after = "87601h".into(),
        |it| it.keep_after = "999999999999999999999h".into(),
        |it| it.gates = vec!["Ready".into()],
        |it| it.gates = vec!["a b".into()],
        |it| it.gates = vec!["x".into(), "x".into()],
        |it| it.gates = (0..9).map(|n| format!("g{n}")).collect(),
        |it| it.request = Some("two\nlines".into()),
    ];
    for change in broken {
        let refusals = texts(change).unwrap_err();
        assert!(refusals.len() == 1 && refusals[0].reason == Reason::InvalidRotation, "{refusals:?}");
    }
    let mut import = parameters(Some(RotationTexts::default()));
    (import.public_key, import.generate) = (Some("ssh-ed25519 AAAA".to_owned()), None);
    assert!(check(&import).unwrap_err()[0].detail.contains("imported"));
    for (private, public, entry) in
        [("a", "a.next", ""), ("a.previous", "a", ""), ("a", "b", "b.next"), (&"x".repeat(250), "b", "")]
    {
        let mut request = parameters(Some(RotationTexts::default()));
        (request.secret.private_key, request.secret.public_key) = (private.to_owned(), public.to_owned());
        request.secret.string_data.insert(entry.to_owned(), String::new());
        assert!(check(&request).is_err(), "{private} {public} {entry}");
    }
}
