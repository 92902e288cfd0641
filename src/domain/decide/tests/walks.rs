//! Walks: whatever is edited, in whatever order, there and back, and wherever the operator dies between two steps, the key ends where
//! the last spec wants it, and nowhere else.

use super::*;
use crate::domain::{key::Encoding, secret::DeletionPolicy};

/// An edit of `spec.secret`.
#[derive(Debug, Clone)]
enum Edit {
    Name(&'static str),
    Encoding(Encoding),
    Keys(&'static str, &'static str),
    Template(&'static str),
    Deletion(Option<DeletionPolicy>),
    OnLoss(OnLoss),
    Type(Option<&'static str>),
}

impl Edit {
    fn apply(&self, settings: &mut SecretSettings) {
        match self {
            Self::Name(name) => settings.name = (*name).to_owned(),
            Self::Encoding(encoding) => settings.encoding = Some(*encoding),
            Self::Keys(private_key, public_key) => {
                (settings.private_key, settings.public_key) = ((*private_key).to_owned(), (*public_key).to_owned());
            }
            Self::Template(value) => drop(settings.labels.insert("a".to_owned(), (*value).to_owned())),
            Self::Deletion(policy) => settings.deletion_policy = *policy,
            Self::OnLoss(on_loss) => settings.on_loss = *on_loss,
            Self::Type(secret_type) => settings.secret_type = secret_type.map(str::to_owned),
        }
    }
}

fn any_edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        // What moves the key is what may go wrong.
        6 => select(&["web", "moved", "third", "fourth"]).prop_map(Edit::Name),
        1 => select(&[Encoding::Pkcs8, Encoding::OpenSsh]).prop_map(Edit::Encoding),
        1 => select(&[("ssh-privatekey", "ssh-publickey"), ("ssh-privatekey", "id.pub"), ("identity", "ssh-publickey")])
            .prop_map(|(private, public)| Edit::Keys(private, public)),
        1 => select(&["1", "2"]).prop_map(Edit::Template),
        1 => select(&[None, Some(DeletionPolicy::Delete), Some(DeletionPolicy::Retain)]).prop_map(Edit::Deletion),
        1 => select(&[OnLoss::Report, OnLoss::Regenerate]).prop_map(Edit::OnLoss),
        1 => select(&[None, Some("Opaque"), Some("example.com/key")]).prop_map(Edit::Type),
    ]
}

/// An edit, the step before which the operator dies that follows it, and whether the watch of Secrets has caught up.
type Stage = (Edit, Option<usize>, bool);

fn any_walk() -> impl Strategy<Value = Vec<Stage>> {
    prop::collection::vec((any_edit(), prop::option::weighted(0.8, 0_usize..12), any::<bool>()), 1..12)
}

impl World {
    fn walk(&mut self, desired: &mut Desired, ledger: &Ledger, walk: &[Stage]) {
        for (edit, crash, fresh) in walk {
            edit.apply(&mut desired.parameters.secret);
            self.watch_is_fresh = *fresh;
            self.reconcile(desired, ledger, *crash);
            self.check_that_the_status_names_the_key();
        }
        self.watch_is_fresh = true;
        // What one reconciliation tells, the next one follows.
        for _ in 0..2 {
            assert!(self.reconcile(desired, ledger, None));
        }
    }

