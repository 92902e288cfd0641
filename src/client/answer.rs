//! The parts of an API server's response that are safe to pass on.
//!
//! A policy engine may quote what it refuses, which may be a Secret with a private key. So no text of a response reaches a status, an
//! Event or the log. Only these parts do: the status code, the reason if it is one of Kubernetes' own, and the name of the policy, webhook
//! or quota that refused, if the response has the form in which the API server itself names it.

use std::fmt;

use kube::core::{Status, response::reason};

use crate::domain::rules::SECRET_NAME;

/// The reasons of Kubernetes. A webhook may give any text as its reason.
const REASONS: [&str; 19] = [
    reason::UNAUTHORIZED,
    reason::FORBIDDEN,
    reason::NOT_FOUND,
    reason::ALREADY_EXISTS,
    reason::CONFLICT,
    reason::GONE,
    reason::INVALID,
    reason::SERVER_TIMEOUT,
    reason::STORAGE_READ_ERROR,
    reason::TIMEOUT,
    reason::TOO_MANY_REQUESTS,
    reason::BAD_REQUEST,
    reason::METHOD_NOT_ALLOWED,
    reason::NOT_ACCEPTABLE,
    reason::REQUEST_ENTITY_TOO_LARGE,
    reason::UNSUPPORTED_MEDIA_TYPE,
    reason::INTERNAL_ERROR,
    reason::EXPIRED,
    reason::SERVICE_UNAVAILABLE,
];

/// The fields of a Secret that the API server itself may reject.
const FIELDS: [&str; 7] = [
    "metadata.name",
    "metadata.labels",
    "metadata.annotations",
    "metadata.ownerReferences",
    "data",
    "type",
    "immutable",
];

/// The parts of a response that are safe to pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    code: u16,
    reason: Option<&'static str>,
    cause: Cause,
}

/// Why the API server refused, as far as the form of the response shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    Unknown,
    /// RBAC does not allow the request.
    MissingPermission,
    NamespaceTerminating,
    /// This `ResourceQuota` is exceeded.
    Quota(String),
    /// This admission policy denied the request.
    Policy(String),
    /// This admission webhook denied the request.
    Webhook(String),
    /// This admission webhook did not answer.
    WebhookUnavailable(String),
    /// These fields are invalid.
    Fields(Vec<&'static str>),
}

impl Answer {
    /// The parts of `status` that are safe to pass on.
    #[must_use]
    pub fn of(status: &Status) -> Self {
        let reason = REASONS.into_iter().find(|reason| *reason == status.reason);
        Self { code: status.code, reason, cause: Cause::of(status) }
    }
}

impl Cause {
    fn of(status: &Status) -> Self {
        let message = status.message.as_str();
        if let Some(name) = quoted(message, "admission webhook \"", "\" denied the request") {
            return Self::Webhook(name);
        }
        if let Some(name) = quoted(message, "Internal error occurred: failed calling webhook \"", "\"") {
            return Self::WebhookUnavailable(name);
        }
        if let Some(why) = forbidden_because(message) {
            if why.starts_with("User \"") {
                return Self::MissingPermission;
            }
            let policies = ["ValidatingAdmissionPolicy '", "MutatingAdmissionPolicy '", "policy '"];
            if let Some(name) = policies.iter().find_map(|prefix| quoted(why, prefix, "'")) {
                return Self::Policy(name);
            }
            if let Some(name) = quoted(why, "exceeded quota: ", ",") {
                return Self::Quota(name);
            }
            if why.starts_with("unable to create new content in namespace ") {
                return Self::NamespaceTerminating;
            }
        }
        let causes = status.details.iter().flat_map(|details| &details.causes);
        // The key of a map follows in brackets, and may be any text.
        let mut fields: Vec<&str> = causes
            .filter_map(|cause| FIELDS.into_iter().find(|field| cause.field.split('[').next() == Some(field)))
            .collect();
        fields.dedup();
        if fields.is_empty() { Self::Unknown } else { Self::Fields(fields) }
    }
}

/// The text after `<resource> ["<name>"] is forbidden: `.
fn forbidden_because(message: &str) -> Option<&str> {
    let (object, why) = message.split_once(" is forbidden: ")?;
    let (resource, name) = object.split_once(' ').unwrap_or((object, "\"-\""));
    let is_resource = !resource.is_empty() && resource.chars().all(|c| c.is_ascii_lowercase() || c == '.');
    let is_name =
        name.len() >= 2 && name.starts_with('"') && name.ends_with('"') && !name.contains(char::is_whitespace);
    (is_resource && is_name).then_some(why)
}

