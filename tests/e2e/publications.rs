//! `AuthorizedKeys` and `KnownHosts`: what is in their targets, and what happens to the targets.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use keypair_test_harness::{Requests, eventually};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    rotation::{phases, request, shown, spec},
    support::{AGENT, PATIENCE, QUIET, STRICT, Scene, condition, data, text, to_json},
};

/// A publication, and the target that it has by default.
pub struct Published<'a> {
    scene: &'a Scene,
    kind: &'static str,
    name: String,
    maps: Api<ConfigMap>,
}

impl<'a> Published<'a> {
    pub async fn create(scene: &'a Scene, kind: &'static str, name: &str, spec: &Value) -> Published<'a> {
        let published = Self::prepare(scene, kind, name).await;
        let output = published.try_apply(spec);
        assert!(output.is_ok(), "{output:?}");
        published
    }

    pub async fn prepare(scene: &'a Scene, kind: &'static str, name: &str) -> Published<'a> {
        let client = scene.stage.plane.client().await.unwrap();
        let maps = Api::namespaced(client, &scene.namespace);
        Published { scene, kind, name: name.to_owned(), maps }
    }

    pub fn try_apply(&self, spec: &Value) -> Result<String, String> {
        let manifest = json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": self.kind,
            "metadata": { "name": self.name, "namespace": self.scene.namespace }, "spec": spec,
        });
        self.scene.try_kubectl(&["apply", "-f", "-"], &manifest.to_string()).ok().map_err(|error| error.to_string())
    }

    pub fn apply(&self, spec: &Value) {
        self.try_apply(spec).unwrap();
    }

    pub fn object(&self) -> Value {
        serde_json::from_str(&self.scene.kubectl(&["get", self.kind, &self.name, "-o", "json"])).unwrap()
    }

    /// Waits until the status reflects the spec, and Ready is `wanted`, for example `True/Published`.
    pub async fn settled(&self, wanted: &str) -> Value {
        let what = format!("{} {}/{} to be Ready={wanted}", self.kind, self.scene.namespace, self.name);
        eventually(PATIENCE, &what, async || {
            let object = self.object();
            let ready = condition(&object, "Ready");
            let found = format!("{}/{}", text(&ready["status"]), text(&ready["reason"]));
            let is_current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            if is_current && found == wanted {
                return Ok(Some(object));
            }
            Err(std::io::Error::other(format!("found {found} and the status {}", object["status"])).into())
        })
        .await
        .unwrap()
    }

    pub async fn map(&self, name: &str) -> Option<ConfigMap> {
        self.maps.get_opt(name).await.unwrap()
    }

    pub fn key(&self) -> &'static str {
        if self.kind == "KnownHosts" { "known_hosts" } else { "authorized_keys" }
    }

    /// The text in the default target.
    pub async fn text(&self) -> Option<String> {
        self.map(&self.name).await?.data?.remove(self.key())
    }

    /// Waits until the text has these lines.
    pub async fn says(&self, wanted: &[String]) {
        let what = format!("{} {}/{} to say {wanted:?}", self.kind, self.scene.namespace, self.name);
        eventually(PATIENCE, &what, async || {
            let found = self.text().await;
            if found.as_ref().is_some_and(|found| found.lines().eq(wanted.iter().map(String::as_str))) {
                return Ok(Some(()));
            }
            Err(std::io::Error::other(format!("found {found:?}")).into())
        })
        .await
        .unwrap();
    }
}

/// The current public key of a settled pair, without its comment.
pub fn line(object: &Value) -> String {
    let words: Vec<&str> = text(&object["status"]["publicKey"]).split(' ').take(2).collect();
    words.join(" ")
}

fn ed25519() -> Value {
    json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" }, "secret": { "encoding": "OpenSSH" } })
}

pub async fn pair(scene: &Scene, name: &str, labels: &Value) -> Value {
    let mut manifest = scene.manifest(name, &ed25519());
    manifest["metadata"]["labels"] = labels.clone();
    scene.key_pairs.create(&PostParams::default(), &serde_json::from_value(manifest).unwrap()).await.unwrap();
    scene.settled(name, "True/Generated").await
}

