//! Which `KeyPair` is looked at next, and how many at once.
//!
//! The part of kube's `applier`, for objects that are kept in a [`CompressedStore`](super::store::CompressedStore) and not in its own, and fair:
//! namespaces take turns.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    pin::pin,
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, stream::FuturesUnordered};
use kube::runtime::reflector::ObjectRef;
use tokio::time::{Instant, sleep_until};

use super::rounds::Rounds;
use crate::api::KeyPair;

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// One `KeyPair`.
    One(ObjectRef<KeyPair>),
    /// Every one that there is.
    All,
}

impl From<ObjectRef<KeyPair>> for Trigger {
    fn from(reference: ObjectRef<KeyPair>) -> Self {
        // Versions and UIDs are of no use here, and take room.
        Self::One(without_version(reference))
    }
}

/// Where to find every `KeyPair`.
pub trait Everything {
    /// The namespaces that have some.
    fn namespaces(&self) -> Vec<String>;
    /// Their names in one of them.
    fn names(&self, namespace: &str) -> Vec<String>;
}

/// Looks at what is triggered, `concurrency` at once but never at the same twice, from when `ready` resolves until there are no
/// more triggers and what is under way is done. `look` says after which time to look again.
pub async fn run<F>(
    triggers: impl Stream<Item = Trigger>,
    ready: impl Future<Output = ()>,
    concurrency: u16,
    everything: &impl Everything,
    look: impl Fn(ObjectRef<KeyPair>) -> F,
) where
    F: Future<Output = Option<Duration>>,
{
    let (mut triggers, mut ready) = (pin!(triggers), pin!(ready.fuse()));
    let (mut is_ready, mut triggers_first) = (false, false);
    let mut queue = Queue::default();
    let (mut running, mut later) = (FuturesUnordered::new(), FuturesUnordered::new());
    loop {
        while is_ready
            && running.len() < usize::from(concurrency)
            && let Some(next) = queue.next(everything)
        {
            running.push(look(next.clone()).map(move |again| (next, again)));
        }
        // What is triggered and what is done take turns, so that neither waits for a flood of the other; and by turns rather than by
        // chance, so that a run can be repeated.
        let trigger = triggers.next().map(Step::Trigger);
        let work = async {
            tokio::select! {
                biased;
                Some((done, again)) = running.next() => Step::Done(done, again),
                Some((reference, due)) = later.next() => Step::Due(reference, due),
                () = &mut ready, if !is_ready => Step::Ready,
                else => std::future::pending().await,
            }
        };
        triggers_first = !triggers_first;
        let step = if triggers_first { first(trigger, work).await } else { first(work, trigger).await };
        match step {
            Step::Trigger(Some(Trigger::One(reference))) => queue.add(reference),
            Step::Trigger(Some(Trigger::All)) => queue.add_all(everything),
            Step::Trigger(None) => break,
            Step::Done(done, again) => {
                if let Some(delay) = again.and_then(|delay| Instant::now().checked_add(delay)) {
                    queue.delay(done.clone(), delay);
                    later.push(sleep_until(delay).map({
                        let done = done.clone();
                        move |()| (done, delay)
                    }));
                }
                queue.done(&done);
            }
            Step::Due(reference, due) => queue.due(reference, due),
            Step::Ready => is_ready = true,
        }
    }
    while running.next().await.is_some() {}
}

/// What happened next.
enum Step {
    Trigger(Option<Trigger>),
    Done(ObjectRef<KeyPair>, Option<Duration>),
    Due(ObjectRef<KeyPair>, Instant),
    Ready,
}

/// Whichever is there, and `one` if both are.
async fn first<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        of_one = one => of_one,
        of_other = other => of_other,
    }
}

/// What is to be looked at, in its order.
#[derive(Debug, Default)]
struct Queue {
    /// What waits. Nothing waits twice.
    waiting: Rounds<ObjectRef<KeyPair>>,
    is_waiting: HashSet<ObjectRef<KeyPair>>,
    /// The namespaces of which everything is still to be looked at. What is in them is not named before it is their turn.
    sweep: VecDeque<String>,
    running: HashSet<ObjectRef<KeyPair>>,
    /// What was triggered while it was being looked at.
    again: HashSet<ObjectRef<KeyPair>>,
    /// When to look again by itself.
    delayed: HashMap<ObjectRef<KeyPair>, Instant>,
}

impl Queue {
    fn add(&mut self, reference: ObjectRef<KeyPair>) {
        self.delayed.remove(&reference);
        if self.running.contains(&reference) {
            self.again.insert(reference);
        } else if self.is_waiting.insert(reference.clone()) {
            let namespace = reference.namespace.clone().unwrap_or_default();
            self.waiting.push(&namespace, reference);
        }
    }

    fn add_all(&mut self, everything: &impl Everything) {
        self.sweep = everything.namespaces().into();
    }

    fn next(&mut self, everything: &impl Everything) -> Option<ObjectRef<KeyPair>> {
        // What is triggered meanwhile takes turns with what is swept.
        while self.waiting.namespaces() < 2
            && let Some(namespace) = self.sweep.pop_front()
        {
            for name in everything.names(&namespace) {
                self.add(ObjectRef::new(&name).within(&namespace));
            }
        }
        let next = self.waiting.pop(|_| true)?;
        self.is_waiting.remove(&next);
        self.running.insert(next.clone());
        Some(next)
    }

