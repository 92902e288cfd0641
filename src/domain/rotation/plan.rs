//! What the status is to show about a rotation, and how the Secret is to change next.

use jiff::{SignedDuration, Timestamp};

use super::{
    OpenGates, Phase, PhasedKey, RotationState,
    schedule::{self, LOOK_AGAIN, Scheduled, after},
    settings::RotationSettings,
};
use crate::domain::{
    key::{KeySpec, PublicKey},
    publication::PublicationProgress,
};

/// The input of one decision about a rotation.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// `metadata.uid`.
    pub uid: &'a str,
    /// `spec.rotation`, if set.
    pub settings: Option<&'a RotationSettings>,
    /// What the status records; `None` for a pair that is not accepted yet.
    pub recorded: Option<&'a RotationState>,
    /// The key in the data keys themselves.
    pub current: &'a PublicKey,
    /// What else the Secret holds; `None`: it was not read, and is as the status says.
    pub held: Option<HeldKeys<'a>>,
    /// What the next key is to be, and whether the spec asks for it.
    pub wanted: (KeySpec, bool),
    /// The conditions that are True.
    pub open_gates: &'a OpenGates,
    /// Whether the publications that select the pair have its next key.
    pub publication: &'a PublicationProgress,
    /// When the pair was created.
    pub created: Timestamp,
    /// The present time.
    pub now: Timestamp,
}

/// What a Secret holds besides the current key.
#[derive(Debug, Clone, Copy)]
pub struct HeldKeys<'a> {
    /// The next key.
    pub next: Option<&'a PublicKey>,
    /// The previous key.
    pub previous: Option<&'a PublicKey>,
    /// Whether the operator has added a previous key and not removed it. Somebody else may have removed the entry.
    pub is_previous_kept: bool,
    /// The revision of the current key, according to an annotation.
    pub revision: Option<u32>,
}

/// A change of the Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Generate a key and add it as the next one; replaces another next key.
    AddNext(KeySpec),
    /// Make the next key the current one, which becomes the previous one.
    Switch {
        /// The revision of the next key.
        revision: u32,
    },
    /// Remove the next key.
    RemoveNext,
    /// Remove the previous key.
    RemovePrevious,
}

/// The result of one decision about a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The next change of the Secret; then decide again.
    pub change: Option<Change>,
    /// What the status is to record if there is no change.
    pub state: RotationState,
    /// What the switch waits for besides gates, once its time has come.
    pub publication: PublicationProgress,
    /// When to decide again, if nothing happens before.
    pub due: Option<Timestamp>,
}

/// The keys that the status is to show.
struct Keys {
    previous: Option<PhasedKey>,
    current: PhasedKey,
    next: Option<PhasedKey>,
    /// Whether the status already shows the next key.
    is_published: bool,
}

/// Decides about the rotation of a generated pair whose Secret holds `current` where its key belongs.
#[must_use]
pub fn plan(input: &Input<'_>) -> Plan {
    let keys = Keys::of(input);
    match input.settings {
        Some(settings) => keys.plan(input, settings),
        None => keys.wind_down(input),
    }
}

/// A time that began with the present second or earlier is not over before the next one: whole seconds are recorded.
fn since(now: Timestamp) -> Timestamp {
    let seconds = now.as_second() + i64::from(now.subsec_nanosecond() > 0);
    Timestamp::from_second(seconds).unwrap_or(now)
}

