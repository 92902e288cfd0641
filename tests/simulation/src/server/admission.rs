//! What others' admission makes of a write: policies and webhooks that rewrite it or refuse it.

use serde_json::{Value, json};

use super::{Server, failure::Failure, object};

/// A change or a refusal of what is written.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Sets a label, whatever it was.
    SetLabel(String, String),
    /// Takes a label away.
    RemoveLabel(String),
    /// Sets an annotation, whatever it was.
    SetAnnotation(String, String),
    /// Takes an annotation away.
    RemoveAnnotation(String),
    /// Takes all owner references away.
    RemoveOwnerReferences,
    /// Takes an entry of `data` away.
    RemoveData(String),
    /// Sets an entry of `data`, given in base64.
    SetData(String, String),
    /// Refuses with 403, as a webhook of this name does that says no, in these words.
    Refuse(String, String),
    /// Refuses with 422, as a policy of this name does, in these words.
    Invalid(String, String),
    /// Refuses with 500, as if the webhook of this name did not answer.
    WebhookAway(String),
    /// Refuses with 403 what would be more than this many objects in a namespace, as a ResourceQuota of this name.
    Quota(String, usize),
}

/// A rule of admission.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The plural of the resource; `*`: any.
    pub resource: String,
    /// Whether creates are concerned.
    pub on_create: bool,
    /// Whether updates are concerned.
    pub on_update: bool,
    /// The only user concerned; `None`: every one.
    pub user: Option<String>,
    /// The only namespace concerned; `None`: every one.
    pub namespace: Option<String>,
    /// What is done.
    pub effect: Effect,
}

impl Rule {
    /// One for all writes of Secrets.
    #[must_use]
    pub fn on_secrets(effect: Effect) -> Self {
        Self { resource: "secrets".to_owned(), on_create: true, on_update: true, user: None, namespace: None, effect }
    }
}

/// The rules in force.
pub struct Admission<'a>(pub(super) &'a Server);

impl Admission<'_> {
    /// Adds a rule, which comes after the others.
    pub fn add(&self, rule: Rule) {
        self.0.with(|state| state.rules.push(rule));
    }

    /// Takes all rules away.
    pub fn clear(&self) {
        self.0.with(|state| state.rules.clear());
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        self.0.with(|state| state.rules.clone())
    }
}

/// A write that admission is asked about.
pub(super) struct Question<'a> {
    pub resource: &'a str,
    pub user: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub is_create: bool,
    /// How many there are in the namespace.
    pub present: usize,
}

/// Applies the rules that change something and then those that refuse.
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
