//! Faults that histories have found: each as its shortest history, with the timing varied over the range in which the fault
//! occurred.
#![allow(missing_docs, reason = "tests: a panic fails them")]

use std::time::Duration;

use keypair_simulation::{
    history::{Action, History, NetworkFaults, Policy, Setup, Step, Verb, WatchFault},
    run::run,
};
use serde_json::{Value, json};

const GENERATED: &str = "Ed25519";

fn setup(quota: usize) -> Setup {
    Setup { replicas: 1, quota, lease: 15, answers_reviews: false, concurrency: 16 }
}

fn generated() -> Value {
    json!({ "profile": "OpenSSH", "generate": { "algorithm": GENERATED } })
}

fn rotated(rotation: &Value) -> Value {
    json!({ "profile": "OpenSSH", "generate": { "algorithm": GENERATED }, "rotation": rotation })
}

fn of_project(project: &str) -> Value {
    json!({ "profile": "OpenSSH", "project": project, "generate": { "algorithm": GENERATED } })
}

fn step(milliseconds: u64, action: Action) -> Step {
    Step { at: Duration::from_millis(milliseconds), action }
}

fn user(milliseconds: u64, verb: Verb, resource: &'static str, name: &str, body: Value) -> Step {
    let namespace = if resource == "namespaces" { String::new() } else { "shop".to_owned() };
    step(milliseconds, Action::User { verb, resource, namespace, name: name.to_owned(), body })
}

fn namespace(milliseconds: u64, annotations: &Value) -> Step {
    user(milliseconds, Verb::Create, "namespaces", "shop", json!({ "metadata": { "annotations": annotations } }))
}

fn create(milliseconds: u64, name: &str, spec: &Value) -> Step {
    user(milliseconds, Verb::Create, "keypairs", name, json!({ "spec": spec }))
}

fn edit(milliseconds: u64, name: &str, spec: &Value) -> Step {
    user(milliseconds, Verb::Patch, "keypairs", name, json!({ "spec": spec }))
}

fn rotate(milliseconds: u64, request: &str) -> Step {
    let patch = json!({ "metadata": { "annotations": { "keypairs.dev/rotate": request } } });
    user(milliseconds, Verb::Patch, "keypairs", "web", patch)
}

/// Runs the history once with each of these times in it.
#[track_caller]
fn keeps_its_promises(setup: &Setup, times: impl IntoIterator<Item = u64>, steps: impl Fn(u64) -> Vec<Step>) {
    for time in times {
        let history = History { seed: time, setup: setup.clone(), steps: steps(time) };
        let violations = run(&history, false).violations;
        assert!(violations.is_empty(), "{history}    {}", violations.join("\n    "));
    }
}

#[test]
fn a_rename_there_and_back_during_a_move_keeps_the_key() {
    for on_loss in ["Report", "Regenerate"] {
        keeps_its_promises(&setup(500), 0..30, |time| {
            vec![
                namespace(0, &json!({})),
                create(0, "web", &generated()),
                edit(0, "web", &json!({ "secret": { "onLoss": on_loss } })),
                edit(1000, "web", &json!({ "secret": { "name": "s1" } })),
                edit(1000 + time, "web", &json!({ "secret": { "name": null } })),
            ]
        });
    }
}

#[test]
fn a_namespace_recreated_unnoticed_keeps_the_quota() {
    keeps_its_promises(&setup(1), (0..30).map(|time| 40 * time), |time| {
        vec![
            namespace(0, &json!({})),
            step(500, Action::Watch(0, "namespaces", WatchFault::LagFor(1000))),
            user(1000, Verb::Delete, "namespaces", "shop", Value::Null),
            namespace(1600, &json!({})),
            create(1610, "web", &generated()),
            create(1700 + time, "api", &generated()),
        ]
    });
}

#[test]
fn projects_edited_during_an_acceptance_free_no_slot() {
    keeps_its_promises(&setup(1), 0..40, |time| {
        vec![
            namespace(0, &json!({})),
            create(1000, "api", &of_project("red")),
            create(1000, "web", &of_project("blue")),
            user(
                1000 + time,
                Verb::Patch,
                "namespaces",
                "shop",
                json!({ "metadata": { "annotations": { "keypairs.dev/projects": "blue" } } }),
            ),
        ]
    });
}

