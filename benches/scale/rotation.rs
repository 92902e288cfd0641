//! What rotations cost: many pairs of the same age, whose keys are due within the same minutes.

use std::{collections::BTreeMap, env, time::Duration};

use futures::{StreamExt as _, stream};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use keypair_operator::api::KeyPair;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    cluster::{Cluster, Kind, requests},
    load::load,
    process::{idle, peak, processor_time, resident},
    section::{Section, Table},
};

const NAMESPACES: usize = 20;
const PATIENCE: Duration = Duration::from_secs(1800);
const REQUESTS_AT_ONCE: usize = 32;
/// The interval between rotations. They spread over a tenth of it.
const EVERY: SignedDuration = SignedDuration::from_mins(60);
const SPREAD: SignedDuration = SignedDuration::from_mins(6);
/// How long before the first switch the operator learns of the age of the keys.
const LEAD: SignedDuration = SignedDuration::from_mins(2);
const LOOK: Duration = Duration::from_secs(5);

/// The pairs, with their status.
async fn pairs(cluster: &Cluster, namespaces: &[String]) -> Vec<KeyPair> {
    let mut all = Vec::new();
    for namespace in namespaces {
        let api: Api<KeyPair> = Api::namespaced(cluster.client.clone(), namespace);
        all.extend(api.list(&ListParams::default()).await.unwrap().items);
    }
    all
}

async fn patch_all(cluster: &Cluster, pairs: &[KeyPair], patch: impl Fn(&KeyPair) -> (bool, serde_json::Value)) {
    let patches = stream::iter(pairs).map(|pair| {
        let api: Api<KeyPair> = Api::namespaced(cluster.client.clone(), &pair.namespace().unwrap());
        let (is_status, patch) = patch(pair);
        async move {
            let (name, parameters, patch) = (pair.name_any(), PatchParams::default(), Patch::Merge(patch));
            if is_status {
                api.patch_status(&name, &parameters, &patch).await.unwrap();
            } else {
                api.patch(&name, &parameters, &patch).await.unwrap();
            }
        }
    });
    patches.buffer_unordered(REQUESTS_AT_ONCE).collect::<Vec<()>>().await;
}

/// Waits until each pair is so.
async fn wait_for(
    cluster: &Cluster,
    namespaces: &[String],
    what: &str,
    is_so: impl Fn(&KeyPair) -> bool,
) -> Vec<KeyPair> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let pairs = pairs(cluster, namespaces).await;
        let count = pairs.iter().filter(|pair| is_so(pair)).count();
        if count == pairs.len() {
            return pairs;
        }
        println!("    {count} of {} {what}…", pairs.len());
        assert!(Instant::now() < deadline, "not all pairs {what} in time");
        sleep(LOOK).await;
    }
}

fn next_switch(pair: &KeyPair) -> Option<Timestamp> {
    pair.status.as_ref()?.rotation.as_ref()?.next_switch.as_ref()?.parse().ok()
}

fn switched_at(pair: &KeyPair) -> Option<Timestamp> {
    let status = pair.status.as_ref()?;
    let current = status.keys.iter().find(|key| key.phase == "Current").filter(|key| key.revision == 2)?;
    current.since.parse().ok()
}

/// How many of these times are in each minute after the first.
fn by_minute(times: &[Timestamp]) -> Vec<usize> {
    let Some(first) = times.iter().min() else { return Vec::new() };
    let mut counts = BTreeMap::<i64, usize>::new();
    for time in times {
        *counts.entry(time.duration_since(*first).as_secs() / 60).or_default() += 1;
    }
    counts.into_values().collect()
}

