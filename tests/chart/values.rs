//! The schema of the chart's values and their table in the README are generated from the comments in `values.yaml`.
//!
//! A `# --` comment above a value is its description; a `# @schema` comment adds JSON Schema that the type alone does not imply.
//! `make docs` writes the schema and the table, and these tests fail if either is outdated.

use std::{fmt::Write as _, fs, process::Command};

use clap::CommandFactory as _;
use keypair_operator::app::Args;
use serde_json::{Map, Value, json};

use crate::support::{CHART, HELM, documents};

struct Row {
    /// The path of the value, for example `image.tag`.
    key: String,
    description: String,
    schema: Value,
    default: Value,
}

/// The values in the order of the file.
fn rows() -> Vec<Row> {
    let text = fs::read_to_string(format!("{CHART}/values.yaml")).unwrap();
    let values = documents(&text).remove(0);
    let mut rows: Vec<Row> = Vec::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    let (mut description, mut extra) = (String::new(), json!({}));
    // Lines that are indented deeper than a documented value belong to its default.
    let mut within: Option<usize> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim_start();
        if line.is_empty() || within.is_some_and(|depth| indent > depth) {
            continue;
        }
        within = None;
        if let Some(comment) = line.strip_prefix("# -- ") {
            comment.clone_into(&mut description);
        } else if let Some(schema) = line.strip_prefix("# @schema ") {
            extra = serde_json::from_str(schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
        } else if let Some(comment) = line.strip_prefix("# ") {
            if !description.is_empty() {
                write!(description, " {comment}").unwrap();
            }
        } else {
            let name = line.split(':').next().unwrap().to_owned();
            path.retain(|(depth, _)| *depth < indent);
            path.push((indent, name));
            if description.is_empty() {
                continue;
            }
            let key = path.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(".");
            let default = values.pointer(&format!("/{}", key.replace('.', "/"))).unwrap().clone();
            let mut schema = json!({ "type": type_of(&default), "description": description, "default": default });
            let merged = schema.as_object_mut().unwrap();
            merged.extend(std::mem::take(extra.as_object_mut().unwrap()));
            rows.push(Row { key, description: std::mem::take(&mut description), schema, default });
            within = Some(indent);
        }
    }
    rows
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The schema of all values. It refuses unknown values, because most of them are misspelt.
fn schema() -> Value {
    let mut root = object();
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    for Row { key, schema, .. } in rows() {
        let steps: Vec<&str> = key.split('.').collect();
        let (name, groups) = steps.split_last().unwrap();
        let mut group = &mut root;
        for step in groups {
            group = group["properties"].as_object_mut().unwrap().entry(*step).or_insert_with(object);
        }
        group["properties"][*name] = schema;
    }
    // Helm passes `global` to every chart.
    root["properties"]["global"] = json!({ "type": "object" });
    root
}

fn object() -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": Map::new() })
}

fn table() -> String {
    let mut table = "| Key | Type | Default | Description |\n|---|---|---|---|\n".to_owned();
    for Row { key, description, schema, default } in rows() {
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds[0].as_str().unwrap().to_owned(),
            kind => kind.as_str().unwrap().to_owned(),
        };
        writeln!(table, "| `{key}` | {kind} | `{default}` | {} |", description.replace('|', "\\|")).unwrap();
    }
    table
}

/// Compares a file with its expected content, or writes it.
fn check(path: &str, expected: &str) {
    let path = format!("{CHART}/{path}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    } else {
        assert!(fs::read_to_string(&path).unwrap_or_default() == expected, "{path} is outdated: run `make docs`");
    }
}

#[test]
fn the_schema_matches_the_comments() {
    check("values.schema.json", &format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap()));
}

#[test]
fn the_readme_table_matches_the_comments() {
    const BEGIN: &str = "<!-- generated: values -->\n";
    let readme = fs::read_to_string(format!("{CHART}/README.md")).unwrap();
    let (before, rest) = readme.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    check("README.md", &format!("{before}{BEGIN}{}<!-- end -->{after}", table()));
}

fn leaves(value: &Value, path: &str, described: &[String]) {
    if described.iter().any(|key| key == path) {
        return;
    }
    let group = value.as_object().filter(|group| !group.is_empty());
    let group = group.unwrap_or_else(|| panic!("{path} has no description"));
    for (name, value) in group {
        leaves(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, described);
    }
}

#[test]
fn every_value_is_described() {
    let values = documents(&fs::read_to_string(format!("{CHART}/values.yaml")).unwrap()).remove(0);
    let described: Vec<String> = rows().into_iter().map(|row| row.key).collect();
    leaves(&values, "", &described);
}

/// The flags of `run` whose values the chart sets itself.
const SET_BY_THE_CHART: [&str; 5] =
    ["leader-elect", "metrics-addr", "webhook-addr", "webhook-cert-dir", "webhook-configuration"];

/// The flags of `run` that the chart never passes: they are for an operator outside the cluster, and for tests.
const NOT_IN_THE_CHART: [&str; 2] = ["webhook-cert-lifetime", "webhook-url"];

/// The description of a value names its flag.
#[test]
fn every_flag_of_run_has_a_value() {
    let command = Args::command();
    let run = command.find_subcommand("run").unwrap();
    let deployment = fs::read_to_string(format!("{CHART}/templates/deployment.yaml")).unwrap();
    let rows = rows();
    for flag in run.get_arguments().filter_map(clap::Arg::get_long).filter(|flag| *flag != "help") {
        let in_description = format!("(`--{flag}`)");
        let has_value = rows.iter().any(|row| row.description.contains(&in_description));
        let is_passed = deployment.split_whitespace().any(|word| {
            let argument = word.trim_start_matches('"').split('=').next().unwrap_or_default();
            argument.strip_prefix("--") == Some(flag)
        });
        let expected =
            (!SET_BY_THE_CHART.contains(&flag) && !NOT_IN_THE_CHART.contains(&flag), !NOT_IN_THE_CHART.contains(&flag));
        assert_eq!((has_value, is_passed), expected, "--{flag}: (has a value, is passed by the deployment)");
    }
}

#[test]
fn every_value_is_used_by_a_template() {
    let templates = fs::read_dir(format!("{CHART}/templates")).unwrap();
    let texts: Vec<String> = templates.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    for Row { key, .. } in rows() {
        let reference = format!(".Values.{key}");
        let is_used = |text: &String| {
            let mut after = text.split(&reference).skip(1);
            after.any(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
        };
        assert!(texts.iter().any(is_used), "no template uses {reference}");
    }
}

#[test]
fn an_image_is_required() {
    let output = Command::new(&*HELM).args(["template", "test", CHART]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("image.repository is not set"), "{stderr}");
}

#[test]
fn unknown_and_mistyped_values_are_refused() {
    for (flag, words) in [
        ("replica=3", "replica"),
        ("webhook.failPolicy=Fail", "failPolicy"),
        ("webhook.failurePolicy=Sometimes", "failurePolicy"),
        ("quota=-1", "quota"),
        ("replicas=two", "replicas"),
        ("image.digest=latest", "digest"),
        ("leaseDuration=1", "leaseDuration"),
        ("rsaGenerator=quick", "rsaGenerator"),
    ] {
        let output = Command::new(&*HELM).args(["template", "test", CHART, "--set", flag]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(words), "{flag}: {stderr}");
    }
}
