//! The possible next steps, and the properties that must hold.

use keypair_operator::domain::ledger::ClaimState;
use stateright::{Model, Property};

use super::{
    operator::Operator,
    world::{Config, Pair, Status, World},
};

/// How much happens at most.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// The number of objects that exist at once.
    pub objects: usize,
    /// Edits by users.
    pub edits: u8,
    /// How many writes time out.
    pub losses: u8,
    /// How many times a watch restarts with a list.
    pub lists: u8,
    pub restarts: u8,
    /// Whether the objects exist from the beginning.
    pub are_there: bool,
    /// Whether to start also with a recreated namespace.
    pub is_made_anew: bool,
}

#[derive(Debug, Clone)]
pub struct Everything(pub Bounds);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    world: World,
    operator: Operator,
    edits: u8,
    losses: u8,
    lists: u8,
    restarts: u8,
    /// Whether the API server has applied a write after the operator gave up on it.
    was_late: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Create(usize, usize),
    Rename(usize),
    Delete(usize),
    Configure(Config),
    DeleteNamespace,
    SeeNamespace,
    SeePair,
    ListNamespaces,
    BeginList,
    EndList,
    Reconcile(usize),
    /// A write reaches the API server, and the response reaches the operator.
    Arrive(usize),
    /// The operator stops waiting for a response.
    GiveUp(usize),
    /// An abandoned write reaches the API server after all.
    ArriveLate(usize),
    /// An abandoned write never reaches the API server.
    Lose(usize),
    Restart,
}

impl State {
    /// Whether nothing is pending, apart from edits by users.
    fn is_settled(&self) -> bool {
        let Self { world, operator, .. } = self;
        world.namespace_events.is_empty()
            && world.pair_events.is_empty()
            && operator.list.is_none()
            && operator.queue.is_empty()
            && operator.writes.iter().all(Option::is_none)
            && operator.late.is_empty()
    }

    /// Whether each pair has the right status, once nothing is pending.
    fn is_right(&self) -> bool {
        let Self { world, operator, .. } = self;
        let pairs: Vec<&Pair> = world.pairs.iter().flatten().collect();
        let Some(config) = world.namespace else { return pairs.is_empty() };
        let accepted: Vec<&&Pair> = pairs.iter().filter(|pair| pair.is_accepted()).collect();
        let is_full = accepted.len() >= config.region().limit();
        let waits = |pair: &Pair| !pair.is_accepted() && operator.is_valid(pair);
        operator.store == world.pairs
            && pairs.iter().all(|pair| {
                let is_taken = accepted.iter().any(|other| other.name == pair.name)
                    || pairs.iter().any(|other| waits(other) && other.name == pair.name && other.uid < pair.uid);
                let is_refused = matches!(pair.status, Status::Refused(_));
                let has_to_wait = is_refused && (!waits(pair) || is_taken || is_full);
                !operator.is_acceptance_pending(pair) && (pair.is_accepted() || has_to_wait)
            })
    }

    /// Whether every accepted pair that the operator knows of still has the slot and the name that it was accepted with.
    fn holds_what_is_accepted(&self) -> bool {
        let accepted = self.operator.store.iter().flatten().filter(|pair| pair.is_accepted());
        accepted.map(|pair| self.operator.claim_state(pair)).all(|it| matches!(it, None | Some(ClaimState::Granted)))
    }

    fn accepted(&self) -> usize {
        self.world.pairs.iter().flatten().filter(|pair| pair.is_accepted()).count()
    }
}

