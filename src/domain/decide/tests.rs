//! The decision against a simulated world: whatever state it is in and wherever a crash interrupts, the steps come to an
//! end, doing them again changes nothing, and one key pair is made for each KeyPair.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use jiff::Timestamp;
use proptest::{prelude::*, sample::select};

mod walks;

use super::*;
use crate::{
    domain::{
        key::{Encoding, Fingerprints, KeySpec, PublicKey},
        ledger::{Claim, Seniority},
        profile::Profile,
        publication::PublicationProgress,
        reason::Reason,
        request::{Generate, Parameters, TokenUse},
        rotation::{Change, OpenGates},
        secret::{OnLoss, SSH_AUTH_TYPE, SecretSettings},
    },
    keygen,
};

const UID: &str = "c6a1c1a6-2f57-4f66-8a4c-0d3d5f0f5a01";

/// Keys to be found in Secrets, two for each kind that the tests ask for.
static KEYS: LazyLock<Vec<PublicKey>> = LazyLock::new(|| {
    [KeySpec::Ed25519, KeySpec::Ed25519, KeySpec::EcdsaP256, KeySpec::EcdsaP256]
        .iter()
        .map(|spec| keygen::generate(*spec).unwrap().public_key("").unwrap())
        .collect()
});

fn desired(public_key: Option<&str>, spec: KeySpec) -> Desired {
    Desired {
        uid: UID.to_owned(),
        deleting: false,
        created: Timestamp::UNIX_EPOCH,
        parameters: Parameters {
            profile: Profile::OpenSSH,
            key_pair_name: "web".to_owned(),
            is_named: false,
            public_key: public_key.map(str::to_owned),
            generate: public_key.is_none().then(|| Generate { algorithm: spec.algorithm(), bits: Some(spec.bits()) }),
            description: None,
            project: String::new(),
            tags: Vec::new(),
            client_token: String::new(),
            secret: SecretSettings::named("web".to_owned()),
            rotation: None,
            share_with: Vec::new(),
        },
    }
}

fn claim(uid: &str, created: i64, accepted: bool) -> Claim {
    Claim {
        uid: uid.into(),
        seniority: Seniority { created, object_name: "web".into() },
        key_pair_name: "web".into(),
        accepted,
        token: None,
    }
}

fn granting_ledger() -> Ledger {
    Ledger::load(Region::with_quota(1), [claim(UID, 1, false)], None)
}

/// A cluster with one KeyPair and some Secrets, of which nobody has a look but the operator.
#[derive(Debug, Clone)]
struct World {
    secrets: BTreeMap<String, Stored>,
    /// Whether the watch of Secrets has caught up.
    watch_is_fresh: bool,
    recorded: Option<AcceptedKeyPair>,
    refusals: Vec<Reason>,
    generated: usize,
    version: usize,
    now: Timestamp,
}

/// A Secret of the simulated cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    secret: ReadSecret,
    /// The fingerprint in the annotation, which need not be that of the key.
    sha256: Option<String>,
    settings: Option<String>,
    secret_type: String,
}

impl World {
    fn new(secret: Option<ReadSecret>) -> Self {
        let mut world = Self {
            secrets: BTreeMap::new(),
            watch_is_fresh: true,
            recorded: None,
            refusals: Vec::new(),
            generated: 0,
            version: 0,
            now: Timestamp::UNIX_EPOCH,
        };
        if let Some(secret) = secret {
            world.put("web", secret, None);
        }
        world
    }

    /// Creates a Secret of the usual type, or replaces all but the type of the one that there is.
    fn put(&mut self, name: &str, mut secret: ReadSecret, settings: Option<String>) -> ObservedSecret {
        self.version += 1;
        secret.version = self.version.to_string();
        let sha256 = secret.public_key.as_ref().map(|key| key.fingerprints().sha256);
        let secret_type = self.secrets.get(name).map_or(SSH_AUTH_TYPE, |stored| &stored.secret_type).to_owned();
        self.secrets.insert(name.to_owned(), Stored { secret: secret.clone(), sha256, settings, secret_type });
        ObservedSecret::Read(secret)
    }

    fn secret(&self) -> Option<&ReadSecret> {
        self.secrets.get("web").map(|stored| &stored.secret)
    }

    fn observe(&self, desired: &Desired) -> Observed {
        let is_known = |stored: &&Stored| stored.secret.ownership == Ownership::Ours && self.watch_is_fresh;
        let created_secrets: BTreeSet<String> =
            self.secrets.iter().filter(|(_, stored)| is_known(stored)).map(|(name, _)| name.clone()).collect();
        let first = desired.secret_name(self.recorded.as_ref(), &created_secrets);
        let observe = |name: &String| {
            let cached = self.secrets.get(name).filter(|_| self.watch_is_fresh).map(|stored| CachedSecret {
                owned: stored.secret.ownership == Ownership::Ours,
                adopted: stored.secret.adopted,
                sha256: stored.sha256.clone(),
                settings: stored.settings.clone(),
                moved: stored.secret.moved.clone(),
                version: stored.secret.version.clone(),
            });
            (name.clone(), ObservedSecret::Unread(cached))
        };
        let secrets = created_secrets.iter().chain([first, &desired.parameters.secret.name]).map(observe).collect();
        Observed {
            recorded: self.recorded.clone(),
            original: None,
            created_secrets,
            refused: self.refusals.first().copied(),
            is_contended: false,
            secrets,
            open_gates: OpenGates::new(),
            publication: PublicationProgress::default(),
            now: self.now,
        }
    }

