//! One history in the real cluster.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use keypair_simulation::{
    history::{self, Action, History, UserRequest, Verb, end_of_schedule, with_condition},
    run::run,
};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    judge::{Case, Deeds, Verdict},
    outcome::variants,
    recorder::{RESOURCES, is_of_every_namespace},
    stage::Stage,
};

/// The time before the first check, so that the last changes can take effect.
const FIRST_LOOK: Duration = Duration::from_secs(4);
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
/// Within five minutes, the operator retries an error that only a person can fix.
const PATIENCE: Duration = Duration::from_secs(340);
/// After this time, what has not settled yet is printed.
const LONG: Duration = Duration::from_secs(20);
/// How long the deletion of a namespace may take.
const LAST_OF_A_NAMESPACE: Duration = Duration::from_secs(60);
/// The namespaces of all histories, by their names in the history.
const NAMESPACES: [&str; 2] = ["shop", "bank"];

pub struct Walk {
    stage: Arc<Stage>,
    pub number: u64,
    pub history: History,
    begun: std::time::Instant,
    deeds: Mutex<Deeds>,
    /// When each step was performed, relative to the start.
    done: Mutex<Vec<Duration>>,
}

/// The result of a history.
pub struct Settled {
    pub found: Vec<String>,
    pub objects: Vec<(&'static str, Value)>,
    pub trace: Vec<String>,
}

impl Walk {
    pub fn begin(stage: &Arc<Stage>, history: History) -> Self {
        let number = Stage::next_number();
        let begun = std::time::Instant::now();
        Self { stage: Arc::clone(stage), number, history, begun, deeds: Mutex::default(), done: Mutex::default() }
    }

    fn namespaces(&self) -> Vec<String> {
        NAMESPACES.iter().map(|name| self.real(name)).collect()
    }

    fn real(&self, namespace: &str) -> String {
        format!("{namespace}-{}", self.number)
    }

    /// Replaces the namespaces that a spec names by the real ones.
    fn replace_namespaces(&self, value: &mut Value) {
        match value {
            Value::String(text) if NAMESPACES.contains(&text.as_str()) => *text = self.real(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.replace_namespaces(item)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.replace_namespaces(value)),
            _ => {}
        }
    }

