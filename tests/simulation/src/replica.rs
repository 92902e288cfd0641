//! Replicas of the operator: the same code as in a cluster, started, stopped, suspended, and killed between any two polls.

use std::{
    future::Future,
    io,
    num::NonZeroUsize,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response};
use http_body::Frame;
use keypair_operator::{
    app::Replica,
    cache::{READ_TIMEOUT, ScopeCaches, Usage},
    client::{Randomness, RequestLimits, WallClock},
    controller::{Generator, Settings, Shared},
    domain::{
        region::{OwnNames, RegionSettings},
        secret::OPERATOR,
    },
    leader::{ElectionSettings, Leadership},
    observe::{Health, Metrics},
};
use kube::client::{Body, ClientBuilder};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, Sleep, sleep},
};
use tower::Service;

use crate::{
    Server,
    history::{NetworkFaults, Setup},
    keys::Keys,
    network::{Faults, Link, Network, NetworkBody, Retrying},
    trace::Trace,
};

/// The namespace of the operator, where the Lease is.
pub const NAMESPACE: &str = "keypair-system";

/// The user name of a replica.
#[must_use]
pub fn user(replica: usize) -> String {
    format!("system:serviceaccount:{NAMESPACE}:{OPERATOR}-{replica}")
}

/// One replica, running or not.
pub struct Host {
    number: usize,
    /// The number of starts.
    starts: u64,
    seed: u64,
    setup: Setup,
    server: Server,
    network: Network,
    keys: Arc<Keys>,
    trace: Trace,
    running: Option<Running>,
}

struct Running {
    stop: Option<oneshot::Sender<()>>,
    control: Arc<Mutex<Control>>,
    task: JoinHandle<()>,
    network: Network,
    caches: Arc<ScopeCaches>,
}

/// How a running replica is controlled.
#[derive(Default)]
struct Control {
    is_suspended: bool,
    /// The number of polls until it is killed.
    polls_left: Option<u64>,
    waker: Option<Waker>,
}

impl Host {
    /// A replica that is not running yet.
    #[must_use]
    pub fn new(number: usize, seed: u64, setup: &Setup, server: &Server, keys: &Arc<Keys>, trace: &Trace) -> Self {
        let seed = seed.wrapping_mul(31).wrapping_add(number as u64);
        Self {
            number,
            starts: 0,
            seed,
            setup: setup.clone(),
            server: server.clone(),
            network: Network::new(server.service(&user(number)), seed),
            keys: Arc::clone(keys),
            trace: trace.clone(),
            running: None,
        }
    }

    /// Starts it, if it is not running.
    pub fn start(&mut self) {
        if self.running.as_ref().is_some_and(|running| !running.task.is_finished()) {
            return;
        }
        self.starts += 1;
        let seed = self.seed.wrapping_add(self.starts << 32);
        let network = Network::new(self.server.service(&user(self.number)), seed);
        network.set_faults(self.network.faults());
        self.network = network.clone();
        let service =
            TracingService { network: Retrying::new(network.clone()), user: self.number, trace: self.trace.clone() };
        // The same client as in `run`.
        let request_limits = RequestLimits::default();
        let client = ClientBuilder::new(service, NAMESPACE).with_layer(&request_limits).build();
        let (replica, (stop, stopped)) = (self.replica(seed, request_limits), oneshot::channel());
        let caches = Arc::clone(&replica.shared.caches);
        let control = Arc::<Mutex<Control>>::default();
        let work = async move { replica.run(&client, stopped.map(|_| ()).shared()).await };
        let hosted = Hosted { future: Some(Box::pin(work)), control: Arc::clone(&control) };
        let task = tokio::spawn(hosted);
        self.running = Some(Running { stop: Some(stop), control, task, network, caches });
    }

    fn replica(&self, seed: u64, request_limits: RequestLimits) -> Replica {
        let Setup { replicas, quota, lease, answers_reviews, concurrency } = self.setup;
        let caches = Arc::<ScopeCaches>::default();
        let server = self.server.clone();
        let clock = WallClock::simulated(move || server.now());
        let metrics = Arc::new(Metrics::new(Usage::new(Arc::clone(&caches), clock.clone())));
        let elects = replicas > 1;
        let health = Arc::new(Health::new(elects, answers_reviews));
        let generator = Generator::from_source(
            Arc::clone(&self.keys) as Arc<_>,
            NonZeroUsize::new(2).unwrap_or(NonZeroUsize::MIN),
            Arc::clone(&metrics),
        );
        let (for_terms, terms) = Leadership::for_terms();
        let leadership = if elects { for_terms } else { Leadership::always() };
        let randomness = Randomness::from_seed(seed);
        let shared = Shared { generator, metrics, health, leadership, caches, randomness, clock, request_limits };
        let own = OwnNames { namespace: NAMESPACE.to_owned(), prefix: OPERATOR.to_owned() };
        let region_settings = RegionSettings { quota, own, ..RegionSettings::default() };
        let settings =
            vec![Settings { namespace: None, region_settings, concurrency, duplicate_keys: answers_reviews }];
        let election = elects.then(|| ElectionSettings {
            namespace: NAMESPACE.to_owned(),
            duration: Duration::from_secs(lease),
            terms,
        });
        Replica { settings, answers_reviews, shared, election }
    }

