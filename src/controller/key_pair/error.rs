//! Errors of the reconciliation of one object. Each step has its own variant; none contains a byte of a key.

use super::secrets::RequestError;
use crate::{
    client::answer::summarize,
    controller::{deadline::Unanswered, jobs::generator::GeneratorError},
    domain::key::PrivateKeyError,
};

/// Why a reconciliation failed; it is retried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key pair could not be generated.
    #[error("cannot generate the key pair: {0}")]
    Generate(#[from] GeneratorError),
    /// The public key could not be derived from the generated key, or the key not be encoded.
    #[error("cannot use the generated key: {0}")]
    PrivateKey(#[from] PrivateKeyError),
    /// The `KeyPair`, which is too large for the cache, could not be read.
    #[error("cannot read the KeyPair: {}", summarize(.0))]
    ReadKeyPair(#[source] kube::Error),
    /// The Secret could not be created.
    #[error("cannot create the Secret: {0}")]
    CreateSecret(#[source] RequestError),
    /// The Secret could not be read.
    #[error("cannot read the Secret: {0}")]
    ReadSecret(#[source] RequestError),
    /// The Secret could not be changed.
    #[error("cannot change the Secret: {0}")]
    UpdateSecret(#[source] RequestError),
    /// The Secret from which the key was moved could not be deleted.
    #[error("cannot delete the Secret under its old name: {0}")]
    DeleteSecret(#[source] RequestError),
    /// The status could not be written.
    #[error("cannot write the status: {}", summarize(.0))]
    WriteStatus(#[source] kube::Error),
    /// A request has no response.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// The steps of the decision do not end: a bug in the operator.
    #[error("the steps of the reconciliation do not end; this is a bug in the operator, please report it")]
    NoEnd,
}

impl Error {
    /// The error of a request for a Secret, if the API server or its admission caused it. `None` for a conflict with another change,
    /// and for an API server that is unreachable: then the status cannot be written either.
    #[must_use]
    pub fn about_secret(&self) -> Option<String> {
        match self {
            Self::CreateSecret(error)
            | Self::ReadSecret(error)
            | Self::UpdateSecret(error)
            | Self::DeleteSecret(error) => match error {
                RequestError::Kube(kube::Error::Api(status)) if status.code != 409 => Some(error.to_string()),
                RequestError::Unreadable => Some(error.to_string()),
                _ => None,
            },
            Self::Unanswered(Unanswered::Timeout(_)) => Some(self.to_string()),
            _ => None,
        }
    }

    /// The step that failed or, if that says less, the cause; for metrics.
    #[must_use]
    pub const fn step(&self) -> &'static str {
        match self {
            Self::Generate(_) | Self::PrivateKey(_) => "GenerateKey",
            Self::ReadKeyPair(_) => "ReadKeyPair",
            Self::CreateSecret(_) => "CreateSecret",
            Self::ReadSecret(_) => "ReadSecret",
            Self::UpdateSecret(_) => "UpdateSecret",
            Self::DeleteSecret(_) => "DeleteSecret",
            Self::WriteStatus(_) => "WriteStatus",
            Self::Unanswered(unanswered) => unanswered.as_str(),
            Self::NoEnd => "NoEnd",
        }
    }
}
