//! Checks that the schemas and rules of AuthorizedKeys and KnownHosts agree with the Rust check.

use futures::{StreamExt as _, stream};
use keypair_operator::{
    api::{AuthorizedKeys, KnownHosts, publication::PublicationResource},
    domain::{
        publication::{
            bounds::{
                COMMAND, ENVIRONMENT_NAME, ENVIRONMENT_VALUE, EXPIRY_TIME, FROM, HOST, MAX_ELEMENTS, MAX_ENTRIES,
                MAX_HOSTS, MAX_PUBLIC_KEYS, NAMESPACE, PERMIT_LISTEN, PERMIT_OPEN, PRINCIPAL, TUNNEL,
            },
            check,
        },
        rules::{DATA_KEY, LABEL_KEY, LABEL_VALUE, SECRET_NAME},
        text_rule::TextRule,
    },
};
use kube::{Client, api::PostParams, core::Request};
use serde_json::{Map, Value, json};

use crate::{
    client,
    objects::PUBLIC_KEY,
    random::{Cases, Random},
    referee::{Answer, escaped, theirs},
    texts::{EDGES, near},
};

/// Mistakes that CEL and patterns cannot state, or could only at a high cost: the form of addresses and networks, the range of ports, dates
/// and keys.
const ONLY_IN_RUST: [&str; 7] = [
    "must be a CIDR block whose",
    "must be a complete address",
    "must have a port from 1 to 65535",
    "must have an IPv6 address",
    "must be an IPv6 address in its shortest form",
    "has the default port",
    "must be a time such as",
];

fn manifest(kind: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "keypairs.dev/v1alpha1", "kind": kind, "metadata": { "name": name, "namespace": "default" }, "spec": spec })
}

/// The mistakes that the Rust check finds, each with its field; `None` if the object does not match the types.
fn ours(object: &Value) -> Option<Vec<(String, String)>> {
    fn found<T: PublicationResource>(object: &Value) -> Option<Vec<(String, String)>> {
        let parameters = serde_json::from_value::<T>(object.clone()).ok()?.parameters();
        Some(check(&parameters).mistakes.into_iter().map(|mistake| (mistake.field, mistake.detail)).collect())
    }
    if object["kind"] == "AuthorizedKeys" { found::<AuthorizedKeys>(object) } else { found::<KnownHosts>(object) }
}

async fn admitted(client: &Client, object: &Value) -> Answer {
    let plural = object["kind"].as_str().unwrap().to_lowercase();
    let url = format!("/apis/keypairs.dev/v1alpha1/namespaces/default/{plural}");
    let parameters = PostParams { dry_run: true, field_manager: None };
    theirs(client, Request::new(url).create(&parameters, object.to_string().into_bytes()).unwrap()).await
}

/// Why the answers to an object differ.
async fn difference(client: Client, object: Value) -> (bool, Option<String>) {
    let mistakes = ours(&object);
    let theirs = admitted(&client, &object).await;
    let is_valid = mistakes.as_ref().is_some_and(Vec::is_empty);
    let only_ours = mistakes.iter().flatten().all(|(field, detail)| {
        ONLY_IN_RUST.iter().any(|words| detail.contains(words)) || field.contains("publicKeys[")
    });
    let agree = theirs.accepts() == is_valid || theirs.accepts() && mistakes.is_some() && only_ours;
    let why = (!agree).then(|| format!("object: {}\n  Rust: {mistakes:?}\n  API server: {theirs:?}", escaped(&object)));
    (theirs.accepts(), why)
}

async fn compare(purpose: &str, objects: Vec<Value>) {
    let client = client().await;
    let number = objects.len();
    let answers: Vec<(bool, Option<String>)> =
        stream::iter(objects).map(|object| difference(client.clone(), object)).buffer_unordered(32).collect().await;
    let accepted = answers.iter().filter(|(accepted, _)| *accepted).count();
    println!("{purpose}: {accepted} of {number} accepted");
    let differing: Vec<String> = answers.into_iter().filter_map(|(_, why)| why).collect();
    assert!(
        differing.is_empty(),
        "{} of {number} differ:\n{}",
        differing.len(),
        differing.iter().take(10).cloned().collect::<Vec<_>>().join("\n")
    );
    assert!(number < 100 || accepted > number / 10 && accepted < number * 9 / 10, "{accepted} of {number} are valid");
}

