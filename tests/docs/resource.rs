//! The documentation tables about the resources: fields, rules, columns.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use keypair_operator::{
    api::{
        self,
        cel::{self, Check},
    },
    domain::{profile::Profile, publication::PublicationReason},
};
use regex::Regex;

/// The resource of this kind.
pub fn crd(kind: &str) -> CustomResourceDefinition {
    api::crds().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap()
}

fn version(crd: &CustomResourceDefinition) -> CustomResourceDefinitionVersion {
    crd.spec.versions[0].clone()
}

fn field(crd: &CustomResourceDefinition, name: &str) -> JSONSchemaProps {
    version(crd).schema.unwrap().open_api_v3_schema.unwrap().properties.unwrap().remove(name).unwrap()
}

/// The names of the resource.
pub fn names(crd: &CustomResourceDefinition) -> String {
    let spec = crd.spec.clone();
    let version = version(crd);
    let mut table = "| | |\n|---|---|\n".to_owned();
    let mut row = |what: &str, value: &str| writeln!(table, "| {what} | `{value}` |").unwrap();
    row("apiVersion", &format!("{}/{}", spec.group, version.name));
    row("kind", &spec.names.kind);
    row("plural", &spec.names.plural);
    row("short name", &spec.names.short_names.unwrap_or_default().join("`, `"));
    row("scope", &spec.scope);
    assert!(version.subresources.is_some_and(|subresources| subresources.status.is_some()));
    row("subresource", "status");
    table
}

/// The fields of `spec`.
pub fn spec(crd: &CustomResourceDefinition) -> String {
    let mut table = "| field | type | default | bounds | meaning |\n|---|---|---|---|---|\n".to_owned();
    rows(&field(crd, "spec"), "", &mut |path, schema, required| {
        let default =
            schema.default.as_ref().map_or(String::new(), |default| format!("`{}`", default.0).replace('"', ""));
        let bounds = bounds(schema, required);
        writeln!(table, "| `{path}` | {} | {default} | {bounds} | {} |", type_of(schema), sentence(schema)).unwrap();
    });
    table
}

/// The fields of `status`.
pub fn status(crd: &CustomResourceDefinition) -> String {
    let mut table = "| field | type | meaning |\n|---|---|---|\n".to_owned();
    rows(&field(crd, "status"), "", &mut |path, schema, _| {
        writeln!(table, "| `{path}` | {} | {} |", type_of(schema), sentence(schema)).unwrap();
    });
    table
}

/// The columns of `kubectl get`.
pub fn columns(crd: &CustomResourceDefinition) -> String {
    let mut table = "| column | shows | |\n|---|---|---|\n".to_owned();
    for column in version(crd).additional_printer_columns.unwrap() {
        let wide = if column.priority.unwrap_or_default() > 0 { "with `-o wide`" } else { "" };
        let name = column.name.to_uppercase();
        writeln!(table, "| `{name}` | `{}` | {wide} |", column.json_path).unwrap();
    }
    table
}

/// The fields by which a list can be selected.
pub fn selectable(crd: &CustomResourceDefinition) -> String {
    let fields = version(crd).selectable_fields.unwrap();
    let fields: Vec<String> =
        fields.iter().map(|field| format!("`{}`", field.json_path.trim_start_matches('.'))).collect();
    format!("{}\n", fields.join(", "))
}

/// The reasons of the condition `Ready` of a publication, in the order of precedence.
pub fn publication_reasons() -> String {
    let mut table = "| reason of `Ready` | status | `Stalled` | what to do |\n|---|---|---|---|\n".to_owned();
    for reason in PublicationReason::ALL {
        let (status, to_do) = if reason == PublicationReason::Published {
            ("True", "nothing".to_owned())
        } else {
            ("False", format!("[Troubleshooting](troubleshooting.md#{})", reason.as_str().to_lowercase()))
        };
        let stalled = if reason == PublicationReason::InvalidEntry { "True: only an edit helps" } else { "absent" };
        writeln!(table, "| `{reason}` | {status} | {stalled} | {to_do} |").unwrap();
    }
    table
}

/// The checks of the CEL rules, each once: imported and generated key pairs have different rules for the name.
pub fn rules() -> String {
    let mut table = "| field | profiles | reason | rule |\n|---|---|---|---|\n".to_owned();
    let mut seen = Vec::new();
    for Check { field, profiles, reason, words, .. } in cel::checks() {
        let names: Vec<String> = profiles.iter().map(|profile| format!("`{profile}`")).collect();
        let profiles = if profiles.len() == Profile::ALL.len() { "all".to_owned() } else { names.join(", ") };
        let row = format!("| `spec.{field}` | {profiles} | `{reason}` | {} |", words.replace('|', "\\|"));
        if !seen.contains(&row) {
            writeln!(table, "{row}").unwrap();
            seen.push(row);
        }
    }
    table
}

/// Calls `row` for each field, and then for the fields of a nested object or of the items of a list.
fn rows(schema: &JSONSchemaProps, prefix: &str, row: &mut dyn FnMut(&str, &JSONSchemaProps, bool)) {
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{prefix}{name}");
        row(&path, field, schema.required.iter().flatten().any(|required| required == name));
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

/// The limits of the schema that the description does not mention. Where a CEL rule limits a value, the schema is more permissive so
/// that the rule reports the error; such a bound is irrelevant to users. The template size limits the values of the maps.
fn bounds(schema: &JSONSchemaProps, required: bool) -> String {
    let mut bounds = Vec::new();
    if required {
        bounds.push("required".to_owned());
    }
    let limit = Regex::new("([Aa]t most|[0-9] to) [0-9]").unwrap();
    if !limit.is_match(schema.description.as_deref().unwrap_or_default()) {
        bounds.extend(schema.max_length.map(|most| format!("≤ {most} characters")));
        bounds.extend(schema.max_items.map(|most| format!("≤ {most} items")));
    }
    bounds.extend(schema.max_properties.map(|most| format!("≤ {most} entries")));
    bounds.join(", ")
}

fn sentence(schema: &JSONSchemaProps) -> String {
    schema.description.as_deref().unwrap_or_default().replace('\n', " ").replace('|', "\\|")
}