#[tokio::test]
async fn the_text_follows_its_key_pairs() {
    let scene = STRICT.scene("publications").await;
    let space = &scene.namespace;
    let team = json!({ "team": "web" });
    let (bob, ann) = (pair(&scene, "bob", &team).await, pair(&scene, "ann", &team).await);
    let (root, _) = (pair(&scene, "root", &json!({})).await, pair(&scene, "other", &json!({ "team": "db" })).await);
    let published = Published::create(
        &scene,
        "AuthorizedKeys",
        "admins",
        &json!({ "entries": [
            { "keyPair": "root", "options": {
                "restrict": true, "pty": true, "from": ["10.0.0.0/8", "!10.1.0.0/16"], "command": "echo \"hi\"",
            } },
            { "selector": { "matchLabels": team } },
        ] }),
    )
    .await;
    let first = format!(
        "restrict,command=\"echo \\\"hi\\\"\",from=\"10.0.0.0/8,!10.1.0.0/16\",pty {} {space}/root",
        line(&root)
    );
    // The order of options is the operator's choice, but always the same.
    let object = published.settled("True/Published").await;
    let text_now = published.text().await.unwrap();
    let lines: Vec<&str> = text_now.lines().collect();
    assert_eq!(lines.len(), 3, "{text_now}");
    let sorted = |line: &str| {
        let mut options: Vec<String> = line.split_once(" ssh-").unwrap().0.split(',').map(str::to_owned).collect();
        options.sort();
        options
    };
    assert_eq!(sorted(lines[0]), sorted(&first), "{text_now}");
    let first = lines[0].to_owned();
    assert!(first.ends_with(&format!("{} {space}/root", line(&root))), "{first}");
    let of = |object: &Value, name: &str| format!("{} {space}/{name}", line(object));
    published.says(&[first.clone(), of(&ann, "ann"), of(&bob, "bob")]).await;
    assert_eq!((&object["status"]["keyPairs"], &object["status"]["keys"]), (&json!(3), &json!(3)));
    assert_eq!(object["status"]["target"], json!({ "kind": "ConfigMap", "name": "admins", "key": "authorized_keys" }));
    assert!(text_now.ends_with('\n'));

    // A label, a deletion, a rotation.
    scene.patch("bob", &json!({ "metadata": { "labels": { "team": "db" } } })).await;
    published.says(&[first.clone(), of(&ann, "ann")]).await;
    scene.patch("other", &json!({ "metadata": { "labels": { "team": "web" } } })).await;
    let other = scene.settled("other", "True/Generated").await;
    published.says(&[first.clone(), of(&ann, "ann"), of(&other, "other")]).await;
    let begun = Instant::now();
    scene.delete("ann").await;
    published.says(&[first.clone(), of(&other, "other")]).await;
    println!("the deleted key was gone after {:?}", begun.elapsed());
    scene.patch("other", &json!({ "spec": { "rotation": { "publishBefore": "1h" } } })).await;
    shown(&scene, "other", &["1 Current"]).await;
    scene.patch("other", &request("1")).await;
    let (rotating, _) = shown(&scene, "other", &["1 Current", "2 Next"]).await;
    let key = |index: usize| {
        let line: Vec<&str> = text(&rotating["status"]["keys"][index]["publicKey"]).split(' ').take(2).collect();
        format!("{} {space}/other#{}", line.join(" "), index + 1)
    };
    published.says(&[first.clone(), key(0), key(1)]).await;
    scene.delete("other").await;
    scene.delete("root").await;
    published.says(&[]).await;
    let object = published.settled("False/KeyPairNotFound").await;
    assert_eq!(published.text().await.as_deref(), Some(""));
    assert!(text(&condition(&object, "Ready")["message"]).contains("entries[0]"), "{object}");
    assert_eq!(object["status"]["keys"], 0);
    let listed = scene.kubectl(&["get", "ak,kh"]);
    assert!(["KEYS", "TARGET", "READY", "REASON", "AGE"].iter().all(|column| listed.contains(column)), "{listed}");
}

