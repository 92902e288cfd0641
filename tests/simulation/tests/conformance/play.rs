//! Sends a script to a server and records the responses.

use std::{collections::BTreeMap, time::Duration};

use http::{Request, header};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use crate::{
    Clients,
    objects::{KEY_PAIRS, SECRETS},
    script::{JSON, Script, Step},
};

/// How long to wait for an expected result.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a watch must be quiet before it counts as having no more events.
const QUIET: Duration = Duration::from_millis(50);

/// The answer to a step: the status code and the object, or the events.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

#[derive(Debug, Default)]
pub struct Record(pub Vec<Answer>);

impl Record {
    /// The number of events of each [`Step::Events`], in the order of the script.
    pub fn events(&self) -> Vec<usize> {
        self.0
            .iter()
            .filter(|answer| answer.status == 0)
            .map(|answer| answer.body.as_array().map_or(0, Vec::len))
            .collect()
    }
}

/// Sends requests, with placeholders replaced by values from earlier answers.
struct Player<'a> {
    clients: &'a Clients,
    words: BTreeMap<String, String>,
    watches: BTreeMap<String, mpsc::UnboundedReceiver<Value>>,
}

pub async fn play(clients: &Clients, namespace: &str, script: &Script, expected: Option<&[usize]>) -> Record {
    let words = [("{ns}".to_owned(), namespace.to_owned())].into();
    let mut player = Player { clients, words, watches: BTreeMap::new() };
    let mut expected = expected.map(|numbers| numbers.iter().copied());
    let mut record = Record::default();
    for step in &script.0 {
        let answer = match step {
            Step::Request(request) => {
                let client = if request.is_alice { &clients.alice } else { &clients.admin };
                let (path, body) =
                    (player.fill(&request.path), request.body.as_ref().map(|body| player.fill(&body.to_string())));
                let answer = send(client, request.method, &path, request.content, request.accept, body).await;
                player.keep(&request.label, &answer.body);
                answer
            }
            Step::Watch { label, path, accept } => player.watch(label, path, accept).await,
            Step::Events(label) => {
                let number = expected.as_mut().map(|numbers| numbers.next().unwrap_or_default());
                Answer { status: 0, body: player.events(label, number).await.into() }
            }
            Step::Setup { real, simulated, path, tried, status, has } => {
                if let Some(server) = &clients.simulated {
                    simulated(server);
                } else {
                    for (path, object) in real {
                        let (path, object) = (player.fill(path), player.fill(&object.to_string()));
                        let answer = send(&clients.admin, "POST", &path, JSON, JSON, Some(object)).await;
                        assert_eq!(answer.status, 201, "{}", answer.body);
                    }
                }
                let (path, tried) = (player.fill(path), player.fill(&tried.to_string()));
                let start = Instant::now();
                loop {
                    let answer = send(&clients.admin, "POST", &path, JSON, JSON, Some(tried.clone())).await;
                    if answer.status == *status && answer.body.to_string().contains(has) {
                        break Answer { status: 200, body: Value::Null };
                    }
                    assert!(start.elapsed() < PATIENCE, "the setup has no effect: {answer:?}");
                    sleep(Duration::from_millis(50)).await;
                }
            }
            Step::Restart => {
                (clients.restart)();
                // Each resource becomes available a moment after the first request for it; until then, the server answers 429.
                for collection in [SECRETS, KEY_PAIRS] {
                    let path = player.fill(collection);
                    while send(&clients.admin, "GET", &path, "", "application/json", None).await.status != 200 {
                        sleep(Duration::from_millis(50)).await;
                    }
                }
                Answer { status: 200, body: Value::Null }
            }
            Step::Until(path, is_so) => {
                let path = player.fill(path);
                let start = Instant::now();
                loop {
                    let answer = send(&clients.admin, "GET", &path, "", JSON, None).await;
                    if is_so(&answer.body) {
                        // When it reached this state, and thus its version, depends on timing.
                        break Answer { status: 200, body: Value::Null };
                    }
                    assert!(start.elapsed() < PATIENCE, "{path} does not reach the expected state: {answer:?}");
                    sleep(Duration::from_millis(50)).await;
                }
            }
            Step::Gone(path) => {
                let path = player.fill(path);
                let start = Instant::now();
                loop {
                    let answer = send(&clients.admin, "GET", &path, "", "application/json", None).await;
                    if answer.status == 404 {
                        break answer;
                    }
                    assert!(start.elapsed() < PATIENCE, "{path} is not deleted: {answer:?}");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        };
        record.0.push(answer);
    }
    record
}

async fn send(client: &Client, method: &str, path: &str, content: &str, accept: &str, body: Option<String>) -> Answer {
    let sent = timeout(PATIENCE, client.send(request(method, path, content, accept, body)));
    let response = sent.await.unwrap_or_else(|_| panic!("no answer to {method} {path}")).unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
    Answer { status, body }
}

fn request(method: &str, path: &str, content: &str, accept: &str, body: Option<String>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
    let request = if body.is_some() { request.header(header::CONTENT_TYPE, content) } else { request };
    request.body(body.map_or_else(Body::empty, |body| Body::from(body.into_bytes()))).unwrap()
}

impl Player<'_> {
    fn fill(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    }

    fn keep(&mut self, label: &str, body: &Value) {
        if label.is_empty() {
            return;
        }
        for (word, pointer) in [
            ("uid", "/metadata/uid"),
            ("version", "/metadata/resourceVersion"),
            ("continue", "/metadata/continue"),
            ("name", "/metadata/name"),
        ] {
            if let Some(value) = body.pointer(pointer).and_then(Value::as_str) {
                self.words.insert(format!("{{{label}.{word}}}"), value.to_owned());
            }
        }
        if let Some(version) =
            body.pointer("/metadata/resourceVersion").and_then(|version| version.as_str()?.parse::<u64>().ok())
        {
            self.words.insert(format!("{{{label}.future}}"), (version + 1_000_000).to_string());
        }
    }

    async fn watch(&mut self, label: &str, path: &str, accept: &str) -> Answer {
        let response = self.clients.admin.send(request("GET", &self.fill(path), "", accept, None)).await.unwrap();
        let status = response.status().as_u16();
        let mut body = response.into_body();
        if status != 200 {
            let bytes = body.collect().await.unwrap().to_bytes();
            return Answer { status, body: serde_json::from_slice(&bytes).unwrap() };
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut text = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                text.extend(frame.into_data().unwrap_or_default());
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let rest = text.split_off(end + 1);
                    if sender.send(serde_json::from_slice(&text).unwrap()).is_err() {
                        return;
                    }
                    text = rest;
                }
            }
            let _ = sender.send(Value::from("the end"));
        });
        self.watches.insert(label.to_owned(), receiver);
        Answer { status, body: Value::Null }
    }

    /// The events so far: as many as expected, and those that follow shortly after.
    async fn events(&mut self, label: &str, expected: Option<usize>) -> Vec<Value> {
        // The watch may have been refused.
        let Some(watch) = self.watches.get_mut(label) else { return Vec::new() };
        let mut told = Vec::new();
        loop {
            let wait = if expected.is_some_and(|number| told.len() < number) { Duration::from_secs(5) } else { QUIET };
            match timeout(wait, watch.recv()).await {
                Ok(Some(event)) => told.push(event),
                Ok(None) | Err(_) => return told,
            }
        }
    }
}
