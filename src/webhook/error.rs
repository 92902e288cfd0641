//! The errors of the webhook. None of them ends the operator: they are logged and retried.

use std::{io, net::SocketAddr};

use crate::client::summarize;

/// Why the webhook cannot be served or updated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate cannot be issued.
    #[error("cannot issue the certificate of the webhook: {0}")]
    Issue(#[from] rcgen::Error),
    /// The certificate cannot be used.
    #[error("cannot use the certificate of the webhook: {0}")]
    Tls(#[from] rustls::Error),
    /// A certificate file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The path of the file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file contains no certificate, or no private key, in PEM.
    #[error("cannot parse {0} as PEM: check the certificate of the webhook")]
    Pem(String),
    /// A request to the API server failed.
    #[error("cannot {action}: {}", summarize(.source))]
    Kube {
        /// What the request was for.
        action: &'static str,
        /// Why.
        source: kube::Error,
    },
    /// There is no webhook configuration, and the operator must not create it.
    #[error("there is no {0}: install the chart with the webhook, or set --webhook-url outside a cluster")]
    NotRegistered(String),
    /// The Secret of the certificate exists, but the operator did not create it. Its content is not trusted.
    #[error(
        "Secret {namespace}/{name} has the name of the webhook's certificate, but the operator did not create it: {why}. The \
         operator neither uses nor overwrites it. Find out who created it, then delete it"
    )]
    Foreign {
        /// The namespace of the operator.
        namespace: String,
        /// The name of the Secret.
        name: String,
        /// What shows it.
        why: &'static str,
    },
    /// Every write conflicted with a write by another client.
    #[error("another client keeps changing the Secret of the webhook's certificate or a webhook configuration")]
    Contended,
}

impl Error {
    /// Adds what the failed request was for.
    pub fn during(action: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Kube { action, source }
    }

    /// Whether another client has changed or created the object meanwhile.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Kube { source: kube::Error::Api(status), .. } if status.code == 409)
    }
}
