//! Registers the webhook with the API server: the webhook configurations, with its address and CA bundle.
//!
//! There are two configurations for the same webhook. The validating one is for all kinds: the API server calls it with the object as it will be
//! stored, but only after the rules of the CRD, whose violations it answers with 422. So a mutating configuration, which changes
//! nothing, first sends KeyPairs that violate a rule to the webhook, which answers with the HTTP status of the cloud.
//!
//! In a cluster, the chart creates the configurations and the operator only fills in the CA bundle. With `--webhook-url`, the
//! operator creates them.

use std::{borrow::Cow, collections::BTreeSet, net::IpAddr};

use http::Uri;
use k8s_openapi::ByteString;
use kube::{
    Api, Client, Resource as _, ResourceExt,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use crate::{
    api::{AuthorizedKeys, KeyPair, KnownHosts, cel},
    webhook::{Error, Settings, scopes::Scopes},
};

/// The kinds of the configurations, each with the name of its webhook.
const KINDS: [(&str, &str); 2] = [(MUTATING, "answer.keypairs.dev"), (VALIDATING, "validate.keypairs.dev")];
const MUTATING: &str = "MutatingWebhookConfiguration";
const VALIDATING: &str = "ValidatingWebhookConfiguration";
/// How long the API server waits for an answer, in seconds. The webhook answers within milliseconds.
const TIMEOUT_SECONDS: u8 = 3;

/// The webhook configurations of one name.
pub struct Registration {
    configurations: Vec<Configuration>,
    name: String,
    url: Option<Uri>,
    scopes: Scopes,
}

struct Configuration {
    api: Api<DynamicObject>,
    kind: ApiResource,
    webhook: &'static str,
}

impl Registration {
    pub fn new(client: &Client, settings: &Settings) -> Self {
        let configurations = KINDS.map(|(kind, webhook)| {
            let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind));
            Configuration { api: Api::all_with(client.clone(), &kind), kind, webhook }
        });
        Self {
            configurations: configurations.into(),
            name: settings.configuration.clone(),
            url: settings.url.clone(),
            scopes: settings.scopes.clone(),
        }
    }

    /// The name of the configurations.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the operator creates the configurations itself.
    pub fn is_self_managed(&self) -> bool {
        self.url.is_some()
    }

    /// The APIs of the configurations, each with its own client, for watches.
    pub fn apis(&self, client: impl Fn() -> Client) -> impl Iterator<Item = Api<DynamicObject>> {
        self.configurations.iter().map(move |configuration| Api::all_with(client(), &configuration.kind))
    }

    /// The host names and addresses at which the API server calls the webhook.
    ///
    /// # Errors
    ///
    /// If there are no configurations, or they cannot be read.
    pub async fn hosts(&self) -> Result<BTreeSet<String>, Error> {
        if let Some(url) = &self.url {
            return Ok(host(url).into_iter().collect());
        }
        let mut hosts = BTreeSet::new();
        for configuration in &self.configurations {
            let found = configuration.get(&self.name).await?;
            for webhook in found.iter().flat_map(webhooks) {
                hosts.extend(webhook_host(webhook));
            }
        }
        if hosts.is_empty() { Err(Error::NotRegistered(self.description())) } else { Ok(hosts) }
    }

    /// Writes the CA bundle, in PEM, to the configurations. With `--webhook-url`, writes all of them. Returns whether anything
    /// changed.
    ///
    /// # Errors
    ///
    /// If a request fails, for example with a conflict.
    pub async fn apply_ca_bundle(&self, bundle: &str) -> Result<bool, Error> {
        let bundle = json!(ByteString(bundle.as_bytes().to_vec()));
        let mut has_changed = false;
        for configuration in &self.configurations {
            let found = configuration.get(&self.name).await?;
            let Some(before) = found else {
                if let Some(url) = &self.url {
                    has_changed = true;
                    configuration.create(&self.name, self.desired(url, configuration, &bundle)).await?;
                    tracing::info!(kind = configuration.kind.kind, name = self.name, %url, "registered the webhook");
                }
                // The values of the chart can leave it out.
                continue;
            };
            let mut after = before.clone();
            if let Some(url) = &self.url {
                let desired = self.desired(url, configuration, &bundle);
                if !is_subset(&desired, &after.data) {
                    after.data = desired;
                }
            } else if let Some(webhooks) = after.data.get_mut("webhooks").and_then(Value::as_array_mut) {
                for client in webhooks.iter_mut().filter_map(|webhook| webhook.get_mut("clientConfig")?.as_object_mut())
                {
                    client.insert("caBundle".to_owned(), bundle.clone());
                }
            }
            if after.data != before.data {
                has_changed = true;
                configuration.replace(&self.name, &after).await?;
                tracing::info!(
                    kind = configuration.kind.kind,
                    name = self.name,
                    "updated the CA bundle of the webhook"
                );
            }
        }
        Ok(has_changed)
    }

    fn description(&self) -> String {
        format!("{} {:?}", KINDS.map(|(kind, _)| kind).join(" or "), self.name)
    }

    /// The content of a configuration that the operator creates.
    fn desired(&self, url: &Uri, configuration: &Configuration, bundle: &Value) -> Value {
        let selector = match self.scopes.namespaces() {
            None => json!({}),
            Some(namespaces) => json!({ "matchExpressions": [
                { "key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces },
            ] }),
        };
        let webhook = json!({
            "name": configuration.webhook,
            "matchConditions": configuration.conditions(),
            "clientConfig": { "url": url.to_string(), "caBundle": bundle },
            "rules": [{
                "apiGroups": [KeyPair::group(&())],
                "apiVersions": [KeyPair::version(&())],
                // Neither the status nor deletions need a review.
                "resources": configuration.resources(),
                "operations": ["CREATE", "UPDATE"],
                "scope": "Namespaced",
            }],
            // The controller checks every object again, so a missing answer must not block writes.
            "failurePolicy": "Ignore",
            "matchPolicy": "Equivalent",
            "sideEffects": "None",
            "timeoutSeconds": TIMEOUT_SECONDS,
            "admissionReviewVersions": ["v1"],
            "namespaceSelector": selector,
        });
        json!({ "webhooks": [webhook] })
    }
}

