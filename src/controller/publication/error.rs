//! Errors of the reconciliation of one publication.

use crate::{client::answer::summarize, controller::deadline::Unanswered};

/// Why a reconciliation failed; it is retried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target could not be read.
    #[error("cannot read the target: {}", summarize(.0))]
    ReadTarget(#[source] kube::Error),
    /// The target could not be written.
    #[error("cannot write the target: {}", summarize(.0))]
    WriteTarget(#[source] kube::Error),
    /// A target that is to go could not be deleted.
    #[error("cannot delete the target: {}", summarize(.0))]
    DeleteTarget(#[source] kube::Error),
    /// The response is not an object. The parse error is dropped, because it may quote the object.
    #[error("the API server's response is not an object")]
    Unreadable,
    /// The target kept changing.
    #[error("the target changes all the time")]
    Changing,
    /// The status could not be written.
    #[error("cannot write the status: {}", summarize(.0))]
    WriteStatus(#[source] kube::Error),
    /// A request has no response.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

impl Error {
    /// The error of a request for the target, if the API server or its admission caused it.
    #[must_use]
    pub fn about_target(&self) -> Option<String> {
        match self {
            Self::ReadTarget(kube::Error::Api(status))
            | Self::WriteTarget(kube::Error::Api(status))
            | Self::DeleteTarget(kube::Error::Api(status))
                if status.code != 409 =>
            {
                Some(self.to_string())
            }
            Self::Unreadable | Self::Changing | Self::Unanswered(Unanswered::Timeout(_)) => Some(self.to_string()),
            _ => None,
        }
    }

    /// The step that failed or, if that says less, the cause; for metrics.
    #[must_use]
    pub const fn step(&self) -> &'static str {
        match self {
            Self::ReadTarget(_) | Self::Unreadable => "ReadTarget",
            Self::WriteTarget(_) | Self::Changing => "WriteTarget",
            Self::DeleteTarget(_) => "DeleteTarget",
            Self::WriteStatus(_) => "WriteStatus",
            Self::Unanswered(unanswered) => unanswered.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_keeps_a_target_from_being_written_is_about_it() {
        for (error, expected) in [
            (Error::Changing, true),
            (Error::Unreadable, true),
            (Unanswered::Timeout(Duration::from_secs(1)).into(), true),
            (Unanswered::NotLeading.into(), false),
        ] {
            assert_eq!(error.about_target().is_some(), expected, "{error}");
        }
    }
}
