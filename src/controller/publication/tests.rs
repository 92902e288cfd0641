//! Which requests a reconciliation sends, and what it makes of the answers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use base64ct::{Base64, Encoding};
use http::{Method, Request, Response, StatusCode, header::ACCEPT};
use kube::{
    api::PartialObjectMeta,
    client::{Body, ClientBuilder},
    core::PartialObjectMetaExt,
    runtime::watcher::Event,
};
use serde_json::{Value, json};
use tower::{BoxError, service_fn};

use super::*;
use crate::{
    api::{AuthorizedKeys, KeyPair},
    cache::watched::WatchedKeyPair,
    domain::publication::{PublicationKind, TargetKind},
};

const LINES: [&str; 2] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICV0MGX/W9IvLA4FXpIuUcdDcbj5KX4syHgsTy7soVgf",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS",
];
const CONFIG_MAPS: &str = "/api/v1/namespaces/shop/configmaps";
const SECRETS: &str = "/api/v1/namespaces/shop/secrets";
const STATUS: &str = "/apis/keypairs.dev/v1alpha1/namespaces/shop/authorizedkeys/admins/status";

/// An API server that stores objects by their paths.
#[derive(Debug, Default)]
struct Server {
    objects: BTreeMap<String, Value>,
    version: u32,
    /// Method and path of each request, `METADATA` for metadata only.
    requests: Vec<String>,
    /// Refuses writes of ConfigMaps with this code.
    refuses: Option<u16>,
    /// Fails to write this object.
    fails: Option<String>,
}

impl Server {
    fn answer(&mut self, method: &Method, path: &str, is_partial: bool, body: &Value) -> (u16, Value) {
        let shown = if *method == Method::GET && is_partial { "METADATA" } else { method.as_str() };
        if path.ends_with("/events") {
            return (201, body.clone());
        }
        self.requests.push(format!("{shown} {path}"));
        if let Some(code) = self.refuses.filter(|_| *method != Method::GET && path.starts_with(CONFIG_MAPS)) {
            return (code, Value::Null);
        }
        if *method != Method::GET && self.fails.as_deref() == Some(path) {
            return (500, Value::Null);
        }
        let name = body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let key = if *method == Method::POST {
            format!("{path}/{name}")
        } else {
            path.trim_end_matches("/status").to_owned()
        };
        let stored = self.objects.get(&key).cloned();
        let version = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
        match (method.as_str(), stored) {
            ("GET", Some(object)) if is_partial => (200, json!({ "metadata": object["metadata"] })),
            ("GET", Some(object)) => (200, object),
            ("POST", Some(_)) => (409, json!({ "reason": "AlreadyExists" })),
            ("PUT", Some(stored)) if version(&stored) != version(body) => (409, json!({ "reason": "Conflict" })),
            ("POST" | "PUT", stored) => {
                let mut object = body.clone();
                self.version += 1;
                if let Some(stored) = stored.filter(|_| path.ends_with("/status")) {
                    object =
                        json!({ "metadata": stored["metadata"], "spec": stored["spec"], "status": body["status"] });
                } else if *method == Method::POST {
                    object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
                }
                object["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.objects.insert(key, object.clone());
                (if *method == Method::POST { 201 } else { 200 }, object)
            }
            ("PATCH", Some(stored)) if version(&stored) != version(body) => (409, json!({ "reason": "Conflict" })),
            ("PATCH", Some(mut stored)) => {
                self.version += 1;
                merge(&mut stored, body);
                stored["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.objects.insert(key, stored.clone());
                (200, stored)
            }
            ("DELETE", Some(stored)) if version(&stored) == body.pointer("/preconditions/resourceVersion").cloned() => {
                self.objects.remove(&key);
                (200, json!({ "metadata": stored["metadata"] }))
            }
            ("DELETE", Some(_)) => (409, json!({ "reason": "Conflict" })),
            _ => (404, json!({ "reason": "NotFound" })),
        }
    }
}

/// Applies a merge patch.
fn merge(object: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (field, value) in fields {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(field);
        } else {
            merge(&mut object[field], value);
        }
    }
}

/// A publication `shop/admins`, and the operator that reconciles it.
struct World {
    server: Arc<Mutex<Server>>,
    context: Arc<Context>,
}

impl World {
    fn new(spec: &Value) -> Self {
        let server = Arc::new(Mutex::new(Server::default()));
        let answering = Arc::clone(&server);
        let service = service_fn(move |request: Request<Body>| {
            let server = Arc::clone(&answering);
            async move {
                let is_partial =
                    request.headers().get(ACCEPT).is_some_and(|it| it.to_str().unwrap().contains("Partial"));
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                let bytes = request.into_body().collect_bytes().await?;
                let body = serde_json::from_slice(&bytes).unwrap_or_default();
                let (code, mut answer) = server.lock().unwrap().answer(&method, &path, is_partial, &body);
                if code >= 400 {
                    answer["status"] = json!("Failure");
                    answer["code"] = json!(code);
                    answer["metadata"] = json!({});
                }
                let response = Response::builder().status(StatusCode::from_u16(code)?);
                Ok::<_, BoxError>(response.body(Body::from(answer.to_string().into_bytes()))?)
            }
        });
        let (context, _) = crate::controller::context::tests::context(ClientBuilder::new(service, "default").build());
        let world = Self { server, context: Arc::new(context) };
        world.edit(spec);
        world
    }

