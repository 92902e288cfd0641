//! Every reason why a KeyPair is not Ready, with the error code and message of each profile.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use keypair_test_harness::eventually;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::{
    expected::{PROFILES, answer, internal_error_code, needs_edit, reason, status_error},
    mistakes::{Mistake, mistakes, valid},
    support::{PATIENCE, QUIET, STRICT, STRIPPED, Scene, condition, text},
};

/// Checks the status of an object that was refused for `fault`.
fn check(profile: &str, fault: &str, object: &Value) {
    let status = &object["status"];
    let name = format!("{profile} {fault}: {}", object["spec"]);
    assert_eq!(status["error"], status_error(profile, fault), "{name}");
    for absent in ["keyPairID", "fingerprint", "fingerprints", "publicKey", "secretName"] {
        assert_eq!(status[absent], Value::Null, "{name}: {status}");
    }
    let ready = condition(object, "Ready");
    assert!(!text(&ready["message"]).is_empty(), "{name}");
    let stalled = condition(object, "Stalled");
    if needs_edit(fault) {
        assert_eq!((&stalled["status"], &stalled["reason"]), (&json!("True"), &json!(reason(fault))), "{name}");
    } else {
        assert_eq!(stalled, Value::Null, "{name}");
    }
}

/// Admission refuses what CEL can check, with the cloud's code and message followed by advice; the controller refuses the rest.
async fn at_admission(profile: &'static str) {
    let scene = STRICT.scene("errors-admission").await;
    for mistake in mistakes(profile) {
        let created = scene.try_create(&mistake.name, &mistake.spec).await;
        if mistake.at_admission {
            let error = created.err().unwrap_or_else(|| panic!("{profile} admitted {}", mistake.spec));
            check_admission(profile, &mistake, &error);
        } else {
            created.unwrap_or_else(|error| panic!("{profile} {}: {error}", mistake.spec));
            let object = scene.settled(&mistake.name, &format!("False/{}", reason(mistake.fault))).await;
            check(profile, mistake.fault, &object);
        }
    }
}

fn check_admission(profile: &str, mistake: &Mistake, error: &kube::Error) {
    let kube::Error::Api(status) = error else { panic!("{profile} {}: {error}", mistake.spec) };
    let name = format!("{profile} {} {}: {}", mistake.fault, mistake.spec, status.message);
    assert_eq!(status.code, 422, "{name}");
    let (code, message, _) = answer(profile, mistake.fault);
    let words = format!("{code}: {}. ", message.trim_end_matches('.'));
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    // The API server puts `Invalid value: ` and, if it is short, the value before our message.
    let said = causes.iter().find_map(|cause| Some(cause.message.split_once(words.as_str())?.1));
    let advice = said.unwrap_or_else(|| panic!("no cause contains {words:?}: {name}"));
    assert!(advice.len() > 10, "no advice after {words:?}: {name}");
    let starts = |message: &str| message.starts_with(&words) || message.contains(&format!(": {words}"));
    assert!(causes.iter().any(|cause| starts(&cause.message)), "no message starts with the code: {name}");
}

/// The same objects, stored before the rules existed and later corrected in place.
async fn by_the_controller(profile: &'static str) {
    let scene = STRIPPED.scene("errors-controller").await;
    let mistakes = mistakes(profile);
    for mistake in &mistakes {
        scene.create(&mistake.name, &mistake.spec).await;
    }
    let mut events = BTreeMap::new();
    for mistake in &mistakes {
        let object = scene.settled(&mistake.name, &format!("False/{}", reason(mistake.fault))).await;
        check(profile, mistake.fault, &object);
        events.insert(mistake.name.clone(), vec![format!("Warning/{}", reason(mistake.fault))]);
    }
    wait_for_all_events(&scene, &events).await;

    for (number, mistake) in mistakes.iter().enumerate() {
        let mut object: DynamicObject = scene.key_pairs.get(&mistake.name).await.unwrap();
        let mut spec = valid(profile);
        spec["keyPairName"] = json!(format!("mended-{number}"));
        object.data["spec"] = spec;
        scene.key_pairs.replace(&mistake.name, &PostParams::default(), &object).await.unwrap();
    }
    for mistake in &mistakes {
        let object = scene.settled(&mistake.name, "True/Imported").await;
        assert_eq!(object["status"]["error"], Value::Null, "{profile} {}", mistake.spec);
        assert_eq!(condition(&object, "Stalled"), Value::Null, "{profile} {}", mistake.spec);
        events.get_mut(&mistake.name).unwrap().insert(0, "Normal/Imported".to_owned());
    }
    wait_for_all_events(&scene, &events).await;
}

