//! The work queue: which `KeyPair` is reconciled next, and how many at once.
//!
//! It replaces kube's `applier`, which needs kube's own store. This one works with a
//! [`CompressedStore`](crate::cache::store::CompressedStore) and is fair between namespaces.

pub(crate) mod fair_semaphore;
pub(crate) mod round_robin;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    pin::pin,
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, stream::FuturesUnordered};
use kube::runtime::reflector::ObjectRef;
use tokio::time::{Instant, sleep_until};

use self::round_robin::RoundRobinQueue;
use crate::{api::KeyPair, cache::ObjectLister};

/// What to reconcile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// One `KeyPair`.
    One(ObjectRef<KeyPair>),
    /// All `KeyPair`s.
    All,
}

impl From<ObjectRef<KeyPair>> for Trigger {
    fn from(reference: ObjectRef<KeyPair>) -> Self {
        // Versions and UIDs are not needed here, and need memory.
        Self::One(without_version(reference))
    }
}

/// Reconciles what is triggered, `concurrency` objects at once but no object twice at once. It starts when `ready` resolves, and ends after
/// the last trigger, when all running reconciliations are complete. `reconcile` returns the time after which to requeue the object.
pub async fn run<F>(
    triggers: impl Stream<Item = Trigger>,
    ready: impl Future<Output = ()>,
    concurrency: u16,
    lister: &impl ObjectLister,
    reconcile: impl Fn(ObjectRef<KeyPair>) -> F,
) where
    F: Future<Output = Option<Duration>>,
{
    let (mut triggers, mut ready) = (pin!(triggers), pin!(ready.fuse()));
    let (mut is_ready, mut triggers_first) = (false, false);
    let mut queue = Queue::default();
    let mut running = FuturesUnordered::new();
    loop {
        while is_ready
            && running.len() < usize::from(concurrency)
            && let Some(next) = queue.next(lister)
        {
            running.push(reconcile(next.clone()).map(move |requeue_after| (next, requeue_after)));
        }
        // Triggers and completions take turns, so that a flood of one does not delay the other; in turn and not at random, so that a run
        // can be repeated.
        let trigger = triggers.next().map(QueueEvent::Trigger);
        let first_due = queue.first_due();
        let work = async {
            tokio::select! {
                biased;
                Some((done, requeue_after)) = running.next() => QueueEvent::Done(done, requeue_after),
                () = until(first_due) => QueueEvent::Due,
                () = &mut ready, if !is_ready => QueueEvent::Ready,
            }
        };
        triggers_first = !triggers_first;
        let event = if triggers_first { first_of(trigger, work).await } else { first_of(work, trigger).await };
        match event {
            QueueEvent::Trigger(Some(Trigger::One(reference))) => queue.add(reference),
            QueueEvent::Trigger(Some(Trigger::All)) => queue.add_all(lister),
            QueueEvent::Trigger(None) => break,
            QueueEvent::Done(done, requeue_after) => {
                if let Some(due) = requeue_after.and_then(|delay| Instant::now().checked_add(delay)) {
                    queue.delay(done.clone(), due);
                }
                queue.done(&done);
            }
            QueueEvent::Due => queue.due(),
            QueueEvent::Ready => is_ready = true,
        }
    }
    while running.next().await.is_some() {}
}

/// The next event of the queue.
enum QueueEvent {
    Trigger(Option<Trigger>),
    Done(ObjectRef<KeyPair>, Option<Duration>),
    Due,
    Ready,
}

/// Resolves at this time, or never.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The output of the future that completes first; `preferred` wins if both are ready.
async fn first_of<T>(preferred: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        output = preferred => output,
        output = other => output,
    }
}

/// The objects to reconcile, in order.
#[derive(Debug, Default)]
struct Queue {
    /// The waiting objects, each of them once.
    waiting: RoundRobinQueue<ObjectRef<KeyPair>>,
    is_waiting: HashSet<ObjectRef<KeyPair>>,
    /// The namespaces of which all objects still have to be queued. They are listed when it is their turn.
    sweep: VecDeque<String>,
    running: HashSet<ObjectRef<KeyPair>>,
    /// The objects that were triggered while they were being reconciled.
    triggered_again: HashSet<ObjectRef<KeyPair>>,
    /// When to requeue an object: a position in [`Self::timers`].
    delayed: HashMap<ObjectRef<KeyPair>, (Instant, u64)>,
    /// The delayed objects in the order in which they are due. Each is in it once, since a delay may be as long as ten years, for which
    /// tokio-util's `DelayQueue` would panic.
    timers: BTreeMap<(Instant, u64), ObjectRef<KeyPair>>,
    /// How many delays there have been, which orders those of the same time.
    delays: u64,
}

