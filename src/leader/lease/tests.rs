//! Elections on a simulated clock, with an API server that loses, delays and refuses random requests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use http::{Method, Request, Response};
use k8s_openapi::api::core::v1::Secret;
use keypair_test_harness::Dice;
use kube::client::{Body, ClientBuilder};
use serde_json::{Value, json};
use tokio::{runtime, sync::oneshot, task::JoinHandle};
use tower::service_fn;

use super::*;
use crate::{cache::Usage, leader::Leadership};

const LEASE: Duration = Duration::from_secs(15);
const MILLISECOND: Duration = Duration::from_millis(1);

/// What may happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    LostBefore,
    LostAfter,
    NeverAnswered,
    NeverAnsweredButDone,
    Conflict,
    ServerError,
    GatewayTimeout,
    /// Carried out after this number of milliseconds.
    LateRequest(u64),
    /// Answered this number of milliseconds after it was carried out.
    LateReply(u64),
}

/// The probability of each fault in per mille, and the longest latency each way in milliseconds.
#[derive(Debug, Clone, Default)]
struct RequestFaults {
    faults: Vec<(Fault, u64)>,
    reads_only: bool,
    latency: u64,
}

impl RequestFaults {
    fn calm(latency: u64) -> Self {
        Self { latency, ..Self::default() }
    }

    /// Of 1000 requests this number fail: before they are carried out, afterwards, or without a response.
    fn rough(per_mille: u64) -> Self {
        use Fault::{LostAfter, LostBefore, NeverAnswered, NeverAnsweredButDone, ServerError};
        let kinds = [LostBefore, LostAfter, NeverAnswered, NeverAnsweredButDone, ServerError];
        let faults = kinds.map(|fault| (fault, per_mille / 5)).into();
        Self { faults, latency: 20, ..Self::default() }
    }
}

struct Server {
    lease: Option<Value>,
    version: u64,
    past: Vec<Option<Value>>,
    dice: Dice,
    faults: RequestFaults,
    /// The faults of the next requests of a candidate, instead of random ones.
    next: BTreeMap<String, Vec<Option<Fault>>>,
    requests: u64,
}

impl Server {
    fn carry_out(&mut self, method: &Method, body: &[u8]) -> (u16, Value) {
        let sent = serde_json::from_slice::<Value>(body).unwrap_or_default();
        let failure = |code: u16, reason: &str| {
            (code, json!({ "status": "Failure", "reason": reason, "code": code, "message": "drawn" }))
        };
        match (method, &self.lease) {
            (&Method::GET, Some(lease)) => (200, lease.clone()),
            (&Method::POST, Some(_)) => failure(409, "AlreadyExists"),
            (&Method::POST, None) => (201, self.store(sent)),
            (_, None) => failure(404, "NotFound"),
            (_, Some(lease)) => {
                if sent["metadata"]["resourceVersion"] == lease["metadata"]["resourceVersion"] {
                    (200, self.store(sent))
                } else {
                    failure(409, "Conflict")
                }
            }
        }
    }

    fn store(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        lease["metadata"]["managedFields"] = json!([{ "manager": "drawn", "time": "2026-01-01T00:00:00Z" }]);
        self.past.push(self.lease.take());
        self.lease = Some(lease.clone());
        lease
    }

    fn draw(&mut self, who: &str, is_read: bool) -> (Option<Fault>, Duration, Duration) {
        self.requests += 1;
        let latency = self.faults.latency * 1000 + 1;
        let (there, back) = (self.dice.below(latency), self.dice.below(latency));
        let mut number = self.dice.below(1000);
        let mut fault = None;
        for (drawn, share) in &self.faults.faults {
            if number < *share {
                fault = Some(*drawn);
                break;
            }
            number -= share;
        }
        if self.faults.reads_only && !is_read {
            fault = None;
        }
        if let Some(next) = self.next.get_mut(who).filter(|next| !next.is_empty()) {
            fault = next.remove(0);
        }
        (fault, Duration::from_micros(there), Duration::from_micros(back))
    }
}

/// A cluster of replicas, which checks that no two of them lead.
struct World {
    server: Arc<Mutex<Server>>,
    replicas: BTreeMap<String, Replica>,
    started: u32,
    /// The limits of the requests that the work of all replicas sends.
    limits: RequestLimits,
}

