use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use kube::client::Body;
use serde_json::json;
use tower::service_fn;

use super::*;

/// Without watches, and with an API server that never answers.
fn watches() -> (SecretWatches, impl Stream<Item = Trigger> + Send) {
    let silent =
        service_fn(|_: http::Request<Body>| std::future::pending::<Result<http::Response<Body>, kube::Error>>());
    SecretWatches::new(&Client::new(silent, "default"), Randomness::of_this_process())
}

fn key_pair(namespace: &str, name: &str) -> KeyPair {
    let uid = format!("uid-of-{namespace}-{name}");
    let metadata =
        json!({ "namespace": namespace, "name": name, "uid": uid, "creationTimestamp": Timestamp::UNIX_EPOCH });
    serde_json::from_value(json!({ "metadata": metadata, "spec": {} })).unwrap()
}

fn secret_ref(name: &str) -> SecretRef {
    SecretRef { namespace: "shop".to_owned(), name: name.to_owned() }
}

fn secret(annotations: &[(&str, &str)]) -> WatchedSecret {
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    serde_json::from_value(json!({ "metadata": { "name": "theirs", "namespace": "shop", "annotations": annotations } }))
        .unwrap()
}

impl SecretWatches {
    fn apply(&self, event: Event<WatchedSecret>) -> Vec<String> {
        apply_event(&self.waiting, &secret_ref("theirs"), event).into_iter().map(|reference| reference.name).collect()
    }

    fn watched_in(&self, namespace: &str) -> usize {
        self.lock().count(namespace)
    }
}

const ADOPT: &str = "keypairs.dev/adopt";

#[tokio::test]
async fn one_watch_triggers_the_affected_key_pairs() {
    let (watches, _triggers) = watches();
    let pairs: Vec<KeyPair> = (0..500).map(|number| key_pair("shop", &format!("pair-{number:03}"))).collect();
    for pair in &pairs {
        assert!(watches.wait(pair, "theirs", false));
        assert!(watches.wait(pair, "theirs", false), "waiting twice is waiting once");
    }
    assert_eq!(watches.watched_in("shop"), 1);
    assert_eq!(watches.foreign_secret(&pairs[0], "theirs"), None, "nothing is known yet");
    watches.apply(Event::Init);
    watches.apply(Event::InitApply(secret(&[])));
    assert_eq!(watches.apply(Event::InitDone), [""; 0], "it is foreign to all of them");
    assert_eq!(watches.foreign_secret(&pairs[7], "theirs").unwrap().ownership, Ownership::Foreign);
    assert_eq!(watches.apply(Event::Apply(secret(&[("note", "x")]))), [""; 0]);

    assert_eq!(watches.apply(Event::Apply(secret(&[(ADOPT, "pair-007")]))), ["pair-007"]);
    assert_eq!(watches.foreign_secret(&pairs[7], "theirs"), None, "it has to be read now");
    assert!(watches.foreign_secret(&pairs[8], "theirs").is_some());
    assert_eq!(watches.apply(Event::Apply(secret(&[(ADOPT, "pair-008")]))), ["pair-007", "pair-008"]);
    assert_eq!(watches.apply(Event::Delete(secret(&[]))), ["pair-000", "pair-008"], "a free name is for the oldest");
    assert_eq!(watches.foreign_secret(&pairs[0], "theirs"), None);
    let waits_for_all = key_pair("shop", "settled");
    watches.wait(&waits_for_all, "theirs", true);
    assert_eq!(watches.apply(Event::Apply(secret(&[]))), ["settled"]);
}

#[tokio::test]
async fn a_free_name_is_offered_to_key_pairs_in_turn() {
    let (watches, mut triggers) = watches();
    let pairs: Vec<KeyPair> = ["a", "b", "c"].map(|name| key_pair("shop", name)).into();
    for pair in &pairs {
        watches.wait(pair, "theirs", false);
    }
    assert_eq!(watches.apply(Event::Delete(secret(&[]))), ["a"]);
    watches.stop_waiting(&pairs[0]);
    assert_eq!(triggers.next().await, Some(ObjectRef::new("b").within("shop").into()));
    watches.apply(Event::Apply(secret(&[])));
    watches.stop_waiting(&pairs[1]);
    watches.stop_waiting(&pairs[2]);
    assert!(!watches.is_waited_for("shop", "theirs"));
    assert_eq!(watches.watched_in("shop"), 0);
}

#[tokio::test]
async fn watches_are_few_and_shared_evenly() {
    let (watches, _triggers) = watches();
    let wait = |namespace: &str, number: usize| {
        watches.wait(&key_pair(namespace, &format!("p{number}")), &format!("s{number}"), false)
    };
    for number in 0..MAX_WATCHES {
        assert!(wait("greedy", number));
    }
    assert!(!wait("greedy", MAX_WATCHES), "there are no more");
    for number in 0..20 {
        wait("modest", number);
        wait("third", number);
    }
    let all = ["greedy", "modest", "third"].map(|namespace| watches.watched_in(namespace));
    assert_eq!(all.iter().sum::<usize>(), MAX_WATCHES);
    assert!(all.iter().all(|count| (MAX_WATCHES / 3..=MAX_WATCHES / 3 + 1).contains(count)), "{all:?}");
    for number in 0..20 {
        watches.stop_waiting(&key_pair("modest", &format!("p{number}")));
        watches.stop_waiting(&key_pair("third", &format!("p{number}")));
    }
    assert_eq!(watches.watched_in("greedy"), MAX_WATCHES, "freed watches are used again");
    for number in 0..=MAX_WATCHES {
        watches.forget(&format!("uid-of-greedy-p{number}"));
    }
    assert_eq!(watches.watched_in("greedy"), 0);
}

#[tokio::test]
async fn waiting_for_another_secret_ends_the_first_wait() {
    let (watches, _triggers) = watches();
    let pair = key_pair("shop", "web");
    for name in ["one", "two", "one"] {
        assert!(watches.wait(&pair, name, false));
        assert_eq!(watches.watched_in("shop"), 1);
    }
    assert!(!watches.is_waited_for("shop", "two"));
    for name in ["../db", "a,metadata.namespace=b", "", "A"] {
        assert!(!watches.wait(&pair, name, false), "{name}");
    }
    assert_eq!(watches.watched_in("shop"), 0);
}
