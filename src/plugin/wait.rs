//! Waits for the operator, and shows what is awaited.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{cluster::Cluster, error::Error, output};
use crate::{
    api::{KeyPair, KeyPairStatus, status::READY},
    domain::reason::Reason,
};

/// The first delay between two looks, and the longest.
const DELAYS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];
/// How often a wait that goes on is reported.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// What a look at the objects has shown.
pub enum Progress<T> {
    /// What was awaited has happened.
    Done(T),
    /// What is still awaited.
    Waiting(String),
}

/// Looks again and again until it is done. Shows what is awaited whenever that changes, and from time to time.
pub async fn until<T>(
    timeout: Duration,
    mut look: impl AsyncFnMut() -> Result<Progress<T>, Error>,
) -> Result<T, Error> {
    let [mut delay, longest] = DELAYS;
    let begun = Instant::now();
    let mut reported = (String::new(), begun);
    loop {
        let awaited = match look().await? {
            Progress::Done(result) => return Ok(result),
            Progress::Waiting(awaited) => awaited,
        };
        let elapsed = begun.elapsed();
        if elapsed >= timeout {
            let hint = "if keypair-operator runs and watches this namespace, it goes on: to wait longer, give a larger --timeout";
            return Err(Error::TimedOut(format!("{}, waiting for {awaited}; {hint}", shown(timeout))));
        }
        if reported.0 != awaited {
            output::note(&format!("Waiting for {awaited}"));
            reported = (awaited, Instant::now());
        } else if reported.1.elapsed() >= REPORT_EVERY {
            output::note(&format!("Still waiting for {awaited} ({} s)", elapsed.as_secs()));
            reported.1 = Instant::now();
        }
        sleep(delay.min(timeout.saturating_sub(elapsed))).await;
        delay = (delay * 3 / 2).min(longest);
    }
}

/// A duration in seconds, as kubectl writes it.
fn shown(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

/// Waits until the KeyPair is Ready, or reports the reason for which it is not, unless it is one of these, which pass.
pub async fn ready(cluster: &Cluster, name: &str, timeout: Duration, passing: &[Reason]) -> Result<KeyPair, Error> {
    let pair = until(timeout, async || readiness(cluster.key_pair(name).await?, passing)).await?;
    if let Some(ready) = pair.status.as_ref().and_then(|status| status.condition(READY)) {
        output::note(&format!("keypair/{name} is Ready ({}): {}", ready.reason, ready.message));
    }
    Ok(pair)
}

fn readiness(pair: KeyPair, passing: &[Reason]) -> Result<Progress<KeyPair>, Error> {
    let name = pair.metadata.name.clone().unwrap_or_default();
    let is_current = |status: &&KeyPairStatus| status.observed_generation == pair.metadata.generation;
    let Some(ready) = pair.status.as_ref().filter(is_current).and_then(|status| status.condition(READY)) else {
        let task = if pair.spec.public_key.is_some() { "import the public key" } else { "provide the key pair" };
        // Without an operator, there is never a status.
        return Ok(Progress::Waiting(format!("the operator to {task} (keypair/{name} has no current status yet)")));
    };
    match ready.status.as_str() {
        "True" => Ok(Progress::Done(pair)),
        _ if passes(&ready.reason, passing) => {
            Ok(Progress::Waiting(format!("keypair/{name}: {}: {}", ready.reason, ready.message)))
        }
        _ => Err(not_ready(&pair)),
    }
}

/// Whether the operator itself tries to remove this reason, or another request is about to.
fn passes(reason: &str, passing: &[Reason]) -> bool {
    let always = [Reason::IdempotentProcessing, Reason::InternalError];
    Reason::from_name(reason).is_some_and(|reason| always.contains(&reason) || passing.contains(&reason))
}

/// Why a KeyPair is not Ready, and what to do, in the operator's words.
pub fn not_ready(pair: &KeyPair) -> Error {
    let name = pair.metadata.name.as_deref().unwrap_or_default();
    let status = pair.status.as_ref();
    let Some(ready) = status.and_then(|status| status.condition(READY)).filter(|ready| ready.status != "True") else {
        return Error::state(format!(
            "KeyPair {name:?} has no key yet: wait for it with `kubectl wait --for=condition=Ready keypair/{name}`; without a status, check that keypair-operator runs"
        ));
    };
    let code =
        status.and_then(|status| status.error.as_ref()).map_or(String::new(), |error| format!(" {}", error.code));
    Error::state(format!("KeyPair {name:?} is not Ready ({}{code}): {}", ready.reason, ready.message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pair(status: &serde_json::Value) -> KeyPair {
        let object = json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": "web", "generation": 2 },
            "spec": {}, "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    fn with_ready(generation: i64, status: &str, reason: &str) -> KeyPair {
        let ready = json!({
            "type": "Ready", "status": status, "reason": reason, "message": "Do this.",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let error = json!({ "reason": reason, "code": "CODE", "message": "M", "httpStatus": 400 });
        pair(&json!({ "observedGeneration": generation, "conditions": [ready], "error": error }))
    }

    #[test]
    fn a_pair_is_ready_once_its_current_spec_is() {
        assert!(matches!(readiness(with_ready(2, "True", "Generated"), &[]), Ok(Progress::Done(_))));
        for waiting in [
            pair(&json!(null)),
            with_ready(1, "True", "Generated"),
            with_ready(1, "False", "InvalidSecret"),
            with_ready(2, "False", "IdempotentProcessing"),
            with_ready(2, "False", "InternalError"),
        ] {
            assert!(matches!(readiness(waiting, &[]), Ok(Progress::Waiting(_))));
        }
        for reason in ["InvalidSecret", "QuotaExceeded", "SecretConflict", "SomethingNew"] {
            let Err(error) = readiness(with_ready(2, "False", reason), &[Reason::PrivateKeyLost]) else {
                panic!("{reason}")
            };
            assert_eq!(error.to_string(), format!("KeyPair \"web\" is not Ready ({reason} CODE): Do this."));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_it_is_done_or_the_time_is_over() {
        let mut looks = 0;
        let count = until(Duration::from_secs(60), async || {
            looks += 1;
            Ok(if looks == 9 { Progress::Done(looks) } else { Progress::Waiting("it".to_owned()) })
        });
        assert_eq!(count.await.unwrap(), 9);
        let begun = Instant::now();
        let never = until::<()>(Duration::from_millis(2500), async || Ok(Progress::Waiting("the end".to_owned())));
        let error = never.await.unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().starts_with("timed out after 2.5s, waiting for the end"), "{error}");
        assert_eq!(begun.elapsed(), Duration::from_millis(2500));
    }
}