/// One of the valid texts, or rarely one at the limits of the rule, or one with a change.
fn text(random: &mut Random, rule: &TextRule, valid: &[&str]) -> Value {
    // `near` needs a rule that allows some characters between two letters.
    let is_plain = rule.allows("aa") && rule.allows("a0a");
    match random.below(24) {
        0 if is_plain => json!(near(rule, random)),
        1 => json!(random.pick(valid).repeat(1 + rule.max_chars / 2)),
        0 | 2 => json!(changed(random, valid)),
        _ => json!(random.pick(valid)),
    }
}

/// A valid text with one character inserted, replaced or removed.
fn changed(random: &mut Random, valid: &[&str]) -> String {
    let mut text: Vec<char> = random.pick(valid).chars().collect();
    let at = random.below(text.len() + 1);
    let common = ['0', '9', 'a', '.', '-', ':', '/', '[', ']', '!', '*', ' ', ',', '"', '\\', '\n', '%', '+', 'Z'];
    let other = if random.one_in(2) { random.pick(&common) } else { random.pick(&EDGES) };
    match random.below(3) {
        0 => text.insert(at, other),
        1 => text.splice(at..(at + 1).min(text.len()), [other]).for_each(drop),
        _ => text.drain(at..(at + 1).min(text.len())).for_each(drop),
    }
    text.into_iter().collect()
}

/// A short list, or rarely one at the limit of its length.
fn list(random: &mut Random, max: usize, mut item: impl FnMut(&mut Random) -> Value) -> Value {
    let length = if random.one_in(15) { max + random.below(3) - 1 } else { random.below(3) };
    (0..length).map(|_| item(random)).collect()
}

fn map(random: &mut Random, max: usize, mut entry: impl FnMut(&mut Random, usize) -> (String, Value)) -> Value {
    let length = if random.one_in(15) { max + random.below(3) - 1 } else { random.below(3) };
    Value::Object((0..length).map(|index| entry(random, index)).collect::<Map<_, _>>())
}

fn selector(random: &mut Random) -> Value {
    let key = |random: &mut Random, index: usize| {
        let long = [
            format!("{}/a", "p".repeat(253)),
            format!("{}/a", "p".repeat(254)),
            format!("a/{}", "n".repeat(64)),
            format!("{}/{}", "p".repeat(253), "n".repeat(63)),
            format!("{}/{}", "p".repeat(254), "n".repeat(62)),
        ];
        match random.below(16) {
            0 => near(&LABEL_KEY, random),
            1 => random.pick(&["", "/a", "a/", "a/b/c", "-a", "a.b/c", "A/b"]).to_owned(),
            2 => long[random.below(long.len())].clone(),
            _ => format!("example.com/k{index}"),
        }
    };
    let mut selector = json!({});
    if random.one_in(2) {
        let value = |random: &mut Random| text(random, &LABEL_VALUE, &["", "a", "A.b_c-9"]);
        selector["matchLabels"] = map(random, 16, |random, index| (key(random, index), value(random)));
    }
    if random.one_in(2) {
        selector["matchExpressions"] = list(random, 16, |random| {
            let mut expression =
                json!({ "key": key(random, 0), "operator": random.pick(&["In", "NotIn", "Exists", "DoesNotExist"]) });
            if random.one_in(30) {
                expression["operator"] = json!("in");
            }
            let needs = matches!(expression["operator"].as_str().unwrap(), "In" | "NotIn");
            if needs != random.one_in(12) {
                expression["values"] = list(random, 16, |random| text(random, &LABEL_VALUE, &["", "a"]));
            }
            expression
        });
    }
    selector
}

/// Where the keys of an entry come from: mostly one place.
fn source(random: &mut Random, entry: &mut Value, with_literals: bool) {
    let chosen = random.below(if with_literals { 3 } else { 2 });
    for index in 0..3 {
        if index != chosen && !random.one_in(40) || index == chosen && random.one_in(40) {
            continue;
        }
        match index {
            0 => entry["keyPair"] = text(random, &SECRET_NAME, &["web", "a.b"]),
            1 => entry["selector"] = selector(random),
            _ if with_literals => {
                entry["publicKeys"] = list(random, MAX_PUBLIC_KEYS, |random| {
                    json!(if random.one_in(20) { "k".repeat(4095 + random.below(3)) } else { PUBLIC_KEY.to_owned() })
                });
            }
            _ => {}
        }
    }
    if random.one_in(4) {
        entry["namespace"] = text(random, &NAMESPACE, &["shop", "a-1"]);
    }
}

