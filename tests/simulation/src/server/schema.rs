//! The structural schemas of the CustomResourceDefinitions: pruning, defaults and validation.

use std::{collections::BTreeMap, sync::LazyLock};

use keypair_operator::api::crds;
use regex::Regex;
use serde_json::{Value, json};

use super::{
    failure::Mistake,
    object::{list, text},
    resource::Resource,
};

/// A node of the schema.
#[derive(Debug, Default)]
pub(super) struct Schema {
    kind: String,
    properties: BTreeMap<String, Schema>,
    items: Option<Box<Schema>>,
    additional: Option<Box<Schema>>,
    default: Option<Value>,
    nullable: bool,
    required: Vec<String>,
    choices: Vec<Value>,
    max_length: Option<usize>,
    min_length: Option<usize>,
    max_items: Option<usize>,
    min_items: Option<usize>,
    max_properties: Option<usize>,
    minimum: Option<f64>,
    is_32_bit: bool,
    pattern: Option<Regex>,
    map_keys: Vec<String>,
    is_date: bool,
    rules: Vec<Rule>,
}

/// A CEL rule.
#[derive(Debug)]
struct Rule {
    expression: String,
    message: String,
    /// The field that it is about, below that where it is.
    field: String,
}

/// The schemas of the custom resources by plural, without `metadata`.
static SCHEMAS: LazyLock<BTreeMap<String, Schema>> = LazyLock::new(|| {
    let definitions = crds().into_iter().map(|crd| serde_json::to_value(crd).unwrap_or_default());
    definitions.map(|definition| (text(&definition, "/spec/names/plural").to_owned(), of(&definition))).collect()
});

fn of(definition: &Value) -> Schema {
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().unwrap_or_default();
    let mut schema = Schema::read(&schema);
    for field in ["apiVersion", "kind"] {
        schema
            .properties
            .entry(field.to_owned())
            .or_insert_with(|| Schema { kind: "string".to_owned(), ..Schema::default() });
    }
    schema.properties.remove("metadata");
    schema
}