    fn done(&mut self, reference: &ObjectRef<KeyPair>) {
        self.running.remove(reference);
        if self.again.remove(reference) {
            self.add(reference.clone());
        }
    }

    fn delay(&mut self, reference: ObjectRef<KeyPair>, due: Instant) {
        self.delayed.insert(reference, due);
    }

    /// What was delayed until `due` is looked at, unless it has been since, or is to be later.
    fn due(&mut self, reference: ObjectRef<KeyPair>, due: Instant) {
        if self.delayed.get(&reference) == Some(&due) {
            self.add(reference);
        }
    }
}

fn without_version(reference: ObjectRef<KeyPair>) -> ObjectRef<KeyPair> {
    let named = ObjectRef::new(&reference.name);
    match reference.namespace {
        Some(namespace) => named.within(&namespace),
        None => named,
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap};

    use futures::{channel::mpsc, stream};

    use super::*;

    impl Everything for BTreeMap<&'static str, Vec<&'static str>> {
        fn namespaces(&self) -> Vec<String> {
            self.keys().map(ToString::to_string).collect()
        }

        fn names(&self, namespace: &str) -> Vec<String> {
            self.get(namespace).into_iter().flatten().map(ToString::to_string).collect()
        }
    }

    fn nothing() -> BTreeMap<&'static str, Vec<&'static str>> {
        BTreeMap::new()
    }

    fn reference(text: &str) -> ObjectRef<KeyPair> {
        let (namespace, name) = text.split_once('/').unwrap();
        ObjectRef::new(name).within(namespace)
    }

    fn take(queue: &mut Queue, everything: &impl Everything) -> Vec<String> {
        std::iter::from_fn(|| queue.next(everything))
            .map(|next| format!("{}/{}", next.namespace.unwrap(), next.name))
            .collect()
    }

    #[test]
    fn namespaces_take_turns_and_nothing_waits_twice() {
        let mut queue = Queue::default();
        for text in ["a/1", "a/2", "a/1", "a/3", "b/1", "b/2"] {
            queue.add(reference(text));
        }
        assert_eq!(take(&mut queue, &nothing()), ["a/1", "b/1", "a/2", "b/2", "a/3"]);
    }

    #[test]
    fn what_is_triggered_while_it_is_looked_at_is_looked_at_again_and_once() {
        let mut queue = Queue::default();
        queue.add(reference("a/1"));
        let running = queue.next(&nothing()).unwrap();
        queue.add(reference("a/1"));
        queue.add(reference("a/1"));
        assert_eq!(queue.next(&nothing()), None);
        queue.done(&running);
        assert_eq!(take(&mut queue, &nothing()), ["a/1"]);
        queue.done(&running);
        assert_eq!(queue.next(&nothing()), None);
    }

    #[test]
    fn everything_is_looked_at_and_what_comes_meanwhile_is_not_last() {
        let everything = BTreeMap::from([("a", vec!["1", "2"]), ("b", vec!["1"]), ("c", vec!["1", "2"])]);
        let mut queue = Queue::default();
        queue.add_all(&everything);
        let first = queue.next(&everything).unwrap();
        assert_eq!(first, reference("a/1"));
        queue.add(reference("z/1"));
        assert_eq!(take(&mut queue, &everything), ["b/1", "a/2", "z/1", "c/1", "c/2"]);
    }

    #[test]
    fn a_trigger_is_instead_of_a_delay() {
        let mut queue = Queue::default();
        let (soon, late) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        queue.delay(reference("a/1"), late);
        queue.due(reference("a/1"), soon);
        assert_eq!(queue.next(&nothing()), None);
        queue.add(reference("a/1"));
        assert!(queue.next(&nothing()).is_some());
        queue.done(&reference("a/1"));
        queue.due(reference("a/1"), late);
        assert_eq!(queue.next(&nothing()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_looks_again_after_a_delay_and_ends_with_the_triggers() {
        let (sender, receiver) = mpsc::unbounded();
        let looked = RefCell::new(Vec::new());
        let look = |reference: ObjectRef<KeyPair>| {
            let mut looked = looked.borrow_mut();
            looked.push(reference.name.clone());
            let again = (looked.len() < 3).then_some(Duration::from_secs(1));
            async move { again }
        };
        let everything = nothing();
        let running = run(receiver, std::future::ready(()), 2, &everything, look);
        let telling = async {
            sender.unbounded_send(reference("a/1").into()).unwrap();
            tokio::time::sleep(Duration::from_secs(10)).await;
            drop(sender);
        };
        futures::future::join(running, telling).await;
        assert_eq!(*looked.borrow(), ["1", "1", "1"]);
    }

    #[tokio::test]
    async fn nothing_is_looked_at_before_it_is_ready() {
        let triggers = stream::iter([reference("a/1").into()]);
        let look = |_| async { unreachable!("it is not ready") };
        run(triggers, std::future::pending(), 1, &nothing(), look).await;
    }
}