fn options(random: &mut Random) -> Value {
    let mut options = json!({});
    for field in [
        "restrict",
        "agentForwarding",
        "portForwarding",
        "pty",
        "userRC",
        "x11Forwarding",
        "noTouchRequired",
        "verifyRequired",
        "certAuthority",
    ] {
        if random.one_in(6) {
            options[field] = json!(random.one_in(2));
        }
    }
    let lists: [(&str, &TextRule, &[&str]); 4] = [
        ("from", &FROM, &["*", "10.0.0.0/8", "*.example.com", "!10.0.0.1", "::1", "!a"]),
        ("principals", &PRINCIPAL, &["root", "a@b"]),
        ("permitOpen", &PERMIT_OPEN, &["*:80", "localhost:*", "[::1]:22"]),
        ("permitListen", &PERMIT_LISTEN, &["80", "*", "localhost:80", "[::1]:*"]),
    ];
    for (field, rule, valid) in lists {
        if random.one_in(5) {
            options[field] = list(random, MAX_ELEMENTS, |random| text(random, rule, valid));
        }
    }
    if options.get("principals").is_some() && !random.one_in(6) {
        options["certAuthority"] = json!(true);
    }
    let texts: [(&str, &TextRule, &[&str]); 3] = [
        ("command", &COMMAND, &["/bin/true", "echo \"a b\"", "中文"]),
        ("expiryTime", &EXPIRY_TIME, &["2027-01-01T00:00:00Z", "2027-01-01T00:00:00+08:00", "2027-02-30T00:00:00Z"]),
        ("tunnel", &TUNNEL, &["0", "12"]),
    ];
    for (field, rule, valid) in texts {
        if random.one_in(5) {
            options[field] = text(random, rule, valid);
        }
    }
    if random.one_in(5) {
        options["environment"] = map(random, MAX_ELEMENTS, |random, index| {
            let name = if random.one_in(12) { near(&ENVIRONMENT_NAME, random) } else { format!("NAME_{index}") };
            (name, text(random, &ENVIRONMENT_VALUE, &["", "a b"]))
        });
    }
    options
}

fn target(random: &mut Random) -> Value {
    let object = |random: &mut Random| {
        let mut object = json!({});
        if random.one_in(2) {
            object["name"] = text(
                random,
                &SECRET_NAME,
                &["a", "a.b", "sh.helm.releases", "sh.helm.release.v1.a.v1", "kube-root-ca.crt"],
            );
        }
        if random.one_in(3) {
            object["key"] = text(random, &DATA_KEY, &["known_hosts", ".a"]);
        }
        object
    };
    let mut target = json!({});
    for (kind, is_chosen) in ["configMap", "secret"].into_iter().zip([[true, false], [false, true]][random.below(2)]) {
        if is_chosen != random.one_in(20) {
            target[kind] = object(random);
        }
    }
    target
}

fn entries(random: &mut Random, entry: fn(&mut Random) -> Value) -> Value {
    // One mistake is enough to refuse an object, so most objects have one entry.
    if random.one_in(100) {
        let length = MAX_ENTRIES + random.below(3) - 1;
        return (0..length).map(|index| json!({ "keyPair": format!("web-{index}"), "hosts": ["a"] })).collect();
    }
    (0..random.below(3)).map(|_| entry(random)).collect()
}

fn authorized_keys(random: &mut Random) -> Value {
    let mut spec = json!({ "entries": entries(random, |random| {
        let mut entry = json!({});
        source(random, &mut entry, false);
        if random.one_in(2) {
            entry["options"] = options(random);
        }
        entry
    }) });
    for entry in spec["entries"].as_array_mut().unwrap() {
        // Only KnownHosts have hosts.
        entry.as_object_mut().unwrap().remove("hosts");
    }
    if random.one_in(4) {
        spec["target"] = target(random);
    }
    if random.one_in(4) {
        spec["layout"] = json!(random.pick(&["File", "EntryPerKey"]));
    }
    let name = if random.one_in(20) { "sh.helm.release.v1.a.v1" } else { "a1" };
    manifest("AuthorizedKeys", name, &spec)
}

