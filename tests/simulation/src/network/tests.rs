//! Network faults.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::PostParams};
use tokio::time::{Instant, timeout};

use super::*;
use crate::Server;

fn setting() -> (Server, Network, Api<Secret>) {
    let server = Server::new(1);
    let network = Network::new(server.service("alice"), 2);
    let api = Api::default_namespaced(Client::new(network.clone(), "default"));
    (server, network, api)
}

fn secret(name: &str) -> Secret {
    let mut secret = Secret::default();
    secret.metadata.name = Some(name.to_owned());
    secret
}

#[tokio::test(start_paused = true)]
async fn requests_and_responses_can_be_lost() {
    let (server, network, api) = setting();
    network.set_faults(Faults { lost_requests: 1000, ..Faults::default() });
    assert!(api.create(&PostParams::default(), &secret("a")).await.is_err());
    assert!(server.objects("secrets").is_empty(), "a lost request was carried out");
    network.set_faults(Faults { lost_responses: 1000, ..Faults::default() });
    assert!(api.create(&PostParams::default(), &secret("a")).await.is_err());
    assert_eq!(server.objects("secrets").len(), 1, "a request whose response was lost was not carried out");
    network.calm();
    assert!(api.create(&PostParams::default(), &secret("b")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_sent_request_is_executed_without_its_sender() {
    let (server, network, api) = setting();
    let second = Duration::from_secs(1);
    network.set_faults(Faults { latency: second..second * 2, ..Faults::default() });
    let soon = Duration::from_millis(10);
    assert!(timeout(soon, api.create(&PostParams::default(), &secret("a"))).await.is_err());
    assert!(server.objects("secrets").is_empty());
    sleep(second * 2).await;
    assert_eq!(server.objects("secrets").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn responses_can_be_delayed() {
    let (_, network, api) = setting();
    network.set_faults(Faults { delayed: 1000, delay: Duration::from_secs(40), ..Faults::default() });
    let begin = Instant::now();
    assert!(api.get_opt("a").await.unwrap().is_none());
    assert!(begin.elapsed() > Duration::from_secs(40));
}

#[tokio::test(start_paused = true)]
async fn requests_can_be_refused() {
    let (server, network, api) = setting();
    for (error_response, code) in [
        (ErrorResponse::TooManyRequests, 429),
        (ErrorResponse::InternalError, 500),
        (ErrorResponse::Unavailable, 503),
        (ErrorResponse::Timeout, 504),
        (ErrorResponse::Conflict, 409),
        (ErrorResponse::Unauthorized, 401),
    ] {
        network.set_faults(Faults { errors: 1000, error_responses: vec![error_response], ..Faults::default() });
        match api.create(&PostParams::default(), &secret("a")).await {
            Err(kube::Error::Api(status)) => assert_eq!(status.code, code),
            other => panic!("{error_response:?}: {other:?}"),
        }
    }
    assert!(server.objects("secrets").is_empty());
}

#[tokio::test(start_paused = true)]
async fn requests_over_a_broken_link_hang_or_fail() {
    let (server, network, api) = setting();
    let second = Duration::from_secs(1);
    network.set_link(Link::Silent);
    assert!(timeout(second * 100, api.get_opt("a")).await.is_err(), "a silent link reported an error");
    network.set_link(Link::Refusing);
    assert!(timeout(second, api.get_opt("a")).await.unwrap().is_err());
    network.set_link(Link::Up);
    assert!(api.get_opt("a").await.is_ok());
    server.stop();
    assert!(timeout(second, api.get_opt("a")).await.unwrap().is_err());
    server.start();
    assert!(api.get_opt("a").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_broken_link_breaks_watches() {
    use futures::StreamExt as _;
    use kube::api::{WatchEvent, WatchParams};

    let (server, network, api) = setting();
    let mut events = Box::pin(api.watch(&WatchParams::default(), "0").await.unwrap());
    server.request(
        "bob",
        "POST",
        "/api/v1/namespaces/default/secrets",
        "",
        Some(&serde_json::json!({ "metadata": { "name": "a" } })),
    );
    while !matches!(events.next().await.unwrap().unwrap(), WatchEvent::Added(_)) {}
    while timeout(Duration::from_secs(1), events.next()).await.is_ok() {}
    network.set_link(Link::Silent);
    server.request(
        "bob",
        "POST",
        "/api/v1/namespaces/default/secrets",
        "",
        Some(&serde_json::json!({ "metadata": { "name": "b" } })),
    );
    assert!(timeout(Duration::from_secs(1000), events.next()).await.is_err(), "an event arrived over a silent link");
    network.set_link(Link::Up);
    let end = timeout(Duration::from_secs(1), events.next()).await.unwrap();
    assert!(end.is_none_or(|event| event.is_err()), "the watch survived the outage of its link");
}

#[tokio::test(start_paused = true)]
async fn clients_retry_when_the_server_asks() {
    let server = Server::new(1);
    let network = Network::new(server.service("alice"), 2);
    let api: Api<Secret> = Api::default_namespaced(Client::new(Retrying::new(network.clone()), "default"));
    for (error_response, least) in [(ErrorResponse::TooManyRequests, 15), (ErrorResponse::Unavailable, 160)] {
        network.set_faults(Faults { errors: 1000, error_responses: vec![error_response], ..Faults::default() });
        let begin = Instant::now();
        assert!(api.get_opt("a").await.is_err());
        assert!(begin.elapsed() > Duration::from_secs(least), "{error_response:?}: {:?}", begin.elapsed());
    }
    network.set_faults(Faults { errors: 700, error_responses: vec![ErrorResponse::Timeout], ..Faults::default() });
    assert!(api.create(&PostParams::default(), &secret("a")).await.is_ok());
    network.set_faults(Faults {
        errors: 1000,
        error_responses: vec![ErrorResponse::InternalError],
        ..Faults::default()
    });
    let begin = Instant::now();
    assert!(api.get_opt("a").await.is_err());
    assert!(begin.elapsed() < Duration::from_secs(1), "a request was retried after a 500");
}
