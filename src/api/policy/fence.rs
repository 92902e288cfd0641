//! What the operator's own service account is held to.
//!
//! RBAC says which verbs the operator may use on which resources, but not with which content: that it may create Secrets
//! lets its token make, say, a service account's token of any namespace. So whatever it writes must be what it writes. Reading is
//! not admitted by anybody: what RBAC lets the operator read, its token can read.

use k8s_openapi::api::admissionregistration::v1::MatchCondition;
use kube::Resource;

use super::{
    Installation, Policy,
    build::{Requests, demand, policy, variable},
};
use crate::{
    api::{
        KeyPair,
        cel::{list, quote},
    },
    domain::secret::{
        ADOPT_ANNOTATION, KEYPAIR_UID_ANNOTATION, MANAGED_BY_LABEL, OPERATOR, RELEASE_NAME_PREFIX, RESERVED_LABELS,
        RESERVED_TYPE_PREFIXES, SSH_AUTH_TYPE,
    },
};

/// The type of the Secret with the webhook's certificate.
const CERTIFICATE_TYPE: &str = "kubernetes.io/tls";
/// The types that somebody acts on at once. Secrets of other reserved types can be handed over, if a private key is in them.
const NEVER_TYPE_PREFIXES: [&str; 3] = ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/", "helm.sh/"];

pub(super) fn policies(installation: &Installation) -> Vec<Policy> {
    vec![secrets(installation), leases(installation), webhooks(installation), events(installation)]
}

fn by_the_operator(installation: &Installation) -> MatchCondition {
    MatchCondition {
        name: "by-the-operator".to_owned(),
        expression: format!("request.userInfo.username == {}", quote(&installation.user())),
    }
}

fn refusal(what: &str) -> String {
    format!("the operator never does this, and its service account must not: {what}")
}

/// Whether `map` of an object has this entry.
fn entry(map: &str, key: &str, value: &str) -> String {
    let key = quote(key);
    format!("(has({map}) && {key} in {map} && {map}[{key}] == {})", quote(value))
}

/// Whether `secret` says by UID which `KeyPair` it belongs to: what the operator goes by.
fn is_owned(secret: &str) -> String {
    let (annotations, owners) =
        (format!("{secret}.metadata.annotations"), format!("{secret}.metadata.ownerReferences"));
    let annotated = format!("(has({annotations}) && {} in {annotations})", quote(KEYPAIR_UID_ANNOTATION));
    let (group, kind) = (KeyPair::group(&()), KeyPair::kind(&()));
    let owner =
        format!("owner.kind == {} && owner.apiVersion.startsWith({})", quote(&kind), quote(&format!("{group}/")));
    format!("({annotated} || (has({owners}) && {owners}.exists(owner, {owner})))")
}

/// Whether `secret` bears any of the marks of the operator: another admission plugin may overwrite one of them at the same write.
fn is_marked(secret: &str) -> String {
    format!("({} || {})", is_owned(secret), entry(&format!("{secret}.metadata.labels"), MANAGED_BY_LABEL, OPERATOR))
}

