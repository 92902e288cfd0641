//! Tests what is immutable after acceptance, against a model that is independent of CEL.

use futures::{StreamExt as _, stream};
use keypair_operator::{
    api::{KeyPair, translate},
    domain::request,
};
use keypair_test_harness::namespace;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
    core::Request,
};
use serde_json::{Value, json};

use crate::{
    client,
    objects::PUBLIC_KEY,
    random::{Cases, Random},
    referee::{Answer, escaped, theirs},
};

const ED25519: &str = include_str!("../vectors/public/ed25519.pub");
/// Number of edits tried on each object.
const EDITS: usize = 12;

/// The values that an edit must not change, with all defaults filled in.
#[derive(Debug, PartialEq)]
struct Fixed {
    profile: String,
    name: String,
    public_key: String,
    algorithm: String,
    bits: u64,
    token: String,
}

impl Fixed {
    /// Reads the manifest itself, not the operator's types.
    fn of(name: &str, spec: &Value) -> Self {
        let text = |path: &str, default: &str| spec.pointer(path).and_then(Value::as_str).unwrap_or(default).to_owned();
        let algorithm = text("/generate/algorithm", "RSA");
        Self {
            profile: text("/profile", "Alibaba"),
            name: text("/keyPairName", name),
            public_key: text("/publicKey", "").trim().to_owned(),
            bits: spec.pointer("/generate/bits").and_then(Value::as_u64).unwrap_or(if algorithm == "RSA" {
                2048
            } else {
                256
            }),
            algorithm,
            token: text("/clientToken", ""),
        }
    }

    /// Whether an edit from the spec `old` to `new` keeps everything that it must keep. With a rotation, the next key may be another.
    fn keeps(name: &str, old: &Value, new: &Value) -> bool {
        let (old, mut fixed) = (Self::of(name, old), Self::of(name, new));
        if !new["rotation"].is_null() {
            (fixed.algorithm, fixed.bits) = (old.algorithm.clone(), old.bits);
        }
        old == fixed
    }
}

/// A spec from a pool so small that two specs often have the same immutable values.
fn spec(name: &str, random: &mut Random) -> Value {
    let mut spec = json!({});
    let mut set = |field: &str, values: &[Value]| {
        let value = values[random.below(values.len())].clone();
        if !value.is_null() {
            spec[field] = value;
        }
    };
    set("profile", &[json!(null), json!("Alibaba"), json!("OpenSSH"), json!("OpenSSH"), json!("UCloud")]);
    set("keyPairName", &[json!(null), json!(null), json!(name), json!(name), json!("Other")]);
    let edited = format!("\n{PUBLIC_KEY}\r\n");
    let commented = format!("{} another", PUBLIC_KEY.trim());
    let keys = [json!(null), json!(null), json!(PUBLIC_KEY), json!(edited), json!(commented), json!(ED25519)];
    set("publicKey", &keys);
    set("clientToken", &[json!(null), json!(null), json!(""), json!("t"), json!("T")]);
    set("description", &[json!(null), json!("one"), json!("two")]);
    set("project", &[json!(null), json!(""), json!("p")]);
    set("tags", &[json!(null), json!([]), json!([{"key": "k", "value": "v"}])]);
    let secrets = [
        json!(null),
        json!(null),
        json!({}),
        json!({"name": name, "encoding": "PKCS8", "deletionPolicy": "Delete", "template": {"labels": {}}}),
        json!({"keys": {"privateKey": "ssh-privatekey"}, "template": {}}),
        json!({"name": "s"}),
        json!({"deletionPolicy": "Retain"}),
        json!({"encoding": "OpenSSH"}),
        json!({"keys": {"publicKey": "other"}}),
        json!({"template": {"type": "Opaque"}}),
        json!({"template": {"labels": {"a": "b"}}}),
        json!({"template": {"annotations": {"a": "b"}, "stringData": {}}}),
        json!({"template": {"stringData": {"a": "b"}}}),
    ];
    set("secret", &secrets);
    if spec["publicKey"].is_null() {
        let rotations = [json!(null), json!(null), json!({}), json!({"every": "48h"}), json!({"gates": ["a/b"]})];
        let rotation = rotations[random.below(rotations.len())].clone();
        if !rotation.is_null() {
            spec["rotation"] = rotation;
        }
    }
    if spec["publicKey"].is_null() {
        let generates = [
            json!(null),
            json!({}),
            json!({"algorithm": "RSA"}),
            json!({"bits": 2048}),
            json!({"bits": 3072}),
            json!({"algorithm": "ECDSA"}),
            json!({"algorithm": "ECDSA", "bits": 256}),
            json!({"algorithm": "Ed25519"}),
            json!({"algorithm": "Ed25519", "bits": 256}),
        ];
        let generate = generates[random.below(generates.len())].clone();
        if !generate.is_null() {
            spec["generate"] = generate;
        }
    }
    spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    spec
}

/// An edit of `old`: takes some of its fields from another spec.
fn edit(name: &str, old: &Value, random: &mut Random) -> Value {
    let (other, mut new) = (spec(name, random), old.clone());
    for field in ["profile", "keyPairName", "clientToken", "description", "project", "tags", "secret", "rotation"] {
        if random.one_in(6) {
            new[field] = other[field].clone();
        }
    }
    if random.one_in(3) {
        for field in ["publicKey", "generate"] {
            new[field] = other[field].clone();
        }
    }
    new.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    new
}

