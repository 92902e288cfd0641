//! The ledger against the rules in their plainest form.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn claim(uid: u32, key_pair_name: &str) -> Claim {
    Claim {
        uid: format!("uid-{uid}").into(),
        seniority: Seniority { created: i64::from(uid), name: format!("kp-{uid}").into() },
        key_pair_name: key_pair_name.into(),
        accepted: false,
        token: None,
    }
}

fn region(quota: usize) -> Region {
    Region::with_quota(quota)
}

/// A claim with a client token; requests of the same digest ask for the same.
fn with_token(uid: u32, key_pair_name: &str, token: &str, digest: u8) -> Claim {
    let token = TokenUse { token: token.into(), is_named: true, digest: [digest + 1; 32] };
    Claim { token: Some(token), ..claim(uid, key_pair_name) }
}

fn names(uids: &[u32]) -> BTreeSet<String> {
    uids.iter().map(|uid| format!("kp-{uid}")).collect()
}

#[test]
fn slots_go_to_the_oldest_and_are_handed_on() {
    let claims = (1..=4).rev().map(|uid| claim(uid, &format!("name-{uid}")));
    let mut ledger = Ledger::load(region(2), claims, None);
    assert_eq!(
        (1..=4).map(|uid| ledger.standing(&format!("uid-{uid}"))).collect::<Vec<_>>(),
        [Standing::Granted, Standing::Granted, Standing::NoSlot, Standing::NoSlot]
    );
    assert_eq!(ledger.withdraw("uid-1"), names(&[3]));
    assert_eq!(ledger.standing("uid-3"), Standing::Granted);
}

fn accepted(claim: Claim) -> Claim {
    Claim { accepted: true, ..claim }
}

#[test]
fn a_smaller_quota_takes_back_what_nobody_has_been_told_of() {
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
        assert_eq!(ledger.set_quota(region(0)), names(&[1]));
        assert_eq!(ledger.standing("uid-2"), Standing::NoSlot, "it must not be accepted if it has not been");
        assert_eq!(ledger.standing("uid-1"), Standing::NoSlot);
        assert!(!ledger.begin_writing("uid-1"), "it must not be told that it is accepted");
        assert_eq!(ledger.granted(), 2, "but keeps what it has until that is known");
        // It was not accepted, so it is no better than others.
        assert_eq!(ledger.end_writing("uid-2"), names(&[2]));
        assert_eq!(ledger.standing("uid-3"), Standing::Granted, "an accepted pair is never evicted");
        assert_eq!(ledger.set_quota(region(2)), names(&[1]));
        assert_eq!((ledger.standing("uid-1"), ledger.standing("uid-2")), (Standing::Granted, Standing::NoSlot));
    }
}

#[test]
fn a_quota_that_is_no_number_concerns_all_that_wait() {
    let mut ledger =
        Ledger::load(region(1), [accepted(claim(1, "a")), claim(2, "b"), claim(3, "c"), claim(4, "c")], None);
    let none = Region { quota: None, ..region(1) };
    assert_eq!(ledger.set_quota(none.clone()), names(&[2, 3]), "the reason is another");
    assert_eq!(ledger.granted(), 1);
    assert_eq!(ledger.set_quota(none), names(&[]));
    assert_eq!(ledger.set_quota(region(1)), names(&[2, 3]));
}

#[test]
fn a_name_that_another_is_accepted_with_is_taken_back() {
    let mut ledger = Ledger::load(region(2), [claim(1, "web"), claim(3, "db")], None);
    // As after a restore, or where the operator's own view was old.
    assert_eq!(ledger.claim(accepted(claim(2, "web"))), names(&[1]));
    assert_eq!(ledger.standing("uid-1"), Standing::NameTaken);
    assert_eq!((ledger.standing("uid-3"), ledger.granted()), (Standing::Granted, 2));
}

