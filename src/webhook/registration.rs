//! What the API server knows of the webhook: the configurations of this name, and in them whom to ask and whom to trust.
//!
//! There are two, which ask the same question of the same webhook. The validating one is asked about what is really going to
//! be stored. That is after the rules of the CRD, to which the API server answers 422 whatever the cloud does; so whatever
//! breaks them is asked about before, by a mutating one, which mutates nothing.
//!
//! In a cluster the chart makes them, and only the authorities are filled in here. With `--webhook-url` they are made here.

use std::{collections::BTreeSet, net::IpAddr};

use http::Uri;
use k8s_openapi::ByteString;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use super::{Error, Settings, review::Scopes};
use crate::api::{KeyPair, cel};

/// The kinds of the configurations, each with the name of its webhook.
const KINDS: [(&str, &str); 2] = [(MUTATING, "answer.keypairs.dev"), (VALIDATING, "validate.keypairs.dev")];
const MUTATING: &str = "MutatingWebhookConfiguration";
const VALIDATING: &str = "ValidatingWebhookConfiguration";
/// How long the API server waits for an answer, in seconds. It has one in milliseconds, or none.
const TIMEOUT_SECONDS: u8 = 3;

/// The configurations of one name.
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
    /// Nothing is asked or said yet.
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

    /// Whether the configurations are of the operator's own making.
    pub fn makes_itself(&self) -> bool {
        self.url.is_some()
    }

    /// The configurations, to watch each with a client of its own.
    pub fn apis(&self, client: impl Fn() -> Client) -> impl Iterator<Item = Api<DynamicObject>> {
        self.configurations.iter().map(move |configuration| Api::all_with(client(), &configuration.kind))
    }

    /// The names and addresses by which the API server calls the webhook.
    ///
    /// # Errors
    ///
    /// If nobody has registered it, or the API server does not say.
    pub async fn hosts(&self) -> Result<BTreeSet<String>, Error> {
        if let Some(url) = &self.url {
            return Ok(host(url).into_iter().collect());
        }
        let mut hosts = BTreeSet::new();
        for configuration in &self.configurations {
            let found = configuration.get(&self.name).await?;
            for webhook in found.iter().flat_map(webhooks) {
                hosts.extend(called(webhook));
            }
        }
        if hosts.is_empty() { Err(Error::NotRegistered(self.described())) } else { Ok(hosts) }
    }

    /// Makes the API server trust these authorities, in PEM, and with `--webhook-url` ask the webhook at all. Whether it did not
    /// before.
    ///
    /// # Errors
    ///
    /// If the API server refuses, because somebody else has changed the object meanwhile, perhaps.
    pub async fn trust(&self, bundle: &str) -> Result<bool, Error> {
        let bundle = json!(ByteString(bundle.as_bytes().to_vec()));
        let mut has_changed = false;
        for configuration in &self.configurations {
            let found = configuration.get(&self.name).await?;
            let Some(before) = found else {
                if let Some(url) = &self.url {
                    has_changed = true;
                    configuration.create(&self.name, self.wanted(url, configuration, &bundle)).await?;
                    tracing::info!(kind = configuration.kind.kind, name = self.name, %url, "webhook registered");
                }
                // The chart may have been told to leave it out.
                continue;
            };
            let mut after = before.clone();
            if let Some(url) = &self.url {
                let wanted = self.wanted(url, configuration, &bundle);
                if !is_within(&wanted, &after.data) {
                    after.data = wanted;
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
                tracing::info!(kind = configuration.kind.kind, name = self.name, "webhook's authorities updated");
            }
        }
        Ok(has_changed)
    }

    fn described(&self) -> String {
        format!("{} {:?}", KINDS.map(|(kind, _)| kind).join(" or "), self.name)
    }

    /// What a configuration of the operator's own making says.
    fn wanted(&self, url: &Uri, configuration: &Configuration, bundle: &Value) -> Value {
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
                "apiGroups": [<KeyPair as kube::Resource>::group(&())],
                "apiVersions": [<KeyPair as kube::Resource>::version(&())],
                // Not its status, and no deletions.
                "resources": [<KeyPair as kube::Resource>::plural(&())],
                "operations": ["CREATE", "UPDATE"],
                "scope": "Namespaced",
            }],
            // The controller is the authority: an answer that does not come is no reason to refuse.
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
    /// When the webhook is asked.
    fn conditions(&self) -> Vec<Value> {
        if self.kind.kind == MUTATING {
            vec![json!({ "name": "breaks-a-rule", "expression": cel::refused_condition() })]
        } else {
            Vec::new()
        }
    }

    async fn get(&self, name: &str) -> Result<Option<DynamicObject>, Error> {
        self.api.get_opt(name).await.map_err(Error::refused("read the webhook's configuration"))
    }

    async fn create(&self, name: &str, data: Value) -> Result<(), Error> {
        let object = DynamicObject::new(name, &self.kind).data(data);
        let created = self.api.create(&PostParams::default(), &object).await;
        created.map(drop).map_err(Error::refused("register the webhook"))
    }

    /// Guarded by the resource version.
    async fn replace(&self, name: &str, object: &DynamicObject) -> Result<(), Error> {
        debug_assert!(object.resource_version().is_some());
        let replaced = self.api.replace(name, &PostParams::default(), object).await;
        replaced.map(drop).map_err(Error::refused("update the webhook's configuration"))
    }
}

