//! Drawing a history from a seed.

use std::{collections::BTreeMap, time::Duration};

use keypair_test_harness::Dice;
use serde_json::{Map, Value, json};

use super::{
    Action, History, Policy, Setup, Sight, Step, Verb, Weather,
    spec::{edit, one, spec},
};

const NAMESPACES: [&str; 2] = ["shop", "bank"];
const KEY_PAIRS: [&str; 4] = ["web", "api", "job", "bot"];
const SECRETS: [&str; 6] = ["web", "api", "job", "s1", "s2", "s3"];
/// What the operator watches.
const WATCHED: [&str; 3] = ["keypairs", "secrets", "namespaces"];
const UID: &str = "keypairs.dev/keypair-uid";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What happens in a history mostly. Little of all kinds at once finds less than much of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theme {
    Edits,
    Secrets,
    Regions,
    Watches,
    Requests,
    Leaders,
    Policies,
    Snapshots,
    Everything,
}

const THEMES: [Theme; 12] = [
    Theme::Edits,
    Theme::Edits,
    Theme::Secrets,
    Theme::Secrets,
    Theme::Regions,
    Theme::Regions,
    Theme::Watches,
    Theme::Requests,
    Theme::Leaders,
    Theme::Policies,
    Theme::Snapshots,
    Theme::Everything,
];

/// The history of this seed.
#[must_use]
pub fn draw(seed: u64) -> History {
    let mut dice = Dice::new(seed);
    let theme = *one(&mut dice, &THEMES);
    let elects = theme == Theme::Leaders || dice.happens(200);
    let setup = Setup {
        replicas: if elects { 2 + usize::from(dice.happens(200)) } else { 1 },
        quota: *one(&mut dice, &[1, 2, 3, 500]),
        lease: *one(&mut dice, &[3, 15]),
        answers_reviews: dice.happens(200),
        concurrency: *one(&mut dice, &[1, 4, 16]),
    };
    let mut drawing =
        Drawing { dice, replicas: setup.replicas, at: Duration::ZERO, steps: Vec::new(), specs: BTreeMap::new() };
    drawing.begin(theme);
    let count = drawing.dice.below(6) + drawing.dice.below(16);
    for _ in 0..=count {
        drawing.pause();
        drawing.something(theme);
    }
    let mut steps = drawing.steps;
    steps.sort_by_key(|step| step.at);
    History { seed, setup, steps }
}

struct Drawing {
    dice: Dice,
    replicas: usize,
    at: Duration,
    steps: Vec<Step>,
    /// What the specs of the `KeyPair`s are, as far as is known without an API server.
    specs: BTreeMap<(&'static str, &'static str), Value>,
}

impl Drawing {
    fn push(&mut self, action: Action) {
        self.steps.push(Step { at: self.at, action });
    }

    /// The same after a while.
    fn later(&mut self, milliseconds: u64, action: Action) {
        self.steps.push(Step { at: self.at + Duration::from_millis(milliseconds), action });
    }

    /// Time passes: mostly less than what the operator does about one change takes.
    fn pause(&mut self) {
        let milliseconds = match self.dice.below(10) {
            0..=1 => 0,
            2..=4 => self.dice.below(30),
            5..=6 => 30 + self.dice.below(500),
            7..=8 => 500 + self.dice.below(4000),
            _ => 4000 + self.dice.below(40_000),
        };
        self.at += Duration::from_millis(milliseconds);
    }

    /// A time within which what is done about a change is under way.
    fn moment(&mut self) -> u64 {
        if self.dice.happens(800) { self.dice.below(150) } else { self.dice.below(5000) }
    }

    fn user(&mut self, verb: Verb, resource: &'static str, namespace: &str, name: &str, body: Value) {
        let action = Action::User { verb, resource, namespace: namespace.to_owned(), name: name.to_owned(), body };
        self.push(action);
    }

    fn begin(&mut self, theme: Theme) {
        for namespace in NAMESPACES {
            let body = if theme == Theme::Regions { self.namespace_metadata() } else { Value::Null };
            self.user(Verb::Create, "namespaces", "", namespace, body);
        }
        for _ in 0..=self.dice.below(3) {
            self.create();
        }
        if theme == Theme::Leaders || self.dice.happens(150) {
            self.network();
        }
    }

    fn something(&mut self, theme: Theme) {
        let of_theme = theme != Theme::Everything && self.dice.happens(600);
        match (if of_theme { theme } else { Theme::Everything }, self.dice.below(100)) {
            (Theme::Edits, 0..=69) | (Theme::Everything, 0..=29) => self.edit(),
            (Theme::Edits, _) | (Theme::Everything, 30..=39) => self.create(),
            (Theme::Secrets, _) | (Theme::Everything, 40..=54) => self.secret(),
            (Theme::Regions, _) | (Theme::Everything, 55..=64) => self.region(),
            (Theme::Watches, _) | (Theme::Everything, 65..=69) => self.watch(),
            (Theme::Requests, _) | (Theme::Everything, 70..=76) => self.network(),
            (Theme::Leaders, _) | (Theme::Everything, 77..=82) => self.replica(),
            (Theme::Policies, _) | (Theme::Everything, 83..=87) => self.policy(),
            // It puts so much out of order that it would hide what else there is.
            (Theme::Snapshots, 0..=49) if !self.has_restored() => self.snapshot(),
            _ => self.delete(),
        }
    }

