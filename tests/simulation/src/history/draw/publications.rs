//! AuthorizedKeys and KnownHosts: their specs, the labels and `shareWith` of the KeyPairs, their targets, and rotations that wait for them.

use std::time::Duration;

use keypair_test_harness::Dice;
use serde_json::{Value, json};

use super::{Drawing, KEY_PAIRS, NAMESPACES, Theme, one};
use crate::{
    history::{Action, Step, Verb, WatchFault, rotation::GATES},
    keys,
};

/// Mixed into the seed: the other steps of a history are the same without publications.
const SALT: u64 = 0x7075_626c_6973_6865;
const KINDS: [&str; 2] = ["authorizedkeys", "knownhosts"];
const NAMES: [&str; 3] = ["admins", "hosts", "web"];
/// `web` and `s1` are names of Secrets of KeyPairs, too.
const TARGETS: [&str; 5] = ["admins", "keys", "other", "web", "s1"];
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// A certificate, which no text has.
const CERTIFICATE: &str = include_str!("../../../../vectors/public/ed25519-by-ed25519.cert");

impl Drawing {
    /// Draws the steps that concern publications, for a history that has the steps of `self`.
    pub(super) fn with_publications(&self, seed: u64) -> Vec<Step> {
        let dice = Dice::new(seed ^ SALT);
        let specs = self.specs.clone();
        let (theme, replicas) = (Theme::Everything, self.replicas);
        let mut drawing = Self { dice, theme, rotates: true, replicas, at: Duration::ZERO, steps: Vec::new(), specs };
        let end = self.at;
        drawing.begin_publications();
        let count = 4 + drawing.dice.below(8) + drawing.dice.below(12);
        for _ in 0..count {
            drawing.pause();
            if drawing.at > end + Duration::from_secs(20) {
                break;
            }
            drawing.publication();
        }
        drawing.steps
    }

    fn begin_publications(&mut self) {
        self.at += Duration::from_millis(1);
        let known: Vec<_> = self.specs.keys().copied().collect();
        for (namespace, name) in known {
            if self.dice.happens(700) {
                self.edit_selected(namespace, name);
            }
        }
        for _ in 0..=self.dice.below(3) {
            self.create_publication();
        }
    }

    fn publication(&mut self) {
        let (namespace, name) = self.known();
        match self.dice.below(100) {
            0..=11 => self.create_publication(),
            12..=29 => self.edit_publication(),
            30..=34 => self.delete_publication(),
            35..=51 => self.edit_selected(namespace, name),
            52..=66 => self.edit_target(),
            67..=71 => self.take_target(),
            72..=77 => self.delete(),
            78..=81 => self.create_certificate(),
            82..=93 => self.rotate_published(namespace, name),
            _ => self.disturb_watch(),
        }
    }

