//! The deadline of each request: the end of this process's term as the leader.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use crate::{client::requests::REQUEST_LIMIT, leader::leadership::Leadership};

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The API server did not respond in time.
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
    /// Another replica leads, or may soon.
    #[error("this replica is no longer the leader")]
    NotLeading,
}

impl Unanswered {
    /// The cause, for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout(_) => "Timeout",
            Self::NotLeading => "NotLeading",
        }
    }
}

/// Sends the request only while this process leads, and waits for the response only as long as it does.
///
/// # Errors
///
/// If there is no response in time.
pub async fn with_deadline<T>(leadership: &Leadership, request: impl Future<Output = T>) -> Result<T, Unanswered> {
    let remaining = leadership.remaining().ok_or(Unanswered::NotLeading)?;
    let limit = REQUEST_LIMIT.min(remaining);
    let mut request = pin!(request);
    let mut timeout = pin!(tokio::time::sleep(limit));
    poll_fn(|cx| {
        // A process that was suspended would resume the request before the timeout fires, hence the check at each poll.
        if leadership.remaining().is_none() {
            return Poll::Ready(Err(Unanswered::NotLeading));
        }
        // The client gives up the request at the same moment, with an error that does not say that the response is missing.
        if timeout.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Unanswered::Timeout(limit)));
        }
        request.as_mut().poll(cx).map(Ok)
    })
    .await
}