impl Queue {
    fn add(&mut self, reference: ObjectRef<KeyPair>) {
        self.cancel(&reference);
        if self.running.contains(&reference) {
            self.triggered_again.insert(reference);
        } else if self.is_waiting.insert(reference.clone()) {
            let namespace = reference.namespace.clone().unwrap_or_default();
            self.waiting.push(&namespace, reference);
        }
    }

    fn add_all(&mut self, lister: &impl ObjectLister) {
        self.sweep = lister.namespaces().into();
    }

    fn next(&mut self, lister: &impl ObjectLister) -> Option<ObjectRef<KeyPair>> {
        // Sweep only as far as needed, so that new triggers take turns with the sweep.
        while self.waiting.namespaces() < 2
            && let Some(namespace) = self.sweep.pop_front()
        {
            for name in lister.names(&namespace) {
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
        if self.triggered_again.remove(reference) {
            self.add(reference.clone());
        }
    }

    /// Requeues an object later, instead of when it was to be requeued before.
    fn delay(&mut self, reference: ObjectRef<KeyPair>, due: Instant) {
        self.cancel(&reference);
        self.delays += 1;
        self.timers.insert((due, self.delays), reference.clone());
        self.delayed.insert(reference, (due, self.delays));
    }

    fn cancel(&mut self, reference: &ObjectRef<KeyPair>) {
        if let Some(position) = self.delayed.remove(reference) {
            self.timers.remove(&position);
        }
    }

    /// When the first delayed object is due.
    fn first_due(&self) -> Option<Instant> {
        self.timers.keys().next().map(|(due, _)| *due)
    }

    /// Queues the first delayed object.
    fn due(&mut self) {
        if let Some((_, reference)) = self.timers.pop_first() {
            self.delayed.remove(&reference);
            self.add(reference);
        }
    }
}

fn without_version(reference: ObjectRef<KeyPair>) -> ObjectRef<KeyPair> {
    let plain = ObjectRef::new(&reference.name);
    match reference.namespace {
        Some(namespace) => plain.within(&namespace),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap};

    use futures::{channel::mpsc, stream};

    use super::*;

    impl ObjectLister for BTreeMap<&'static str, Vec<&'static str>> {
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

    fn take(queue: &mut Queue, lister: &impl ObjectLister) -> Vec<String> {
        std::iter::from_fn(|| queue.next(lister))
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
    fn an_object_triggered_while_reconciled_is_reconciled_again() {
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
    fn a_sweep_reconciles_everything_and_does_not_delay_new_triggers() {
        let lister = BTreeMap::from([("a", vec!["1", "2"]), ("b", vec!["1"]), ("c", vec!["1", "2"])]);
        let mut queue = Queue::default();
        queue.add_all(&lister);
        let first = queue.next(&lister).unwrap();
        assert_eq!(first, reference("a/1"));
        queue.add(reference("z/1"));
        assert_eq!(take(&mut queue, &lister), ["b/1", "a/2", "z/1", "c/1", "c/2"]);
    }

    #[test]
    fn a_trigger_or_another_delay_replaces_a_delay() {
        let mut queue = Queue::default();
        let (soon, late) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        queue.delay(reference("a/1"), late);
        queue.delay(reference("a/2"), late);
        queue.delay(reference("a/1"), soon);
        assert_eq!((queue.first_due(), queue.timers.len()), (Some(soon), 2));
        queue.due();
        assert_eq!(take(&mut queue, &nothing()), ["a/1"]);
        queue.done(&reference("a/1"));
        queue.add(reference("a/2"));
        assert_eq!((queue.first_due(), queue.delayed.len()), (None, 0));
        assert_eq!(take(&mut queue, &nothing()), ["a/2"]);
        queue.due();
        assert_eq!(queue.next(&nothing()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_requeues_after_delays_and_ends_with_triggers() {
        let (sender, receiver) = mpsc::unbounded();
        let reconciled = RefCell::new(Vec::new());
        let reconcile = |reference: ObjectRef<KeyPair>| {
            let mut reconciled = reconciled.borrow_mut();
            reconciled.push(reference.name.clone());
            let requeue_after = (reconciled.len() < 3).then_some(Duration::from_secs(1));
            async move { requeue_after }
        };
        let lister = nothing();
        let running = run(receiver, std::future::ready(()), 2, &lister, reconcile);
        let triggering = async {
            sender.unbounded_send(reference("a/1").into()).unwrap();
            tokio::time::sleep(Duration::from_secs(10)).await;
            drop(sender);
        };
        futures::future::join(running, triggering).await;
        assert_eq!(*reconciled.borrow(), ["1", "1", "1"]);
    }

    #[tokio::test]
    async fn nothing_is_reconciled_before_it_is_ready() {
        let triggers = stream::iter([reference("a/1").into()]);
        let reconcile = |_| async { unreachable!("it is not ready") };
        run(triggers, std::future::pending(), 1, &nothing(), reconcile).await;
    }
}
