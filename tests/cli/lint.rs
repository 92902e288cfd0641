//! `keypair-operator lint`.

use std::fs;

use crate::{assert_not_repeated, execute, execute_with, file, repository, vector};

const GOOD: &str = "apiVersion: keypairs.dev/v1alpha1\nkind: KeyPair\nmetadata: {name: good}\nspec: {}\n";
const BAD: &str = "apiVersion: keypairs.dev/v1alpha1\nkind: KeyPair\nmetadata: {name: bad}\nspec: {keyPairName: 1st}\n";
const OTHER: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 1st}\ndata: {keyPairName: 1st}\n";

/// The lines that lint prints for `text` on standard input. Checks that the exit code matches.
fn findings(text: &str) -> Vec<String> {
    let output = execute_with(&["lint", "-"], text);
    let lines: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
    assert_eq!(output.code, Some(i32::from(!lines.is_empty())), "{lines:?}");
    assert!(output.stderr.contains(&format!("{} errors", lines.len())), "{}", output.stderr);
    lines
}

#[test]
fn valid_manifests_pass() {
    assert_eq!(findings(GOOD), Vec::<String>::new());
    assert_eq!(findings(OTHER), Vec::<String>::new());
    assert_eq!(findings(""), Vec::<String>::new());
    assert_eq!(findings(&format!("{GOOD}---\n{OTHER}---\n{GOOD}")), Vec::<String>::new());
}

#[test]
fn an_error_names_file_document_object_and_code() {
    let path = file("mistake.yaml", &format!("{GOOD}---\n{OTHER}---\n{BAD}"));
    let output = execute(&["lint", &path]);
    assert_eq!(output.code, Some(1));
    let expected = format!(
        "{path}: document 3 (KeyPair bad): InvalidKeyPairName.Malformed: Specified Key Pair name is not valid. spec.keyPairName: "
    );
    assert!(output.stdout.starts_with(&expected), "{}", output.stdout);
    assert_eq!(output.stdout.lines().count(), 1, "{}", output.stdout);
}

#[test]
fn discouraged_settings_produce_a_warning() {
    let path =
        file("unwise.yaml", &GOOD.replace("{}", &format!("{{publicKey: \"{}\"}}", vector("public/dsa.pub").trim())));
    let output = execute(&["lint", &path]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), ""));
    let warning = format!("{path}: document 1 (KeyPair good): warning: spec.publicKey: this is a DSA key");
    assert!(output.stderr.starts_with(&warning), "{}", output.stderr);
    assert!(output.stderr.contains("1 objects checked, 0 errors"), "{}", output.stderr);
}

#[test]
fn every_file_is_checked_and_named() {
    let (good, bad, worse) =
        (file("good.yaml", GOOD), file("bad.yaml", BAD), file("worse.yaml", &BAD.replace("1st", "2nd")));
    let output = execute(&["lint", &bad, &good, &worse]);
    assert_eq!(output.code, Some(1));
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with(&bad) && lines[1].starts_with(&worse), "{lines:?}");
    assert!(output.stderr.contains("3 objects checked, 2 errors"), "{}", output.stderr);
    assert_eq!(execute(&["lint", &good, "-"]).code, Some(0));
}

#[test]
fn lists_and_json_are_accepted() {
    let indented = |text: &str| text.trim_end().replace('\n', "\n  ");
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}\n- {}\n", indented(GOOD), indented(BAD));
    let found = findings(&list);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("-: document 1 (KeyPair bad): InvalidKeyPairName.Malformed: "), "{found:?}");

    let json = r#"{"apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": {"name": "j"}, "spec": {"profile": "UCloud", "keyPairName": "a b"}}"#;
    let found = findings(json);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("-: document 1 (KeyPair j): 230: Params [KeyPairName] not available"), "{found:?}");
}