impl Schema {
    /// The schema of a custom resource; `None` for a built-in one.
    pub fn of(resource: &Resource) -> Option<&'static Self> {
        SCHEMAS.get(resource.plural)
    }

    fn read(json: &Value) -> Self {
        let boxed =
            |field: &str| json.get(field).filter(|part| part.is_object()).map(|part| Box::new(Self::read(part)));
        let size = |field: &str| json.get(field).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
        let text = |field: &str| json.get(field).and_then(Value::as_str).unwrap_or_default();
        let texts = |field: &str| {
            let list = json.get(field).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        let properties = json.get("properties").and_then(Value::as_object).into_iter().flatten();
        Self {
            kind: text("type").to_owned(),
            properties: properties.map(|(name, part)| (name.clone(), Self::read(part))).collect(),
            items: boxed("items"),
            additional: boxed("additionalProperties"),
            default: json.get("default").cloned(),
            nullable: json.get("nullable") == Some(&Value::Bool(true)),
            required: texts("required"),
            choices: json.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            max_length: size("maxLength"),
            min_length: size("minLength"),
            max_items: size("maxItems"),
            min_items: size("minItems"),
            max_properties: size("maxProperties"),
            minimum: json.get("minimum").and_then(Value::as_f64),
            is_32_bit: text("format") == "int32",
            pattern: json.get("pattern").and_then(Value::as_str).and_then(|pattern| Regex::new(pattern).ok()),
            map_keys: texts("x-kubernetes-list-map-keys"),
            is_date: text("format") == "date-time",
            rules: list(json, "/x-kubernetes-validations").iter().map(Rule::read).collect(),
        }
    }

    /// Removes fields that the schema does not know.
    pub fn prune(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                if let Some(additional) = &self.additional {
                    fields.values_mut().for_each(|value| additional.prune(value));
                    return;
                }
                if self.kind == "object" {
                    fields.retain(|name, _| name == "metadata" || self.properties.contains_key(name));
                }
                for (name, value) in fields.iter_mut() {
                    if let Some(property) = self.properties.get(name) {
                        property.prune(value);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    for item in items {
                        schema.prune(item);
                    }
                }
            }
            _ => {}
        }
    }

    /// Fills in defaults, and removes nulls where they are not allowed.
    pub fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, value| {
                    !value.is_null() || self.properties.get(name).is_none_or(|property| property.nullable)
                });
                for (name, property) in &self.properties {
                    let Some(default) = &property.default else { continue };
                    if !fields.contains_key(name) {
                        fields.insert(name.clone(), default.clone());
                    }
                }
                for (name, value) in fields.iter_mut() {
                    if let Some(part) = self.properties.get(name).or(self.additional.as_deref()) {
                        part.fill(value);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    for item in items {
                        schema.fill(item);
                    }
                }
            }
            _ => {}
        }
    }

    /// Collects the validation errors of a value.
    pub fn mistakes(&self, path: &str, value: &Value, found: &mut Vec<Mistake>) {
        if value.is_null() && self.nullable {
            return;
        }
        if !self.kind.is_empty() && !has_type(value, &self.kind) {
            let is = type_of(value);
            let words = format!("Invalid value: \"{is}\": {path} in body must be of type {}: \"{is}\"", self.kind);
            found.push(Mistake { reason: "FieldValueTypeInvalid", field: path.to_owned(), words });
        }
        if !self.choices.is_empty() && !self.choices.contains(value) {
            let choices: Vec<String> = self.choices.iter().map(ToString::to_string).collect();
            let words = format!("Unsupported value: {value}: supported values: {}", choices.join(", "));
            found.push(Mistake { reason: "FieldValueNotSupported", field: path.to_owned(), words });
        }
        match value {
            Value::String(text) => self.text_mistakes(path, text, found),
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or_default();
                if let Some(minimum) = self.minimum.filter(|minimum| number < *minimum) {
                    let words = format!("{path} in body should be greater than or equal to {minimum}");
                    found.push(Mistake::invalid(path, value, &words));
                }
                if self.is_32_bit && (number < f64::from(i32::MIN) || number > f64::from(i32::MAX)) {
                    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
                    let words = format!("Checked value must be of type integer with format int32 in {name}");
                    found.push(Mistake::invalid(parent, &json!(""), &words));
                }
            }
            Value::Array(items) => self.list_mistakes(path, items, found),
            Value::Object(fields) => {
                let missing = self.required.iter().filter(|name| !fields.contains_key(*name));
                found.extend(missing.map(|name| Mistake::required(below(path, name), "")));
                if let Some(most) = self.max_properties.filter(|most| fields.len() > *most) {
                    let words = format!("Too many: {}: must have at most {most} items", fields.len());
                    found.push(Mistake { reason: "FieldValueTooMany", field: path.to_owned(), words });
                }
                for (name, value) in fields {
                    if let Some(part) = self.properties.get(name) {
                        part.mistakes(&below(path, name), value, found);
                    } else if let Some(part) = &self.additional {
                        part.mistakes(&below(path, name), value, found);
                    }
                }
            }
            _ => {}
        }
    }

    /// Collects the CEL rules that a value breaks. `holds` says whether it follows a rule.
    pub fn broken_rules(
        &self,
        path: &str,
        value: &Value,
        holds: &dyn Fn(&str, &Value) -> bool,
        found: &mut Vec<Mistake>,
    ) {
        for rule in self.rules.iter().filter(|rule| !holds(&rule.expression, value)) {
            let field = format!("{path}{}", rule.field).trim_start_matches('.').to_owned();
            let words = format!("Invalid value: {}", rule.message);
            found.push(Mistake { reason: "FieldValueInvalid", field, words });
        }
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if let Some(part) = self.properties.get(name).or(self.additional.as_deref()) {
                        part.broken_rules(&below(path, name), value, holds, found);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let Some(schema) = &self.items {
                        schema.broken_rules(&format!("{path}[{index}]"), item, holds, found);
                    }
                }
            }
            _ => {}
        }
    }

    fn text_mistakes(&self, path: &str, text: &str, found: &mut Vec<Mistake>) {
        if let Some(most) = self.max_length.filter(|most| text.chars().count() > *most) {
            let words = format!("Too long: may not be more than {most} bytes");
            found.push(Mistake { reason: "FieldValueTooLong", field: path.to_owned(), words });
        }
        if let Some(least) = self.min_length.filter(|least| text.chars().count() < *least) {
            let words = format!("{path} in body should be at least {least} chars long");
            found.push(Mistake::invalid(path, &json!(text), &words));
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            let words = format!("{path} in body should match '{pattern}'");
            found.push(Mistake::invalid(path, &json!(text), &words));
        }
        if self.is_date && text.parse::<k8s_openapi::jiff::Timestamp>().is_err() {
            let words = format!("Invalid value: \"{text}\": {path} in body must be of type date-time: \"{text}\"");
            found.push(Mistake { reason: "FieldValueTypeInvalid", field: path.to_owned(), words });
        }
    }

    fn list_mistakes(&self, path: &str, items: &[Value], found: &mut Vec<Mistake>) {
        if let Some(least) = self.min_items.filter(|least| items.len() < *least) {
            let words = format!("{path} in body should have at least {least} items");
            found.push(Mistake::invalid(path, &json!(items.len()), &words));
        }
        if let Some(most) = self.max_items.filter(|most| items.len() > *most) {
            let words = format!("Too many: {}: must have at most {most} items", items.len());
            found.push(Mistake { reason: "FieldValueTooMany", field: path.to_owned(), words });
        }
        let mut seen: Vec<Value> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if !self.map_keys.is_empty() {
                let keys: serde_json::Map<String, Value> =
                    self.map_keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone()))).collect();
                let keys = Value::Object(keys);
                if seen.contains(&keys) {
                    let words = format!("Duplicate value: {keys}");
                    found.push(Mistake { reason: "FieldValueDuplicate", field: path.clone(), words });
                }
                seen.push(keys);
            }
            if let Some(schema) = &self.items {
                schema.mistakes(&path, item, found);
            }
        }
    }
}

impl Rule {
    fn read(json: &Value) -> Self {
        let [expression, message, field] =
            ["/rule", "/message", "/fieldPath"].map(|pointer| text(json, pointer).to_owned());
        Self { expression, message, field }
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn has_type(value: &Value, wanted: &str) -> bool {
    type_of(value) == wanted || wanted == "number" && value.is_number()
}
