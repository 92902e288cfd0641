//! Every error that a single request can contain.

use keypair_operator::domain::profile::Profile;
use serde_json::{Value, json};

use crate::{expected::profile, support::vector};

/// A `KeyPair` with one mistake.
pub struct Mistake {
    /// `metadata.name`.
    pub name: String,
    /// As in the table in [`expected`](crate::expected).
    pub fault: &'static str,
    pub spec: Value,
    /// Whether CEL can detect it; otherwise only the controller does.
    pub at_admission: bool,
}

/// A valid import of the profile.
pub fn valid(profile: &str) -> Value {
    json!({ "profile": profile, "publicKey": vector("public/rsa2048.pub").trim_end() })
}

/// A name with this many letters.
fn letters(count: usize) -> String {
    "n".repeat(count)
}

/// All mistakes for which `profile` has a rule, each in a separate object.
pub fn mistakes(profile: &str) -> Vec<Mistake> {
    let mut all = Vec::new();
    let mut add = |fault: &'static str, at_admission: bool, changes: Value| {
        let name = format!("mistake-{}", all.len());
        all.push(Mistake { name, fault, spec: merged(valid(profile), changes), at_admission });
    };
    add("MissingParameter/KeyPairName", true, json!({ "keyPairName": "" }));
    add("MissingParameter/PublicKey", true, json!({ "publicKey": "" }));
    add("MissingParameter/PublicKey", true, json!({ "publicKey": " \r\n\t" }));
    // A malformed name and a missing key: the missing key is reported first, as in the documents.
    add("MissingParameter/PublicKey", true, json!({ "publicKey": "", "keyPairName": "a b" }));
    for name in bad_names(profile) {
        add("InvalidKeyPairName", true, json!({ "keyPairName": name }));
    }
    if profile == "Alibaba" {
        // Imported pairs may have a dot in the name, generated pairs a colon.
        add("InvalidKeyPairName", true, json!({ "keyPairName": "a:b" }));
        add("InvalidKeyPairName", true, json!({ "keyPairName": "a.b", "publicKey": null }));
        let ecdsa = json!({ "publicKey": null, "generate": { "algorithm": "ECDSA" } });
        add("InvalidPublicKey", true, ecdsa);
        add("InvalidPublicKey", true, json!({ "publicKey": vector("public/ed25519.pub") }));
        add("InvalidPublicKey", false, json!({ "publicKey": vector("public/ed25519.rfc4716") }));
    }
    for (at_admission, body) in bad_keys() {
        add("InvalidPublicKey", at_admission, json!({ "publicKey": body }));
    }
    add("InvalidPublicKey", true, json!({ "generate": {} }));
    add("InvalidPublicKey", true, json!({ "publicKey": null, "generate": { "bits": 1024 } }));
    add("InvalidPublicKey", true, json!({ "publicKey": null, "generate": { "bits": -2048 } }));
    for description in ["1 digit", " space", "a!b", "a\nb", &letters(256)] {
        add("InvalidDescription", true, json!({ "description": description }));
    }
    for key in ["", "aliyun", "acs:x", "http://x", "https://x", &"键".repeat(65)] {
        add("InvalidTag/Key", true, json!({ "tags": [{ "key": "ok", "value": "" }, { "key": key, "value": "v" }] }));
    }
    for value in ["aliyun-x", "acs:", "http://", "https://x", &"值".repeat(129)] {
        add("InvalidTag/Value", true, json!({ "tags": [{ "key": "k", "value": value }] }));
    }
    add("InvalidTag/Key", true, json!({ "tags": [{ "key": "k", "value": "1" }, { "key": "k", "value": "2" }] }));
    let many: Vec<Value> = (0..21).map(|n| json!({ "key": format!("k{n}"), "value": "" })).collect();
    add("InvalidTag/Key", true, json!({ "tags": many }));
    for token in ["密钥", "é", &"t".repeat(65)] {
        add("InvalidClientToken", true, json!({ "clientToken": token }));
    }
    for project in ["a b", "项目", "a/b", &"p".repeat(65)] {
        add("ProjectNotFound", true, json!({ "project": project }));
    }
    for secret in bad_secrets() {
        add("InvalidSecret", true, json!({ "publicKey": null, "secret": secret }));
    }
    // The template is stored for an imported pair as well.
    add("InvalidSecret", true, json!({ "secret": large() }));
    for rotation in bad_rotations() {
        add("InvalidRotation", true, json!({ "publicKey": null, "rotation": rotation }));
    }
    add("InvalidRotation", true, json!({ "rotation": {} }));
    for secret in secrets_without_room() {
        add("InvalidRotation", true, json!({ "publicKey": null, "rotation": {}, "secret": secret }));
    }
    let name = bad_object_name(profile);
    all.push(Mistake { name, fault: "InvalidKeyPairName", spec: valid(profile), at_admission: true });
    all
}

fn bad_names(name: &str) -> Vec<String> {
    let (names, limit): (&[&str], usize) = match profile(name) {
        Profile::Alibaba => (&["a", "键", "1a", "_a", "-a", "a b", "a/b", "é1", "http://a", "https://a"], 128),
        Profile::UCloud => (&["a b", "a\u{3000}b", "a\tb", "a\u{200b}b"], 63),
        Profile::Volcengine => (&["a", "-a", "a-", ".a", "a.", "a..b", "a--b", "a.-b", "a_b", "键对", "a b"], 64),
        Profile::OpenSSH => (&["a b", "a\u{a0}b", "a\u{7f}b", "a\n"], 128),
    };
    names.iter().map(|name| (*name).to_owned()).chain([letters(limit + 1)]).collect()
}

