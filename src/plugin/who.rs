//! `kubectl keypair who`: which publications publish a key pair.

use std::collections::BTreeMap;

use kube::{
    Api, ResourceExt as _,
    api::{ListParams, ObjectList},
};
use serde::Serialize;

use super::{
    args::{Format, WhoArgs},
    cluster::{Cluster, request},
    error::{Error, Kind, Subject},
    output,
};
use crate::{
    api::{
        AuthorizedKeys, KeyPair, KnownHosts,
        publication::{PublicationResource, share_with},
        status::READY,
    },
    domain::{
        label_selector::are_selectable,
        publication::{Source, TargetKind, check},
    },
};

/// Stands for every namespace in `shareWith`.
const EVERYBODY: &str = "*";
/// How many objects the API server returns at once.
const PAGE: u32 = 500;

/// The answer, as `-o json` shows it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    key_pair: String,
    namespace: String,
    publications: Vec<Row>,
    not_seen: Vec<NotSeen>,
}

/// A publication that publishes the key pair.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Row {
    kind: &'static str,
    namespace: String,
    name: String,
    target: Option<Target>,
    ready: String,
    reason: String,
}

/// The object that the text is in.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Target {
    kind: String,
    name: String,
    key: Option<String>,
}

/// Publications that the user may not list.
#[derive(Debug, Serialize)]
struct NotSeen {
    kind: &'static str,
    /// `*`: every other namespace.
    namespace: String,
    why: String,
}

/// Lists the publications with an entry that names or selects the KeyPair.
pub async fn who(cluster: &Cluster, args: &WhoArgs) -> Result<(), Error> {
    let pair = cluster.key_pair(&args.name).await?;
    let mut answer = Answer { key_pair: args.name.clone(), namespace: cluster.namespace.clone(), ..Answer::default() };
    let shared = share_with(&pair);
    let is_for_everybody = shared.iter().any(|namespace| namespace == EVERYBODY);
    let mut places = vec![cluster.namespace.as_str()];
    if is_for_everybody {
        // Lists all namespaces at once, the own one included; where that is not allowed, at least the own one.
        places.insert(0, "");
    } else {
        places.extend(shared.iter().map(String::as_str).filter(|namespace| *namespace != cluster.namespace));
    }
    look::<AuthorizedKeys>(cluster, &pair, &places, Kind::AuthorizedKeys, &mut answer).await?;
    look::<KnownHosts>(cluster, &pair, &places, Kind::KnownHosts, &mut answer).await?;
    answer.publications.sort();
    for NotSeen { kind, namespace, why } in &answer.not_seen {
        let place =
            if namespace == EVERYBODY { "other namespaces".to_owned() } else { format!("namespace {namespace:?}") };
        output::note(&format!("not seen: {kind} in {place}: {why}"));
    }
    if args.output == Some(Format::Json) {
        return output::json(&answer);
    }
    if answer.publications.is_empty() {
        output::note(&format!(
            "no AuthorizedKeys and no KnownHosts publish keypair/{} as far as you can see",
            args.name
        ));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = answer.publications.iter().map(Row::cells).collect();
    output::table(&["KIND", "NAMESPACE", "NAME", "TARGET", "READY"], &rows)
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let target = self
            .target
            .as_ref()
            .map_or("-".to_owned(), |target| format!("{}/{}", target.kind.to_lowercase(), target.name));
        let ready = if self.ready == "True" { self.ready.clone() } else { format!("{} ({})", self.ready, self.reason) };
        vec![self.kind.to_owned(), self.namespace.clone(), self.name.clone(), target, ready]
    }
}

/// Looks at the publications of one kind in these places, of which an empty one stands for all namespaces.
async fn look<K: PublicationResource>(
    cluster: &Cluster,
    pair: &KeyPair,
    places: &[&str],
    kind: Kind,
    answer: &mut Answer,
) -> Result<(), Error> {
    for place in places {
        match list::<K>(cluster, place, kind).await {
            Ok(publications) => {
                answer.publications.extend(publications.iter().filter(|it| publishes(*it, pair)).map(row));
                if place.is_empty() {
                    return Ok(());
                }
            }
            // The own namespace must be seen; what else is seen is a matter of permissions.
            Err(error) if *place == cluster.namespace => return Err(error),
            Err(error) => {
                let namespace = if place.is_empty() { EVERYBODY } else { place };
                answer.not_seen.push(NotSeen {
                    kind: K::KIND.as_str(),
                    namespace: namespace.to_owned(),
                    why: error.to_string(),
                });
            }
        }
    }
    Ok(())
}

