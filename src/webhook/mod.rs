//! The admission webhook: refuses at admission what the controller would refuse later, with the message and HTTP status of the
//! cloud.
//!
//! [`review()`] answers from a [cache](crate::cache::ScopeCaches) that every replica keeps, with the decision of the domain. `server`
//! serves HTTPS, and [`envelope`] parses requests. `certificate` issues certificates and schedules their renewal, `cert_rotator`
//! stores them in a Secret that all replicas share, and `registration` writes the CA bundle (outside a cluster, the whole webhook
//! configuration) to the API server.

mod cert_rotator;
mod certificate;
pub mod envelope;
mod error;
mod publication_review;
mod registration;
mod review;
mod review_answer;
mod scopes;
mod secret;
mod server;

pub use error::Error;
pub use review::review;
pub use scopes::Scopes;

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use http::Uri;
use kube::Client;

use self::{
    cert_rotator::{CertFileReloader, CertRotator},
    registration::Registration,
    server::Server,
};
use crate::{
    cache::ScopeCaches,
    observe::{Health, Metrics},
};

/// The settings of the webhook.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address to listen on.
    pub address: SocketAddr,
    /// The URL for the webhook configurations; `None`: the chart writes them, with the Service of the webhook.
    pub url: Option<Uri>,
    /// The name of the webhook configurations.
    pub configuration: String,
    /// The directory with `tls.crt` and `tls.key`; `None`: the operator issues a certificate and stores it in a Secret.
    pub certificates: Option<PathBuf>,
    /// The validity of a certificate that the operator issues.
    pub lifetime: Duration,
    /// The namespaces whose KeyPairs are reviewed.
    pub scopes: Scopes,
}

/// Checks that the address can be bound, so that a wrong address fails at startup.
///
/// # Errors
///
/// If the address cannot be bound.
pub fn check(address: SocketAddr) -> Result<(), Error> {
    TcpListener::bind(address).map(drop).map_err(|source| Error::Listen { address, source })
}

/// Answers admission reviews, and keeps certificate and registration up to date, until `stop` resolves.
pub async fn serve(
    client: Client,
    settings: Settings,
    caches: Arc<ScopeCaches>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    stop: impl Future<Output = ()>,
) {
    let mut server = Server::new(settings.address, settings.scopes.clone(), caches, metrics, health);
    let registration = Registration::new(&client, &settings);
    let rotation = async {
        match settings.certificates {
            Some(directory) => CertFileReloader::new(directory, registration).run(&mut server).await,
            None => CertRotator::new(&client, registration, settings.lifetime).run(&mut server).await,
        }
    };
    tokio::select! {
        () = rotation => {}
        () = stop => {}
    }
    server.stop().await;
}