fn secrets(installation: &Installation) -> Policy {
    let Installation { name, namespace, webhook_configuration, .. } = installation;
    let requests =
        Requests { group: "", version: "v1", resources: &["secrets"], operations: &["CREATE", "UPDATE", "DELETE"] };
    let begins = |prefixes: &[&str]| {
        format!("{}.exists(prefix, variables.type.startsWith(prefix))", list(prefixes.iter().copied()))
    };
    let variables = vec![
        variable("secret", "object != null ? object : oldObject"),
        variable("type", "has(variables.secret.type) ? variables.secret.type : ''"),
        // The certificate of the webhook, of its own or of no reserved type.
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
        .map(|(key, value)| format!("!{}", entry("object.metadata.labels", key, value)))
        .collect();
    let validations = vec![
        demand(
            &format!(
                "object == null || variables.isCertificate || variables.type == {} || !{} || oldObject != null && !{}",
                quote(SSH_AUTH_TYPE),
                begins(RESERVED_TYPE_PREFIXES),
                begins(&NEVER_TYPE_PREFIXES),
            ),
            &refusal("write a Secret of a type that Kubernetes or Helm acts on"),
        ),
        demand(
            &format!(
                "object == null || {} && !object.metadata.name.startsWith({})",
                unreserved.join(" && "),
                quote(RELEASE_NAME_PREFIX),
            ),
            &refusal("write a Secret that Helm takes for a release"),
        ),
        demand(
            // A Secret that was handed over is given back without the marks.
            &format!(
                "object == null || variables.isCertificate || {} || oldObject != null && {}",
                is_marked("object"),
                is_owned("oldObject")
            ),
            &refusal("write a Secret without the mark of a KeyPair"),
        ),
        demand(
            &format!(
                "object == null || oldObject == null || variables.isCertificate || {} || \
                 (has(oldObject.metadata.annotations) && {} in oldObject.metadata.annotations)",
                is_marked("oldObject"),
                quote(ADOPT_ANNOTATION),
            ),
            &refusal("change a Secret that was neither made for a KeyPair nor handed over to one"),
        ),
        demand(
            &format!("object != null || variables.isCertificate || {}", is_owned("oldObject")),
            &refusal("delete a Secret that was not made for a KeyPair"),
        ),
    ];
    policy(&format!("{name}-fence-secrets"), &requests, Some(by_the_operator(installation)), variables, validations)
}

fn leases(installation: &Installation) -> Policy {
    let Installation { name, namespace, lease, .. } = installation;
    let requests = Requests {
        group: "coordination.k8s.io",
        version: "v1",
        resources: &["leases"],
        operations: &["CREATE", "UPDATE", "DELETE"],
    };
    let is_own = format!("request.namespace == {} && request.name == {}", quote(namespace), quote(lease));
    let validations = vec![demand(&is_own, &refusal("write a Lease that is not that of its leader election"))];
    policy(&format!("{name}-fence-leases"), &requests, Some(by_the_operator(installation)), Vec::new(), validations)
}

fn webhooks(installation: &Installation) -> Policy {
    let Installation { name, namespace, webhook_configuration, webhook_service, webhook_url, .. } = installation;
    let requests = Requests {
        group: "admissionregistration.k8s.io",
        version: "v1",
        resources: &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        operations: &["CREATE", "UPDATE", "DELETE"],
    };
    let all =
        |demand: &str| format!("object == null || !has(object.webhooks) || object.webhooks.all(webhook, {demand})");
    let client = "webhook.clientConfig";
    let url = webhook_url
        .as_ref()
        .map_or(String::new(), |url| format!("(has({client}.url) && {client}.url == {}) || ", quote(url)));
    let service = format!(
        "(has({client}.service) && {client}.service.namespace == {} && {client}.service.name == {})",
        quote(namespace),
        quote(webhook_service),
    );
    // Whoever set it, it was not the operator: only the authorities, which it fills in, may differ.
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
        demand(
            &format!("request.name == {}", quote(webhook_configuration)),
            &refusal("write a webhook configuration that is not its own"),
        ),
        demand(
            &all(&format!(
                "!has(webhook.rules) || webhook.rules.all(rule, rule.apiGroups == [{}])",
                quote(&KeyPair::group(&()))
            )),
            &refusal("have a webhook asked about other API groups than its own"),
        ),
        demand(&all(&format!("{url}{service} || {unchanged}")), &refusal("have another webhook asked than its own")),
    ];
    policy(&format!("{name}-fence-webhooks"), &requests, Some(by_the_operator(installation)), Vec::new(), validations)
}

fn events(installation: &Installation) -> Policy {
    let requests = Requests {
        group: "events.k8s.io",
        version: "v1",
        resources: &["events"],
        operations: &["CREATE", "UPDATE", "DELETE"],
    };
    let (group, kind) = (KeyPair::group(&()), KeyPair::kind(&()));
    let about = format!(
        "object != null && has(object.regarding) && has(object.regarding.kind) && object.regarding.kind == {} && \
         has(object.regarding.apiVersion) && object.regarding.apiVersion.startsWith({})",
        quote(&kind),
        quote(&format!("{group}/")),
    );
    let validations = vec![demand(&about, &refusal("write an Event that is not about a KeyPair"))];
    policy(
        &format!("{}-fence-events", installation.name),
        &requests,
        Some(by_the_operator(installation)),
        Vec::new(),
        validations,
    )
}
