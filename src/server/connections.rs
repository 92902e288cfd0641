//! The table of open connections, and which one to evict for another.
//!
//! A connection is new until its first answer, and established after. Each class has its own limit. When a class is full, a
//! connection of the same class is evicted: of the address with the most connections in it, the one with the oldest activity. So
//! peers that hold many connections lose them to later ones, and idle new connections do not displace established ones. An evicted
//! new connection is closed at once. An established one, which may be an API server with a request in progress, is drained: it gets
//! its responses first.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::AbortHandle, time::Instant};

/// The maximum number of connections of each class, and of requests in progress on all of them together.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub new: usize,
    pub established: usize,
    pub draining: usize,
    pub requests: usize,
    /// How long a connection may take from accept to its first answer.
    pub first_answer: Duration,
    /// How long an established connection may stay without activity.
    pub idle: Duration,
}

/// All connections of a server.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    open: BTreeMap<u64, Entry>,
    /// Requests in progress on all connections.
    requests: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    New,
    Established,
    Draining,
}

#[derive(Debug)]
struct Entry {
    /// The network of the peer, which stands for its owner.
    peer: IpAddr,
    accepted: Instant,
    /// The time of the last accept, complete request or answer.
    last_active: Instant,
    class: Class,
    /// Whether it has been answered more than once.
    is_frequent: bool,
    requests: usize,
    task: Option<AbortHandle>,
    /// Notified when the connection must drain.
    drain: Arc<Notify>,
}

/// An open connection. Dropping it removes it from the table.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    drain: Arc<Notify>,
    connections: Arc<Connections>,
}

/// A request in progress, until it is dropped.
#[derive(Debug)]
pub struct RequestGuard(Arc<Connection>);