impl Model for Everything {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let Bounds { objects, edits, losses, lists, restarts, are_there, is_made_anew } = self.0;
        let mut world = World::new(objects);
        if are_there {
            (0..objects).for_each(|object| world.create(object, object % 2));
            world.pair_events.clear();
        }
        let operator = Operator::start(world.namespace, &world.pairs);
        let usual = State { world, operator, edits, losses, lists, restarts, was_late: false };
        if !is_made_anew {
            return vec![usual];
        }
        // The watch has not shown the recreated namespace yet.
        let mut anew = usual.clone();
        anew.world.delete_namespace();
        anew.world.configure(Config::One);
        if are_there {
            (0..objects).for_each(|object| anew.world.create(object, object % 2));
        }
        vec![usual, anew]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let State { world, operator, .. } = state;
        let objects = 0..world.pairs.len();
        if state.edits > 0 {
            for object in objects.clone() {
                match world.pairs[object] {
                    None if world.namespace.is_some() => {
                        actions.extend([0, 1].map(|name| Action::Create(object, name)));
                    }
                    None => {}
                    Some(pair) => {
                        actions.push(Action::Delete(object));
                        if !pair.is_accepted() {
                            actions.push(Action::Rename(object));
                        }
                    }
                }
            }
            let others = Config::ALL.into_iter().filter(|config| world.namespace != Some(*config));
            actions.extend(others.map(Action::Configure));
            actions.extend(world.namespace.map(|_| Action::DeleteNamespace));
        }
        if !world.namespace_events.is_empty() {
            actions.push(Action::SeeNamespace);
        }
        if operator.list.is_some() {
            actions.push(Action::EndList);
        } else if !world.pair_events.is_empty() {
            actions.push(Action::SeePair);
        }
        if state.lists > 0 && operator.list.is_none() {
            actions.extend([Action::BeginList, Action::ListNamespaces]);
        }
        for object in objects {
            if operator.writes[object].is_some() {
                actions.push(Action::Arrive(object));
                if state.losses > 0 {
                    actions.push(Action::GiveUp(object));
                }
            } else if operator.queue.contains(&object) {
                actions.push(Action::Reconcile(object));
            }
        }
        for late in 0..operator.late.len() {
            actions.extend([Action::ArriveLate(late), Action::Lose(late)]);
        }
        if state.restarts > 0 && operator.late.is_empty() && operator.writes.iter().all(Option::is_none) {
            actions.push(Action::Restart);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        let State { world, operator, edits, losses, lists, restarts, was_late } = &mut next;
        match action {
            Action::Create(..)
            | Action::Rename(_)
            | Action::Delete(_)
            | Action::Configure(_)
            | Action::DeleteNamespace => {
                *edits -= 1;
            }
            Action::GiveUp(_) => *losses -= 1,
            Action::BeginList | Action::ListNamespaces => *lists -= 1,
            Action::Restart => *restarts -= 1,
            _ => {}
        }
        match action {
            Action::Create(object, name) => world.create(object, name),
            Action::Rename(object) => world.rename(object),
            Action::Delete(object) => world.delete(object),
            Action::Configure(config) => world.configure(config),
            Action::DeleteNamespace => world.delete_namespace(),
            Action::SeeNamespace => operator.see_namespace(world.namespace_events.pop_front()?),
            Action::SeePair => {
                let (pair, is_there) = world.pair_events.pop_front()?;
                operator.see_pair(pair, is_there);
            }
            Action::ListNamespaces => {
                world.namespace_events.clear();
                operator.list_namespaces(world.namespace);
            }
            Action::BeginList => {
                world.pair_events.clear();
                operator.begin_list(&world.pairs);
            }
            Action::EndList => operator.end_list(),
            Action::Reconcile(object) => operator.reconcile(object),
            Action::Arrive(object) => {
                let is_done = world.write(&operator.writes[object]?);
                operator.answered(object, is_done);
            }
            Action::GiveUp(object) => operator.give_up(object),
            Action::ArriveLate(late) => {
                let write = operator.late.remove(late);
                *was_late |= world.write(&write) && write.status == Status::Accepted;
            }
            Action::Lose(late) => drop(operator.late.remove(late)),
            Action::Restart => {
                world.pair_events.clear();
                world.namespace_events.clear();
                *operator = Operator::start(world.namespace, &world.pairs);
            }
        }
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("no more accepted than the quota, and no two of one name", |_, state: &State| {
                state.world.violation.is_none()
            }),
            Property::always("what is accepted keeps its slot and its name", |_, state: &State| {
                state.holds_what_is_accepted()
            }),
            Property::always("when nothing goes on any more the oldest have what there is", |_, state: &State| {
                !state.is_settled() || state.is_right()
            }),
            // A model in which nothing happens violates no property.
            Property::sometimes("two are accepted", |_, state: &State| state.accepted() == 2),
            Property::sometimes("one has to wait for ever", |_, state: &State| {
                let waits = |pair: &Pair| matches!(pair.status, Status::Refused(_)) && state.operator.is_valid(pair);
                state.is_settled() && state.accepted() > 0 && state.world.pairs.iter().flatten().any(waits)
            }),
        ];
        if self.0.losses > 0 {
            properties.push(Property::sometimes("a late write accepts a pair", |_, state: &State| state.was_late));
        }
        properties
    }
}