    fn kind(&mut self) -> &'static str {
        if self.dice.happens(650) { KINDS[0] } else { KINDS[1] }
    }

    fn publication_name(&mut self) -> (&'static str, &'static str) {
        let namespace = if self.dice.happens(700) { NAMESPACES[0] } else { NAMESPACES[1] };
        (namespace, *one(&mut self.dice, &NAMES))
    }

    fn create_publication(&mut self) {
        let (kind, (namespace, name)) = (self.kind(), self.publication_name());
        let mut spec = json!({ "entries": self.entries(kind) });
        if let Some(fields) = spec.as_object_mut() {
            if self.dice.happens(500) {
                fields.insert("target".to_owned(), target(&mut self.dice));
            }
            if kind == KINDS[0] && self.dice.happens(250) {
                fields.insert("layout".to_owned(), json!("EntryPerKey"));
            }
            if kind == KINDS[1] && self.dice.happens(250) {
                fields.insert("hashHosts".to_owned(), json!(true));
            }
        }
        self.user(Verb::Create, kind, namespace, name, json!({ "spec": spec }));
    }

    fn edit_publication(&mut self) {
        let (kind, (namespace, name)) = (self.kind(), self.publication_name());
        let edit = |drawing: &mut Self| match drawing.dice.below(10) {
            0..=4 => json!({ "entries": drawing.entries(kind) }),
            5..=7 if drawing.dice.happens(200) => json!({ "target": null }),
            5..=7 => json!({ "target": replacing(&target(&mut drawing.dice)) }),
            8 => json!({ "layout": one(&mut drawing.dice, &["File", "EntryPerKey"]) }),
            _ => json!({ "hashHosts": drawing.dice.happens(500) }),
        };
        let spec = edit(self);
        self.user(Verb::Patch, kind, namespace, name, json!({ "spec": spec }));
        if self.dice.happens(400) {
            let (moment, spec) = (self.moment(), edit(self));
            self.users_later(moment, Verb::Patch, kind, namespace, name, json!({ "spec": spec }));
        }
    }

    fn delete_publication(&mut self) {
        let (kind, (namespace, name)) = (self.kind(), self.publication_name());
        self.user(Verb::Delete, kind, namespace, name, Value::Null);
        if self.dice.happens(500) {
            let moment = self.moment();
            let spec = json!({ "entries": self.entries(kind) });
            self.users_later(moment, Verb::Create, kind, namespace, name, json!({ "spec": spec }));
        }
    }

    fn entries(&mut self, kind: &str) -> Vec<Value> {
        (0..=self.dice.below(3)).map(|_| self.entry(kind)).collect()
    }

    fn entry(&mut self, kind: &str) -> Value {
        let mut entry = json!({});
        let Some(fields) = entry.as_object_mut() else { return entry };
        let is_of_hosts = kind == KINDS[1];
        match self.dice.below(10) {
            0..=3 => {
                let name = if self.dice.happens(60) { "nobody" } else { *one(&mut self.dice, &KEY_PAIRS) };
                fields.insert("keyPair".to_owned(), json!(name));
            }
            4..=5 if is_of_hosts => {
                fields.insert("publicKeys".to_owned(), json!(self.literal_keys()));
            }
            _ => {
                fields.insert("selector".to_owned(), selector(&mut self.dice));
            }
        }
        if !fields.contains_key("publicKeys") && self.dice.happens(250) {
            fields.insert("namespace".to_owned(), json!(one(&mut self.dice, &NAMESPACES)));
        }
        if is_of_hosts {
            fields.insert("hosts".to_owned(), json!(one(&mut self.dice, &HOSTS)));
            if self.dice.happens(250) {
                fields.insert("marker".to_owned(), json!(one(&mut self.dice, &["CertAuthority", "Revoked"])));
            }
        } else if self.dice.happens(400) {
            fields.insert("options".to_owned(), options(&mut self.dice));
        }
        entry
    }

    /// Keys of hosts that are no KeyPairs, sometimes an invalid one.
    fn literal_keys(&mut self) -> Vec<String> {
        if self.dice.happens(100) {
            return vec!["ssh-ed25519 nonsense".to_owned()];
        }
        let first = usize::try_from(self.dice.below(2)).unwrap_or_default();
        (first..=usize::from(self.dice.happens(400)) + first).filter_map(keys::users_line).collect()
    }

    /// Edits what selectors and other namespaces see of a KeyPair, and sometimes reverts it.
    fn edit_selected(&mut self, namespace: &'static str, name: &'static str) {
        let edit = |dice: &mut Dice| {
            if dice.happens(600) {
                let teams = [json!("red"), json!("red"), json!("blue"), Value::Null];
                let team = one(dice, &teams);
                return json!({ "metadata": { "labels": { "team": team } } });
            }
            let shared = [json!(["shop"]), json!(["bank"]), json!(["*"]), json!(["shop", "bank"]), Value::Null];
            json!({ "spec": { "shareWith": one(dice, &shared) } })
        };
        let patch = edit(&mut self.dice);
        self.user(Verb::Patch, "keypairs", namespace, name, patch);
        if self.dice.happens(300) {
            let (moment, patch) = (self.moment(), edit(&mut self.dice));
            self.users_later(moment, Verb::Patch, "keypairs", namespace, name, patch);
        }
    }

    fn target_place(&mut self) -> (&'static str, &'static str, &'static str) {
        let plural = if self.dice.happens(750) { "configmaps" } else { "secrets" };
        let (namespace, _) = self.publication_name();
        let name = if self.dice.happens(600) { *one(&mut self.dice, &NAMES) } else { *one(&mut self.dice, &TARGETS) };
        (plural, namespace, name)
    }

    /// Edits or deletes a target, as somebody might who does not know whose it is.
    fn edit_target(&mut self) {
        let (plural, namespace, name) = self.target_place();
        // `aGFuZA==` is a text, and base64.
        let text = "aGFuZA==";
        let patch = match self.dice.below(12) {
            0..=2 => return self.user(Verb::Delete, plural, namespace, name, Value::Null),
            3..=4 => json!({ "data": { "authorized_keys": text } }),
            5 => json!({ "data": { "authorized_keys": null, "known_hosts": null } }),
            6 => json!({ "data": { "more": text } }),
            7 => json!({ "metadata": { "labels": { MANAGED_BY: null } } }),
            8 => json!({ "metadata": { "labels": { MANAGED_BY: "Helm", "added": "by-hand" } } }),
            9 => json!({ "metadata": { "ownerReferences": null } }),
            10 => json!({ "immutable": true }),
            _ => {
                json!({ "metadata": { "labels": { "added": "by-hand" }, "annotations": { "example.com/by": "hand" } } })
            }
        };
        self.user(Verb::Patch, plural, namespace, name, patch);
    }

    /// Creates a foreign object where a target is or will be, and sometimes deletes it.
    fn take_target(&mut self) {
        let (plural, namespace, name) = self.target_place();
        if self.dice.happens(600) {
            self.user(Verb::Delete, plural, namespace, name, Value::Null);
        }
        let mut body = json!({ "data": { "authorized_keys": "Zm9yZWlnbg==" } });
        if self.dice.happens(300)
            && let Some(fields) = body.as_object_mut()
        {
            fields.insert("metadata".to_owned(), json!({ "labels": { MANAGED_BY: "keypair-operator" } }));
        }
        let after = self.dice.below(20);
        self.users_later(after, Verb::Create, plural, namespace, name, body);
        if self.dice.happens(500) {
            let moment = after + self.moment();
            self.users_later(moment, Verb::Delete, plural, namespace, name, Value::Null);
        }
    }

    fn create_certificate(&mut self) {
        let (namespace, name) = self.place();
        let spec = json!({ "profile": "OpenSSH", "publicKey": CERTIFICATE.trim() });
        self.specs.entry((namespace, name)).or_insert_with(|| spec.clone());
        let body = json!({ "metadata": { "labels": { "team": "red" } }, "spec": spec });
        self.user(Verb::Create, "keypairs", namespace, name, body);
    }

    /// Rotates the key of a KeyPair, and often edits a publication or its target when the switch is due.
    fn rotate_published(&mut self, namespace: &'static str, name: &'static str) {
        let rotation = json!({
            "publishBefore": one(&mut self.dice, &["0s", "0s", "2s"]),
            "keepAfter": one(&mut self.dice, &["0s", "3s", "24h"]),
            "gates": if self.dice.happens(200) { json!([GATES[0]]) } else { Value::Null },
        });
        let request = self.dice.below(1000).to_string();
        let patch = json!({
            "metadata": { "annotations": { "keypairs.dev/rotate": request } },
            "spec": { "rotation": rotation },
        });
        self.user(Verb::Patch, "keypairs", namespace, name, patch);
        if self.dice.happens(200) {
            let moment = self.moment();
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            self.later(moment, Action::Gate { namespace, name, gate: GATES[0], is_open: true });
        }
        if self.dice.happens(600) {
            self.at += Duration::from_millis(self.dice.below(100) * self.dice.below(30));
            match self.dice.below(5) {
                0 => self.create_publication(),
                1 => self.edit_publication(),
                2 => self.take_target(),
                3 => self.edit_selected(namespace, name),
                _ => self.edit_target(),
            }
        }
    }

    /// A fault of a watch, or a missing permission, that concerns only publications.
    fn disturb_watch(&mut self) {
        let replica = self.replica_number();
        let after = 100 + self.dice.below(10_000);
        if self.dice.happens(400) {
            let (verb, resource) = *one(
                &mut self.dice,
                &[
                    ("create", "configmaps"),
                    ("update", "configmaps"),
                    ("delete", "configmaps"),
                    ("get", "configmaps"),
                    ("watch", "configmaps"),
                    ("watch", "authorizedkeys"),
                    ("list", "knownhosts"),
                    ("update", "authorizedkeys/status"),
                ],
            );
            self.push(Action::Deny(verb, resource));
            return self.later(after, Action::AllowAll);
        }
        let resource = *one(&mut self.dice, &["configmaps", "authorizedkeys", "knownhosts"]);
        let fault = match self.dice.below(5) {
            0 => WatchFault::LagBy(1 + usize::try_from(self.dice.below(3)).unwrap_or_default()),
            1 => WatchFault::LagFor(20 + self.dice.below(3000)),
            2 => WatchFault::Silent,
            3 => WatchFault::Cut,
            _ => WatchFault::Expired,
        };
        self.push(Action::Watch(replica, resource, fault));
        self.later(after, Action::Watch(replica, resource, WatchFault::Clear));
    }
}

