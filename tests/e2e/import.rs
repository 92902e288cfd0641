//! Imports: every form of every key type, in every profile that accepts it.

use keypair_operator::domain::profile::Profile;
use serde_json::{Value, json};

use crate::{
    expected::{self, PROFILES},
    support::{STRICT, Scene, condition, for_each_profile, text, vector},
    tools::{Printed, first_two_words, openssl_md5, ssh_keygen_l},
};

/// A public key body and the expected result.
struct Sample {
    name: String,
    body: String,
    key_type: String,
    /// The normalised line, without the comment if the form has a comment of its own.
    line: String,
    whole_line: bool,
    printed: Printed,
}

/// Files that `ssh-keygen` 9.2 cannot read.
const ONLY_RECORDED: [&str; 6] = [
    "ed25519.spki",
    "rsa2048-v00.cert",
    "dsa-v00.cert",
    "mldsa44-ed25519.pub",
    "mldsa44-ed25519-2.pub",
    "mldsa44-ed25519-by-ed25519.cert",
];

/// Every test vector, and forms that tools do not write: bare tokens, other white space, no comment.
fn samples() -> Vec<Sample> {
    let table = vector("public.tsv");
    let mut samples: Vec<Sample> = table.lines().map(sample).collect();
    let variant = |name: &str, of: &str, change: &dyn Fn(&str) -> String| {
        let original = samples.iter().find(|sample| sample.name == of).expect("the test vector should exist");
        Sample {
            name: name.to_owned(),
            body: change(&original.body),
            key_type: original.key_type.clone(),
            line: original.line.clone(),
            whole_line: original.whole_line,
            printed: original.printed.clone(),
        }
    };
    let mut more = Vec::new();
    for (token, of) in [
        ("rsa", "rsa2048.pub"),
        ("dsa", "dsa.pub"),
        ("ecdsa", "ecdsa256.pub"),
        ("ecdsa", "ecdsa384.pub"),
        ("ecdsa", "ecdsa521.pub"),
    ] {
        let change =
            |body: &str| format!("{token} {}", body.split_once(' ').expect("the body should be a public key line").1);
        more.push(variant(&format!("token-{of}"), of, &change));
    }
    more.push(variant("spaces.pub", "rsa2048.pub", &|body| {
        format!("\r\n  {}\t\n\n", body.trim_end().replacen(' ', "  \t", 2))
    }));
    more.push(variant("crlf.rfc4716", "ecdsa256.rfc4716", &|body| body.replace('\n', "\r\n")));
    more.push(variant("crlf.spki", "rsa2048.spki", &|body| body.replace('\n', "\r\n")));
    let mut bare = variant("no-comment.pub", "ecdsa384.pub", &|body| first_two_words(body));
    bare.line = first_two_words(&bare.line);
    more.push(bare);
    samples.append(&mut more);
    samples
}

/// Parses a row of the table: file, type, bits, and the MD5 and SHA256 fingerprints from `ssh-keygen -l`.
fn sample(row: &str) -> Sample {
    let columns: Vec<&str> = row.split('\t').collect();
    let [file, key_type, bits, md5, sha256] = columns[..] else { panic!("invalid row: {row}") };
    let name = file.strip_prefix("public/").unwrap();
    let recorded = Printed { bits: bits.parse().unwrap(), md5: md5.to_owned(), sha256: sha256.to_owned() };
    let body = vector(file);
    let (stem, form) = name.split_once('.').unwrap();
    let format =
        [("rfc4716", "RFC4716"), ("spki", "PKCS8"), ("pkcs1", "PEM")].into_iter().find(|(end, _)| *end == form);
    if !ONLY_RECORDED.contains(&name) {
        assert_eq!(ssh_keygen_l(&body, format.map(|(_, format)| format)), Ok(recorded.clone()), "{name}");
    }
    let whole_line = format.is_none();
    let line = if whole_line { body.clone() } else { vector(&format!("public/{stem}.pub")) };
    Sample {
        name: name.to_owned(),
        body,
        key_type: key_type.to_owned(),
        line: line.trim_end().to_owned(),
        whole_line,
        printed: recorded,
    }
}