    fn place(&mut self) -> (&'static str, &'static str) {
        let namespace = if self.dice.happens(850) { NAMESPACES[0] } else { NAMESPACES[1] };
        (namespace, *one(&mut self.dice, &KEY_PAIRS))
    }

    /// One of the `KeyPair`s that there may be.
    fn known(&mut self) -> (&'static str, &'static str) {
        let known: Vec<_> = self.specs.keys().copied().collect();
        if known.is_empty() { self.place() } else { *one(&mut self.dice, &known) }
    }

    fn create(&mut self) {
        let (namespace, name) = self.place();
        let spec = spec(&mut self.dice);
        self.specs.entry((namespace, name)).or_insert_with(|| spec.clone());
        self.user(Verb::Create, "keypairs", namespace, name, json!({ "spec": spec }));
    }

    fn delete(&mut self) {
        let (namespace, name) = self.known();
        let spec = self.specs.remove(&(namespace, name));
        self.user(Verb::Delete, "keypairs", namespace, name, Value::Null);
        if self.dice.happens(500) {
            // Again, the same or another.
            let spec = spec.filter(|_| self.dice.happens(600)).unwrap_or_else(|| self::spec(&mut self.dice));
            self.specs.insert((namespace, name), spec.clone());
            let moment = self.moment();
            let (verb, resource) = (Verb::Create, "keypairs");
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            self.later(moment, Action::User { verb, resource, namespace, name, body: json!({ "spec": spec }) });
        }
    }

    /// Edits a field, and half of the time takes that back soon after.
    fn edit(&mut self) {
        let (namespace, name) = self.known();
        let edit = edit(&mut self.dice);
        let spec = self.specs.entry((namespace, name)).or_insert_with(|| json!({}));
        let inverse = edit.inverse(spec);
        self.user(Verb::Patch, "keypairs", namespace, name, edit.patch());
        if self.dice.happens(500) {
            let moment = self.moment();
            let (verb, resource) = (Verb::Patch, "keypairs");
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            self.later(moment, Action::User { verb, resource, namespace, name, body: inverse.patch() });
        } else if let Some(spec) = self.specs.get_mut(&(namespace, name)) {
            edit.apply(spec);
        }
    }

    fn secret(&mut self) {
        let (namespace, _) = self.place();
        let name = *one(&mut self.dice, &SECRETS);
        let number = self.dice.below(4);
        let key = format!("$KEY{number}");
        match self.dice.below(12) {
            0..=2 => self.user(Verb::Delete, "secrets", namespace, name, Value::Null),
            3..=4 => {
                let (_, adopter) = self.place();
                let body = if self.dice.happens(333) {
                    json!({ "data": { "words": "d29yZHM=" } })
                } else {
                    json!({
                        "metadata": { "annotations": { "keypairs.dev/adopt": adopter } },
                        "data": { "ssh-privatekey": key },
                    })
                };
                self.user(Verb::Create, "secrets", namespace, name, body);
                if self.dice.happens(400) {
                    let moment = self.moment();
                    let (verb, resource, body) = (Verb::Delete, "secrets", Value::Null);
                    let (namespace, name) = (namespace.to_owned(), name.to_owned());
                    self.later(moment, Action::User { verb, resource, namespace, name, body });
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
                    _ => json!({ "metadata": { "annotations": null, "labels": { "added": "by hand" } } }),
                };
                self.user(Verb::Patch, "secrets", namespace, name, patch);
            }
        }
    }

    fn namespace_metadata(&mut self) -> Value {
        let mut annotations = Map::new();
        for (name, share) in [("quota", 500), ("projects", 300), ("default-project", 300)] {
            if self.dice.happens(share) {
                annotations.insert(format!("keypairs.dev/{name}"), json!(one(&mut self.dice, values_of(name))));
            }
        }
        json!({ "metadata": { "annotations": annotations } })
    }

    fn region(&mut self) {
        let namespace = *one(&mut self.dice, &NAMESPACES);
        if self.dice.happens(250) {
            self.user(Verb::Delete, "namespaces", "", namespace, Value::Null);
            let body = self.namespace_metadata();
            let (namespace, moment) = (namespace.to_owned(), self.moment());
            self.later(
                500 + moment,
                Action::User {
                    verb: Verb::Create,
                    resource: "namespaces",
                    namespace: String::new(),
                    name: namespace.clone(),
                    body,
                },
            );
            let (name, spec) = ((*one(&mut self.dice, &KEY_PAIRS)).to_owned(), spec(&mut self.dice));
            let again = self.moment();
            self.later(
                510 + moment + again,
                Action::User {
                    verb: Verb::Create,
                    resource: "keypairs",
                    namespace,
                    name,
                    body: json!({ "spec": spec }),
                },
            );
            return;
        }
        let field = *one(&mut self.dice, &["quota", "projects", "default-project"]);
        let values = values_of(field);
        let field = format!("keypairs.dev/{field}");
        let value = if self.dice.happens(200) { Value::Null } else { json!(one(&mut self.dice, values)) };
        self.user(
            Verb::Patch,
            "namespaces",
            "",
            namespace,
            json!({ "metadata": { "annotations": { field.clone(): value } } }),
        );
        if self.dice.happens(500) {
            let moment = self.moment();
            let value = if self.dice.happens(500) { Value::Null } else { json!(one(&mut self.dice, values)) };
            let body = json!({ "metadata": { "annotations": { field: value } } });
            let (verb, resource, name) = (Verb::Patch, "namespaces", namespace.to_owned());
            self.later(moment, Action::User { verb, resource, namespace: String::new(), name, body });
        }
    }

