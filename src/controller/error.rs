//! What can go wrong while one object is reconciled. Each step has its own variant; none carries a byte of a key.

use std::time::Duration;

use super::{generator::GeneratorError, secrets::CreateError};
use crate::domain::key::PrivateKeyError;

/// Why a reconciliation did not come to its end; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key pair could not be generated.
    #[error("cannot generate the key pair: {0}")]
    Generate(#[from] GeneratorError),
    /// The public key could not be derived from the key just generated.
    #[error("cannot derive the public key: {0}")]
    PublicKey(#[from] PrivateKeyError),
    /// The Secret could not be created.
    #[error("cannot create the Secret: {0}")]
    CreateSecret(#[source] CreateError),
    /// The Secret could not be read.
    #[error("cannot read the Secret: {}", in_brief(.0))]
    ReadSecret(#[source] kube::Error),
    /// The status could not be written.
    #[error("cannot write the status: {}", in_brief(.0))]
    WriteStatus(#[source] kube::Error),
    /// The API server did not answer in time.
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
    /// The operator is being stopped.
    #[error("the operator is stopping")]
    Stopping,
    /// The steps of the decision did not come to an end: a mistake in the operator.
    #[error("the steps to take do not end; please report this")]
    NoEnd,
}

/// What a request failed with, without the structure around the API server's own words.
pub fn in_brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("the API server answered {}: {}", status.code, status.message),
        other => other.to_string(),
    }
}
