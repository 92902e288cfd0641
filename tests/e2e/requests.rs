//! Counts the requests that the operator sends to the API server, in the audit log.

use std::{collections::BTreeMap, time::Duration};

use keypair_test_harness::{Mark, Requests, eventually};
use serde_json::{Value, json};

use crate::{
    mistakes::valid,
    support::{AGENT, PATIENCE, QUIET, STRICT, Scene, Stage, condition, text, vector},
};

/// The operator is quiet if it sends no requests for this long. A busy loop would send one much sooner.
const QUIET_TIME: Duration = Duration::from_secs(4);

/// Counts the operator's requests in one namespace since a point in time.
struct Counter<'a> {
    scene: &'a Scene,
    from: Mark,
}

impl<'a> Counter<'a> {
    fn new(scene: &'a Scene) -> Self {
        Self { scene, from: scene.stage.plane.audit().unwrap().mark().unwrap() }
    }

    /// The number of requests of each kind, for example `update keypairs/status 200`, without the controllers' own lists and watches.
    fn found(&self) -> BTreeMap<String, usize> {
        let of_operator = Requests::any().by_agent(AGENT).namespace(&self.scene.namespace);
        let mut found = BTreeMap::new();
        for request in self.scene.stage.plane.audit().unwrap().matching(self.from, &of_operator).unwrap() {
            if ["list", "watch"].contains(&request.verb.as_str()) {
                continue;
            }
            let object = request.object_ref.clone().unwrap_or_default();
            let slash = if object.subresource.is_empty() { "" } else { "/" };
            let name = format!("{} {}{slash}{} {}", request.verb, object.resource, object.subresource, request.code());
            *found.entry(name).or_default() += 1;
        }
        found
    }

    /// Waits for exactly these requests, and checks that no others follow.
    async fn expect(&self, wanted: &[(&str, usize)]) {
        self.expect_with_reads(wanted, 0).await;
    }

    /// The same, with at most `most_reads` reads of Secrets. The operator reads a Secret that it created if it sees the new status of
    /// the `KeyPair` before the Secret, which happens when the API server is busy.
    async fn expect_with_reads(&self, wanted: &[(&str, usize)], most_reads: usize) {
        let found = || {
            let mut found = self.found();
            if found.get(READ).is_some_and(|reads| *reads <= most_reads) {
                found.remove(READ);
            }
            found
        };
        let wanted: BTreeMap<String, usize> = wanted.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let what = format!("the requests {wanted:?} in {}", self.scene.namespace);
        eventually(PATIENCE, &what, async || {
            let found = found();
            if found == wanted { Ok(Some(())) } else { Err(std::io::Error::other(format!("found {found:?}")).into()) }
        })
        .await
        .unwrap();
        // Only waiting shows that nothing happens.
        tokio::time::sleep(QUIET_TIME).await;
        assert_eq!(found(), wanted, "{} should have been quiet", self.scene.namespace);
    }
}

const STATUS: &str = "update keypairs/status 200";
const SECRET: &str = "create secrets 201";
const READ: &str = "get secrets 200";
const EVENT: &str = "create events 201";

fn import() -> Value {
    json!({ "profile": "OpenSSH", "publicKey": vector("public/ed25519.pub") })
}

fn generated(algorithm: &str) -> Value {
    json!({ "profile": "OpenSSH", "generate": { "algorithm": algorithm } })
}

/// Paged lists cost memory and time, and an outdated list could grant a quota slot twice.
#[tokio::test]
async fn initial_state_arrives_by_streaming_lists() {
    let scene = STRICT.scene("requests-stream").await;
    scene.create("import", &import()).await;
    scene.settled("import", "True/Imported").await;
    let audit = scene.stage.plane.audit().unwrap();
    let asked = |verb| Requests::any().by_agent(AGENT).verb(verb);
    let lists = audit.matching(Mark::default(), &asked("list")).unwrap();
    // The operator reads an object that is too large to keep with a list of one item.
    let lists: Vec<_> = lists.iter().filter(|list| !list.uri.contains("fieldSelector=metadata.name")).collect();
    assert!(lists.is_empty(), "{lists:?}");
    for resource in ["keypairs", "namespaces", "secrets"] {
        let watches = audit.matching(Mark::default(), &asked("watch").resource(resource)).unwrap();
        let first = watches.first().unwrap();
        assert!(first.uri.contains("sendInitialEvents=true"), "{}", first.uri);
        assert!(!first.uri.contains("resourceVersion="), "{}", first.uri);
    }
}