/// A name that is valid in Kubernetes but not in the profile; it is the default for a missing `keyPairName`.
fn bad_object_name(name: &str) -> String {
    match profile(name) {
        Profile::Alibaba => "1-digit".to_owned(),
        Profile::UCloud => letters(64),
        Profile::Volcengine => "double--dash".to_owned(),
        Profile::OpenSSH => letters(129),
    }
}

/// Invalid public key bodies, and whether CEL can detect them.
fn bad_keys() -> Vec<(bool, String)> {
    let line = vector("public/rsa2048.pub");
    let line = line.trim_end();
    let (key_type, base64) = line.split_once(' ').unwrap();
    let ecdsa = vector("public/ecdsa256.pub");
    vec![
        (true, "hello".to_owned()),
        (true, format!("\u{feff}{line}")),
        (true, format!("{line} m\u{202e}e")),
        (true, base64.to_owned()),
        (true, format!("restrict {line}")),
        (true, format!("host.example {line}")),
        (true, vector("private/plain/rsa2048.pkcs8")),
        (true, format!("{line} {}", "c".repeat(32_768))),
        (false, key_type.to_owned() + " AAAA"),
        (false, format!("{line}\n{ecdsa}")),
        (false, format!("ssh-dss {base64}")),
        (false, format!("{key_type} {}AAAA", base64.split_once(' ').unwrap().0)),
        (false, vector("public/rsa2048.spki").replace("PUBLIC KEY-----\nMII", "PUBLIC KEY-----\nMIJ")),
    ]
}

/// Settings that exceed the maximum template size by one byte.
fn large() -> Value {
    json!({ "template": { "annotations": { "a": "x".repeat(8192) }, "stringData": { "b": "é".repeat(4095) + "z" } } })
}

fn bad_secrets() -> Vec<Value> {
    vec![
        json!({ "name": "Upper_Case" }),
        json!({ "encoding": "SEC1" }),
        json!({ "keys": { "privateKey": "a/b" } }),
        json!({ "keys": { "privateKey": "same", "publicKey": "same" } }),
        json!({ "template": { "type": "kubernetes.io/service-account-token" } }),
        json!({ "template": { "type": "helm.sh/release.v1" } }),
        json!({ "template": { "type": "kubernetes.io/ssh-auth" }, "keys": { "privateKey": "identity" } }),
        json!({ "template": { "labels": { "app.kubernetes.io/managed-by": "me" } } }),
        json!({ "template": { "annotations": { "keypairs.dev/keypair": "another" } } }),
        json!({ "template": { "stringData": { "ssh-privatekey": "mine" } } }),
        json!({ "name": "sh.helm.release.v1.app.v2" }),
        json!({ "template": { "labels": { "owner": "helm", "name": "app", "status": "deployed", "version": "2" } } }),
        json!({ "template": { "labels": { "not a name": "x" } } }),
        json!({ "template": { "labels": { "a": "not a value" } } }),
        json!({ "template": { "annotations": { "a/b/c": "x" } } }),
        large(),
    ]
}

fn bad_rotations() -> Vec<Value> {
    let gates = |number: usize| (0..number).map(|n| format!("example.com/gate-{n}")).collect::<Vec<_>>();
    vec![
        json!({ "every": "90d" }),
        json!({ "every": "" }),
        json!({ "every": "-1h" }),
        json!({ "every": "1.5h30m", "publishBefore": "0s" }),
        json!({ "every": "87601h" }),
        json!({ "every": "99999999h" }),
        json!({ "every": "0s", "publishBefore": "0s" }),
        // The default of publishBefore is 24h.
        json!({ "every": "23h59m59s" }),
        json!({ "publishBefore": "1 h" }),
        json!({ "keepAfter": "5256001m" }),
        json!({ "gates": gates(9) }),
        json!({ "gates": ["example.com/"] }),
        json!({ "gates": ["example.com/registered", "Ready"] }),
        json!({ "gates": ["Rotating"] }),
        json!({ "gates": ["a", "b", "a"] }),
    ]
}

/// Settings of the Secret whose names conflict with the entries of a rotation.
fn secrets_without_room() -> Vec<Value> {
    vec![
        json!({ "keys": { "privateKey": "a".repeat(245) } }),
        json!({ "keys": { "publicKey": "a".repeat(250) } }),
        json!({ "keys": { "privateKey": "key", "publicKey": "key.next" } }),
        json!({ "keys": { "privateKey": "key.previous", "publicKey": "key" } }),
        json!({ "template": { "stringData": { "ssh-publickey.next": "x" } } }),
        json!({ "template": { "stringData": { "ssh-privatekey.previous": "x" } } }),
    ]
}

/// `base` with `changes`, in which null removes a field.
fn merged(mut base: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("not an object: {changes}") };
    for (field, value) in changes {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(&field);
        } else {
            base[field] = value;
        }
    }
    base
}
