//! Admission control by others: policies and webhooks that change or refuse a write.

use serde_json::{Value, json};

use super::{Server, failure::Failure, object};

/// A change to a write, or its refusal.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Sets or replaces a label.
    SetLabel(String, String),
    /// Removes a label.
    RemoveLabel(String),
    /// Sets or replaces an annotation.
    SetAnnotation(String, String),
    /// Removes an annotation.
    RemoveAnnotation(String),
    /// Removes all owner references.
    RemoveOwnerReferences,
    /// Removes an entry of `data`.
    RemoveData(String),
    /// Sets an entry of `data` to a base64 value.
    SetData(String, String),
    /// Refuses with 403, as a webhook with this name and message.
    Refuse(String, String),
    /// Refuses with 422, as a policy with this name and message.
    Invalid(String, String),
    /// Refuses with 500, as if the webhook of this name did not respond.
    WebhookAway(String),
    /// Refuses with 403 any object beyond this number in a namespace, as a ResourceQuota of this name.
    Quota(String, usize),
}

/// An admission rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The plural of the resource; `*`: any.
    pub resource: String,
    /// Whether it applies to creates.
    pub on_create: bool,
    /// Whether it applies to updates.
    pub on_update: bool,
    /// The only user to which it applies; `None`: all.
    pub user: Option<String>,
    /// The only namespace to which it applies; `None`: all.
    pub namespace: Option<String>,
    /// The effect.
    pub effect: Effect,
}

impl Rule {
    /// A rule for all writes of Secrets.
    #[must_use]
    pub fn on_secrets(effect: Effect) -> Self {
        Self { resource: "secrets".to_owned(), on_create: true, on_update: true, user: None, namespace: None, effect }
    }
}

/// The admission rules of a server.
pub struct Admission<'a>(pub(super) &'a Server);

impl Admission<'_> {
    /// Adds a rule after the existing ones.
    pub fn add(&self, rule: Rule) {
        self.0.with(|state| state.rules.push(rule));
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.0.with(|state| state.rules.clear());
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        self.0.with(|state| state.rules.clone())
    }
}

/// A write that is subject to admission.
pub(super) struct Question<'a> {
    pub resource: &'a str,
    pub user: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub is_create: bool,
    /// The number of existing objects in the namespace.
    pub present: usize,
}

/// Applies the rules that change the object, then those that refuse it.
pub(super) fn admit(rules: &[Rule], question: &Question, written: &mut Value) -> Result<(), Failure> {
    let concerned = |rule: &&Rule| {
        (rule.resource == "*" || rule.resource == question.resource)
            && (if question.is_create { rule.on_create } else { rule.on_update })
            && rule.user.as_deref().is_none_or(|user| user == question.user)
            && rule.namespace.as_deref().is_none_or(|namespace| namespace == question.namespace)
    };
    for rule in rules.iter().filter(concerned) {
        change(&rule.effect, written);
    }
    rules.iter().filter(concerned).try_for_each(|rule| refusal(&rule.effect, question))
}

fn change(effect: &Effect, written: &mut Value) {
    match effect {
        Effect::SetLabel(key, value) => object::set_entry(written, &["metadata", "labels"], key, json!(value)),
        Effect::RemoveLabel(key) => object::remove_entry(written, &["metadata", "labels"], key),
        Effect::SetAnnotation(key, value) => {
            object::set_entry(written, &["metadata", "annotations"], key, json!(value));
        }
        Effect::RemoveAnnotation(key) => object::remove_entry(written, &["metadata", "annotations"], key),
        Effect::RemoveOwnerReferences => object::remove_entry(written, &["metadata"], "ownerReferences"),
        Effect::SetData(key, value) => object::set_entry(written, &["data"], key, json!(value)),
        Effect::RemoveData(key) => object::remove_entry(written, &["data"], key),
        Effect::Refuse(..) | Effect::Invalid(..) | Effect::WebhookAway(_) | Effect::Quota(..) => {}
    }
}

fn refusal(effect: &Effect, question: &Question) -> Result<(), Failure> {
    let Question { resource, name, .. } = question;
    match effect {
        Effect::Refuse(webhook, words) => {
            Err(Failure::new(403, "Forbidden", format!("admission webhook \"{webhook}\" denied the request: {words}")))
        }
        Effect::Invalid(policy, words) => {
            let words = format!("ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: {words}");
            let message = format!("{resource} \"{name}\" is forbidden: {words}");
            Err(Failure::new(422, "Invalid", message).about(resource, "", name).cause("", &words, ""))
        }
        Effect::WebhookAway(webhook) => {
            let service = webhook.split('.').next().unwrap_or_default();
            let words = format!(
                "failed calling webhook \"{webhook}\": failed to call webhook: Post \"https://{service}.default.svc:443/?timeout=10s\": service \"{service}\" not found"
            );
            let message = format!("Internal error occurred: {words}");
            Err(Failure::new(500, "InternalError", message).cause("", &words, ""))
        }
        Effect::Quota(quota, most) if question.is_create && question.present >= *most => {
            let message = format!(
                "{resource} \"{name}\" is forbidden: exceeded quota: {quota}, requested: count/{resource}=1, used: count/{resource}={}, limited: count/{resource}={most}",
                question.present
            );
            Err(Failure::new(403, "Forbidden", message).about(resource, "", name))
        }
        _ => Ok(()),
    }
}