#[test]
fn every_error_of_an_object_is_reported() {
    let text = BAD.replace(
        "{keyPairName: 1st}",
        "{keyPairName: 1st, description: ' x', clientToken: 中, project: a b, tags: [{key: aliyun, value: 'acs:'}], rotation: {every: 90d}, tpyo: 1}",
    );
    let found = findings(&text).join("\n");
    for code in [
        "InvalidManifest: unknown field spec.tpyo",
        "InvalidKeyPairName.Malformed: ",
        "InvalidKeyPairDescription.Malformed: ",
        "InvalidTagKey.Malformed: ",
        "InvalidTagValue.Malformed: ",
        "InvalidClientToken.Malformed: ",
        "InvalidProject.NotFound: ",
        "InvalidParameter: ",
    ] {
        assert!(found.contains(&format!("(KeyPair bad): {code}")), "{code} not found in\n{found}");
    }
}

/// The rules of the CRD cannot check an annotation.
#[test]
fn a_request_for_a_rotation_must_have_a_valid_value() {
    let manifest = |value: &str| {
        let annotated = format!("{{name: good, annotations: {{keypairs.dev/rotate: {value}}}}}");
        GOOD.replace("{name: good}", &annotated).replace("spec: {}", "spec: {rotation: {}}")
    };
    assert_eq!(findings(&manifest("'2026-01-01T00:00:00+08:00'")), Vec::<String>::new());
    for value in ["''", "a b", &"a".repeat(65)] {
        let found = findings(&manifest(value));
        assert_eq!(found.len(), 1, "{found:?}");
        let expected = "InvalidParameter: The specified parameter Rotation is invalid. spec.rotation: the value of the annotation keypairs.dev/rotate must be";
        assert!(found[0].contains(expected), "{found:?}");
    }
}

#[test]
fn an_invalid_manifest_is_reported() {
    for text in ["kind: [", "kind: \"KeyPair", "{\"kind\": \"KeyPair\""] {
        let found = findings(text);
        assert!(found.len() == 1 && found[0].contains(": InvalidManifest: "), "{text:?}: {found:?}");
    }
    for (spec, about) in [
        ("{generate: {algorithm: DSA}}", "spec.generate.algorithm"),
        ("{tags: x}", "spec.tags"),
        ("{generate: {bits: many}}", "spec.generate.bits"),
        ("5", "spec"),
    ] {
        let found = findings(&BAD.replace("{keyPairName: 1st}", spec));
        assert!(found.len() == 1 && found[0].contains(": InvalidManifest: "), "{spec}: {found:?}");
        assert!(found[0].contains(about), "{spec}: {found:?}");
    }
    let nameless = findings(&GOOD.replace("{name: good}", "{}"));
    assert!(nameless.iter().any(|line| line.contains("metadata.name")), "{nameless:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let output = execute(&["lint", "/no/such/file.yaml"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
    assert!(output.stderr.starts_with("error: cannot read /no/such/file.yaml: "), "{}", output.stderr);
    let bytes = file("bytes.yaml", "");
    fs::write(&bytes, [0xff, 0xfe, 0x00]).unwrap();
    assert_eq!(execute(&["lint", &bytes]).code, Some(1));
}

#[test]
fn every_example_is_valid() {
    let files = fs::read_dir(repository("examples")).unwrap().map(|file| file.unwrap().path());
    let mut examples: Vec<String> =
        files.filter(|path| path.is_file()).map(|path| path.display().to_string()).collect();
    examples.sort();
    assert!(examples.len() >= 7, "{examples:?}");
    let output = execute(&[&["lint"], &examples.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), ""));
    for example in &examples {
        let stderr = execute(&["lint", example]).stderr;
        assert!(!stderr.starts_with("0 KeyPairs"), "{example}: {stderr}");
    }
}