    /// Performs the user actions, each at its time.
    pub async fn play(&self, start: Instant) {
        for step in &self.history.steps {
            sleep_until(start + step.at).await;
            self.done.lock().unwrap().push(start.elapsed());
            let (verb, resource, request) = match &step.action {
                Action::User { verb, resource: "namespaces", name, body, .. } => {
                    (verb, "namespaces", UserRequest::new(*verb, "namespaces", "", &self.real(name), body))
                }
                Action::User { verb, resource, namespace, name, body } => {
                    let mut body = body.clone();
                    self.replace_namespaces(&mut body);
                    (verb, *resource, UserRequest::new(*verb, resource, &self.real(namespace), name, &body))
                }
                Action::Gate { namespace, name, gate, is_open } => {
                    let read = UserRequest::read("keypairs", &self.real(namespace), name);
                    let (status, key_pair) = self.stage.send(&read).await;
                    if status != 200 {
                        continue;
                    }
                    let now = Timestamp::now().to_string();
                    (&Verb::Patch, "keypairs", with_condition(&key_pair, gate, *is_open, &now))
                }
                _ => continue,
            };
            let deadline = Instant::now() + LAST_OF_A_NAMESPACE;
            loop {
                let (status, answer) = self.stage.send(&request).await;
                let is_ending = (*verb, resource, status) == (Verb::Create, "namespaces", 409)
                    && answer["message"].as_str().is_some_and(|message| message.contains("being deleted"));
                if is_ending && Instant::now() < deadline {
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
                assert!(status < 500 && status != 429, "{request:?}: {answer}");
                if status < 300 {
                    self.note(*verb, &request, &answer);
                }
                break;
            }
        }
    }

    /// The history with the times at which the steps were performed.
    pub fn as_done(&self) -> History {
        let mut history = self.history.clone();
        for (step, at) in history.steps.iter_mut().zip(self.done.lock().unwrap().iter()) {
            step.at = *at;
        }
        history
    }

    fn note(&self, verb: Verb, request: &UserRequest, answer: &Value) {
        let mut deeds = self.deeds.lock().unwrap();
        if verb == Verb::Delete {
            let uid = answer.pointer("/details/uid").or(answer.pointer("/metadata/uid"));
            deeds.deleted.extend(uid.and_then(Value::as_str).map(str::to_owned));
            return;
        }
        if let Some(version) =
            answer.pointer("/metadata/resourceVersion").and_then(|version| version.as_str()?.parse().ok())
        {
            let patch = (verb == Verb::Patch).then(|| request.body.clone().unwrap_or_default());
            deeds.written.entry(version).or_default().push(patch);
        }
    }

    /// Waits until the checks find nothing.
    pub async fn settle(&self) -> Settled {
        for (_, key_pair) in self.objects().await.into_iter().filter(|(resource, _)| *resource == "keypairs") {
            if let Some(request) = end_of_schedule(&key_pair) {
                let (status, answer) = self.stage.send(&request).await;
                if status < 300 {
                    self.note(Verb::Patch, &request, &answer);
                }
            }
        }
        let deadline = Instant::now() + PATIENCE;
        let mut is_told = false;
        sleep(FIRST_LOOK).await;
        loop {
            let (objects, Verdict { mut broken, mut unsettled, trace }) = self.look().await;
            if !broken.is_empty() || unsettled.is_empty() || Instant::now() > deadline {
                broken.append(&mut unsettled);
                return Settled { found: broken, objects, trace };
            }
            if !is_told && Instant::now() + PATIENCE > deadline + LONG {
                println!("seed {} has not settled after {LONG:?}: {}", self.history.seed, unsettled.join("; "));
                is_told = true;
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }

    async fn look(&self) -> (Vec<(&'static str, Value)>, Verdict) {
        let objects = self.objects().await;
        let case = Case {
            history: self.history.clone(),
            begun: self.begun,
            events: self.stage.recorder.of(&self.namespaces()),
            deeds: self.deeds.lock().unwrap().clone(),
            objects: objects.clone(),
        };
        let verdict = tokio::task::spawn_blocking(move || case.judge()).await.expect("the checks do not panic");
        (objects, verdict)
    }

    async fn objects(&self) -> Vec<(&'static str, Value)> {
        let mut all = Vec::new();
        for namespace in self.namespaces() {
            for (resource, group, version, kind) in RESOURCES {
                let (path, api_version) = match (resource, group) {
                    ("namespaces", _) => {
                        (format!("/api/v1/namespaces?fieldSelector=metadata.name%3D{namespace}"), version.to_owned())
                    }
                    (_, "") => (format!("/api/v1/namespaces/{namespace}/{resource}"), version.to_owned()),
                    _ => {
                        let path = format!("/apis/{group}/{version}/namespaces/{namespace}/{resource}");
                        (path, format!("{group}/{version}"))
                    }
                };
                for mut object in self.stage.list(&path).await {
                    // Built-in objects in a list have no `apiVersion` and `kind`.
                    object["apiVersion"] = api_version.clone().into();
                    object["kind"] = kind.into();
                    if let Some(metadata) = object["metadata"].as_object_mut() {
                        metadata.remove("managedFields");
                    }
                    if !is_of_every_namespace(resource, &object) {
                        all.push((resource, object));
                    }
                }
            }
        }
        all
    }

    /// Describes a failure: with a shortened history if the simulation finds something, too.
    pub async fn explain(&self, settled: &Settled) -> String {
        let history = self.history.clone();
        let simulated = tokio::task::spawn_blocking(move || {
            let fails = |history: &History| {
                let violations = variants(history).into_iter().map(|variant| run(&variant, false).violations);
                violations.into_iter().find(|violations| !violations.is_empty())
            };
            let violations = fails(&history)?;
            let shortened = history::shorten(&history, |history| fails(history).is_some());
            Some(format!("the simulation says: {}\nshortened there:\n{shortened}", violations.join("\n    ")))
        });
        let simulated = simulated.await.expect("the simulation does not panic");
        let told = simulated.unwrap_or_else(|| {
            format!(
                "the simulation finds nothing. The history:\n{}\nThe record:\n{}",
                self.history,
                settled.trace.join("\n")
            )
        });
        format!(
            "seed {}, namespaces {:?}:\n    {}\n{told}",
            self.history.seed,
            self.namespaces(),
            settled.found.join("\n    ")
        )
    }

    /// Deletes the namespaces.
    pub async fn end(&self) {
        for namespace in self.namespaces() {
            self.stage.ask("DELETE", &format!("/api/v1/namespaces/{namespace}"), "", None).await;
        }
        self.stage.recorder.forget(&self.namespaces());
    }
}
