//! `keypair-operator lint`: the checks of admission without a cluster.
//!
//! It reports an error exactly where `kubectl create` is refused, with two exceptions: it cannot detect what only the cluster knows
//! (a missing namespace, a name in use), and it accepts a file without objects.

mod documents;
mod kind;
mod metadata;
mod objects;
mod schema;

use std::{
    fmt,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use self::kind::CheckedKind;
use super::{Error, args::LintArgs, read_input};
use crate::{
    api::{AuthorizedKeys, KeyPair, KnownHosts, publication::PublicationResource, translate},
    domain::{
        advice, display,
        key::holds_private_key,
        publication::{self, Mistake, PublicationKind},
        request::{self, Source},
    },
};

/// The code of errors that no cloud has: a document that is not an object of this version.
const INVALID_MANIFEST: &str = "InvalidManifest";
/// The code of a mistake in a publication: the reason that its condition would have.
const INVALID_ENTRY: &str = "InvalidEntry";
/// Replaces the code where a setting is allowed but discouraged.
const WARNING: &str = "warning";

/// An error or a warning.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: String,
    /// The document's place in the file, from 1.
    document: usize,
    /// Kind and name of the object, if it has a name.
    name: Option<String>,
    code: String,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: document {}", self.file, self.document)?;
        if let Some(name) = &self.name {
            write!(f, " ({name})")?;
        }
        write!(f, ": {}: {}", self.code, self.message)
    }
}

/// Checks the files and prints the findings.
pub fn lint(args: &LintArgs) -> Result<ExitCode, Error> {
    let mut findings = Vec::new();
    let mut checked = 0;
    for path in &args.files {
        let text = read_input(path)?;
        checked += check_file(path, &text, &mut findings);
    }
    let (warnings, errors): (Vec<Finding>, Vec<Finding>) =
        findings.into_iter().partition(|finding| finding.code == WARNING);
    let mut output = io::stdout().lock();
    // Names and paths can contain anything: escape line breaks and terminal control sequences.
    for error in &errors {
        writeln!(output, "{}", display::sentence(&error.to_string()))?;
    }
    for warning in &warnings {
        writeln!(io::stderr(), "{}", display::sentence(&warning.to_string()))?;
    }
    writeln!(io::stderr(), "{checked} objects checked, {} errors", errors.len())?;
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks the documents of one file, adds to `findings`, and returns the number of the operator's objects.
fn check_file(path: &Path, text: &str, findings: &mut Vec<Finding>) -> usize {
    let file = path.display().to_string();
    let mut checked = 0;
    // Documents are parsed as untyped values first, because a file can contain objects of other kinds.
    for (index, document) in documents::read(text).into_iter().enumerate() {
        let mut add = |name: Option<&str>, code: String, message: String| {
            let (file, name) = (file.clone(), name.map(str::to_owned));
            findings.push(Finding { file, document: index + 1, name, code, message });
        };
        let mut objects = document.value.map(objects::objects).unwrap_or_default();
        objects.extend(document.error.map(Err));
        // A warning matters only for a document with one of the objects.
        if let Some(warning) = document.warning.filter(|_| !objects.is_empty()) {
            add(None, WARNING.to_owned(), warning);
        }
        for object in objects {
            match object {
                Ok((kind, object)) => {
                    checked += 1;
                    let name = object.pointer("/metadata/name").and_then(Value::as_str);
                    let name = name.map(|name| format!("{kind} {name}"));
                    for (code, message) in check(kind, object) {
                        add(name.as_deref(), code, message);
                    }
                }
                Err(error) => add(None, INVALID_MANIFEST.to_owned(), error),
            }
        }
    }
    checked
}

/// The findings on one object, as code and message.
fn check(kind: CheckedKind, object: Value) -> Vec<(String, String)> {
    let mut findings = Vec::new();
    match kind {
        CheckedKind::KeyPair => {
            if let Some(key_pair) = read(kind, object, &mut findings) {
                check_key_pair(key_pair, &mut findings);
            }
        }
        CheckedKind::Publication(PublicationKind::AuthorizedKeys) => {
            check_publication::<AuthorizedKeys>(read(kind, object, &mut findings), &mut findings);
        }
        CheckedKind::Publication(PublicationKind::KnownHosts) => {
            check_publication::<KnownHosts>(read(kind, object, &mut findings), &mut findings);
        }
    }
    findings
}

fn invalid(message: String) -> (String, String) {
    (INVALID_MANIFEST.to_owned(), message)
}

/// Reads an object as the API server stores it, and checks its metadata. `None`: it does not match the schema.
fn read<T: DeserializeOwned + kube::Resource>(
    kind: CheckedKind,
    mut object: Value,
    findings: &mut Vec<(String, String)>,
) -> Option<T> {
    let schema = kind.schema();
    let unknown_field = |path: &str| {
        invalid(format!("unknown field {}: check its spelling and its parent field", printable_path(path)))
    };
    schema::apply_defaults(&mut object, schema);
    if let Some(fields) = object.as_object_mut() {
        // The Rust type has these as constants, not as fields.
        fields.remove("apiVersion");
        fields.remove("kind");
        // The API server drops the status of a manifest, but rejects unknown fields in it.
        let status = fields.remove("status").zip(schema.properties.as_ref().and_then(|fields| fields.get("status")));
        if let Some((status, schema)) = status {
            let mut unknown = Vec::new();
            schema::unknown_fields(&status, schema, "status", &mut unknown);
            findings.extend(unknown.iter().map(|path| unknown_field(path)));
        }
        match fields.get_mut("metadata") {
            Some(Value::Object(metadata)) => metadata::apply_defaults(metadata),
            Some(Value::Null) | None => drop(fields.insert("metadata".to_owned(), Value::Object(Map::new()))),
            Some(_) => {}
        }
    }
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let object = serde_path_to_error::Deserializer::new(object, &mut track);
    let parsed: Result<T, _> = serde_ignored::deserialize(object, |path| unknown.push(path.to_string()));
    findings.extend(unknown.iter().map(|path| unknown_field(path)));
    match parsed {
        Ok(object) => {
            findings.extend(metadata::errors(object.meta()).into_iter().map(invalid));
            Some(object)
        }
        Err(error) => {
            let path = printable_path(&track.path().to_string());
            findings.push(invalid(format!("{path}: {}", without_values(&error.to_string()))));
            None
        }
    }
}

fn check_key_pair(mut key_pair: KeyPair, findings: &mut Vec<(String, String)>) {
    translate::assume_name(&mut key_pair.metadata);
    let parameters = translate::parameters(&key_pair);
    match request::check(&parameters) {
        Ok(Source::Import(key)) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            findings.extend(advice::on_key(&key, now).into_iter().map(|advice| (WARNING.to_owned(), advice)));
        }
        Ok(Source::Generate(_)) => {}
        Err(refusals) => {
            let profile = parameters.profile;
            findings.extend(refusals.iter().map(|refusal| (profile.error(refusal).code, profile.explain(refusal))));
        }
    }
}