fn webhooks(configuration: &DynamicObject) -> &[Value] {
    configuration.data.get("webhooks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The host by which a webhook is called.
fn called(webhook: &Value) -> Option<String> {
    let text = |pointer| webhook.pointer(pointer).and_then(Value::as_str);
    if let Some(url) = text("/clientConfig/url") {
        return host(&url.parse().ok()?);
    }
    Some(format!("{}.{}.svc", text("/clientConfig/service/name")?, text("/clientConfig/service/namespace")?))
}

/// The host of a URL, an address without the brackets.
fn host(url: &Uri) -> Option<String> {
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    // An address is written in one way, as it is read from a certificate.
    Some(host.parse().map_or_else(|_| host.to_ascii_lowercase(), |address: IpAddr| address.to_string()))
}

/// Whether `value` says all that `wanted` does; it may say more, by default.
fn is_within(wanted: &Value, value: &Value) -> bool {
    match (wanted, value) {
        (Value::Object(wanted), Value::Object(value)) => {
            wanted.iter().all(|(key, wanted)| is_within(wanted, value.get(key).unwrap_or(&Value::Null)))
        }
        // An empty list is left out.
        (Value::Array(wanted), Value::Null) => wanted.is_empty(),
        (Value::Array(wanted), Value::Array(value)) => {
            wanted.len() == value.len() && wanted.iter().zip(value).all(|(wanted, value)| is_within(wanted, value))
        }
        _ => wanted == value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_are_those_that_are_called() {
        let service = json!({ "clientConfig": { "service": { "name": "keys", "namespace": "system", "path": "/" } } });
        assert_eq!(called(&service).as_deref(), Some("keys.system.svc"));
        let url = json!({ "clientConfig": { "url": "https://[::1]:9443/x" } });
        assert_eq!(called(&url).as_deref(), Some("::1"));
        let long = json!({ "clientConfig": { "url": "https://[0:0:0:0:0:0:0:1]/" } });
        assert_eq!(called(&long).as_deref(), Some("::1"));
        assert_eq!(called(&json!({})), None);
    }

    #[test]
    fn defaults_make_no_difference() {
        let wanted = json!({ "webhooks": [{ "name": "a", "rules": [1] }] });
        assert!(is_within(&wanted, &json!({ "webhooks": [{ "name": "a", "rules": [1], "objectSelector": {} }] })));
        assert!(!is_within(&wanted, &json!({ "webhooks": [{ "name": "b", "rules": [1] }] })));
        assert!(!is_within(&wanted, &json!({ "webhooks": [] })));
    }
}
