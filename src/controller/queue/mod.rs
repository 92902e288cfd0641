//! The work queue: which object is reconciled next, and how many at once.
//!
//! It replaces kube's `applier`, which needs kube's own store. This one works with a
//! [`CompressedStore`](crate::cache::store::CompressedStore) and is fair between namespaces.

pub(crate) mod fair_semaphore;
mod item;
pub(crate) mod round_robin;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    pin::pin,
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

pub use self::item::{Item, Trigger};
use self::round_robin::RoundRobinQueue;
use crate::cache::ObjectLister;

/// Reconciles what is triggered, `concurrency` objects at once but no object twice at once. It starts when `ready` resolves, and ends after
/// the last trigger, when all running reconciliations are complete. `reconcile` returns the time after which to requeue the object.
pub async fn run<F>(
    triggers: impl Stream<Item = Trigger>,
    ready: impl Future<Output = ()>,
    concurrency: u16,
    lister: &impl ObjectLister,
    reconcile: impl Fn(Item) -> F,
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
            QueueEvent::Trigger(Some(Trigger::One(item))) => queue.add(item),
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
    Done(Item, Option<Duration>),
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
    waiting: RoundRobinQueue<Item>,
    is_waiting: HashSet<Item>,
    /// The namespaces of which all objects still have to be queued. They are listed when it is their turn.
    sweep: VecDeque<String>,
    running: HashSet<Item>,
    /// The objects that were triggered while they were being reconciled.
    triggered_again: HashSet<Item>,
    /// When to requeue an object: a position in [`Self::timers`].
    delayed: HashMap<Item, (Instant, u64)>,
    /// The delayed objects in the order in which they are due. Each is in it once, since a delay may be as long as ten years, for which
    /// tokio-util's `DelayQueue` would panic.
    timers: BTreeMap<(Instant, u64), Item>,
    /// How many delays there have been, which orders those of the same time.
    delays: u64,
}

impl Queue {
    fn add(&mut self, item: Item) {
        self.cancel(&item);
        if self.running.contains(&item) {
            self.triggered_again.insert(item);
        } else if self.is_waiting.insert(item.clone()) {
            let namespace = item.namespace().to_owned();
            self.waiting.push(&namespace, item);
        }
    }

    fn add_all(&mut self, lister: &impl ObjectLister) {
        self.sweep = lister.namespaces().into();
    }

    fn next(&mut self, lister: &impl ObjectLister) -> Option<Item> {
        // Sweep only as far as needed, so that new triggers take turns with the sweep.
        while self.waiting.namespaces() < 2
            && let Some(namespace) = self.sweep.pop_front()
        {
            for name in lister.names(&namespace) {
                self.add(Item::key_pair(&namespace, &name));
            }
            for publication in lister.publications(&namespace) {
                self.add(publication.into());
            }
        }
        let next = self.waiting.pop(|_| true)?;
        self.is_waiting.remove(&next);
        self.running.insert(next.clone());
        Some(next)
    }

    fn done(&mut self, item: &Item) {
        self.running.remove(item);
        if self.triggered_again.remove(item) {
            self.add(item.clone());
        }
    }

    /// Requeues an object later, instead of when it was to be requeued before.
    fn delay(&mut self, item: Item, due: Instant) {
        self.cancel(&item);
        self.delays += 1;
        self.timers.insert((due, self.delays), item.clone());
        self.delayed.insert(item, (due, self.delays));
    }

    fn cancel(&mut self, item: &Item) {
        if let Some(position) = self.delayed.remove(item) {
            self.timers.remove(&position);
        }
    }

    /// When the first delayed object is due.
    fn first_due(&self) -> Option<Instant> {
        self.timers.keys().next().map(|(due, _)| *due)
    }

    /// Queues the first delayed object.
    fn due(&mut self) {
        if let Some((_, item)) = self.timers.pop_first() {
            self.delayed.remove(&item);
            self.add(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap};

    use futures::{channel::mpsc, stream};

    use super::*;
    use crate::domain::publication::{PublicationKind, PublicationRef};

    impl ObjectLister for BTreeMap<&'static str, Vec<&'static str>> {
        fn namespaces(&self) -> Vec<String> {
            self.keys().map(ToString::to_string).collect()
        }

        fn names(&self, namespace: &str) -> Vec<String> {
            let is_key_pair = |name: &&&str| !name.starts_with("ak-");
            self.get(namespace).into_iter().flatten().filter(is_key_pair).map(ToString::to_string).collect()
        }

        fn publications(&self, namespace: &str) -> Vec<PublicationRef> {
            let names = self.get(namespace).into_iter().flatten().filter(|name| name.starts_with("ak-"));
            names.map(|name| publication(namespace, name)).collect()
        }
    }

    fn nothing() -> BTreeMap<&'static str, Vec<&'static str>> {
        BTreeMap::new()
    }

    fn publication(namespace: &str, name: &str) -> PublicationRef {
        let kind = PublicationKind::AuthorizedKeys;
        PublicationRef { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    fn reference(text: &str) -> Item {
        let (namespace, name) = text.split_once('/').unwrap();
        Item::key_pair(namespace, name)
    }

    fn name(item: &Item) -> &str {
        match item {
            Item::KeyPair(reference) => &reference.name,
            Item::Publication(publication) => &publication.name,
        }
    }

    fn take(queue: &mut Queue, lister: &impl ObjectLister) -> Vec<String> {
        std::iter::from_fn(|| queue.next(lister)).map(|next| format!("{}/{}", next.namespace(), name(&next))).collect()
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
    fn publications_take_their_turns_with_key_pairs() {
        let mut queue = Queue::default();
        queue.add(reference("a/1"));
        queue.add(publication("a", "1").into());
        queue.add(publication("a", "1").into());
        queue.add(publication("b", "1").into());
        let order: Vec<Item> = std::iter::from_fn(|| queue.next(&nothing())).collect();
        assert_eq!(order, [reference("a/1"), publication("b", "1").into(), publication("a", "1").into()]);
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
        let lister = BTreeMap::from([("a", vec!["1", "2"]), ("b", vec!["1"]), ("c", vec!["1", "ak-2"])]);
        let mut queue = Queue::default();
        queue.add_all(&lister);
        let first = queue.next(&lister).unwrap();
        assert_eq!(first, reference("a/1"));
        queue.add(reference("z/1"));
        assert_eq!(take(&mut queue, &lister), ["b/1", "a/2", "z/1", "c/1", "c/ak-2"]);
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
        let reconcile = |item: Item| {
            let mut reconciled = reconciled.borrow_mut();
            reconciled.push(name(&item).to_owned());
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
