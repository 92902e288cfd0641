//! Creates `KeyPair`s and waits until they are Ready.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, future::join_all};
use keypair_operator::api::{KeyPair, status::READY};
use kube::{
    Api, Client, ResourceExt,
    api::PostParams,
    runtime::watcher::{self, Event, watcher},
};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{sleep_until, timeout},
};

use crate::cluster::Kind;

/// The maximum number of concurrent creates.
const CREATORS: usize = 64;
/// The interval between progress messages.
const SAY: Duration = Duration::from_secs(15);

/// When each `KeyPair` of a kind was requested or became Ready.
type Times = HashMap<(String, String), Instant>;

/// The result of a load.
pub struct Settled {
    /// From the first create to the last Ready, in seconds.
    pub seconds: f64,
    /// From each create to its Ready, in milliseconds, sorted.
    pub latencies: Vec<f64>,
}

/// Creates the `KeyPair`s with these numbers, alternating between the namespaces, at a rate per second or, without a rate,
/// all at once. Waits until all are Ready.
pub async fn load(
    client: &Client,
    namespaces: &[String],
    kind: Kind,
    numbers: std::ops::Range<usize>,
    rate: Option<f64>,
    patience: Duration,
) -> Settled {
    let count = numbers.len();
    let watching = Watching::start(client, namespaces, numbers.start, count).await;
    let begun = Instant::now();
    let created = create(client, namespaces, kind, numbers, rate).await;
    let ready = watching.end(patience.saturating_sub(begun.elapsed()), kind).await;
    let last = ready.values().max().copied().unwrap_or(begun);
    let mut latencies: Vec<f64> =
        created.iter().map(|(pair, at)| ready[pair].duration_since(*at).as_secs_f64() * 1000.0).collect();
    latencies.sort_by(f64::total_cmp);
    Settled { seconds: last.duration_since(begun).as_secs_f64(), latencies }
}

/// Creates the `KeyPair`s, and returns when each was requested.
pub async fn create(
    client: &Client,
    namespaces: &[String],
    kind: Kind,
    numbers: std::ops::Range<usize>,
    rate: Option<f64>,
) -> Times {
    let next = Arc::new(AtomicUsize::new(numbers.start));
    let begun = Instant::now();
    let creators = (0..CREATORS).map(|_| {
        let (next, numbers) = (Arc::clone(&next), numbers.clone());
        async move {
            let mut created = Times::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return created;
                }
                if let Some(rate) = rate {
                    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
                    let due = begun + Duration::from_secs_f64((number - numbers.start) as f64 / rate);
                    sleep_until(due.into()).await;
                }
                let namespace = &namespaces[number % namespaces.len()];
                let key_pair = kind.key_pair(number);
                created.insert((namespace.clone(), key_pair.name_any()), Instant::now());
                let api: Api<KeyPair> = Api::namespaced(client.clone(), namespace);
                api.create(&PostParams::default(), &key_pair).await.unwrap();
            }
        }
    });
    join_all(creators).await.into_iter().flatten().collect()
}

/// A watch that waits for a number of `KeyPair`s to become Ready.
struct Watching(JoinHandle<Times>);

impl Watching {
    /// Returns once the watch has listed the existing objects. `KeyPair`s with a number below `first` do not count.
    async fn start(client: &Client, namespaces: &[String], first: usize, count: usize) -> Self {
        let (listed, is_listed) = oneshot::channel();
        let api: Api<KeyPair> = match namespaces {
            [namespace] => Api::namespaced(client.clone(), namespace),
            _ => Api::all(client.clone()),
        };
        let namespaces = namespaces.to_vec();
        let watch = tokio::spawn(async move {
            let (mut ready, mut listed) = (Times::new(), Some(listed));
            let mut said = Instant::now();
            let mut events = watcher(api, watcher::Config::default()).boxed();
            while ready.len() < count {
                match events.next().await.unwrap().unwrap() {
                    Event::InitDone => {
                        listed.take().map(|listed| listed.send(()));
                    }
                    Event::Apply(key_pair) | Event::InitApply(key_pair) if is_ready(&key_pair, first) => {
                        let namespace = key_pair.namespace().unwrap_or_default();
                        if namespaces.contains(&namespace) {
                            ready.entry((namespace, key_pair.name_any())).or_insert_with(Instant::now);
                        }
                    }
                    _ => {}
                }
                if said.elapsed() > SAY {
                    println!("    {} of {count} are Ready…", ready.len());
                    said = Instant::now();
                }
            }
            ready
        });
        is_listed.await.unwrap();
        Self(watch)
    }

    async fn end(self, patience: Duration, kind: Kind) -> Times {
        let ended = timeout(patience, self.0).await;
        ended.unwrap_or_else(|_| panic!("{} KeyPairs did not become Ready in time", kind.name())).unwrap()
    }
}

fn is_ready(key_pair: &KeyPair, first: usize) -> bool {
    let number = key_pair.name_any().rsplit('-').next().and_then(|number| number.parse::<usize>().ok());
    number.is_some_and(|number| number >= first)
        && key_pair
            .status
            .as_ref()
            .and_then(|status| status.condition(READY))
            .is_some_and(|ready| ready.status == "True")
}