fn known_hosts(random: &mut Random) -> Value {
    const HOSTS: [&str; 9] =
        ["example.com", "*.example.com", "!a.example.com", "[host]:2222", "10.0.0.1", "::1", "[::1]:*", "a?", "Web_1"];
    let mut spec = json!({ "entries": entries(random, |random| {
        let mut entry = json!({});
        if !random.one_in(30) {
            let mut hosts = list(random, MAX_HOSTS, |random| text(random, &HOST, &HOSTS));
            if !random.one_in(20) {
                hosts.as_array_mut().unwrap().truncate(MAX_HOSTS - 1);
                hosts.as_array_mut().unwrap().push(json!("plain"));
            }
            entry["hosts"] = hosts;
        }
        source(random, &mut entry, true);
        if random.one_in(4) {
            entry["marker"] = json!(random.pick(&["CertAuthority", "Revoked"]));
        }
        entry
    }) });
    if random.one_in(4) {
        spec["hashHosts"] = json!(random.one_in(2));
    }
    if random.one_in(4) {
        spec["target"] = target(random);
    }
    manifest("KnownHosts", "a1", &spec)
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_and_rust_agree_on_authorized_keys() {
    let mut random = Random::of("authorized keys");
    compare("authorized keys", (0..Cases::wanted().percent(20)).map(|_| authorized_keys(&mut random)).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_and_rust_agree_on_known_hosts() {
    let mut random = Random::of("known hosts");
    compare("known hosts", (0..Cases::wanted().percent(20)).map(|_| known_hosts(&mut random)).collect()).await;
}

/// The message of each rule names the field by its index, and says what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_told_with_its_field_and_what_to_do() {
    let both = json!({ "keyPair": "a", "selector": {} });
    let login = |entry: Value| json!({ "entries": [{ "keyPair": "a" }, entry] });
    let host = |entry: Value| json!({ "entries": [{ "hosts": ["a"], "keyPair": "a" }, entry] });
    for (kind, spec, field, words) in [
        ("AuthorizedKeys", login(json!({})), "spec.entries[1]", "set exactly one of keyPair and selector"),
        ("AuthorizedKeys", login(both.clone()), "spec.entries[1]", "set exactly one of keyPair and selector"),
        ("AuthorizedKeys", login(json!({ "keyPair": "A" })), "spec.entries[1].keyPair", "should match"),
        (
            "AuthorizedKeys",
            login(json!({ "keyPair": "a", "options": { "principals": ["b"] } })),
            "spec.entries[1].options",
            "set certAuthority to true, or omit principals",
        ),
        (
            "AuthorizedKeys",
            login(json!({ "keyPair": "a", "options": { "environment": { "1": "b" } } })),
            "spec.entries[1].options.environment",
            "each key must be the name of an environment variable",
        ),
        (
            "AuthorizedKeys",
            login(json!({ "selector": { "matchExpressions": [{ "key": "a", "operator": "In" }] } })),
            "spec.entries[1].selector.matchExpressions[0]",
            "the operators In and NotIn need values",
        ),
        (
            "AuthorizedKeys",
            json!({ "target": { "configMap": {}, "secret": {} } }),
            "spec.target",
            "configMap and secret are mutually exclusive",
        ),
        (
            "AuthorizedKeys",
            json!({ "target": { "secret": { "name": "sh.helm.release.a" } } }),
            "spec",
            "set another name",
        ),
        ("KnownHosts", host(json!({ "keyPair": "a" })), "spec.entries[1].hosts", "Required value"),
        ("KnownHosts", host(json!({ "keyPair": "a", "hosts": ["!b"] })), "spec.entries[1].hosts", "match no host"),
        (
            "KnownHosts",
            host(json!({ "hosts": ["b"], "publicKeys": [PUBLIC_KEY], "namespace": "c" })),
            "spec.entries[1]",
            "namespace has no meaning for publicKeys",
        ),
        (
            "KnownHosts",
            json!({ "hashHosts": true, "entries": [{ "hosts": ["*.b"], "keyPair": "a" }] }),
            "spec",
            "set hashHosts to false, or list the hosts by name",
        ),
    ] {
        let object = manifest(kind, "a1", &spec);
        let plural = kind.to_lowercase();
        let url = format!("/apis/keypairs.dev/v1alpha1/namespaces/default/{plural}");
        let request = Request::new(url).create(&PostParams::default(), object.to_string().into_bytes()).unwrap();
        let refused = client().await.request::<Value>(request).await;
        let Err(kube::Error::Api(status)) = refused else { panic!("{object} was not refused: {refused:?}") };
        assert_eq!(status.code, 422, "{object}: {status:?}");
        let causes = status.details.as_ref().map(|details| details.causes.clone()).unwrap_or_default();
        let told = causes.iter().any(|cause| cause.field == field && (cause.message.contains(words)));
        assert!(told, "{object}: {causes:?}");
        let mistakes = ours(&object).unwrap();
        assert_eq!(mistakes.len(), 1, "{object}: {mistakes:?}");
    }
}
