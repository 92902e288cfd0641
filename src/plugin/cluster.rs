//! The cluster, with the rights of the user.

use std::{future::Future, time::Duration};

use http::{HeaderMap, HeaderValue, Response, header::USER_AGENT};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    client::{ClientBuilder, DynBody},
};
use tower::util::MapResponseLayer;

use super::{
    args::Global,
    error::{Error, Kind, Subject},
    output,
};
use crate::{
    api::KeyPair,
    client::kubeconfig::{self, Selection, authorize},
};

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The owner of the fields that this program writes.
pub const FIELD_MANAGER: &str = "kubectl-keypair";

/// A client, and the namespace of the command.
pub struct Cluster {
    /// The client.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl Cluster {
    /// Reads the kubeconfig. Sends no request.
    pub async fn connect(global: &Global) -> Result<Self, Error> {
        let selection = Selection { file: global.kubeconfig.clone(), context: global.context.clone() };
        let (mut config, token) = kubeconfig::load(&selection).await?;
        let agent = concat!("kubectl-keypair/", env!("CARGO_PKG_VERSION"));
        config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
        let namespace = global.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let show_warnings = MapResponseLayer::new(|response: Response<Box<DynBody>>| {
            warnings(response.headers()).for_each(|warning| output::note(&format!("Warning: {warning}")));
            response
        });
        let client = ClientBuilder::try_from(config)
            .map_err(|error| Error::Request(format!("cannot use the kubeconfig: {error}")))?
            .with_layer(&authorize(token))
            .with_layer(&show_warnings)
            .build();
        Ok(Self { client, namespace })
    }

    /// The KeyPairs of the namespace.
    pub fn key_pairs(&self) -> Api<KeyPair> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The Secrets of the namespace.
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A request about an object of the namespace.
    pub fn subject<'a>(&'a self, verb: &'a str, kind: Kind, name: &'a str) -> Subject<'a> {
        Subject { verb, kind, name, namespace: &self.namespace }
    }

    /// The KeyPair of this name.
    pub async fn key_pair(&self, name: &str) -> Result<KeyPair, Error> {
        request(self.subject("get", Kind::KeyPair, name), self.key_pairs().get(name)).await
    }

    /// The KeyPair of this name, if it exists.
    pub async fn find_key_pair(&self, name: &str) -> Result<Option<KeyPair>, Error> {
        request(self.subject("get", Kind::KeyPair, name), self.key_pairs().get_opt(name)).await
    }

    /// The Secret of this name.
    pub async fn secret(&self, name: &str) -> Result<Secret, Error> {
        request(self.subject("get", Kind::Secret, name), self.secrets().get(name)).await
    }
}

/// Sends a request, and explains its failure.
pub async fn request<T>(
    subject: Subject<'_>,
    answer: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(|error| subject.failed(&error)),
        Err(_) => Err(Error::Request(format!(
            "the API server did not answer within {} seconds: check it with `kubectl cluster-info`, and try again",
            REQUEST_TIMEOUT.as_secs()
        ))),
    }
}

/// The texts of the header `Warning` (RFC 7234 §5.5), which kubectl shows, too.
fn warnings(headers: &HeaderMap) -> impl Iterator<Item = String> {
    headers.get_all(http::header::WARNING).iter().filter_map(|value| {
        let quoted = std::str::from_utf8(value.as_bytes()).ok()?.split_once(" - ")?.1.trim();
        let text = quoted.strip_prefix('"')?.strip_suffix('"')?;
        Some(text.replace("\\\"", "\"").replace("\\\\", "\\"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_read_from_their_header() {
        let mut headers = HeaderMap::new();
        for value in ["299 - \"weak key: say \\\"no\\\"\"", "299 - \"second\"", "nonsense"] {
            headers.append(http::header::WARNING, HeaderValue::from_static(value));
        }
        assert_eq!(warnings(&headers).collect::<Vec<_>>(), ["weak key: say \"no\"", "second"]);
    }
}