fn key_pair(name: &str, spec: &Value) -> KeyPair {
    KeyPair::new(name, serde_json::from_value(spec.clone()).unwrap())
}

fn valid(name: &str, spec: &Value) -> bool {
    request::check(&translate::parameters(&key_pair(name, spec))).is_ok()
}

/// Creates a KeyPair, marks it as accepted on demand, tries the edits and returns the results that the model did not predict.
async fn surprises(
    client: Client,
    namespace: String,
    name: String,
    old: Value,
    accepted: bool,
    edits: Vec<Value>,
) -> Vec<String> {
    let api: Api<KeyPair> = Api::namespaced(client.clone(), &namespace);
    let mut object = api.create(&PostParams::default(), &key_pair(&name, &old)).await.unwrap();
    // The rules must work with any status: only the identifier matters.
    let status = if accepted { json!({"keyPairID": "kp-0123456789abcdefghij"}) } else { json!({"region": namespace}) };
    object = api
        .patch_status(&object.name_any(), &PatchParams::default(), &Patch::Merge(json!({"status": status})))
        .await
        .unwrap();
    let version = object.resource_version().unwrap();
    let mut surprises = Vec::new();
    for new in edits {
        let body = json!({
            "apiVersion": "keypairs.dev/v1alpha1",
            "kind": "KeyPair",
            "metadata": {"name": name, "namespace": namespace, "resourceVersion": version},
            "spec": new,
        });
        let url = format!("/apis/keypairs.dev/v1alpha1/namespaces/{namespace}/keypairs");
        let dry_run = PostParams { dry_run: true, field_manager: None };
        let request = Request::new(url).replace(&name, &dry_run, body.to_string().into_bytes()).unwrap();
        let answer = theirs(&client, request).await;
        let unchanged = Fixed::keeps(&name, &old, &new);
        if answer.accepts() != (valid(&name, &new) && (!accepted || unchanged)) {
            surprises.push(format!(
                "accepted: {accepted}\n  old: {}\n  new: {}\n  {answer:?}",
                escaped(&old),
                escaped(&new)
            ));
        }
        // The edit is valid for a new object, so the only possible error is that it changes an immutable field.
        if let Answer::Refused(messages) = &answer
            && valid(&name, &new)
            && !messages.iter().all(|message| message.contains(" is immutable once the key pair is accepted"))
        {
            surprises.push(format!("another message: {messages:?}"));
        }
    }
    surprises
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_pair_keeps_its_identifying_fields() {
    let client = client().await;
    let namespace = namespace(&client, "transitions").await.unwrap();
    let mut random = Random::of("transitions");
    let (mut allowed, mut forbidden) = (0, 0);
    let number = Cases::wanted().percent(15) / EDITS + 1;
    let objects: Vec<_> = (0..number)
        .map(|index| {
            let name = format!("kp{index}");
            let old = std::iter::repeat_with(|| spec(&name, &mut random)).find(|spec| valid(&name, spec)).unwrap();
            let edits: Vec<Value> = (0..EDITS).map(|_| edit(&name, &old, &mut random)).collect();
            let same = edits.iter().filter(|new| Fixed::keeps(&name, &old, new)).count();
            allowed += same;
            forbidden += EDITS - same;
            let accepted = !random.one_in(5);
            (name, old, accepted, edits)
        })
        .collect();
    let surprises: Vec<String> = stream::iter(objects)
        .map(|(name, old, accepted, edits)| surprises(client.clone(), namespace.clone(), name, old, accepted, edits))
        .buffer_unordered(16)
        .flat_map(stream::iter)
        .collect()
        .await;
    println!("transitions: {number} objects, {allowed} edits of what is not fixed, {forbidden} of what is");
    assert!(
        surprises.is_empty(),
        "{} unexpected results, for example\n{}",
        surprises.len(),
        surprises[..surprises.len().min(10)].join("\n")
    );
    assert!(number < 10 || allowed > number && forbidden > number, "{allowed} {forbidden}");
}

/// Before acceptance, an error can be corrected in place; afterwards, an edit cannot remove the identifier.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_the_spec_does_not_change_the_status() {
    let client = client().await;
    let namespace = namespace(&client, "status").await.unwrap();
    let api: Api<KeyPair> = Api::namespaced(client, &namespace);
    api.create(&PostParams::default(), &key_pair("one", &json!({}))).await.unwrap();
    let id = json!({"status": {"keyPairID": "kp-0123456789abcdefghij"}});
    api.patch_status("one", &PatchParams::default(), &Patch::Merge(id)).await.unwrap();
    let both = json!({"status": {"keyPairID": null}, "spec": {"description": "x"}});
    let after = api.patch("one", &PatchParams::default(), &Patch::Merge(both)).await.unwrap();
    assert_eq!(after.spec.description.as_deref(), Some("x"));
    assert_eq!(after.status.unwrap().key_pair_id.as_deref(), Some("kp-0123456789abcdefghij"));
}