/// The algorithm of a key type, as in `status.algorithm`.
fn algorithm(key_type: &str) -> &'static str {
    match key_type {
        _ if key_type.starts_with("sk-ecdsa") => "ECDSA-SK",
        _ if key_type.starts_with("sk-ssh") => "Ed25519-SK",
        _ if key_type.starts_with("ssh-rsa") => "RSA",
        _ if key_type.starts_with("ssh-dss") => "DSA",
        _ if key_type.starts_with("ecdsa") => "ECDSA",
        _ if key_type.starts_with("ssh-mldsa44") => "MLDSA44-Ed25519",
        _ => "Ed25519",
    }
}

/// Alibaba's document does not list Ed25519, FIDO keys or newer OpenSSH types; the other profiles accept all types.
fn takes(profile: &str, key_type: &str) -> bool {
    match expected::profile(profile) {
        Profile::Alibaba => !["ssh-ed25519", "sk-", "ssh-mldsa44"].iter().any(|other| key_type.starts_with(other)),
        Profile::UCloud | Profile::Volcengine | Profile::OpenSSH => true,
    }
}

/// A name that all profiles accept: letters, digits and `-`.
fn name_of(sample: &Sample) -> String {
    sample.name.replace('.', "-")
}

async fn imports(profile: &'static str) {
    let scene = STRICT.scene(&format!("import-{}", profile.to_lowercase())).await;
    let samples = samples();
    let taken = || samples.iter().filter(|sample| takes(profile, &sample.key_type));
    let project = |sample: &Sample| if sample.name.starts_with("rsa") { "project-a" } else { "" };
    for sample in taken() {
        let mut spec = json!({ "profile": profile, "publicKey": sample.body });
        if !project(sample).is_empty() {
            spec["project"] = json!(project(sample));
        }
        scene.create(&name_of(sample), &spec).await;
    }
    for sample in taken() {
        let object = scene.settled(&name_of(sample), "True/Imported").await;
        check(&scene, profile, project(sample), sample, &object);
    }
    // An import creates no Secret, and a first success creates no Event.
    assert!(scene.list("secrets").is_empty());
    assert!(scene.list("events.events.k8s.io").is_empty());
    columns(&scene, profile, taken().next().unwrap());
}

