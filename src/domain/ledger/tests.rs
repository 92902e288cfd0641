//! The ledger, compared with a plain model of its rules.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::domain::request::TokenUse;

fn claim(uid: u32, key_pair_name: &str) -> Claim {
    Claim {
        uid: format!("uid-{uid}").into(),
        seniority: Seniority { created: i64::from(uid), object_name: format!("kp-{uid}").into() },
        key_pair_name: key_pair_name.into(),
        accepted: false,
        token: None,
    }
}

fn region(quota: usize) -> Region {
    Region::with_quota(quota)
}

/// A claim with a client token; the same digest means the same request parameters.
fn with_token(uid: u32, key_pair_name: &str, token: &str, digest: u8) -> Claim {
    let token = TokenUse { token: token.into(), is_named: true, digest: [digest + 1; 32] };
    Claim { token: Some(token), ..claim(uid, key_pair_name) }
}

fn names(uids: &[u32]) -> BTreeSet<String> {
    uids.iter().map(|uid| format!("kp-{uid}")).collect()
}

#[test]
fn free_slots_go_to_the_oldest() {
    let claims = (1..=4).rev().map(|uid| claim(uid, &format!("name-{uid}")));
    let mut ledger = Ledger::load(region(2), claims, None);
    assert_eq!(
        (1..=4).map(|uid| ledger.claim_state(&format!("uid-{uid}"))).collect::<Vec<_>>(),
        [ClaimState::Granted, ClaimState::Granted, ClaimState::NoSlot, ClaimState::NoSlot]
    );
    assert_eq!(ledger.withdraw("uid-1"), names(&[3]));
    assert_eq!(ledger.claim_state("uid-3"), ClaimState::Granted);
}

fn accepted(claim: Claim) -> Claim {
    Claim { accepted: true, ..claim }
}

#[test]
fn a_lower_quota_revokes_grants_that_are_not_written() {
    let mut ledger = Ledger::new(region(3));
    ledger.claim(accepted(claim(3, "accepted")));
    ledger.claim(claim(2, "written"));
    ledger.claim(claim(1, "granted"));
    assert!(ledger.begin_writing("uid-2") && !ledger.begin_writing("uid-9"));
    for mut ledger in [
        ledger.clone(),
        Ledger::load(
            region(3),
            [accepted(claim(3, "accepted")), claim(2, "written"), claim(1, "granted")],
            Some(&ledger),
        ),
    ] {
        assert_eq!(ledger.set_quota(Some(0)), names(&[1]));
        assert_eq!(ledger.claim_state("uid-2"), ClaimState::NoSlot, "it must not be accepted if it has not been");
        assert_eq!(ledger.claim_state("uid-1"), ClaimState::NoSlot);
        assert!(!ledger.begin_writing("uid-1"), "its acceptance must not be written");
        assert_eq!(ledger.granted_count(), 2, "it keeps its slot until the outcome is known");
        // It was not accepted, so it can be revoked like others.
        assert_eq!(ledger.end_writing("uid-2"), names(&[2]));
        assert_eq!(ledger.claim_state("uid-3"), ClaimState::Granted, "an accepted pair is never evicted");
        assert_eq!(ledger.set_quota(Some(2)), names(&[1]));
        assert_eq!(
            (ledger.claim_state("uid-1"), ledger.claim_state("uid-2")),
            (ClaimState::Granted, ClaimState::NoSlot)
        );
    }
}

#[test]
fn an_invalid_quota_changes_the_reason_of_waiting_pairs() {
    let mut ledger =
        Ledger::load(region(1), [accepted(claim(1, "a")), claim(2, "b"), claim(3, "c"), claim(4, "c")], None);
    assert_eq!(ledger.set_quota(None), names(&[2, 3]), "the reason changes");
    assert_eq!(ledger.granted_count(), 1);
    assert_eq!(ledger.set_quota(None), names(&[]));
    assert_eq!(ledger.set_quota(Some(1)), names(&[2, 3]));
}

#[test]
fn a_grant_is_revoked_when_another_pair_is_accepted_with_its_name() {
    let mut ledger = Ledger::load(region(2), [claim(1, "web"), claim(3, "db")], None);
    // As after a restore, or with a stale cache.
    assert_eq!(ledger.claim(accepted(claim(2, "web"))), names(&[1]));
    assert_eq!(ledger.claim_state("uid-1"), ClaimState::NameTaken);
    assert_eq!((ledger.claim_state("uid-3"), ledger.granted_count()), (ClaimState::Granted, 2));
}