    fn read(&self, name: &str, desired: &Desired) -> ObservedSecret {
        self.secrets.get(name).map_or(ObservedSecret::Absent, |stored| {
            let digest = desired.parameters.secret.digest(stored.secret.adopted);
            let up_to_date = stored.settings.as_ref() == Some(&digest);
            let is_type_allowed = desired.parameters.secret.allows_type(&stored.secret_type);
            ObservedSecret::Read(ReadSecret { up_to_date, is_type_allowed, ..stored.secret.clone() })
        })
    }

    /// Creates a Secret, unless there is one of that name.
    fn create(
        &mut self,
        name: &str,
        desired: &Desired,
        key: PublicKey,
        replaces: Option<String>,
        moved: Option<Move>,
    ) -> ObservedSecret {
        if self.secrets.contains_key(name) {
            return self.read(name, desired);
        }
        let secret = ReadSecret { moved, replaces, ..read_secret(true, Some(key)) };
        let created = self.put(name, secret, Some(desired.parameters.secret.digest(false)));
        desired.parameters.secret.effective_type().clone_into(&mut self.secrets.get_mut(name).unwrap().secret_type);
        created
    }

    /// Reconciles once; `crash_before` names the step before which the operator dies. Returns whether it came to the end.
    fn reconcile(&mut self, desired: &Desired, ledger: &Ledger, crash_before: Option<usize>) -> bool {
        let mut observed = self.observe(desired);
        for step in 0..16 {
            let plan = decide(desired, &observed, ledger);
            if crash_before == Some(step) {
                return false;
            }
            let (name, secret) = match plan {
                NextStep::Rest => return true,
                NextStep::ReadSecret(name) => (name.clone(), self.read(&name, desired)),
                NextStep::CreateSecret { name, spec, replaces } => {
                    self.generated += usize::from(!self.secrets.contains_key(&name));
                    let key = keygen::generate(spec).unwrap().public_key("").unwrap();
                    (name.clone(), self.create(&name, desired, key, replaces, None))
                }
                NextStep::UpdateSecret { name, version, moved_from } => {
                    let mut secret = self.secrets[&name].secret.clone();
                    assert_ne!(secret.ownership, Ownership::Foreign, "a foreign Secret is changed");
                    assert_eq!(secret.version, version, "another version is changed than was decided about");
                    let is_type_allowed = desired.parameters.secret.allows_type(&self.secrets[&name].secret_type);
                    assert!(is_type_allowed, "the API server may refuse these entries in a Secret of this type");
                    assert_eq!(secret.incompatibility, None, "what its owner put there is overwritten");
                    secret.adopted |= secret.ownership == Ownership::Offered;
                    (secret.ownership, secret.up_to_date, secret.is_selected) = (Ownership::Ours, true, true);
                    secret.moved = moved_from.map(|from| Move { from, to: name.clone() }).or(secret.moved);
                    let settings = desired.parameters.secret.digest(secret.adopted);
                    (name.clone(), self.put(&name, secret, Some(settings)))
                }
                NextStep::CopySecret { from, to } => {
                    let source = self.secrets[&from].secret.clone();
                    let moved = Some(Move { from, to: to.clone() });
                    self.create(&to, desired, source.public_key.unwrap(), None, moved);
                    self.secrets.get_mut(&to).unwrap().secret.rotation = source.rotation;
                    (to.clone(), self.read(&to, desired))
                }
                NextStep::RecordMove { name, version } => {
                    let recorded = self.recorded.as_mut().unwrap();
                    (recorded.secret_name, recorded.secret_version) = (Some(name), Some(version));
                    return self.reconcile(desired, ledger, crash_before.and_then(|crash| crash.checked_sub(step + 1)));
                }
                NextStep::EndMove { name, version } => {
                    let secret = ReadSecret { moved: None, ..self.secrets[&name].secret.clone() };
                    assert_eq!(secret.version, version);
                    let settings = self.secrets[&name].settings.clone();
                    (name.clone(), self.put(&name, secret, settings))
                }
                NextStep::RotateSecret { name, version, change } => {
                    let mut secret = self.secrets[&name].secret.clone();
                    assert!(secret.ownership == Ownership::Ours && secret.version == version);
                    match change {
                        Change::AddNext(spec) => {
                            self.generated += 1;
                            secret.rotation.next = Some(keygen::generate(spec).unwrap().public_key("").unwrap());
                        }
                        Change::Switch { revision } => {
                            secret.rotation.previous = secret.public_key.take();
                            secret.public_key = secret.rotation.next.take();
                            secret.rotation.revision = Some(revision);
                        }
                        Change::RemoveNext => secret.rotation.next = None,
                        Change::RemovePrevious => secret.rotation.previous = None,
                    }
                    let settings = self.secrets[&name].settings.clone();
                    (name.clone(), self.put(&name, secret, settings))
                }
                NextStep::DeleteSecret(name) => {
                    let gone = self.secrets.remove(&name).unwrap().secret;
                    let kept = self.secrets.values().any(|other| other.secret.public_key == gone.public_key);
                    assert!(gone.ownership == Ownership::Ours && kept, "the last copy of a key is deleted");
                    assert!(!gone.adopted, "its owner's Secret is deleted");
                    let named = self.recorded.as_ref().and_then(|recorded| recorded.secret_name.as_ref());
                    assert_ne!(named, Some(&name), "the Secret that the status names is deleted");
                    (name, ObservedSecret::Absent)
                }
                NextStep::ReleaseSecret(name) => {
                    let mut secret = self.secrets[&name].secret.clone();
                    assert!(
                        secret.ownership == Ownership::Ours && secret.adopted,
                        "what nobody handed over is given back"
                    );
                    let kept = self
                        .secrets
                        .iter()
                        .any(|(other, stored)| *other != name && stored.secret.public_key == secret.public_key);
                    assert!(kept, "the key is given away before it is anywhere else");
                    secret.ownership = Ownership::Foreign;
                    (name.clone(), self.put(&name, secret, None))
                }
                NextStep::Report(report) => {
                    self.recorded = report.accepted;
                    self.refusals = report.refusals.iter().map(|refusal| refusal.reason).collect();
                    return true;
                }
            };
            observed.secrets.insert(name, secret);
        }
        panic!("the steps do not come to an end: {observed:?}");
    }
}

