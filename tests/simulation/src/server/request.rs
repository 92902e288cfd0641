//! Reads a request: the resource, the object and the parameters, from URL and headers.

use http::{Method, Uri, header, request::Parts};
use serde_json::Value;

use super::{
    failure::Failure,
    representation::Representation,
    resource::{RESOURCES, Resource},
};

/// The content type of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Json,
    MergePatch,
    JsonPatch,
    Other,
}

/// A request for one of the resources.
#[derive(Debug)]
pub(super) struct ApiRequest {
    pub method: Method,
    pub resource: &'static Resource,
    /// Empty for a cluster-scoped resource, and for all namespaces.
    pub namespace: String,
    /// Empty for the collection.
    pub name: String,
    /// Empty, `status` or `finalize`.
    pub subresource: String,
    pub representation: Representation,
    pub content: Content,
    parameters: Vec<(String, String)>,
}

impl ApiRequest {
    pub fn read(parts: &Parts) -> Result<Self, Failure> {
        let (resource, namespace, name, subresource) = parse_path(&parts.uri).ok_or_else(Failure::no_page)?;
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content = match header(header::CONTENT_TYPE).split(';').next().unwrap_or_default() {
            "application/json" | "" => Content::Json,
            "application/merge-patch+json" => Content::MergePatch,
            "application/json-patch+json" => Content::JsonPatch,
            _ => Content::Other,
        };
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self {
            method: parts.method.clone(),
            resource,
            namespace,
            name,
            subresource,
            representation: Representation::accepted(header(header::ACCEPT)),
            content,
            parameters: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        })
    }

    /// A parameter; empty if it is missing.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether a parameter is true.
    pub fn flag(&self, name: &str) -> bool {
        ["true", "1", "t", "T", "TRUE", "True"].contains(&self.parameter(name))
    }

    pub fn is_dry_run(&self) -> bool {
        self.parameter("dryRun") == "All"
    }

    /// A parameter that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.parameter(name).parse().ok()
    }

    /// The verb of the permission that it requires.
    pub fn verb(&self) -> &'static str {
        match (self.method.as_str(), self.name.is_empty()) {
            ("GET", _) if self.flag("watch") => "watch",
            ("GET", true) => "list",
            ("GET", false) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "deletecollection",
            _ => "delete",
        }
    }

    /// The resource with its subresource, as in a Role.
    pub fn rbac_resource(&self) -> String {
        let plural = self.resource.plural;
        if self.subresource.is_empty() { plural.to_owned() } else { format!("{plural}/{}", self.subresource) }
    }

    /// The namespace; `None` for all namespaces.
    pub fn scope(&self) -> Option<&str> {
        (!self.namespace.is_empty()).then_some(self.namespace.as_str())
    }
}

/// Resource, namespace, name and subresource of a path.
fn parse_path(uri: &Uri) -> Option<(&'static Resource, String, String, String)> {
    let mut steps = uri.path().split('/').filter(|step| !step.is_empty());
    let group = match steps.next()? {
        "api" => "",
        "apis" => steps.next()?,
        _ => return None,
    };
    let version = steps.next()?;
    let rest: Vec<&str> = steps.collect();
    let known = |plural: &str| {
        RESOURCES
            .iter()
            .find(|resource| resource.plural == plural && resource.group == group && resource.version == version)
    };
    let owned = |step: Option<&&str>| step.map(ToString::to_string).unwrap_or_default();
    let (resource, namespace, rest) = match &rest[..] {
        ["namespaces", namespace, plural, rest @ ..]
            if known(plural).is_some_and(|resource| resource.is_namespaced) =>
        {
            (known(plural)?, (*namespace).to_owned(), rest)
        }
        [plural, rest @ ..] => (known(plural)?, String::new(), rest),
        [] => return None,
    };
    let allowed: &[&str] = match resource.plural {
        "namespaces" => &["status", "finalize"],
        _ if resource.is_custom => &["status"],
        _ => &[],
    };
    let subresource = owned(rest.get(1));
    let fits = rest.len() <= 1 || rest.len() == 2 && allowed.contains(&subresource.as_str());
    let needs_namespace = resource.is_namespaced && namespace.is_empty() && !rest.is_empty();
    (fits && !needs_namespace).then(|| (resource, namespace, owned(rest.first()), subresource))
}

/// The body as JSON.
pub(super) fn json(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("the body of the request is no JSON: {error}")))
}
