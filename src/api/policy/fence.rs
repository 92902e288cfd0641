//! The policies that restrict the operator's own service account.
//!
//! RBAC grants verbs on resources, regardless of content: with the permission to create Secrets, the operator's token could create,
//! for example, a token of a service account in any namespace. So these policies allow only the contents that the operator writes.
//! Admission does not cover reads: the token can read whatever RBAC lets the operator read.

use k8s_openapi::api::admissionregistration::v1::MatchCondition;
use kube::Resource;

use super::{
    Installation, Policy,
    build::{MatchedRequests, policy, validation, variable},
};
use crate::{
    api::{
        AuthorizedKeys, KeyPair, KnownHosts,
        cel::{list, quote},
    },
    domain::secret::{
        ADOPT_ANNOTATION, KEYPAIR_UID_ANNOTATION, MANAGED_BY_LABEL, OPERATOR, RELEASE_NAME_PREFIX, RESERVED_LABELS,
        RESERVED_TYPE_PREFIXES, SSH_AUTH_TYPE,
    },
};

/// The type of the Secret with the webhook certificate.
const CERTIFICATE_TYPE: &str = "kubernetes.io/tls";
/// The types that Kubernetes or Helm acts on as soon as a Secret exists. Secrets of other reserved types can be adopted if they
/// contain a private key.
const NEVER_TYPE_PREFIXES: [&str; 3] = ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/", "helm.sh/"];

pub(super) fn policies(installation: &Installation) -> Vec<Policy> {
    vec![
        secrets(installation),
        config_maps(installation),
        leases(installation),
        webhooks(installation),
        events(installation),
    ]
}

fn operator_condition(installation: &Installation) -> MatchCondition {
    MatchCondition {
        name: "by-the-operator".to_owned(),
        expression: format!("request.userInfo.username == {}", quote(&installation.user())),
    }
}

fn refusal(what: &str) -> String {
    format!("the operator's service account must not {what}: the operator never does this")
}

/// The CEL expression for whether `map` has this entry.
fn has_entry(map: &str, key: &str, value: &str) -> String {
    let key = quote(key);
    format!("(has({map}) && {key} in {map} && {map}[{key}] == {})", quote(value))
}

/// The kinds that publish public keys in ConfigMaps and Secrets.
fn publications() -> [String; 2] {
    [AuthorizedKeys::kind(&()).into(), KnownHosts::kind(&()).into()]
}

/// The kinds of the operator's custom resources.
fn kinds() -> Vec<String> {
    std::iter::once(KeyPair::kind(&()).into()).chain(publications()).collect()
}

/// The CEL expression for whether `reference` refers to an object of one of these kinds of the operator.
fn refers_to(reference: &str, kinds: &[String]) -> String {
    format!(
        "{reference}.kind in {} && {reference}.apiVersion.startsWith({})",
        list(kinds.iter().map(String::as_str)),
        quote(&format!("{}/", KeyPair::group(&()))),
    )
}

/// The CEL expression for whether `object` has an owner of one of these kinds.
fn has_owner(object: &str, kinds: &[String]) -> String {
    let owners = format!("{object}.metadata.ownerReferences");
    format!("(has({owners}) && {owners}.exists(owner, {}))", refers_to("owner", kinds))
}

/// The CEL expression for whether `secret` refers to its `KeyPair` by UID, or to its publication, which is how the operator
/// recognizes its Secrets.
fn is_owned(secret: &str) -> String {
    let annotations = format!("{secret}.metadata.annotations");
    let annotated = format!("(has({annotations}) && {} in {annotations})", quote(KEYPAIR_UID_ANNOTATION));
    format!("({annotated} || {})", has_owner(secret, &kinds()))
}

/// The CEL expression for whether `secret` has at least one of the operator's annotation, owner reference and label. Another
/// admission plugin may overwrite one of them in the same write.
fn is_marked(secret: &str) -> String {
    format!("({} || {})", is_owned(secret), has_entry(&format!("{secret}.metadata.labels"), MANAGED_BY_LABEL, OPERATOR))
}