    /// Stores the publication with this spec, and shows it.
    fn edit(&self, spec: &Value) {
        let mut server = self.server.lock().unwrap();
        server.version += 1;
        let version = server.version.to_string();
        let path = STATUS.trim_end_matches("/status").to_owned();
        let status = server.objects.get(&path).map(|object| object["status"].clone());
        let object = json!({
            "metadata": { "name": "admins", "namespace": "shop", "uid": "ak", "generation": 1, "resourceVersion": version },
            "spec": spec, "status": status,
        });
        server.objects.insert(path, object);
        drop(server);
        self.show();
    }

    /// The watch shows the publication.
    fn show(&self) {
        let object = self.server.lock().unwrap().objects[STATUS.trim_end_matches("/status")].clone();
        let event = Event::Apply(serde_json::from_value::<AuthorizedKeys>(object).unwrap());
        let cache = &self.context.cache;
        self.context.confirm_own_publication_write(&event);
        cache.authorized_keys.apply(&event);
        cache.publications.apply(&event, &cache.key_pairs);
    }

    /// The watch shows a `KeyPair` with these keys.
    fn key_pair(&self, name: &str, lines: &[&str]) {
        let key = |(index, line): (usize, &&str)| {
            let key = crate::domain::key::PublicKey::parse(line).unwrap();
            let fingerprints = key.fingerprints();
            json!({
                "revision": index + 1, "phase": if index == 0 { "Current" } else { "Next" }, "publicKey": line, "algorithm": "Ed25519", "bits": 256,
                "fingerprint": "", "fingerprints": { "md5": fingerprints.md5, "sha256": fingerprints.sha256 },
                "since": "2026-01-01T00:00:00Z",
            })
        };
        let keys: Vec<Value> = lines.iter().enumerate().map(key).collect();
        let ready = json!({ "type": "Ready", "status": "True", "reason": "Generated", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" });
        let object = json!({
            "metadata": { "name": name, "namespace": "shop", "uid": name, "labels": { "team": "red" } },
            "spec": {},
            "status": { "keyPairID": "kp-00000000000000000000", "keys": keys, "conditions": [ready] },
        });
        let event = Event::Apply(serde_json::from_value::<WatchedKeyPair>(object).unwrap());
        self.context.cache.key_pairs.apply::<WatchedKeyPair>(&event);
        self.context.cache.publications.apply_key_pair(&event, &self.context.cache.key_pairs);
    }

    async fn reconcile(&self) -> RequeueAfter {
        let requeue_after = self.reconcile_unseen().await;
        self.show();
        requeue_after
    }

    /// The watch does not show what the reconciliation makes of the publication.
    async fn reconcile_unseen(&self) -> RequeueAfter {
        self.context.cache.publications.watches().set_listed(PublicationKind::AuthorizedKeys);
        let reference = PublicationRef {
            kind: PublicationKind::AuthorizedKeys,
            namespace: "shop".to_owned(),
            name: "admins".to_owned(),
        };
        Box::pin(reconcile_while_current(&reference, &self.context)).await
    }

    /// Somebody deletes the publication, and a finalizer keeps it.
    fn begin_to_delete(&self) {
        let mut server = self.server.lock().unwrap();
        server.version += 1;
        let version = json!(server.version.to_string());
        let metadata = &mut server.objects.get_mut(STATUS.trim_end_matches("/status")).unwrap()["metadata"];
        metadata["resourceVersion"] = version;
        metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        drop(server);
        self.show();
    }

    fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.server.lock().unwrap().requests)
    }

