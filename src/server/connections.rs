//! Which connections are open, and which one is closed for another.
//!
//! A newcomer has not been answered yet; a regular has. Each class has a limit of its own, and when it is full, one of its own
//! goes for the next: of the address with the most in it, the one that was of use the longest ago. So whoever holds connections
//! loses them to those who come later, and silence costs those who are answered nothing. A newcomer is cut off; a regular, which
//! may be an API server with a question on its way, is told to leave, and has its answers before.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::AbortHandle, time::Instant};

/// How many connections there may be of each class, and how many requests under way on all of them together.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub newcomers: usize,
    pub regulars: usize,
    pub leaving: usize,
    pub requests: usize,
    /// How long after it was accepted a newcomer must have been answered.
    pub first_answer: Duration,
    /// How long a regular may go without being answered.
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
    next: u64,
    open: BTreeMap<u64, Open>,
    /// Requests under way on all of them.
    requests: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Newcomer,
    Regular,
    Leaving,
}

#[derive(Debug)]
struct Open {
    /// Whose it is, as far as can be told from the address.
    peer: IpAddr,
    accepted: Instant,
    /// When it was of use last: when it was accepted, a request was complete, or it was answered.
    useful: Instant,
    class: Class,
    /// Whether it has been answered more than once.
    is_frequent: bool,
    requests: usize,
    task: Option<AbortHandle>,
    /// Notified when it is to leave.
    leave: Arc<Notify>,
}

/// An open connection. When this is dropped, it is none any more.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    leave: Arc<Notify>,
    connections: Arc<Connections>,
}

/// A request under way.
#[derive(Debug)]
pub struct Underway(Arc<Connection>);

