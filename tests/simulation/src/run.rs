//! Runs a history to its end, in one thread, on a clock that jumps to the next event.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    runtime,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    Server,
    history::{Action, History, Policy, UserRequest, Verb, WatchFault, end_of_schedule, with_condition},
    keys::Keys,
    oracle::{Guarantees, changes_of_a_fresh_operator, differences_from_an_empty_cluster, unsettled, wrong_answers},
    replica::{Host, NAMESPACE, user},
    server::{Effect, Lag, Rule, Snapshot},
    trace::Trace,
};

/// How long the operator must not have written before everything counts as settled.
const QUIET: Duration = Duration::from_secs(15);
/// When to check whether everything has settled, in seconds after the end of all faults. At the last check it must have: the operator
/// notices a watch that died silently within 135 s, and within five minutes it retries an error that only a person can fix.
const LOOKS: [u64; 4] = [20, 60, 180, 500];
/// The last check after a restore: if a watch broke and was resumed before the operator could know why, everything is listed again within
/// ten minutes.
const LAST_LOOK_AFTER_RESTORE: u64 = 800;
/// How long the API server is down while the store is restored. The operator detects an outage of two seconds; in practice, restoring
/// etcd takes longer.
const OUTAGE: Duration = Duration::from_millis(2500);

/// The outcome of a history.
#[derive(Debug)]
pub struct Outcome {
    /// The broken guarantees.
    pub violations: Vec<String>,
    /// Requests, changes and steps, if a trace was requested.
    pub trace: Vec<String>,
    /// The duration on its own clock.
    pub lasted: Duration,
    /// The `KeyPair`s at the end.
    pub key_pairs: Vec<Value>,
    /// The Secrets at the end.
    pub secrets: Vec<Value>,
    /// The `AuthorizedKeys` and `KnownHosts` at the end.
    pub publications: Vec<Value>,
}

/// Runs a history, with a trace if requested.
///
/// # Panics
///
/// If no runtime can be built.
#[must_use]
pub fn run(history: &History, notes: bool) -> Outcome {
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime can be built").block_on(async {
        let mut stage = Stage::new(history, notes);
        let begun = Instant::now();
        for step in &history.steps {
            sleep_until(begun + step.at).await;
            if matches!(step.action, Action::User { .. } | Action::Gate { .. }) {
                stage.wait_until_up().await;
            }
            stage.trace.line(&format!("--- {}", step.action));
            stage.perform(&step.action);
        }
        stage.wait_until_up().await;
        // Give the last step time to start.
        sleep(Duration::from_millis(1)).await;
        let violations = stage.end().await;
        let [key_pairs, secrets] = ["keypairs", "secrets"].map(|resource| stage.server.objects(resource));
        let publications = ["authorizedkeys", "knownhosts"].map(|resource| stage.server.objects(resource)).concat();
        Outcome { violations, trace: stage.trace.lines(), lasted: begun.elapsed(), key_pairs, secrets, publications }
    })
}

struct Stage<'a> {
    history: &'a History,
    server: Server,
    hosts: Vec<Host>,
    guarantees: Guarantees,
    trace: Trace,
    snapshot: Option<Snapshot>,
    panics: usize,
    /// When the API server is up again.
    up: Instant,
}

impl<'a> Stage<'a> {
    fn new(history: &'a History, notes: bool) -> Self {
        let server = Server::new(history.seed);
        let working = server.clone();
        tokio::spawn(async move { working.run().await });
        let guarantees = Guarantees::new(history, server.sightings());
        let trace = Trace::new(notes);
        let (seeing, noting) = (guarantees.clone(), trace.clone());
        server.observe(move |change| {
            noting.change(change);
            seeing.see(change);
        });
        let mut stage = Self {
            history,
            server,
            hosts: Vec::new(),
            guarantees,
            trace,
            snapshot: None,
            panics: 0,
            up: Instant::now(),
        };
        stage.user(Verb::Create, "namespaces", "", NAMESPACE, &Value::Null);
        let keys = Arc::new(Keys::new(history.seed));
        for number in 0..history.setup.replicas {
            let mut host = Host::new(number, history.seed, &history.setup, &stage.server, &keys, &stage.trace);
            host.calm();
            host.start();
            stage.hosts.push(host);
        }
        stage
    }

    fn perform(&mut self, action: &Action) {
        match action {
            Action::User { verb, resource, namespace, name, body } => {
                self.user(*verb, resource, namespace, name, body);
            }
            Action::Gate { namespace, name, gate, is_open } => {
                if let Some(key_pair) = self.server.object("keypairs", namespace, name) {
                    self.send(&with_condition(&key_pair, gate, *is_open, &self.server.now().to_string()));
                }
            }
            Action::Crash { replica, polls } => self.with(*replica, |host| host.crash(*polls)),
            Action::Start(replica) => {
                self.count_panics();
                self.with(*replica, Host::start);
            }
            Action::Stop(replica) => self.with(*replica, Host::stop),
            Action::Suspend(replica) => self.with(*replica, |host| host.suspend(true)),
            Action::Resume(replica) => self.with(*replica, |host| host.suspend(false)),
            Action::Network(replica, faults) => self.with(*replica, |host| host.set_network_faults(*faults)),
            Action::Watch(replica, resource, fault) => self.watch(&user(*replica), resource, *fault),
            Action::Policy(policy) => self.server.admission().add(Rule::on_secrets(effect(*policy))),
            Action::NoPolicy => self.server.admission().clear(),
            Action::Deny(verb, resource) => {
                (0..self.hosts.len()).for_each(|number| self.server.deny(&user(number), verb, resource));
            }
            Action::AllowAll => (0..self.hosts.len()).for_each(|number| self.server.allow_all(&user(number))),
            Action::Snapshot => self.snapshot = Some(self.server.snapshot()),
            Action::Restore => {
                if let Some(snapshot) = &self.snapshot {
                    self.server.stop();
                    self.server.restore(snapshot);
                    self.guarantees.restored(&self.server);
                    let server = self.server.clone();
                    self.up = Instant::now() + OUTAGE;
                    tokio::spawn(async move {
                        sleep(OUTAGE).await;
                        server.start();
                    });
                }
            }
            Action::ClockJump(seconds) => self.server.jump(seconds * 1000),
        }
    }

