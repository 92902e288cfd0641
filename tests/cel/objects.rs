//! Random KeyPairs, valid, nearly valid or nearly invalid, in one group for each part of the spec.

use keypair_operator::domain::{
    profile::Profile,
    rules::{
        ANNOTATION_KEY, CLIENT_TOKEN, CONDITION_TYPE, DATA_KEY, DESCRIPTION, LABEL_KEY, LABEL_VALUE, PROJECT,
        SECRET_NAME, TAG_KEY, TAG_VALUE,
    },
    secret::TEMPLATE_MAX_BYTES,
    share_with::{MAX_SHARE_WITH, SHARE_WITH},
    text_rule::TextRule,
};
use serde_json::{Map, Value, json};

use crate::{
    random::Random,
    texts::{EDGES, near},
};

/// A key that every profile accepts.
pub const PUBLIC_KEY: &str = include_str!("../vectors/public/rsa2048.pub");

/// Key sizes that an algorithm has or might be assumed to have.
const SIZES: [i64; 10] = [256, 384, 521, 2048, 3072, 4096, 512, 1024, 0, 8192];

pub fn key_pair(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": {"name": name}, "spec": spec})
}

/// Key pair names, explicit or defaulted.
pub fn name(random: &mut Random) -> Value {
    let profile = random.pick(&Profile::ALL);
    let import = random.one_in(2);
    let rules = profile.rules();
    let rule = if import { rules.import_name } else { rules.generate_name };
    let mut spec = json!({"profile": profile});
    if import {
        spec["publicKey"] = json!(PUBLIC_KEY);
    }
    if random.one_in(3) {
        return key_pair(&dns_name(rule, random), &spec);
    }
    spec["keyPairName"] = json!(near(rule, random));
    key_pair("a.b", &spec)
}

/// A name that is valid in Kubernetes but not necessarily under `rule`.
fn dns_name(rule: &TextRule, random: &mut Random) -> String {
    loop {
        let longest = (rule.max_chars + 2).min(SECRET_NAME.max_chars);
        let short = 1 + random.below(20);
        let length = random.pick(&[1, 2, 3, longest - 3, longest - 2, longest - 1, longest, short]);
        let pool = random.pick(&["a", "a0", "ab-", "a-.", "abz09-."]);
        let pool: Vec<char> = pool.chars().collect();
        let mut name: String = (0..length).map(|_| random.pick(&pool)).collect();
        if random.one_in(6) {
            name = format!("{}{name}", random.pick(&["aliyun", "http", "0", "acs"]));
        }
        if SECRET_NAME.allows(&name) {
            return name;
        }
    }
}

/// Texts that have their own rule.
pub fn text(random: &mut Random) -> Value {
    let (field, rule) =
        random.pick(&[("description", &DESCRIPTION), ("project", &PROJECT), ("clientToken", &CLIENT_TOKEN)]);
    let mut spec = json!({"profile": random.pick(&Profile::ALL)});
    spec[field] = json!(near(rule, random));
    key_pair("a1", &spec)
}

/// Tags: too many, duplicates, and all kinds of keys and values.
pub fn tags(random: &mut Random) -> Value {
    let number = random.pick(&[0, 1, 1, 1, 2, 3, 19, 20, 21, 25]);
    let mut tags: Vec<Value> = (0..number)
        .map(|index| json!({"key": format!("k{index}"), "value": random.pick(&["", "v", "中文"])}))
        .collect();
    for _ in 0..random.below(3).min(number) {
        let at = random.below(number);
        match random.below(4) {
            0 => tags[at]["key"] = json!(near(&TAG_KEY, random)),
            1 => tags[at]["value"] = json!(near(&TAG_VALUE, random)),
            2 => tags[at] = json!({"key": format!("other{at}")}),
            _ => {
                let other = random.below(number);
                let key = tags[other]["key"].as_str().unwrap_or_default().to_owned();
                tags[at]["key"] = if random.one_in(3) { json!(key.to_uppercase()) } else { json!(key) };
            }
        }
    }
    key_pair("a1", &json!({"profile": random.pick(&Profile::ALL), "tags": tags}))
}

