//! The audit log of the API server.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// The audit log of a control plane that was started with [`Options::audit`](crate::Options::audit).
///
/// It has one entry per request: for a watch at its start, for any other request after the response. The API server writes
/// an entry at about the time of its response, so a client may have the response shortly before the entry exists: before
/// asserting that there are *no more* than a number of requests, let some time pass.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
}

/// A position in an audit log; [`Audit::since`] reads what follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark(usize);

/// A request, with the fields that the log contains.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, ….
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub uri: String,
    /// The user agent; empty without one.
    #[serde(default)]
    pub user_agent: String,
    /// The user who sent it.
    pub user: User,
    /// The object; absent for requests such as `/version`.
    #[serde(default)]
    pub object_ref: Option<Object>,
    /// The response; absent if the API server failed.
    #[serde(default)]
    pub response_status: Option<Status>,
}

/// The user of a [`Request`].
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// The name, such as `system:serviceaccount:default:default`.
    pub username: String,
}

/// The object or the objects of a [`Request`]. Fields that do not apply are empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object {
    /// The API group; empty for the core group.
    pub api_group: String,
    /// The plural, such as `secrets`.
    pub resource: String,
    /// The subresource, such as `status`.
    pub subresource: String,
    /// Empty for the whole cluster.
    pub namespace: String,
    /// Empty for a list, a watch or a create.
    pub name: String,
}

/// The response to a [`Request`].
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Status {
    /// The HTTP status code.
    #[serde(default)]
    pub code: u16,
}

impl Request {
    /// The HTTP status code of the response, or 0 without a response.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.response_status.map_or(0, |status| status.code)
    }
}

/// A filter for requests: matches all, or those with every property that is set.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    user_agent: Option<String>,
    username: Option<String>,
    verb: Option<String>,
    resource: Option<String>,
    subresource: Option<String>,
    namespace: Option<String>,
}

impl Requests {
    /// Matches all requests.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Only those of programs whose user agent begins with `prefix`.
    #[must_use]
    pub fn by_agent(self, prefix: &str) -> Self {
        Self { user_agent: Some(prefix.to_owned()), ..self }
    }

    /// Only those of the user `name`.
    #[must_use]
    pub fn by_user(self, name: &str) -> Self {
        Self { username: Some(name.to_owned()), ..self }
    }

    /// Only those with this verb, such as `patch`.
    #[must_use]
    pub fn verb(self, verb: &str) -> Self {
        Self { verb: Some(verb.to_owned()), ..self }
    }

    /// Only those for this resource, by its plural, such as `secrets`; its subresources are included.
    #[must_use]
    pub fn resource(self, plural: &str) -> Self {
        Self { resource: Some(plural.to_owned()), ..self }
    }

    /// Only those for this subresource, such as `status`; `""` excludes requests for subresources.
    #[must_use]
    pub fn subresource(self, name: &str) -> Self {
        Self { subresource: Some(name.to_owned()), ..self }
    }

    /// Only those in this namespace; `""` matches requests without a namespace.
    #[must_use]
    pub fn namespace(self, name: &str) -> Self {
        Self { namespace: Some(name.to_owned()), ..self }
    }

    /// Whether `request` matches.
    #[must_use]
    pub fn matches(&self, request: &Request) -> bool {
        fn same(wanted: Option<&String>, actual: &str) -> bool {
            wanted.is_none_or(|wanted| wanted == actual)
        }
        let object = request.object_ref.clone().unwrap_or_default();
        self.user_agent.as_ref().is_none_or(|prefix| request.user_agent.starts_with(prefix))
            && same(self.username.as_ref(), &request.user.username)
            && same(self.verb.as_ref(), &request.verb)
            && same(self.resource.as_ref(), &object.resource)
            && same(self.subresource.as_ref(), &object.subresource)
            && same(self.namespace.as_ref(), &object.namespace)
    }
}

impl Audit {
    /// The log in the file at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The current end of the log.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn mark(&self) -> Result<Mark> {
        Ok(Mark(self.complete_lines()?.len()))
    }

    /// The requests logged after `mark`; after `Mark::default()`, all.
    ///
    /// # Errors
    ///
    /// If the log cannot be read or parsed.
    pub fn since(&self, mark: Mark) -> Result<Vec<Request>> {
        let log = self.complete_lines()?;
        log.get(mark.0..)
            .unwrap_or_default()
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("audit log: {line}")))
            .collect()
    }

    /// The requests logged after `mark` that match `wanted`.
    ///
    /// # Errors
    ///
    /// Like [`Audit::since`].
    pub fn matching(&self, mark: Mark, wanted: &Requests) -> Result<Vec<Request>> {
        Ok(self.since(mark)?.into_iter().filter(|request| wanted.matches(request)).collect())
    }

    /// The number of requests logged after `mark` that match `wanted`.
    ///
    /// # Errors
    ///
    /// Like [`Audit::since`].
    pub fn count(&self, mark: Mark, wanted: &Requests) -> Result<usize> {
        Ok(self.matching(mark, wanted)?.len())
    }

    /// The log without an incomplete last line.
    fn complete_lines(&self) -> Result<String> {
        let mut log = fs::read_to_string(&self.path).with_context(|| format!("read {}", self.path.display()))?;
        log.truncate(log.rfind('\n').map_or(0, |end| end + 1));
        Ok(log)
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    const UPDATE: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1",
        "stage":"ResponseComplete","requestURI":"/api/v1/namespaces/n/secrets/s","verb":"update",
        "user":{"username":"alice","groups":["system:authenticated"]},"sourceIPs":["127.0.0.1"],
        "userAgent":"keypair-operator/0.1.0","objectRef":{"resource":"secrets","namespace":"n","name":"s",
        "apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200}}"#;
    const VERSION: &str = r#"{"stage":"ResponseComplete","requestURI":"/version","verb":"get",
        "user":{"username":"system:anonymous"}}"#;

    fn log(lines: &str) -> (tempfile::NamedTempFile, Audit) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), lines).unwrap();
        let audit = Audit::new(file.path());
        (file, audit)
    }

    fn line(entry: &str) -> String {
        entry.replace('\n', " ") + "\n"
    }

    #[test]
    fn matching_requests_are_counted() {
        let (_file, audit) = log(&(line(UPDATE) + &line(VERSION)));
        let count = |wanted: Requests| audit.count(Mark::default(), &wanted).unwrap();
        assert_eq!(count(Requests::any()), 2);
        assert_eq!(count(Requests::any().by_agent("keypair-operator/")), 1);
        assert_eq!(count(Requests::any().by_agent("kubectl/")), 0);
        assert_eq!(count(Requests::any().by_user("alice").verb("update")), 1);
        assert_eq!(count(Requests::any().verb("get").resource("secrets")), 0);
        assert_eq!(count(Requests::any().resource("secrets").namespace("n")), 1);
        assert_eq!(count(Requests::any().resource("secrets").subresource("status")), 0);
    }

    #[test]
    fn reading_starts_at_a_mark_and_skips_incomplete_lines() {
        let (file, audit) = log(&line(VERSION));
        let mark = audit.mark().unwrap();
        assert!(audit.since(mark).unwrap().is_empty());
        fs::write(file.path(), line(VERSION) + &line(UPDATE) + r#"{"verb"#).unwrap();
        let after = audit.since(mark).unwrap();
        assert_eq!(after.len(), 1);
        assert_eq!(after[0].code(), 200);
    }
}