fn read_secret(owned: bool, public_key: Option<PublicKey>) -> ReadSecret {
    ReadSecret {
        ownership: if owned { Ownership::Ours } else { Ownership::Foreign },
        adopted: false,
        is_selected: owned,
        owner: None,
        moved: None,
        admission_changes: Vec::new(),
        public_key,
        incompatibility: None,
        up_to_date: true,
        is_type_allowed: true,
        replaces: None,
        rotation: Box::default(),
        version: String::new(),
    }
}

/// Nothing is known but this of the Secret.
fn knowing(desired: &Desired, secret: ObservedSecret) -> Observed {
    Observed { secrets: [("web".to_owned(), secret)].into(), ..World::new(None).observe(desired) }
}

/// A create that is still in flight for the old name conflicts with this Secret.
#[test]
fn a_secret_in_doubt_is_created_under_its_first_name() {
    let mut desired = desired(None, KeySpec::Ed25519);
    desired.parameters.secret.name = "moved".to_owned();
    let observed = Observed {
        created_secrets: BTreeSet::from(["web".to_owned()]),
        secrets: ["web", "moved"].map(|name| (name.to_owned(), ObservedSecret::Absent)).into(),
        ..World::new(None).observe(&desired)
    };
    let plan = decide(&desired, &observed, &granting_ledger());
    assert_eq!(plan, NextStep::CreateSecret { name: "web".to_owned(), spec: KeySpec::Ed25519, replaces: None });
}

/// The key may be in a Secret that a move left behind and that cannot be read at the moment.
#[test]
fn a_key_is_not_lost_while_a_secret_cannot_be_read() {
    let mut desired = desired(None, KeySpec::Ed25519);
    let mut world = World::new(None);
    assert!(world.reconcile(&desired, &granting_ledger(), None));
    for on_loss in [OnLoss::Report, OnLoss::Regenerate] {
        desired.parameters.secret.on_loss = on_loss;
        let why = || "the API server is overloaded".to_owned();
        for (secret, expected) in [
            (ObservedSecret::Forbidden(why()), false),
            (ObservedSecret::Invalid(why()), false),
            (ObservedSecret::Failing(why()), false),
            (ObservedSecret::Absent, true),
        ] {
            let observed = Observed {
                created_secrets: BTreeSet::from(["moved".to_owned()]),
                secrets: [("web".to_owned(), ObservedSecret::Absent), ("moved".to_owned(), secret.clone())].into(),
                ..world.observe(&desired)
            };
            let is_lost = match decide(&desired, &observed, &granting_ledger()) {
                NextStep::Report(report) => report.refusals[0].reason == Reason::PrivateKeyLost,
                NextStep::CreateSecret { .. } => true,
                step => panic!("{step:?}"),
            };
            assert_eq!(is_lost, expected, "{on_loss:?}, {secret:?}");
        }
    }
}