    fn watch(&mut self) {
        let replica = self.replica_number();
        let resource = *one(&mut self.dice, &WATCHED);
        let sight = match self.dice.below(10) {
            0..=2 => Sight::LagBy(1 + usize::try_from(self.dice.below(4)).unwrap_or_default()),
            3..=5 => Sight::LagFor(20 + self.dice.below(3000)),
            6 => Sight::Silent,
            7 => Sight::Cut,
            8 => Sight::Expired,
            _ => Sight::Clear,
        };
        self.push(Action::Watch(replica, resource, sight));
        if self.dice.happens(600) {
            let after = 100 + self.dice.below(10_000);
            self.later(after, Action::Watch(replica, resource, Sight::Clear));
        }
    }

    fn network(&mut self) {
        let replica = self.replica_number();
        let mut weather = Weather { latency: *one(&mut self.dice, &[5, 20, 200, 2000]), ..Weather::default() };
        let share = *one(&mut self.dice, &[50, 200, 500]);
        match self.dice.below(8) {
            0 => weather.lost_requests = share,
            1..=2 => weather.lost_replies = share,
            3 => weather.errors = share,
            4 => {
                weather.late = share;
                weather.by = *one(&mut self.dice, &[3000, 12_000, 40_000]);
            }
            5 => weather.partitioned = true,
            _ => {}
        }
        self.push(Action::Network(replica, weather));
        if weather.partitioned || self.dice.happens(600) {
            let after = 100 + self.dice.below(25_000);
            self.later(after, Action::Network(replica, Weather { latency: 5, ..Weather::default() }));
        }
    }

    fn replica_number(&mut self) -> usize {
        usize::try_from(self.dice.below(self.replicas as u64)).unwrap_or_default()
    }

    fn replica(&mut self) {
        let replica = self.replica_number();
        let after = self.moment() + self.dice.below(200);
        match self.dice.below(8) {
            0..=3 => {
                let polls = self.dice.below(40);
                self.push(Action::Crash { replica, polls });
                self.later(after, Action::Start(replica));
            }
            4..=5 => {
                self.push(Action::Stop(replica));
                self.later(after + 3000, Action::Start(replica));
            }
            6 => {
                self.push(Action::Suspend(replica));
                let after = 500 + self.dice.below(30_000);
                self.later(after, Action::Resume(replica));
            }
            _ => {
                let seconds = *one(&mut self.dice, &[-3600, -5, 5, 86_400]);
                self.push(Action::ClockJump(seconds));
            }
        }
    }

    fn policy(&mut self) {
        if self.dice.happens(250) {
            let (verb, resource) = *one(
                &mut self.dice,
                &[
                    ("create", "secrets"),
                    ("get", "secrets"),
                    ("patch", "secrets"),
                    ("delete", "secrets"),
                    ("watch", "secrets"),
                    ("update", "keypairs/status"),
                    ("list", "keypairs"),
                    ("watch", "keypairs"),
                    ("create", "events"),
                ],
            );
            self.push(Action::Deny(verb, resource));
            let after = 100 + self.dice.below(20_000);
            self.later(after, Action::AllowAll);
            return;
        }
        let policy = *one(
            &mut self.dice,
            &[
                Policy::OverwriteLabel,
                Policy::RemoveLabel,
                Policy::RemoveUid,
                Policy::RemoveOwner,
                Policy::Refuse,
                Policy::Invalid,
                Policy::Away,
                Policy::Quota,
            ],
        );
        self.push(Action::Policy(policy));
        let after = 100 + self.dice.below(20_000);
        self.later(after, Action::NoPolicy);
    }

    fn has_restored(&self) -> bool {
        self.steps.iter().any(|step| step.action == Action::Restore)
    }

    fn snapshot(&mut self) {
        self.push(Action::Snapshot);
        for _ in 0..=self.dice.below(3) {
            self.pause();
            self.create();
        }
        self.pause();
        self.push(Action::Restore);
    }
}

/// What an annotation of a Namespace can say, or be meant to.
fn values_of(annotation: &str) -> &'static [&'static str] {
    match annotation {
        "quota" => &["0", "1", "2", "3", "many"],
        "projects" => &["red,blue", "red", "blue", ",", "not valid?"],
        _ => &["red", "blue", "not valid?"],
    }
}