    /// Waits until the API server is up, as users do.
    async fn wait_until_up(&self) {
        while self.server.is_down() {
            sleep_until(self.up + Duration::from_millis(1)).await;
        }
    }

    fn with(&mut self, replica: usize, what: impl FnOnce(&mut Host)) {
        if let Some(host) = self.hosts.get_mut(replica) {
            what(host);
        }
    }

    fn count_panics(&mut self) {
        self.panics += self.hosts.iter_mut().filter_map(|host| host.panicked().then_some(())).count();
    }

    fn watch(&self, user: &str, resource: &str, fault: WatchFault) {
        let watches = self.server.watches();
        match fault {
            WatchFault::Clear => watches.lag(user, resource, Lag::None),
            WatchFault::LagBy(events) => watches.lag(user, resource, Lag::Events(events)),
            WatchFault::LagFor(milliseconds) => {
                watches.lag(user, resource, Lag::Time(Duration::from_millis(milliseconds)));
            }
            WatchFault::Silent => watches.stop(user, resource),
            WatchFault::Cut => watches.cut(user, resource),
            WatchFault::Expired => watches.expire(user, resource),
        }
    }

    /// Sends a user's request.
    fn user(&self, verb: Verb, resource: &str, namespace: &str, name: &str, body: &Value) {
        self.send(&UserRequest::new(verb, resource, namespace, name, body));
    }

    fn send(&self, request: &UserRequest) {
        let UserRequest { method, path, content_type, body } = request;
        let code = self.server.request("admin", method, path, content_type, body.as_ref());
        if code.0 >= 300 {
            self.trace.line(&format!("    {}: {}", code.0, code.1.get("message").unwrap_or(&Value::Null)));
        }
    }

    /// Ends all faults, waits until everything has settled, and returns the broken guarantees.
    async fn end(&mut self) -> Vec<String> {
        self.trace.line("--- all faults end");
        self.server.objects("keypairs").iter().filter_map(end_of_schedule).for_each(|request| self.send(&request));
        self.server.admission().clear();
        self.server.watches().calm();
        self.count_panics();
        for number in 0..self.hosts.len() {
            self.server.allow_all(&user(number));
            self.with(number, Host::calm);
        }
        // A replica that is being killed or stopped may still be running.
        let begun = Instant::now();
        let mut found = Vec::new();
        let last = self.history.is_restored().then_some(LAST_LOOK_AFTER_RESTORE);
        for look in LOOKS.into_iter().chain(last) {
            while begun.elapsed() < Duration::from_secs(look) {
                self.hosts.iter_mut().for_each(Host::start);
                sleep(Duration::from_secs(5)).await;
            }
            found = self.unsettled().await;
            if found.is_empty() {
                break;
            }
        }
        self.count_panics();
        let mut violations = self.guarantees.violations();
        violations.append(&mut found);
        if self.panics > 0 {
            violations.push(format!("the operator panicked {} times", self.panics));
        }
        violations
    }

    async fn unsettled(&self) -> Vec<String> {
        let mut found = unsettled(&self.server, &self.guarantees);
        if self.guarantees.last_write().is_some_and(|last| last.elapsed() < QUIET) {
            found.push("the operator still writes when nothing happens any more".to_owned());
        }
        let History { seed, setup, .. } = self.history;
        for (number, caches) in self.hosts.iter().filter_map(Host::caches).enumerate() {
            let wrong = wrong_answers(&self.server, setup, &caches);
            found.extend(wrong.into_iter().map(|text| format!("replica {number}: {text}")));
        }
        if found.is_empty() {
            found = changes_of_a_fresh_operator(&self.server, setup, *seed, &self.guarantees).await;
        }
        if found.is_empty() {
            found = differences_from_an_empty_cluster(&self.server, setup, *seed, &self.guarantees).await;
        }
        found
    }
}

fn effect(policy: Policy) -> Effect {
    const LABEL: &str = "app.kubernetes.io/managed-by";
    match policy {
        Policy::OverwriteLabel => Effect::SetLabel(LABEL.to_owned(), "Helm".to_owned()),
        Policy::RemoveLabel => Effect::RemoveLabel(LABEL.to_owned()),
        Policy::RemoveUid => Effect::RemoveAnnotation("keypairs.dev/keypair-uid".to_owned()),
        Policy::RemoveOwner => Effect::RemoveOwnerReferences,
        Policy::Refuse => Effect::Refuse("policy.example.com".to_owned(), "no Secrets today".to_owned()),
        Policy::Invalid => Effect::Invalid("policy".to_owned(), "not such a Secret".to_owned()),
        Policy::Away => Effect::WebhookAway("away.example.com".to_owned()),
        Policy::Quota => Effect::Quota("secrets".to_owned(), 2),
    }
}