async fn list<K: PublicationResource>(cluster: &Cluster, namespace: &str, kind: Kind) -> Result<Vec<K>, Error> {
    let api: Api<K> = match namespace {
        "" => Api::all(cluster.client.clone()),
        _ => Api::namespaced(cluster.client.clone(), namespace),
    };
    let subject = Subject { verb: "list", kind, name: "", namespace };
    let mut found = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let ObjectList { items, metadata, .. } = request(subject, api.list(&params)).await?;
        found.extend(items);
        match metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// Whether a valid entry names or selects the KeyPair, and may.
fn publishes(publication: &impl PublicationResource, pair: &KeyPair) -> bool {
    let (namespace, name) = (pair.namespace().unwrap_or_default(), pair.name_any());
    let own = publication.namespace().unwrap_or_default();
    let is_shared = share_with(pair).iter().any(|shared| *shared == own || shared == EVERYBODY);
    if own != namespace && !is_shared {
        return false;
    }
    let labels: &BTreeMap<String, String> = pair.labels();
    let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    let can_be_selected = are_selectable(labels.len(), bytes);
    check(&publication.parameters()).entries.iter().flatten().any(|entry| match &entry.source {
        Source::KeyPair { namespace: of, name: named } => *of == namespace && *named == name,
        Source::Selector { namespace: of, selector } => can_be_selected && *of == namespace && selector.selects(labels),
        Source::PublicKeys(_) => false,
    })
}

fn row<K: PublicationResource>(publication: &K) -> Row {
    let status = publication.status();
    let ready = status.and_then(|status| status.conditions.iter().find(|condition| condition.type_ == READY));
    let reported = status.and_then(|status| status.target.as_ref());
    let target = match reported {
        Some(target) => Some(Target { kind: target.kind.clone(), name: target.name.clone(), key: target.key.clone() }),
        // Where it will be.
        None => check(&publication.parameters()).target.map(|target| Target {
            kind: match target.kind {
                TargetKind::ConfigMap => "ConfigMap".to_owned(),
                TargetKind::Secret => "Secret".to_owned(),
            },
            name: target.name,
            key: Some(target.key),
        }),
    };
    Row {
        kind: K::KIND.as_str(),
        namespace: publication.namespace().unwrap_or_default(),
        name: publication.name_any(),
        target,
        ready: ready.map_or("Unknown", |ready| ready.status.as_str()).to_owned(),
        reason: ready.map_or("NotReconciled", |ready| ready.reason.as_str()).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pair(labels: &Value, shared: &[&str]) -> KeyPair {
        serde_json::from_value(json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair",
            "metadata": { "name": "web", "namespace": "shop", "labels": labels }, "spec": { "shareWith": shared },
        }))
        .unwrap()
    }

    fn publication(namespace: &str, entries: &Value) -> AuthorizedKeys {
        serde_json::from_value(json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "AuthorizedKeys",
            "metadata": { "name": "admins", "namespace": namespace }, "spec": { "entries": entries },
        }))
        .unwrap()
    }

    #[test]
    fn an_entry_counts_by_name_or_by_labels() {
        let pair = pair(&json!({ "team": "a" }), &[]);
        let counts = |entries: Value| publishes(&publication("shop", &entries), &pair);
        assert!(counts(json!([{ "keyPair": "other" }, { "keyPair": "web" }])));
        assert!(counts(json!([{ "selector": { "matchLabels": { "team": "a" } } }])));
        assert!(counts(json!([{ "selector": { "matchExpressions": [{ "key": "x", "operator": "DoesNotExist" }] } }])));
        assert!(counts(json!([{ "selector": {} }])));
        for other in [
            json!([]),
            json!([{ "keyPair": "other" }]),
            json!([{ "selector": { "matchLabels": { "team": "b" } } }]),
            json!([{ "selector": { "matchExpressions": [{ "key": "team", "operator": "NotIn", "values": ["a"] }] } }]),
            json!([{ "keyPair": "web", "namespace": "elsewhere" }]),
        ] {
            assert!(!counts(other.clone()), "{other}");
        }
        // As the operator does.
        let many: BTreeMap<String, String> =
            (0..200).map(|number| (format!("label-{number}"), "x".repeat(20))).collect();
        let labelled = self::pair(&json!(many), &[]);
        assert!(!publishes(&publication("shop", &json!([{ "selector": {} }])), &labelled));
        assert!(publishes(&publication("shop", &json!([{ "keyPair": "web" }])), &labelled));
    }

    #[test]
    fn another_namespace_counts_if_the_pair_is_shared_with_it() {
        let entries = json!([{ "keyPair": "web", "namespace": "shop" }]);
        for (shared, expected) in [(&[][..], false), (&["bank"], false), (&["ops"], true), (&["*"], true)] {
            let counts = publishes(&publication("ops", &entries), &pair(&json!({}), shared));
            assert_eq!(counts, expected, "{shared:?}");
        }
    }

    #[test]
    fn a_row_shows_the_target_and_why_it_is_not_ready() {
        let mut publication = publication("shop", &json!([{ "keyPair": "web" }]));
        assert_eq!(
            row(&publication).cells(),
            ["AuthorizedKeys", "shop", "admins", "configmap/admins", "Unknown (NotReconciled)"]
        );
        publication.status = serde_json::from_value(json!({
            "target": { "kind": "Secret", "name": "keys", "key": "authorized_keys" },
            "conditions": [{
                "type": "Ready", "status": "False", "reason": "TargetConflict", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        }))
        .unwrap();
        assert_eq!(
            row(&publication).cells(),
            ["AuthorizedKeys", "shop", "admins", "secret/keys", "False (TargetConflict)"]
        );
    }
}
