//! Elections on a clock that the tests move, against an API server that loses, delays and refuses what is drawn from a seed.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
};

use http::{Method, Request, Response};
use keypair_test_harness::Dice;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::{runtime, sync::oneshot, task::JoinHandle};
use tower::service_fn;

use super::*;
use crate::controller::{Generator, Leadership, Randomness, RsaGenerator, Views};

const LEASE: Duration = Duration::from_secs(15);
const MILLISECOND: Duration = Duration::from_millis(1);

/// What may become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    LostBefore,
    LostAfter,
    NeverAnswered,
    NeverAnsweredButDone,
    Conflict,
    ServerError,
    GatewayTimeout,
    /// Carried out after so many milliseconds.
    LateRequest(u64),
    /// Answered so many milliseconds after it was carried out.
    LateReply(u64),
}

/// What is drawn for each request, in per mille, and how long one takes at the most, each way.
#[derive(Debug, Clone, Default)]
struct Weather {
    faults: Vec<(Fault, u64)>,
    reads_only: bool,
    latency: u64,
}

impl Weather {
    fn calm(latency: u64) -> Self {
        Self { latency, ..Self::default() }
    }

    /// Of 1000 requests so many fail: before they are carried out, after it, or without an answer.
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
    weather: Weather,
    /// The faults of the next requests of a candidate, whatever is drawn.
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
        let latency = self.weather.latency * 1000 + 1;
        let (there, back) = (self.dice.below(latency), self.dice.below(latency));
        let mut number = self.dice.below(1000);
        let mut fault = None;
        for (drawn, share) in &self.weather.faults {
            if number < *share {
                fault = Some(*drawn);
                break;
            }
            number -= share;
        }
        if self.weather.reads_only && !is_read {
            fault = None;
        }
        if let Some(next) = self.next.get_mut(who).filter(|next| !next.is_empty()) {
            fault = next.remove(0);
        }
        (fault, Duration::from_micros(there), Duration::from_micros(back))
    }
}

/// A cluster of replicas, and the check that never two of them lead.
struct World {
    server: Arc<Mutex<Server>>,
    replicas: BTreeMap<String, Replica>,
    begun: u32,
}

