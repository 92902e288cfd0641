//! User actions on `KeyPair`s, Secrets and Namespaces.

use std::time::Duration;

use keypair_test_harness::Dice;
use serde_json::{Map, Value, json};

use super::{Drawing, KEY_PAIRS, NAMESPACES, one};
use crate::history::{
    Action, NetworkFaults, Verb, WatchFault,
    spec::{edit, right_public_key},
};

const UID: &str = "keypairs.dev/keypair-uid";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

const SECRETS: [&str; 6] = ["web", "api", "job", "s1", "s2", "s3"];

impl Drawing {
    pub(super) fn place(&mut self) -> (&'static str, &'static str) {
        let namespace = if self.dice.happens(850) { NAMESPACES[0] } else { NAMESPACES[1] };
        (namespace, *one(&mut self.dice, &KEY_PAIRS))
    }

    /// One of the `KeyPair`s that may exist.
    pub(super) fn known(&mut self) -> (&'static str, &'static str) {
        let known: Vec<_> = self.specs.keys().copied().collect();
        if known.is_empty() { self.place() } else { *one(&mut self.dice, &known) }
    }

    pub(super) fn create(&mut self) {
        let (namespace, name) = self.place();
        let spec = self.spec();
        self.specs.entry((namespace, name)).or_insert_with(|| spec.clone());
        self.user(Verb::Create, "keypairs", namespace, name, json!({ "spec": spec }));
    }

    pub(super) fn delete(&mut self) {
        let (namespace, name) = self.known();
        if self.dice.happens(200) {
            let patch = json!({ "spec": { "secret": { "deletionPolicy": "Retain" } } });
            self.user(Verb::Patch, "keypairs", namespace, name, patch);
            self.at += Duration::from_millis(self.dice.below(1500));
        }
        let before = self.specs.remove(&(namespace, name));
        self.user(Verb::Delete, "keypairs", namespace, name, Value::Null);
        if self.dice.happens(500) {
            // Recreate it, with the same spec or a new one.
            let spec = before.filter(|_| self.dice.happens(600)).unwrap_or_else(|| self.spec());
            self.specs.insert((namespace, name), spec.clone());
            let moment = self.moment();
            self.users_later(moment, Verb::Create, "keypairs", namespace, name, json!({ "spec": spec }));
        }
    }

    /// Edits a field, and half of the time reverts the edit soon after.
    pub(super) fn edit(&mut self) {
        let (namespace, name) = self.known();
        let edit = edit(&mut self.dice);
        let spec = self.specs.entry((namespace, name)).or_insert_with(|| json!({}));
        let inverse = edit.inverse(spec);
        self.user(Verb::Patch, "keypairs", namespace, name, edit.patch());
        if self.dice.happens(500) {
            let moment = self.moment();
            self.users_later(moment, Verb::Patch, "keypairs", namespace, name, inverse.patch());
        } else if let Some(spec) = self.specs.get_mut(&(namespace, name)) {
            edit.apply(spec);
        }
    }

    pub(super) fn secret(&mut self) {
        let (namespace, _) = self.place();
        let name = *one(&mut self.dice, &SECRETS);
        let number = self.dice.below(4);
        let key = format!("$KEY{number}");
        match self.dice.below(14) {
            12 => self.hand_over(),
            13 => self.disown(),
            0..=2 => self.user(Verb::Delete, "secrets", namespace, name, Value::Null),
            3..=4 => {
                let (_, adopter) = self.place();
                let body = match self.dice.below(9) {
                    0..=2 => json!({ "data": { "words": "d29yZHM=" } }),
                    3..=4 => json!({ "data": { "ssh-privatekey": key } }),
                    _ => json!({
                        "metadata": { "annotations": { "keypairs.dev/adopt": adopter } },
                        "data": { "ssh-privatekey": key },
                    }),
                };
                self.user(Verb::Create, "secrets", namespace, name, body);
                if self.dice.happens(400) {
                    let moment = self.moment();
                    self.users_later(moment, Verb::Delete, "secrets", namespace, name, Value::Null);
                }
            }
            number => {
                let patch = match number {
                    5 => json!({ "data": { "ssh-privatekey": key } }),
                    6 => json!({ "data": { "ssh-publickey": null } }),
                    7 => json!({ "metadata": { "labels": { MANAGED_BY: "Helm" } } }),
                    8 => json!({ "metadata": { "labels": { MANAGED_BY: null } } }),
                    9 => json!({ "metadata": { "annotations": { UID: null } } }),
                    10 => json!({ "metadata": { "ownerReferences": null } }),
                    _ => json!({ "metadata": { "annotations": null, "labels": { "added": "by-hand" } } }),
                };
                self.user(Verb::Patch, "secrets", namespace, name, patch);
            }
        }
    }