#[test]
fn the_oldest_claim_replaces_an_original_without_a_slot() {
    let mut ledger = Ledger::load(region(1), [with_token(2, "web", "t", 1)], None);
    ledger.claim(with_token(1, "web", "t", 1));
    assert_eq!(ledger.claim_state("uid-1"), ClaimState::ReplayOfPending("kp-2".to_owned()));
    assert_eq!(ledger.set_quota(Some(0)), names(&[1, 2]));
    assert_eq!(ledger.claim_state("uid-1"), ClaimState::NoSlot);
    assert_eq!(ledger.claim_state("uid-2"), ClaimState::ReplayOfPending("kp-1".to_owned()));
}

#[test]
fn free_names_go_to_the_oldest() {
    let mut ledger = Ledger::new(region(9));
    assert_eq!(ledger.claim(claim(2, "web")), names(&[]));
    assert_eq!(ledger.claim(claim(1, "web")), names(&[]), "a granted name is kept even from an older claim");
    assert_eq!(ledger.claim(claim(3, "web")), names(&[]));
    assert_eq!(ledger.claim_state("uid-1"), ClaimState::NameTaken);
    assert_eq!(ledger.withdraw("uid-2"), names(&[1]));
    assert_eq!(ledger.claim_state("uid-3"), ClaimState::NameTaken);
    // The holder changes its name: the oldest waiting claim gets the old one.
    assert_eq!(ledger.claim(claim(1, "db")), names(&[3]));
    assert_eq!(ledger.claim_state("uid-3"), ClaimState::Granted);
}

#[test]
fn a_claim_without_a_name_takes_no_slot() {
    let mut ledger = Ledger::load(region(2), [claim(1, "web"), claim(2, "web"), claim(3, "db"), claim(4, "ci")], None);
    assert_eq!(ledger.claim_state("uid-2"), ClaimState::NameTaken);
    assert_eq!(ledger.claim_state("uid-3"), ClaimState::Granted);
    assert_eq!(ledger.claim_state("uid-4"), ClaimState::NoSlot);
    // The name is free now, and with it a slot, for which uid-2 is older than uid-4.
    assert_eq!(ledger.withdraw("uid-1"), names(&[2]));
}

#[test]
fn a_reload_keeps_what_is_granted_but_not_yet_written() {
    let ledger = Ledger::load(region(1), [claim(2, "web")], None);
    let reloaded = Ledger::load(region(1), [claim(1, "db"), claim(2, "web")], Some(&ledger));
    assert_eq!(reloaded.claim_state("uid-2"), ClaimState::Granted);
    assert_eq!(reloaded.claim_state("uid-1"), ClaimState::NoSlot);
}

/// A plain model that scans all claims. The index must agree with it.
///
/// The model takes from the ledger which claims are granted; everything else must follow from that.
fn expected(quota: usize, claims: &HashMap<String, (Claim, bool)>) -> HashMap<String, ClaimState> {
    let original = |claim: &Claim| {
        let token = claim.token.as_ref()?;
        let members =
            claims.values().filter(|(other, _)| other.token.as_ref().map(|token| &token.token) == Some(&token.token));
        members.min_by_key(|(other, granted)| (!granted, queue_position(other))).map(|(other, _)| other)
    };
    let asks = |claim: &Claim| original(claim).is_none_or(|original| original.uid == claim.uid);
    let held: HashSet<&str> =
        claims.values().filter(|(_, granted)| *granted).map(|(claim, _)| &*claim.key_pair_name).collect();
    let full = claims.values().filter(|(_, granted)| *granted).count() >= quota;
    claims
        .iter()
        .map(|(uid, (claim, granted))| {
            let first = claims
                .values()
                .filter(|(other, granted)| !granted && asks(other) && other.key_pair_name == claim.key_pair_name)
                .map(|(other, _)| queue_position(other))
                .min();
            let claim_state = if *granted {
                ClaimState::Granted
            } else if let Some(original) = original(claim).filter(|original| original.uid != claim.uid) {
                let name = original.seniority.object_name.to_string();
                if !claim.is_same_request(original) {
                    ClaimState::TokenReused(name)
                } else if original.accepted {
                    ClaimState::Replay(name)
                } else {
                    ClaimState::ReplayOfPending(name)
                }
            } else if held.contains(&*claim.key_pair_name) || first != Some(queue_position(claim)) {
                ClaimState::NameTaken
            } else {
                assert!(full, "a slot and a name are free, but not granted");
                ClaimState::NoSlot
            };
            (uid.clone(), claim_state)
        })
        .collect()
}