    fn ready(&self) -> (String, String) {
        let server = self.server.lock().unwrap();
        let object = &server.objects[STATUS.trim_end_matches("/status")];
        let ready = object.pointer("/status/conditions/0").cloned().unwrap_or_default();
        (
            ready["reason"].as_str().unwrap_or_default().to_owned(),
            ready["message"].as_str().unwrap_or_default().to_owned(),
        )
    }

    fn data(&self, path: &str, key: &str) -> Option<String> {
        let server = self.server.lock().unwrap();
        Some(server.objects.get(path)?.pointer("/data")?.get(key)?.as_str()?.to_owned())
    }

    /// Somebody else changes an object, and the watch shows it.
    fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut server = self.server.lock().unwrap();
        server.version += 1;
        let version = json!(server.version.to_string());
        let object = server.objects.get_mut(path).unwrap();
        change(object);
        object["metadata"]["resourceVersion"] = version;
        let event = Event::Apply(partial(object));
        drop(server);
        self.context.publications.targets.apply(kind_of(path), &event);
    }

    fn remove(&self, path: &str) {
        let object = self.server.lock().unwrap().objects.remove(path).unwrap();
        self.context.publications.targets.apply(kind_of(path), &Event::Delete(partial(&object)));
    }
}

fn partial(object: &Value) -> PartialObjectMeta<KeyPair> {
    let metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta =
        serde_json::from_value(object["metadata"].clone()).unwrap();
    metadata.into_response_partial()
}

fn kind_of(path: &str) -> TargetKind {
    if path.starts_with(SECRETS) { TargetKind::Secret } else { TargetKind::ConfigMap }
}

fn named(name: &str) -> Value {
    json!({ "entries": [{ "keyPair": name }] })
}

fn config_map(name: &str) -> String {
    format!("{CONFIG_MAPS}/{name}")
}

async fn wait() {
    tokio::time::advance(Duration::from_secs(3)).await;
}