    /// Kills it after a number of polls of its task.
    pub fn crash(&mut self, polls: u64) {
        if let Some(running) = &self.running {
            let mut control = lock(&running.control);
            control.is_suspended = false;
            control.polls_left = Some(polls);
            wake(&mut control);
        }
    }

    /// Ends its faults. If it was to be killed, it is killed now.
    pub fn calm(&mut self) {
        if self.running.as_ref().is_some_and(|running| lock(&running.control).polls_left.is_some()) {
            self.crash(0);
        }
        self.suspend(false);
        self.set_network_faults(NetworkFaults { latency: 5, ..NetworkFaults::default() });
    }

    /// Asks it to stop, as SIGTERM does.
    pub fn stop(&mut self) {
        if let Some(stop) = self.running.as_mut().and_then(|running| running.stop.take()) {
            stop.send(()).ok();
        }
    }

    /// Suspends it, so that it gets no CPU time, or resumes it.
    pub fn suspend(&mut self, is_suspended: bool) {
        if let Some(running) = &self.running {
            let mut control = lock(&running.control);
            control.is_suspended = is_suspended;
            wake(&mut control);
        }
    }

    /// Sets the faults of its network.
    pub fn set_network_faults(&mut self, network_faults: NetworkFaults) {
        let milliseconds = Duration::from_millis;
        let faults = Faults {
            latency: milliseconds(1)..milliseconds(network_faults.latency.max(2)),
            lost_requests: network_faults.lost_requests,
            lost_responses: network_faults.lost_responses,
            delayed: network_faults.delayed,
            delay: milliseconds(network_faults.delay),
            errors: network_faults.errors,
            ..Faults::default()
        };
        let link = if network_faults.partitioned { Link::Silent } else { Link::Up };
        let networks = self.running.iter().map(|running| &running.network).chain([&self.network]);
        for network in networks {
            network.set_faults(faults.clone());
            network.set_link(link);
        }
    }

    /// The number of starts.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// The caches from which it answers admission reviews, if it is running and answers them.
    #[must_use]
    pub fn caches(&self) -> Option<Arc<ScopeCaches>> {
        let running = self.running.as_ref().filter(|running| !running.task.is_finished());
        running.filter(|_| self.setup.answers_reviews).map(|running| Arc::clone(&running.caches))
    }

    /// Whether it is running.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.task.is_finished())
    }

    /// Whether its task has panicked since the last call, which is a bug in the operator.
    pub fn panicked(&mut self) -> bool {
        let finished = self.running.take_if(|running| running.task.is_finished());
        finished.is_some_and(|running| running.task.now_or_never().is_some_and(|result| result.is_err()))
    }
}

fn lock(control: &Mutex<Control>) -> MutexGuard<'_, Control> {
    control.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(control: &mut Control) {
    if let Some(waker) = control.waker.take() {
        waker.wake();
    }
}

/// The task of a replica.
struct Hosted {
    future: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    control: Arc<Mutex<Control>>,
}

impl Future for Hosted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let control = Arc::clone(&self.control);
            let mut control = lock(&control);
            control.waker = Some(context.waker().clone());
            if control.is_suspended {
                return Poll::Pending;
            }
            if let Some(left) = &mut control.polls_left {
                if *left == 0 {
                    drop(control);
                    // Requests that it has sent still arrive.
                    self.future = None;
                    return Poll::Ready(());
                }
                *left -= 1;
            }
        }
        self.future.as_mut().map_or(Poll::Ready(()), |future| future.as_mut().poll(context))
    }
}

/// Adds each request of a replica to the trace, and limits how long it waits for a response, with the timeout of the operator's own
/// client.
#[derive(Clone)]
struct TracingService {
    network: Retrying,
    user: usize,
    trace: Trace,
}

impl Service<Request<Body>> for TracingService {
    type Response = Response<BodyWithReadTimeout>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { mut network, user, trace } = self.clone();
        Box::pin(async move {
            let request = trace.note(user, request).await;
            // The operator's client closes a connection on which no data arrives.
            let answered = tokio::time::timeout(READ_TIMEOUT, network.call(request)).await;
            let response = answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
            Ok(response.map(|body| BodyWithReadTimeout { body, sleep: Box::pin(sleep(READ_TIMEOUT)) }))
        })
    }
}

/// A body whose frames must arrive within [`READ_TIMEOUT`] of each other.
struct BodyWithReadTimeout {
    body: NetworkBody,
    sleep: Pin<Box<Sleep>>,
}

impl http_body::Body for BodyWithReadTimeout {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(frame) => {
                this.sleep.as_mut().reset(Instant::now() + READ_TIMEOUT);
                Poll::Ready(frame)
            }
            Poll::Pending => this.sleep.as_mut().poll(context).map(|()| Some(Err(io::ErrorKind::TimedOut.into()))),
        }
    }
}