/// The Secret that the spec names is foreign: the message names another Secret only if that one holds the key.
#[test]
fn a_conflict_message_locates_the_key_only_if_it_exists() {
    let key = || Some(KEYS[0].clone());
    let accepted = {
        let mut world = World::new(None);
        world.put("web", read_secret(true, key()), None);
        assert!(world.reconcile(&desired(None, KeySpec::Ed25519), &granting_ledger(), None));
        world.recorded
    };
    assert!(accepted.is_some());
    let told = |recorded: &Option<AcceptedKeyPair>, on_loss, found: ObservedSecret| {
        let mut desired = desired(None, KeySpec::Ed25519);
        (desired.parameters.secret.name, desired.parameters.secret.on_loss) = ("moved".to_owned(), on_loss);
        let taken = ObservedSecret::Read(ReadSecret {
            owner: Some("KeyPair \"api\"".to_owned()),
            ..read_secret(false, Some(KEYS[1].clone()))
        });
        let observed = Observed {
            recorded: recorded.clone(),
            created_secrets: BTreeSet::from(["web".to_owned()]),
            secrets: [("web".to_owned(), found), ("moved".to_owned(), taken)].into(),
            ..World::new(None).observe(&desired)
        };
        let NextStep::Report(report) = decide(&desired, &observed, &granting_ledger()) else { panic!("no report") };
        assert_eq!(report.refusals.len(), 1);
        (report.refusals[0].reason, report.refusals[0].to_string())
    };
    let ours = |key| ObservedSecret::Read(read_secret(true, key));
    let foreign = || ObservedSecret::Read(read_secret(false, key()));
    for recorded in [None, accepted] {
        for on_loss in [OnLoss::Report, OnLoss::Regenerate] {
            let (reason, words) = told(&recorded, on_loss, ours(key()));
            assert!(reason == Reason::SecretConflict && words.contains("stays in Secret \"web\""), "{words}");
            for found in [ObservedSecret::Absent, ours(None), ours(Some(KEYS[1].clone())), foreign()] {
                let is_absent = found == ObservedSecret::Absent;
                let is_other = found == ours(Some(KEYS[1].clone()));
                let (reason, words) = told(&recorded, on_loss, found);
                if recorded.is_none() && is_other {
                    continue; // It is of the kind that the spec asks for, so it is the key.
                }
                assert!(!words.contains("stays in"), "{words}");
                let is_lost = is_absent && recorded.is_some() && on_loss == OnLoss::Report;
                let (expected, name) = if is_lost {
                    (Reason::PrivateKeyLost, "Secret \"web\"")
                } else {
                    (Reason::SecretConflict, "Secret \"moved\"")
                };
                assert!(reason == expected && words.contains(name), "{reason:?} {words}");
            }
        }
    }
}

/// A restarted operator knows of no other Secret that it may have created, and must say the same.
#[test]
fn a_key_of_another_kind_is_reported_before_acceptance_whatever_was_created() {
    let mut desired = desired(None, KeySpec::EcdsaP256);
    desired.parameters.secret.name = "moved".to_owned();
    let told = |created: &[&str], key: Option<PublicKey>| {
        let observed = Observed {
            created_secrets: created.iter().map(|name| (*name).to_owned()).collect(),
            secrets: [
                ("moved".to_owned(), ObservedSecret::Read(read_secret(true, key))),
                ("web".to_owned(), ObservedSecret::Absent),
            ]
            .into(),
            ..World::new(None).observe(&desired)
        };
        let NextStep::Report(report) = decide(&desired, &observed, &granting_ledger()) else { panic!("no report") };
        report.refusals[0].to_string()
    };
    for key in [None, Some(KEYS[0].clone())] {
        let words = told(&[], key.clone());
        assert_eq!(words.contains("of another kind"), key.is_some(), "{words}");
        for created in [&["web"][..], &["web", "moved"], &["moved", "web"]] {
            assert_eq!(told(created, key.clone()), words, "{created:?}");
        }
    }
}

/// Without `spec.generate`, an adopted key may be of another kind than the default, for which the encoding was checked.
#[test]
fn an_encoding_that_cannot_hold_the_adopted_key_is_refused() {
    let ledger = granting_ledger();
    let offered = ReadSecret { ownership: Ownership::Offered, ..read_secret(false, Some(KEYS[0].clone())) };
    let mut desired = desired(None, KeySpec::Ed25519);
    desired.parameters.generate = None;
    for is_adopted_before in [true, false] {
        for name in ["web", "moved"] {
            let mut world = World::new(Some(offered.clone()));
            desired.parameters.secret = SecretSettings::named("web".to_owned());
            if is_adopted_before {
                assert!(world.reconcile(&desired, &ledger, None) && world.refusals.is_empty());
            }
            let before = world.secrets.clone();
            desired.parameters.secret.encoding = Some(Encoding::Pkcs1);
            if is_adopted_before {
                desired.parameters.secret.name = name.to_owned();
            }
            assert!(world.reconcile(&desired, &ledger, None));
            assert_eq!((&world.refusals, &world.secrets), (&vec![Reason::InvalidSecret], &before));
            // An encoding that can hold it ends that.
            desired.parameters.secret.encoding = Some(Encoding::OpenSsh);
            assert!(world.reconcile(&desired, &ledger, None) && world.reconcile(&desired, &ledger, None));
            let wanted = &desired.parameters.secret.name;
            assert!(world.refusals.is_empty() && world.secrets[wanted].secret.ownership == Ownership::Ours);
        }
    }
}

fn any_secret() -> impl Strategy<Value = Option<ReadSecret>> {
    let key = prop::option::of(select(KEYS.as_slice()));
    prop::option::of((any::<bool>(), key).prop_map(|(owned, public_key)| read_secret(owned, public_key)))
}

fn sha256(key: Option<&PublicKey>) -> Option<String> {
    key.map(|key| key.fingerprints().sha256)
}

