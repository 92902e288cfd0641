//! One replica of the operator: it takes part in leader election, reconciles while it leads, and otherwise only watches.
//!
//! Everything that belongs to the process is in [`run`](super::run): command line, signals, servers, threads. So the simulation runs
//! the same code as a cluster.

use std::sync::Arc;

use futures::future;
use kube::Client;
use tokio::task::JoinSet;

use crate::{
    client,
    controller::{self, Settings, Shared},
    leader::{ElectionSettings, LeaderElector},
};

/// One replica of the operator.
#[derive(Debug)]
pub struct Replica {
    /// The settings of the controller of each scope.
    pub settings: Vec<Settings>,
    /// Whether it also watches while another replica leads, to answer admission reviews.
    pub answers_reviews: bool,
    /// The state that the controllers share.
    pub shared: Shared,
    /// The settings of leader election; `None` for a single replica.
    pub election: Option<ElectionSettings>,
}

impl Replica {
    /// Runs until `stop` resolves, then finishes reconciliations in progress and releases the Lease.
    pub async fn run(self, client: &Client, stop: future::Shared<impl Future<Output = ()> + Send + 'static>) {
        let Self { settings, answers_reviews, shared, election } = self;
        let heartbeat = Arc::clone(&shared.health);
        let work = async {
            tokio::select! {
                biased;
                () = work(client, &settings, answers_reviews, &shared, stop.clone()) => {}
                () = heartbeat.keep_beating() => {}
            }
        };
        let Some(election) = election else {
            shared.metrics.set_leader(true);
            return client::finish(work, stop.clone()).await;
        };
        tracing::info!(namespace = election.namespace, "starting leader election");
        let Shared { randomness, clock, health, metrics, .. } = shared.clone();
        let elector = LeaderElector::new(client.clone(), election, randomness, clock, health, metrics);
        elector.run(work, stop.clone(), &shared.request_limits).await;
    }
}

/// Reconciles while this process leads, and stands by otherwise, until `stop` resolves.
async fn work(
    client: &Client,
    settings: &[Settings],
    answers_reviews: bool,
    shared: &Shared,
    stop: future::Shared<impl Future<Output = ()> + Send + 'static>,
) {
    loop {
        // A standby replica answers admission reviews too.
        let mut standbys = JoinSet::new();
        if answers_reviews && shared.leadership.remaining().is_none() {
            shared.health.start_standby(settings.len());
            for settings in settings {
                standbys.spawn(controller::run_standby(client.clone(), settings.clone(), shared.clone()));
            }
        }
        tokio::select! {
            biased;
            () = stop.clone() => return,
            () = shared.leadership.wait_until_acquired() => {}
        }
        shared.health.start_reconciling(settings.len());
        // A new list shows everything that the previous leader wrote.
        let controllers = future::join_all(
            settings
                .iter()
                .map(|settings| controller::run(client.clone(), settings.clone(), shared.clone(), stop.clone())),
        );
        let listed = async {
            shared.health.wait_until_all_listed().await;
            standbys.shutdown().await;
            future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            // Polled first: a replica that lost the Lease must not start anything.
            () = shared.leadership.wait_until_lost() => tracing::warn!("no longer the leader: reconciling stops"),
            _ = controllers => return,
            () = listed => {}
        }
        shared.health.stop_reconciling();
        shared.caches.freeze();
    }
}
