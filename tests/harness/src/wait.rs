//! Waiting for the results of controllers.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::time::sleep;

/// The interval between two probes: short compared with the time that an API server takes to report a change.
const INTERVAL: Duration = Duration::from_millis(50);

/// Calls `probe` until it returns `Some`, and returns the value in it.
///
/// An error of `probe` means "not yet", like `None`, because the awaited object is often "not found" at first. The last
/// error is quoted after the timeout. `what` completes the sentence "waited for …".
///
/// # Errors
///
/// If `probe` has not returned `Some` within `timeout`.
pub async fn eventually<T>(
    timeout: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        let last_error = match probe().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => String::new(),
            Err(error) => format!("; last error: {error:#}"),
        };
        if Instant::now() >= deadline {
            bail!("waited {timeout:?} in vain for {what}{last_error}");
        }
        sleep(INTERVAL).await;
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn eventually_returns_the_first_result() {
        let mut looks = 0;
        let value = eventually(Duration::from_secs(5), "the third look", async || {
            looks += 1;
            Ok((looks == 3).then_some("there"))
        })
        .await
        .unwrap();
        assert_eq!(value, "there");
        assert_eq!(looks, 3);
    }

    #[tokio::test]
    async fn a_timeout_names_the_condition_and_the_last_error() {
        let error = eventually(Duration::ZERO, "rain", async || -> Result<Option<()>> { bail!("clear sky") })
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "waited 0ns in vain for rain; last error: clear sky");
    }
}
