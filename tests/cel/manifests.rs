//! Checks that `keypair-operator lint` and `kubectl create --dry-run=server` accept and refuse the same manifests.
//!
//! The random manifests cover the mistakes of people and programs: nulls, YAML keywords and numbers, all kinds of lists, fields
//! in the wrong place, duplicated or of the wrong type, arbitrary metadata, and documents that are not objects.

#![allow(clippy::format_push_string, reason = "it is a test, and reads better")]

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use futures::{StreamExt as _, stream};

use crate::{
    PLANE,
    objects::PUBLIC_KEY,
    random::{Cases, Random},
};

/// Maximum number of concurrent kubectl processes.
const AT_ONCE: usize = 4;

/// Values that are valid for a few fields and invalid for nearly all others.
const ODD: &[&str] = &[
    "",
    "null",
    "~",
    "\"\"",
    "yes",
    "on",
    "Off",
    "y",
    "true",
    "0",
    "1",
    "-1",
    "010",
    "0o17",
    "0x1F",
    "1_000",
    "1.0",
    "2.5",
    "1e3",
    "1:30",
    "190:20:30",
    ".5",
    ".inf",
    "+12",
    "99999999999999999999",
    "2026-01-01",
    "\"12\"",
    "'yes'",
    "[]",
    "{}",
    "[null]",
    "[x]",
    "{a: null}",
    "{a: b}",
    "{1: x}",
    "{yes: x}",
    "[{}]",
    "!!str 12",
    "!!int \"12\"",
    "!!float 2048",
    "!x abc",
    "a b",
    "Abc",
    "a",
    "a-",
    "\"a/b/c\"",
    "\"a\\u0000b\"",
    "\"\\u202e\"",
    "{<<: {a: b}, c: d}",
    "=",
    "|-\n      ab\n      cd",
];

const METADATA: &[(&str, &[&str])] = &[
    ("name", &["web", "web-1", "a.b"]),
    ("generateName", &["web-", "a.b-"]),
    ("namespace", &["default"]),
    ("labels", &["{a: b}", "{example.com/a: \"1\", b: }", "{a b: c}", "{a: b c}", "{A/b: c}"]),
    ("annotations", &["{a: b c}", "{Example.com/a: x, b: }", "{a b: c}"]),
    ("creationTimestamp", &["null", "\"2026-01-01T00:00:00Z\""]),
    ("finalizers", &["[example.com/a]", "[a b]"]),
    (
        "ownerReferences",
        &["[{apiVersion: v1, kind: ConfigMap, name: x, uid: u}]", "[{apiVersion: v1, kind: ConfigMap, name: x}]"],
    ),
    ("generation", &["3"]),
    ("resourceVersion", &["\"1\""]),
    ("uid", &["u"]),
    ("foo", &["x"]),
];

const SPEC: &[(&str, &[&str])] = &[
    ("profile", &["OpenSSH", "UCloud", "Volcengine", "Alibaba", "alibaba"]),
    ("keyPairName", &["web", "a:b", "1st", "on", "012"]),
    ("publicKey", &["null", "PUBLIC", "nonsense"]),
    (
        "generate",
        &[
            "{}",
            "{algorithm: RSA, bits: BITS}",
            "{algorithm: Ed25519}",
            "{bits: BITS}",
            "{algorithm: }",
            "{algorithm: DSA}",
        ],
    ),
    ("description", &["web server", "1"]),
    ("project", &["shop", "a b"]),
    (
        "tags",
        &["[{key: a, value: b}]", "[{key: a}, {key: a}]", "[{key: a, value: }]", "[{key: }]", "[{key: a, foo: 1}]"],
    ),
    ("clientToken", &["t-1", "中"]),
    (
        "secret",
        &[
            "{name: web}",
            "{name: , encoding: , deletionPolicy: , onLoss: }",
            "{template: , keys: }",
            "{encoding: OpenSSH, deletionPolicy: Retain, onLoss: Regenerate}",
            "{encoding: openssh}",
            "{template: {type: Opaque, labels: {a: ODD}, annotations: {b: ODD}, stringData: {c: ODD}}}",
            "{template: {labels: ODD}}",
            "{template: {labels: {a: b, a: c}}}",
            "{keys: {privateKey: a, publicKey: ODD}}",
            "{foo: 1}",
        ],
    ),
    (
        "rotation",
        &[
            "{}",
            "{every: 2160h, publishBefore: , keepAfter: }",
            "{every: 24, gates: [a]}",
            "{every: 1:30}",
            "{publishBefore: ODD, keepAfter: 0s}",
            "{gates: ODD}",
            "{gates: [ODD]}",
            "{gates: [Ready, a, a]}",
            "{foo: 1}",
        ],
    ),
    ("Profile", &["OpenSSH"]),
    ("foo", &["1"]),
];

