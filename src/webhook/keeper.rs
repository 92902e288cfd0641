//! Keeps the certificate valid and the API server trusting it.

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

use super::{
    Error,
    certificate::{Kept, Step, server_config},
    registration::Registration,
    secret::{self, AUTHORITIES, CERTIFICATE, KEY},
    server::Server,
};
use crate::controller::{Backoff, Randomness, listening, watch_config, watched};

/// How long API servers have to hear of whom to trust.
const RETRY: Duration = Duration::from_secs(2);
/// What the back-off is of: there is one of each.
const STEP: &str = "step";
/// How often to look, even if nothing has been heard.
const INTERVAL: Duration = Duration::from_secs(600);
/// What happens within this time is looked at in one go, so that nobody who keeps changing things keeps us busy.
const PACE: Duration = Duration::from_millis(500);
/// How often files are looked at, which are changed without a word.
const FILE_INTERVAL: Duration = Duration::from_secs(5);
/// How often another may be faster before something must be wrong.
const MAX_CONTESTS: usize = 20;

/// Keeps certificates in a Secret that all replicas share. They are equals: whoever comes first takes the next step, guarded
/// by the Secret's resource version, and the others follow.
pub struct Keeper {
    secrets: Api<Secret>,
    /// The namespace and the name of the Secret.
    namespace: String,
    name: String,
    /// For the watches.
    client: Client,
    registration: Registration,
    lifetime: Duration,
    backoff: Backoff,
}

impl Keeper {
    /// Nothing is done yet.
    pub fn new(client: &Client, registration: Registration, lifetime: Duration) -> Self {
        let secrets = Api::default_namespaced(client.clone());
        let name = format!("{}-webhook", registration.name());
        let namespace = client.default_namespace().to_owned();
        let backoff = Backoff::new(Randomness::of_this_process());
        Self { secrets, namespace, name, client: client.clone(), registration, lifetime, backoff }
    }

    /// Keeps everything up to date, for ever.
    pub async fn keep(self, server: &mut Server) {
        let mut changes = pin!(self.changes());
        loop {
            let pause = match self.step(server).await {
                Ok(due) => {
                    self.backoff.forget(STEP);
                    due.duration_since(SystemTime::now()).unwrap_or_default().min(INTERVAL)
                }
                Err(error) => {
                    let retry_in = self.backoff.failed(STEP);
                    tracing::warn!(%error, ?retry_in, "cannot keep the webhook's certificate up to date; trying again");
                    retry_in
                }
            };
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause) => {}
                Some(()) = changes.next() => {
                    let more = async { while changes.next().await.is_some() {} };
                    let _ = tokio::time::timeout(PACE, more).await;
                }
            }
        }
    }

    /// Something that is kept here has been changed, or may have been. That it cannot be watched says nothing of it.
    fn changes(&self) -> impl Stream<Item = ()> + use<> {
        let only = |name: &str| watch_config().fields(&format!("metadata.name={name}"));
        let jitter = Randomness::of_this_process();
        let client = || listening(&self.client, || ());
        // The key is not needed for it.
        let secret: Api<PartialObjectMeta<Secret>> = Api::default_namespaced(client());
        let secret = watched(secret, only(&self.name), jitter).filter_map(happened).boxed();
        let named = only(self.registration.name());
        let configurations =
            self.registration.apis(client).map(|api| watched(api, named.clone(), jitter).filter_map(happened).boxed());
        stream::select_all(configurations.chain([secret]).collect::<Vec<_>>())
    }

    /// Does what is due, and says when to look again.
    async fn step(&self, server: &mut Server) -> Result<SystemTime, Error> {
        for _ in 0..MAX_CONTESTS {
            match self.try_step(server).await {
                Ok(Some(due)) => return Ok(due),
                Ok(None) => {}
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended)
    }

    /// The same, if nobody else is faster. `None`: there is more to do.
    async fn try_step(&self, server: &mut Server) -> Result<Option<SystemTime>, Error> {
        let hosts = self.registration.hosts().await?;
        let secret = self.secrets.get_opt(&self.name).await.map_err(Error::refused("read the webhook's Secret"))?;
        let now = SystemTime::now();
        let mut kept = match &secret {
            Some(secret) => secret::read(secret, now).map_err(|why| self.foreign(why))?,
            None => Kept::default(),
        };
        let step = kept.next_step(&hosts, now, self.lifetime);
        if step == Step::Promote && self.registration.trust(&kept.bundle()).await? {
            // Somebody had taken the trust away from what would be served now: API servers have to hear of it first.
            return Ok(Some(now + RETRY));
        }
        kept.take(step, &hosts, now, self.lifetime)?;
        if !matches!(step, Step::Keep(_)) {
            self.write(secret, &kept).await?;
            tracing::info!(?step, hosts = ?hosts, "webhook's certificates changed");
        }
        if let Some(current) = &kept.current {
            server.serve_with(&current.chain, || current.server_config())?;
        }
        let has_changed = self.registration.trust(&kept.bundle()).await?;
        server.is_trusted();
        match step {
            // Otherwise it is looked at once more, for another replica may have written the Secret since it was read.
            Step::Keep(due) if !has_changed => Ok(Some(due)),
            _ => Ok(None),
        }
    }

    fn foreign(&self, why: &'static str) -> Error {
        Error::Foreign { namespace: self.namespace.clone(), name: self.name.clone(), why }
    }

    async fn write(&self, secret: Option<Secret>, kept: &Kept) -> Result<(), Error> {
        let refused = Error::refused("write the webhook's Secret");
        let data = Some(secret::data(kept));
        if let Some(secret) = secret {
            let secret = Secret { data, ..secret };
            return self.secrets.replace(&self.name, &PostParams::default(), &secret).await.map(drop).map_err(refused);
        }
        let secret = Secret { data, ..secret::marked(&self.name) };
        self.secrets.create(&PostParams::default(), &secret).await.map(drop).map_err(refused)
    }
}