impl Connections {
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// Adds a new connection, and evicts another if there are too many.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Connection {
        let mut state = self.lock();
        state.evict_to_below(Class::New, self.limits.new);
        let (id, now, drain) = (state.next_id, Instant::now(), Arc::<Notify>::default());
        state.next_id += 1;
        let entry = Entry {
            peer: network(peer),
            accepted: now,
            last_active: now,
            class: Class::New,
            is_frequent: false,
            requests: 0,
            task: None,
            drain: Arc::clone(&drain),
        };
        state.open.insert(id, entry);
        drop(state);
        Connection { id, drain, connections: Arc::clone(self) }
    }

    /// Records the task that serves the connection `id`, so that it can be aborted.
    pub fn set_task(&self, id: u64, task: AbortHandle) {
        match self.lock().open.get_mut(&id) {
            Some(entry) => entry.task = Some(task),
            None => task.abort(),
        }
    }

    /// Evicts one connection to free its file descriptor and memory; an established one only if there is no other.
    pub fn evict_one(&self) {
        let mut state = self.lock();
        let victim = state.victim(|entry| entry.class != Class::Established).or_else(|| state.victim(|_| true));
        if let Some(victim) = victim {
            state.close(victim);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Closes connections of a class until there are fewer than `limit`.
    fn evict_to_below(&mut self, class: Class, limit: usize) {
        while self.count(class) >= limit {
            let Some(victim) = self.victim(|entry| entry.class == class) else { return };
            self.close(victim);
        }
    }

    /// Does the same for draining connections. Those without requests in progress are closed first.
    fn evict_draining_to_below(&mut self, limit: usize) {
        while self.count(Class::Draining) >= limit {
            let is_draining = |entry: &Entry| entry.class == Class::Draining;
            let victim =
                self.victim(|entry| is_draining(entry) && entry.requests == 0).or_else(|| self.victim(is_draining));
            let Some(victim) = victim else { return };
            self.close(victim);
        }
    }

    fn count(&self, class: Class) -> usize {
        self.open.values().filter(|entry| entry.class == class).count()
    }

    /// The connection to evict among those that match `filter`: of the peer with the most of them, the one with the oldest activity.
    /// One that was answered once comes before one with frequent requests, such as that of an API server.
    fn victim(&self, filter: impl Fn(&Entry) -> bool) -> Option<u64> {
        let mut per_peer = BTreeMap::<IpAddr, usize>::new();
        for entry in self.open.values().filter(|entry| filter(entry)) {
            *per_peer.entry(entry.peer).or_default() += 1;
        }
        let candidates = self.open.iter().filter(|(_, entry)| filter(entry));
        let key = |entry: &Entry| {
            (per_peer.get(&entry.peer).copied(), !entry.is_frequent, std::cmp::Reverse(entry.last_active))
        };
        candidates.max_by_key(|(id, entry)| (key(entry), std::cmp::Reverse(**id))).map(|(id, _)| *id)
    }

    fn close(&mut self, id: u64) {
        let Some(entry) = self.open.remove(&id) else { return };
        self.requests -= entry.requests;
        if let Some(task) = entry.task {
            task.abort();
        }
    }
}

impl Connection {
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Records that a request has begun. If there are too many, closes another connection with its requests.
    pub fn begin_request(self: &Arc<Self>) -> RequestGuard {
        let mut state = self.connections.lock();
        while state.requests >= self.connections.limits.requests {
            let is_busy = |entry: &Entry| entry.requests > 0;
            let victim = state
                .victim(|entry| is_busy(entry) && entry.class != Class::Established)
                .or_else(|| state.victim(is_busy));
            let Some(victim) = victim else { break };
            state.close(victim);
        }
        if let Some(entry) = state.open.get_mut(&self.id) {
            entry.requests += 1;
            state.requests += 1;
        }
        drop(state);
        RequestGuard(Arc::clone(self))
    }

    /// Records that a request has been received completely.
    pub fn received(&self) {
        if let Some(entry) = self.connections.lock().open.get_mut(&self.id) {
            entry.last_active = Instant::now();
        }
    }

    /// Records that a valid request was answered, which makes the connection established.
    pub fn answered(&self) {
        let mut state = self.connections.lock();
        let Some(entry) = state.open.get_mut(&self.id) else { return };
        entry.last_active = Instant::now();
        if entry.class != Class::New {
            entry.is_frequent = true;
            return;
        }
        let limits = self.connections.limits;
        while state.count(Class::Established) >= limits.established {
            state.evict_draining_to_below(limits.draining);
            let victim = state.victim(|entry| entry.class == Class::Established);
            let Some(entry) = victim.and_then(|id| state.open.get_mut(&id)) else { break };
            entry.class = Class::Draining;
            entry.drain.notify_one();
        }
        if let Some(entry) = state.open.get_mut(&self.id) {
            entry.class = Class::Established;
        }
    }

    /// Resolves when the connection must drain: finish its requests and accept no more.
    pub async fn drain_requested(&self) {
        self.drain.notified().await;
    }

    /// Whether the connection has had an answer.
    pub fn is_established(&self) -> bool {
        self.connections.lock().open.get(&self.id).is_some_and(|entry| entry.class != Class::New)
    }

    /// When the connection is closed, unless there is activity before.
    pub fn deadline(&self) -> Instant {
        let limits = self.connections.limits;
        let state = self.connections.lock();
        state.open.get(&self.id).map_or_else(Instant::now, |entry| match entry.class {
            Class::New => entry.accepted + limits.first_answer,
            Class::Established | Class::Draining => entry.last_active + limits.idle,
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.lock().close(self.id);
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut state = self.0.connections.lock();
        // Closing the connection has already subtracted its requests.
        if let Some(entry) = state.open.get_mut(&self.0.id) {
            entry.requests -= 1;
            state.requests -= 1;
        }
    }
}

/// The network that counts as one peer: an IPv4 address, or the /64 of an IPv6 address, which usually has one owner.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn connections() -> Arc<Connections> {
        let seconds = Duration::from_secs;
        Arc::new(Connections::new(Limits {
            new: 3,
            established: 2,
            draining: 1,
            requests: 4,
            first_answer: seconds(10),
            idle: seconds(100),
        }))
    }

    async fn admit(connections: &Arc<Connections>, peer: &str) -> Arc<Connection> {
        tokio::time::advance(Duration::from_secs(1)).await;
        Arc::new(connections.admit(peer.parse().unwrap()))
    }

    fn open(connections: &[&Arc<Connection>]) -> Vec<bool> {
        connections.iter().map(|one| one.connections.lock().open.contains_key(&one.id)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_new_connection_is_evicted() {
        let all = connections();
        let established = admit(&all, "10.0.0.1").await;
        established.answered();
        let mut crowd = Vec::new();
        for _ in 0..5 {
            crowd.push(admit(&all, "10.0.0.1").await);
        }
        assert_eq!(open(&crowd.iter().collect::<Vec<_>>()), [false, false, true, true, true]);
        assert_eq!(open(&[&established]), [true]);
    }

    #[tokio::test(start_paused = true)]
    async fn many_connections_of_one_peer_evict_each_other() {
        let all = connections();
        let other = admit(&all, "2001:db8:0:1::1").await;
        let mut crowd = Vec::new();
        for number in 0..9 {
            crowd.push(admit(&all, &format!("2001:db8:0:2::{number}")).await);
        }
        assert_eq!(open(&[&other]), [true]);
        assert_eq!(open(&crowd.iter().collect::<Vec<_>>()).into_iter().filter(|open| *open).count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_established_connection_with_the_oldest_answer_drains() {
        let all = connections();
        let (first, second, third) =
            (admit(&all, "10.0.0.1").await, admit(&all, "10.0.0.1").await, admit(&all, "10.0.0.1").await);
        first.answered();
        tokio::time::advance(Duration::from_secs(1)).await;
        second.answered();
        tokio::time::advance(Duration::from_secs(1)).await;
        first.answered();
        third.answered();
        let drains = |connection: &Connection| connection.drain_requested().now_or_never().is_some();
        assert_eq!([&first, &second, &third].map(|connection| drains(connection)), [false, true, false]);
        // It stays open until others must drain.
        assert_eq!(open(&[&first, &second, &third]), [true, true, true]);
        admit(&all, "10.0.0.1").await.answered();
        assert_eq!(open(&[&first, &second, &third]), [true, false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn single_requests_evict_neither_frequent_nor_busy_connections() {
        let all = connections();
        let often = admit(&all, "10.0.0.1").await;
        often.answered();
        often.answered();
        let mut once = Vec::new();
        for _ in 0..4 {
            once.push(admit(&all, "10.0.0.1").await);
            once.last().unwrap().answered();
        }
        assert!(open(&[&often])[0] && often.drain_requested().now_or_never().is_none());
        let all = Arc::new(Connections::new(Limits { draining: 2, ..all.limits }));
        let mut once = Vec::new();
        for _ in 0..4 {
            once.push(admit(&all, "10.0.0.1").await);
            once.last().unwrap().answered();
        }
        let _request = once[0].begin_request();
        admit(&all, "10.0.0.1").await.answered();
        assert_eq!(open(&[&once[0], &once[1]]), [true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_with_too_many_requests_is_evicted() {
        let all = connections();
        let (new, established) = (admit(&all, "10.0.0.1").await, admit(&all, "10.0.0.1").await);
        established.answered();
        let held: Vec<RequestGuard> = (0..4).map(|_| new.begin_request()).collect();
        let request = established.begin_request();
        assert_eq!(open(&[&new, &established]), [false, true]);
        drop(held);
        assert_eq!(all.lock().requests, 1);
        drop(request);
        assert_eq!(all.lock().requests, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn each_class_has_its_deadline() {
        let all = connections();
        let one = admit(&all, "10.0.0.1").await;
        let accepted = Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        // A request without an answer does not extend the deadline.
        one.received();
        assert_eq!(one.deadline(), accepted + Duration::from_secs(10));
        one.answered();
        assert_eq!(one.deadline(), Instant::now() + Duration::from_secs(100));
        drop(one);
        assert!(all.lock().open.is_empty());
    }
}