/// Hosts as in `known_hosts`; the last ones are invalid, and pattern cannot be hashed.
const HOSTS: [&[&str]; 6] = [
    &["git.example.com"],
    &["git.example.com", "10.0.0.7"],
    &["[git.example.com]:2222"],
    &["*.example.com", "!bad.example.com"],
    &["db.example.com"],
    &["[git.example.com]:22"],
];

fn selector(dice: &mut Dice) -> Value {
    let expression = |operator: &str, values: Value| json!({ "matchExpressions": [{ "key": "team", "operator": operator, "values": values }] });
    one(
        dice,
        &[
            json!({ "matchLabels": { "team": "red" } }),
            json!({ "matchLabels": { "team": "red" } }),
            json!({ "matchLabels": { "team": "blue" } }),
            json!({}),
            expression("In", json!(["red", "blue"])),
            expression("NotIn", json!(["red"])),
            expression("Exists", Value::Null),
            expression("DoesNotExist", Value::Null),
        ],
    )
    .clone()
}

fn options(dice: &mut Dice) -> Value {
    one(
        dice,
        &[
            json!({ "restrict": true }),
            json!({ "restrict": true, "pty": true, "portForwarding": false }),
            json!({ "from": ["10.0.0.0/8", "!10.0.0.1"], "command": "echo \"a b\", c" }),
            json!({ "expiryTime": "2027-01-01T00:00:00Z" }),
            json!({ "environment": { "A": "one, two" }, "userRC": false }),
            json!({ "certAuthority": true, "principals": ["alice", "bob"] }),
            json!({ "principals": ["alice"] }),
        ],
    )
    .clone()
}

fn target(dice: &mut Dice) -> Value {
    let mut object = json!({ "name": one(dice, &TARGETS) });
    if dice.happens(300)
        && let Some(fields) = object.as_object_mut()
    {
        fields.insert("key".to_owned(), json!(one(dice, &["text", "authorized_keys"])));
    }
    let kind = if dice.happens(700) { "configMap" } else { "secret" };
    json!({ kind: object })
}

/// The merge patch that sets exactly this target.
fn replacing(target: &Value) -> Value {
    let mut all = json!({ "configMap": null, "secret": null });
    if let (Some(all), Some(target)) = (all.as_object_mut(), target.as_object()) {
        all.extend(target.clone());
    }
    all
}