/// The name between `prefix`, with which `text` begins, and the first `end` after it, if it can be the name of an object.
fn quoted(text: &str, prefix: &str, end: &str) -> Option<String> {
    let (name, _) = text.strip_prefix(prefix)?.split_once(end)?;
    SECRET_NAME.allows(name).then(|| name.to_owned())
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(reason) = self.reason {
            write!(f, " {reason}")?;
        }
        match &self.cause {
            Cause::Unknown => Ok(()),
            Cause::MissingPermission => f.write_str(" (RBAC: the operator lacks this permission)"),
            Cause::NamespaceTerminating => f.write_str(" (the namespace is being deleted)"),
            Cause::Quota(name) => write!(f, " (ResourceQuota {name:?} is exceeded)"),
            Cause::Policy(name) => write!(f, " (denied by admission policy {name:?})"),
            Cause::Webhook(name) => write!(f, " (denied by admission webhook {name:?})"),
            Cause::WebhookUnavailable(name) => write!(f, " (admission webhook {name:?} does not answer)"),
            Cause::Fields(fields) => write!(f, " ({})", fields.join(", ")),
        }
    }
}

/// Describes the failure of a request without any text from the API server or a credential plugin.
#[must_use]
pub fn summarize(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("the API server answered {}", Answer::of(status)),
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => "cannot parse the API server's response".to_owned(),
        // The output of a credential plugin may contain a token.
        kube::Error::Auth(_) => "cannot get credentials for the API server".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    fn answer(code: u16, reason: &str, message: &str, fields: &[&str]) -> String {
        let cause = |field: &&str| StatusCause {
            reason: String::new(),
            message: "Invalid value: \"c2VjcmV0\": no".to_owned(),
            field: (*field).to_owned(),
        };
        let details = StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: fields.iter().map(cause).collect(),
            retry_after_seconds: 0,
        };
        let status = Status { details: Some(details), ..Status::failure(message, reason).with_code(code) };
        Answer::of(&status).to_string()
    }

    #[test]
    fn the_policy_webhook_or_quota_that_refused_is_named() {
        for (message, expected) in [
            (
                "admission webhook \"keys.example.com\" denied the request: no",
                "denied by admission webhook \"keys.example.com\"",
            ),
            (
                "secrets \"web\" is forbidden: ValidatingAdmissionPolicy 'no-keys' with binding 'all' denied request: no",
                "denied by admission policy \"no-keys\"",
            ),
            (
                "secrets \"web\" is forbidden: exceeded quota: small, requested: secrets=1",
                "ResourceQuota \"small\" is exceeded",
            ),
            (
                "secrets is forbidden: User \"system:serviceaccount:a:b\" cannot create resource \"secrets\"",
                "RBAC: the operator lacks this permission",
            ),
            (
                "secrets \"web\" is forbidden: unable to create new content in namespace shop because it is being terminated",
                "the namespace is being deleted",
            ),
        ] {
            assert_eq!(answer(403, "Forbidden", message, &[]), format!("403 Forbidden ({expected})"));
        }
        let away = "Internal error occurred: failed calling webhook \"keys.example.com\": Post \"https://…\": EOF";
        let expected = "500 InternalError (admission webhook \"keys.example.com\" does not answer)";
        assert_eq!(answer(500, "InternalError", away, &[]), expected);
    }

    #[test]
    fn fields_are_named_without_their_content() {
        let fields = ["data[c2VjcmV0]", "data[b3RoZXI=]", "metadata.labels", "c2VjcmV0"];
        assert_eq!(answer(422, "Invalid", "Secret \"web\" is invalid", &fields), "422 Invalid (data, metadata.labels)");
    }

    #[test]
    fn no_quoted_text_is_passed_on() {
        let secret = "c2VjcmV0LWtleQ";
        for message in [
            secret.to_owned(),
            format!("admission webhook \"keys.example.com\" denied the request: {secret}"),
            format!("admission webhook \"{secret}\" denied the request: no"),
            format!("{secret} is forbidden: ValidatingAdmissionPolicy 'a' with binding 'b' denied request: {secret}"),
            format!(
                "secrets \"web\" is forbidden: ValidatingAdmissionPolicy '{secret}' with binding 'b' denied request"
            ),
            format!(
                "secrets \"web\" is forbidden: ValidatingAdmissionPolicy 'a' with binding '{secret}' denied request"
            ),
            format!("secrets \"web\" is forbidden: {secret}"),
            format!("secrets \"web\" is forbidden: exceeded quota: {secret}, requested: secrets=1"),
            format!("Internal error occurred: failed calling webhook \"{secret}\": EOF"),
        ] {
            for reason in ["Forbidden", "Invalid", secret] {
                let text =
                    answer(403, reason, &message, &[secret, &format!("data[{secret}]"), &format!("data.{secret}")]);
                assert!(!text.contains(secret), "{message}: {text}");
            }
        }
    }

    #[test]
    fn no_error_of_the_client_quotes_a_response() {
        let unreadable = serde_json::from_str::<u8>("\"c2VjcmV0\"").unwrap_err();
        assert!(!summarize(&kube::Error::SerdeError(unreadable)).contains("c2VjcmV0"));
    }
}