#[test]
fn an_invalid_quota_accepts_no_pair() {
    keeps_its_promises(&setup(3), [0, 20, 1000], |time| {
        vec![namespace(0, &json!({ "keypairs.dev/quota": "many" })), create(time, "web", &generated())]
    });
}

#[test]
fn the_operator_follows_a_restored_store() {
    keeps_its_promises(&setup(3), [300, 1000, 5000], |time| {
        vec![
            namespace(0, &json!({})),
            step(200, Action::Snapshot),
            create(time, "web", &generated()),
            step(time + 200, Action::Restore),
            create(time + 4000, "api", &generated()),
        ]
    });
}

#[test]
fn the_operator_follows_a_restored_store_that_reuses_versions() {
    keeps_its_promises(&setup(1), [384, 600, 900], |time| {
        vec![
            namespace(0, &json!({})),
            create(0, "web", &generated()),
            step(14, Action::Snapshot),
            step(time, Action::Restore),
            user(time + 100, Verb::Delete, "keypairs", "web", Value::Null),
            create(time + 4000, "web", &generated()),
        ]
    });
}

#[test]
fn a_type_edited_during_a_move_leaves_one_secret() {
    keeps_its_promises(&setup(500), 0..60, |time| {
        vec![
            namespace(0, &json!({})),
            create(0, "web", &generated()),
            edit(1000, "web", &json!({ "secret": { "name": "s1" } })),
            edit(1000 + time, "web", &json!({ "secret": { "template": { "type": "Opaque" } } })),
        ]
    });
}

#[test]
fn a_reverted_type_leaves_one_secret() {
    keeps_its_promises(&setup(500), [20, 140, 1000], |time| {
        vec![
            namespace(0, &json!({})),
            create(0, "web", &generated()),
            edit(2, "web", &json!({ "secret": { "template": { "type": "Opaque" } } })),
            edit(2 + time, "web", &json!({ "secret": { "template": { "type": null } } })),
        ]
    });
}

#[test]
fn policies_that_remove_ownership_break_no_guarantee() {
    for [first, later] in [
        [Policy::RemoveUid, Policy::RemoveLabel],
        [Policy::RemoveUid, Policy::RemoveOwner],
        [Policy::RemoveLabel, Policy::RemoveOwner],
    ] {
        for edited in [
            json!({ "deletionPolicy": "Retain" }),
            json!({ "name": "s1", "deletionPolicy": "Retain" }),
            json!({ "name": "s1" }),
        ] {
            keeps_its_promises(&setup(500), 0..5, |time| {
                vec![
                    namespace(0, &json!({})),
                    create(0, "web", &generated()),
                    step(500, Action::Policy(first)),
                    edit(1000, "web", &json!({ "secret": edited })),
                    step(1000 + 3 * time, Action::Policy(later)),
                    step(6000, Action::NoPolicy),
                ]
            });
        }
    }
}

#[test]
fn an_algorithm_edited_before_acceptance_breaks_no_guarantee() {
    keeps_its_promises(&setup(500), 0..40, |time| {
        vec![
            namespace(0, &json!({})),
            create(0, "web", &generated()),
            edit(time, "web", &json!({ "generate": { "algorithm": null } })),
        ]
    });
}

#[test]
fn a_secret_offered_before_its_key_pair_is_adopted() {
    keeps_its_promises(&setup(500), [0, 20, 1000], |time| {
        let handed_over = json!({
            "metadata": { "annotations": { "keypairs.dev/adopt": "web" } },
            "data": { "ssh-privatekey": "$KEY0" },
        });
        vec![
            namespace(0, &json!({})),
            user(0, Verb::Create, "secrets", "web", handed_over),
            create(time, "web", &generated()),
        ]
    });
}