proptest! {
    #[test]
    fn reconciliation_ends_and_stays_settled(
        import: bool,
        spec in select(&[KeySpec::Ed25519, KeySpec::EcdsaP256]),
        secret in any_secret(),
        crashes in prop::collection::vec((0_usize..4, any::<bool>()), 0..4),
    ) {
        let line = KEYS[0].to_openssh();
        let desired = desired(import.then_some(line.as_str()), spec);
        let ledger = granting_ledger();
        let mut world = World::new(secret.clone());
        for (step, fresh) in crashes {
            world.watch_is_fresh = fresh;
            world.reconcile(&desired, &ledger, Some(step));
        }
        world.watch_is_fresh = true;
        prop_assert!(world.reconcile(&desired, &ledger, None));
        let settled = world.clone();
        for fresh in [true, false, true] {
            world.watch_is_fresh = fresh;
            prop_assert!(world.reconcile(&desired, &ledger, None));
            prop_assert_eq!(&world.recorded, &settled.recorded);
            prop_assert_eq!(&world.refusals, &settled.refusals);
            prop_assert_eq!(world.generated, settled.generated, "a second key was made");
        }
        if let Some(secret) = secret {
            let now = world.secret().unwrap();
            prop_assert_eq!((now.ownership, &now.public_key), (secret.ownership, &secret.public_key), "it was changed");
            prop_assert!(secret.ownership == Ownership::Ours || now.version == "1", "a foreign Secret was touched");
            prop_assert_eq!(world.generated, 0);
        }
        if let (false, Some(accepted)) = (import, &world.recorded) {
            let held = sha256(world.secret().and_then(|secret| secret.public_key.as_ref()));
            prop_assert_eq!(held.as_ref(), Some(&accepted.fingerprints.sha256), "the status is about another key");
        }
    }

    #[test]
    fn an_accepted_pair_never_changes(
        spec in select(&[KeySpec::Ed25519, KeySpec::EcdsaP256]),
        later in any_secret(),
        fresh: bool,
        annotation_is_kept: bool,
    ) {
        let desired = desired(None, spec);
        let ledger = granting_ledger();
        let mut world = World::new(None);
        prop_assert!(world.reconcile(&desired, &ledger, None));
        let accepted = world.clone();
        prop_assert_eq!(&accepted.refusals, &[]);
        let before = world.secrets.remove("web").unwrap();
        if let Some(later) = later.clone() {
            world.put("web", later, before.settings);
            if annotation_is_kept {
                world.secrets.get_mut("web").unwrap().sha256 = before.sha256;
            }
        }
        let found = world.secrets.clone();
        world.watch_is_fresh = fresh;
        prop_assert!(world.reconcile(&desired, &ledger, None));
        prop_assert_eq!(&world.recorded, &accepted.recorded, "what the status records of an accepted pair has changed");
        prop_assert_eq!(&world.secrets, &found, "the Secret was touched");
        let expected = match later {
            None => Reason::PrivateKeyLost,
            Some(ReadSecret { ownership: Ownership::Foreign, .. }) => Reason::SecretConflict,
            Some(_) => Reason::PrivateKeyMismatch,
        };
        prop_assert_eq!(&world.refusals, &[expected]);
        // Nor after the operator has forgotten that it refused it.
        world.refusals.clear();
        prop_assert!(world.reconcile(&desired, &ledger, None));
        prop_assert_eq!(&world.refusals, &[expected]);
    }

    /// Wherever the operator crashes, a rename ends with one Secret: the new one, with the same key.
    #[test]
    fn a_rename_moves_the_key(crashes in prop::collection::vec((0_usize..7, any::<bool>()), 0..6), on_loss: bool) {
        let mut desired = desired(None, KeySpec::Ed25519);
        let ledger = granting_ledger();
        let mut world = World::new(None);
        prop_assert!(world.reconcile(&desired, &ledger, None));
        let key = world.secret().unwrap().public_key.clone();
        desired.parameters.secret.name = "moved".to_owned();
        if on_loss {
            desired.parameters.secret.on_loss = OnLoss::Regenerate;
        }
        for (step, fresh) in crashes {
            world.watch_is_fresh = fresh;
            world.reconcile(&desired, &ledger, Some(step));
        }
        prop_assert!(world.reconcile(&desired, &ledger, None));
        prop_assert_eq!(&world.refusals, &[]);
        prop_assert_eq!(world.generated, 1);
        prop_assert_eq!(world.secrets.keys().collect::<Vec<_>>(), ["moved"]);
        prop_assert_eq!(&world.secrets["moved"].secret.public_key, &key);
        let recorded = world.recorded.unwrap();
        prop_assert_eq!(recorded.secret_name.as_deref(), Some("moved"));
    }

    /// A Secret that was created just before a crash is found even if the name was edited meanwhile.
    #[test]
    fn a_secret_left_under_another_name_is_moved(crash in 1_usize..3, later in prop::option::of(0_usize..6)) {
        let mut desired = desired(None, KeySpec::Ed25519);
        let ledger = granting_ledger();
        let mut world = World::new(None);
        prop_assert!(!world.reconcile(&desired, &ledger, Some(crash)) || crash > 1);
        world.recorded = None;
        desired.parameters.secret.name = "moved".to_owned();
        if later.is_some() {
            world.reconcile(&desired, &ledger, later);
        }
        prop_assert!(world.reconcile(&desired, &ledger, None));
        prop_assert_eq!((world.generated, &world.refusals), (1, &Vec::new()));
        prop_assert_eq!(world.secrets.keys().collect::<Vec<_>>(), ["moved"]);
    }

    /// Missing and invalid values of the status are recovered from the Secret. No key is lost, changed or generated, wherever the
    /// operator crashes and whatever name the spec gives the Secret.
    #[test]
    fn values_missing_from_the_status_are_recovered(
        forgotten in prop::array::uniform4(any::<bool>()), moved: bool, crashes in prop::collection::vec(0_usize..6, 0..4),
    ) {
        let mut desired = desired(None, KeySpec::Ed25519);
        let ledger = granting_ledger();
        let mut world = World::new(None);
        prop_assert!(world.reconcile(&desired, &ledger, None));
        let before = world.recorded.clone().unwrap();
        let recorded = world.recorded.as_mut().unwrap();
        let [name, version, key, fingerprints] = forgotten;
        if name {
            recorded.secret_name = None;
        }
        if version {
            recorded.secret_version = None;
        }
        if key {
            recorded.public_key.clear();
        }
        if fingerprints {
            recorded.fingerprints = Fingerprints::default();
        }
        if moved {
            desired.parameters.secret.name = "moved".to_owned();
        }
        for step in crashes {
            world.reconcile(&desired, &ledger, Some(step));
        }
        prop_assert!(world.reconcile(&desired, &ledger, None));
        prop_assert_eq!((world.generated, &world.refusals), (1, &Vec::new()));
        prop_assert_eq!(world.secrets.keys().collect::<Vec<_>>(), [&desired.parameters.secret.name]);
        let after = world.recorded.clone().unwrap();
        prop_assert_eq!((after.public_key, after.fingerprints), (before.public_key, before.fingerprints));
        prop_assert_eq!(after.secret_name.as_ref(), Some(&desired.parameters.secret.name));
    }

    /// Wherever the operator crashes, it generates one new key for a lost one.
    #[test]
    fn regenerate_replaces_a_lost_key_once(
        crashes in prop::collection::vec((0_usize..4, any::<bool>()), 0..5),
    ) {
        let mut desired = desired(None, KeySpec::Ed25519);
        desired.parameters.secret.on_loss = OnLoss::Regenerate;
        let ledger = granting_ledger();
        let mut world = World::new(None);
        prop_assert!(world.reconcile(&desired, &ledger, None));
        let before = world.recorded.clone().unwrap();
        world.secrets.clear();
        for (step, fresh) in crashes {
            world.watch_is_fresh = fresh;
            world.reconcile(&desired, &ledger, Some(step));
        }
        prop_assert!(world.reconcile(&desired, &ledger, None));
        prop_assert_eq!((world.generated, &world.refusals), (2, &Vec::new()));
        let after = world.recorded.clone().unwrap();
        prop_assert_eq!(&after.id, &before.id);
        prop_assert_ne!(&after.fingerprints, &before.fingerprints);
        let held = sha256(world.secret().unwrap().public_key.as_ref());
        prop_assert_eq!(held.as_ref(), Some(&after.fingerprints.sha256));
    }

    /// An offered key is adopted, unless the spec asks for another kind.
    #[test]
    fn an_offered_key_is_adopted(key in select(KEYS.as_slice()), asked: bool, crash in prop::option::of(0_usize..5)) {
        let mut desired = desired(None, KeySpec::Ed25519);
        if !asked {
            desired.parameters.generate = None;
        }
        let ledger = granting_ledger();
        let mut world = World::new(Some(ReadSecret { ownership: Ownership::Offered, ..read_secret(false, Some(key.clone())) }));
        if crash.is_some() {
            world.reconcile(&desired, &ledger, crash);
        }
        prop_assert!(world.reconcile(&desired, &ledger, None));
        prop_assert_eq!(world.generated, 0);
        prop_assert_eq!(&world.secret().unwrap().public_key.as_ref(), &Some(&key));
        if asked && key.algorithm() != KeySpec::Ed25519.algorithm() {
            prop_assert_eq!(&world.refusals, &[Reason::SecretConflict]);
            prop_assert_eq!(world.secret().unwrap().ownership, Ownership::Offered);
        } else {
            prop_assert_eq!(&world.refusals, &[]);
            prop_assert_eq!(world.recorded.unwrap().fingerprints, key.fingerprints());
        }
    }

    /// Wherever the operator crashes, an adopted Secret whose key moves is given back to its owner.
    #[test]
    fn an_adopted_secret_is_given_back(
        crashes in prop::collection::vec((0_usize..7, any::<bool>()), 0..6),
        is_accepted: bool,
    ) {
        let mut desired = desired(None, KeySpec::Ed25519);
        let ledger = granting_ledger();
        let offered = ReadSecret { ownership: Ownership::Offered, ..read_secret(false, Some(KEYS[0].clone())) };
        let mut world = World::new(Some(offered));
        prop_assert!(world.reconcile(&desired, &ledger, None));
        if !is_accepted {
            world.recorded = None;
        }
        desired.parameters.secret.name = "moved".to_owned();
        for (step, fresh) in crashes {
            world.watch_is_fresh = fresh || !is_accepted;
            world.reconcile(&desired, &ledger, Some(step));
        }
        world.watch_is_fresh = true;
        prop_assert!(world.reconcile(&desired, &ledger, None));
        prop_assert_eq!((world.generated, &world.refusals), (0, &Vec::new()));
        prop_assert_eq!(world.secrets.keys().collect::<Vec<_>>(), ["moved", "web"]);
        for (name, ownership) in [("moved", Ownership::Ours), ("web", Ownership::Foreign)] {
            let secret = &world.secrets[name].secret;
            prop_assert_eq!((secret.ownership, secret.public_key.as_ref()), (ownership, Some(&KEYS[0])), "{}", name);
        }
        let recorded = world.recorded.unwrap();
        prop_assert_eq!(recorded.secret_name.as_deref(), Some("moved"));
    }
}