#[test]
fn a_request_that_loses_its_slot_leaves_its_token_to_the_oldest() {
    let mut ledger = Ledger::load(region(1), [with_token(2, "web", "t", 1)], None);
    ledger.claim(with_token(1, "web", "t", 1));
    assert_eq!(ledger.standing("uid-1"), Standing::ReplayOfPending("kp-2".to_owned()));
    assert_eq!(ledger.set_quota(region(0)), names(&[1, 2]));
    assert_eq!(ledger.standing("uid-1"), Standing::NoSlot);
    assert_eq!(ledger.standing("uid-2"), Standing::ReplayOfPending("kp-1".to_owned()));
}

#[test]
fn names_go_to_the_oldest_and_are_handed_on() {
    let mut ledger = Ledger::new(region(9));
    assert_eq!(ledger.claim(claim(2, "web")), names(&[]));
    assert_eq!(ledger.claim(claim(1, "web")), names(&[]), "a granted name is kept even from an older claim");
    assert_eq!(ledger.claim(claim(3, "web")), names(&[]));
    assert_eq!(ledger.standing("uid-1"), Standing::NameTaken);
    assert_eq!(ledger.withdraw("uid-2"), names(&[1]));
    assert_eq!(ledger.standing("uid-3"), Standing::NameTaken);
    // The holder takes another name: the next in line gets the old one.
    assert_eq!(ledger.claim(claim(1, "db")), names(&[3]));
    assert_eq!(ledger.standing("uid-3"), Standing::Granted);
}

#[test]
fn a_claim_without_a_name_takes_no_slot() {
    let mut ledger = Ledger::load(region(2), [claim(1, "web"), claim(2, "web"), claim(3, "db"), claim(4, "ci")], None);
    assert_eq!(ledger.standing("uid-2"), Standing::NameTaken);
    assert_eq!(ledger.standing("uid-3"), Standing::Granted);
    assert_eq!(ledger.standing("uid-4"), Standing::NoSlot);
    // The name is free now, and with it a slot, for which uid-2 is older than uid-4.
    assert_eq!(ledger.withdraw("uid-1"), names(&[2]));
}

#[test]
fn a_reload_keeps_what_is_granted_but_not_yet_written() {
    let ledger = Ledger::load(region(1), [claim(2, "web")], None);
    let reloaded = Ledger::load(region(1), [claim(1, "db"), claim(2, "web")], Some(&ledger));
    assert_eq!(reloaded.standing("uid-2"), Standing::Granted);
    assert_eq!(reloaded.standing("uid-1"), Standing::NoSlot);
}

/// The rule in its plainest form, scanning everything: what the index must agree with.
///
/// Whether a claim is granted is the ledger's decision and given; all else must follow from it.
fn expected(quota: usize, claims: &HashMap<String, (Claim, bool)>) -> HashMap<String, Standing> {
    let original = |claim: &Claim| {
        let token = claim.token.as_ref()?;
        let sharers =
            claims.values().filter(|(other, _)| other.token.as_ref().map(|token| &token.token) == Some(&token.token));
        sharers.min_by_key(|(other, granted)| (!granted, place(other))).map(|(other, _)| other)
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
                .map(|(other, _)| place(other))
                .min();
            let standing = if *granted {
                Standing::Granted
            } else if let Some(original) = original(claim).filter(|original| original.uid != claim.uid) {
                let name = original.seniority.name.to_string();
                if !claim.is_same_request(original) {
                    Standing::TokenReused(name)
                } else if original.accepted {
                    Standing::Replay(name)
                } else {
                    Standing::ReplayOfPending(name)
                }
            } else if held.contains(&*claim.key_pair_name) || first != Some(place(claim)) {
                Standing::NameTaken
            } else {
                assert!(full, "a free slot and a free name, and nobody has them");
                Standing::NoSlot
            };
            (uid.clone(), standing)
        })
        .collect()
}

