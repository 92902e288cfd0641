//! Adoption with merge patches applied as RFC 7386 says: however the settings change, the owner's data stays.

use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use k8s_openapi::ByteString;

use super::*;
use crate::{
    controller::key_pair::secrets::{NO_COMMENT, OwnershipMetadata, to_read_secret},
    domain::{
        decide::{Incompatibility, Ownership},
        key::{Encoding, KeySpec, PrivateKey},
    },
    keygen,
};

const NAMES: &[&str] = &["a", "b", "ssh-privatekey", "ssh-publickey", "id", "id.pub"];

fn key_pair() -> KeyPair {
    serde_json::from_value(json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair",
        "metadata": { "name": "web", "namespace": "shop", "uid": "1" }, "spec": {},
    }))
    .unwrap()
}

fn text(key: &PrivateKey, encoding: Encoding) -> ByteString {
    ByteString(key.encode(encoding, "me@home").unwrap().as_bytes().to_vec())
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

fn secret(data: BTreeMap<String, ByteString>) -> Secret {
    let annotations = BTreeMap::from([(ADOPT_ANNOTATION.to_owned(), "web".to_owned())]);
    let mut secret = Secret { data: Some(data), ..Secret::default() };
    secret.metadata.annotations = Some(annotations);
    secret.metadata.resource_version = Some("1".to_owned());
    secret
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn patched(secret: &Secret, patch: &Value) -> Secret {
    assert_eq!(patch["metadata"]["resourceVersion"], json!(secret.metadata.resource_version), "unguarded");
    let mut value = serde_json::to_value(secret).unwrap();
    merge(&mut value, patch);
    serde_json::from_value(value).unwrap()
}

/// Reconciles the Secret; returns false if it is incompatible with the settings.
fn reconcile(secret: &mut Secret, settings: &SecretSettings) -> bool {
    let key_pair = key_pair();
    let seen = to_read_secret(secret, &key_pair, settings, &[]);
    let (Some(key), None) = (&seen.public_key, &seen.incompatibility) else { return false };
    let desired = DesiredSecret {
        key_pair: &key_pair,
        settings,
        owned: seen.ownership == Ownership::Ours,
        admission_changes: &[],
    };
    if let Some(patch) = changes(secret, desired, key) {
        *secret = patched(secret, &patch);
    }
    let after = to_read_secret(secret, &key_pair, settings, &[]);
    assert!(after.up_to_date && after.incompatibility.is_none() && after.adopted, "{secret:?}");
    assert_eq!(after.public_key.as_ref().map(PublicKey::blob), Some(key.blob()));
    true
}

fn settings(private: &str, public: &str, entries: &[(&str, &str)]) -> SecretSettings {
    let map: BTreeMap<_, _> = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let string_data = map.iter().filter(|(key, _)| ![private, public].contains(&key.as_str()));
    SecretSettings {
        private_key: private.to_owned(),
        public_key: public.to_owned(),
        string_data: string_data.map(|(key, value)| (key.clone(), value.clone())).collect(),
        labels: map.clone(),
        annotations: map,
        ..SecretSettings::named("web".to_owned())
    }
}

fn any_map() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(select(NAMES).prop_map(str::to_owned), "[xyz]", 0..4)
}

fn any_settings() -> impl Strategy<Value = SecretSettings> {
    let keys = select(&[("ssh-privatekey", "ssh-publickey"), ("id", "id.pub"), ("a", "ssh-publickey"), ("id", "b")]);
    let encoding = select(&[None, Some(Encoding::Pkcs8), Some(Encoding::OpenSsh)]);
    (keys, encoding, any_map(), any_map(), any_map()).prop_map(
        |((private, public), encoding, data, labels, annotations)| {
            let entries: Vec<(&str, &str)> = data.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            SecretSettings { encoding, labels, annotations, ..settings(private, public, &entries) }
        },
    )
}

proptest! {
    /// Through any edits of the template, the data keys and the encoding, and after the Secret is returned.
    #[test]
    fn an_adopted_secret_keeps_the_data_of_its_owner(
        first in any_settings(),
        later in prop::collection::vec(any_settings(), 0..4),
        data in any_map(),
        (labels, annotations) in (any_map(), any_map()),
        manager in prop::option::of(select(&["Helm", OPERATOR])),
    ) {
        let key = keygen::generate(KeySpec::Ed25519).unwrap();
        let blob = key.public_key(NO_COMMENT).unwrap().blob().to_vec();
        let mut entries: BTreeMap<_, _> = data.iter().map(|(key, value)| (key.clone(), bytes(value))).collect();
        entries.insert(first.private_key.clone(), text(&key, Encoding::OpenSsh));
        let mut secret = secret(entries.clone());
        secret.labels_mut().extend(labels);
        secret.labels_mut().extend(manager.map(|manager| (MANAGED_BY_LABEL.to_owned(), manager.to_owned())));
        secret.annotations_mut().extend(annotations);
        let before = secret.clone();
        let is_adopted = reconcile(&mut secret, &first);
        for settings in later.iter().filter(|_| is_adopted) {
            reconcile(&mut secret, settings);
        }
        let kept = |now: &Secret| {
            for (key, value) in before.labels() {
                assert_eq!(now.labels().get(key), Some(value));
            }
            for (key, value) in before.annotations().iter().filter(|(key, _)| *key != ADOPT_ANNOTATION || !is_adopted) {
                assert_eq!(now.annotations().get(key), Some(value));
            }
            for (name, value) in &entries {
                let found = now.data.as_ref().unwrap().get(name).unwrap();
                if *name == first.private_key && is_adopted {
                    let found = PrivateKey::parse(std::str::from_utf8(&found.0).unwrap()).unwrap();
                    assert_eq!(found.public_key(NO_COMMENT).unwrap().blob(), blob);
                } else {
                    assert_eq!(found, value, "{name}");
                }
            }
        };
        kept(&secret);
        let (key_pair, owned) = (key_pair(), is_adopted);
        if let Some(patch) = release(&secret, DesiredSecret { key_pair: &key_pair, settings: &first, owned, admission_changes: &[] }).filter(|_| owned) {
            let left = patched(&secret, &patch);
            kept(&left);
            prop_assert_eq!(OwnershipMetadata::of(&left).ownership(&key_pair), Ownership::Foreign);
            prop_assert_eq!(left.labels(), before.labels());
            prop_assert_eq!(left.annotations().len(), before.annotations().len() - 1, "{:?}", left.annotations());
            prop_assert_eq!(left.data.unwrap().into_keys().collect::<Vec<_>>(), entries.into_keys().collect::<Vec<_>>());
        }
    }
}

#[test]
fn the_operator_removes_what_it_added() {
    let key = keygen::generate(KeySpec::Ed25519).unwrap();
    let (ed, public) = ("ssh-privatekey", "ssh-publickey");
    let mut secret =
        secret(BTreeMap::from([(ed.to_owned(), text(&key, Encoding::Pkcs8)), ("a".to_owned(), bytes("x"))]));
    assert!(reconcile(&mut secret, &settings(ed, public, &[("a", "1"), ("b", "1")])));
    let data = |secret: &Secret| secret.data.clone().unwrap().into_keys().collect::<Vec<_>>();
    assert_eq!(data(&secret), ["a", "b", ed, public]);
    assert!(reconcile(&mut secret, &settings(ed, public, &[("a", "2"), ("b", "2")])));
    assert_eq!(secret.data.as_ref().unwrap()["a"], bytes("x"));
    assert_eq!(secret.data.as_ref().unwrap()["b"], bytes("2"));
    assert!(reconcile(&mut secret, &settings(ed, public, &[])));
    assert_eq!(data(&secret), ["a", ed, public]);
    assert!(secret.labels().keys().eq([MANAGED_BY_LABEL]), "{:?}", secret.labels());
}

#[test]
fn an_existing_entry_blocks_adoption() {
    let key = keygen::generate(KeySpec::Ed25519).unwrap();
    let other = keygen::generate(KeySpec::Ed25519).unwrap();
    let line = |key: &PrivateKey| bytes(&key.public_key("theirs").unwrap().to_openssh());
    let defaults = settings("ssh-privatekey", "ssh-publickey", &[]);
    let found = |public: ByteString| {
        let entries = [("ssh-privatekey", text(&key, Encoding::Pkcs8)), ("ssh-publickey", public)];
        secret(entries.map(|(name, value)| (name.to_owned(), value)).into())
    };
    for public in [line(&other), bytes("theirs"), bytes("")] {
        let seen = to_read_secret(&found(public), &key_pair(), &defaults, &[]);
        assert_eq!(seen.incompatibility, Some(Incompatibility::Entry("ssh-publickey".to_owned())));
    }
    let mut same = found(line(&key));
    assert!(reconcile(&mut same, &defaults));
    assert_eq!(same.data.as_ref().unwrap()["ssh-publickey"], line(&key));
    let moved = settings("ssh-publickey", "id.pub", &[]);
    assert_eq!(
        to_read_secret(&same, &key_pair(), &moved, &[]).incompatibility,
        Some(Incompatibility::Entry("ssh-publickey".to_owned()))
    );
}

#[test]
fn the_reasons_of_a_refusal_do_not_quote_the_key() {
    let defaults = settings("ssh-privatekey", "ssh-publickey", &[]);
    for (content, words) in [(Some("nonsense"), "not a private key"), (None, "no such entry"), (Some(""), "empty")] {
        let entries = content.map(|content| ("ssh-privatekey".to_owned(), bytes(content)));
        let seen = to_read_secret(&secret(entries.into_iter().collect()), &key_pair(), &defaults, &[]);
        let Some(Incompatibility::Key(why)) = seen.incompatibility else { panic!("{words}") };
        assert!(why.contains(words) && !why.contains("nonsense"), "{why}");
    }
}

/// Also for Secrets without a record of the adoption, and for those that the operator created.
#[test]
fn adoption_is_recorded_and_can_be_declared_later() {
    let key = keygen::generate(KeySpec::Ed25519).unwrap();
    let settings = settings("ssh-privatekey", "ssh-publickey", &[]);
    let key_pair = key_pair();
    let mut made = secret(BTreeMap::from([("ssh-privatekey".to_owned(), text(&key, Encoding::Pkcs8))]));
    made.annotations_mut().clear();
    made.annotations_mut().insert(KEYPAIR_UID_ANNOTATION.to_owned(), "1".to_owned());
    let reconcile = |secret: &mut Secret| {
        let desired = DesiredSecret { key_pair: &key_pair, settings: &settings, owned: true, admission_changes: &[] };
        if let Some(patch) = changes(secret, desired, &key.public_key(NO_COMMENT).unwrap()) {
            *secret = patched(secret, &patch);
        }
    };
    reconcile(&mut made);
    assert!(!to_read_secret(&made, &key_pair, &settings, &[]).adopted);
    assert_eq!(made.owner_references().len(), 1);
    made.annotations_mut().insert(ADOPT_ANNOTATION.to_owned(), "web".to_owned());
    reconcile(&mut made);
    assert!(to_read_secret(&made, &key_pair, &settings, &[]).adopted);
    assert_eq!(made.owner_references(), []);
    assert!(!made.annotations().contains_key(ADOPT_ANNOTATION));
}

/// Every exchange of names between the private key, the public key and an entry of the template, in a Secret that the operator created and
/// in an adopted one.
#[test]
fn entry_names_can_be_swapped() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let all = || {
        let pairs = NAMES.iter().flat_map(|private| NAMES.iter().map(move |public| (*private, *public)));
        let pairs = pairs.filter(|(private, public)| private != public);
        pairs.flat_map(|(private, public)| {
            let entries = NAMES.iter().copied().filter(move |name| ![private, public].contains(name));
            entries.map(Some).chain([None]).map(move |entry| (private, public, entry))
        })
    };
    let shaped = |(private, public, entry): (&str, &str, Option<&'static str>)| {
        let entries: Vec<(&str, &str)> = entry.map(|name| (name, "x")).into_iter().collect();
        settings(private, public, &entries)
    };
    let key = keygen::generate(KeySpec::Ed25519).unwrap();
    let (pem, line) = (text(&key, Encoding::Pkcs8), key.public_key(NO_COMMENT).unwrap());
    for (before, after) in all().flat_map(|before| all().map(move |after| (before, after))) {
        for adopted in [false, true] {
            let (first, second) = (shaped(before), shaped(after));
            let mut secret = secret(BTreeMap::from([(before.0.to_owned(), pem.clone())]));
            if !adopted {
                let uid = (KEYPAIR_UID_ANNOTATION.to_owned(), "1".to_owned());
                secret.metadata.annotations = Some(BTreeMap::from([uid]));
            }
            for settings in [&first, &second, &first, &second] {
                let (key_pair, seen) = (key_pair(), to_read_secret(&secret, &key_pair(), settings, &[]));
                let desired = DesiredSecret {
                    key_pair: &key_pair,
                    settings,
                    owned: seen.ownership == Ownership::Ours,
                    admission_changes: &[],
                };
                if seen.incompatibility.is_some() {
                    assert!(adopted, "{before:?} {after:?}: {:?}", seen.incompatibility);
                    continue;
                }
                if let Some(patch) = changes(&secret, desired, &line) {
                    secret = patched(&secret, &patch);
                }
                let data = secret.data.as_ref().unwrap();
                let private = std::str::from_utf8(&data[&settings.private_key].0).unwrap();
                let private =
                    PrivateKey::parse(private).unwrap_or_else(|error| panic!("{before:?} {after:?}: {error}"));
                assert_eq!(private.public_key(NO_COMMENT).unwrap().blob(), line.blob());
                assert_eq!(
                    data[&settings.public_key],
                    bytes(&format!("{}\n", line.to_openssh())),
                    "{before:?} {after:?}"
                );
                for (name, value) in &settings.string_data {
                    // An entry of the owner stays.
                    assert!(data[name] == bytes(value) || adopted && name == before.0, "{before:?} {after:?}");
                }
                if !adopted {
                    let count = 2 + settings.string_data.len();
                    assert_eq!(data.len(), count, "{before:?} {after:?}: something is left over: {:?}", data.keys());
                }
            }
        }
    }
}