/// The obstacle to an adoption is reported, and nothing is written.
#[test]
fn an_obstacle_is_reported_and_watched() {
    let desired = desired(None, KeySpec::Ed25519);
    let offered = ReadSecret { ownership: Ownership::Offered, ..read_secret(false, Some(KEYS[0].clone())) };
    let cases = [
        (Ownership::Offered, None, Incompatibility::Key("the RSA private key has 1536 bits".to_owned()), "1536 bits"),
        (
            Ownership::Foreign,
            None,
            Incompatibility::Owner("SealedSecret \"db\"".to_owned()),
            "is owned by SealedSecret \"db\"",
        ),
        (Ownership::Offered, Some(KEYS[0].clone()), Incompatibility::Entry("id.pub".to_owned()), "entry \"id.pub\""),
        (Ownership::Ours, Some(KEYS[0].clone()), Incompatibility::Entry("id.pub".to_owned()), "entry \"id.pub\""),
    ];
    for (ownership, public_key, incompatibility, words) in cases {
        let secret = ReadSecret { ownership, public_key, incompatibility: Some(incompatibility), ..offered.clone() };
        let observed = knowing(&desired, ObservedSecret::Read(secret));
        let NextStep::Report(report) = decide(&desired, &observed, &granting_ledger()) else { panic!("{words}") };
        assert_eq!(report.refusals[0].reason, Reason::SecretConflict);
        assert!(report.refusals[0].detail.contains(words), "{}", report.refusals[0].detail);
        assert_eq!((report.requeue, report.awaited_secret.as_deref()), (true, Some("web")));
    }
}

