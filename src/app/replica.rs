//! One replica of the operator: it stands for the lead, works while it leads, and follows what happens while it does not.
//!
//! All that a process brings with it is left to [`run`](super::run): the command line, signals, servers, threads. So a simulation runs
//! what a cluster runs.

use std::{sync::Arc, time::Duration};

use futures::future;
use kube::Client;
use tokio::task::JoinSet;

use crate::controller::{self, Candidate, Settings, Shared, Terms};

/// One replica of the operator.
#[derive(Debug)]
pub struct Replica {
    /// How the controller of each scope is run.
    pub settings: Vec<Settings>,
    /// Whether it follows what happens while another replica leads, to answer admission reviews.
    pub answers_reviews: bool,
    /// What the controllers share.
    pub shared: Shared,
    /// How a leader is elected; `None`: there is no other replica.
    pub election: Option<Election>,
}

/// How a leader is elected.
#[derive(Debug)]
pub struct Election {
    /// Where the Lease is.
    pub namespace: String,
    /// For how long the Lease is valid after a renewal.
    pub duration: Duration,
    /// Where the outcome is told; the other end is in [`Shared`].
    pub terms: Terms,
}

impl Replica {
    /// Runs until `stop` resolves, what is under way is finished, and the lead is given back.
    pub async fn run(self, client: &Client, stop: future::Shared<impl Future<Output = ()> + Send + 'static>) {
        let Self { settings, answers_reviews, shared, election } = self;
        let beating = Arc::clone(&shared.health);
        let work = async {
            tokio::select! {
                biased;
                () = work(client, &settings, answers_reviews, &shared, stop.clone()) => {}
                () = beating.keep_beating() => {}
            }
        };
        let Some(Election { namespace, duration, terms }) = election else {
            shared.metrics.leads(true);
            return controller::finish(work, stop.clone()).await;
        };
        let candidate = Candidate::new(client.clone(), &namespace, duration, terms, &shared);
        tracing::info!(namespace, "standing for the lead");
        candidate.run(work, stop.clone(), &shared.requests).await;
    }
}

/// Works while this process leads, and stands by while it does not, until it is told to stop.
async fn work(
    client: &Client,
    settings: &[Settings],
    answers_reviews: bool,
    shared: &Shared,
    stop: future::Shared<impl Future<Output = ()> + Send + 'static>,
) {
    loop {
        // A replica that stands by answers admission reviews, too.
        let mut observers = JoinSet::new();
        if answers_reviews && shared.leadership.remaining().is_none() {
            shared.health.observes(settings.len());
            for settings in settings {
                observers.spawn(controller::observe(client.clone(), settings.clone(), shared.clone()));
            }
        }
        tokio::select! {
            biased;
            () = stop.clone() => return,
            () = shared.leadership.acquired() => {}
        }
        shared.health.begins(settings.len());
        // Everything is listed anew: only so does this process know all that the leader before it has written.
        let controllers = future::join_all(
            settings
                .iter()
                .map(|settings| controller::run(client.clone(), settings.clone(), shared.clone(), stop.clone())),
        );
        let listed = async {
            shared.health.all_listed().await;
            observers.shutdown().await;
            future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            // Before all else: who has lost the lead begins nothing more.
            () = shared.leadership.lost() => tracing::warn!("no longer leading: nothing is written any more"),
            _ = controllers => return,
            () = listed => {}
        }
        shared.health.stands_by();
        shared.views.freeze();
    }
}