/// That a list is begun says nothing yet, and is said at each try.
async fn happened<T>(event: Result<Event<T>, watcher::Error>) -> Option<()> {
    event.is_ok_and(|event| !matches!(event, Event::Init)).then_some(())
}

/// Serves the certificate in a directory, which somebody else renews: cert-manager, whose Secret is mounted there.
pub struct Directory {
    path: PathBuf,
    registration: Registration,
    /// What the API server was told to trust last.
    trusted: String,
    backoff: Backoff,
}

impl Directory {
    /// Nothing is done yet.
    pub fn new(path: PathBuf, registration: Registration) -> Self {
        Self { path, registration, trusted: String::new(), backoff: Backoff::new(Randomness::of_this_process()) }
    }

    /// Follows the files, for ever.
    pub async fn keep(mut self, server: &mut Server) {
        loop {
            let pause = match self.step(server).await {
                Ok(()) => {
                    self.backoff.forget(STEP);
                    FILE_INTERVAL
                }
                Err(error) => {
                    // Files cost nothing to look at.
                    let asked = matches!(error, Error::Kube { .. });
                    let retry_in = if asked { self.backoff.failed(STEP).max(FILE_INTERVAL) } else { FILE_INTERVAL };
                    tracing::warn!(%error, ?retry_in, "cannot use the webhook's certificate; trying again");
                    retry_in
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn step(&mut self, server: &mut Server) -> Result<(), Error> {
        let (chain, key) = (self.read(CERTIFICATE)?, Zeroizing::new(self.read(KEY)?));
        if self.registration.makes_itself() {
            // Before it is served; and the one before as well, until it is not any more.
            let authorities = self.read(AUTHORITIES)?;
            let before = std::mem::replace(&mut self.trusted, authorities.clone());
            let both = if before == authorities { authorities } else { format!("{authorities}{before}") };
            self.registration.trust(&both).await?;
        }
        server.serve_with(&chain, || server_config(&chain, &key))?;
        server.is_trusted();
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
        controller::{Health, Metrics, Requests, Views},
        webhook::{Scopes, Settings},
    };

    /// When the API server was asked within an hour, of which it answers nothing, or refuses to.
    async fn asked(is_silent: bool) -> Vec<Duration> {
        let begin = Instant::now();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
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
        let client = ClientBuilder::new(service, "default").with_layer(&Requests::default()).build();
        let settings = Settings {
            address: ([127, 0, 0, 1], 0).into(),
            url: None,
            configuration: "keypair-operator".to_owned(),
            certificates: None,
            lifetime: Duration::from_secs(3600),
            scopes: Scopes::new(vec![None]),
        };
        let views = Arc::<Views>::default();
        let metrics = Arc::new(Metrics::new(Arc::clone(&views)));
        let health = Arc::new(Health::new(false, true));
        let mut server = Server::new(settings.address, settings.scopes.clone(), views, metrics, health);
        let keeper = Keeper::new(&client, Registration::new(&client, &settings), settings.lifetime);
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, keeper.keep(&mut server)).await.is_err(), "it never ends");
        asked.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_away_is_asked_again_and_again_with_longer_pauses() {
        for is_silent in [false, true] {
            let asked = asked(is_silent).await;
            assert!((50..250).contains(&asked.len()), "{is_silent}: {}", asked.len());
            let last = asked.last().unwrap();
            assert!(last.as_secs() > 3500, "{is_silent}: it was not asked any more after {last:?}");
        }
    }
}