/// A label of another tool hides a Secret from the watch, and admission may remove what the operator writes.
#[test]
fn a_secret_without_our_label_is_watched() {
    let desired = desired(None, KeySpec::Ed25519);
    let decide = |is_selected, changes: &[&str]| {
        let admission_changes = changes.iter().map(ToString::to_string).collect();
        let secret = ReadSecret { is_selected, admission_changes, ..read_secret(true, Some(KEYS[0].clone())) };
        decide(&desired, &knowing(&desired, ObservedSecret::Read(secret)), &granting_ledger())
    };
    // It is given a label by which it is watched.
    assert!(matches!(decide(false, &[]), NextStep::UpdateSecret { .. }));
    for (is_selected, changes) in [(true, &[] as &[&str]), (true, &["label team"]), (false, &["label a", "label b"])] {
        let NextStep::Report(report) = decide(is_selected, changes) else { panic!("no report") };
        // The pair is accepted and has its key, whatever admission takes away; that is told.
        assert!(report.accepted.is_some());
        let told: Vec<Reason> = report.refusals.iter().map(|refusal| refusal.reason).collect();
        assert_eq!(told, vec![Reason::SecretConflict; usize::from(!changes.is_empty())]);
        assert!(changes.iter().all(|it| report.refusals[0].detail.contains(it)), "{:?}", report.refusals);
        assert_eq!(report.awaited_secret.is_none(), is_selected && changes.is_empty());
    }
}

/// A KeyPair cannot use the operator's own names, but one that already has such a name keeps it.
#[test]
fn the_operators_own_names_are_refused() {
    let mut desired = desired(None, KeySpec::Ed25519);
    let region = Region { own_prefix: "keys".to_owned(), ..Region::with_quota(1) };
    let ledger = Ledger::load(region, [claim(UID, 1, false)], None);
    let mut world = World::new(None);
    assert!(world.reconcile(&desired, &granting_ledger(), None));
    let held = world.recorded.clone();
    desired.parameters.secret.name = "keys-webhook".to_owned();
    let observed = World::new(None).observe(&desired);
    assert_eq!(only_reason(decide(&desired, &observed, &ledger)), Reason::InvalidSecret);
    // A rename to one is refused as well, and the pair stays what it is.
    let NextStep::Report(report) = decide(&desired, &world.observe(&desired), &ledger) else { panic!("no report") };
    assert_eq!((report.refusals[0].reason, report.accepted), (Reason::InvalidSecret, held.clone()));
    let held = held.map(|accepted| AcceptedKeyPair { secret_name: Some("keys-webhook".to_owned()), ..accepted });
    let observed = Observed { recorded: held, ..World::new(None).observe(&desired) };
    assert_eq!(decide(&desired, &observed, &ledger), NextStep::ReadSecret("keys-webhook".to_owned()));
    // An imported pair has no Secret.
    desired.parameters.public_key = Some(KEYS[0].to_openssh());
    desired.parameters.generate = None;
    let observed = World::new(None).observe(&desired);
    assert!(matches!(decide(&desired, &observed, &ledger), NextStep::Report(report) if report.refusals.is_empty()));
}