impl Configuration {
    /// The plurals of the kinds that are reviewed.
    fn resources(&self) -> Vec<Cow<'static, str>> {
        let key_pairs = KeyPair::plural(&());
        if self.kind.kind == MUTATING {
            vec![key_pairs]
        } else {
            vec![key_pairs, AuthorizedKeys::plural(&()), KnownHosts::plural(&())]
        }
    }

    /// The match conditions of the webhook.
    fn conditions(&self) -> Vec<Value> {
        if self.kind.kind == MUTATING {
            vec![json!({ "name": "breaks-a-rule", "expression": cel::refused_condition() })]
        } else {
            Vec::new()
        }
    }

    async fn get(&self, name: &str) -> Result<Option<DynamicObject>, Error> {
        self.api.get_opt(name).await.map_err(Error::during("read the webhook's configuration"))
    }

    async fn create(&self, name: &str, data: Value) -> Result<(), Error> {
        let object = DynamicObject::new(name, &self.kind).data(data);
        let created = self.api.create(&PostParams::default(), &object).await;
        created.map(drop).map_err(Error::during("register the webhook"))
    }

    /// Replaces the object, guarded by its resource version.
    async fn replace(&self, name: &str, object: &DynamicObject) -> Result<(), Error> {
        debug_assert!(object.resource_version().is_some());
        let replaced = self.api.replace(name, &PostParams::default(), object).await;
        replaced.map(drop).map_err(Error::during("update the webhook's configuration"))
    }
}

fn webhooks(configuration: &DynamicObject) -> &[Value] {
    configuration.data.get("webhooks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The host at which the API server calls a webhook.
fn webhook_host(webhook: &Value) -> Option<String> {
    let text = |pointer| webhook.pointer(pointer).and_then(Value::as_str);
    if let Some(url) = text("/clientConfig/url") {
        return host(&url.parse().ok()?);
    }
    Some(format!("{}.{}.svc", text("/clientConfig/service/name")?, text("/clientConfig/service/namespace")?))
}

/// The host of a URL, with an IPv6 address without brackets.
fn host(url: &Uri) -> Option<String> {
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    // Normalizes an address, to compare it with the addresses in a certificate.
    Some(host.parse().map_or_else(|_| host.to_ascii_lowercase(), |address: IpAddr| address.to_string()))
}

/// Whether `value` has everything in `desired`. It can have more, because the API server fills in defaults.
fn is_subset(desired: &Value, value: &Value) -> bool {
    match (desired, value) {
        (Value::Object(desired), Value::Object(value)) => {
            desired.iter().all(|(key, desired)| is_subset(desired, value.get(key).unwrap_or(&Value::Null)))
        }
        // The API server omits empty lists.
        (Value::Array(desired), Value::Null) => desired.is_empty(),
        (Value::Array(desired), Value::Array(value)) => {
            desired.len() == value.len() && desired.iter().zip(value).all(|(desired, value)| is_subset(desired, value))
        }
        _ => desired == value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_come_from_service_or_url() {
        let service = json!({ "clientConfig": { "service": { "name": "keys", "namespace": "system", "path": "/" } } });
        assert_eq!(webhook_host(&service).as_deref(), Some("keys.system.svc"));
        let url = json!({ "clientConfig": { "url": "https://[::1]:9443/x" } });
        assert_eq!(webhook_host(&url).as_deref(), Some("::1"));
        let long = json!({ "clientConfig": { "url": "https://[0:0:0:0:0:0:0:1]/" } });
        assert_eq!(webhook_host(&long).as_deref(), Some("::1"));
        assert_eq!(webhook_host(&json!({})), None);
    }

    #[test]
    fn defaults_are_not_a_difference() {
        let desired = json!({ "webhooks": [{ "name": "a", "rules": [1] }] });
        assert!(is_subset(&desired, &json!({ "webhooks": [{ "name": "a", "rules": [1], "objectSelector": {} }] })));
        assert!(!is_subset(&desired, &json!({ "webhooks": [{ "name": "b", "rules": [1] }] })));
        assert!(!is_subset(&desired, &json!({ "webhooks": [] })));
    }
}
