//! How soon a published text follows a change, what that costs, and how many writes a burst of changes needs.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use keypair_operator::api::{AuthorizedKeys, KeyPair};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::watcher::{self, Event, watcher},
};
use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    cluster::{Cluster, Kind, median, percentile, requests},
    load::load,
    process::{idle, processor_time, resident},
    section::{Section, Table},
};

const PATIENCE: Duration = Duration::from_secs(900);
const REQUESTS_AT_ONCE: usize = 32;
/// How many pairs there are in the namespace that the publication does not select.
const OTHERS: [usize; 3] = [100, 1_000, 10_000];
/// How many changes of each kind are measured in a stream of changes, and the pause between two. The intervals between writes do not
/// start over in it.
const EACH: usize = 40;
const PAUSE: Duration = Duration::from_millis(250);
/// How many changes of each kind are measured alone, and the pause after which a change is written at once.
const EACH_ALONE: usize = 4;
const LONG_PAUSE: Duration = Duration::from_millis(2500);
/// How many pairs the publication selects.
const SELECTED: usize = Change::ALL.len() * (EACH + EACH_ALONE) + 50;
/// How many pairs are created at once.
const BURST: usize = 1_000;
const NAME: &str = "published";

/// The text of the publication, as a watch shows it.
struct Text {
    lines: watch::Receiver<Vec<String>>,
    watching: JoinHandle<()>,
}

impl Text {
    fn watch(cluster: &Cluster, namespace: &str) -> Self {
        let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
        let (sender, lines) = watch::channel(Vec::new());
        let watching = tokio::spawn(async move {
            let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
            let mut events = watcher(api, config).boxed();
            while let Some(event) = events.next().await {
                if let Ok(Event::Apply(map) | Event::InitApply(map)) = event {
                    let text = map.data.and_then(|mut data| data.remove("authorized_keys")).unwrap_or_default();
                    sender.send_replace(text.lines().map(str::to_owned).collect());
                }
            }
        });
        Self { lines, watching }
    }

    /// Waits until the lines are so, and returns how long that took.
    async fn until(&mut self, is_so: impl FnMut(&Vec<String>) -> bool) -> Duration {
        let begun = Instant::now();
        timeout(PATIENCE, self.lines.wait_for(is_so)).await.expect("the text does not follow").unwrap();
        begun.elapsed()
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// A change of a pair that the text has to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Deleted,
    Unlabelled,
    Unshared,
    Refused,
    Rotated,
}

impl Change {
    const ALL: [Self; 5] = [Self::Deleted, Self::Unlabelled, Self::Unshared, Self::Refused, Self::Rotated];

    fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Unlabelled => "its label removed",
            Self::Unshared => "no longer shared",
            Self::Refused => "edited to an invalid spec, and refused",
            Self::Rotated => "a rotation requested, until the next key is in the text",
        }
    }

    async fn make(self, api: &Api<KeyPair>, name: &str) {
        let patch = match self {
            Self::Deleted => {
                api.delete(name, &DeleteParams::default()).await.unwrap();
                return;
            }
            Self::Unlabelled => json!({ "metadata": { "labels": { "team": null } } }),
            Self::Unshared => json!({ "spec": { "shareWith": null } }),
            Self::Refused => json!({ "spec": { "description": "1" } }),
            Self::Rotated => json!({
                "metadata": { "annotations": { "keypairs.dev/rotate": "1" } },
                "spec": { "rotation": { "publishBefore": "0s", "keepAfter": "0s" } },
            }),
        };
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Whether the text has followed.
    fn is_in(self, lines: &[String], name: &str) -> bool {
        if self == Self::Rotated {
            return lines.iter().any(|line| line.ends_with(&format!("/{name}#2")));
        }
        !lines.iter().any(|line| line.ends_with(&format!("/{name}")))
    }
}

fn labelled(number: usize) -> KeyPair {
    let mut key_pair = Kind::Ed25519.key_pair(number);
    key_pair.metadata.name = Some(format!("selected-{number}"));
    key_pair.metadata.labels = Some(BTreeMap::from([("team".to_owned(), "web".to_owned())]));
    key_pair.spec.share_with = vec!["*".to_owned()];
    key_pair
}

