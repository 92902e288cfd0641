//! AuthorizedKeys and KnownHosts: the CEL rules of their CustomResourceDefinitions.
//!
//! The rules are not evaluated as CEL, but each is known by how it begins.

use serde_json::Value;

use super::{failure::Mistake, object, resource::Resource, schema::Schema};

/// The rules that an object breaks, as mistakes in it.
pub(super) fn mistakes(resource: &Resource, after: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    if let Some(schema) = Schema::of(resource) {
        schema.broken_rules("", after, &|rule, value| holds(rule, value), &mut found);
    }
    found
}

/// Whether a value follows a rule. A rule that is not known holds.
fn holds(rule: &str, value: &Value) -> bool {
    let has = |field: &str| value.get(field).is_some();
    let count = |fields: &[&str]| fields.iter().filter(|field| has(field)).count();
    let is_pattern = |host: &Value| host.as_str().is_some_and(|host| host.contains(['*', '?', '!']));
    let is_positive = |item: &Value| item.as_str().is_some_and(|item| !item.starts_with('!'));
    let items = || value.as_array().map(Vec::as_slice).unwrap_or_default();
    match rule {
        _ if rule.starts_with("has(self.keyPair) !=") => count(&["keyPair", "selector"]) == 1,
        _ if rule.starts_with("[has(self.keyPair)") => count(&["keyPair", "selector", "publicKeys"]) == 1,
        _ if rule.starts_with("!has(self.namespace) || !has(self.publicKeys)") => {
            count(&["namespace", "publicKeys"]) < 2
        }
        _ if rule.starts_with("!(has(self.configMap)") => count(&["configMap", "secret"]) < 2,
        _ if rule.contains(".startsWith('sh.helm.release.") => {
            let names = ["/spec/target/secret/name", "/spec/target/configMap/name", "/metadata/name"];
            let name = names.iter().find_map(|pointer| value.pointer(pointer).and_then(Value::as_str));
            !name.is_some_and(|name| name.starts_with("sh.helm.release."))
        }
        _ if rule.starts_with("size(self) == 0 || self.exists(") => {
            items().is_empty() || items().iter().any(is_positive)
        }
        _ if rule.starts_with("self.exists(host") => items().iter().any(is_positive),
        _ if rule.starts_with("!self.hashHosts") => {
            let hosts = object::list(value, "/entries").iter().flat_map(|entry| object::list(entry, "/hosts"));
            value.get("hashHosts") != Some(&Value::Bool(true)) || !hosts.into_iter().any(is_pattern)
        }
        _ if rule.starts_with("!has(self.principals)") => {
            object::list(value, "/principals").is_empty() || value.get("certAuthority") == Some(&Value::Bool(true))
        }
        _ if rule.starts_with("(self.operator in") => {
            let needs_values = ["In", "NotIn"].contains(&object::text(value, "/operator"));
            needs_values != object::list(value, "/values").is_empty()
        }
        _ => true,
    }
}