impl Keys {
    /// The keys according to the Secret, each since the time that the status records for it.
    fn of(input: &Input<'_>) -> Self {
        let nothing = RotationState::default();
        let recorded = input.recorded.unwrap_or(&nothing);
        let find = |phase| recorded.key(phase);
        let begins = |revision, phase, key: &PublicKey| PhasedKey {
            revision,
            phase,
            key: key.clone(),
            fingerprint: String::new(),
            since: since(input.now),
        };
        let revision = input.held.and_then(|held| held.revision);
        let known_revision = (recorded.revision > 0).then_some(recorded.revision);
        let (current, mut previous) = match (find(Phase::Current), find(Phase::Next)) {
            (Some(current), _) if current.key == *input.current => (current.clone(), find(Phase::Previous).cloned()),
            // The Secret was changed, and the status not yet.
            (Some(old), Some(next)) if next.key == *input.current => (
                begins(next.revision, Phase::Current, &next.key),
                Some(begins(old.revision, Phase::Previous, &old.key)),
            ),
            // A lost key was replaced.
            (Some(old), _) => (begins(old.revision.saturating_add(1), Phase::Current, input.current), None),
            (None, _) => {
                let revision = known_revision.or(revision).unwrap_or(1);
                let since = if input.recorded.is_some() { since(input.created) } else { since(input.now) };
                (PhasedKey { since, ..begins(revision, Phase::Current, input.current) }, None)
            }
        };
        let held_or_recorded = |phase, held: Option<Option<&PublicKey>>| match held {
            Some(held) => held.cloned(),
            None => find(phase).map(|key| key.key.clone()),
        };
        // The status lost what the Secret still holds: an operator of an earlier version has written it.
        let held = held_or_recorded(Phase::Previous, input.held.map(|held| held.previous));
        if let (None, Some(key)) = (&previous, held.filter(|key| *key != current.key)) {
            previous = Some(begins(current.revision.saturating_sub(1), Phase::Previous, &key));
        }
        // Its phase ended with the `keepAfter` of that moment, and the status was not written since.
        if input.held.is_some_and(|held| !held.is_previous_kept) {
            previous = None;
        }
        let held = held_or_recorded(Phase::Next, input.held.map(|held| held.next));
        let mut is_published = false;
        let next = held.filter(|key| *key != current.key).map(|key| {
            let published = find(Phase::Next).filter(|next| next.key == key && next.revision > current.revision);
            is_published = published.is_some();
            published.cloned().unwrap_or_else(|| begins(current.revision.saturating_add(1), Phase::Next, &key))
        });
        Self { previous, current, next, is_published }
    }

    /// The pair is to be rotated.
    fn plan(mut self, input: &Input<'_>, settings: &RotationSettings) -> Plan {
        if let Some(change) = self.end_previous(input, settings.keep_after) {
            return self.change(change, input);
        }
        let (spec, is_asked_for) = input.wanted;
        let is_wanted =
            |key: &PublicKey| !is_asked_for || (key.algorithm(), key.bits()) == (spec.algorithm(), spec.bits());
        // The write that publishes a key closes the gates.
        let is_closed = |gate: &&String| !self.is_published || !input.open_gates.contains(*gate);
        let waiting_for: Vec<String> = settings.gates.iter().filter(is_closed).cloned().collect();
        let keep_end = self.previous.as_ref().map(|previous| after(previous.since, settings.keep_after).max(input.now));
        if let Some(next) = &self.next {
            let switch = after(next.since, settings.publish_before);
            if !is_wanted(&next.key) {
                return self.change(Change::AddNext(spec), input);
            }
            // The switch makes another key the previous one.
            let switch = keep_end.map_or(switch, |end| end.max(switch));
            let is_due = self.is_published && switch <= input.now;
            if is_due && waiting_for.is_empty() && input.publication.is_published() {
                let revision = next.revision;
                return self.change(Change::Switch { revision }, input);
            }
            let publication = if is_due { input.publication.clone() } else { PublicationProgress::Published };
            let look_again = (publication == PublicationProgress::Unknown).then(|| after(input.now, LOOK_AGAIN));
            let due = [Some(switch), keep_end, look_again].into_iter().flatten().filter(|due| *due >= input.now).min();
            let handled = if self.is_published { handled_request(input) } else { request(input) };
            let plan = self.rest(handled.or_else(|| recorded_request(input)), Some(switch), waiting_for, due);
            return Plan { publication, ..plan };
        }
        let scheduled = self.scheduled(input, settings);
        let is_requested =
            input.recorded.is_some() && request(input).is_some_and(|request| recorded_request(input) != Some(request));
        let is_lost = input
            .recorded
            .is_some_and(|recorded| recorded.key(Phase::Next).is_some_and(|next| next.key != self.current.key));
        let begin = if is_requested || is_lost || !is_wanted(&self.current.key) {
            Some(input.now)
        } else {
            scheduled.map(|switch| schedule::begin(settings, switch))
        };
        // One rotation at a time.
        let begin = begin.map(|begin| keep_end.map_or(begin, |end| end.max(begin)));
        match begin {
            Some(begin) if begin <= input.now => self.change(Change::AddNext(spec), input),
            begin => {
                let due = [begin, keep_end].into_iter().flatten().filter(|due| *due >= input.now).min();
                let next_switch = begin.map(|begin| after(begin, settings.publish_before));
                let handled = handled_request(input);
                self.rest(handled, next_switch, Vec::new(), due)
            }
        }
    }