struct Replica {
    leadership: Leadership,
    task: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl World {
    fn new(seed: u64, faults: RequestFaults) -> Self {
        let server = Server {
            lease: None,
            version: 0,
            past: Vec::new(),
            dice: Dice::new(seed),
            faults,
            next: BTreeMap::new(),
            requests: 0,
        };
        Self::of(Arc::new(Mutex::new(server)))
    }

    /// A cluster of this server, without replicas.
    fn of(server: Arc<Mutex<Server>>) -> Self {
        Self { server, replicas: BTreeMap::new(), started: 0, limits: RequestLimits::default() }
    }

    fn below(&self, bound: u64) -> u64 {
        self.server.lock().unwrap().dice.below(bound)
    }

    fn client(&self, who: &str) -> Client {
        let (server, who) = (Arc::clone(&self.server), who.to_owned());
        let service = service_fn(move |request: Request<Body>| {
            let (server, who) = (Arc::clone(&server), who.clone());
            let (reply, answer) = oneshot::channel();
            // A request continues even if the client gives it up.
            tokio::spawn(async move {
                let method = request.method().clone();
                let body = request.into_body().collect_bytes().await.unwrap();
                let (fault, there, back) = server.lock().unwrap().draw(&who, method == Method::GET);
                sleep(there).await;
                match fault {
                    Some(Fault::LostBefore) => return drop(reply),
                    Some(Fault::NeverAnswered) => return std::mem::forget(reply),
                    Some(Fault::ServerError) => return drop(reply.send((500, failure(500)))),
                    Some(Fault::Conflict) => return drop(reply.send((409, failure(409)))),
                    Some(Fault::LateRequest(late)) => sleep(Duration::from_millis(late)).await,
                    _ => {}
                }
                let done = server.lock().unwrap().carry_out(&method, &body);
                match fault {
                    Some(Fault::LostAfter) => return drop(reply),
                    Some(Fault::NeverAnsweredButDone) => return std::mem::forget(reply),
                    Some(Fault::GatewayTimeout) => return drop(reply.send((504, failure(504)))),
                    Some(Fault::LateReply(late)) => sleep(Duration::from_millis(late)).await,
                    _ => {}
                }
                sleep(back).await;
                reply.send(done).ok();
            });
            async move {
                let (status, answer) = answer.await.map_err(|_| "connection lost")?;
                let body = Body::from(answer.to_string().into_bytes());
                Ok::<_, tower::BoxError>(Response::builder().status(status).body(body).unwrap())
            }
        });
        Client::new(service, "default")
    }

    /// Starts a replica. After it is told to stop, its work continues for `finishing`.
    fn start(&mut self, finishing: Duration) -> String {
        self.started += 1;
        let who = format!("replica-{}", self.started);
        let (leadership, terms) = Leadership::for_terms();
        let settings = ElectionSettings { namespace: "default".to_owned(), duration: LEASE, terms };
        let (metrics, health) = (Metrics::new(Usage::default()), Health::new(true, false));
        let randomness = Randomness::from_seed(self.started.into());
        let client = self.client(&who);
        let mut candidate =
            LeaderElector::new(client, settings, randomness, WallClock::default(), Arc::new(health), Arc::new(metrics));
        candidate.identity.clone_from(&who);
        candidate.election = Election::new(who.clone(), LEASE, Instant::now());
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = futures::FutureExt::shared(async { drop(stopped.await) });
        let working = stopped.clone();
        let work = async move {
            working.await;
            sleep(finishing).await;
        };
        let limits = self.limits.clone();
        let task = tokio::spawn(async move { candidate.run(work, stopped, &limits).await });
        self.replicas.insert(who.clone(), Replica { leadership, task, stop: Some(stop) });
        who
    }

    fn start_two(seed: u64, faults: RequestFaults) -> Self {
        let mut world = Self::new(seed, faults);
        world.start(Duration::ZERO);
        world.start(Duration::ZERO);
        world
    }

    fn kill(&mut self, who: &str) {
        self.replicas.remove(who).unwrap().task.abort();
    }

    fn leader(&self) -> Option<String> {
        let leaders: Vec<_> = self.replicas.iter().filter(|(_, it)| it.leadership.remaining().is_some()).collect();
        assert!(leaders.len() < 2, "two leaders: {:?}", leaders.iter().map(|(who, _)| who).collect::<Vec<_>>());
        leaders.first().map(|(who, _)| (*who).clone())
    }

    async fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.leader();
            sleep((100 * MILLISECOND).min(end - Instant::now())).await;
        }
    }

    /// Waits until another replica than this one leads, and returns how long that took.
    async fn another_leads(&self, than: Option<&str>, limit: Duration) -> (String, Duration) {
        let begin = Instant::now();
        loop {
            if let Some(leader) = self.leader().filter(|leader| Some(leader.as_str()) != than) {
                return (leader, begin.elapsed());
            }
            assert!(begin.elapsed() < limit, "nobody leads after {limit:?}");
            sleep(20 * MILLISECOND).await;
        }
    }

    fn annotate(&self) {
        let mut server = self.server.lock().unwrap();
        if let Some(mut lease) = server.lease.clone() {
            lease["metadata"]["annotations"] = json!({ "example.com/by": server.version.to_string() });
            server.store(lease);
        }
    }
}

