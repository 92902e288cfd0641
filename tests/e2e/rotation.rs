//! Rotation: the next key is published, becomes current, and the previous one goes, while the pair stays Ready.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use keypair_test_harness::{Dice, eventually, free_port, http_get};
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    login::Server,
    support::{Directory, PATIENCE, QUIET, STRICT, Scene, condition, data, keys, text, to_json},
    tools::{path, run, ssh_keygen_y},
};

/// How many rotations there are in a row.
const ROTATIONS: &str = "KEYPAIR_ROTATIONS";
/// How many logins are tried at once.
const LOGINS_AT_ONCE: usize = 4;

const PHASES: [(&str, &str); 3] = [("Previous", ".previous"), ("Current", ""), ("Next", ".next")];

pub fn spec(rotation: &Value) -> Value {
    json!({
        "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" }, "secret": { "encoding": "OpenSSH" }, "rotation": rotation,
    })
}

/// The phases of the keys in the status, with their revisions.
pub fn phases(object: &Value) -> Vec<String> {
    let keys = object["status"]["keys"].as_array().into_iter().flatten();
    keys.map(|key| format!("{} {}", key["revision"], text(&key["phase"]))).collect()
}

/// Waits until the status shows these keys, and checks that the Secret holds them, and no others.
pub async fn shown(scene: &Scene, name: &str, wanted: &[&str]) -> (Value, Secret) {
    let what = format!("{}/{name} to show {wanted:?}", scene.namespace);
    let object = eventually(PATIENCE, &what, async || {
        let object = to_json(&scene.key_pairs.get(name).await?);
        let ready = condition(&object, "Ready");
        assert!(ready["status"].is_null() || ready["status"] == "True", "not Ready: {ready}");
        if phases(&object) == wanted {
            return Ok(Some(object));
        }
        Err(std::io::Error::other(format!("found {:?}", object["status"])).into())
    })
    .await
    .unwrap();
    let secret = scene.secrets.get(text(&object["status"]["secretName"])).await.unwrap();
    check_entries(&object, &secret);
    (object, secret)
}

/// The entries of the Secret are the keys that the status shows.
fn check_entries(object: &Value, secret: &Secret) {
    let names = &object["spec"]["secret"]["keys"];
    let name = |field: &str, default: &str| names[field].as_str().unwrap_or(default).to_owned();
    let (private, public) = (name("privateKey", "ssh-privatekey"), name("publicKey", "ssh-publickey"));
    let dir = Directory::new("rotation");
    for (phase, suffix) in PHASES {
        let (private, public) = (format!("{private}{suffix}"), format!("{public}{suffix}"));
        let shown = object["status"]["keys"].as_array().unwrap().iter().find(|key| key["phase"] == phase);
        let Some(shown) = shown else {
            assert!(!keys(secret).contains(&private.as_str()) && !keys(secret).contains(&public.as_str()), "{phase}");
            continue;
        };
        let line = text(&shown["publicKey"]);
        assert_eq!(data(secret, &public).trim(), line, "{phase}");
        let derived = ssh_keygen_y(&dir.write(phase, data(secret, &private).as_bytes()));
        assert_eq!(derived.trim(), line, "{phase}");
    }
    let current = object["status"]["keys"].as_array().unwrap().iter().find(|key| key["phase"] == "Current").unwrap();
    for field in ["publicKey", "algorithm", "bits", "fingerprint", "fingerprints"] {
        assert_eq!(object["status"][field], current[field], "{field}");
    }
    assert_eq!(object["status"]["revision"], current["revision"]);
}

pub fn request(value: &str) -> Value {
    json!({ "metadata": { "annotations": { "keypairs.dev/rotate": value } } })
}

