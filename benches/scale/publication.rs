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
/// How many pairs the publication selects.
const SELECTED: usize = 100;
/// How many changes are measured, and the pause between them.
const CHANGES: usize = 50;
const PAUSE: Duration = Duration::from_millis(250);
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

fn labelled(number: usize) -> KeyPair {
    let mut key_pair = Kind::Ed25519.key_pair(number);
    key_pair.metadata.name = Some(format!("selected-{number}"));
    key_pair.metadata.labels = Some(BTreeMap::from([("team".to_owned(), "web".to_owned())]));
    key_pair
}

async fn create_labelled(cluster: &Cluster, namespace: &str, numbers: std::ops::Range<usize>) {
    let creates = stream::iter(numbers).map(|number| {
        let api: Api<KeyPair> = Api::namespaced(cluster.client.clone(), namespace);
        async move { drop(api.create(&PostParams::default(), &labelled(number)).await.unwrap()) }
    });
    creates.buffer_unordered(REQUESTS_AT_ONCE).collect::<Vec<()>>().await;
}

async fn publish(cluster: &Cluster, namespace: &str) {
    let object = json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": "AuthorizedKeys", "metadata": { "name": NAME },
        "spec": { "entries": [{ "selector": { "matchLabels": { "team": "web" } } }] },
    });
    let api: Api<AuthorizedKeys> = Api::namespaced(cluster.client.clone(), namespace);
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

/// How long each change takes to reach the text, in milliseconds, sorted, and the CPU time of the operator for each.
async fn changes(cluster: &Cluster, operator: u32, namespace: &str) -> (Vec<f64>, f64) {
    let api: Api<KeyPair> = Api::namespaced(cluster.client.clone(), namespace);
    let mut text = Text::watch(cluster, namespace);
    text.until(|lines| lines.len() == SELECTED).await;
    idle(operator, PATIENCE).await;
    let (mut took, processor) = (Vec::new(), processor_time(operator));
    for number in 0..CHANGES {
        let name = format!("selected-{number}");
        let is_there = |lines: &Vec<String>| lines.iter().any(|line| line.ends_with(&format!("/{name}")));
        // A deleted pair, and one that loses its label.
        let begun = Instant::now();
        if number % 2 == 0 {
            api.delete(&name, &DeleteParams::default()).await.unwrap();
        } else {
            let patch = Patch::Merge(json!({ "metadata": { "labels": { "team": null } } }));
            api.patch(&name, &PatchParams::default(), &patch).await.unwrap();
        }
        text.until(|lines| !is_there(lines)).await;
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
        sleep(PAUSE).await;
    }
    idle(operator, PATIENCE).await;
    let processor = processor_time(operator).saturating_sub(processor);
    took.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    let each = processor.as_secs_f64() * 1000.0 / CHANGES as f64;
    (took, each)
}

/// The number of writes of the target in a burst, and how long after the last pair was ready the text had all of them.
async fn burst(cluster: &Cluster, namespace: &str) -> (usize, Duration, Duration) {
    publish(cluster, namespace).await;
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
    let operator = cluster.operator(&[]).await;
    let mut follow = Table::new(
        &format!("The operator publishes {SELECTED} keys. Time from a change to the watch event of the ConfigMap:"),
        &["other pairs in the namespace", "median", "p99", "CPU time for each change"],
    );
    for others in OTHERS {
        println!("{others} other pairs…");
        let namespace = cluster.namespaces(&format!("published-{others}"), 1).await.remove(0);
        load(&cluster.client, std::slice::from_ref(&namespace), Kind::Import, 0..others, None, PATIENCE).await;
        create_labelled(&cluster, &namespace, 0..SELECTED).await;
        publish(&cluster, &namespace).await;
        let (took, processor) = changes(&cluster, operator.id(), &namespace).await;
        follow.rows.push(vec![
            others.to_string(),
            format!("{:.0} ms", median(&took)),
            format!("{:.0} ms", percentile(&took, 990)),
            format!("{processor:.1} ms"),
        ]);
        println!("  {}", follow.rows.last().unwrap().join(" | "));
    }
    println!("a burst of {BURST} pairs…");
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
            "An AuthorizedKeys selects KeyPairs by a label. {CHANGES} of them are deleted or lose the label, one every {} ms after the text \
             has followed; the operator writes a target at most every 100 to 800 ms.",
            PAUSE.as_millis(),
        ),
        tables: vec![follow, gathered],
        figures: BTreeMap::new(),
    };
    section.save("publication");
}
