//! The simulated API server.
//!
//! All state is behind one lock, and every request is carried out immediately. What takes time in reality (garbage collection, namespace
//! deletion, compaction of the history) is done by [`Server::run`], on tokio's clock. Requests come through [`Server::service`], as from a
//! client, or directly through [`Server::request`].

mod access;
mod admission;
mod background;
mod built_in;
mod custom;
mod failure;
mod key_pair;
mod metadata;
mod object;
mod publication;
mod read;
mod removal;
mod representation;
mod request;
mod resource;
mod schema;
mod selector;
mod service;
mod sightings;
mod state;
mod watch;
mod watches;
mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, header};
use serde_json::Value;

pub use self::{
    admission::{Admission, Effect, Rule},
    failure::Failure,
    resource::{RESOURCES, Resource},
    service::{ServerBody, Service},
    sightings::Sightings,
    state::{Change, ChangeKind, Snapshot},
    watches::{Lag, Watches},
};
use self::{request::ApiRequest, service::Reply, state::State, write::Written};

type Observer = Box<dyn FnMut(&Change) + Send>;

/// The server; a handle whose clones all refer to the same server.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    observers: Mutex<Vec<Observer>>,
    /// Notified after each change, when background work may be due.
    changed: tokio::sync::Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// An empty server with the namespaces `default` and `kube-system`. The seed determines UIDs, generated names and delays.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let server = Self(Arc::new(Shared {
            state: Mutex::new(State::new(seed)),
            observers: Mutex::default(),
            changed: tokio::sync::Notify::new(),
        }));
        for name in ["default", "kube-system"] {
            let namespace = serde_json::json!({ "metadata": { "name": name } });
            server.request(background::CONTROLLERS, "POST", "/api/v1/namespaces", "application/json", Some(&namespace));
        }
        server
    }

    /// A tower service for [`kube::Client::new`] that responds to `user` as the API server does.
    #[must_use]
    pub fn service(&self, user: &str) -> Service {
        Service { server: self.clone(), user: user.into() }
    }

    /// Carries out a user's request without a network, and returns the status code and the object. For a watch, it returns a list of the
    /// events that are due.
    pub fn request(
        &self,
        user: &str,
        method: &str,
        path_and_query: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let mut request = http::Request::new(());
        *request.method_mut() = method.parse().unwrap_or(Method::GET);
        *request.uri_mut() = path_and_query.parse().unwrap_or_default();
        if let Ok(value) = content_type.parse() {
            request.headers_mut().insert(header::CONTENT_TYPE, value);
        }
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        match self.answer(user, &request.into_parts().0, &body) {
            Reply::Once(status, bytes) => (status, serde_json::from_slice(&bytes).unwrap_or_default()),
            Reply::Watch(mut stream) => {
                let lines = stream.drain();
                (200, lines.iter().filter_map(|line| serde_json::from_slice::<Value>(line).ok()).collect())
            }
        }
    }

    /// All current objects of a resource, which is given by its plural.
    #[must_use]
    pub fn objects(&self, resource: &str) -> Vec<Value> {
        let Some(resource) = Resource::named(resource) else { return Vec::new() };
        self.with(|state| state.of(resource, None).map(|(_, object)| Value::clone(object)).collect())
    }

    /// One object; the namespace is empty for a cluster-scoped object.
    #[must_use]
    pub fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let resource = Resource::named(resource)?;
        self.with(|state| state.get(resource, namespace, name).map(|object| Value::clone(&object)))
    }

    /// Registers `observer`, which is called after each change of the store, before the request is answered.
    pub fn observe(&self, observer: impl FnMut(&Change) + Send + 'static) {
        lock(&self.0.observers).push(Box::new(observer));
    }

    /// A snapshot of the store.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.with(|state| state.store.clone())
    }

    /// Restores a snapshot, as if the servers had been stopped, etcd's data directory replaced and the servers started again: resource
    /// versions go back, and all connections break. Observers are not notified. In reality, the API server is down for some seconds (call
    /// [`Server::stop`] before and [`Server::start`] after this).
    pub fn restore(&self, snapshot: &Snapshot) {
        self.with(|state| state.store.clone_from(snapshot));
        self.restart();
    }

    /// Restarts the API server: connections break, and watches cannot start before the current version.
    pub fn restart(&self) {
        self.with(|state| state.begun = state.store.version);
        self.watches().cut("*", "*");
        self.0.changed.notify_one();
    }

    /// Stops the API server: it answers nobody, over any [network](crate::network), and connections break.
    pub fn stop(&self) {
        self.with(|state| state.is_down = true);
        self.watches().cut("*", "*");
    }

    /// Starts the API server again, with the effects of a [restart](Server::restart).
    pub fn start(&self) {
        self.with(|state| state.is_down = false);
        self.restart();
    }

    /// Whether the API server is down.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.with(|state| state.is_down)
    }

    /// The admission rules.
    #[must_use]
    pub fn admission(&self) -> Admission<'_> {
        Admission(self)
    }

    /// What watches of Namespaces have delivered, and when.
    #[must_use]
    pub fn sightings(&self) -> Sightings {
        self.with(|state| state.sightings.clone())
    }

    /// The open watches and their faults.
    #[must_use]
    pub fn watches(&self) -> Watches<'_> {
        Watches(self)
    }

    /// Denies a permission to a user; the verb and the resource can be `*`.
    pub fn deny(&self, user: &str, verb: &str, resource: &str) {
        self.with(|state| state.denied.insert((user.to_owned(), verb.to_owned(), resource.to_owned())));
    }

    /// Gives a user all permissions again.
    pub fn allow_all(&self, user: &str) {
        self.with(|state| state.denied.retain(|(denied, ..)| denied != user));
    }

    /// Sets whether a watch can start with a stream of the current objects, which older API servers do not support.
    pub fn stream_lists(&self, streams: bool) {
        self.with(|state| state.streams_lists = streams);
    }

    /// Moves the wall clock forward or back relative to tokio's clock, by milliseconds.
    pub fn jump(&self, milliseconds: i64) {
        self.with(|state| state.clock_offset += milliseconds);
    }

    /// The current time of the wall clock.
    #[must_use]
    pub fn now(&self) -> k8s_openapi::jiff::Timestamp {
        self.with(|state| state.now())
    }

    /// The current resource version of the store.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.with(|state| state.store.version)
    }

    /// Drops the history up to this version: earlier watches and pages of lists get 410.
    pub fn compact(&self, version: u64) {
        self.with(|state| state.compact(version));
    }

    /// Runs the background work of Kubernetes' controllers and etcd, forever.
    pub async fn run(&self) {
        background::run(self).await;
    }

    /// Reads or changes the state, then notifies the observers.
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let result = work(&mut lock(&self.0.state));
        // An observer that changes something itself gets here, too. It is notified of that change after it has returned.
        if self.begins_telling() {
            while let Some(change) = self.next_untold() {
                self.0.changed.notify_one();
                let mut observers = std::mem::take(&mut *lock(&self.0.observers));
                for observer in &mut observers {
                    observer(&change);
                }
                lock(&self.0.observers).splice(..0, observers);
            }
        }
        result
    }

    /// Whether the caller must notify the observers: false if that is already in progress.
    fn begins_telling(&self) -> bool {
        let mut state = lock(&self.0.state);
        !std::mem::replace(&mut state.is_telling, true)
    }

    fn next_untold(&self) -> Option<Arc<Change>> {
        let mut state = lock(&self.0.state);
        let next = state.untold.pop_front();
        state.is_telling = next.is_some();
        next
    }

    /// Carries out a request.
    fn answer(&self, user: &str, parts: &http::request::Parts, body: &[u8]) -> Reply {
        let answer =
            ApiRequest::read(parts).and_then(|request| self.with(|state| self.carry_out(state, user, &request, body)));
        answer.unwrap_or_else(|failure| Reply::Once(failure.code, failure.body()))
    }

    fn carry_out(&self, state: &mut State, user: &str, request: &ApiRequest, body: &[u8]) -> Result<Reply, Failure> {
        access::authorize(state, user, request)?;
        let resource = request.resource;
        let written = |written: Written| {
            let status = if written.is_new { 201 } else { 200 };
            reply(status, &request.representation.of(resource, &written.object))
        };
        match (request.method.as_str(), request.name.is_empty()) {
            ("GET", _) if request.flag("watch") => read::watch(self, state, user, request),
            ("GET", true) => Ok(reply(200, &read::list(state, request)?)),
            ("GET", false) => Ok(reply(200, &read::get(state, request)?)),
            ("POST", true) => Ok(written(write::create(state, user, request, body)?)),
            ("PUT", false) => Ok(written(write::replace(state, user, request, body)?)),
            ("PATCH", false) => Ok(written(write::patch(state, user, request, body)?)),
            ("DELETE", false) => {
                let answered = removal::delete(state, user, request, body)?;
                let is_status = answered.get("kind").is_some_and(|kind| kind == "Status");
                Ok(reply(200, &if is_status { answered } else { request.representation.of(resource, &answered) }))
            }
            _ => Err(Failure::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            )),
        }
    }
}

fn reply(status: u16, object: &Value) -> Reply {
    Reply::Once(status, object.to_string().into())
}

#[cfg(test)]
mod tests;