    /// Lets a KeyPair adopt a Secret, then changes the Secret name in its spec, and sometimes changes it back.
    fn hand_over(&mut self) {
        let (namespace, name) = self.place();
        let secret = *one(&mut self.dice, &SECRETS);
        let body = json!({
            "metadata": { "annotations": { "keypairs.dev/adopt": name } },
            "data": { "ssh-privatekey": format!("$KEY{}", self.dice.below(4)) },
        });
        self.user(Verb::Create, "secrets", namespace, secret, body);
        let spec = json!({ "profile": "OpenSSH", "secret": { "name": secret } });
        self.specs.entry((namespace, name)).or_insert_with(|| spec.clone());
        self.user(Verb::Create, "keypairs", namespace, name, json!({ "spec": spec }));
        self.rename(namespace, name, secret);
    }

    /// Changes the Secret name of a KeyPair, and sometimes changes it back.
    fn rename(&mut self, namespace: &str, name: &str, before: &str) {
        let moment = self.moment();
        self.at += Duration::from_millis(moment);
        let patch = |secret: &str| json!({ "spec": { "secret": { "name": secret } } });
        let other = *one(&mut self.dice, &SECRETS);
        self.user(Verb::Patch, "keypairs", namespace, name, patch(other));
        if self.dice.happens(400) {
            let moment = self.moment();
            self.users_later(moment, Verb::Patch, "keypairs", namespace, name, patch(before));
        }
    }

    /// Takes a Secret away from the operator, or replaces the key in it, while the operator moves the key to another Secret.
    fn disown(&mut self) {
        let (namespace, name) = self.known();
        let before = self.specs.get(&(namespace, name)).and_then(|spec| spec.pointer("/secret/name")?.as_str());
        let before = before.unwrap_or(name).to_owned();
        self.rename(namespace, name, &before);
        self.at += Duration::from_millis(self.dice.below(40));
        let patch = if self.dice.happens(700) {
            json!({ "metadata": { "annotations": null, "labels": null, "ownerReferences": null } })
        } else {
            json!({ "data": { "ssh-privatekey": format!("$KEY{}", self.dice.below(4)) } })
        };
        self.user(Verb::Patch, "secrets", namespace, &before, patch);
    }

    pub(super) fn namespace_metadata(&mut self) -> Value {
        let mut annotations = Map::new();
        for (name, share) in [("quota", 500), ("projects", 300), ("default-project", 300)] {
            if self.dice.happens(share) {
                annotations.insert(format!("keypairs.dev/{name}"), json!(one(&mut self.dice, values_of(name))));
            }
        }
        json!({ "metadata": { "annotations": annotations } })
    }

    pub(super) fn region(&mut self) {
        match self.dice.below(4) {
            0 => self.recreate_namespace(),
            1 => self.contend(),
            _ => self.edit_namespace(),
        }
    }

    /// Lets two KeyPairs of different projects compete for one slot, and edits the Namespace while the operator writes its decisions about
    /// them.
    pub(super) fn contend(&mut self) {
        let namespace = NAMESPACES[0];
        // The edit must arrive while a response is pending.
        let latency = *one(&mut self.dice, &[5, 20, 200]);
        for replica in 0..self.replicas {
            self.push(Action::Network(replica, NetworkFaults { latency, ..NetworkFaults::default() }));
        }
        if self.dice.happens(700) {
            let taken = self.specs.keys().filter(|(of, _)| *of == namespace).count() as u64;
            let quota = *one(&mut self.dice, &[taken + 1, taken + 1, 1, 2]);
            let annotations = json!({ "keypairs.dev/quota": quota.to_string(), "keypairs.dev/projects": null });
            self.user(Verb::Patch, "namespaces", "", namespace, json!({ "metadata": { "annotations": annotations } }));
            // Until then, the operator may still use the previous quota.
            self.at += Duration::from_millis(10_500);
        }
        // The edit follows both creates, or precedes the second KeyPair, which then needs no new decision to be accepted.
        let is_between = self.dice.happens(500);
        self.contender(namespace, "red");
        if is_between {
            self.at += Duration::from_millis(self.dice.below(2 + latency / 4));
            self.edit_projects(namespace);
            self.at += Duration::from_millis(self.dice.below(2 + latency / 4));
            self.contender(namespace, "blue");
        } else {
            self.at += Duration::from_millis(self.dice.below(3));
            self.contender(namespace, "blue");
            let latest = if self.dice.happens(500) { 3 + latency / 2 } else { 40 + 5 * latency };
            self.at += Duration::from_millis(self.dice.below(3) + self.dice.below(latest));
            self.edit_projects(namespace);
        }
        for replica in 0..self.replicas {
            self.later(4000, Action::Network(replica, NetworkFaults { latency: 5, ..NetworkFaults::default() }));
        }
    }

