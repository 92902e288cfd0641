//! What is stored of large objects, and of objects that do not match the schema of this version.

use std::sync::LazyLock;

use kube::{
    ResourceExt,
    runtime::{reflector::ObjectRef, watcher::Event},
};
use serde_json::json;

use std::collections::BTreeMap;

use super::*;
use crate::{
    api::{AuthorizedKeys, publication::PublicationResource},
    cache::{
        index::Index,
        scope_cache::ScopeCache,
        store::{CompressedStore, KeyPairEntry},
    },
    domain::{ledger::ClaimState, publication::check, region::Region},
};

/// The documented limit for any object.
const KEPT_BYTES: u64 = 2048;
const OBJECTS: u64 = 12;

/// Text that does not compress, different for each seed: a part of one long text.
fn noise(length: usize, seed: u64) -> String {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let letters = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b"0123456789abcdefghijklmnopqrstuv"[usize::try_from(state % 32).unwrap()])
        });
        letters.take(1_100_000).collect()
    });
    let start = usize::try_from(seed.wrapping_mul(251) % 99_991).unwrap();
    TEXT[start..start + length].to_owned()
}

/// As much metadata as etcd stores: annotations are limited to 256 KiB, labels are not.
fn metadata(seed: u64) -> Value {
    let labels: BTreeMap<String, String> =
        (0..4000).map(|n| (format!("example.com/{}{n}", noise(50, seed + n)), noise(63, seed + n))).collect();
    let annotations: BTreeMap<String, String> =
        (0..60).map(|n| (format!("keypairs.dev/{}{n}", noise(30, seed + n)), noise(4000, seed + n))).collect();
    json!({
        "name": noise(253, seed), "namespace": "shop", "uid": format!("0c9b1f8e-4f0e-4d5c-9a51-{seed:012x}"),
        "resourceVersion": "123456", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": labels, "annotations": annotations,
        "managedFields": [{ "manager": noise(100, seed), "fieldsV1": { "f:metadata": { noise(200_000, seed): {} } } }],
        "ownerReferences": (0..1000).map(|n| json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "name": noise(253, n), "uid": noise(64, n),
        })).collect::<Vec<_>>(),
    })
}

/// Specs that are large in every possible way.
fn specs(seed: u64) -> Vec<Value> {
    let line = include_str!("../../../tests/vectors/public/rsa2048.pub").trim();
    vec![
        json!({ "publicKey": line }),
        json!({ "publicKey": line, "secret": { "template": { "stringData": { "a": noise(1_000_000, seed) } } } }),
        json!({ "publicKey": noise(65_536, seed) }),
        json!({ "profile": "OpenSSH", "keyPairName": "中".repeat(128), "clientToken": noise(64, seed) }),
        json!({ "keyPairName": noise(500_000, seed), "project": noise(500_000, seed), "clientToken": noise(500_000, seed) }),
        json!({ "tags": (0..1000).map(|n| json!({ "key": noise(500, n), "value": noise(500, n) })).collect::<Vec<_>>() }),
        json!({ "secret": { "template": { "labels": { "a": noise(1_000_000, seed) } } } }),
        json!([noise(1_000_000, seed)]),
    ]
}

#[test]
fn the_largest_key_pairs_stay_within_the_documented_limit() {
    for kind in 0..specs(0).len() {
        let cache = ScopeCache::new(Index::tracking_duplicate_keys());
        cache.index.set_region("shop", Region::with_quota(1000), |_| None);
        let apply = |seed| {
            let text = json!({ "metadata": metadata(seed), "spec": specs(seed).swap_remove(kind) }).to_string();
            let taken = allocation_counter::measure(|| {
                let watched: WatchedKeyPair = serde_json::from_str(&text).unwrap();
                assert_eq!((watched.labels().len(), watched.annotations().len()), (0, 0));
                let event = Event::Apply(watched);
                cache.index.apply(&event);
                cache.key_pairs.apply(&event);
            });
            taken.bytes_max
        };
        // The first also allocates what all share, such as regular expressions.
        let mut peak = apply(OBJECTS);
        // Other tests may allocate shared values meanwhile, so the best of three counts.
        let mut kept = u64::MAX;
        for round in 1..=3 {
            let taken = allocation_counter::measure(|| {
                for seed in 0..OBJECTS {
                    peak = apply(round * 1000 + seed).max(peak);
                }
            });
            kept = kept.min(u64::try_from(taken.bytes_current).unwrap_or_default() / OBJECTS);
            if kept <= KEPT_BYTES {
                break;
            }
        }
        println!("kind {kind}: {kept} bytes of each are kept, {peak} at once");
        assert!(kept <= KEPT_BYTES, "kind {kind}: {kept} bytes of each are kept");
        // The spec itself, as it is read and as it is compressed.
        assert!(peak <= 12 * 1024 * 1024, "kind {kind}: {peak} bytes at once");
    }
}

