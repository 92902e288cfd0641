//! The newest version that the API server has, and how it compares with one that was seen.

use http::{HeaderValue, Request, Response, Uri, header::ACCEPT};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use serde::Deserialize;

/// Requests metadata only: the objects, some of them Secrets, are not needed.
const METADATA_ONLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
/// The size limit of the response with the newest version: it contains one object, only its metadata.
const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;

/// The smallest possible list of what `watch` watches. Its response contains the newest version.
pub(super) fn newest_request(watch: &Uri) -> Result<Request<Body>, kube::Error> {
    // RBAC may allow only the one object of a field selector. A label selector is left out: with it, a page of one object may make the
    // API server scan all of them.
    let parameters = watch.query().into_iter().flat_map(|query| query.split('&'));
    let selector = parameters.filter(|parameter| parameter.starts_with("fieldSelector="));
    let query = selector.fold("limit=1".to_owned(), |query, parameter| format!("{query}&{parameter}"));
    let request = Request::get(format!("{}?{query}", watch.path())).header(ACCEPT, METADATA_ONLY);
    request.body(Body::empty()).map_err(kube::Error::HttpError)
}

/// The version of a list; `None` if the list is refused.
pub(super) async fn version_in(answer: Response<Body>) -> Result<Option<String>, kube::Error> {
    #[derive(Deserialize)]
    struct List {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        resource_version: Option<String>,
    }
    let status = answer.status();
    if status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS {
        return Err(kube::Error::Service(format!("cannot read the newest resource version: {status}").into()));
    }
    if !status.is_success() {
        return Ok(None);
    }
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(kube::Error::Service)?;
    let list: List = serde_json::from_slice(&body.to_bytes()).map_err(kube::Error::SerdeError)?;
    Ok(list.metadata.resource_version)
}

/// Whether the newest version is older than the last one seen. False if they cannot be compared.
pub(super) fn is_behind(newest: Option<&str>, seen: &str) -> bool {
    let number = |version: &str| version.parse::<u64>().ok();
    matches!((newest.and_then(number), number(seen)), (Some(newest), Some(seen)) if newest < seen)
}