pub async fn run() {
    let count: usize = env::var("KEYPAIR_BENCH_ROTATIONS").map_or(10_000, |pairs| pairs.parse().unwrap());
    let cluster = Cluster::start().await;
    let namespaces = cluster.namespaces("rotation", NAMESPACES).await;
    let operator = cluster.operator(&[]).await;
    println!("creating {count} pairs…");
    load(&cluster.client, &namespaces, Kind::Ed25519, 0..count, None, PATIENCE).await;
    idle(operator.id(), PATIENCE).await;
    let without = resident(operator.id());

    println!("setting spec.rotation…");
    let rotation = json!({ "every": "1h", "publishBefore": "0s", "keepAfter": "0s" });
    let all = pairs(&cluster, &namespaces).await;
    patch_all(&cluster, &all, |_| (false, json!({ "spec": { "rotation": rotation } }))).await;
    let all = wait_for(&cluster, &namespaces, "are scheduled", |pair| next_switch(pair).is_some()).await;
    idle(operator.id(), PATIENCE).await;
    let with = resident(operator.id());

    println!("dating the keys back, so that the first switches are due in {LEAD:#}…");
    let since = Timestamp::now() - EVERY + SPREAD + LEAD;
    patch_all(&cluster, &all, |pair| {
        let mut keys = json!(pair.status.as_ref().unwrap().keys);
        keys[0]["since"] = json!(Timestamp::from_second(since.as_second()).unwrap().to_string());
        (true, json!({ "status": { "keys": keys } }))
    })
    .await;
    let limit = since + EVERY + SignedDuration::from_secs(1);
    let shown = wait_for(&cluster, &namespaces, "show when they are due", |pair| {
        next_switch(pair).is_some_and(|next_switch| next_switch <= limit) || switched_at(pair).is_some()
    })
    .await;
    let shown: BTreeMap<String, Timestamp> =
        shown.iter().filter_map(|pair| Some((pair.uid()?, next_switch(pair)?))).collect();
    idle(operator.id(), Duration::from_secs(60)).await;
    let (mark, processor) = (cluster.audit().mark().unwrap(), processor_time(operator.id()));

    let is_over = |pair: &KeyPair| {
        let keys = pair.status.as_ref().map_or(0, |status| status.keys.len());
        keys == 1 && switched_at(pair).is_some()
    };
    let rotated = wait_for(&cluster, &namespaces, "are rotated", is_over).await;
    let counts = requests(&cluster, mark, "keypair-operator/").await;
    let processor = processor_time(operator.id()).saturating_sub(processor);
    let (after, most) = (resident(operator.id()), peak(operator.id()));
    operator.end().await;
    let operator = cluster.operator(&[]).await;
    idle(operator.id(), PATIENCE).await;
    let restarted = resident(operator.id());
    operator.end().await;

    let switched: Vec<Timestamp> = rotated.iter().filter_map(switched_at).collect();
    let late = rotated.iter().filter_map(|pair| {
        let (shown, switched) = (shown.get(&pair.uid()?)?, switched_at(pair)?);
        Some(switched.duration_since(*shown).as_secs())
    });
    let late = late.max().unwrap_or_default();
    let per_minute = |times: &[Timestamp]| format!("{:?}", by_minute(times));
    let mut spread = Table::new("When the pairs are due, and when they are rotated, in each minute:", &["", "pairs"]);
    spread
        .rows
        .push(vec!["`status.rotation.nextSwitch`".to_owned(), per_minute(&shown.into_values().collect::<Vec<_>>())]);
    spread.rows.push(vec!["switches".to_owned(), per_minute(&switched)]);
    spread.rows.push(vec!["latest after its `nextSwitch`".to_owned(), format!("{late} s")]);
    let mut cost =
        Table::new("Requests and CPU time of the operator for each rotation:", &["request", "for each rotation"]);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let each = |total: usize| format!("{:.2}", total as f64 / count as f64);
    cost.rows.extend(counts.into_iter().map(|(what, total)| vec![what, each(total)]));
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let milliseconds = processor.as_secs_f64() * 1000.0 / count as f64;
    cost.rows.push(vec!["CPU time".to_owned(), format!("{milliseconds:.2} ms")]);
    let mut memory = Table::new("Memory of the operator:", &["", "resident"]);
    for (what, kib) in [
        ("without `spec.rotation`", without),
        ("scheduled", with),
        ("rotated", after),
        ("peak", most),
        ("after a restart", restarted),
    ] {
        memory.rows.push(vec![what.to_owned(), format!("{:.1} MiB", kib / 1024.0)]);
    }
    for table in [&spread, &cost, &memory] {
        table.rows.iter().for_each(|row| println!("  {}", row.join(" | ")));
    }
    let section = Section {
        title: "Rotation".to_owned(),
        method: format!(
            "{count} Ed25519 pairs over {NAMESPACES} namespaces get `every: 1h`, and their keys are dated back to the same second, so \
             that all of them are due within the same six minutes. Each is rotated once, with `publishBefore` and `keepAfter` of 0 s.",
        ),
        tables: vec![spread, cost, memory],
        figures: BTreeMap::new(),
    };
    section.save("rotation");
}