fn check(scene: &Scene, profile: &str, project: &str, sample: &Sample, object: &Value) {
    let status = &object["status"];
    let name = format!("{profile} {}: {status}", sample.name);
    let id = text(&status["keyPairID"]);
    let symbols = id.strip_prefix("kp-").unwrap_or_else(|| panic!("{name}"));
    assert!(symbols.len() == 20 && symbols.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{name}");

    let Printed { bits, md5, sha256 } = &sample.printed;
    let fingerprint = match expected::profile(profile) {
        Profile::Alibaba => md5.clone(),
        Profile::Volcengine => md5.replace(':', ""),
        Profile::OpenSSH => sha256.clone(),
        Profile::UCloud => openssl_md5(format!("{project}{id}|{}", sample.body.trim()).as_bytes()),
    };
    assert_eq!(text(&status["fingerprint"]), fingerprint, "{name}");
    assert_eq!(status["fingerprints"], json!({ "md5": md5, "sha256": sha256 }), "{name}");
    assert_eq!(status["bits"], json!(bits), "{name}");
    assert_eq!(status["algorithm"], algorithm(&sample.key_type), "{name}");
    assert_eq!(status["region"], json!(scene.namespace), "{name}");
    assert_eq!(status["keyPairName"], object["metadata"]["name"], "{name}");
    assert_eq!(status["observedGeneration"], 1, "{name}");
    let line = text(&status["publicKey"]);
    if sample.whole_line {
        assert_eq!(line, sample.line, "{name}");
    } else {
        assert_eq!(first_two_words(line), first_two_words(&sample.line), "{name}");
    }
    assert_eq!(first_two_words(line).split(' ').next(), Some(sample.key_type.as_str()), "{name}");
    for absent in ["error", "secretName"] {
        assert_eq!(status[absent], Value::Null, "{name}");
    }
    assert_eq!(condition(object, "Stalled"), Value::Null, "{name}");
    let ready = condition(object, "Ready");
    assert_eq!(ready["observedGeneration"], 1, "{name}");
    assert!(!text(&ready["message"]).is_empty() && !text(&ready["lastTransitionTime"]).is_empty(), "{name}");
}

/// Checks the output of `kubectl get kp`, by the position of each heading because a cell may be empty.
fn columns(scene: &Scene, profile: &str, sample: &Sample) {
    let name = name_of(sample);
    let object: Value = serde_json::from_str(&scene.kubectl(&["get", "keypair", &name, "-o", "json"])).unwrap();
    let status = &object["status"];
    let expected = [
        ("NAME", name.as_str()),
        ("KEY-PAIR-NAME", name.as_str()),
        ("PROFILE", profile),
        ("ALGORITHM", algorithm(&sample.key_type)),
        ("BITS", &status["bits"].to_string()),
        ("FINGERPRINT", text(&status["fingerprint"])),
        ("SECRET", ""),
        ("READY", "True"),
        ("REASON", "Imported"),
    ];
    let wide = scene.kubectl(&["get", "kp", &name, "-o", "wide"]);
    let narrow = scene.kubectl(&["get", "kp", &name]);
    for (heading, value) in expected {
        assert_eq!(cell(&wide, heading).as_deref(), Some(value), "{heading} of\n{wide}");
        let shown = (heading != "FINGERPRINT").then_some(value);
        assert_eq!(cell(&narrow, heading).as_deref(), shown, "{heading} of\n{narrow}");
    }
    assert!(cell(&narrow, "AGE").is_some_and(|age| !age.is_empty()), "{narrow}");
}

fn cell(table: &str, heading: &str) -> Option<String> {
    let (head, row) = table.trim_end().split_once('\n').unwrap();
    // `find` returns NAME, not KEY-PAIR-NAME, because NAME comes first.
    let start = head.find(heading)?;
    // A cell ends where the next heading begins.
    let after = head[start..].trim_start_matches(|c| c != ' ').trim_start();
    let end = if after.is_empty() { row.len() } else { row.len().min(head.len() - after.len()) };
    Some(row.get(start..end).unwrap_or_default().trim().to_owned())
}

for_each_profile!(imports);

/// Admission refuses the key if its line begins with the refused type; the controller does if only the key blob contains it.
#[tokio::test]
async fn key_types_that_alibaba_does_not_accept_are_refused() {
    let scene = STRICT.scene("import-refused").await;
    let samples = samples();
    let refused: Vec<_> = samples.iter().filter(|sample| !takes("Alibaba", &sample.key_type)).collect();
    assert!(refused.len() > 8, "only {} refused samples", refused.len());
    for sample in refused {
        let spec = json!({ "publicKey": sample.body });
        let created = scene.try_create(&name_of(sample), &spec).await;
        if sample.body.starts_with('-') {
            created.unwrap_or_else(|error| panic!("{}: {error}", sample.name));
            let object = scene.settled(&name_of(sample), "False/InvalidPublicKey").await;
            assert_eq!(object["status"]["error"]["code"], "InvalidPublicKeyBody.Malformed");
        } else {
            let error = created.expect_err(&sample.name).to_string();
            assert!(error.contains("InvalidPublicKeyBody.Malformed"), "{}: {error}", sample.name);
        }
    }
}

/// Alibaba is the default profile.
#[tokio::test]
async fn the_default_profile_is_alibaba() {
    assert_eq!(PROFILES[0], "Alibaba");
    let scene = STRICT.scene("import-default").await;
    scene.create("default", &json!({ "publicKey": vector("public/rsa2048.pub") })).await;
    let object = scene.settled("default", "True/Imported").await;
    assert_eq!(object["spec"]["profile"], "Alibaba");
    assert_eq!(object["status"]["fingerprint"], object["status"]["fingerprints"]["md5"]);
}