/// As a newer version may store it, or an older one has stored it.
fn undecodable(name: &str, status: &Value) -> WatchedKeyPair {
    let metadata = json!({ "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "7" });
    let spec = json!({ "profile": "Cloud9", "keyPairName": format!("{name}-wanted"), "clientToken": "t" });
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec, "status": status })).unwrap()
}

fn decodable(name: &str, key_pair_name: &str) -> WatchedKeyPair {
    let metadata = json!({ "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "8" });
    let spec = json!({ "profile": "OpenSSH", "keyPairName": key_pair_name });
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
}

#[test]
fn an_undecodable_key_pair_keeps_its_slot_and_name() {
    let cache = ScopeCache::new(Index::default());
    cache.index.set_region("shop", Region::with_quota(2), |_| None);
    let accepted = json!({ "keyPairID": "kp-1", "keyPairName": "web", "bits": "many" });
    let pairs = || {
        [
            undecodable("old", &accepted),
            // Any form of identifier counts.
            undecodable("odd", &json!({ "keyPairID": { "v2": 1 } })),
            undecodable("waits", &json!({ "keyPairName": "ci" })),
            undecodable(
                "replay",
                &json!({
                    "keyPairID": "kp-1", "conditions": [{ "type": "Ready", "reason": "IdempotentReplay" }, 1, null],
                }),
            ),
            decodable("same-name", "web"),
            decodable("same-wanted-name", "old-wanted"),
        ]
    };
    let expected = [
        ("old", ClaimState::Granted),
        ("odd", ClaimState::Granted),
        // What these request cannot be read.
        ("waits", ClaimState::Unknown),
        ("replay", ClaimState::Unknown),
        ("same-name", ClaimState::NameTaken),
        ("same-wanted-name", ClaimState::NoSlot),
    ];
    let apply = |event: Event<WatchedKeyPair>| {
        cache.index.apply(&event);
        cache.key_pairs.apply(&event);
    };
    let check = |when: &str| {
        for (name, claim_state) in &expected {
            let now = cache.index.with_ledger("shop", |ledger| ledger.claim_state(&format!("uid-{name}"))).unwrap();
            assert_eq!(now, *claim_state, "{name} {when}");
        }
        assert_eq!(cache.index.undecoded(), 4, "{when}");
    };
    let list = || {
        apply(Event::Init);
        for pair in pairs() {
            apply(Event::InitApply(pair));
        }
        apply(Event::InitDone);
        cache.index.reevaluate_outdated(|reference| cache.claim_request(reference));
    };
    for pair in pairs() {
        apply(Event::Apply(pair));
    }
    check("as they come");
    list();
    check("after a list");
    let look_up = |name: &str| cache.claim_request(&ObjectRef::new(name).within("shop"));
    cache.index.set_region("shop", Region { default_project: None, ..Region::with_quota(2) }, look_up);
    cache.index.set_region("shop", Region::with_quota(2), look_up);
    check("after the namespace has changed");
    assert!(matches!(cache.key_pairs.get(&ObjectRef::new("old").within("shop")), Some(KeyPairEntry::Undecoded(_))));
    apply(Event::Delete(undecodable("old", &accepted)));
    let claim_state = |uid: &str| cache.index.with_ledger("shop", |ledger| ledger.claim_state(uid)).unwrap();
    assert_eq!(
        (claim_state("uid-same-name"), claim_state("uid-same-wanted-name")),
        (ClaimState::Granted, ClaimState::NoSlot)
    );
    assert_eq!(cache.index.undecoded(), 3);
    // It can be decoded again: it is a request like any other.
    apply(Event::Apply(decodable("waits", "ci")));
    assert_eq!((claim_state("uid-waits"), cache.index.undecoded()), (ClaimState::NoSlot, 2));
}

#[test]
fn a_client_token_counts_even_if_its_request_cannot_be_decoded() {
    let index = Index::default();
    index.set_region("shop", Region::with_quota(9), |_| None);
    index.apply(&Event::Apply(undecodable("aa", &json!({ "keyPairID": "kp-1" }))));
    let mut replay = KeyPair::new("bb", KeyPairSpec::default());
    (replay.metadata.namespace, replay.metadata.uid) = (Some("shop".to_owned()), Some("uid-bb".to_owned()));
    replay.spec.client_token = Some("t".to_owned());
    index.apply(&Event::Apply(replay));
    let claim_state = index.with_ledger("shop", |ledger| ledger.claim_state("uid-bb")).unwrap();
    assert_eq!(claim_state, ClaimState::ReplayOfPending("aa".to_owned()), "no second pair is made for one request");
    assert_eq!(index.usage()[0].1, 1);
}

#[test]
fn the_largest_secrets_stay_within_the_documented_limit() {
    let store = CompressedStore::<PartialObjectMeta<Secret>>::default();
    let mut peak = 0;
    let kept = allocation_counter::measure(|| {
        for seed in 0..OBJECTS {
            let mut metadata = metadata(seed);
            for name in ["keypair", "keypair-uid", "fingerprint", "applied", "replaces"] {
                metadata["annotations"][format!("keypairs.dev/{name}")] = json!(noise(250, seed));
            }
            metadata["annotations"]["keypairs.dev/applied"] =
                json!(json!({ "digest": "0123456789abcdef", "labels": [noise(200_000, seed)] }).to_string());
            let text = json!({ "metadata": metadata }).to_string();
            let taken = allocation_counter::measure(|| {
                let watched: WatchedSecret = serde_json::from_str(&text).unwrap();
                store.apply(&Event::Apply(PartialObjectMeta::<Secret>::from(watched)));
            });
            peak = taken.bytes_max.max(peak);
        }
    });
    let kept = u64::try_from(kept.bytes_current).unwrap_or_default() / OBJECTS;
    assert!(kept <= KEPT_BYTES, "{kept} bytes of each are kept");
    assert!(peak <= 2 * 1024 * 1024, "{peak} bytes at once");
    let mut digests = Vec::new();
    store.for_each(|secret| digests.push(secret.annotations()["keypairs.dev/applied"].clone()));
    assert_eq!(digests[0], r#"{"digest":"0123456789abcdef"}"#);
}

#[test]
fn many_labels_are_too_large_and_others_are_one_piece() {
    let labels = |count: usize| -> PairLabels {
        let labels: BTreeMap<String, &str> =
            (0..count).map(|n| (format!("k{n}"), if n == 7 { "v" } else { "" })).collect();
        let object = json!({ "metadata": { "name": "web", "labels": labels }, "spec": {} });
        serde_json::from_value::<WatchedKeyPair>(object).unwrap().pair_labels().clone()
    };
    assert_eq!(labels(0), PairLabels::None);
    assert_eq!(labels(65), PairLabels::TooLarge);
    let PairLabels::Some(most) = labels(64) else { panic!("they fit") };
    assert_eq!((most.get("k7"), most.get("k63"), most.get("k64")), (Some("v"), Some(""), None));
    assert_eq!(most.iter().count(), 64);
    let copied = allocation_counter::measure(|| drop(std::hint::black_box(most.clone())));
    assert!(copied.bytes_max < 512, "{} bytes", copied.bytes_max);
}

#[test]
fn of_a_publication_that_is_too_large_little_is_kept() {
    let publication = |command: usize| {
        let entries: Vec<Value> =
            (0..64).map(|n| json!({ "keyPair": "web", "options": { "command": noise(command, n) } })).collect();
        let object = json!({
            "metadata": { "name": "admins", "namespace": "shop", "uid": "1", "annotations": { "keypairs.dev/spec-too-large": "" } },
            "spec": { "entries": entries, "target": { "secret": { "name": "keys" } } },
        });
        let watched: WatchedPublication<AuthorizedKeys> = serde_json::from_value(object).unwrap();
        assert!(watched.is_decoded());
        let Some(Event::Apply(known)) = WatchedPublication::known(Event::Apply(watched)) else { panic!() };
        let store = CompressedStore::<AuthorizedKeys>::default();
        store.apply(&Event::Apply(known));
        store.get(&ObjectRef::new("admins").within("shop")).unwrap()
    };
    let fits = check(&publication(1900).parameters());
    assert_eq!((fits.mistakes.len(), fits.entries.len()), (0, 64));
    let kept = publication(4000);
    assert!(kept.spec_bytes() < 100);
    let checked = check(&kept.parameters());
    assert_eq!(checked.mistakes[0].field, "entries");
    assert_eq!((checked.entries.len(), checked.target.unwrap().name), (0, "keys".to_owned()));
}