    /// The pair is not to be rotated, or no longer.
    fn wind_down(mut self, input: &Input<'_>) -> Plan {
        if self.next.is_some() && input.held.is_none_or(|held| held.next.is_some()) {
            return self.change(Change::RemoveNext, input);
        }
        self.next = None;
        // Somebody else removed it, and without rotation it is not promised to stay.
        if input.held.is_some_and(|held| held.previous.is_none()) {
            self.previous = None;
        }
        let keep_after = RotationSettings::KEEP_AFTER_WITHOUT_SETTINGS;
        if let Some(change) = self.end_previous(input, keep_after) {
            return self.change(change, input);
        }
        let due = self.previous.as_ref().map(|previous| after(previous.since, keep_after).max(input.now));
        let mut plan = self.rest(recorded_request(input), None, Vec::new(), due);
        if due.is_none() {
            plan.state.keys.clear();
        }
        // A pair that was never rotated records nothing.
        if plan.state.keys.is_empty() && plan.state.revision == 1 {
            plan.state.revision = 0;
        }
        plan
    }

    /// Ends the phase of the previous key if its time is over.
    fn end_previous(&mut self, input: &Input<'_>, keep_after: SignedDuration) -> Option<Change> {
        let previous = self.previous.as_ref()?;
        // Before the status shows the switch, the key that goes is the current one for its readers.
        let recorded = input.recorded.and_then(|recorded| recorded.key(Phase::Previous));
        let is_recorded = recorded.is_some_and(|recorded| recorded.key == previous.key);
        if !is_recorded || after(previous.since, keep_after) > input.now {
            return None;
        }
        if input.held.is_none_or(|held| held.previous.is_some()) {
            return Some(Change::RemovePrevious);
        }
        self.previous = None;
        None
    }

    fn scheduled(&self, input: &Input<'_>, settings: &RotationSettings) -> Option<Timestamp> {
        let key = Scheduled {
            uid: input.uid,
            revision: self.current.revision,
            since: self.current.since,
            recorded: input.recorded.and_then(|recorded| recorded.next_switch),
        };
        schedule::next_switch(settings, key, input.now)
    }

    fn change(self, change: Change, input: &Input<'_>) -> Plan {
        Plan { change: Some(change), ..self.rest(recorded_request(input), None, Vec::new(), None) }
    }

    fn rest(
        self,
        handled_request: Option<String>,
        next_switch: Option<Timestamp>,
        waiting_for: Vec<String>,
        due: Option<Timestamp>,
    ) -> Plan {
        let revision = self.current.revision;
        let keys = [self.previous, Some(self.current), self.next].into_iter().flatten().collect();
        let state = RotationState { revision, keys, handled_request, next_switch, waiting_for };
        Plan { change: None, state, publication: PublicationProgress::Published, due }
    }
}

/// The request for a rotation.
fn request(input: &Input<'_>) -> Option<String> {
    input.settings.and_then(|settings| settings.request.clone())
}

/// The request that counts as handled. A new pair has a new key: a request that came with it asks for nothing.
fn handled_request(input: &Input<'_>) -> Option<String> {
    if input.recorded.is_none() { request(input) } else { recorded_request(input) }
}

/// The request that the status records as handled.
fn recorded_request(input: &Input<'_>) -> Option<String> {
    input.recorded.and_then(|recorded| recorded.handled_request.clone())
}