/// Every algorithm with every size close to a valid one, in every profile, with and without a public key.
pub fn every_generate() -> impl Iterator<Item = Value> + Send {
    let sizes = SIZES.iter().flat_map(|size| [size - 1, *size, size + 1]);
    let sizes: Vec<i64> = sizes.chain([i64::from(i32::MAX), i64::from(i32::MIN)]).collect();
    Profile::ALL.into_iter().flat_map(move |profile| {
        let sizes = sizes.clone();
        let with = |generate: &Value| key_pair("a1", &json!({"profile": profile, "generate": generate}));
        let both = json!({"profile": profile, "generate": {}, "publicKey": PUBLIC_KEY});
        let mut objects = vec![with(&json!({})), with(&Value::Null), key_pair("a1", &both)];
        for algorithm in ["RSA", "ECDSA", "Ed25519"] {
            objects.push(with(&json!({"algorithm": algorithm})));
            objects.push(with(&json!({"algorithm": algorithm, "bits": null})));
            objects.extend(sizes.iter().map(|bits| with(&json!({"algorithm": algorithm, "bits": bits}))));
        }
        objects.extend(sizes.iter().map(|bits| with(&json!({"bits": bits}))));
        objects
    })
}

/// Each encoding with each algorithm.
pub fn every_encoding() -> impl Iterator<Item = Value> + Send {
    Profile::ALL.into_iter().flat_map(|profile| {
        ["PKCS8", "OpenSSH", "PKCS1", "SEC1"].into_iter().flat_map(move |encoding| {
            [
                json!(null),
                json!({}),
                json!({"algorithm": "RSA"}),
                json!({"algorithm": "ECDSA"}),
                json!({"algorithm": "Ed25519"}),
            ]
            .map(|generate| {
                let spec = json!({"profile": profile, "generate": generate, "secret": {"encoding": encoding}});
                key_pair("a1", &spec)
            })
        })
    })
}

/// Secret names of a KeyPair, explicit or defaulted: names that Helm uses, and similar ones.
pub fn secret_name(random: &mut Random) -> Value {
    const NAMES: [&str; 8] = [
        "sh.helm.release.v1.app.v1",
        "sh.helm.release.0",
        "sh.helm.release",
        "sh.helm.releases.v1",
        "x.sh.helm.release.v1",
        "sh-helm-release-v1",
        "a1",
        "sh.helm.r",
    ];
    let profile = random.pick(&[Profile::OpenSSH, Profile::UCloud]);
    let mut spec = json!({"profile": profile});
    match random.below(4) {
        0 => spec["secret"] = json!({"name": random.pick(&NAMES)}),
        1 => spec["secret"] = json!({}),
        2 => spec["secret"] = Value::Null,
        _ => {}
    }
    if random.one_in(4) {
        spec["publicKey"] = json!(PUBLIC_KEY);
    }
    if random.one_in(3) {
        spec["keyPairName"] = json!("sh.helm.release.v1");
    }
    key_pair(random.pick(&NAMES), &spec)
}

