//! What the reviews of all kinds have in common.

use kube::core::{
    Status,
    admission::AdmissionResponse,
    response::{StatusCause, StatusDetails, StatusSummary},
};

/// How many refusals the message lists. The causes list all of them.
pub(super) const MAX_LISTED: usize = 10;

/// The answer to a review.
pub struct ReviewAnswer {
    /// The response to the API server.
    pub response: AdmissionResponse,
    /// The reason, if the request is refused.
    pub refused: Option<&'static str>,
}

/// A status that refuses a request.
pub(super) fn failure(code: u16, reason: String, message: String, causes: Vec<StatusCause>) -> Status {
    let details = StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes,
        retry_after_seconds: 0,
    };
    Status { status: Some(StatusSummary::Failure), code, reason, message, details: Some(details), metadata: None }
}