impl Connections {
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// Takes in a new connection, for which another is closed where there are too many.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Connection {
        let mut state = self.lock();
        state.make_room(Class::Newcomer, self.limits.newcomers);
        let (id, now, leave) = (state.next, Instant::now(), Arc::<Notify>::default());
        state.next += 1;
        let open = Open {
            peer: owner(peer),
            accepted: now,
            useful: now,
            class: Class::Newcomer,
            is_frequent: false,
            requests: 0,
            task: None,
            leave: Arc::clone(&leave),
        };
        state.open.insert(id, open);
        drop(state);
        Connection { id, leave, connections: Arc::clone(self) }
    }

    /// Says which task serves the connection `id`, so that it can be ended.
    pub fn serves(&self, id: u64, task: AbortHandle) {
        match self.lock().open.get_mut(&id) {
            Some(open) => open.task = Some(task),
            None => task.abort(),
        }
    }

    /// Closes the connection that is of the least use, so that what it holds is free.
    pub fn close_one(&self) {
        let mut state = self.lock();
        let victim = state.victim(|open| open.class != Class::Regular).or_else(|| state.victim(|_| true));
        if let Some(victim) = victim {
            state.close(victim);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sees to it that there are fewer than `most` of a class, by closing others.
    fn make_room(&mut self, class: Class, most: usize) {
        while self.count(class) >= most {
            let Some(victim) = self.victim(|open| open.class == class) else { return };
            self.close(victim);
        }
    }

    /// The same for those that are to leave: one that has its answers goes before one that waits for some.
    fn make_room_to_leave(&mut self, most: usize) {
        while self.count(Class::Leaving) >= most {
            let is_leaving = |open: &Open| open.class == Class::Leaving;
            let victim = self.victim(|open| is_leaving(open) && open.requests == 0).or_else(|| self.victim(is_leaving));
            let Some(victim) = victim else { return };
            self.close(victim);
        }
    }

    fn count(&self, class: Class) -> usize {
        self.open.values().filter(|open| open.class == class).count()
    }

    /// Of those of the address that has the most among `which`, the one that was of use the longest ago; one that has been answered
    /// once before one that asks again and again, as an API server does.
    fn victim(&self, which: impl Fn(&Open) -> bool) -> Option<u64> {
        let mut of_peer = BTreeMap::<IpAddr, usize>::new();
        for open in self.open.values().filter(|open| which(open)) {
            *of_peer.entry(open.peer).or_default() += 1;
        }
        let candidates = self.open.iter().filter(|(_, open)| which(open));
        let key = |open: &Open| (of_peer.get(&open.peer).copied(), !open.is_frequent, std::cmp::Reverse(open.useful));
        candidates.max_by_key(|(id, open)| (key(open), std::cmp::Reverse(**id))).map(|(id, _)| *id)
    }

    fn close(&mut self, id: u64) {
        let Some(open) = self.open.remove(&id) else { return };
        self.requests -= open.requests;
        if let Some(task) = open.task {
            task.abort();
        }
    }
}

impl Connection {
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Notes that a request has begun. Of too many, those of the connection that is of the least use are given up.
    pub fn begin(self: &Arc<Self>) -> Underway {
        let mut state = self.connections.lock();
        while state.requests >= self.connections.limits.requests {
            let busy = |open: &Open| open.requests > 0;
            let victim = state.victim(|open| busy(open) && open.class != Class::Regular).or_else(|| state.victim(busy));
            let Some(victim) = victim else { break };
            state.close(victim);
        }
        if let Some(open) = state.open.get_mut(&self.id) {
            open.requests += 1;
            state.requests += 1;
        }
        drop(state);
        Underway(Arc::clone(self))
    }

    /// Notes that a request has come to its end, and is going to be answered.
    pub fn received(&self) {
        if let Some(open) = self.connections.lock().open.get_mut(&self.id) {
            open.useful = Instant::now();
        }
    }

    /// Notes that a request was answered that could be: from now on it is a regular.
    pub fn answered(&self) {
        let mut state = self.connections.lock();
        let Some(open) = state.open.get_mut(&self.id) else { return };
        open.useful = Instant::now();
        if open.class != Class::Newcomer {
            open.is_frequent = true;
            return;
        }
        let limits = self.connections.limits;
        while state.count(Class::Regular) >= limits.regulars {
            state.make_room_to_leave(limits.leaving);
            let leaving = state.victim(|open| open.class == Class::Regular);
            let Some(open) = leaving.and_then(|id| state.open.get_mut(&id)) else { break };
            open.class = Class::Leaving;
            open.leave.notify_one();
        }
        if let Some(open) = state.open.get_mut(&self.id) {
            open.class = Class::Regular;
        }
    }

    /// Resolves when it is to end, and to take no more requests.
    pub async fn is_to_leave(&self) {
        self.leave.notified().await;
    }

    /// Whether it has been answered.
    pub fn is_known(&self) -> bool {
        self.connections.lock().open.get(&self.id).is_some_and(|open| open.class != Class::Newcomer)
    }

    /// When it is to be closed, unless it is of use before.
    pub fn due(&self) -> Instant {
        let limits = self.connections.limits;
        let state = self.connections.lock();
        state.open.get(&self.id).map_or_else(Instant::now, |open| match open.class {
            Class::Newcomer => open.accepted + limits.first_answer,
            Class::Regular | Class::Leaving => open.useful + limits.idle,
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.lock().close(self.id);
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut state = self.0.connections.lock();
        // Those of a connection that was closed are not counted any more.
        if let Some(open) = state.open.get_mut(&self.0.id) {
            open.requests -= 1;
            state.requests -= 1;
        }
    }
}

/// Whoever has an address of IPv6 has the 64 bits behind it, too.
fn owner(address: IpAddr) -> IpAddr {
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
            newcomers: 3,
            regulars: 2,
            leaving: 1,
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
    async fn the_oldest_newcomer_goes_and_no_regular() {
        let all = connections();
        let regular = admit(&all, "10.0.0.1").await;
        regular.answered();
        let mut crowd = Vec::new();
        for _ in 0..5 {
            crowd.push(admit(&all, "10.0.0.1").await);
        }
        assert_eq!(open(&crowd.iter().collect::<Vec<_>>()), [false, false, true, true, true]);
        assert_eq!(open(&[&regular]), [true]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_at_one_address_displaces_itself() {
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
    async fn the_regular_that_was_answered_the_longest_ago_goes() {
        let all = connections();
        let (first, second, third) =
            (admit(&all, "10.0.0.1").await, admit(&all, "10.0.0.1").await, admit(&all, "10.0.0.1").await);
        first.answered();
        tokio::time::advance(Duration::from_secs(1)).await;
        second.answered();
        tokio::time::advance(Duration::from_secs(1)).await;
        first.answered();
        third.answered();
        let told = |connection: &Connection| connection.is_to_leave().now_or_never().is_some();
        assert_eq!([&first, &second, &third].map(|connection| told(connection)), [false, true, false]);
        // It has time for that until others are to leave.
        assert_eq!(open(&[&first, &second, &third]), [true, true, true]);
        admit(&all, "10.0.0.1").await.answered();
        assert_eq!(open(&[&first, &second, &third]), [true, false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_once_displaces_nobody_who_asks_often_or_waits_for_an_answer() {
        let all = connections();
        let often = admit(&all, "10.0.0.1").await;
        often.answered();
        often.answered();
        let mut once = Vec::new();
        for _ in 0..4 {
            once.push(admit(&all, "10.0.0.1").await);
            once.last().unwrap().answered();
        }
        assert!(open(&[&often])[0] && often.is_to_leave().now_or_never().is_none());
        let all = Arc::new(Connections::new(Limits { leaving: 2, ..all.limits }));
        let mut once = Vec::new();
        for _ in 0..4 {
            once.push(admit(&all, "10.0.0.1").await);
            once.last().unwrap().answered();
        }
        let _underway = once[0].begin();
        admit(&all, "10.0.0.1").await.answered();
        assert_eq!(open(&[&once[0], &once[1]]), [true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_too_many_requests_loses_them_to_who_is_answered() {
        let all = connections();
        let (crowd, regular) = (admit(&all, "10.0.0.1").await, admit(&all, "10.0.0.1").await);
        regular.answered();
        let held: Vec<Underway> = (0..4).map(|_| crowd.begin()).collect();
        let underway = regular.begin();
        assert_eq!(open(&[&crowd, &regular]), [false, true]);
        drop(held);
        assert_eq!(all.lock().requests, 1);
        drop(underway);
        assert_eq!(all.lock().requests, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_due_by_its_class() {
        let all = connections();
        let one = admit(&all, "10.0.0.1").await;
        let accepted = Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        // A request that cannot be answered gives no more time.
        one.received();
        assert_eq!(one.due(), accepted + Duration::from_secs(10));
        one.answered();
        assert_eq!(one.due(), Instant::now() + Duration::from_secs(100));
        drop(one);
        assert!(all.lock().open.is_empty());
    }
}