/// Templates close to the maximum size, with one or many entries, made of characters of every UTF-8 length.
pub fn template_size(random: &mut Random) -> Value {
    let size = TEMPLATE_MAX_BYTES + random.pick(&[0, 0, 1, 2, 3, 4]) - random.pick(&[0, 0, 0, 1, 2]);
    let size = if random.one_in(6) { size + random.below(TEMPLATE_MAX_BYTES) } else { size };
    let character = random.pick(&["a", "é", "键", "𠀀", "\n"]);
    let mut template = Map::new();
    let mut used = 0;
    if random.one_in(2) {
        template.insert("type".to_owned(), json!("Opaque"));
        used += "Opaque".len();
    }
    if random.one_in(2) {
        template.insert("labels".to_owned(), json!({"a": "b", "example.com/name": ""}));
        used += "abexample.com/name".len();
    }
    let number = random.pick(&[1, 2, 3, 20, 60]);
    let mut maps = [Map::new(), Map::new()];
    for index in 0..number {
        let (key, entries_left) = (format!("key{index:02}"), number - index);
        let room = ((size - used) / entries_left).saturating_sub(key.len());
        let value = character.repeat(room / character.len());
        // The last value absorbs the bytes that do not fit a whole character.
        let filling = if entries_left == 1 { room % character.len() } else { 0 };
        let value = format!("{value}{}", "x".repeat(filling));
        used += key.len() + value.len();
        maps[random.below(2)].insert(key, json!(value));
    }
    for (name, map) in ["annotations", "stringData"].into_iter().zip(maps) {
        template.insert(name.to_owned(), Value::Object(map));
    }
    let mut spec = json!({"profile": random.pick(&Profile::ALL), "secret": {"template": template}});
    // The template is stored for an imported pair as well.
    if random.one_in(2) {
        spec["publicKey"] = json!(PUBLIC_KEY);
    }
    key_pair("a1", &spec)
}

/// Public keys that contain invisible characters.
pub fn invisible(random: &mut Random) -> Value {
    let line: Vec<char> = PUBLIC_KEY.trim_end().chars().collect();
    let mut body = line.clone();
    for _ in 0..random.pick(&[0, 1, 1, 2]) {
        let anywhere = random.below(line.len());
        let at = random.pick(&[0, 7, line.len() - 1, line.len(), anywhere]);
        let character = if random.one_in(3) { random.char() } else { random.pick(&EDGES) };
        body.insert(at, character);
    }
    let body: String = body.into_iter().collect();
    key_pair("a1", &json!({"profile": random.pick(&Profile::ALL), "publicKey": body}))
}

/// Settings of the Secret.
pub fn secret(random: &mut Random) -> Value {
    let mut secret = json!({});
    if random.one_in(2) {
        secret["name"] = json!(near(&SECRET_NAME, random));
    }
    if random.one_in(3) {
        secret["encoding"] = json!(random.pick(&["PKCS8", "OpenSSH", "PKCS1", "SEC1"]));
    }
    if random.one_in(2) {
        secret["keys"] = Value::Object(data_keys(random));
    }
    if random.one_in(2) {
        secret["template"] = Value::Object(template(random));
    }
    let mut spec = json!({"profile": random.pick(&Profile::ALL), "secret": secret});
    match random.below(8) {
        // An imported pair has no Secret, so its Secret settings cannot be wrong.
        0 => spec["publicKey"] = json!(PUBLIC_KEY),
        1 => spec["generate"] = json!({}),
        2 => spec["generate"] = json!({"algorithm": random.pick(&["RSA", "ECDSA", "Ed25519"])}),
        _ => {}
    }
    key_pair("a1", &spec)
}

const DATA_KEYS: [&str; 7] =
    ["ssh-privatekey", "ssh-publickey", "identity", "identity.pub", "SSH-PRIVATEKEY", "a", "."];

fn data_keys(random: &mut Random) -> Map<String, Value> {
    let mut keys = Map::new();
    for field in ["privateKey", "publicKey"] {
        match random.below(4) {
            0 => {}
            1 => drop(keys.insert(field.to_owned(), json!(near(&DATA_KEY, random)))),
            _ => drop(keys.insert(field.to_owned(), json!(random.pick(&DATA_KEYS)))),
        }
    }
    keys
}