struct Replica {
    leadership: Leadership,
    task: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl World {
    fn new(seed: u64, weather: Weather) -> Self {
        let server = Server {
            lease: None,
            version: 0,
            past: Vec::new(),
            dice: Dice::new(seed),
            weather,
            next: BTreeMap::new(),
            requests: 0,
        };
        Self { server: Arc::new(Mutex::new(server)), replicas: BTreeMap::new(), begun: 0 }
    }

    fn below(&self, bound: u64) -> u64 {
        self.server.lock().unwrap().dice.below(bound)
    }

    fn client(&self, who: &str) -> Client {
        let (server, who) = (Arc::clone(&self.server), who.to_owned());
        let service = service_fn(move |request: Request<Body>| {
            let (server, who) = (Arc::clone(&server), who.clone());
            let (reply, answer) = oneshot::channel();
            // A request that is given up goes on.
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

    /// Begins a replica; after its end is told it works on for so long.
    fn begin(&mut self, finishing: Duration) -> String {
        self.begun += 1;
        let who = format!("replica-{}", self.begun);
        let (leadership, terms) = Leadership::for_terms();
        let views = Arc::<Views>::default();
        let metrics = Arc::new(Metrics::new(Arc::clone(&views)));
        let shared = Shared {
            generator: Generator::new(NonZeroUsize::MIN, RsaGenerator::DEFAULT, None, Arc::clone(&metrics)),
            metrics,
            health: Arc::new(Health::new(true, false)),
            leadership: leadership.clone(),
            views,
            randomness: Randomness::from_seed(self.begun.into()),
            clock: WallClock::default(),
            requests: Requests::default(),
        };
        let mut candidate = Candidate::new(self.client(&who), "default", LEASE, terms, &shared);
        candidate.identity.clone_from(&who);
        candidate.election = Election::new(who.clone(), LEASE, Instant::now());
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = futures::FutureExt::shared(async { drop(stopped.await) });
        let working = stopped.clone();
        let work = async move {
            working.await;
            sleep(finishing).await;
        };
        let task = tokio::spawn(async move { candidate.run(work, stopped, &Requests::default()).await });
        self.replicas.insert(who.clone(), Replica { leadership, task, stop: Some(stop) });
        who
    }

    fn begin_two(seed: u64, weather: Weather) -> Self {
        let mut world = Self::new(seed, weather);
        world.begin(Duration::ZERO);
        world.begin(Duration::ZERO);
        world
    }

    fn kill(&mut self, who: &str) {
        self.replicas.remove(who).unwrap().task.abort();
    }

    fn leader(&self) -> Option<String> {
        let leaders: Vec<_> = self.replicas.iter().filter(|(_, it)| it.leadership.remaining().is_some()).collect();
        assert!(leaders.len() < 2, "two lead: {:?}", leaders.iter().map(|(who, _)| who).collect::<Vec<_>>());
        leaders.first().map(|(who, _)| (*who).clone())
    }

    async fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.leader();
            sleep((100 * MILLISECOND).min(end - Instant::now())).await;
        }
    }

    /// Waits until one leads that is not this one, and says how long that took.
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

/// Runs a history for each of so many seeds, each on a clock of its own, and returns what they return.
fn histories<T>(count: u64, history: impl AsyncFn(u64) -> T) -> Vec<T> {
    let run = |seed| {
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let guard = Told(seed);
        let told = runtime.block_on(history(seed));
        std::mem::forget(guard);
        told
    };
    (0..count).map(run).collect()
}

/// Names the seed when a history fails.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("seed {}", self.0);
    }
}

async fn takeover(world: &mut World) -> Duration {
    let (leader, _) = world.another_leads(None, 10 * LEASE).await;
    world.pass(MILLISECOND * u32::try_from(world.below(40_000)).unwrap()).await;
    let leader = world.leader().unwrap_or(leader);
    world.kill(&leader);
    world.begin(Duration::ZERO);
    world.another_leads(Some(&leader), 10 * LEASE).await.1
}

#[test]
fn a_leader_that_is_killed_is_followed_within_two_lease_durations() {
    for (name, weather, limit) in [
        ("calm", Weather::calm(20), LEASE + Duration::from_secs(1)),
        ("20 % of all requests fail", Weather::rough(200), 2 * LEASE),
        ("10 % of all reads fail", Weather { reads_only: true, ..Weather::rough(100) }, 2 * LEASE),
    ] {
        let took = histories(100, async |seed| takeover(&mut World::begin_two(seed, weather.clone())).await);
        let (longest, mean) = (took.iter().max().unwrap(), took.iter().sum::<Duration>() / 100);
        println!("takeover, {name}: {mean:?} on average, {longest:?} at the most");
        assert!(*longest <= limit, "{name}: {longest:?}");
    }
}

#[test]
fn whoever_is_told_to_stop_hands_over_within_two_seconds() {
    let took = histories(300, async |seed| {
        // Work that does not end takes its second.
        let (latency, finishing) = [(100, 0), (20, 400), (20, 5000)][usize::try_from(seed % 3).unwrap()];
        let mut world = World::new(seed, Weather::calm(latency));
        let finishing = Duration::from_millis(finishing);
        world.begin(finishing);
        world.begin(finishing);
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

/// Whatever becomes of one of its requests, and whichever it is, the leader leads on without a pause.
#[test]
fn one_request_that_fails_does_not_cost_the_lead() {
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
            let mut world = World::begin_two(seed, Weather::calm(10));
            let (leader, _) = world.another_leads(None, LEASE).await;
            let before = usize::try_from(seed % 4).unwrap();
            let next = [vec![None; before], vec![Some(fault)]].concat();
            world.server.lock().unwrap().next.insert(leader.clone(), next);
            let leadership = world.replicas[&leader].leadership.clone();
            tokio::select! {
                () = leadership.lost() => panic!("{fault:?} costs the lead"),
                () = world.pass(4 * LEASE) => {}
            }
            assert_eq!(world.leader(), Some(leader), "{fault:?}");
            world.begin(Duration::ZERO);
        });
    }
}

/// Nor does it keep another from taking the Lease.
#[test]
fn who_annotates_the_lease_changes_nothing() {
    histories(50, async |seed| {
        let mut world = World::begin_two(seed, Weather::calm(20));
        let (leader, _) = world.another_leads(None, LEASE).await;
        let server = Arc::clone(&world.server);
        let annotator = World { server, replicas: BTreeMap::new(), begun: 0 };
        let annotating = tokio::spawn(async move {
            loop {
                sleep(MILLISECOND * u32::try_from(annotator.below(1500)).unwrap()).await;
                annotator.annotate();
            }
        });
        let leadership = world.replicas[&leader].leadership.clone();
        tokio::select! {
            () = leadership.lost() => panic!("an annotation costs the lead"),
            () = world.pass(4 * LEASE) => {}
        }
        world.kill(&leader);
        let (_, took) = world.another_leads(Some(&leader), 2 * LEASE).await;
        assert!(took < LEASE + Duration::from_secs(1), "{took:?}");
        annotating.abort();
    });
}

/// Requests that arrive, and replies that come, after any time; replicas that come and go; a store that is put back.
#[test]
fn never_two_lead() {
    histories(80, async |seed| {
        let mut weather = Weather::rough(200);
        let late = [100, 1_000, 4_900, 9_000, 14_000, 40_000];
        weather.faults.extend(late.map(|late| (Fault::LateRequest(late), 20)));
        weather.faults.extend(late.map(|late| (Fault::LateReply(late), 20)));
        weather.faults.push((Fault::Conflict, 20));
        let mut world = World::begin_two(seed, weather);
        world.begin(Duration::ZERO);
        // Then none begin: those would know nothing of what the store has forgotten.
        let restores = seed % 2 == 0;
        for _ in 0..12 {
            world.pass(MILLISECOND * u32::try_from(world.below(60_000)).unwrap()).await;
            let place = usize::try_from(world.below(3)).unwrap();
            let who = world.replicas.keys().nth(place).unwrap().clone();
            match world.below(3) {
                // Everybody has seen who leads: whoever has not takes what it saw last, when it comes back, for what was never changed.
                0 if restores => {
                    let rough = std::mem::replace(&mut world.server.lock().unwrap().weather, Weather::calm(20));
                    world.pass(Duration::from_secs(8)).await;
                    let mut server = world.server.lock().unwrap();
                    let count = u64::try_from(server.past.len()).unwrap();
                    if count > 1 {
                        let place = usize::try_from(1 + server.dice.below(count - 1)).unwrap();
                        server.lease = server.past[place].clone();
                    }
                    server.weather = rough;
                }
                _ if restores => world.annotate(),
                0 => world.kill(&who),
                1 => {
                    let stop = world.replicas.get_mut(&who).unwrap().stop.take().unwrap();
                    stop.send(()).unwrap();
                    world.pass(10 * MILLISECOND).await;
                    // It writes nothing from when it has given back its lead; nothing that is left of it is waited for.
                    world.replicas.remove(&who);
                }
                _ => world.annotate(),
            }
            while world.replicas.len() < 3 {
                world.begin(Duration::ZERO);
            }
        }
    });
}