fn failure(code: u16) -> Value {
    let reason = if code == 409 { "Conflict" } else { "InternalError" };
    json!({ "status": "Failure", "reason": reason, "code": code, "message": "drawn" })
}

/// Runs a history for each of `count` seeds, each on its own clock, and returns the results.
fn histories<T>(count: u64, history: impl AsyncFn(u64) -> T) -> Vec<T> {
    let run = |seed| {
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let guard = PrintSeed(seed);
        let result = runtime.block_on(history(seed));
        std::mem::forget(guard);
        result
    };
    (0..count).map(run).collect()
}

/// Prints the seed when a history fails.
struct PrintSeed(u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        eprintln!("seed {}", self.0);
    }
}

async fn takeover(world: &mut World) -> Duration {
    let (leader, _) = world.another_leads(None, 10 * LEASE).await;
    world.pass(MILLISECOND * u32::try_from(world.below(40_000)).unwrap()).await;
    let leader = world.leader().unwrap_or(leader);
    world.kill(&leader);
    world.start(Duration::ZERO);
    world.another_leads(Some(&leader), 10 * LEASE).await.1
}

#[test]
fn a_killed_leader_is_replaced_within_two_lease_durations() {
    for (name, faults, limit) in [
        ("calm", RequestFaults::calm(20), LEASE + Duration::from_secs(1)),
        ("20 % of all requests fail", RequestFaults::rough(200), 2 * LEASE),
        ("10 % of all reads fail", RequestFaults { reads_only: true, ..RequestFaults::rough(100) }, 2 * LEASE),
    ] {
        let took = histories(100, async |seed| takeover(&mut World::start_two(seed, faults.clone())).await);
        let (longest, mean) = (took.iter().max().unwrap(), took.iter().sum::<Duration>() / 100);
        println!("takeover, {name}: {mean:?} on average, {longest:?} at the most");
        assert!(*longest <= limit, "{name}: {longest:?}");
    }
}

#[test]
fn a_leader_that_stops_hands_over_within_two_seconds() {
    let took = histories(300, async |seed| {
        // Work that does not end uses the whole second.
        let (latency, finishing) = [(100, 0), (20, 400), (20, 5000)][usize::try_from(seed % 3).unwrap()];
        let mut world = World::new(seed, RequestFaults::calm(latency));
        let finishing = Duration::from_millis(finishing);
        world.start(finishing);
        world.start(finishing);
        let (leader, _) = world.another_leads(None, LEASE).await;
        world.pass(MILLISECOND * u32::try_from(world.below(20_000)).unwrap()).await;
        // Half of them while a request is under way.
        if seed % 2 == 0 {
            let before = world.server.lock().unwrap().requests;
            while world.server.lock().unwrap().requests == before {
                sleep(MILLISECOND).await;
            }
            sleep(Duration::from_micros(world.below(2000 * latency))).await;
        }
        let stop = world.replicas.get_mut(&leader).unwrap().stop.take().unwrap();
        stop.send(()).unwrap();
        world.another_leads(Some(&leader), 2 * LEASE).await.1
    });
    println!("hand-over: {:?} at the most", took.iter().max().unwrap());
    assert!(took.iter().all(|took| *took <= Duration::from_secs(2)), "{:?}", took.iter().max());
}

/// A write without a response may still arrive after the next leader has read what it decides on.
#[test]
fn the_lease_is_released_only_after_writes_in_doubt() {
    histories(10, async |seed| {
        let mut world = World::start_two(seed, RequestFaults::calm(20));
        let (leader, _) = world.another_leads(None, LEASE).await;
        world.pass(MILLISECOND * u32::try_from(world.below(20_000)).unwrap()).await;
        let lost = service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>(tower::BoxError::from("lost")) });
        let client = ClientBuilder::new(lost, "default").with_layer(&world.limits).build();
        let secrets: Api<Secret> = Api::default_namespaced(client);
        secrets.create(&PostParams::default(), &Secret::default()).await.unwrap_err();
        let stop = world.replicas.get_mut(&leader).unwrap().stop.take().unwrap();
        stop.send(()).unwrap();
        let (_, took) = world.another_leads(Some(&leader), 2 * LEASE).await;
        assert!(took >= LEASE / 3, "the next leader begins after {took:?}");
        assert!(took < LEASE / 3 + Duration::from_secs(2), "the Lease is released late: {took:?}");
    });
}