#[tokio::test]
async fn the_target_is_kept_and_foreign_objects_are_not_touched() {
    let scene = STRICT.scene("publications-targets").await;
    let space = &scene.namespace;
    let root = pair(&scene, "root", &json!({})).await;
    let entries = json!([{ "keyPair": "root" }]);
    let published = Published::create(&scene, "AuthorizedKeys", "admins", &json!({ "entries": entries })).await;
    let wanted = [format!("{} {space}/root", line(&root))];
    published.says(&wanted).await;
    published.settled("True/Published").await;

    // Changed by hand, and deleted.
    let edit =
        Patch::Merge(json!({ "data": { "authorized_keys": "", "more": "x" }, "metadata": { "labels": { "a": "b" } } }));
    published.maps.patch("admins", &PatchParams::default(), &edit).await.unwrap();
    published.says(&wanted).await;
    let map = published.map("admins").await.unwrap();
    assert_eq!(map.data.unwrap().len(), 1);
    assert_eq!(map.metadata.labels.unwrap()["a"], "b");
    let unlabel = Patch::Merge(
        json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": null } }, "data": { "authorized_keys": "" } }),
    );
    published.maps.patch("admins", &PatchParams::default(), &unlabel).await.unwrap();
    published.says(&wanted).await;
    published.maps.delete("admins", &DeleteParams::default()).await.unwrap();
    published.says(&wanted).await;

    // Moved, to a foreign object first.
    let foreign: ConfigMap =
        serde_json::from_value(json!({ "metadata": { "name": "theirs" }, "data": { "a": "b" } })).unwrap();
    let foreign = published.maps.create(&PostParams::default(), &foreign).await.unwrap();
    published.apply(&json!({ "entries": entries, "target": { "configMap": { "name": "theirs" } } }));
    let conflict = published.settled("False/TargetConflict").await;
    assert!(text(&condition(&conflict, "Ready")["message"]).contains("theirs"), "{conflict}");
    assert_eq!(published.map("theirs").await.unwrap(), foreign);
    // The former target still follows.
    let ann = pair(&scene, "ann", &json!({})).await;
    let both = json!([{ "keyPair": "root" }, { "keyPair": "ann" }]);
    published.apply(&json!({ "entries": both, "target": { "configMap": { "name": "theirs" } } }));
    let lines = [wanted[0].clone(), format!("{} {space}/ann", line(&ann))];
    published.says(&lines).await;
    published.maps.delete("theirs", &DeleteParams::default()).await.unwrap();
    published.settled("True/Published").await;
    eventually(PATIENCE, "the former target to go", async || Ok(published.map("admins").await.is_none().then_some(())))
        .await
        .unwrap();
    assert_eq!(published.map("theirs").await.unwrap().data.unwrap()["authorized_keys"].lines().count(), 2);

    // A Secret, with an entry for each key.
    published.apply(&json!({ "entries": both, "target": { "secret": { "name": "keys" } }, "layout": "EntryPerKey" }));
    let object = published.settled("True/Published").await;
    assert_eq!(object["status"]["target"], json!({ "kind": "Secret", "name": "keys" }));
    let secret = scene.secrets.get("keys").await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    let mut values: Vec<String> =
        crate::support::keys(&secret).iter().map(|key| data(&secret, key).trim().to_owned()).collect();
    values.sort();
    let mut sorted = lines.to_vec();
    sorted.sort();
    assert_eq!(values, sorted);
    eventually(PATIENCE, "the former target to go", async || Ok(published.map("theirs").await.is_none().then_some(())))
        .await
        .unwrap();

    // The garbage collector takes the target with the publication.
    scene.kubectl(&["delete", "ak", "admins"]);
    eventually(PATIENCE, "the target to go", async || Ok(scene.secrets.get_opt("keys").await?.is_none().then_some(())))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_pair_of_another_namespace_is_published_only_if_it_is_shared() {
    let (theirs, ours) = (STRICT.scene("publications-shared").await, STRICT.scene("publications-with").await);
    let mut manifest = theirs.manifest("host", &ed25519());
    manifest["metadata"]["labels"] = json!({ "role": "host" });
    theirs.key_pairs.create(&PostParams::default(), &serde_json::from_value(manifest).unwrap()).await.unwrap();
    let host = theirs.settled("host", "True/Generated").await;
    let published = Published::create(
        &ours,
        "KnownHosts",
        "hosts",
        &json!({ "entries": [{ "hosts": ["git.example.com", "[git.example.com]:2222"], "keyPair": "host", "namespace": theirs.namespace }] }),
    )
    .await;
    let unshared = published.settled("False/NotShared").await;
    let message = text(&condition(&unshared, "Ready")["message"]).to_owned();
    // Whether the pair exists is not told.
    let other = Published::create(
        &ours,
        "KnownHosts",
        "absent",
        &json!({ "entries": [{ "hosts": ["git.example.com"], "keyPair": "host2", "namespace": theirs.namespace }] }),
    )
    .await;
    let absent = other.settled("False/NotShared").await;
    assert_eq!(text(&condition(&absent, "Ready")["message"]).replace("host2", "host"), message);
    theirs.patch("host", &json!({ "spec": { "shareWith": ["elsewhere", ours.namespace] } })).await;
    published.settled("True/Published").await;
    let comment = format!("{}/host", theirs.namespace);
    published.says(&[format!("git.example.com,[git.example.com]:2222 {} {comment}", line(&host))]).await;
    let by_label = Published::create(
        &ours,
        "AuthorizedKeys",
        "by-label",
        &json!({ "entries": [{ "selector": { "matchLabels": { "role": "host" } }, "namespace": theirs.namespace }] }),
    )
    .await;
    by_label.says(&[format!("{} {comment}", line(&host))]).await;
    theirs.patch("host", &json!({ "spec": { "shareWith": [] } })).await;
    published.says(&[]).await;
    by_label.says(&[]).await;
    by_label.settled("False/NothingSelected").await;
    theirs.patch("host", &json!({ "spec": { "shareWith": ["*"] } })).await;
    by_label.says(&[format!("{} {comment}", line(&host))]).await;
    theirs.delete("host").await;
    published.says(&[]).await;
}

/// What the schema refuses, with the field and what to do.
#[tokio::test]
async fn mistakes_are_refused_with_the_field() {
    let scene = STRICT.scene("publications-mistakes").await;
    let mistakes = [
        ("AuthorizedKeys", json!([{}]), "keyPair"),
        ("AuthorizedKeys", json!([{ "keyPair": "a", "selector": {} }]), "selector"),
        ("AuthorizedKeys", json!([{ "keyPair": "a", "options": { "principals": ["x"] } }]), "certAuthority"),
        ("AuthorizedKeys", json!([{ "keyPair": "a", "options": { "command": "a\nb" } }]), "command"),
        ("AuthorizedKeys", json!([{ "keyPair": "a", "options": { "from": ["a\" pty"] } }]), "from"),
        ("AuthorizedKeys", json!([{ "keyPair": "a", "options": { "expiryTime": "tomorrow" } }]), "expiryTime"),
        ("AuthorizedKeys", json!([{ "keyPair": "a", "options": { "environment": { "A B": "c" } } }]), "environment"),
        ("KnownHosts", json!([{ "keyPair": "a" }]), "hosts"),
        ("KnownHosts", json!([{ "keyPair": "a", "hosts": ["a b"] }]), "hosts"),
        ("KnownHosts", json!([{ "hosts": ["a"], "publicKeys": ["ssh-ed25519 AAAA"] }]), "publicKeys"),
    ];
    for (number, (kind, entries, field)) in mistakes.into_iter().enumerate() {
        let published = Published::prepare(&scene, kind, &format!("wrong-{number}")).await;
        if let Err(error) = published.try_apply(&json!({ "entries": entries })) {
            assert!(error.contains(field) && error.contains("entries[0]"), "{entries}: {error}");
            continue;
        }
        // What only the operator can check.
        let object = published.settled("False/InvalidEntry").await;
        let message = text(&condition(&object, "Ready")["message"]).to_owned();
        assert!(message.contains("entries[0]") && message.contains(field), "{entries}: {message}");
        assert_eq!(condition(&object, "Stalled")["status"], "True");
        assert_eq!(published.text().await.as_deref(), Some(""));
    }
    let published = Published::prepare(&scene, "AuthorizedKeys", "both").await;
    let target = json!({ "configMap": { "name": "a" }, "secret": { "name": "a" } });
    let error = published.try_apply(&json!({ "entries": [], "target": target })).unwrap_err();
    assert!(error.contains("target"), "{error}");
}

/// A switch waits until the publications that select the pair have the next key.
#[tokio::test]
async fn a_switch_waits_for_publication() {
    let scene = STRICT.scene("publications-rotation").await;
    let maps: Api<ConfigMap> = Api::namespaced(scene.stage.plane.client().await.unwrap(), &scene.namespace);
    let foreign: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "admins" } })).unwrap();
    maps.create(&PostParams::default(), &foreign).await.unwrap();
    scene.create("web", &spec(&json!({ "publishBefore": "0s", "keepAfter": "1h" }))).await;
    shown(&scene, "web", &["1 Current"]).await;
    let published =
        Published::create(&scene, "AuthorizedKeys", "admins", &json!({ "entries": [{ "selector": {} }] })).await;
    published.settled("False/TargetConflict").await;
    scene.patch("web", &request("1")).await;
    let waiting = eventually(PATIENCE, "the rotation to wait for publication", async || {
        let object = to_json(&scene.key_pairs.get("web").await?);
        Ok(Some(object).filter(|object| condition(object, "Rotating")["reason"] == "WaitingForPublication"))
    });
    let waiting = waiting.await.unwrap();
    assert_eq!(phases(&waiting), ["1 Current", "2 Next"]);
    assert_eq!(condition(&waiting, "Ready")["status"], "True");
    let message = text(&condition(&waiting, "Rotating")["message"]).to_owned();
    assert!(message.contains("AuthorizedKeys") && message.contains("admins"), "{message}");
    tokio::time::sleep(Duration::from_secs(7)).await;
    shown(&scene, "web", &["1 Current", "2 Next"]).await;
    maps.delete("admins", &DeleteParams::default()).await.unwrap();
    shown(&scene, "web", &["1 Previous", "2 Current"]).await;
    assert_eq!(published.text().await.unwrap().lines().count(), 2);
}