fn template(random: &mut Random) -> Map<String, Value> {
    const TYPES: [&str; 14] = [
        "Opaque",
        "helm.sh/release.v1",
        "Helm.sh/release.v1",
        " helm.sh/release.v1",
        "KUBERNETES.IO/service-account-token",
        "kubernetes.io/service-account-token\n",
        "",
        "kubernetes.io/ssh-auth",
        "kubernetes.io/ssh-auth ",
        "kubernetes.io/tls",
        "kubernetes.io/",
        "kubernetes.io",
        "bootstrap.kubernetes.io/token",
        "Kubernetes.io/tls",
    ];
    const KEYS: [&str; 15] = [
        "owner",
        "owner",
        "Owner",
        "example.com/owner",
        "Example.com/a",
        "app.kubernetes.io/managed-by",
        "app.kubernetes.io/managed-By",
        "app.kubernetes.io/name",
        "keypairs.dev/",
        "keypairs.dev/keypair",
        "keypairs.dev",
        "Keypairs.dev/x",
        "x.keypairs.dev/x",
        "a",
        "argocd.argoproj.io/secret-type",
    ];
    let mut template = Map::new();
    if random.one_in(2) {
        template.insert("type".to_owned(), json!(random.pick(&TYPES)));
    }
    for map in ["labels", "annotations"] {
        if random.one_in(3) {
            let rule = if map == "labels" { &LABEL_KEY } else { &ANNOTATION_KEY };
            let key = |random: &mut Random| {
                if random.one_in(4) { near(rule, random) } else { random.pick(&KEYS).to_owned() }
            };
            let value = |random: &mut Random| match random.below(6) {
                0 | 1 => random.pick(&["helm", "Helm", "helm ", "x"]).to_owned(),
                2 => near(&LABEL_VALUE, random),
                _ => "x".to_owned(),
            };
            let entries: Map<String, Value> =
                (0..random.below(3)).map(|_| (key(random), json!(value(random)))).collect();
            template.insert(map.to_owned(), Value::Object(entries));
        }
    }
    if random.one_in(3) {
        let key = |random: &mut Random| {
            if random.one_in(2) { random.pick(&DATA_KEYS).to_owned() } else { near(&DATA_KEY, random) }
        };
        let entries: Map<String, Value> = (0..random.below(3)).map(|_| (key(random), json!("x"))).collect();
        template.insert("stringData".to_owned(), Value::Object(entries));
    }
    template
}

/// Lists of namespaces, valid and invalid, with lengths around the limit.
pub fn share_with(random: &mut Random) -> Value {
    let length = if random.one_in(8) { MAX_SHARE_WITH - 1 + random.below(3) } else { random.below(4) };
    let namespaces: Vec<String> = (0..length)
        .map(
            |_| if random.one_in(6) { near(&SHARE_WITH, random) } else { random.pick(&["web", "*", "a-1"]).to_owned() },
        )
        .collect();
    key_pair("a1", &json!({"profile": random.pick(&Profile::ALL), "shareWith": namespaces}))
}

/// Rotations: durations on and beyond every limit, gates, and Secrets without room for the entries of a rotation.
pub fn rotation(random: &mut Random) -> Value {
    let mut rotation = json!({});
    // One mistake is enough to refuse an object, so most parts are valid.
    if random.one_in(2) {
        let every = if random.one_in(4) { duration(random) } else { random.pick(&EVERY).to_owned() };
        rotation["every"] = json!(every);
    }
    for field in ["publishBefore", "keepAfter"] {
        if random.one_in(2) {
            let text = if random.one_in(4) { duration(random) } else { random.pick(&SHORT).to_owned() };
            rotation[field] = json!(text);
        }
    }
    if random.one_in(3) {
        rotation["gates"] = json!(gates(random));
    }
    if random.one_in(20) {
        rotation["every"] = Value::Null;
    }
    let mut spec = json!({"profile": random.pick(&Profile::ALL), "rotation": rotation});
    match random.below(12) {
        0 => spec["publicKey"] = json!(PUBLIC_KEY),
        1 => spec["generate"] = json!({}),
        2 => spec["rotation"] = Value::Null,
        _ => {}
    }
    if random.one_in(4) {
        spec["secret"] = secret_of_rotation(random);
    }
    key_pair("a1", &spec)
}

const EVERY: [&str; 8] = ["2160h", "24h", "48h0m0s", "1440m", "86400s", "87600h", "24h0.000000001s", "87600.0h"];
const SHORT: [&str; 8] = ["0s", "24h", "1h30m", "1.5h", "90m", "500ms", "0.5s", "24h0m0s"];