/// Until its watch shows the new namespace, the operator uses the quota of the former one.
#[test]
fn a_namespace_recreated_with_a_smaller_quota_breaks_no_guarantee() {
    for fault in [WatchFault::LagBy(1), WatchFault::LagFor(2900), WatchFault::Clear] {
        for quota in ["0", "many"] {
            keeps_its_promises(&setup(2), (0..10).map(|time| 30 * time), |time| {
                vec![
                    namespace(0, &json!({})),
                    step(500, Action::Watch(0, "namespaces", fault)),
                    user(1000, Verb::Delete, "namespaces", "shop", Value::Null),
                    namespace(2200, &json!({ "keypairs.dev/quota": quota })),
                    create(2200 + time, "api", &generated()),
                    create(2300 + time, "web", &generated()),
                    step(9000, Action::Watch(0, "namespaces", WatchFault::Clear)),
                    create(12_000, "job", &generated()),
                ]
            });
        }
    }
}

/// The next writes get the resource versions that were undone, so the versions do not show the restore.
#[test]
fn the_operator_follows_writes_immediately_after_a_restore() {
    keeps_its_promises(&setup(3), [0, 68, 500, 2500, 3000], |time| {
        vec![
            namespace(0, &json!({})),
            create(
                0,
                "api",
                &json!({ "profile": "OpenSSH", "generate": { "algorithm": GENERATED }, "secret": { "name": "web" } }),
            ),
            step(4, Action::Snapshot),
            step(1045, Action::Restore),
            user(1045 + time, Verb::Delete, "keypairs", "api", Value::Null),
            create(1225 + time, "web", &generated()),
        ]
    });
}

/// The create was refused because the Secret existed, and the read that followed got no response.
#[test]
fn a_rename_after_a_conflict_does_not_wait_for_it() {
    keeps_its_promises(&setup(500), 0..60, |time| {
        let faults = NetworkFaults { latency: 200, lost_responses: 500, ..NetworkFaults::default() };
        let offered = json!({
            "metadata": { "annotations": { "keypairs.dev/adopt": "api" } }, "data": { "ssh-privatekey": "$KEY1" },
        });
        vec![
            namespace(0, &json!({})),
            step(0, Action::Network(0, faults)),
            user(851, Verb::Create, "secrets", "s1", offered),
            create(851, "api", &json!({ "profile": "OpenSSH", "secret": { "name": "s1" } })),
            edit(2000 + 40 * time, "api", &json!({ "secret": { "name": "s2" } })),
        ]
    });
}

/// The create of the first Secret was lost: the KeyPair is not accepted yet, and no Secret holds its key.
#[test]
fn a_conflict_after_a_lost_create_names_no_missing_secret() {
    let cut_off = NetworkFaults { latency: 200, partitioned: true, ..NetworkFaults::default() };
    keeps_its_promises(&setup(2), (0..6).map(|time| 30 * time), |time| {
        vec![
            namespace(0, &json!({})),
            create(0, "api", &generated()),
            create(21_000, "job", &json!({ "profile": "OpenSSH", "secret": { "name": "s2" } })),
            step(21_000 + time, Action::Network(0, cut_off)),
            edit(25_000, "job", &json!({ "secret": { "name": null } })),
            edit(28_000, "api", &json!({ "secret": { "name": "job" } })),
        ]
    });
}

/// The spec names the old Secret of a move again before that Secret is deleted, and its type cannot change to that of the spec.
#[test]
fn a_rename_back_to_a_disallowed_type_finishes() {
    keeps_its_promises(&setup(1), 0..40, |time| {
        vec![
            namespace(0, &json!({})),
            create(
                0,
                "bot",
                &json!({ "profile": "OpenSSH", "generate": { "algorithm": GENERATED }, "secret": { "name": "api" } }),
            ),
            edit(600, "bot", &json!({ "secret": { "keys": { "privateKey": "identity" } } })),
            edit(3000, "bot", &json!({ "secret": { "name": "web" } })),
            edit(3000 + 2 * time, "bot", &json!({ "secret": { "name": "api" } })),
        ]
    });
}