fn value(random: &mut Random, right: &[&str]) -> String {
    // The first value is valid in every context.
    let right = if random.one_in(3) { random.pick(right) } else { right[0] };
    let value = if random.one_in(12) { random.pick(ODD) } else { right };
    let value = value.replace("PUBLIC", PUBLIC_KEY).replace("ODD", random.pick(ODD));
    value.replace(
        "BITS",
        random.pick(&["2048", "04000", "2048.0", "2.048e3", "\"2048\"", "2049", "0x800", "2147483648"]),
    )
}

/// A random selection of fields from a table, one per line, occasionally with a duplicate.
fn fields(random: &mut Random, table: &[(&str, &[&str])], indent: &str, most: usize) -> String {
    let mut lines = String::new();
    for _ in 0..random.below(most + 1) {
        let (name, right) = random.pick(table);
        if ["foo", "Profile"].contains(&name) && !random.one_in(4) {
            continue;
        }
        if lines.contains(&format!("{indent}{name}:")) && !random.one_in(8) {
            continue;
        }
        let mut value = value(random, right);
        if name == "namespace" && !right.contains(&value.as_str()) {
            // Inside a list, kubectl replaces a namespace that is not a string, while `lint` reports it; so make it a string.
            value = format!("{value:?}");
        }
        lines.push_str(&format!("{indent}{name}: {value}\n"));
    }
    lines
}

fn mapping(name: &str, lines: &str, random: &mut Random) -> String {
    match (lines.is_empty(), random.one_in(40)) {
        (_, true) => format!("{name}: {}\n", random.pick(ODD)),
        (true, _) => format!("{name}: {{}}\n"),
        _ => format!("{name}:\n{lines}"),
    }
}

/// A mostly valid object.
fn object(random: &mut Random) -> String {
    let mut text = String::new();
    let api_version = random.pick(&["keypairs.dev/v1alpha1"; 30]);
    let others = ["keypairs.dev/v1", "v1", "null", "5", "\"\"", "Keypairs.dev/v1alpha1", "keypairs.dev/"];
    let kinds = ["keypair", "KeyPairs", "null", "5", "\"KeyPair \""];
    let api_version = if random.one_in(60) { random.pick(&others) } else { api_version };
    let kind = if random.one_in(60) { random.pick(&kinds) } else { "KeyPair" };
    if !random.one_in(60) {
        text.push_str(&format!("apiVersion: {api_version}\n"));
    }
    if !random.one_in(60) {
        text.push_str(&format!("kind: {kind}\n"));
    }
    let mut metadata = if random.one_in(15) { String::new() } else { "  name: web\n".to_owned() };
    metadata.push_str(&fields(random, METADATA, "  ", 2));
    text.push_str(&mapping("metadata", &metadata, random));
    let spec = fields(random, SPEC, "  ", 3);
    if !random.one_in(30) {
        text.push_str(&mapping("spec", &spec, random));
    }
    if random.one_in(12) {
        let status =
            ["{}", "null", "x", "{bits: x}", "{foo: 1}", "{conditions: [{type: Ready}]}", "{error: {foo: 1}}", "[]"];
        text.push_str(&format!("status: {}\n", random.pick(&status)));
    }
    if random.one_in(30) {
        text.push_str(random.pick(&["foo: 1\n", "items: x\n", "kind: KeyPair\n"]));
    }
    text
}

