//! The decision against a simulated world: whatever state it is in and wherever a crash interrupts, the steps come to an
//! end, doing them again changes nothing, and one key pair is made for each KeyPair.

use std::sync::LazyLock;

use proptest::{prelude::*, sample::select};

use super::*;
use crate::{
    domain::{
        key::Encoding,
        ledger::{Claim, Seniority},
        profile::Profile,
        request::Generate,
        secret::{DEFAULT_PRIVATE_KEY, DEFAULT_PUBLIC_KEY, DeletionPolicy, SecretSettings},
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
        parameters: Parameters {
            profile: Profile::OpenSSH,
            key_pair_name: "web".to_owned(),
            public_key: public_key.map(str::to_owned),
            generate: public_key.is_none().then(|| Generate { algorithm: spec.algorithm(), bits: Some(spec.bits()) }),
            description: None,
            project: String::new(),
            tags: Vec::new(),
            client_token: String::new(),
            secret: SecretSettings {
                name: "web".to_owned(),
                secret_type: None,
                private_key: DEFAULT_PRIVATE_KEY.to_owned(),
                public_key: DEFAULT_PUBLIC_KEY.to_owned(),
                encoding: Encoding::Pkcs8,
                deletion_policy: DeletionPolicy::Delete,
                labels: std::collections::BTreeMap::new(),
                annotations: std::collections::BTreeMap::new(),
                string_data: std::collections::BTreeMap::new(),
            },
        },
    }
}

fn claim(uid: &str, created: i64, accepted: bool) -> Claim {
    Claim {
        uid: uid.to_owned(),
        seniority: Seniority { created, name: "web".to_owned() },
        key_pair_name: "web".to_owned(),
        accepted,
    }
}

fn granting_ledger() -> Ledger {
    Ledger::load(1, [claim(UID, 1, false)], None)
}

/// A cluster with one KeyPair and at most one Secret.
#[derive(Debug, Clone)]
struct World {
    secret: Option<ReadSecret>,
    /// The fingerprint in the Secret's annotation, which need not be that of its key.
    noted: Option<String>,
    /// Whether the Secret has changed since it was found right.
    changed: bool,
    /// Whether the watch of Secrets has caught up.
    watch_is_fresh: bool,
    recorded: Option<Facts>,
    refusals: Vec<Reason>,
    generated: usize,
}

impl World {
    fn new(secret: Option<ReadSecret>) -> Self {
        let noted = secret.as_ref().and_then(fingerprint);
        Self { secret, noted, changed: false, watch_is_fresh: true, recorded: None, refusals: Vec::new(), generated: 0 }
    }

    fn observe(&self) -> Observed {
        let cached = self.secret.as_ref().filter(|_| self.watch_is_fresh).map(|secret| CachedSecret {
            owned: secret.owned,
            sha256: self.noted.clone(),
            changed: self.changed,
        });
        Observed {
            recorded: self.recorded.clone(),
            refused: self.refusals.first().copied(),
            secret: SecretView::Unread(cached),
        }
    }

    /// Reconciles once; `crash_before` names the step before which the operator dies. Returns whether it came to the end.
    fn reconcile(&mut self, desired: &Desired, ledger: &Ledger, crash_before: Option<usize>) -> bool {
        let mut observed = self.observe();
        for step in 0..4 {
            let plan = decide(desired, &observed, ledger);
            if crash_before == Some(step) {
                return false;
            }
            match plan {
                Plan::Rest => return true,
                Plan::ReadSecret(_) => {
                    observed.secret = self.secret.clone().map_or(SecretView::Absent, SecretView::Read);
                }
                Plan::CreateSecret(_, spec) => {
                    if self.secret.is_none() {
                        let key = keygen::generate(spec).unwrap().public_key("").unwrap();
                        self.generated += 1;
                        self.secret = Some(ReadSecret { owned: true, public_key: Some(key) });
                        self.noted = self.secret.as_ref().and_then(fingerprint);
                    }
                    observed.secret = self.secret.clone().map_or(SecretView::Absent, SecretView::Read);
                }
                Plan::Report(report) => {
                    self.recorded = report.facts;
                    self.refusals = report.refusals.iter().map(|refusal| refusal.reason).collect();
                    return true;
                }
            }
        }
        panic!("the steps do not come to an end: {observed:?}");
    }
}

