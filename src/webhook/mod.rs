//! The admission webhook: says at once what the controller would say later, in the words and with the HTTP status of the
//! cloud.
//!
//! [`review()`] answers, from a [view](crate::controller::Views) that every replica keeps, by the decision of the domain;
//! `server` speaks HTTPS, and [`envelope`] reads what it is sent. `certificate` makes certificates and says when they are due,
//! `keeper` keeps them in a Secret that all replicas share, and `registration` tells the API server whom to trust and, outside a cluster, whom to ask.

mod certificate;
pub mod envelope;
mod error;
mod keeper;
mod registration;
mod review;
mod secret;
mod server;

pub use error::Error;
pub use review::{Scopes, review};

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use http::Uri;
use kube::Client;

use self::{
    keeper::{Directory, Keeper},
    registration::Registration,
    server::Server,
};
use crate::controller::{Health, Metrics, Views};

/// How the webhook is served.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen.
    pub address: SocketAddr,
    /// Where the API server finds it; `None`: where the configuration says that is in the cluster already.
    pub url: Option<Uri>,
    /// The name of the configurations by which the API server knows it.
    pub configuration: String,
    /// The directory with `tls.crt` and `tls.key`; `None`: the certificate is made here, and kept in a Secret.
    pub certificates: Option<PathBuf>,
    /// How long a certificate that is made here is valid.
    pub lifetime: Duration,
    /// Which namespaces are answered for.
    pub scopes: Scopes,
}

/// Finds out at once whether the address can be used.
///
/// # Errors
///
/// If it cannot.
pub fn check(address: SocketAddr) -> Result<(), Error> {
    TcpListener::bind(address).map(drop).map_err(|source| Error::Listen { address, source })
}

/// Answers admission reviews, and keeps certificate and registration up to date, until `stop` resolves.
pub async fn serve(
    client: Client,
    settings: Settings,
    views: Arc<Views>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    stop: impl Future<Output = ()>,
) {
    let mut server = Server::new(settings.address, settings.scopes.clone(), views, metrics, health);
    let registration = Registration::new(&client, &settings);
    let keep = async {
        match settings.certificates {
            Some(directory) => Directory::new(directory, registration).keep(&mut server).await,
            None => Keeper::new(&client, registration, settings.lifetime).keep(&mut server).await,
        }
    };
    tokio::select! {
        () = keep => {}
        () = stop => {}
    }
    server.stop().await;
}