fn list(random: &mut Random) -> String {
    let (api_version, kind) = random.pick(&[
        ("v1", "List"),
        ("v1", "List"),
        ("keypairs.dev/v1alpha1", "KeyPairList"),
        ("keypairs.dev/v1alpha1", "KeyPairList"),
        ("keypairs.dev/v1alpha1", "List"),
        ("keypairs.dev/v1", "KeyPairList"),
        ("v1", "KeyPairList"),
        ("v2", "List"),
    ]);
    let mut text = format!("apiVersion: {api_version}\nkind: {kind}\n");
    if random.one_in(8) {
        text.push_str(random.pick(&[
            "metadata: {}\n",
            "metadata: {resourceVersion: \"\"}\n",
            "metadata: 5\n",
            "metadata:\n",
            "foo: 1\n",
        ]));
    }
    if random.one_in(15) {
        text.push_str(&format!("items: {}\n", random.pick(&["", "{}", "x", "[null]", "[x]", "[[]]"])));
        return text;
    }
    text.push_str("items:\n");
    for _ in 0..=random.below(2) {
        let item = if random.one_in(12) { list(random) } else { object(random) };
        // An item without its own `kind` and `apiVersion` can take them from the list.
        let item = if random.one_in(10) { item.lines().skip(2).collect::<Vec<_>>().join("\n") } else { item };
        let item = item.trim_end().replace('\n', "\n  ");
        text.push_str(&format!("- {item}\n"));
    }
    text
}

fn json(text: &str) -> Option<String> {
    serde_saphyr::from_str::<serde_json::Value>(text).ok().map(|value| value.to_string())
}

fn manifest(random: &mut Random) -> String {
    let one = |random: &mut Random| if random.one_in(4) { list(random) } else { object(random) };
    let text = one(random);
    match random.below(36) {
        0 => json(&text).unwrap_or(text),
        1 => json(&text).map_or(text, |first| format!("{first}\n{first}")),
        2 => format!("---\n{text}"),
        3 => format!("{text}---\n{}", one(random)),
        4 => format!("# a comment\n---\n{text}...\n"),
        5 => format!("\u{feff}{text}"),
        6 => text.replace('\n', "\r\n"),
        7 => format!(
            "{text}---\n{}\n",
            random.pick(&["null", "foo", "5", "[]", "{}", "foo: [", "# x", "\u{feff}", "--- x"])
        ),
        8 => format!("{text}--- {}\n", random.pick(&["# x", "", "{a: b}", "x"])),
        9 => format!("%YAML 1.1\n---\n{text}"),
        10 => text.replacen("  name: web", "  name: &n web", 1).replacen("spec: {}", "spec: {description: *n}", 1),
        11 => text.replacen(": {}", ":\t{}", 1),
        _ => text,
    }
}

/// Whether `lint` accepts the text, and its output.
fn lint(text: &str) -> (bool, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_keypair-operator"))
        .args(["lint", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

async fn differ(text: String) -> Option<String> {
    tokio::task::spawn_blocking(move || {
        let (right, said) = lint(&text);
        let admitted = PLANE.kubectl_with_input(&["create", "--dry-run=server", "-f", "-"], &text).unwrap();
        let kubectl = format!("{}{}", admitted.stdout, admitted.stderr);
        // Without any object kubectl fails, but nothing is wrong. And only the cluster knows which namespaces exist.
        let is_elsewhere = ["no objects passed to create", "namespaces \""].iter().any(|words| kubectl.contains(words));
        let agree = right == admitted.status.success() || is_elsewhere && right;
        (!agree).then(|| format!("{text}\n  lint: {said}\n  kubectl: {kubectl}"))
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lint_and_admission_agree() {
    let mut random = Random::of("manifests");
    let manifests: Vec<String> = (0..Cases::wanted().percent(2)).map(|_| manifest(&mut random)).collect();
    let (number, right) = (manifests.len(), manifests.iter().filter(|text| lint(text).0).count());
    let differing: Vec<String> = stream::iter(manifests)
        .map(differ)
        .buffer_unordered(AT_ONCE)
        .filter_map(|found| async { found })
        .collect()
        .await;
    println!("manifests: {right} of {number} are right");
    assert!(differing.is_empty(), "{} of {number} differ:\n{}", differing.len(), differing.join("\n=====\n"));
    assert!(number < 100 || right > number / 10 && right < number * 9 / 10, "{right} of {number} are valid");
}