async fn wait_for_all_events(scene: &Scene, wanted: &BTreeMap<String, Vec<String>>) {
    eventually(PATIENCE, &format!("the Events of {}", scene.namespace), async || {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for event in scene.list("events.events.k8s.io") {
            let about = text(&event["regarding"]["name"]).to_owned();
            found.entry(about).or_default().push(format!("{}/{}", text(&event["type"]), text(&event["reason"])));
        }
        for events in found.values_mut() {
            events.sort();
        }
        let differ: Vec<_> = wanted.iter().filter(|(name, events)| found.get(*name) != Some(*events)).collect();
        if differ.is_empty() && found.len() == wanted.len() {
            return Ok(Some(()));
        }
        Err(std::io::Error::other(format!("still waiting for {differ:?}; found {found:?}")).into())
    })
    .await
    .unwrap();
}

mod at_admission {
    crate::support::for_each_profile!(super::at_admission);
}

mod by_the_controller {
    crate::support::for_each_profile!(super::by_the_controller);
}

/// A name is unique in its namespace across all profiles, and becomes free when its KeyPair is deleted.
#[tokio::test]
async fn a_name_is_unique_within_a_namespace() {
    let scene = STRICT.scene("errors-name").await;
    let named = |profile: &str, name: &str| {
        let mut spec = valid(profile);
        spec["keyPairName"] = json!(name);
        spec
    };
    for profile in *PROFILES {
        let owner = format!("owner-{}", profile.to_lowercase());
        scene.create(&owner, &named(profile, &owner)).await;
        scene.settled(&owner, "True/Imported").await;
        let mut waiting = Vec::new();
        for other in *PROFILES {
            let name = format!("{owner}-{}", other.to_lowercase());
            scene.create(&name, &named(other, &owner)).await;
            let object = scene.settled(&name, "False/KeyPairNameConflict").await;
            check(other, "KeyPairNameConflict", &object);
            scene.wait_for_events(&name, &["Warning/KeyPairNameConflict"]).await;
            waiting.push(name);
        }
        scene.delete(&owner).await;
        // The creation time has a resolution of one second, so any one of them may win, but only one.
        let winner = eventually(PATIENCE, "one of those that wait to get the name", async || {
            let list = scene.list("keypairs");
            let ready = list.iter().filter(|object| condition(object, "Ready")["status"] == "True");
            let ready: Vec<_> = ready.filter_map(|object| object["metadata"]["name"].as_str()).collect();
            let winners: Vec<String> = waiting.iter().filter(|name| ready.contains(&name.as_str())).cloned().collect();
            assert!(winners.len() < 2, "{winners:?} have the same name");
            Ok(winners.into_iter().next())
        })
        .await
        .unwrap();
        scene.wait_for_events(&winner, &["Normal/Imported", "Warning/KeyPairNameConflict"]).await;
        for name in waiting {
            scene.delete(&name).await;
        }
    }
}

#[tokio::test]
async fn key_pairs_beyond_the_quota_are_refused() {
    let scene = QUIET.scene("errors-quota").await;
    let _operator = QUIET.spawn(&["--namespace", &scene.namespace, "--quota", "2"], "info");
    for name in ["one", "two"] {
        scene.create(name, &valid("OpenSSH")).await;
        scene.settled(name, "True/Imported").await;
    }
    for profile in *PROFILES {
        let name = profile.to_lowercase();
        scene.create(&name, &valid(profile)).await;
        let object = scene.settled(&name, "False/QuotaExceeded").await;
        check(profile, "QuotaExceeded", &object);
        scene.wait_for_events(&name, &["Warning/QuotaExceeded"]).await;
    }
    scene.delete("one").await;
    // Alibaba's was created first; if both have the same creation second, the name decides.
    scene.settled("alibaba", "True/Imported").await;
    scene.wait_for_events("alibaba", &["Normal/Imported", "Warning/QuotaExceeded"]).await;
    for name in ["ucloud", "volcengine", "openssh"] {
        scene.settled(name, "False/QuotaExceeded").await;
    }
}

#[tokio::test]
async fn a_secret_conflict_is_reported_as_an_internal_error() {
    let scene = STRICT.scene("errors-secret").await;
    for profile in *PROFILES {
        let name = profile.to_lowercase();
        let foreign: Secret = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        scene.secrets.create(&PostParams::default(), &foreign).await.unwrap();
        scene.create(&name, &json!({ "profile": profile })).await;
        let object = scene.settled(&name, "False/SecretConflict").await;
        let error = &object["status"]["error"];
        let code = internal_error_code(profile);
        assert_eq!((text(&error["code"]), &error["httpStatus"]), (code, &json!(500)), "{error}");
        let advice = text(&error["message"]).strip_prefix("An internal error has occurred. ");
        assert!(advice.is_some_and(|advice| advice.contains("spec.secret.name")), "{error}");
        assert_eq!(condition(&object, "Stalled"), Value::Null, "{profile}");
    }
}