#[tokio::test]
async fn an_import_needs_one_write_and_a_generated_pair_two() {
    let scene = STRICT.scene("requests-few").await;
    let counter = Counter::new(&scene);
    scene.create("import", &import()).await;
    scene.settled("import", "True/Imported").await;
    counter.expect(&[(STATUS, 1)]).await;
    for algorithm in ["RSA", "ECDSA", "Ed25519"] {
        scene.create(&algorithm.to_lowercase(), &generated(algorithm)).await;
    }
    counter.expect(&[(STATUS, 4), (SECRET, 3)]).await;
}

#[tokio::test]
async fn an_edit_causes_at_most_one_write() {
    let scene = STRICT.scene("requests-edit").await;
    for (name, spec) in [("import", import()), ("generated", generated("ECDSA"))] {
        scene.create(name, &spec).await;
    }
    scene.settled("import", "True/Imported").await;
    scene.settled("generated", "True/Generated").await;

    let counter = Counter::new(&scene);
    for name in ["import", "generated"] {
        scene.patch(name, &json!({ "metadata": { "annotations": { "note": "a" }, "labels": { "team": "b" } } })).await;
    }
    counter.expect(&[]).await;
    let described = json!({ "spec": { "description": "described" } });
    scene.patch("import", &described).await;
    counter.expect(&[(STATUS, 1)]).await;
    scene.patch("generated", &described).await;
    counter.expect(&[(STATUS, 2)]).await;
}

/// Each step needs the private keys, which the operator does not keep, so it reads the Secret as well.
#[tokio::test]
async fn a_rotation_needs_one_patch_one_status_and_one_event_for_each_step() {
    const STEPS: usize = 3;
    let scene = STRICT.scene("requests-rotation").await;
    let mut spec = generated("Ed25519");
    spec["rotation"] = json!({ "publishBefore": "1s", "keepAfter": "1s" });
    scene.create("web", &spec).await;
    scene.settled("web", "True/Generated").await;
    let counter = Counter::new(&scene);
    scene.patch("web", &json!({ "metadata": { "annotations": { "keypairs.dev/rotate": "1" } } })).await;
    counter.expect_with_reads(&[("patch secrets 200", STEPS), (STATUS, STEPS), (EVENT, STEPS)], 3 * STEPS).await;
}

#[tokio::test]
async fn a_refusal_causes_one_write_and_one_event() {
    let scene = STRICT.scene("requests-refusal").await;
    let counter = Counter::new(&scene);
    scene.create("malformed", &json!({ "publicKey": "ssh-rsa AAAA" })).await;
    counter.expect(&[(STATUS, 1), (EVENT, 1)]).await;

    let counter = Counter::new(&scene);
    scene.create("first", &valid("Volcengine")).await;
    scene.settled("first", "True/Imported").await;
    let mut second = valid("Volcengine");
    second["keyPairName"] = json!("first");
    scene.create("second", &second).await;
    counter.expect(&[(STATUS, 2), (EVENT, 1)]).await;
}

/// A List for `kubectl apply` with this many pairs of each kind.
fn mixture(scene: &Scene, of_each: usize) -> (String, usize) {
    let kinds = [
        ("import", import()),
        ("rsa", generated("RSA")),
        ("ecdsa", generated("ECDSA")),
        ("ed25519", generated("Ed25519")),
    ];
    let items: Vec<Value> = (0..of_each)
        .flat_map(|number| kinds.iter().map(move |(kind, spec)| (format!("{kind}-{number}"), spec)))
        .map(|(name, spec)| scene.manifest(&name, spec))
        .collect();
    let count = items.len();
    (json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string(), count)
}

async fn wait_until_all_are_ready(scene: &Scene, count: usize) {
    eventually(PATIENCE * 2, &format!("{count} KeyPairs of {} to be Ready", scene.namespace), async || {
        let ready = ready(scene);
        if ready == count { Ok(Some(())) } else { Err(std::io::Error::other(format!("{ready} are")).into()) }
    })
    .await
    .unwrap();
}

fn ready(scene: &Scene) -> usize {
    scene.list("keypairs").iter().filter(|object| condition(object, "Ready")["status"] == "True").count()
}