async fn create_labelled(cluster: &Cluster, namespace: &str, numbers: std::ops::Range<usize>) {
    let creates = stream::iter(numbers).map(|number| {
        let api: Api<KeyPair> = Api::namespaced(cluster.client.clone(), namespace);
        async move { drop(api.create(&PostParams::default(), &labelled(number)).await.unwrap()) }
    });
    creates.buffer_unordered(REQUESTS_AT_ONCE).collect::<Vec<()>>().await;
}

/// Creates an object in one namespace that publishes the pairs of another.
async fn publish(cluster: &Cluster, namespace: &str, pairs: &str) {
    let object = json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": "AuthorizedKeys", "metadata": { "name": NAME },
        "spec": { "entries": [{ "namespace": pairs, "selector": { "matchLabels": { "team": "web" } } }] },
    });
    let api: Api<AuthorizedKeys> = Api::namespaced(cluster.client.clone(), namespace);
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

/// How long each change takes to reach the text, in milliseconds.
type Times = Vec<(Change, f64)>;

/// Makes changes of these pairs, by number, in turns.
async fn changes(
    cluster: &Cluster,
    text: &mut Text,
    pairs: &str,
    numbers: std::ops::Range<usize>,
    pause: Duration,
) -> Times {
    let api: Api<KeyPair> = Api::namespaced(cluster.client.clone(), pairs);
    let mut took = Vec::new();
    for number in numbers {
        sleep(pause).await;
        let change = Change::ALL[number % Change::ALL.len()];
        let name = format!("selected-{number}");
        let begun = Instant::now();
        change.make(&api, &name).await;
        text.until(|lines| change.is_in(lines, &name)).await;
        took.push((change, begun.elapsed().as_secs_f64() * 1000.0));
    }
    took
}

