//! The admission webhook: says at once what the controller would say later, in the words and with the HTTP status of the
//! cloud.
//!
//! [`review`] answers, from a [view](crate::controller::Views) that every replica keeps, by the decision of the domain;
//! `server` speaks HTTPS. `certificate` makes certificates and says when they are due, `keeper` keeps them in a Secret that
//! all replicas share, and `registration` tells the API server whom to trust and, outside a cluster, whom to ask.

mod certificate;
mod error;
mod keeper;
mod registration;
mod review;
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

/// Listens, so that an address that cannot be used is found out at once.
///
/// # Errors
///
/// If the address cannot be used.
pub fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|source| Error::Listen { address, source })
}

/// Answers admission reviews and keeps certificate and registration up to date, for ever.
pub async fn serve(
    listener: TcpListener,
    client: Client,
    settings: Settings,
    views: Arc<Views>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
) {
    let server = Server::new(listener, settings.scopes.clone(), views, metrics, health);
    let registration = Registration::new(&client, &settings);
    match settings.certificates {
        Some(directory) => Directory::new(directory, registration, server).keep().await,
        None => Keeper::new(&client, registration, settings.lifetime, server).keep().await,
    }
}