proptest! {
    #[test]
    fn the_ledger_agrees_with_a_simple_model(
        quota in 0_usize..5,
        steps in prop::collection::vec((0_u32..12, 0_u8..4, 0_u8..11, 0_u8..6), 1..80),
    ) {
        let mut ledger = Ledger::new(region(quota));
        let mut quota = quota;
        let mut model: HashMap<String, (Claim, bool)> = HashMap::new();
        // The UIDs whose acceptance is being written.
        let mut writing: HashSet<String> = HashSet::new();
        for (uid, name, action, token) in steps {
            let before: HashMap<String, ClaimState> =
                model.keys().map(|uid| (uid.clone(), ledger.claim_state(uid))).collect();
            let key = format!("uid-{uid}");
            let changed = match action {
                0 => {
                    writing.remove(&key);
                    model.remove(&key);
                    ledger.withdraw(&key)
                }
                1 => {
                    quota = usize::from(name);
                    if token % 2 == 0 {
                        let claims = model.values().map(|(claim, _)| claim.clone());
                        let reloaded = Ledger::load(region(quota), claims, Some(&ledger));
                        let mut changed = names(&[]);
                        changed.extend(model.values().map(|(claim, _)| claim.seniority.object_name.to_string()));
                        let by_steps = { ledger.set_quota(Some(quota)); ledger };
                        ledger = reloaded;
                        for uid in model.keys() {
                            prop_assert_eq!(ledger.claim_state(uid), by_steps.claim_state(uid), "{} after a list", uid);
                        }
                        changed
                    } else {
                        ledger.set_quota(Some(quota))
                    }
                }
                // The status is written, and its event arrives.
                2 => match model.get_mut(&key) {
                    Some((claim, true)) => {
                        claim.accepted = true;
                        writing.remove(&key);
                        ledger.claim(claim.clone())
                    }
                    _ => BTreeSet::new(),
                },
                9 => {
                    if ledger.begin_writing(&key) && !model.get(&key).is_some_and(|(claim, _)| claim.accepted) {
                        writing.insert(key.clone());
                    }
                    BTreeSet::new()
                }
                10 => {
                    writing.remove(&key);
                    ledger.end_writing(&key)
                }
                // An accepted pair keeps its name and its token, and so does one whose acceptance is being written.
                _ if writing.contains(&key) || model.get(&key).is_some_and(|(claim, _)| claim.accepted) => BTreeSet::new(),
                _ => {
                    let name = format!("name-{name}");
                    let claim = match token {
                        0..=2 => claim(uid, &name),
                        // Two tokens, and two different requests for each.
                        _ => with_token(uid, &name, &format!("token-{}", token % 2), token / 5),
                    };
                    let previewed = ledger.preview(&claim);
                    let was = model.insert(key.clone(), (claim.clone(), false));
                    let is_plain = |claim: &Claim| claim.token.is_none();
                    let is_certain = was.is_none_or(|(was, granted)| !granted && is_plain(&was) && is_plain(&claim));
                    let changed = ledger.claim(claim);
                    if is_certain {
                        prop_assert_eq!(previewed, ledger.claim_state(&key), "preview of {}", key);
                    }
                    changed
                }
            };
            for (uid, (claim, granted)) in &mut model {
                let now = ledger.claim_state(uid) == ClaimState::Granted || writing.contains(uid);
                let renamed = (3..9).contains(&action) && *uid == key && !claim.accepted;
                let revoked = matches!(action, 1 | 10) && !claim.accepted && !writing.contains(uid);
                prop_assert!(now || renamed || revoked || before.get(uid) != Some(&ClaimState::Granted), "{uid} was evicted");
                *granted = now;
            }
            let granted = model.values().filter(|(_, granted)| *granted).count();
            prop_assert_eq!(granted, ledger.granted_count());
            let kept = model.iter().filter(|(uid, (claim, _))| claim.accepted || writing.contains(*uid)).count();
            prop_assert!(granted <= quota.max(kept), "{granted} granted of {quota}");
            let held = model.values().filter(|(_, granted)| *granted);
            let names: HashSet<&str> = held.map(|(claim, _)| &*claim.key_pair_name).collect();
            prop_assert_eq!(names.len(), granted, "two pairs of one name");
            let now = expected(quota, &model);
            for (uid, claim_state) in &now {
                // A claim that is over the quota during its write has the state of one without a slot, but keeps it.
                let is_in_doubt = writing.contains(uid) && granted > quota;
                if is_in_doubt && ledger.claim_state(uid) == ClaimState::NoSlot {
                    continue;
                }
                prop_assert_eq!(&ledger.claim_state(uid), claim_state, "{}", uid);
                let name = &model[uid].0.seniority.object_name;
                // A pair whose acceptance is being written is reconciled when the write ends.
                if *uid != key && !writing.contains(uid) && before.get(uid) != Some(claim_state) {
                    prop_assert!(changed.contains(&**name), "the new state of {uid} is not reported");
                }
            }
        }
    }
}

