//! The queries of watch and list requests.

use std::{
    borrow::Cow,
    fmt,
    sync::atomic::{AtomicU32, Ordering},
};

use http::Uri;

/// The version from which a watch resumes; `None` if the request is no resumed watch.
pub(super) fn resumed_from(uri: &Uri) -> Option<String> {
    if !has_parameter(uri, "watch=true") || has_parameter(uri, "sendInitialEvents=true") {
        return None;
    }
    uri.query()?.split('&').find_map(|parameter| parameter.strip_prefix("resourceVersion=")).map(str::to_owned)
}

pub(super) fn has_parameter_named(uri: &Uri, name: &str) -> bool {
    let has_name = |parameter: &str| parameter.split_once('=').is_some_and(|(found, _)| found == name);
    uri.query().is_some_and(|query| query.split('&').any(has_name))
}

/// The request of a list, limited to the page size.
pub(super) fn with_limit(uri: &Uri, page: &AtomicU32) -> Option<Uri> {
    const LIMIT: &str = "limit=";
    let page = page.load(Ordering::Acquire);
    let parameters = uri.query()?.split('&').map(|parameter| {
        let limit = parameter.strip_prefix(LIMIT).and_then(|limit| limit.parse().ok());
        let fits = limit.is_none_or(|limit: u32| limit <= page);
        if fits { Cow::Borrowed(parameter) } else { Cow::Owned(format!("{LIMIT}{page}")) }
    });
    with_query(uri, parameters.collect::<Vec<_>>().join("&"))
}

pub(super) fn with_query(uri: &Uri, query: impl fmt::Display) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{}?{query}", uri.path()).parse().ok()?);
    Uri::from_parts(parts).ok()
}

pub(super) fn has_parameter(uri: &Uri, parameter: &str) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|found| found == parameter))
}

/// The request of a streaming list, without its resource version.
///
/// With `resourceVersion=0`, as kube's watcher sends it, the API server may answer from its cache. That may be outdated: with several API
/// servers, older than what another one sent before. A slot or token that has been taken in the meantime would be granted twice. A
/// request without a version is answered with the newest state.
pub(super) fn without_resource_version(uri: &Uri) -> Option<Uri> {
    const ANY_VERSION: &str = "resourceVersion=0";
    if !has_parameter(uri, "sendInitialEvents=true") {
        return None;
    }
    let parameters: Vec<&str> = uri.query()?.split('&').filter(|parameter| *parameter != ANY_VERSION).collect();
    with_query(uri, parameters.join("&"))
}