#[tokio::test]
async fn a_request_publishes_switches_and_removes() {
    let scene = STRICT.scene("rotation").await;
    scene.create("web", &spec(&json!({ "publishBefore": "2s", "keepAfter": "2s" }))).await;
    let (before, _) = shown(&scene, "web", &["1 Current"]).await;
    assert_eq!(condition(&before, "Rotating")["status"], "False");
    assert!(before["status"]["rotation"].is_null(), "{}", before["status"]["rotation"]);
    scene.patch("web", &request("2026-11-29T10:00:00Z")).await;
    let (published, secret) = shown(&scene, "web", &["1 Current", "2 Next"]).await;
    assert_eq!(condition(&published, "Rotating")["reason"], "Published");
    assert_eq!(published["status"]["rotation"]["handledRequest"], "2026-11-29T10:00:00Z");
    assert_eq!(data(&secret, "ssh-publickey").trim(), text(&before["status"]["publicKey"]));
    let (switched, secret) = shown(&scene, "web", &["1 Previous", "2 Current"]).await;
    assert_eq!(condition(&switched, "Rotating")["reason"], "KeepingPrevious");
    assert_eq!(secret.annotations()["keypairs.dev/revision"], "2");
    assert_eq!(secret.annotations()["keypairs.dev/fingerprint"], text(&switched["status"]["fingerprints"]["sha256"]));
    for field in ["keyPairID", "keyPairName", "secretName"] {
        assert_eq!(switched["status"][field], before["status"][field]);
    }
    let (ended, _) = shown(&scene, "web", &["2 Current"]).await;
    assert_eq!(condition(&ended, "Rotating")["status"], "False");
    let events = ["Normal/KeyRotated", "Normal/NextKeyPublished", "Normal/PreviousKeyRemoved"];
    scene.wait_for_events("web", &events).await;
    let columns = scene.kubectl(&["get", "kp", "web", "-o", "wide"]);
    assert!(columns.contains("REVISION") && columns.contains("NEXT-SWITCH"), "{columns}");
}

#[tokio::test]
async fn a_schedule_rotates_again_and_again() {
    let scene = STRICT.scene("rotation-schedule").await;
    scene.create("web", &spec(&json!({ "every": "5s", "publishBefore": "1s", "keepAfter": "1s" }))).await;
    let first = shown(&scene, "web", &["1 Current"]).await.0;
    assert!(first["status"]["rotation"]["nextSwitch"].is_string());
    for revision in 2..5 {
        shown(&scene, "web", &[&format!("{} Current", revision - 1), &format!("{revision} Next")]).await;
        shown(&scene, "web", &[&format!("{} Previous", revision - 1), &format!("{revision} Current")]).await;
    }
}

