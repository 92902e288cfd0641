//! Rotates the certificate of the webhook, and keeps the CA bundle of the API server up to date.

use std::{
    path::PathBuf,
    pin::pin,
    time::{Duration, SystemTime},
};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{PartialObjectMeta, PostParams},
    runtime::watcher::{self, Event},
};
use zeroize::Zeroizing;

use crate::{
    cache::{on_watch_success, watch_config, watch_events},
    client::{Backoff, Randomness},
    webhook::{
        Error,
        certificate::{CertState, RotationStep, server_config},
        registration::Registration,
        secret::{self, AUTHORITIES, CERTIFICATE, KEY},
        server::Server,
    },
};

/// How long to wait until all API servers have a changed CA bundle.
const PROPAGATION: Duration = Duration::from_secs(2);
/// The only key of the back-off.
const BACKOFF_KEY: &str = "step";
/// The maximum time between two steps, even without watch events.
const RESYNC_INTERVAL: Duration = Duration::from_secs(600);
/// Changes within this time are handled in one step, so that frequent changes do not keep the rotator busy.
const DEBOUNCE: Duration = Duration::from_millis(500);
/// How often the files of a certificate directory are reread.
const FILE_INTERVAL: Duration = Duration::from_secs(5);
/// How many consecutive conflicts a step tolerates.
const MAX_CONFLICTS: usize = 20;

/// Rotates certificates in a Secret that all replicas share. There is no leader: any replica can take the next step, guarded by the
/// resource version of the Secret, and the others follow.
pub struct CertRotator {
    secrets: Api<Secret>,
    /// The namespace of the Secret.
    namespace: String,
    /// The name of the Secret.
    name: String,
    client: Client,
    registration: Registration,
    lifetime: Duration,
    backoff: Backoff,
}

impl CertRotator {
    pub fn new(client: &Client, registration: Registration, lifetime: Duration) -> Self {
        let secrets = Api::default_namespaced(client.clone());
        let name = format!("{}-webhook", registration.name());
        let namespace = client.default_namespace().to_owned();
        let backoff = Backoff::new(Randomness::of_this_process());
        Self { secrets, namespace, name, client: client.clone(), registration, lifetime, backoff }
    }

    /// Keeps certificate and CA bundle up to date. Never returns.
    pub async fn run(self, server: &mut Server) {
        let mut changes = pin!(self.changes());
        loop {
            let pause = match self.step(server).await {
                Ok(due) => {
                    self.backoff.forget(BACKOFF_KEY);
                    due.duration_since(SystemTime::now()).unwrap_or_default().min(RESYNC_INTERVAL)
                }
                Err(error) => {
                    let retry_in = self.backoff.delay_after_failure(BACKOFF_KEY);
                    tracing::warn!(%error, ?retry_in, "cannot keep the webhook's certificate up to date; trying again");
                    retry_in
                }
            };
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause) => {}
                Some(()) = changes.next() => {
                    let more = async { while changes.next().await.is_some() {} };
                    let _ = tokio::time::timeout(DEBOUNCE, more).await;
                }
            }
        }
    }

    /// Yields when the Secret or a webhook configuration may have changed. Watch errors yield nothing.
    fn changes(&self) -> impl Stream<Item = ()> + use<> {
        let by_name = |name: &str| watch_config().fields(&format!("metadata.name={name}"));
        let jitter = Randomness::of_this_process();
        let client = || on_watch_success(&self.client, || ());
        // Metadata only: the private key is not needed.
        let secret: Api<PartialObjectMeta<Secret>> = Api::default_namespaced(client());
        let secret = watch_events(secret, by_name(&self.name), jitter).filter_map(changed).boxed();
        let named = by_name(self.registration.name());
        let configurations = self
            .registration
            .apis(client)
            .map(|api| watch_events(api, named.clone(), jitter).filter_map(changed).boxed());
        stream::select_all(configurations.chain([secret]).collect::<Vec<_>>())
    }

    /// Takes the steps that are due, and returns the time of the next one.
    async fn step(&self, server: &mut Server) -> Result<SystemTime, Error> {
        for _ in 0..MAX_CONFLICTS {
            match self.try_step(server).await {
                Ok(Some(due)) => return Ok(due),
                Ok(None) => {}
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended)
    }

    /// Takes one step. Returns the time of the next one, or `None` if it is due now.
    async fn try_step(&self, server: &mut Server) -> Result<Option<SystemTime>, Error> {
        let hosts = self.registration.hosts().await?;
        let secret = self.secrets.get_opt(&self.name).await.map_err(Error::during("read the webhook's Secret"))?;
        let now = SystemTime::now();
        let mut state = match &secret {
            Some(secret) => secret::read(secret, now).map_err(|why| self.foreign(why))?,
            None => CertState::default(),
        };
        let step = state.next_step(&hosts, now, self.lifetime);
        if step == RotationStep::Promote && self.registration.apply_ca_bundle(&state.bundle()).await? {
            // The CA bundle lacked the next authority. API servers must receive it before the certificate is served.
            return Ok(Some(now + PROPAGATION));
        }
        state.take(step, &hosts, now, self.lifetime)?;
        if !matches!(step, RotationStep::Keep(_)) {
            self.write(secret, &state).await?;
            tracing::info!(?step, ?hosts, "updated the certificates of the webhook");
        }
        if let Some(current) = &state.current {
            server.serve_with(&current.chain, || current.server_config())?;
        }
        let has_changed = self.registration.apply_ca_bundle(&state.bundle()).await?;
        server.mark_trusted();
        match step {
            // After a change, read again: another replica may have written the Secret meanwhile.
            RotationStep::Keep(due) if !has_changed => Ok(Some(due)),
            _ => Ok(None),
        }
    }

    fn foreign(&self, why: &'static str) -> Error {
        Error::Foreign { namespace: self.namespace.clone(), name: self.name.clone(), why }
    }

    async fn write(&self, secret: Option<Secret>, state: &CertState) -> Result<(), Error> {
        let to_error = Error::during("write the webhook's Secret");
        let data = Some(secret::data(state));
        if let Some(secret) = secret {
            let secret = Secret { data, ..secret };
            return self.secrets.replace(&self.name, &PostParams::default(), &secret).await.map(drop).map_err(to_error);
        }
        let secret = Secret { data, ..secret::empty(&self.name) };
        self.secrets.create(&PostParams::default(), &secret).await.map(drop).map_err(to_error)
    }
}