fn secrets(installation: &Installation) -> Policy {
    let Installation { name, namespace, webhook_configuration, .. } = installation;
    let requests = MatchedRequests {
        group: "",
        version: "v1",
        resources: &["secrets"],
        operations: &["CREATE", "UPDATE", "DELETE"],
    };
    let begins = |prefixes: &[&str]| {
        format!("{}.exists(prefix, variables.type.startsWith(prefix))", list(prefixes.iter().copied()))
    };
    let variables = vec![
        variable("secret", "object != null ? object : oldObject"),
        variable("type", "has(variables.secret.type) ? variables.secret.type : ''"),
        // The Secret with the webhook certificate, of the TLS type or of a type that is not reserved.
        variable(
            "isCertificate",
            &format!(
                "request.namespace == {} && variables.secret.metadata.name == {} && (variables.type == {} || !{})",
                quote(namespace),
                quote(&format!("{webhook_configuration}-webhook")),
                quote(CERTIFICATE_TYPE),
                begins(RESERVED_TYPE_PREFIXES),
            ),
        ),
    ];
    let unreserved: Vec<String> = RESERVED_LABELS
        .iter()
        .map(|(key, value)| format!("!{}", has_entry("object.metadata.labels", key, value)))
        .collect();
    let validations = vec![
        validation(
            &format!(
                "object == null || variables.isCertificate || variables.type == {} || !{} || oldObject != null && !{}",
                quote(SSH_AUTH_TYPE),
                begins(RESERVED_TYPE_PREFIXES),
                begins(&NEVER_TYPE_PREFIXES),
            ),
            &refusal("write a Secret of a type that Kubernetes or Helm acts on"),
        ),
        validation(
            &format!(
                "object == null || {} && !object.metadata.name.startsWith({})",
                unreserved.join(" && "),
                quote(RELEASE_NAME_PREFIX),
            ),
            &refusal("write a Secret that Helm treats as a release"),
        ),
        validation(
            // When the operator releases an adopted Secret, it removes its annotation, owner reference and label.
            &format!(
                "object == null || variables.isCertificate || {} || oldObject != null && {}",
                is_marked("object"),
                is_owned("oldObject")
            ),
            &refusal("write a Secret without the operator's annotation, owner reference or label"),
        ),
        validation(
            &format!(
                "object == null || oldObject == null || variables.isCertificate || {} || \
                 (has(oldObject.metadata.annotations) && {} in oldObject.metadata.annotations)",
                is_marked("oldObject"),
                quote(ADOPT_ANNOTATION),
            ),
            &refusal(
                "change a Secret that was neither created for a KeyPair or a publication nor handed over to a KeyPair",
            ),
        ),
        validation(
            &format!("object != null || variables.isCertificate || {}", is_owned("oldObject")),
            &refusal("delete a Secret that was not created for a KeyPair or a publication"),
        ),
    ];
    policy(&format!("{name}-fence-secrets"), &requests, Some(operator_condition(installation)), variables, validations)
}

/// The ConfigMaps with published keys. Unlike a Secret, none is ever adopted or released.
fn config_maps(installation: &Installation) -> Policy {
    let requests = MatchedRequests {
        group: "",
        version: "v1",
        resources: &["configmaps"],
        operations: &["CREATE", "UPDATE", "DELETE"],
    };
    let is_labelled = has_entry("object.metadata.labels", MANAGED_BY_LABEL, OPERATOR);
    let validations = vec![
        validation(
            &format!("object == null || {} && {is_labelled}", has_owner("object", &publications())),
            &refusal("write a ConfigMap without its label and an owner reference to an AuthorizedKeys or KnownHosts"),
        ),
        validation(
            &format!("oldObject == null || {}", has_owner("oldObject", &publications())),
            &refusal("change or delete a ConfigMap that was not created for an AuthorizedKeys or KnownHosts"),
        ),
        validation(
            &format!("object == null || !object.metadata.name.startsWith({})", quote(RELEASE_NAME_PREFIX)),
            &refusal("write a ConfigMap that Helm treats as a release"),
        ),
    ];
    policy(
        &format!("{}-fence-configmaps", installation.name),
        &requests,
        Some(operator_condition(installation)),
        Vec::new(),
        validations,
    )
}