#[tokio::test(start_paused = true)]
async fn the_text_is_written_once_and_then_left_alone() {
    let world = World::new(&named("web"));
    world.key_pair("web", &LINES[..1]);
    assert_eq!(world.reconcile().await, None);
    assert_eq!(world.take_requests(), [format!("POST {CONFIG_MAPS}"), format!("PUT {STATUS}")]);
    assert_eq!(world.data(&config_map("admins"), "authorized_keys"), Some(format!("{} shop/web\n", LINES[0])));
    assert_eq!(world.ready().0, "Published", "{:?}", world.ready());
    assert!(world.reconcile().await.is_some(), "it is too early to render it again");
    for _ in 0..3 {
        wait().await;
        assert_eq!(world.reconcile().await, None);
    }
    assert_eq!(world.take_requests(), [""; 0]);
    // The watch shows the version that the operator has written.
    world.change(&config_map("admins"), |_| ());
    wait().await;
    world.reconcile().await;
    assert_eq!(world.take_requests(), [format!("GET {CONFIG_MAPS}/admins")], "it may have changed");
    world.reconcile().await;
    assert_eq!(world.take_requests(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_key_is_written_and_a_changed_target_put_right() {
    let world = World::new(&named("web"));
    let map = config_map("admins");
    world.key_pair("web", &LINES[..1]);
    world.reconcile().await;
    wait().await;
    world.take_requests();
    world.key_pair("web", &LINES[1..]);
    world.reconcile().await;
    assert_eq!(world.take_requests(), [format!("GET {map}"), format!("PATCH {map}")], "the counts are the same");
    world.change(&map, |object| {
        object["data"] = json!({ "authorized_keys": "mine", "more": "x" });
        object["binaryData"] = json!({ "b": "AAAA" });
        object["metadata"]["labels"]["team"] = json!("red");
    });
    wait().await;
    world.reconcile().await;
    let stored = world.server.lock().unwrap().objects[&map].clone();
    assert_eq!(stored["data"], json!({ "authorized_keys": format!("{} shop/web\n", LINES[1]) }));
    assert_eq!((stored.get("binaryData"), &stored["metadata"]["labels"]["team"]), (None, &json!("red")));
    world.remove(&map);
    wait().await;
    world.take_requests();
    world.reconcile().await;
    assert_eq!(world.take_requests(), [format!("POST {CONFIG_MAPS}")]);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_object_is_neither_read_nor_touched() {
    let world = World::new(&json!({ "entries": [{ "keyPair": "web" }], "target": { "secret": { "name": "login" } } }));
    world.key_pair("web", &LINES[..1]);
    let secret = format!("{SECRETS}/login");
    let foreign = json!({ "metadata": { "name": "login", "namespace": "shop", "resourceVersion": "7" }, "data": { "a": "c2VjcmV0" } });
    world.server.lock().unwrap().objects.insert(secret.clone(), foreign.clone());
    assert!(world.reconcile().await.is_some(), "it may go away");
    assert_eq!(
        world.take_requests(),
        [format!("POST {SECRETS}"), format!("METADATA {secret}"), format!("PUT {STATUS}")]
    );
    assert_eq!(world.ready().0, "TargetConflict");
    assert_eq!(world.server.lock().unwrap().objects[&secret], foreign);
    // The whole text is not sent again and again.
    wait().await;
    world.take_requests();
    assert!(world.reconcile().await.is_some());
    assert_eq!(world.take_requests(), [format!("METADATA {secret}")]);
    world.remove(&secret);
    wait().await;
    assert_eq!(world.reconcile().await, None);
    let text = Base64::encode_string(format!("{} shop/web\n", LINES[0]).as_bytes());
    assert_eq!((world.data(&secret, "authorized_keys"), world.ready().0.as_str()), (Some(text), "Published"));
}

#[tokio::test(start_paused = true)]
async fn an_own_target_without_label_is_found_again() {
    let world = World::new(&named("web"));
    let map = config_map("admins");
    world.key_pair("web", &LINES[..1]);
    world.reconcile().await;
    // The watch by label shows it as deleted.
    world.change(&map, |object| object["metadata"]["labels"] = json!({}));
    let object = world.server.lock().unwrap().objects[&map].clone();
    world.context.publications.targets.apply(TargetKind::ConfigMap, &Event::Delete(partial(&object)));
    wait().await;
    world.take_requests();
    world.reconcile().await;
    let expected =
        [format!("POST {CONFIG_MAPS}"), format!("METADATA {map}"), format!("GET {map}"), format!("PATCH {map}")];
    assert_eq!(world.take_requests(), expected);
    let label =
        world.server.lock().unwrap().objects[&map]["metadata"]["labels"]["app.kubernetes.io/managed-by"].clone();
    assert_eq!(label, "keypair-operator");
}

#[tokio::test(start_paused = true)]
async fn a_moved_target_is_deleted_after_the_new_one_is_written() {
    let world = World::new(&named("web"));
    let (old, new) = (config_map("admins"), config_map("logins"));
    world.key_pair("web", &LINES[..1]);
    world.reconcile().await;
    wait().await;
    let moved =
        json!({ "entries": [{ "keyPair": "web" }], "target": { "configMap": { "name": "logins", "key": "keys" } } });
    // The name is taken: the former target stays, and follows.
    let foreign = json!({ "metadata": { "name": "logins", "namespace": "shop", "resourceVersion": "1" } });
    world.server.lock().unwrap().objects.insert(new.clone(), foreign);
    world.edit(&moved);
    world.key_pair("web", &LINES[1..]);
    world.reconcile().await;
    assert_eq!(world.ready().0, "TargetConflict");
    assert_eq!(world.data(&old, "authorized_keys"), Some(format!("{} shop/web\n", LINES[1])));
    world.server.lock().unwrap().objects.remove(&new);
    wait().await;
    world.take_requests();
    assert_eq!(world.reconcile().await, None);
    assert_eq!(
        world.take_requests(),
        [format!("METADATA {new}"), format!("POST {CONFIG_MAPS}"), format!("DELETE {old}"), format!("PUT {STATUS}")]
    );
    assert_eq!(world.data(&new, "keys"), Some(format!("{} shop/web\n", LINES[1])));
    assert_eq!(world.data(&old, "authorized_keys"), None);
    world.reconcile().await;
    assert_eq!(world.take_requests(), [""; 0]);
}

/// The operator has restarted, and so remembers no data key.
#[tokio::test(start_paused = true)]
async fn a_former_target_is_kept_up_to_date_after_a_restart() {
    let world = World::new(&json!({ "entries": [{ "keyPair": "web" }], "target": { "configMap": { "key": "keys" } } }));
    let old = config_map("admins");
    world.key_pair("web", &LINES[..1]);
    world.reconcile().await;
    wait().await;
    world.context.publications.forget("ak");
    world.edit(&json!({ "entries": [{ "keyPair": "web" }], "target": { "secret": { "name": "taken" } } }));
    let foreign = json!({ "metadata": { "name": "taken", "namespace": "shop", "resourceVersion": "1" } });
    world.server.lock().unwrap().objects.insert(format!("{SECRETS}/taken"), foreign);
    world.key_pair("web", &LINES[1..]);
    world.reconcile().await;
    assert_eq!(world.data(&old, "keys"), Some(format!("{} shop/web\n", LINES[1])));
    assert_eq!(world.data(&old, "authorized_keys"), None);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_be_changed_is_created_again() {
    let world = World::new(&named("web"));
    world.key_pair("web", &LINES[..1]);
    world.reconcile().await;
    world.change(&config_map("admins"), |object| object["immutable"] = json!(true));
    wait().await;
    world.reconcile().await;
    assert_eq!(world.ready().0, "Published", "it has the right data");
    world.key_pair("web", &LINES[1..]);
    wait().await;
    world.server.lock().unwrap().refuses = Some(403);
    world.reconcile().await;
    let (reason, message) = world.ready();
    assert!(reason == "TargetConflict" && message.contains("immutable") && message.contains("delete it"), "{message}");
    // A frozen text with a revoked key is worse than a text that is missing for a moment.
    world.server.lock().unwrap().refuses = None;
    wait().await;
    world.take_requests();
    world.reconcile().await;
    let map = config_map("admins");
    let expected = ["GET", "DELETE"].map(|method| format!("{method} {map}"));
    assert_eq!(world.take_requests()[..3], [&expected[..], &[format!("POST {CONFIG_MAPS}")]].concat());
    assert_eq!(world.data(&map, "authorized_keys"), Some(format!("{} shop/web\n", LINES[1])));
    assert_eq!(world.ready().0, "Published");
}

#[tokio::test(start_paused = true)]
async fn each_former_target_is_followed_up_whatever_becomes_of_the_others() {
    let world = World::new(&named("web"));
    let target = |name: &str| json!({ "entries": [{ "keyPair": "web" }], "target": { "configMap": { "name": name } } });
    world.key_pair("web", &LINES[..1]);
    world.reconcile().await;
    let [first, frozen, last, taken] = ["admins", "b-frozen", "c-last", "taken"].map(config_map);
    for path in [&frozen, &last, &taken] {
        let mut copy = world.server.lock().unwrap().objects[&first].clone();
        copy["metadata"]["name"] = json!(path.rsplit('/').next());
        copy["metadata"]["uid"] = json!(path);
        if *path == taken {
            copy["metadata"]["ownerReferences"] = json!([]);
        }
        world.server.lock().unwrap().objects.insert(path.clone(), copy);
        world.change(path, |_| ());
    }
    world.change(&frozen, |object| object["immutable"] = json!(true));
    world.edit(&target("taken"));
    world.key_pair("web", &LINES[1..]);
    world.server.lock().unwrap().fails = Some(first.clone());
    wait().await;
    assert!(world.reconcile().await.is_some());
    assert_eq!(world.data(&first, "authorized_keys"), Some(format!("{} shop/web\n", LINES[0])), "it is tried again");
    assert_eq!(world.data(&frozen, "authorized_keys"), None, "it is not wanted any more");
    assert_eq!(world.data(&last, "authorized_keys"), Some(format!("{} shop/web\n", LINES[1])));
    assert_eq!(world.ready().0, "TargetConflict");
}

#[tokio::test(start_paused = true)]
async fn the_target_follows_while_the_watch_does_not_show_the_last_status() {
    let world = World::new(&named("web"));
    world.key_pair("web", &LINES[..1]);
    world.reconcile_unseen().await;
    wait().await;
    world.take_requests();
    world.key_pair("web", &LINES[1..]);
    assert_eq!(world.reconcile_unseen().await, None);
    let map = config_map("admins");
    assert_eq!(world.take_requests(), [format!("GET {map}"), format!("PATCH {map}")]);
}

#[tokio::test(start_paused = true)]
async fn a_publication_that_is_being_deleted_keeps_its_target_up_to_date() {
    let world = World::new(&named("web"));
    let publications = &world.context.cache.publications;
    publications.watches().set_absent(PublicationKind::KnownHosts);
    world.key_pair("web", &LINES[..1]);
    world.reconcile().await;
    wait().await;
    world.take_requests();
    world.begin_to_delete();
    world.key_pair("web", &LINES[1..]);
    assert_eq!(world.reconcile().await, None);
    let map = config_map("admins");
    assert_eq!(world.take_requests(), [format!("GET {map}"), format!("PATCH {map}")]);
    assert!(publications.progress("shop", "web", LINES[0]).is_published(), "no rotation waits for it");
    // The garbage collector takes the target away.
    world.remove(&map);
    wait().await;
    assert_eq!(world.reconcile().await, None);
    assert_eq!(world.take_requests(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_large_text_is_in_memory_with_a_permit_only() {
    const SECOND: Duration = Duration::from_secs(1);
    let world = World::new(&json!({ "entries": [{ "selector": {} }] }));
    let (map, permits) = (config_map("admins"), &world.context.large_response_permits);
    world.key_pair("web", &LINES[..1]);
    let permit = permits.acquire("other").await;
    assert!(tokio::time::timeout(SECOND, world.reconcile()).await.is_err(), "it may be large");
    drop(permit);
    world.reconcile().await;
    // It is known to be small.
    let permit = permits.acquire("other").await;
    world.remove(&map);
    wait().await;
    tokio::time::timeout(SECOND, world.reconcile()).await.unwrap();
    assert!(world.data(&map, "authorized_keys").is_some());
    for number in 0..1000 {
        world.key_pair(&format!("web-{number}"), &[&*line(number)]);
    }
    world.remove(&map);
    for _ in 0..2 {
        wait().await;
        assert!(tokio::time::timeout(SECOND, world.reconcile()).await.is_err(), "it is large");
    }
    drop(permit);
    for first in [LINES[0], LINES[1]] {
        world.key_pair("web", &[first]);
        wait().await;
        tokio::time::timeout(SECOND, world.reconcile()).await.unwrap();
        assert!(world.data(&map, "authorized_keys").unwrap().starts_with(first));
    }
}

/// The line of another key.
fn line(number: u32) -> String {
    let mut key = Base64::decode_vec(LINES[0].split(' ').nth(1).unwrap()).unwrap();
    let at = key.len() - 4;
    key[at..].copy_from_slice(&number.to_be_bytes());
    format!("ssh-ed25519 {}", Base64::encode_string(&key))
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_is_reported_and_tried_again() {
    let world = World::new(&named("web"));
    world.key_pair("web", &LINES[..1]);
    world.server.lock().unwrap().refuses = Some(403);
    assert!(world.reconcile().await.is_some());
    assert_eq!(world.ready().0, "TargetConflict");
    // An error that may go away is reported only if it stays.
    world.server.lock().unwrap().refuses = Some(500);
    wait().await;
    assert!(world.reconcile().await.is_some());
    world.server.lock().unwrap().refuses = None;
    wait().await;
    assert_eq!(world.reconcile().await, None);
    assert_eq!(world.ready().0, "Published");
}

#[tokio::test(start_paused = true)]
async fn writes_are_paced_and_the_last_change_is_written() {
    let world = World::new(&json!({ "entries": [{ "selector": { "matchLabels": { "team": "red" } } }] }));
    world.reconcile().await;
    wait().await;
    world.take_requests();
    let mut due = None;
    for number in 0..200 {
        world.key_pair(&format!("web-{number}"), &LINES[..1]);
        due = world.reconcile().await;
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    tokio::time::advance(due.unwrap_or_default()).await;
    assert_eq!(world.reconcile().await, None);
    let writes = world.take_requests().into_iter().filter(|it| it.starts_with("PATCH") && it.contains("configmaps"));
    assert!(writes.count() <= 7);
    // All have the same key.
    assert_eq!(world.ready().0, "Published");
}

#[tokio::test(start_paused = true)]
async fn a_rotation_goes_on_when_its_key_is_published() {
    let world = World::new(&named("web"));
    let publications = &world.context.cache.publications;
    publications.watches().set_listed(PublicationKind::AuthorizedKeys);
    publications.watches().set_absent(PublicationKind::KnownHosts);
    world.key_pair("web", &LINES);
    let progress = || publications.progress("shop", "web", LINES[1]);
    assert!(matches!(progress(), crate::domain::publication::PublicationProgress::Waiting(_)));
    world.reconcile().await;
    assert!(progress().is_published());
    // Somebody makes an object that pretends to be a target.
    let map = config_map("admins");
    let mut forged = world.server.lock().unwrap().objects[&map].clone();
    forged["metadata"]["name"] = json!("forged");
    forged["metadata"]["ownerReferences"][0]["uid"] = json!("forged");
    crate::controller::sources::apply_target(TargetKind::ConfigMap, &Event::Apply(partial(&forged)), &world.context);
    assert!(progress().is_published());
    // Somebody empties the target.
    world.change(&map, |object| object["data"] = json!({}));
    let object = world.server.lock().unwrap().objects[&map].clone();
    crate::controller::sources::apply_target(TargetKind::ConfigMap, &Event::Apply(partial(&object)), &world.context);
    assert!(!progress().is_published());
    wait().await;
    world.reconcile().await;
    assert!(progress().is_published());
}