/// Durations, valid and not: with the units of Go, ISO 8601 and jiff, and many digits.
fn duration(random: &mut Random) -> String {
    const DIGITS: [usize; 9] = [0, 1, 1, 2, 4, 5, 6, 7, 9];
    const EDGES: [&str; 20] = [
        "",
        "0",
        "0s",
        "00h00m00s",
        "87600h0m0.000000001s",
        "87599h60m",
        "87600h1ms",
        "5256000m",
        "5256000.1m",
        "315360000s",
        "315360001s",
        "99999h9999999m999999999s",
        "999999h99999999m999999999s",
        "PT24H",
        "1d",
        "-1h",
        "+1h",
        "1h 30m",
        "1.h",
        ".5h",
    ];
    match random.below(3) {
        0 => random.pick(&EDGES).to_owned(),
        _ => (0..=random.below(3))
            .map(|_| {
                let mut digits =
                    |most: usize| -> String { (0..most).map(|_| random.pick(&['0', '0', '1', '5', '9'])).collect() };
                let (number, fraction) = (digits(9), digits(10));
                let number = &number[..random.pick(&DIGITS)];
                let unit = random.pick(&["h", "h", "m", "m", "s", "s", "ms", "us", "ns", "d", "H", ""]);
                if random.one_in(3) {
                    format!("{number}.{}{unit}", &fraction[..random.pick(&[0, 1, 3, 9, 10])])
                } else {
                    format!("{number}{unit}")
                }
            })
            .collect(),
    }
}

fn gates(random: &mut Random) -> Vec<String> {
    const GATES: [&str; 12] = [
        "example.com/registered",
        "example.com/Registered",
        "Registered",
        "Ready",
        "ready",
        "Stalled",
        "Rotating",
        "example.com/Ready",
        "a",
        "a/b/c",
        "/a",
        "a.",
    ];
    let number = random.pick(&[0, 1, 1, 2, 2, 7, 8, 9, 17]);
    let mut gates: Vec<String> = (0..number).map(|index| format!("example.com/gate-{index}")).collect();
    for _ in 0..random.below(3).min(number) {
        let at = random.below(number);
        gates[at] = if random.one_in(2) { random.pick(&GATES).to_owned() } else { near(&CONDITION_TYPE, random) };
    }
    gates
}

fn secret_of_rotation(random: &mut Random) -> Value {
    let long = |chars: usize| "k".repeat(chars);
    let (just, over, next) = (long(244), long(245), long(249));
    let names = [
        "ssh-privatekey",
        "ssh-publickey",
        "ssh-privatekey.next",
        "ssh-publickey.previous",
        "key",
        "key.next",
        "key.previous",
        ".next",
        &just,
        &over,
        &next,
    ];
    let mut secret = json!({});
    for field in ["privateKey", "publicKey"] {
        if random.one_in(2) {
            secret["keys"][field] = json!(random.pick(&names));
        }
    }
    if random.one_in(2) {
        let entry = format!("{}{}", random.pick(&names), random.pick(&["", ".next", ".previous", ".current", ".NEXT"]));
        secret["template"] = json!({"stringData": {entry: "x"}});
    }
    secret
}

/// Combines several parts of the spec, and sets optional fields to `null`.
pub fn mixture(random: &mut Random) -> Value {
    let mut object = name(random);
    let spec = object["spec"].as_object_mut().expect("spec should be an object");
    // That an imported pair cannot be rotated is tried often enough.
    let parts =
        if spec.contains_key("publicKey") { &[text, tags, secret][..] } else { &[text, tags, secret, rotation] };
    for part in parts {
        if random.one_in(2) {
            let other = part(random);
            for (field, value) in other["spec"].as_object().expect("spec should be an object") {
                if !["profile", "publicKey"].contains(&field.as_str()) {
                    spec.insert(field.clone(), value.clone());
                }
            }
        }
    }
    for field in ["keyPairName", "publicKey", "generate", "description", "project", "clientToken", "secret", "rotation"]
    {
        if random.one_in(10) {
            spec.insert(field.to_owned(), Value::Null);
        }
    }
    object
}