/// The process is suspended while it writes the acceptance. When it resumes, the Secret has been deleted, alone or with its KeyPair.
#[test]
fn a_secret_deleted_while_the_acceptance_has_no_answer() {
    let cut_off = NetworkFaults { latency: 5, partitioned: true, ..NetworkFaults::default() };
    for is_pair_deleted in [true, false] {
        keeps_its_promises(&setup(500), 0..12, |time| {
            let delete = if is_pair_deleted { ("keypairs", "api") } else { ("secrets", "s1") };
            let spec =
                json!({ "profile": "OpenSSH", "generate": { "algorithm": GENERATED }, "secret": { "name": "s1" } });
            vec![
                namespace(0, &json!({})),
                create(0, "api", &spec),
                step(8 + 2 * time, Action::Suspend(0)),
                user(7400, Verb::Delete, delete.0, delete.1, Value::Null),
                // The response does not arrive either.
                step(8182, Action::Network(0, cut_off)),
            ]
        });
    }
}

/// The adopted key has another type than the one that the spec would generate.
#[test]
fn an_encoding_that_the_adopted_key_does_not_support() {
    for encoding in ["PKCS1", "SEC1"] {
        keeps_its_promises(&setup(500), [0, 10, 2000], |time| {
            let offered = json!({
                "metadata": { "annotations": { "keypairs.dev/adopt": "job" } }, "data": { "ssh-privatekey": "$KEY0" },
            });
            vec![
                namespace(0, &json!({})),
                user(0, Verb::Create, "secrets", "api", offered),
                create(1, "job", &json!({ "profile": "OpenSSH", "secret": { "name": "api" } })),
                edit(5000, "job", &json!({ "secret": { "encoding": encoding } })),
                edit(5000 + time, "job", &json!({ "secret": { "name": "s3" } })),
            ]
        });
    }
}

#[test]
fn a_previous_key_stays_until_the_status_shows_the_switch() {
    let pair = rotated(&json!({ "publishBefore": "0s", "keepAfter": "0s" }));
    keeps_its_promises(&setup(500), (0..20).map(|time| 100 * time), |time| {
        vec![
            namespace(0, &json!({})),
            create(0, "web", &pair),
            rotate(1200, "1"),
            // The status cannot be written: the operator does not see the latest version.
            step(1300 + time, Action::Watch(0, "keypairs", WatchFault::Silent)),
            edit(1310 + time, "web", &json!({ "description": "Edited" })),
        ]
    });
}

#[test]
fn a_previous_key_that_is_gone_is_not_shown_when_rotation_ends() {
    let pair = rotated(&json!({ "publishBefore": "0s", "keepAfter": "3s" }));
    keeps_its_promises(&setup(500), (0..40).map(|time| 5 * time), |time| {
        vec![
            namespace(0, &json!({})),
            create(0, "web", &pair),
            rotate(1200, "1"),
            step(3500, Action::Network(0, NetworkFaults { latency: 200, ..NetworkFaults::default() })),
            edit(5000 + time, "web", &json!({ "rotation": null })),
        ]
    });
}

#[test]
fn a_key_that_is_due_by_a_jump_of_the_clock_becomes_current() {
    let pair = rotated(&json!({ "publishBefore": "24h", "keepAfter": "0s" }));
    keeps_its_promises(&setup(500), (0..10).map(|time| 10_000 * time), |time| {
        vec![
            namespace(0, &json!({})),
            create(0, "web", &pair),
            rotate(2000, "1"),
            step(3000 + time, Action::ClockJump(86_400)),
        ]
    });
}

#[test]
fn a_refused_rotation_is_shown_as_it_was_recorded() {
    let pair = rotated(&json!({ "publishBefore": "0s", "gates": ["example.com/registered"] }));
    keeps_its_promises(&setup(500), (0..40).map(|time| 5 * time), |time| {
        let projects = json!({ "metadata": { "annotations": { "keypairs.dev/projects": "red" } } });
        vec![
            namespace(0, &json!({ "keypairs.dev/default-project": "blue" })),
            create(0, "web", &pair),
            rotate(1250, "1"),
            user(1250 + time, Verb::Patch, "namespaces", "shop", projects),
        ]
    });
}