fn only_reason(plan: NextStep) -> Reason {
    match plan {
        NextStep::Report(report) if report.refusals.len() == 1 => report.refusals[0].reason,
        other => panic!("not one refusal: {other:?}"),
    }
}

#[test]
fn names_and_slots_come_from_the_ledger() {
    let desired = desired(None, KeySpec::Ed25519);
    let observed = World::new(None).observe(&desired);
    assert_eq!(decide(&desired, &observed, &Ledger::new(Region::with_quota(1))), NextStep::Rest);
    let taken = Ledger::load(Region::with_quota(2), [claim("other", 2, true), claim(UID, 1, false)], None);
    assert_eq!(only_reason(decide(&desired, &observed, &taken)), Reason::KeyPairNameConflict);
    let full = Ledger::load(Region::with_quota(0), [claim(UID, 1, false)], None);
    assert_eq!(only_reason(decide(&desired, &observed, &full)), Reason::QuotaExceeded);
}

#[test]
fn a_key_pair_being_deleted_is_left_alone() {
    let mut desired = desired(None, KeySpec::Ed25519);
    desired.deleting = true;
    assert_eq!(decide(&desired, &World::new(None).observe(&desired), &granting_ledger()), NextStep::Rest);
}

#[test]
fn a_refusal_by_the_api_server_is_reported() {
    let desired = desired(None, KeySpec::Ed25519);
    for (secret, reason) in [
        (ObservedSecret::Invalid("label".to_owned()), Reason::InvalidSecret),
        (ObservedSecret::Forbidden("quota".to_owned()), Reason::InternalError),
    ] {
        let observed = knowing(&desired, secret);
        assert_eq!(only_reason(decide(&desired, &observed, &granting_ledger())), reason);
    }
}

#[test]
fn a_contended_secret_is_read_before_generating_a_key() {
    let desired = desired(None, KeySpec::Ed25519);
    let mut observed = World::new(None).observe(&desired);
    assert!(matches!(decide(&desired, &observed, &granting_ledger()), NextStep::CreateSecret { .. }));
    observed.is_contended = true;
    let name = desired.parameters.secret.name.clone();
    assert_eq!(decide(&desired, &observed, &granting_ledger()), NextStep::ReadSecret(name));
}

#[test]
fn a_request_that_the_region_disallows_is_refused() {
    let mut desired = desired(None, KeySpec::Ed25519);
    let observed = World::new(None).observe(&desired);
    let elsewhere = Ledger::load(Region::default(), [claim(UID, 1, false)], None);
    assert_eq!(only_reason(decide(&desired, &observed, &elsewhere)), Reason::RegionNotFound);
    let region = Region { projects: Some(["a".to_owned()].into()), ..Region::with_quota(1) };
    let listed = Ledger::load(region, [claim(UID, 1, false)], None);
    desired.parameters.project = "b".to_owned();
    assert_eq!(only_reason(decide(&desired, &observed, &listed)), Reason::ProjectNotFound);
    desired.parameters.project = "a".to_owned();
    assert!(matches!(decide(&desired, &observed, &listed), NextStep::CreateSecret { .. }));
}

#[test]
fn a_replay_reports_the_result_of_its_original() {
    let line = KEYS[0].to_openssh();
    let mut original = World::new(None);
    assert!(original.reconcile(&desired(Some(&line), KeySpec::Ed25519), &granting_ledger(), None));
    let mut desired = desired(Some(&line), KeySpec::Ed25519);
    desired.parameters.client_token = "t".to_owned();
    let token = desired.parameters.token_use(&Region::with_quota(1));
    let first = |accepted| Claim { token: token.clone(), ..claim("first", 1, accepted) };
    let second = || Claim { token: token.clone(), ..claim(UID, 2, false) };
    let mut observed = World::new(None).observe(&desired);
    let pending = Ledger::load(Region::with_quota(1), [first(false), second()], None);
    assert_eq!(only_reason(decide(&desired, &observed, &pending)), Reason::IdempotentProcessing);
    let settled = Ledger::load(Region::with_quota(1), [first(true), second()], None);
    assert_eq!(only_reason(decide(&desired, &observed, &settled)), Reason::IdempotentProcessing);
    let accepted = original.recorded.clone().unwrap();
    observed.original = Some(Original { accepted: accepted.clone(), refused: None });
    let NextStep::Report(report) = decide(&desired, &observed, &settled) else { panic!("no report") };
    assert_eq!((report.accepted, report.replay_of.as_deref()), (original.recorded, Some("web")));
    let other = Claim { token: None, ..second() };
    let reused = Claim { token: token.clone().map(|token| TokenUse { digest: [0; 32], ..token }), ..other };
    let reused = Ledger::load(Region::with_quota(1), [first(true), reused], None);
    assert_eq!(only_reason(decide(&desired, &observed, &reused)), Reason::IdempotentParameterMismatch);
}
