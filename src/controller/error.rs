//! What can go wrong while one object is reconciled. Each step has its own variant; none carries a byte of a key.

use std::time::Duration;

use kube::core::Status;

use super::{generator::GeneratorError, secrets::RequestError};
use crate::domain::key::PrivateKeyError;

/// Why a reconciliation did not come to its end; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key pair could not be generated.
    #[error("cannot generate the key pair: {0}")]
    Generate(#[from] GeneratorError),
    /// The public key could not be derived from the key just generated, or that not be encoded.
    #[error("cannot use the generated key: {0}")]
    PrivateKey(#[from] PrivateKeyError),
    /// The Secret could not be created.
    #[error("cannot create the Secret: {0}")]
    CreateSecret(#[source] RequestError),
    /// The Secret could not be read.
    #[error("cannot read the Secret: {0}")]
    ReadSecret(#[source] RequestError),
    /// The Secret could not be changed.
    #[error("cannot change the Secret: {0}")]
    UpdateSecret(#[source] RequestError),
    /// The Secret that the key has been moved away from could not be deleted.
    #[error("cannot delete the Secret under its old name: {0}")]
    DeleteSecret(#[source] RequestError),
    /// The status could not be written.
    #[error("cannot write the status: {}", in_brief(.0))]
    WriteStatus(#[source] kube::Error),
    /// The API server did not answer in time.
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
    /// Another replica leads, or may soon.
    #[error("this replica does not lead any more")]
    NotLeading,
    /// The steps of the decision did not come to an end: a mistake in the operator.
    #[error("the steps to take do not end; please report this")]
    NoEnd,
}

impl Error {
    /// The step that failed, for metrics.
    #[must_use]
    pub const fn step(&self) -> &'static str {
        match self {
            Self::Generate(_) | Self::PrivateKey(_) => "GenerateKey",
            Self::CreateSecret(_) => "CreateSecret",
            Self::ReadSecret(_) => "ReadSecret",
            Self::UpdateSecret(_) => "UpdateSecret",
            Self::DeleteSecret(_) => "DeleteSecret",
            Self::WriteStatus(_) => "WriteStatus",
            Self::Timeout(_) => "Timeout",
            Self::NotLeading => "NotLeading",
            Self::NoEnd => "NoEnd",
        }
    }
}

/// What a request failed with, without the structure around the API server's own words.
#[must_use]
pub fn in_brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.is_invalid() => {
            format!("the API server answered {}: {}", status.code, without_values(status))
        }
        kube::Error::Api(status) => format!("the API server answered {}: {}", status.code, status.message),
        other => other.to_string(),
    }
}

/// What the API server finds invalid, by field, without the values that it quotes: a private key may have been pasted into
/// one.
pub fn without_values(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut faults: Vec<String> = causes
        .map(|cause| {
            // The key of a map stands in brackets and is such a value, too.
            let field = cause.field.split('[').next().unwrap_or_default();
            // `Invalid value: "…": must be …`; the value is quoted as in Go, so that what follows its last quote is ours.
            let fault = match cause.message.rsplit_once("\": ") {
                Some((_, fault)) => fault,
                None => cause.message.split('"').next().unwrap_or_default().trim_end_matches([' ', ':']),
            };
            format!("{field}: {fault}")
        })
        .collect();
    faults.dedup();
    if faults.is_empty() { "it is invalid".to_owned() } else { faults.join(", ") }
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    #[test]
    fn values_are_left_out() {
        let cause = |field: &str, message: &str| StatusCause {
            reason: String::new(),
            message: message.to_owned(),
            field: field.to_owned(),
        };
        let causes = vec![
            cause("metadata.labels", r#"Invalid value: "se\"cret\": x": a valid label must begin (e.g. 'MyName')"#),
            cause("metadata.annotations", "Too long: may not be more than 262144 bytes"),
            cause("data[secret]", r#"Duplicate value: "secret""#),
        ];
        let details = StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes,
            retry_after_seconds: 0,
        };
        let status = Status { details: Some(details), ..Status::failure("secret", "Invalid") };
        assert_eq!(
            without_values(&status),
            "metadata.labels: a valid label must begin (e.g. 'MyName'), \
             metadata.annotations: Too long: may not be more than 262144 bytes, data: Duplicate value"
        );
        assert_eq!(without_values(&Status::failure("secret", "Invalid")), "it is invalid");
    }
}
