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
};
use zeroize::Zeroizing;

use super::{
    Error,
    certificate::{Kept, Step, server_config},
    registration::Registration,
    secret::{self, AUTHORITIES, CERTIFICATE, KEY},
    server::Server,
};
use crate::controller::{listening, watch_config, watched};

/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(2);
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
}

impl Keeper {
    /// Nothing is done yet.
    pub fn new(client: &Client, registration: Registration, lifetime: Duration) -> Self {
        let secrets = Api::default_namespaced(client.clone());
        let name = format!("{}-webhook", registration.name());
        let namespace = client.default_namespace().to_owned();
        Self { secrets, namespace, name, client: client.clone(), registration, lifetime }
    }

    /// Keeps everything up to date, for ever.
    pub async fn keep(self, server: &mut Server) {
        let mut changes = pin!(self.changes());
        loop {
            let pause = match self.step(server).await {
                Ok(due) => due.duration_since(SystemTime::now()).unwrap_or_default().min(INTERVAL),
                Err(error) => {
                    tracing::warn!(%error, "cannot keep the webhook's certificate up to date; trying again");
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Some(()) = changes.next() => {
                    let more = async { while changes.next().await.is_some() {} };
                    let _ = tokio::time::timeout(PACE, more).await;
                }
            }
        }
    }

    /// Something that is kept here has been changed, or may have been.
    fn changes(&self) -> impl Stream<Item = ()> + use<> {
        let only = |name: &str| watch_config().fields(&format!("metadata.name={name}"));
        let client = || listening(&self.client, || ());
        // The key is not needed for it.
        let secret: Api<PartialObjectMeta<Secret>> = Api::default_namespaced(client());
        let secret = watched(secret, only(&self.name)).map(drop).boxed();
        let named = only(self.registration.name());
        let configurations = self.registration.apis(client).map(|api| watched(api, named.clone()).map(drop).boxed());
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

/// Serves the certificate in a directory, which somebody else renews: cert-manager, whose Secret is mounted there.
pub struct Directory {
    path: PathBuf,
    registration: Registration,
    /// What the API server was told to trust last.
    trusted: String,
}

impl Directory {
    /// Nothing is done yet.
    pub fn new(path: PathBuf, registration: Registration) -> Self {
        Self { path, registration, trusted: String::new() }
    }

    /// Follows the files, for ever.
    pub async fn keep(mut self, server: &mut Server) {
        loop {
            if let Err(error) = self.step(server).await {
                tracing::warn!(%error, "cannot use the webhook's certificate; trying again");
            }
            tokio::time::sleep(FILE_INTERVAL).await;
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
