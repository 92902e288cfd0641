//! The tables of the documentation, and what the chart needs of the rules, are generated from the tables of the code.
//! `make docs` writes them.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::{fmt::Write as _, fs, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};
use keypair_operator::{
    api,
    domain::{
        key::{BARE_TOKENS, KeyType},
        profile::{FingerprintForm, Profile},
        reason::{Parameter, Reason, Refusal},
        text_rule::TextRule,
    },
};

#[test]
fn tables_are_those_of_the_code() {
    check("README.md", &[("spec", spec_table()), ("status", status_table()), ("errors", error_table())]);
    check("docs/mapping.md", &[("profiles", profile_table()), ("errors", error_table())]);
}

#[test]
fn the_condition_of_the_chart_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/keypair-operator/files/breaks-a-rule.cel");
    let expected = format!("{}\n", api::cel::refused_condition());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    } else {
        assert!(fs::read_to_string(&path).unwrap() == expected, "{} is outdated: run `make docs`", path.display());
    }
}

/// Compares each block `<!-- generated: NAME -->` … `<!-- end -->` of a file with its table, or writes it.
fn check(file: &str, blocks: &[(&str, String)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(&path).unwrap();
    let mut expected = text.clone();
    for (name, table) in blocks {
        let begin = format!("<!-- generated: {name} -->\n");
        let start = expected.find(&begin).unwrap_or_else(|| panic!("{file} has no block {name}")) + begin.len();
        let end = start + expected[start..].find("<!-- end -->").unwrap();
        expected.replace_range(start..end, table);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    } else {
        assert!(text == expected, "the tables of {file} are not those of the code: run `make docs`");
    }
}

fn schema(field: &str) -> JSONSchemaProps {
    let version = api::crd().spec.versions.remove(0);
    let mut root = version.schema.unwrap().open_api_v3_schema.unwrap();
    root.properties.as_mut().unwrap().remove(field).unwrap()
}

fn spec_table() -> String {
    let mut table = "| field | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    rows(&schema("spec"), "", &mut |path, schema| {
        let default =
            schema.default.as_ref().map_or(String::new(), |default| format!("`{}`", default.0).replace('"', ""));
        writeln!(table, "| `{path}` | {} | {default} | {} |", type_of(schema), sentence(schema)).unwrap();
    });
    table
}

fn status_table() -> String {
    let mut table = "| field | type | meaning |\n|---|---|---|\n".to_owned();
    rows(&schema("status"), "", &mut |path, schema| {
        if !path.starts_with("conditions[]") {
            writeln!(table, "| `{path}` | {} | {} |", type_of(schema), sentence(schema)).unwrap();
        }
    });
    table
}

/// Calls `row` for each field, those of an object or of a list's items after it.
fn rows(schema: &JSONSchemaProps, prefix: &str, row: &mut dyn FnMut(&str, &JSONSchemaProps)) {
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{prefix}{name}");
        row(&path, field);
        rows(field, &format!("{path}."), row);
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &field.items {
            rows(items, &format!("{path}[]."), row);
        }
    }
}

fn type_of(schema: &JSONSchemaProps) -> String {
    match &schema.enum_ {
        Some(values) => values
            .iter()
            .filter(|value| !value.0.is_null())
            .map(|value| format!("`{}`", value.0.as_str().unwrap()))
            .collect::<Vec<_>>()
            .join(", "),
        None if schema.additional_properties.is_some() => "map of strings".to_owned(),
        None if schema.type_.as_deref() == Some("array") => "list".to_owned(),
        None => schema.type_.clone().unwrap(),
    }
}

fn sentence(schema: &JSONSchemaProps) -> String {
    schema.description.as_deref().unwrap_or_default().replace('\n', " ").replace('|', "\\|")
}

/// The parameters that a reason can be about; the first stands for the reason where the answer is the same.
fn parameters(reason: Reason) -> &'static [Parameter] {
    match reason {
        Reason::MissingParameter => &[Parameter::KeyPairName, Parameter::PublicKey],
        Reason::InvalidKeyPairName | Reason::KeyPairNameConflict => &[Parameter::KeyPairName],
        Reason::InvalidPublicKey => &[Parameter::PublicKey],
        Reason::InvalidDescription => &[Parameter::Description],
        Reason::InvalidTag => &[Parameter::TagKey, Parameter::TagValue],
        Reason::InvalidClientToken | Reason::IdempotentParameterMismatch | Reason::IdempotentProcessing => {
            &[Parameter::ClientToken]
        }
        Reason::QuotaExceeded => &[Parameter::Quota],
        Reason::RegionNotFound => &[Parameter::Region],
        Reason::ProjectNotFound => &[Parameter::Project],
        Reason::InvalidSecret
        | Reason::SecretConflict
        | Reason::PrivateKeyLost
        | Reason::PrivateKeyMismatch
        | Reason::InternalError => &[Parameter::Secret],
    }
}

fn error_table() -> String {
    let mut table = "| reason | Alibaba | Volcengine, OpenSSH | UCloud |\n|---|---|---|---|\n".to_owned();
    for reason in Reason::ALL {
        for parameter in parameters(reason) {
            let refusal = Refusal::new(reason, *parameter, "*what to do*");
            let cell = |profile: Profile| {
                let error = profile.error(&refusal);
                format!("`{}` {}<br>{}", error.code, error.http_status, error.message)
            };
            assert_eq!(cell(Profile::Volcengine), cell(Profile::OpenSSH));
            writeln!(
                table,
                "| `{reason}` | {} | {} | {} |",
                cell(Profile::Alibaba),
                cell(Profile::Volcengine),
                cell(Profile::UCloud)
            )
            .unwrap();
        }
    }
    table
}

fn profile_table() -> String {
    let mut table =
        "| profile | name of an import | name of a generated pair | key types on import | generates | fingerprint |\n\
                     |---|---|---|---|---|---|\n"
            .to_owned();
    for profile in Profile::ALL {
        let rules = profile.rules();
        let words = |rule: &TextRule| rule.words.to_owned();
        let bare = BARE_TOKENS.iter().map(|(token, _)| *token);
        let types = if rules.import_types.len() == KeyType::ALL.len() {
            "all that OpenSSH knows".to_owned()
        } else {
            let names = rules.import_types.iter().copied().map(KeyType::name);
            names.chain(bare).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        let generates = rules.generates.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", ");
        let fingerprint = match rules.fingerprint {
            FingerprintForm::Md5Colons => "MD5, with colons",
            FingerprintForm::Md5Plain => "MD5, without colons",
            FingerprintForm::Md5ProjectIdBody => "MD5 of project, key pair ID, `\\|` and body, with colons",
            FingerprintForm::Sha256 => "`SHA256:` and base64",
        };
        let generate_name = if std::ptr::eq(rules.import_name, rules.generate_name) {
            "the same".to_owned()
        } else {
            words(rules.generate_name)
        };
        writeln!(
            table,
            "| `{profile}` | {} | {generate_name} | {types} | {generates} | {fingerprint} |",
            words(rules.import_name)
        )
        .unwrap();
    }
    table
}