#[test]
fn a_private_key_in_a_manifest_is_not_quoted() {
    for name in ["rsa2048.pkcs8", "ecdsa256.traditional", "ed25519.openssh"] {
        let key = vector(&format!("private/plain/{name}"));
        let block = key.trim_end().replace('\n', "\n    ");
        let flat = key.replace('\n', "\\n");
        for spec in [
            format!("  publicKey: |\n    {block}\n"),
            format!("  publicKey: \"{flat}\"\n"),
            format!("  generate: |\n    {block}\n"),
            format!("  tags: |\n    {block}\n"),
            format!("  profile: \"{flat}\"\n"),
            format!("  publicKey: [\"{flat}\"]\n"),
            format!("  publicKey: \"{flat}\n"),
            format!("  publicKey: |\n    {block}\n {block}\n"),
        ] {
            let text = GOOD.replace("spec: {}\n", &format!("spec:\n{spec}"));
            let output = execute_with(&["lint", "-"], &text);
            assert_eq!(output.code, Some(1), "{name}: {}", output.stdout);
            assert_not_repeated(&key, &output);
        }
    }
}

/// serde would also accept a struct as an array of its fields.
#[test]
fn an_array_is_not_an_object() {
    for (spec, place) in [
        ("[]", "spec: "),
        ("[OpenSSH, web]", "spec: "),
        ("{secret: []}", "spec.secret: "),
        ("{secret: {template: [Opaque]}}", "spec.secret.template: "),
        ("{secret: {keys: [a, b]}}", "spec.secret.keys: "),
        ("{generate: [RSA, 2048]}", "spec.generate: "),
        ("{tags: [[k, v]]}", "spec.tags[0]: "),
    ] {
        let found = findings(&GOOD.replace("{}", spec));
        assert!(found.len() == 1 && found[0].contains(&format!(": InvalidManifest: {place}")), "{spec}: {found:?}");
    }
}

/// The names of files, objects and fields can contain any character. Each finding must be one line without terminal control sequences.
#[test]
fn lint_prints_only_plain_text() {
    let hostile = "a\u{1b}[2J\u{202e}b\u{200b}";
    let object = |spec: &str| {
        format!(
            "{{apiVersion: keypairs.dev/v1alpha1, kind: KeyPair, metadata: {{name: \"x\\n\\e[2J\\u202e\"}}, spec: {spec}}}"
        )
    };
    let documents = [
        object("{\"un\\nknown\\u202e\": 1}"),
        object("{secret: {template: {labels: {\"a\\n\\e[2J\": [1]}}}}"),
        object("{keyPairName: \"1\\n\\u202e\", project: \"\\e[2J\"}"),
        object(&format!("{{\"{}\": 1}}", "k".repeat(1000))),
    ];
    let path = file(&format!("{hostile}\n.yaml"), &documents.join("\n---\n"));
    let output = execute(&["lint", &path]);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(output.code, Some(1));
    assert!(lines.len() >= 5 && lines.iter().all(|line| line.starts_with(&path[..20])), "{lines:?}");
    assert!(lines.iter().all(|line| line.len() < 1000), "{}", output.stdout.len());
    let missing = execute(&["lint", &format!("/no/{hostile}\n.yaml")]);
    let fingerprint = execute(&["fingerprint", &path]);
    assert_eq!((missing.code, fingerprint.code), (Some(1), Some(1)));
    for text in [&output.stdout, &output.stderr, &missing.stderr, &fingerprint.stderr] {
        let plain =
            text.lines().all(|line| line.chars().all(|c| !c.is_control() && c != '\u{202e}' && c != '\u{200b}'));
        assert!(
            plain && text.contains(r"a\u{1b}[2J\u{202e}b\u{200b}\n.yaml") || text.starts_with("4 objects"),
            "{text:?}"
        );
    }
}

#[test]
fn a_private_key_as_a_field_name_is_not_quoted() {
    let key = vector("private/plain/ed25519.openssh");
    let flat = key.replace('\n', "\\n");
    for spec in [
        format!("{{\"{flat}\": 1}}"),
        format!("{{secret: {{template: {{labels: {{\"{flat}\": [1]}}}}}}}}"),
        format!("{{secret: {{template: {{labels: {{\"{flat}\": x}}, annotations: {{\"{flat}\": x}}}}}}}}"),
    ] {
        let output = execute_with(&["lint", "-"], &GOOD.replace("{}", &spec));
        assert_eq!(output.code, Some(1), "{}", output.stdout);
        assert_not_repeated(&key, &output);
    }
}
