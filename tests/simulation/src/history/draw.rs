//! Draws a history from a seed.

mod faults;
mod publications;
mod rotation;
mod users;

use std::{collections::BTreeMap, time::Duration};

use keypair_test_harness::Dice;
use serde_json::{Value, json};

use super::{
    Action, History, Setup, Step, Verb,
    rotation::settings,
    spec::{one, spec},
};

const NAMESPACES: [&str; 2] = ["shop", "bank"];
const KEY_PAIRS: [&str; 4] = ["web", "api", "job", "bot"];

/// The main subject of a history. Many steps of one kind find more than a few of every kind.
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

/// One in this many histories rotates keys.
const ROTATING: u64 = 4;

/// One in this many histories has publications, in addition to what would happen without them.
const PUBLISHING: u64 = 4;
const FIRST_PUBLISHING: u64 = 2;

/// Draws the history of a seed.
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
    let mut drawing = Drawing {
        dice,
        theme,
        rotates: seed.is_multiple_of(ROTATING),
        replicas: setup.replicas,
        at: Duration::ZERO,
        steps: Vec::new(),
        specs: BTreeMap::new(),
    };
    drawing.begin(theme);
    let count = drawing.dice.below(6) + drawing.dice.below(16);
    for _ in 0..=count {
        drawing.pause();
        drawing.something(theme);
    }
    let publications = (seed % PUBLISHING == FIRST_PUBLISHING).then(|| drawing.with_publications(seed));
    let mut steps = drawing.steps;
    steps.extend(publications.into_iter().flatten());
    steps.sort_by_key(|step| step.at);
    History { seed, setup, steps }
}

struct Drawing {
    dice: Dice,
    theme: Theme,
    rotates: bool,
    replicas: usize,
    at: Duration,
    steps: Vec<Step>,
    /// The specs of the KeyPairs, as far as they are known without an API server.
    specs: BTreeMap<(&'static str, &'static str), Value>,
}

impl Drawing {
    fn push(&mut self, action: Action) {
        self.steps.push(Step { at: self.at, action });
    }

    /// Adds a step after a delay, without moving the current time.
    fn later(&mut self, milliseconds: u64, action: Action) {
        self.steps.push(Step { at: self.at + Duration::from_millis(milliseconds), action });
    }

    /// Moves the current time, mostly by less than the operator needs to handle a change.
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

    /// A delay in milliseconds, mostly short enough that the operator is still handling the last change.
    fn moment(&mut self) -> u64 {
        if self.dice.happens(800) { self.dice.below(150) } else { self.dice.below(5000) }
    }

    fn user(&mut self, verb: Verb, resource: &'static str, namespace: &str, name: &str, body: Value) {
        let action = Action::User { verb, resource, namespace: namespace.to_owned(), name: name.to_owned(), body };
        self.push(action);
    }

    fn users_later(
        &mut self,
        after: u64,
        verb: Verb,
        resource: &'static str,
        namespace: &str,
        name: &str,
        body: Value,
    ) {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.later(after, Action::User { verb, resource, namespace, name, body });
    }

    /// Draws the spec of a new KeyPair.
    fn spec(&mut self) -> Value {
        let mut spec = spec(&mut self.dice);
        if self.theme == Theme::Regions
            && self.dice.happens(500)
            && let Some(spec) = spec.as_object_mut()
        {
            spec.insert("project".to_owned(), json!(one(&mut self.dice, &["red", "blue"])));
        }
        if self.rotates
            && self.dice.happens(700)
            && let Some(spec) = spec.as_object_mut()
            && (!spec.contains_key("publicKey") || self.dice.happens(50))
        {
            spec.insert("rotation".to_owned(), settings(&mut self.dice));
        }
        spec
    }

    fn begin(&mut self, theme: Theme) {
        for namespace in NAMESPACES {
            let body = if theme == Theme::Regions { self.namespace_metadata() } else { Value::Null };
            self.user(Verb::Create, "namespaces", "", namespace, body);
        }
        if theme == Theme::Regions && self.dice.happens(400) {
            self.contend();
        }
        for _ in 0..=self.dice.below(3) {
            self.create();
        }
        if theme == Theme::Leaders || self.dice.happens(150) {
            self.network();
        }
    }

    fn something(&mut self, theme: Theme) {
        if self.rotates && self.dice.happens(400) {
            return self.rotation();
        }
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
            // Only in this theme, and only once: a restore disrupts so much that it would hide other faults.
            (Theme::Snapshots, 0..=49) if !self.has_restored() => self.snapshot(),
            _ => self.delete(),
        }
    }
}