proptest! {
    #[test]
    fn agrees_with_the_plain_rule(
        quota in 0_usize..5,
        steps in prop::collection::vec((0_u32..12, 0_u8..4, 0_u8..11, 0_u8..6), 1..80),
    ) {
        let mut ledger = Ledger::new(region(quota));
        let mut quota = quota;
        let mut model: HashMap<String, (Claim, bool)> = HashMap::new();
        // Whose acceptance is being written.
        let mut writing: HashSet<String> = HashSet::new();
        for (uid, name, action, token) in steps {
            let before: HashMap<String, Standing> =
                model.keys().map(|uid| (uid.clone(), ledger.standing(uid))).collect();
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
                        changed.extend(model.values().map(|(claim, _)| claim.seniority.name.to_string()));
                        let by_steps = { ledger.set_quota(region(quota)); ledger };
                        ledger = reloaded;
                        for uid in model.keys() {
                            prop_assert_eq!(ledger.standing(uid), by_steps.standing(uid), "{} after a list", uid);
                        }
                        changed
                    } else {
                        ledger.set_quota(region(quota))
                    }
                }
                // The status is written, and the event of it arrives.
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
                // What is accepted keeps its name and its token, and while it is being written nothing else has come.
                _ if writing.contains(&key) || model.get(&key).is_some_and(|(claim, _)| claim.accepted) => BTreeSet::new(),
                _ => {
                    let name = format!("name-{name}");
                    let claim = match token {
                        0..=2 => claim(uid, &name),
                        // Two tokens, and two requests with the one and the other.
                        _ => with_token(uid, &name, &format!("token-{}", token % 2), token / 5),
                    };
                    let foreseen = ledger.foresee(&claim);
                    let was = model.insert(key.clone(), (claim.clone(), false));
                    let is_plain = |claim: &Claim| claim.token.is_none();
                    let is_certain = was.is_none_or(|(was, granted)| !granted && is_plain(&was) && is_plain(&claim));
                    let changed = ledger.claim(claim);
                    if is_certain {
                        prop_assert_eq!(foreseen, ledger.standing(&key), "foreseen of {}", key);
                    }
                    changed
                }
            };
            for (uid, (claim, granted)) in &mut model {
                let now = ledger.standing(uid) == Standing::Granted || writing.contains(uid);
                let renamed = (3..9).contains(&action) && *uid == key && !claim.accepted;
                let revoked = matches!(action, 1 | 10) && !claim.accepted && !writing.contains(uid);
                prop_assert!(now || renamed || revoked || before.get(uid) != Some(&Standing::Granted), "{uid} was evicted");
                *granted = now;
            }
            let granted = model.values().filter(|(_, granted)| *granted).count();
            prop_assert_eq!(granted, ledger.granted());
            let kept = model.iter().filter(|(uid, (claim, _))| claim.accepted || writing.contains(*uid)).count();
            prop_assert!(granted <= quota.max(kept), "{granted} granted of {quota}");
            let held = model.values().filter(|(_, granted)| *granted);
            let names: HashSet<&str> = held.map(|(claim, _)| &*claim.key_pair_name).collect();
            prop_assert_eq!(names.len(), granted, "two pairs of one name");
            let now = expected(quota, &model);
            for (uid, standing) in &now {
                // Who has lost its slot while it may be being accepted is told so, but keeps it.
                let is_in_doubt = writing.contains(uid) && granted > quota;
                if is_in_doubt && ledger.standing(uid) == Standing::NoSlot {
                    continue;
                }
                prop_assert_eq!(&ledger.standing(uid), standing, "{}", uid);
                let name = &model[uid].0.seniority.name;
                // Whose acceptance is being written is looked at when the answer comes.
                if *uid != key && !writing.contains(uid) && before.get(uid) != Some(standing) {
                    prop_assert!(changed.contains(&**name), "{uid} is not told of its new standing");
                }
            }
        }
    }
}

#[test]
fn the_oldest_with_a_token_is_the_request_and_the_others_are_its_replays() {
    let mut ledger = Ledger::new(region(9));
    ledger.claim(with_token(1, "web", "t", 1));
    ledger.claim(with_token(2, "web", "t", 1));
    ledger.claim(with_token(3, "web", "t", 2));
    assert_eq!(ledger.standing("uid-1"), Standing::Granted);
    assert_eq!(ledger.standing("uid-2"), Standing::ReplayOfPending("kp-1".to_owned()));
    assert_eq!(ledger.standing("uid-3"), Standing::TokenReused("kp-1".to_owned()));
    assert_eq!(ledger.granted(), 1, "a replay takes no slot");
    let accepted = Claim { accepted: true, ..with_token(1, "web", "t", 1) };
    assert_eq!(ledger.claim(accepted), names(&[2, 3]));
    assert_eq!(ledger.standing("uid-2"), Standing::Replay("kp-1".to_owned()));
    // The oldest replay becomes a request of its own, and the others are compared with that.
    assert_eq!(ledger.withdraw("uid-1"), names(&[2, 3]));
    assert_eq!(ledger.standing("uid-2"), Standing::Granted);
    assert_eq!(ledger.standing("uid-3"), Standing::TokenReused("kp-2".to_owned()));
}

