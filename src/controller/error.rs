//! What can go wrong while one object is reconciled. Each step has its own variant; none carries a byte of a key.

use std::time::Duration;

use super::{answer::in_brief, generator::GeneratorError, secrets::RequestError};
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
    /// The `KeyPair`, which is too large to be kept, could not be read.
    #[error("cannot read the KeyPair: {}", in_brief(.0))]
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
    /// What a request about a Secret failed with, if that is the API server's doing, or of somebody whom it asks: not where it is
    /// overtaken by another change, and not where it cannot be reached, for then nothing can be told either.
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
            Self::Timeout(_) => Some(self.to_string()),
            _ => None,
        }
    }

    /// The step that failed, for metrics.
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
            Self::Timeout(_) => "Timeout",
            Self::NotLeading => "NotLeading",
            Self::NoEnd => "NoEnd",
        }
    }
}