    /// Creates a `KeyPair` of this project, under an unused name if there is one.
    fn contender(&mut self, namespace: &'static str, project: &str) {
        let is_free = |name: &&str| !self.specs.contains_key(&(namespace, *name));
        let free: Vec<_> = KEY_PAIRS.into_iter().filter(is_free).collect();
        let name = *one(&mut self.dice, if free.is_empty() { &KEY_PAIRS } else { &free });
        // An import is accepted with a single request.
        let spec = match one(&mut self.dice, &["Ed25519", "ECDSA", "", ""]) {
            &"" => {
                let public_key = right_public_key(&mut self.dice);
                json!({ "profile": "OpenSSH", "project": project, "publicKey": public_key })
            }
            algorithm => {
                json!({ "profile": "OpenSSH", "project": project, "generate": { "algorithm": algorithm } })
            }
        };
        self.specs.entry((namespace, name)).or_insert_with(|| spec.clone());
        self.user(Verb::Create, "keypairs", namespace, name, json!({ "spec": spec }));
    }

    /// Edits the Namespace, mostly so that only one of two competing KeyPairs is valid.
    fn edit_projects(&mut self, namespace: &str) {
        if self.dice.happens(700) {
            let annotations = json!({ "keypairs.dev/projects": one(&mut self.dice, &["red", "blue"]) });
            self.user(Verb::Patch, "namespaces", "", namespace, json!({ "metadata": { "annotations": annotations } }));
        } else {
            self.edit_namespace();
        }
    }

    /// Deletes and recreates a namespace with KeyPairs in it, half of the time before the operator has seen the deletion.
    pub(super) fn recreate_namespace(&mut self) {
        let namespace = *one(&mut self.dice, &NAMESPACES);
        if self.dice.happens(500) {
            let lag = 100 + self.dice.below(4000);
            for replica in 0..self.replicas {
                self.push(Action::Watch(replica, "namespaces", WatchFault::LagFor(lag)));
                self.later(lag + 8000, Action::Watch(replica, "namespaces", WatchFault::Clear));
            }
        }
        self.user(Verb::Delete, "namespaces", "", namespace, Value::Null);
        let body = self.namespace_metadata();
        let mut at = 100 + self.moment();
        self.users_later(at, Verb::Create, "namespaces", "", namespace, body);
        for _ in 0..=self.dice.below(3) {
            let (name, spec) = (*one(&mut self.dice, &KEY_PAIRS), self.spec());
            at += self.dice.below(300);
            self.users_later(at, Verb::Create, "keypairs", namespace, name, json!({ "spec": spec }));
        }
    }

    pub(super) fn edit_namespace(&mut self) {
        let namespace = if self.dice.happens(850) { NAMESPACES[0] } else { NAMESPACES[1] };
        let field = *one(&mut self.dice, &["quota", "projects", "projects", "default-project"]);
        let values = values_of(field);
        let field = format!("keypairs.dev/{field}");
        let patch = |dice: &mut Dice, removed: u64| {
            let value = if dice.happens(removed) { Value::Null } else { json!(one(dice, values)) };
            json!({ "metadata": { "annotations": { field.clone(): value } } })
        };
        let (there, back) = (patch(&mut self.dice, 200), patch(&mut self.dice, 500));
        self.user(Verb::Patch, "namespaces", "", namespace, there);
        if self.dice.happens(500) {
            let moment = self.moment();
            self.users_later(moment, Verb::Patch, "namespaces", "", namespace, back);
        }
    }
}

/// Values for an annotation of a Namespace, some of them invalid.
fn values_of(annotation: &str) -> &'static [&'static str] {
    match annotation {
        "quota" => &["0", "1", "2", "3", "many"],
        "projects" => &["red,blue", "red", "blue", ",", "not valid?"],
        _ => &["red", "blue", "not valid?"],
    }
}