/// Checks that each generated pair has one Secret, and that each Secret has a pair.
fn check_secrets(scene: &Scene) {
    let secrets: BTreeMap<String, Value> = scene
        .list("secrets")
        .into_iter()
        .map(|secret| (text(&secret["metadata"]["name"]).to_owned(), secret["metadata"]["annotations"].clone()))
        .collect();
    let generated: Vec<Value> =
        scene.list("keypairs").into_iter().filter(|object| object["spec"]["publicKey"].is_null()).collect();
    assert_eq!(secrets.len(), generated.len());
    for object in generated {
        let annotations = &secrets[text(&object["status"]["secretName"])];
        assert_eq!(
            annotations["keypairs.dev/fingerprint"], object["status"]["fingerprints"]["sha256"],
            "{}",
            object["metadata"]["name"]
        );
    }
}

#[tokio::test]
async fn a_burst_causes_no_additional_writes_and_a_restart_none() {
    const OF_EACH: usize = 50;
    let scene = QUIET.scene("requests-burst").await;
    let args = ["--namespace", &scene.namespace];
    let mut operator = QUIET.spawn(&args, "info");
    let counter = Counter::new(&scene);
    let (manifest, count) = mixture(&scene, OF_EACH);
    scene.try_kubectl(&["apply", "-f", "-"], &manifest).ok().unwrap();
    wait_until_all_are_ready(&scene, count).await;
    counter.expect_with_reads(&[(STATUS, count), (SECRET, count - OF_EACH)], OF_EACH / 10).await;
    check_secrets(&scene);

    assert!(operator.stop().await.unwrap().success(), "{}", operator.log().unwrap());
    let counter = Counter::new(&scene);
    let mut operator = QUIET.spawn(&args, "info");
    operator.wait_for_line("listed", PATIENCE).await.unwrap();
    counter.expect(&[]).await;
}

#[tokio::test]
async fn a_killed_operator_generates_one_key_per_pair() {
    const OF_EACH: usize = 15;
    const KILLS: usize = 3;
    let scene = QUIET.scene("requests-killed").await;
    let args = ["--namespace", &scene.namespace];
    let mut operator = QUIET.spawn(&args, "info");
    let (manifest, count) = mixture(&scene, OF_EACH);
    let counter = Counter::new(&scene);
    scene.try_kubectl(&["apply", "-f", "-"], &manifest).ok().unwrap();
    for kill in 1..=KILLS {
        // Kill the operator when part of the work is done.
        let enough = count * kill / (KILLS + 1);
        eventually(PATIENCE * 2, "some pairs to be Ready", async || Ok((ready(&scene) >= enough).then_some(())))
            .await
            .unwrap();
        operator.kill().unwrap();
        operator = QUIET.spawn(&args, "info");
    }
    wait_until_all_are_ready(&scene, count).await;
    check_secrets(&scene);
    // A kill may repeat a pending write, but never generates a second key. The API server logs a write as timed out whose client is gone,
    // carried out or not.
    let (found, generated) = (counter.found(), count - OF_EACH);
    let unanswered = found.get("create secrets 504").copied().unwrap_or_default();
    assert!(found[SECRET] <= generated && found[SECRET] + unanswered >= generated, "{found:?}");
}

/// Lists every kind of request that the operator sends in all tests; it needs no other rights.
#[tokio::test]
async fn the_operator_sends_no_other_requests() {
    const ALL: [&str; 28] = [
        "list keypairs",
        "watch keypairs",
        "update keypairs/status",
        "list authorizedkeys",
        "watch authorizedkeys",
        "update authorizedkeys/status",
        "list knownhosts",
        "watch knownhosts",
        "update knownhosts/status",
        "list configmaps",
        "watch configmaps",
        "get configmaps",
        "create configmaps",
        "patch configmaps",
        "delete configmaps",
        "list secrets",
        "watch secrets",
        "get secrets",
        "create secrets",
        "patch secrets",
        "delete secrets",
        "list namespaces",
        "watch namespaces",
        "create events",
        "patch events",
        "get leases",
        "create leases",
        "update leases",
    ];
    let scene = STRICT.scene("requests-kinds").await;
    scene.create("import", &import()).await;
    scene.settled("import", "True/Imported").await;
    for stage in [&*STRICT, &*QUIET] {
        for request in of_operator(stage) {
            assert!(ALL.contains(&request.as_str()), "the operator sent {request}");
        }
    }
}

fn of_operator(stage: &Stage) -> Vec<String> {
    let requests = stage.plane.audit().unwrap().matching(Mark::default(), &Requests::any().by_agent(AGENT)).unwrap();
    requests
        .into_iter()
        .map(|request| {
            let object = request.object_ref.unwrap_or_default();
            let slash = if object.subresource.is_empty() { "" } else { "/" };
            format!("{} {}{slash}{}", request.verb, object.resource, object.subresource)
        })
        .collect()
}