/// Many pairs at once are gathered into few writes.
#[tokio::test]
async fn a_burst_is_gathered() {
    const PAIRS: usize = 300;
    let scene = QUIET.scene("publications-burst").await;
    let _operator = QUIET.spawn(&["--namespace", &scene.namespace], "info");
    let published = Published::create(
        &scene,
        "AuthorizedKeys",
        "all",
        &json!({ "entries": [{ "selector": { "matchLabels": { "a": "b" } } }] }),
    )
    .await;
    published.settled("False/NothingSelected").await;
    let audit = scene.stage.plane.audit().unwrap();
    let mark = audit.mark().unwrap();
    let manifests: Vec<Value> = (0..PAIRS)
        .map(|number| {
            let mut manifest = scene.manifest(&format!("pair-{number}"), &ed25519());
            manifest["metadata"]["labels"] = json!({ "a": "b" });
            manifest
        })
        .collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": manifests });
    scene.try_kubectl(&["create", "-f", "-"], &list.to_string()).ok().unwrap();
    eventually(PATIENCE, "every key to be published", async || {
        let count = published.text().await.map_or(0, |text| text.lines().count());
        if count == PAIRS { Ok(Some(())) } else { Err(std::io::Error::other(format!("found {count}")).into()) }
    })
    .await
    .unwrap();
    let of_operator = Requests::any().by_agent(AGENT).resource("configmaps").namespace(&scene.namespace);
    let writes = ["create", "patch", "update"]
        .map(|verb| audit.count(mark, &of_operator.clone().verb(verb)).unwrap())
        .iter()
        .sum::<usize>();
    println!("{PAIRS} pairs: {writes} writes");
    assert!(writes <= 20, "{writes} writes");
}