/// Other candidates count from the moment at which the API server carries the renewal out, which may be long before its response.
#[tokio::test(start_paused = true)]
async fn a_term_begins_when_its_renewal_is_sent() {
    let sent = Instant::now();
    let mut election = Election::new("a".to_owned(), LEASE, sent);
    let clock = WallClock::default();
    assert_eq!(election.step(sent, clock.now()), ElectionStep::Read);
    election.handle_read(LeaseAnswer::Missing, sent);
    let ElectionStep::Create(lease) = election.step(sent, clock.now()) else { panic!("it does not take the Lease") };
    let answered = sent + LEASE / 4;
    election.handle_write(LeaseAnswer::Done(lease), answered);
    assert_eq!(election.term(answered), Some(sent + LEASE * 2 / 3));
}

/// Whatever happens to one request of the leader, it leads without interruption.
#[test]
fn one_failed_request_does_not_cost_the_leadership() {
    let faults = [
        Fault::LostBefore,
        Fault::LostAfter,
        Fault::NeverAnswered,
        Fault::NeverAnsweredButDone,
        Fault::Conflict,
        Fault::ServerError,
        Fault::GatewayTimeout,
        Fault::LateRequest(4_000),
        Fault::LateReply(4_000),
    ];
    for fault in faults {
        histories(8, async |seed| {
            let mut world = World::start_two(seed, RequestFaults::calm(10));
            let (leader, _) = world.another_leads(None, LEASE).await;
            let before = usize::try_from(seed % 4).unwrap();
            let next = [vec![None; before], vec![Some(fault)]].concat();
            world.server.lock().unwrap().next.insert(leader.clone(), next);
            let leadership = world.replicas[&leader].leadership.clone();
            tokio::select! {
                () = leadership.wait_until_lost() => panic!("{fault:?} costs the leadership"),
                () = world.pass(4 * LEASE) => {}
            }
            assert_eq!(world.leader(), Some(leader), "{fault:?}");
            world.start(Duration::ZERO);
        });
    }
}

/// An annotation neither costs the leadership nor keeps another replica from taking the Lease.
#[test]
fn annotating_the_lease_changes_nothing() {
    histories(50, async |seed| {
        let mut world = World::start_two(seed, RequestFaults::calm(20));
        let (leader, _) = world.another_leads(None, LEASE).await;
        let annotator = World::of(Arc::clone(&world.server));
        let annotating = tokio::spawn(async move {
            loop {
                sleep(MILLISECOND * u32::try_from(annotator.below(1500)).unwrap()).await;
                annotator.annotate();
            }
        });
        let leadership = world.replicas[&leader].leadership.clone();
        tokio::select! {
            () = leadership.wait_until_lost() => panic!("an annotation costs the leadership"),
            () = world.pass(4 * LEASE) => {}
        }
        world.kill(&leader);
        let (_, took) = world.another_leads(Some(&leader), 2 * LEASE).await;
        assert!(took < LEASE + Duration::from_secs(1), "{took:?}");
        annotating.abort();
    });
}

/// Requests and replies with any delay, replicas that start and stop, and a store that is restored to an older state.
#[test]
fn never_two_lead() {
    histories(80, async |seed| {
        let mut faults = RequestFaults::rough(200);
        let late = [100, 1_000, 4_900, 9_000, 14_000, 40_000];
        faults.faults.extend(late.map(|late| (Fault::LateRequest(late), 20)));
        faults.faults.extend(late.map(|late| (Fault::LateReply(late), 20)));
        faults.faults.push((Fault::Conflict, 20));
        let mut world = World::start_two(seed, faults);
        world.start(Duration::ZERO);
        // Then no replica starts: it would know nothing of what the store has forgotten.
        let restores = seed % 2 == 0;
        for _ in 0..12 {
            world.pass(MILLISECOND * u32::try_from(world.below(60_000)).unwrap()).await;
            let place = usize::try_from(world.below(3)).unwrap();
            let who = world.replicas.keys().nth(place).unwrap().clone();
            match world.below(3) {
                // All have seen the current leader. One that has not would take the restored Lease for one that never changed.
                0 if restores => {
                    let rough = std::mem::replace(&mut world.server.lock().unwrap().faults, RequestFaults::calm(20));
                    world.pass(Duration::from_secs(8)).await;
                    let mut server = world.server.lock().unwrap();
                    let count = u64::try_from(server.past.len()).unwrap();
                    if count > 1 {
                        let place = usize::try_from(1 + server.dice.below(count - 1)).unwrap();
                        server.lease = server.past[place].clone();
                    }
                    server.faults = rough;
                }
                _ if restores => world.annotate(),
                0 => world.kill(&who),
                1 => {
                    let stop = world.replicas.get_mut(&who).unwrap().stop.take().unwrap();
                    stop.send(()).unwrap();
                    world.pass(10 * MILLISECOND).await;
                    // It writes nothing after it has released the Lease, so it need not be waited for.
                    world.replicas.remove(&who);
                }
                _ => world.annotate(),
            }
            while world.replicas.len() < 3 {
                world.start(Duration::ZERO);
            }
        }
    });
}