#[test]
fn the_oldest_claim_with_a_token_is_the_original() {
    let mut ledger = Ledger::new(region(9));
    ledger.claim(with_token(1, "web", "t", 1));
    ledger.claim(with_token(2, "web", "t", 1));
    ledger.claim(with_token(3, "web", "t", 2));
    assert_eq!(ledger.claim_state("uid-1"), ClaimState::Granted);
    assert_eq!(ledger.claim_state("uid-2"), ClaimState::ReplayOfPending("kp-1".to_owned()));
    assert_eq!(ledger.claim_state("uid-3"), ClaimState::TokenReused("kp-1".to_owned()));
    assert_eq!(ledger.granted_count(), 1, "a replay takes no slot");
    let accepted = Claim { accepted: true, ..with_token(1, "web", "t", 1) };
    assert_eq!(ledger.claim(accepted), names(&[2, 3]));
    assert_eq!(ledger.claim_state("uid-2"), ClaimState::Replay("kp-1".to_owned()));
    // The oldest replay becomes a request of its own, and the others are compared with that.
    assert_eq!(ledger.withdraw("uid-1"), names(&[2, 3]));
    assert_eq!(ledger.claim_state("uid-2"), ClaimState::Granted);
    assert_eq!(ledger.claim_state("uid-3"), ClaimState::TokenReused("kp-2".to_owned()));
}

#[test]
fn an_older_claim_replaces_a_waiting_original_but_not_a_granted_one() {
    let mut ledger = Ledger::load(region(1), [claim(5, "other")], None);
    ledger.claim(with_token(2, "web", "t", 1));
    assert_eq!(ledger.claim_state("uid-2"), ClaimState::NoSlot);
    assert_eq!(ledger.claim(with_token(1, "web", "t", 1)), names(&[2]));
    assert_eq!(ledger.claim_state("uid-1"), ClaimState::NoSlot);
    assert_eq!(ledger.claim_state("uid-2"), ClaimState::ReplayOfPending("kp-1".to_owned()));
    ledger.withdraw("uid-5");
    assert_eq!(ledger.claim_state("uid-1"), ClaimState::Granted);
    ledger.claim(with_token(0, "web", "t", 1));
    assert_eq!(ledger.claim_state("uid-0"), ClaimState::ReplayOfPending("kp-1".to_owned()));
}

#[test]
fn a_reload_keeps_a_granted_original() {
    let mut ledger = Ledger::new(region(1));
    ledger.claim(with_token(2, "web", "t", 1));
    let claims = || [with_token(1, "web", "t", 1), with_token(2, "web", "t", 1)];
    let reloaded = Ledger::load(region(1), claims(), Some(&ledger));
    assert_eq!(reloaded.claim_state("uid-2"), ClaimState::Granted, "its status may be in the middle of a write");
    let fresh = Ledger::load(region(1), claims(), None);
    assert_eq!(fresh.claim_state("uid-1"), ClaimState::Granted);
}

#[test]
fn defaulted_names_are_not_compared() {
    let unnamed = |uid: u32| {
        let mut claim = with_token(uid, &format!("kp-{uid}"), "t", 1);
        claim.token.as_mut().unwrap().is_named = false;
        claim
    };
    let ledger = Ledger::load(region(9), [unnamed(1), unnamed(2), with_token(3, "kp-3", "t", 1)], None);
    assert_eq!(ledger.claim_state("uid-2"), ClaimState::ReplayOfPending("kp-1".to_owned()));
    assert_eq!(ledger.claim_state("uid-3"), ClaimState::TokenReused("kp-1".to_owned()));
}

/// Statuses are restored from a backup: a pair that holds a grant was never accepted, and the pair that it replaced is back.
#[test]
fn grants_from_before_a_restore_yield_to_accepted_pairs() {
    let accepted = |claim: Claim| Claim { accepted: true, ..claim };
    let before = Ledger::load(region(2), [claim(2, "web"), claim(3, "db")], None);
    let restored = [accepted(claim(1, "web")), claim(2, "web"), claim(3, "db"), claim(4, "ci")];
    let after = Ledger::load(region(2), restored, Some(&before));
    let claim_state = |uid| after.claim_state(&format!("uid-{uid}"));
    assert_eq!((claim_state(1), claim_state(2)), (ClaimState::Granted, ClaimState::NameTaken));
    assert_eq!((claim_state(3), claim_state(4)), (ClaimState::Granted, ClaimState::NoSlot), "the other grant lasts");
    let smaller = [accepted(claim(1, "a")), accepted(claim(5, "b")), claim(2, "web"), claim(3, "db")];
    assert_eq!(Ledger::load(region(2), smaller, Some(&before)).granted_count(), 2);

    let before = Ledger::load(region(9), [with_token(2, "a", "t", 1)], None);
    let restored = [accepted(with_token(1, "a", "t", 1)), with_token(2, "a", "t", 1)];
    let after = Ledger::load(region(9), restored, Some(&before));
    assert_eq!(after.claim_state("uid-2"), ClaimState::Replay("kp-1".to_owned()));
}