fn fingerprint(secret: &ReadSecret) -> Option<String> {
    secret.public_key.as_ref().map(|key| key.fingerprints().sha256)
}

fn any_secret() -> impl Strategy<Value = Option<ReadSecret>> {
    let key = prop::option::of(select(KEYS.as_slice()));
    prop::option::of((any::<bool>(), key).prop_map(|(owned, public_key)| ReadSecret { owned, public_key }))
}

proptest! {
    #[test]
    fn ends_and_stays(
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
            prop_assert_eq!(world.secret.as_ref(), Some(&secret), "a Secret that was there was touched");
            prop_assert_eq!(world.generated, 0);
        }
        if let (false, Some(facts)) = (import, &world.recorded) {
            let held = world.secret.as_ref().and_then(|secret| secret.public_key.as_ref()).map(PublicKey::fingerprints);
            prop_assert_eq!(held.as_ref(), Some(&facts.fingerprints), "the status is about another key");
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
        world.secret = later.clone();
        world.changed = true;
        if !annotation_is_kept {
            world.noted = later.as_ref().and_then(fingerprint);
        }
        world.watch_is_fresh = fresh;
        prop_assert!(world.reconcile(&desired, &ledger, None));
        prop_assert_eq!(&world.recorded, &accepted.recorded, "the facts of an accepted pair have changed");
        prop_assert_eq!(&world.secret, &later, "the Secret was touched");
        let expected = match later {
            None => Reason::PrivateKeyLost,
            Some(ReadSecret { owned: false, .. }) => Reason::SecretConflict,
            Some(_) => Reason::PrivateKeyMismatch,
        };
        prop_assert_eq!(&world.refusals, &[expected]);
        // Seen anew after a restart, and with the annotation as it was, the other key is not taken for the right one.
        world.changed = false;
        prop_assert!(world.reconcile(&desired, &ledger, None));
        prop_assert_eq!(&world.refusals, &[expected]);
    }
}

fn only_reason(plan: Plan) -> Reason {
    match plan {
        Plan::Report(Report { refusals, .. }) if refusals.len() == 1 => refusals[0].reason,
        other => panic!("not one refusal: {other:?}"),
    }
}

#[test]
fn names_and_slots_come_from_the_ledger() {
    let observed = World::new(None).observe();
    let desired = desired(None, KeySpec::Ed25519);
    assert_eq!(decide(&desired, &observed, &Ledger::new(1)), Plan::Rest);
    let taken = Ledger::load(2, [claim("other", 2, true), claim(UID, 1, false)], None);
    assert_eq!(only_reason(decide(&desired, &observed, &taken)), Reason::KeyPairNameConflict);
    let full = Ledger::load(0, [claim(UID, 1, false)], None);
    assert_eq!(only_reason(decide(&desired, &observed, &full)), Reason::QuotaExceeded);
}

#[test]
fn nothing_is_done_for_what_is_being_deleted() {
    let mut desired = desired(None, KeySpec::Ed25519);
    desired.deleting = true;
    assert_eq!(decide(&desired, &World::new(None).observe(), &granting_ledger()), Plan::Rest);
}

#[test]
fn what_the_api_server_refuses_is_reported() {
    let desired = desired(None, KeySpec::Ed25519);
    for (secret, reason) in [
        (SecretView::Invalid("label".to_owned()), Reason::InvalidSecret),
        (SecretView::Forbidden("quota".to_owned()), Reason::InternalError),
    ] {
        let observed = Observed { recorded: None, refused: None, secret };
        assert_eq!(only_reason(decide(&desired, &observed, &granting_ledger())), reason);
    }
}