#[tokio::test]
async fn a_switch_waits_for_its_gates() {
    let scene = STRICT.scene("rotation-gates").await;
    let gate = "example.com/registered";
    scene.create("web", &spec(&json!({ "publishBefore": "0s", "keepAfter": "1h", "gates": [gate] }))).await;
    shown(&scene, "web", &["1 Current"]).await;
    let open = json!({
        "type": gate, "status": "True", "reason": "Registered", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let set = async |conditions: Vec<Value>| {
        let patch = Patch::Merge(json!({ "status": { "conditions": conditions } }));
        scene.key_pairs.patch_status("web", &PatchParams::default(), &patch).await.unwrap();
    };
    let with = |object: &Value, gate: Value| {
        let conditions = object["status"]["conditions"].as_array().unwrap().iter();
        let others = conditions.filter(|condition| condition["type"] != gate["type"]).cloned();
        others.chain([gate.clone()]).collect::<Vec<_>>()
    };
    let object = to_json(&scene.key_pairs.get("web").await.unwrap());
    set(with(&object, open.clone())).await;
    scene.patch("web", &request("1")).await;
    let (waiting, _) = shown(&scene, "web", &["1 Current", "2 Next"]).await;
    assert_eq!(
        (&condition(&waiting, gate)["status"], &condition(&waiting, gate)["reason"]),
        (&json!("False"), &json!("Pending"))
    );
    assert_eq!(waiting["status"]["rotation"]["waitingFor"], json!([gate]));
    let waiting = eventually(PATIENCE, "the rotation to wait for its gates", async || {
        let object = to_json(&scene.key_pairs.get("web").await?);
        Ok(Some(object).filter(|object| condition(object, "Rotating")["reason"] == "WaitingForGates"))
    });
    let waiting = waiting.await.unwrap();
    assert_eq!(phases(&waiting), ["1 Current", "2 Next"]);
    set(with(&waiting, open)).await;
    let (switched, _) = shown(&scene, "web", &["1 Previous", "2 Current"]).await;
    assert_eq!(condition(&switched, gate)["status"], "True");
    assert!(switched["status"]["rotation"]["waitingFor"].is_null());
}

/// Everything that moves or rewrites the Secret does so with all of its keys.
#[tokio::test]
async fn a_rotation_survives_moves_and_other_forms() {
    let scene = STRICT.scene("rotation-moves").await;
    let mut spec = spec(&json!({ "publishBefore": "1h", "keepAfter": "1h" }));
    (spec["generate"], spec["secret"]) = (json!({ "algorithm": "ECDSA" }), json!({}));
    scene.create("web", &spec).await;
    shown(&scene, "web", &["1 Current"]).await;
    scene.patch("web", &request("1")).await;
    let (published, _) = shown(&scene, "web", &["1 Current", "2 Next"]).await;
    let same = async |edit: Value, name: &str, header: &str| {
        scene.patch("web", &json!({ "spec": { "secret": edit } })).await;
        scene.settled("web", "True/Generated").await;
        let (object, secret) = shown(&scene, "web", &["1 Current", "2 Next"]).await;
        assert_eq!((&object["status"]["keys"], secret.name_any().as_str()), (&published["status"]["keys"], name));
        let next = keys(&secret).into_iter().find(|key| ["ssh-privatekey.next", "id.next"].contains(key));
        assert!(data(&secret, next.unwrap()).starts_with(header), "{name} {header}");
    };
    same(json!({ "encoding": "SEC1" }), "web", "-----BEGIN EC PRIVATE KEY-----").await;
    same(json!({ "name": "moved" }), "moved", "-----BEGIN EC PRIVATE KEY-----").await;
    same(
        json!({ "name": "again", "encoding": "OpenSSH", "keys": { "privateKey": "id", "publicKey": "id.pub" } }),
        "again",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    )
    .await;
    assert!(
        scene.secrets.get_opt("web").await.unwrap().is_none()
            && scene.secrets.get_opt("moved").await.unwrap().is_none()
    );

    // The next key is lost: another one is generated, and published anew.
    let patch = Patch::Merge(json!({ "data": { "id.next": null } }));
    scene.secrets.patch("again", &PatchParams::default(), &patch).await.unwrap();
    let what = "another next key";
    eventually(PATIENCE, what, async || {
        let object = to_json(&scene.key_pairs.get("web").await?);
        let is_another =
            phases(&object) == ["1 Current", "2 Next"] && object["status"]["keys"][1] != published["status"]["keys"][1];
        Ok(is_another.then_some(()))
    })
    .await
    .unwrap();
    shown(&scene, "web", &["1 Current", "2 Next"]).await;

    // Without rotation there is no next key.
    scene.patch("web", &json!({ "spec": { "rotation": null } })).await;
    let (object, secret) = {
        let object = eventually(PATIENCE, "the rotation to be cancelled", async || {
            let object = to_json(&scene.key_pairs.get("web").await?);
            Ok(Some(object).filter(|object| object["status"]["keys"].is_null()))
        });
        (object.await.unwrap(), scene.secrets.get("again").await.unwrap())
    };
    assert_eq!(keys(&secret), ["id", "id.pub"]);
    assert_eq!(object["status"]["publicKey"], published["status"]["publicKey"]);
    scene
        .wait_for_events("web", &["Normal/NextKeyPublished", "Normal/NextKeyPublished", "Normal/RotationCancelled"])
        .await;
}

#[tokio::test]
async fn another_kind_of_key_is_rotated_in() {
    let scene = STRICT.scene("rotation-kind").await;
    scene.create("web", &spec(&json!({ "publishBefore": "1s", "keepAfter": "1s" }))).await;
    shown(&scene, "web", &["1 Current"]).await;
    let ecdsa = json!({ "spec": { "generate": { "algorithm": "ECDSA", "bits": 384 } } });
    scene.patch("web", &ecdsa).await;
    let (next, _) = shown(&scene, "web", &["1 Current", "2 Next"]).await;
    assert_eq!((&next["status"]["algorithm"], &next["status"]["keys"][1]["bits"]), (&json!("Ed25519"), &json!(384)));
    shown(&scene, "web", &["1 Previous", "2 Current"]).await;
    let (object, _) = shown(&scene, "web", &["2 Current"]).await;
    assert_eq!((&object["status"]["algorithm"], &object["status"]["bits"]), (&json!("ECDSA"), &json!(384)));
}

/// What its owner had in an adopted Secret stays, but for the key, and a foreign entry is no place for a key.
#[tokio::test]
async fn an_adopted_secret_is_rotated() {
    let scene = STRICT.scene("rotation-adopted").await;
    let dir = Directory::new("adopted");
    let file = dir.0.join("key");
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path(&file)], b"");
    let key = std::fs::read_to_string(&file).unwrap();
    let secret: Secret = serde_json::from_value(json!({
        "metadata": { "name": "web", "annotations": { "keypairs.dev/adopt": "web" } },
        "stringData": { "ssh-privatekey": key, "theirs": "x", "ssh-privatekey.next": "theirs as well" },
    }))
    .unwrap();
    scene.secrets.create(&PostParams::default(), &secret).await.unwrap();
    scene.create("web", &spec(&json!({ "publishBefore": "1s", "keepAfter": "1s" }))).await;
    scene.settled("web", "True/Generated").await;
    scene.patch("web", &request("1")).await;
    let conflict = scene.settled("web", "False/SecretConflict").await;
    assert!(text(&condition(&conflict, "Ready")["message"]).contains("\"ssh-privatekey.next\""), "{conflict}");
    let patch = Patch::Merge(json!({ "data": { "ssh-privatekey.next": null } }));
    scene.secrets.patch("web", &PatchParams::default(), &patch).await.unwrap();
    let object = eventually(PATIENCE, "the adopted key to be rotated", async || {
        let object = to_json(&scene.key_pairs.get("web").await?);
        Ok(Some(object).filter(|object| phases(object) == ["2 Current"]))
    });
    let object = object.await.unwrap();
    let secret = scene.secrets.get("web").await.unwrap();
    check_entries(&object, &secret);
    assert_eq!(data(&secret, "theirs"), "x");
    // Who could read the adopted key can read its successor.
    assert!(data(&secret, "ssh-privatekey").starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
}

/// Authorizes the keys that the status shows.
fn authorize(server: &Server, object: &Value) {
    let keys = object["status"]["keys"].as_array().into_iter().flatten();
    let lines: Vec<&str> = keys.map(|key| text(&key["publicKey"])).collect();
    server.authorize(&format!("{}\n", lines.join("\n")));
}

/// Rotations in a row, while the operator is killed again and again: whoever takes the key that the Secret has at that moment can log in
/// wherever the keys of the status are authorized.
#[tokio::test(flavor = "multi_thread")]
async fn no_login_fails_while_keys_are_rotated_and_operators_are_killed() {
    let rotations: u64 = std::env::var(ROTATIONS).map_or(5, |text| text.parse().unwrap());
    let scene = Arc::new(QUIET.scene("rotation-login").await);
    let spawn = || QUIET.spawn(&["--namespace", &scene.namespace], "info");
    let mut operator = spawn();
    let rotation = json!({ "every": "3s", "publishBefore": "2s", "keepAfter": "3s" });
    scene.create("web", &spec(&rotation)).await;
    scene.settled("web", "True/Generated").await;
    let server = Arc::new(Server::start("").await);
    authorize(&server, &to_json(&scene.key_pairs.get("web").await.unwrap()));

    let over = Arc::new(AtomicBool::new(false));
    let logins = Arc::new(AtomicUsize::new(0));
    let mut others = JoinSet::new();
    {
        let (over, scene, server) = (Arc::clone(&over), Arc::clone(&scene), Arc::clone(&server));
        others.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                authorize(&server, &to_json(&scene.key_pairs.get("web").await.unwrap()));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    for _ in 0..LOGINS_AT_ONCE {
        let (over, scene, server, logins) =
            (Arc::clone(&over), Arc::clone(&scene), Arc::clone(&server), Arc::clone(&logins));
        others.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let secret = scene.secrets.get("web").await.unwrap();
                let (server, private_key) = (Arc::clone(&server), data(&secret, "ssh-privatekey"));
                let output = tokio::task::spawn_blocking(move || server.ssh(&private_key, "true")).await.unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "login {} failed: {said}", logins.load(Ordering::Relaxed));
                logins.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut dice = Dice::new(7);
    let begun = Instant::now();
    let patience = PATIENCE + Duration::from_secs(20 * rotations);
    let mut kills = 0;
    loop {
        let object = to_json(&scene.key_pairs.get("web").await.unwrap());
        let revision = object["status"]["revision"].as_u64().unwrap();
        assert_eq!(condition(&object, "Ready")["status"], "True");
        if revision > rotations {
            break;
        }
        assert!(begun.elapsed() < patience, "revision {revision} after {:?}", begun.elapsed());
        if let Some(ended) = others.try_join_next() {
            ended.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(dice.below(2500))).await;
        // SIGKILL.
        drop(operator);
        operator = spawn();
        kills += 1;
    }
    drop(operator);
    over.store(true, Ordering::Relaxed);
    others.join_all().await;
    let logins = logins.load(Ordering::Relaxed);
    println!("{rotations} rotations in {:?}, {kills} operators killed, {logins} logins", begun.elapsed());
    assert!(logins > 20);
}

/// What the metrics say about one pair that is rotated, and nothing else.
struct Watched<'a> {
    scene: &'a Scene,
    address: SocketAddr,
}

impl Watched<'_> {
    /// The value of a sample, `{}` being the label of the namespace; `None` if there is no such sample.
    async fn sample(&self, name: &str) -> Option<i64> {
        let name = name.replace("{}", &format!("{{namespace=\"{}\"}}", self.scene.namespace));
        let metrics = http_get(self.address, "/metrics").await.unwrap().body;
        let prefix = format!("keypair_operator_{name} ");
        metrics.lines().find_map(|line| line.strip_prefix(&prefix)).map(|value| value.parse().unwrap())
    }

    /// Waits until the samples have these values.
    async fn wait_for(&self, wanted: &[(&str, Option<i64>)]) {
        eventually(PATIENCE, &format!("{wanted:?}"), async || {
            for (name, value) in wanted {
                let found = self.sample(name).await;
                if found != *value {
                    return Err(std::io::Error::other(format!("{name} is {found:?}")).into());
                }
            }
            Ok(Some(()))
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn metrics_follow_a_rotation() {
    let seconds = |time: &Value| Some(text(time).parse::<Timestamp>().unwrap().as_second());
    let scene = QUIET.scene("rotation-metrics").await;
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let args = ["--namespace", &scene.namespace, "--metrics-addr", &address.to_string()];
    let _operator = QUIET.spawn(&args, "info");
    let gate = "example.com/registered";
    let rotation = json!({ "every": "1s", "publishBefore": "0s", "keepAfter": "1s", "gates": [gate] });
    scene.create("web", &spec(&rotation)).await;
    let (waiting, _) = shown(&scene, "web", &["1 Current", "2 Next"]).await;
    let watched = Watched { scene: &scene, address };
    let switch = seconds(&waiting["status"]["rotation"]["nextSwitch"]);
    watched
        .wait_for(&[
            ("rotation_key_pairs", Some(1)),
            ("rotation_oldest_key_timestamp_seconds{}", seconds(&waiting["status"]["keys"][0]["since"])),
            ("rotation_waiting_key_pairs{}", Some(1)),
            ("rotation_waiting_since_timestamp_seconds{}", switch),
            ("rotation_next_switch_timestamp_seconds", None),
            ("rotation_overdue_key_pairs{}", Some(1)),
            (r#"rotations_total{outcome="NextKeyPublished"}"#, Some(1)),
            (r#"rotations_total{outcome="KeyRotated"}"#, Some(0)),
        ])
        .await;
    // The command of the runbook shows the pair.
    let runbook = include_str!("../../docs/operations.md");
    let columns = runbook.split("-o custom-columns='").nth(1).unwrap().split('\'').next().unwrap();
    let listed = scene.kubectl(&["get", "keypairs", "-o", &format!("custom-columns={columns}")]);
    let row: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    let [since, switch] =
        [&waiting["status"]["keys"][0]["since"], &waiting["status"]["rotation"]["nextSwitch"]].map(text);
    assert_eq!(row, ["web", "1s", since, switch, "WaitingForGates", "Generated"], "{listed}");

    scene.patch("web", &json!({ "spec": { "rotation": { "every": "2h" } } })).await;
    watched.wait_for(&[("rotation_overdue_key_pairs{}", Some(0)), ("rotation_waiting_key_pairs{}", Some(1))]).await;
    scene.patch("web", &json!({ "spec": { "rotation": { "gates": null } } })).await;
    let (ended, _) = shown(&scene, "web", &["2 Current"]).await;
    watched
        .wait_for(&[
            ("rotation_oldest_key_timestamp_seconds{}", seconds(&ended["status"]["keys"][0]["since"])),
            ("rotation_waiting_key_pairs{}", Some(0)),
            ("rotation_waiting_since_timestamp_seconds{}", None),
            ("rotation_next_switch_timestamp_seconds", seconds(&ended["status"]["rotation"]["nextSwitch"])),
            ("rotation_overdue_key_pairs{}", Some(0)),
            (r#"rotations_total{outcome="NextKeyPublished"}"#, Some(1)),
            (r#"rotations_total{outcome="KeyRotated"}"#, Some(1)),
            (r#"rotations_total{outcome="PreviousKeyRemoved"}"#, Some(1)),
            (r#"rotations_total{outcome="RotationCancelled"}"#, Some(0)),
            (r#"rotations_total{outcome="RotationFailed"}"#, Some(0)),
        ])
        .await;
}
