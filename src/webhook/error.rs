//! What can go wrong with the webhook. None of it ends the operator; it is logged and tried again.

use std::{io, net::SocketAddr};

use crate::controller::in_brief;

/// Why the webhook cannot be served, or not be kept up to date.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// The certificate cannot be used.
    #[error("cannot use the certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// A file of a certificate could not be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file is no certificate, or no private key.
    #[error("{0} does not hold what it should, in PEM")]
    Pem(String),
    /// The API server refused something.
    #[error("cannot {action}: {}", in_brief(.source))]
    Kube {
        /// What was to be done.
        action: &'static str,
        /// Why not.
        source: kube::Error,
    },
    /// The API server does not know the webhook, and it is not for the operator to say what it is.
    #[error("there is no {0}: the chart makes it; outside a cluster, --webhook-url does")]
    NotRegistered(String),
    /// There is a Secret of that name that this operator did not make. Whoever put it there is not believed.
    #[error(
        "Secret {namespace}/{name} has the name of the webhook's certificate but was not made for it: {why}; nothing in it is \
         served, trusted or overwritten. Find out who put it there, and delete it"
    )]
    Foreign {
        /// The operator's namespace.
        namespace: String,
        /// The name of the Secret.
        name: String,
        /// By what that is seen.
        why: &'static str,
    },
    /// Somebody else was faster, several times.
    #[error("the Secret of the certificate, or the configuration, is being changed by others all the time")]
    Contended,
}

impl Error {
    /// Says what was to be done when the API server refused.
    pub fn refused(action: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Kube { action, source }
    }

    /// Whether somebody else has changed the object meanwhile, or created it.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Kube { source: kube::Error::Api(status), .. } if status.code == 409)
    }
}