fn leases(installation: &Installation) -> Policy {
    let Installation { name, namespace, lease, .. } = installation;
    let requests = MatchedRequests {
        group: "coordination.k8s.io",
        version: "v1",
        resources: &["leases"],
        operations: &["CREATE", "UPDATE", "DELETE"],
    };
    let is_own = format!("request.namespace == {} && request.name == {}", quote(namespace), quote(lease));
    let validations = vec![validation(&is_own, &refusal("write a Lease other than the one of its leader election"))];
    policy(&format!("{name}-fence-leases"), &requests, Some(operator_condition(installation)), Vec::new(), validations)
}

fn webhooks(installation: &Installation) -> Policy {
    let Installation { name, namespace, webhook_configuration, webhook_service, webhook_url, .. } = installation;
    let requests = MatchedRequests {
        group: "admissionregistration.k8s.io",
        version: "v1",
        resources: &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        operations: &["CREATE", "UPDATE", "DELETE"],
    };
    let all = |condition: &str| {
        format!("object == null || !has(object.webhooks) || object.webhooks.all(webhook, {condition})")
    };
    let client = "webhook.clientConfig";
    let url = webhook_url
        .as_ref()
        .map_or(String::new(), |url| format!("(has({client}.url) && {client}.url == {}) || ", quote(url)));
    let service = format!(
        "(has({client}.service) && {client}.service.namespace == {} && {client}.service.name == {})",
        quote(namespace),
        quote(webhook_service),
    );
    // Someone else set this client configuration: the operator may change only the CA bundle.
    let same = |field: &str| {
        let (now, before) = (format!("{client}.{field}"), format!("old.clientConfig.{field}"));
        format!("has({now}) == has({before}) && (!has({now}) || {now} == {before})")
    };
    let unchanged = format!(
        "(oldObject != null && has(oldObject.webhooks) && oldObject.webhooks.exists(old, old.name == webhook.name && {} && {}))",
        same("service"),
        same("url"),
    );
    let validations = vec![
        validation(
            &format!("request.name == {}", quote(webhook_configuration)),
            &refusal("write a webhook configuration other than its own"),
        ),
        validation(
            &all(&format!(
                "!has(webhook.rules) || webhook.rules.all(rule, rule.apiGroups == [{}])",
                quote(&KeyPair::group(&()))
            )),
            &refusal("register a webhook for API groups other than its own"),
        ),
        validation(&all(&format!("{url}{service} || {unchanged}")), &refusal("register a webhook other than its own")),
    ];
    policy(
        &format!("{name}-fence-webhooks"),
        &requests,
        Some(operator_condition(installation)),
        Vec::new(),
        validations,
    )
}

fn events(installation: &Installation) -> Policy {
    let requests = MatchedRequests {
        group: "events.k8s.io",
        version: "v1",
        resources: &["events"],
        operations: &["CREATE", "UPDATE", "DELETE"],
    };
    let about = format!(
        "object != null && has(object.regarding) && has(object.regarding.kind) && has(object.regarding.apiVersion) && {}",
        refers_to("object.regarding", &kinds()),
    );
    let validations =
        vec![validation(&about, &refusal("write an Event that is not about a KeyPair, AuthorizedKeys or KnownHosts"))];
    policy(
        &format!("{}-fence-events", installation.name),
        &requests,
        Some(operator_condition(installation)),
        Vec::new(),
        validations,
    )
}