/// The start of a list is not a change, and is repeated at each retry.
async fn changed<T>(event: Result<Event<T>, watcher::Error>) -> Option<()> {
    event.is_ok_and(|event| !matches!(event, Event::Init)).then_some(())
}

/// Serves the certificate in a directory. Another program renews it, such as cert-manager, whose Secret is mounted there.
pub struct CertFileReloader {
    path: PathBuf,
    registration: Registration,
    /// The last CA bundle, in PEM.
    trusted: String,
    backoff: Backoff,
}

impl CertFileReloader {
    pub fn new(path: PathBuf, registration: Registration) -> Self {
        Self { path, registration, trusted: String::new(), backoff: Backoff::new(Randomness::of_this_process()) }
    }

    /// Reloads the files when they change. Never returns.
    pub async fn run(mut self, server: &mut Server) {
        loop {
            let pause = match self.step(server).await {
                Ok(()) => {
                    self.backoff.forget(BACKOFF_KEY);
                    FILE_INTERVAL
                }
                Err(error) => {
                    // Only requests to the API server need back-off; rereading files is cheap.
                    let is_api_error = matches!(error, Error::Kube { .. });
                    let retry_in = if is_api_error {
                        self.backoff.delay_after_failure(BACKOFF_KEY).max(FILE_INTERVAL)
                    } else {
                        FILE_INTERVAL
                    };
                    tracing::warn!(%error, ?retry_in, "cannot use the webhook's certificate; trying again");
                    retry_in
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn step(&mut self, server: &mut Server) -> Result<(), Error> {
        let (chain, key) = (self.read(CERTIFICATE)?, Zeroizing::new(self.read(KEY)?));
        if self.registration.is_self_managed() {
            // The bundle is written before the certificate is served. It also has the previous authorities, until the next step.
            let authorities = self.read(AUTHORITIES)?;
            let previous = std::mem::replace(&mut self.trusted, authorities.clone());
            let bundle = if previous == authorities { authorities } else { format!("{authorities}{previous}") };
            self.registration.apply_ca_bundle(&bundle).await?;
        }
        server.serve_with(&chain, || server_config(&chain, &key))?;
        server.mark_trusted();
        Ok(())
    }

    fn read(&self, name: &str) -> Result<String, Error> {
        let path = self.path.join(name);
        std::fs::read_to_string(&path).map_err(|source| Error::File { path: path.display().to_string(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use kube::client::{Body, ClientBuilder};
    use tokio::time::Instant;
    use tower::{BoxError, service_fn};

    use super::*;
    use crate::{
        cache::{ScopeCaches, Usage},
        client::{RequestLimits, WallClock},
        observe::{Health, Metrics},
        webhook::{Scopes, Settings},
    };

    /// The times of the requests within an hour to an API server that hangs or refuses connections.
    async fn request_times(is_silent: bool) -> Vec<Duration> {
        let begin = Instant::now();
        let times = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&times);
        let service = service_fn(move |request: Request<Body>| {
            if !request.uri().query().unwrap_or_default().contains("watch=") && !request.uri().path().ends_with('s') {
                log.lock().unwrap().push(begin.elapsed());
            }
            async move {
                if is_silent {
                    std::future::pending::<()>().await;
                }
                Err::<Response<Body>, BoxError>("no connection".into())
            }
        });
        let client = ClientBuilder::new(service, "default").with_layer(&RequestLimits::default()).build();
        let settings = Settings {
            address: ([127, 0, 0, 1], 0).into(),
            url: None,
            configuration: "keypair-operator".to_owned(),
            certificates: None,
            lifetime: Duration::from_secs(3600),
            scopes: Scopes::new(vec![None]),
        };
        let caches = Arc::<ScopeCaches>::default();
        let metrics = Arc::new(Metrics::new(Usage::new(Arc::clone(&caches), WallClock::default())));
        let health = Arc::new(Health::new(false, true));
        let mut server = Server::new(settings.address, settings.scopes.clone(), caches, metrics, health);
        let rotator = CertRotator::new(&client, Registration::new(&client, &settings), settings.lifetime);
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, rotator.run(&mut server)).await.is_err(), "it never returns");
        times.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn failed_requests_are_retried_with_back_off() {
        for is_silent in [false, true] {
            let times = request_times(is_silent).await;
            assert!((50..250).contains(&times.len()), "{is_silent}: {}", times.len());
            let last = times.last().unwrap();
            assert!(last.as_secs() > 3500, "{is_silent}: no retries after {last:?}");
        }
    }
}