/// Whoever creates a publication must be able to create its target.
#[tokio::test]
async fn a_user_without_the_right_to_create_the_target_is_refused() {
    let scene = STRICT.scene("publications-rights").await;
    scene.kubectl(&[
        "create",
        "role",
        "publisher",
        "--verb=create,update,patch,get",
        "--resource=authorizedkeys.keypairs.dev",
    ]);
    scene.kubectl(&["create", "rolebinding", "publisher", "--role=publisher", "--user=alice"]);
    let manifest = |target: Value| {
        json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "AuthorizedKeys", "metadata": { "name": "admins" },
            "spec": { "entries": [{ "keyPair": "a" }], "target": target },
        })
        .to_string()
    };
    let alice = ["create", "-f", "-", "--as=alice"];
    let refused = scene.try_kubectl(&alice, &manifest(json!({ "configMap": {} }))).ok().unwrap_err().to_string();
    assert!(refused.contains("configmaps") || refused.contains("ConfigMap"), "{refused}");
    scene.kubectl(&["create", "role", "writer", "--verb=create", "--resource=configmaps"]);
    scene.kubectl(&["create", "rolebinding", "writer", "--role=writer", "--user=alice"]);
    eventually(PATIENCE, "the right to count", async || {
        Ok(scene.try_kubectl(&alice, &manifest(json!({ "configMap": {} }))).ok().ok())
    })
    .await
    .unwrap();
    let patch = json!({ "spec": { "target": { "configMap": null, "secret": { "name": "x" } } } }).to_string();
    let refused = scene.try_kubectl(&["patch", "ak", "admins", "--type=merge", "-p", &patch, "--as=alice"], "");
    let refused = refused.ok().unwrap_err().to_string();
    assert!(refused.contains("secrets") || refused.contains("Secret"), "{refused}");
}