    /// At every moment the Secret that the status names holds the key that the status tells of.
    fn check_that_the_status_names_the_key(&self) {
        let Some(recorded) = &self.recorded else { return };
        let named = self.secrets.get(recorded.secret_name.as_ref().unwrap());
        let held = sha256(named.and_then(|stored| stored.secret.public_key.as_ref()));
        assert_eq!(held.as_ref(), Some(&recorded.fingerprints.sha256), "the key is not where the status says");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// For an accepted KeyPair, and for one that is not accepted yet.
    #[test]
    fn a_generated_key_ends_in_the_named_secret(walk in any_walk(), accepted: bool) {
        let mut desired = desired(None, KeySpec::Ed25519);
        let ledger = granting_ledger();
        let mut world = World::new(None);
        world.reconcile(&desired, &ledger, (!accepted).then_some(1));
        let key = world.secret().unwrap().public_key.clone();
        // A pair to come whose Secret the watch does not show may get another under another name: nobody has seen the key.
        let walk: Vec<_> = walk.into_iter().map(|(edit, crash, fresh)| (edit, crash, fresh || !accepted)).collect();
        world.walk(&mut desired, &ledger, &walk);
        prop_assert_eq!(world.generated, 1);
        let wanted = &desired.parameters.secret;
        prop_assert_eq!(world.secrets.keys().collect::<Vec<_>>(), [&wanted.name]);
        let stored = &world.secrets[&wanted.name];
        prop_assert_eq!(&stored.secret.public_key, &key);
        if wanted.allows_type(&stored.secret_type) {
            prop_assert_eq!(&world.refusals, &Vec::new());
            prop_assert_eq!(stored.settings.as_ref(), Some(&wanted.digest(false)));
        } else {
            prop_assert_eq!(&world.refusals, &vec![Reason::InvalidSecret]);
        }
        prop_assert_eq!(&stored.secret.moved, &None);
        // A pair to come is not accepted while its Secret has a type that the spec does not allow.
        let recorded = world.recorded.as_ref().map(|recorded| recorded.secret_name.as_ref());
        prop_assert!(recorded == Some(Some(&wanted.name)) || !accepted && !world.refusals.is_empty(), "{:?}", recorded);
        // And nothing is left to do.
        let versions = world.version;
        prop_assert!(world.reconcile(&desired, &ledger, None));
        prop_assert_eq!(world.version, versions);
    }

    /// An adopted Secret stays with its owner, and is given back once the spec no longer names it.
    #[test]
    fn an_adopted_key_ends_in_the_named_secret(walk in any_walk()) {
        let mut desired = desired(None, KeySpec::Ed25519);
        let ledger = granting_ledger();
        let offered = ReadSecret { ownership: Ownership::Offered, ..read_secret(false, Some(KEYS[0].clone())) };
        let mut world = World::new(Some(offered));
        prop_assert!(world.reconcile(&desired, &ledger, None));
        world.walk(&mut desired, &ledger, &walk);
        prop_assert_eq!(world.generated, 0);
        let ours: Vec<&String> =
            world.secrets.iter().filter(|(_, stored)| stored.secret.ownership == Ownership::Ours).map(|(name, _)| name).collect();
        let wanted = &desired.parameters.secret.name;
        prop_assert!(world.secret().is_some_and(|secret| secret.public_key.as_ref() == Some(&KEYS[0])));
        if world.secret().unwrap().ownership == Ownership::Ours || wanted != "web" {
            let is_type_allowed = desired.parameters.secret.allows_type(&world.secrets[wanted].secret_type);
            let refusals = if is_type_allowed { Vec::new() } else { vec![Reason::InvalidSecret] };
            prop_assert_eq!((ours, &world.refusals), (vec![wanted], &refusals));
        } else {
            // Given back, and named again: its owner has to hand it over once more. The key is where it is.
            prop_assert_eq!((ours.len(), &world.refusals), (1, &vec![Reason::SecretConflict]));
        }
    }

    /// A backup copy of the Secret, with its annotations, stays unchanged, and is found if the original is lost.
    #[test]
    fn a_backup_secret_stays_and_restores_a_lost_key(walk in any_walk(), lost: bool) {
        let mut desired = desired(None, KeySpec::Ed25519);
        let ledger = granting_ledger();
        let mut world = World::new(None);
        prop_assert!(world.reconcile(&desired, &ledger, None));
        let backup = world.secrets["web"].clone();
        world.secrets.insert("backup".to_owned(), backup.clone());
        world.walk(&mut desired, &ledger, &walk);
        let name = &desired.parameters.secret.name;
        prop_assert_eq!(world.secrets.keys().collect::<Vec<_>>(), if name.as_str() < "backup" { [name.as_str(), "backup"] } else { ["backup", name.as_str()] });
        prop_assert_eq!(&world.secrets["backup"], &backup);
        if lost {
            world.secrets.remove(name);
            for _ in 0..2 {
                prop_assert!(world.reconcile(&desired, &ledger, None));
            }
            prop_assert_eq!((&world.refusals, world.generated), (&Vec::new(), 1));
            prop_assert_eq!(&world.secrets[name].secret.public_key, &backup.secret.public_key);
        }
    }
}

/// The first walk that found a fault: the name is edited there and back while the Secret is being moved.
#[test]
fn a_rename_there_and_back_survives_any_crash() {
    for on_loss in [OnLoss::Report, OnLoss::Regenerate] {
        for (first, second) in (0..12).flat_map(|first| (0..12).map(move |second| (first, second))) {
            let mut desired = desired(None, KeySpec::Ed25519);
            desired.parameters.secret.on_loss = on_loss;
            let ledger = granting_ledger();
            let mut world = World::new(None);
            assert!(world.reconcile(&desired, &ledger, None));
            let walk = [("moved", Some(first), true), ("web", Some(second), true)];
            let walk = walk.map(|(name, crash, fresh)| (Edit::Name(name), crash, fresh));
            world.walk(&mut desired, &ledger, &walk);
            assert_eq!((world.generated, &world.refusals), (1, &Vec::new()), "{first} {second}");
            assert_eq!(world.secrets.keys().collect::<Vec<_>>(), ["web"], "{first} {second}");
        }
    }
}

/// A move is recorded on a Secret while another move is unfinished.
#[test]
fn a_second_move_deletes_the_leftovers_of_the_first() {
    let mut desired = desired(None, KeySpec::Ed25519);
    let ledger = granting_ledger();
    let mut world = World::new(None);
    assert!(world.reconcile(&desired, &ledger, None));
    let walk = [("moved", None), ("web", Some(3)), ("third", Some(4)), ("web", None)];
    world.walk(&mut desired, &ledger, &walk.map(|(name, crash)| (Edit::Name(name), crash, false)));
    assert_eq!(world.secrets.keys().collect::<Vec<_>>(), ["web"]);
}

/// The same for a KeyPair whose status does not show its acceptance yet.
#[test]
fn moves_before_acceptance_leave_no_secret_behind() {
    let mut desired = desired(None, KeySpec::Ed25519);
    let ledger = granting_ledger();
    let mut world = World::new(None);
    world.reconcile(&desired, &ledger, Some(1));
    let walk = [("third", Some(3)), ("moved", Some(3))];
    world.walk(&mut desired, &ledger, &walk.map(|(name, crash)| (Edit::Name(name), crash, true)));
    assert_eq!(world.secrets.keys().collect::<Vec<_>>(), ["moved"]);
    assert_eq!(world.generated, 1);
}