#[test]
fn a_token_that_waits_goes_to_the_older_request_and_one_that_is_granted_stays() {
    let mut ledger = Ledger::load(region(1), [claim(5, "other")], None);
    ledger.claim(with_token(2, "web", "t", 1));
    assert_eq!(ledger.standing("uid-2"), Standing::NoSlot);
    assert_eq!(ledger.claim(with_token(1, "web", "t", 1)), names(&[2]));
    assert_eq!(ledger.standing("uid-1"), Standing::NoSlot);
    assert_eq!(ledger.standing("uid-2"), Standing::ReplayOfPending("kp-1".to_owned()));
    ledger.withdraw("uid-5");
    assert_eq!(ledger.standing("uid-1"), Standing::Granted);
    ledger.claim(with_token(0, "web", "t", 1));
    assert_eq!(ledger.standing("uid-0"), Standing::ReplayOfPending("kp-1".to_owned()));
}

#[test]
fn a_reload_finds_the_same_requests() {
    let mut ledger = Ledger::new(region(1));
    ledger.claim(with_token(2, "web", "t", 1));
    let claims = || [with_token(1, "web", "t", 1), with_token(2, "web", "t", 1)];
    let reloaded = Ledger::load(region(1), claims(), Some(&ledger));
    assert_eq!(reloaded.standing("uid-2"), Standing::Granted, "its status may be on its way");
    let fresh = Ledger::load(region(1), claims(), None);
    assert_eq!(fresh.standing("uid-1"), Standing::Granted);
}

#[test]
fn without_names_of_their_own_two_requests_are_the_same() {
    let unnamed = |uid: u32| {
        let mut claim = with_token(uid, &format!("kp-{uid}"), "t", 1);
        claim.token.as_mut().unwrap().is_named = false;
        claim
    };
    let ledger = Ledger::load(region(9), [unnamed(1), unnamed(2), with_token(3, "kp-3", "t", 1)], None);
    assert_eq!(ledger.standing("uid-2"), Standing::ReplayOfPending("kp-1".to_owned()));
    assert_eq!(ledger.standing("uid-3"), Standing::TokenReused("kp-1".to_owned()));
}

/// The pairs of a namespace before and after its statuses were put back to older ones: one of those that hold something has never
/// been accepted, and the one that made way for it is there again.
#[test]
fn what_was_granted_in_another_history_takes_nothing_from_who_is_accepted() {
    let accepted = |claim: Claim| Claim { accepted: true, ..claim };
    let before = Ledger::load(region(2), [claim(2, "web"), claim(3, "db")], None);
    let put_back = [accepted(claim(1, "web")), claim(2, "web"), claim(3, "db"), claim(4, "ci")];
    let after = Ledger::load(region(2), put_back, Some(&before));
    let standing = |uid| after.standing(&format!("uid-{uid}"));
    assert_eq!((standing(1), standing(2)), (Standing::Granted, Standing::NameTaken));
    assert_eq!((standing(3), standing(4)), (Standing::Granted, Standing::NoSlot), "what is left stays granted");
    let smaller = [accepted(claim(1, "a")), accepted(claim(5, "b")), claim(2, "web"), claim(3, "db")];
    assert_eq!(Ledger::load(region(2), smaller, Some(&before)).granted(), 2);

    let before = Ledger::load(region(9), [with_token(2, "a", "t", 1)], None);
    let put_back = [accepted(with_token(1, "a", "t", 1)), with_token(2, "a", "t", 1)];
    let after = Ledger::load(region(9), put_back, Some(&before));
    assert_eq!(after.standing("uid-2"), Standing::Replay("kp-1".to_owned()));
}