/// The times of these kinds of changes, sorted.
fn sorted(took: &[(Change, f64)], is_of: impl Fn(Change) -> bool) -> Vec<f64> {
    let mut sorted: Vec<f64> = took.iter().filter(|(change, _)| is_of(*change)).map(|(_, time)| *time).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The number of writes of the target in a burst, and how long after the last pair was ready the text had all of them.
async fn burst(cluster: &Cluster, namespace: &str) -> (usize, Duration, Duration) {
    publish(cluster, namespace, namespace).await;
    let mut text = Text::watch(cluster, namespace);
    let mark = cluster.audit().mark().unwrap();
    let begun = Instant::now();
    create_labelled(cluster, namespace, 0..BURST).await;
    // Ready, as the API server shows it.
    let api: Api<KeyPair> = Api::namespaced(cluster.client.clone(), namespace);
    loop {
        let pairs = api.list(&kube::api::ListParams::default()).await.unwrap();
        let accepted = |pair: &&KeyPair| pair.status.as_ref().is_some_and(|status| status.key_pair_id.is_some());
        if pairs.items.iter().filter(accepted).count() == BURST {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "not all pairs are ready in time");
        sleep(Duration::from_millis(100)).await;
    }
    let (ready, last) = (begun.elapsed(), text.until(|lines| lines.len() == BURST).await);
    let counts = requests(cluster, mark, "keypair-operator/").await;
    let writes = counts.iter().filter(|(what, _)| what.ends_with(" configmaps") && !what.starts_with("get"));
    (writes.map(|(_, count)| count).sum(), ready, last)
}

pub async fn run() {
    let cluster = Cluster::start().await;
    // So that an invalid edit reaches the operator.
    cluster.enforce_rules(false).await;
    let mut follow = Table::new(
        &format!("The operator publishes {SELECTED} keys. Time from a change to the watch event of the ConfigMap:"),
        &[
            "other pairs in the namespace",
            "alone: median",
            "slowest",
            "in a stream: median",
            "p99",
            "slowest",
            "CPU time for each",
        ],
    );
    let mut by_change = Table::new("", &["change", "median", "slowest"]);
    for others in OTHERS {
        println!("{others} other pairs…");
        let pairs = cluster.namespaces(&format!("pairs-{others}"), 1).await.remove(0);
        let namespace = cluster.namespaces(&format!("published-{others}"), 1).await.remove(0);
        let operator = cluster.operator(&[]).await;
        load(&cluster.client, std::slice::from_ref(&pairs), Kind::Import, 0..others, None, PATIENCE).await;
        create_labelled(&cluster, &pairs, 0..SELECTED).await;
        publish(&cluster, &namespace, &pairs).await;
        let mut text = Text::watch(&cluster, &namespace);
        text.until(|lines| lines.len() == SELECTED).await;
        // A watch that the loaded API server was slow to resume makes the operator list everything once more, ten minutes later at most.
        operator.end().await;
        let operator = cluster.operator(&[]).await;
        idle(operator.id(), PATIENCE).await;
        let (alone, all) = (Change::ALL.len() * EACH_ALONE, Change::ALL.len() * (EACH_ALONE + EACH));
        let alone = sorted(&changes(&cluster, &mut text, &pairs, 0..alone, LONG_PAUSE).await, |_| true);
        idle(operator.id(), PATIENCE).await;
        let before = processor_time(operator.id());
        let took = changes(&cluster, &mut text, &pairs, alone.len()..all, PAUSE).await;
        idle(operator.id(), PATIENCE).await;
        let processor = processor_time(operator.id()).saturating_sub(before);
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let processor = processor.as_secs_f64() * 1000.0 / took.len() as f64;
        let all = sorted(&took, |_| true);
        let milliseconds = |time: f64| format!("{time:.0} ms");
        follow.rows.push(vec![
            others.to_string(),
            milliseconds(median(&alone)),
            milliseconds(*alone.last().unwrap()),
            milliseconds(median(&all)),
            milliseconds(percentile(&all, 990)),
            milliseconds(*all.last().unwrap()),
            format!("{processor:.1} ms"),
        ]);
        println!("  {}", follow.rows.last().unwrap().join(" | "));
        by_change.caption = format!("In the stream by change, with {others} other pairs:");
        by_change.rows = Change::ALL
            .iter()
            .map(|change| {
                let times = sorted(&took, |kind| kind == *change);
                vec![change.name().to_owned(), milliseconds(median(&times)), milliseconds(*times.last().unwrap())]
            })
            .collect();
        by_change.rows.iter().for_each(|row| println!("    {}", row.join(" | ")));
        operator.end().await;
    }
    println!("a burst of {BURST} pairs…");
    let operator = cluster.operator(&[]).await;
    idle(operator.id(), PATIENCE).await;
    let before = resident(operator.id());
    let namespace = cluster.namespaces("published-burst", 1).await.remove(0);
    let (writes, ready, last) = burst(&cluster, &namespace).await;
    let after = resident(operator.id());
    operator.end().await;
    let mut gathered = Table::new(&format!("{BURST} pairs that one object selects are created at once:"), &["", ""]);
    for (what, value) in [
        ("until all pairs are ready", format!("{:.1} s", ready.as_secs_f64())),
        ("from then until the text has all keys", format!("{:.2} s", last.as_secs_f64())),
        ("writes of the ConfigMap", writes.to_string()),
        ("resident memory before and after", format!("{:.1} MiB, {:.1} MiB", before / 1024.0, after / 1024.0)),
    ] {
        gathered.rows.push(vec![what.to_owned(), value]);
    }
    gathered.rows.iter().for_each(|row| println!("  {}", row.join(" | ")));
    let section = Section {
        title: "Publication".to_owned(),
        method: format!(
            "An AuthorizedKeys selects the KeyPairs of another namespace by a label. {} of them change alone, {} ms after the text has \
             followed the change before, and {} in a stream, {} ms after. The operator writes a first change at once. While changes keep \
             coming, it writes at most every 800 ms, so that most of the time in the stream is spent waiting.",
            Change::ALL.len() * EACH_ALONE,
            LONG_PAUSE.as_millis(),
            Change::ALL.len() * EACH,
            PAUSE.as_millis(),
        ),
        tables: vec![follow, by_change, gathered],
        figures: BTreeMap::new(),
    };
    section.save("publication");
}