fn check_publication<T: PublicationResource>(object: Option<T>, findings: &mut Vec<(String, String)>) {
    let Some(mut object) = object else { return };
    translate::assume_name(object.meta_mut());
    let mistakes = publication::check(&object.parameters()).mistakes;
    let finding = |mistake: &Mistake| (INVALID_ENTRY.to_owned(), format!("spec.{}: {}", mistake.field, mistake.detail));
    findings.extend(mistakes.iter().map(finding));
}

/// The path of a field, shortened for output. Its last segments come from the file and can be anything, even a private key that was
/// pasted in the place of a field name.
fn printable_path(path: &str) -> String {
    const MAX_CHARS: usize = 200;
    let segments = if holds_private_key(path) { path.split('.').next().unwrap_or_default() } else { path };
    match segments.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", segments.get(..end).unwrap_or_default()),
        None => segments.to_owned(),
    }
}

/// What the deserializer expected, without the value that it quotes, which can be a private key.
fn without_values(message: &str) -> &str {
    if message.starts_with("missing field ") {
        return message;
    }
    message.rfind("expected ").and_then(|start| message.get(start..)).unwrap_or("not a value for this field")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check_file(Path::new("test.yaml"), text, &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    const HEADER: &str = "apiVersion: keypairs.dev/v1alpha1\nkind: KeyPair\nmetadata: {name: web}\n";

    #[test]
    fn a_minimal_manifest_is_valid() {
        assert_eq!(findings(&format!("{HEADER}spec: {{}}\n")), Vec::<String>::new());
    }

    #[test]
    fn an_error_names_file_document_and_code() {
        let text = format!("apiVersion: v1\nkind: ConfigMap\n---\n{HEADER}spec: {{keyPairName: 1st}}\n");
        let findings = findings(&text);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].starts_with("test.yaml: document 2 (KeyPair web): InvalidKeyPairName.Malformed: Specified Key"),
            "{findings:?}"
        );
    }

    #[test]
    fn every_error_of_an_object_is_found() {
        let text = format!(
            "{HEADER}spec: {{profile: Volcengine, keyPairName: a..b, description: ' x', typo: 1, clientToken: 中}}\n"
        );
        let findings = findings(&text);
        for part in ["unknown field spec.typo", "InvalidKeyPairName", "InvalidKeyPairDescription", "InvalidClientToken"]
        {
            assert!(findings.iter().any(|finding| finding.contains(part)), "{part}: {findings:?}");
        }
    }

    #[test]
    fn errors_quote_no_values() {
        let secret = "-----BEGIN PRIVATE KEY----- c2VjcmV0";
        for text in [
            format!("{HEADER}spec: \"{secret}\"\n"),
            format!("{HEADER}spec: {{publicKey: \"{secret}\"}}\n"),
            format!("{HEADER}spec: {{generate: \"{secret}\"}}\n"),
            format!("{HEADER}spec: {{profile: \"{secret}\"}}\n"),
            format!("{HEADER}spec: {{tags: \"{secret}\"}}\n"),
            format!("{HEADER}spec: {{publicKey: \"{secret}\n"),
        ] {
            let findings = findings(&text);
            assert_eq!(findings.len(), 1, "{text}: {findings:?}");
            assert!(!findings[0].contains("c2VjcmV0"), "{findings:?}");
            assert!(!findings[0].contains("BEGIN"), "{findings:?}");
        }
    }

    #[test]
    fn publications_are_checked_with_their_own_rules() {
        let header = |kind: &str| format!("apiVersion: keypairs.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: web}}\n");
        let login = header("AuthorizedKeys");
        let hosts = header("KnownHosts");
        for valid in [
            format!("{login}spec: {{}}\n"),
            format!("{login}spec: {{entries: [{{keyPair: a, selector: }}], target: , layout: EntryPerKey}}\n"),
            format!("{hosts}spec: {{entries: [{{hosts: [a], selector: {{}}, marker: Revoked}}], hashHosts: true}}\n"),
        ] {
            assert_eq!(findings(&valid), Vec::<String>::new(), "{valid}");
        }
        for (text, expected) in [
            (format!("{login}spec: {{entries: [{{}}]}}\n"), "(AuthorizedKeys web): InvalidEntry: spec.entries[0]"),
            (
                format!("{login}spec: {{entries: [{{keyPair: a, options: {{from: [1.2.3.4/8]}}}}]}}\n"),
                "InvalidEntry: spec.entries[0].options.from[0]: must be a CIDR block",
            ),
            (
                format!("{hosts}spec: {{entries: [{{hosts: [a], keyPair: a, options: {{}}}}]}}\n"),
                "(KnownHosts web): InvalidManifest: unknown field spec.entries.0.options",
            ),
            (format!("{hosts}spec: {{layout: EntryPerKey}}\n"), "InvalidManifest: spec.layout"),
            (format!("{hosts}spec: {{target: {{configMap: {{}}, secret: {{}}}}}}\n"), "InvalidEntry: spec.target: "),
            (format!("{hosts}spec: []\n"), "InvalidManifest: spec: expected"),
            (format!("{login}status: {{foo: 1}}\nspec: {{}}\n"), "unknown field status.foo"),
        ] {
            let found = findings(&text);
            assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
        }
        let list = "apiVersion: keypairs.dev/v1alpha1\nkind: KnownHostsList\nitems: [{metadata: {name: a}, spec: {entries: [{hosts: [a]}]}}]\n";
        assert!(findings(list)[0].contains("(KnownHosts a): InvalidEntry: spec.entries[0]"), "{:?}", findings(list));
        let mixed = format!(
            "apiVersion: v1\nkind: AuthorizedKeysList\nitems: []\n---\n{}spec: {{}}\n",
            header("AuthorizedKey")
        );
        let found = findings(&mixed);
        assert!(
            found.len() == 2 && found[1].contains("kind: expected one of KeyPair, AuthorizedKeys, KnownHosts"),
            "{found:?}"
        );
    }

    /// A private key that was pasted into a publication is not repeated.
    #[test]
    fn mistakes_in_publications_quote_no_values() {
        let secret = "-----BEGIN PRIVATE KEY----- c2VjcmV0";
        for spec in [
            format!("{{entries: [{{keyPair: \"{secret}\", hosts: [a]}}]}}"),
            format!("{{entries: [{{publicKeys: [\"{secret}\"], hosts: [a]}}]}}"),
            format!("{{entries: [{{keyPair: a, hosts: [\"{secret}\"]}}]}}"),
            format!("{{target: {{secret: {{name: \"{secret}\"}}}}}}"),
        ] {
            let found = findings(&format!(
                "apiVersion: keypairs.dev/v1alpha1\nkind: KnownHosts\nmetadata: {{name: a}}\nspec: {spec}\n"
            ));
            assert!(found.len() == 1 && !found[0].contains("c2VjcmV0") && !found[0].contains("BEGIN"), "{found:?}");
        }
    }
}
