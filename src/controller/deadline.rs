//! The deadline of each request: the end of this process's term as the leader.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use crate::{client::requests::REQUEST_LIMIT, leader::leadership::Leadership};

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// The API server did not respond in time.
    Timeout(Duration),
    /// Another replica leads, or may soon.
    NotLeading,
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