fn publish(milliseconds: u64, kind: &'static str, name: &str, spec: &Value) -> Step {
    user(milliseconds, Verb::Create, kind, name, json!({ "spec": spec }))
}

/// Selects all KeyPairs of the namespace for this target.
fn for_all(target: &str) -> Value {
    json!({ "entries": [{ "selector": {} }], "target": { "configMap": { "name": target } } })
}

/// The same, as keys of a host.
fn hosts_in(target: &str) -> Value {
    json!({ "entries": [{ "hosts": ["a"], "selector": {} }], "target": { "configMap": { "name": target } } })
}

/// Another publication that wants the same target must not make the operator forget whose it is.
#[test]
fn a_former_target_that_another_publication_wants_is_deleted() {
    keeps_its_promises(&setup(500), (0..200).step_by(10), |time| {
        vec![
            namespace(0, &json!({})),
            create(0, "web", &generated()),
            publish(0, "authorizedkeys", "admins", &for_all("keys")),
            publish(1000, "knownhosts", "hosts", &hosts_in("keys")),
            user(
                1000 + time,
                Verb::Patch,
                "authorizedkeys",
                "admins",
                json!({ "spec": { "target": { "configMap": { "name": "other" } } } }),
            ),
        ]
    });
}

#[test]
fn a_former_target_stays_current_while_the_new_one_is_taken() {
    keeps_its_promises(&setup(500), (0..200).step_by(10), |time| {
        vec![
            namespace(0, &json!({})),
            create(0, "web", &generated()),
            publish(0, "authorizedkeys", "admins", &for_all("keys")),
            publish(0, "authorizedkeys", "others", &for_all("taken")),
            publish(1000, "knownhosts", "hosts", &hosts_in("keys")),
            user(
                2000,
                Verb::Patch,
                "authorizedkeys",
                "admins",
                json!({ "spec": { "target": { "configMap": { "name": "taken" } } } }),
            ),
            user(2000 + time, Verb::Delete, "keypairs", "web", Value::Null),
        ]
    });
}

#[test]
fn a_former_target_is_deleted_when_that_is_permitted_again() {
    keeps_its_promises(&setup(500), [0, 100, 5000], |time| {
        vec![
            namespace(0, &json!({})),
            publish(0, "authorizedkeys", "admins", &for_all("keys")),
            step(1000, Action::Deny("delete", "configmaps")),
            user(
                1000,
                Verb::Patch,
                "authorizedkeys",
                "admins",
                json!({ "spec": { "target": { "configMap": { "name": "other" } } } }),
            ),
            step(2000 + time, Action::AllowAll),
        ]
    });
}

/// Its owner learns of it even if another publication has taken the name before the watch shows the deletion.
#[test]
fn a_target_that_another_publication_takes_unseen_is_reported() {
    keeps_its_promises(&setup(500), [0, 100, 1000], |time| {
        vec![
            namespace(0, &json!({})),
            publish(0, "authorizedkeys", "admins", &for_all("keys")),
            publish(1000, "knownhosts", "hosts", &hosts_in("keys")),
            step(2000, Action::Watch(0, "configmaps", WatchFault::Silent)),
            user(2000 + time, Verb::Delete, "configmaps", "keys", Value::Null),
        ]
    });
}

/// The shape of a former target does not depend on the present spec.
#[test]
fn the_layout_of_a_former_target_survives_a_restart() {
    keeps_its_promises(&setup(500), [0, 1000], |time| {
        vec![
            namespace(0, &json!({})),
            create(0, "web", &generated()),
            publish(0, "authorizedkeys", "admins", &for_all("keys")),
            publish(0, "authorizedkeys", "others", &for_all("taken")),
            user(
                1000,
                Verb::Patch,
                "authorizedkeys",
                "admins",
                json!({ "spec": { "target": { "configMap": { "name": "taken" } } } }),
            ),
            user(2000 + time, Verb::Patch, "authorizedkeys", "admins", json!({ "spec": { "layout": "EntryPerKey" } })),
        ]
    });
}
