//! Faults: watches, requests, replicas, policies and the store.

use std::time::Duration;

use super::{Drawing, one};
use crate::history::{Action, NetworkFaults, Policy, WatchFault};

/// The resources that the operator watches.
const WATCHED: [&str; 3] = ["keypairs", "secrets", "namespaces"];

impl Drawing {
    pub(super) fn watch(&mut self) {
        let replica = self.replica_number();
        let resource = *one(&mut self.dice, &WATCHED);
        if self.dice.happens(100) {
            return self.deleted_unseen(replica, resource);
        }
        let fault = match self.dice.below(10) {
            0..=2 => WatchFault::LagBy(1 + usize::try_from(self.dice.below(4)).unwrap_or_default()),
            3..=5 => WatchFault::LagFor(20 + self.dice.below(3000)),
            6 => WatchFault::Silent,
            7 => WatchFault::Cut,
            8 => WatchFault::Expired,
            _ => WatchFault::Clear,
        };
        self.push(Action::Watch(replica, resource, fault));
        if self.dice.happens(600) {
            let after = 100 + self.dice.below(10_000);
            self.later(after, Action::Watch(replica, resource, WatchFault::Clear));
        }
    }

    /// Deletes something while a watch is silent: the operator learns of it only because the object is missing from the next list.
    fn deleted_unseen(&mut self, replica: usize, resource: &'static str) {
        self.push(Action::Watch(replica, resource, WatchFault::Silent));
        self.at += Duration::from_millis(self.dice.below(200));
        self.delete();
        self.at += Duration::from_millis(self.dice.below(2000));
        self.push(Action::Watch(replica, resource, WatchFault::Expired));
        self.later(100, Action::Watch(replica, resource, WatchFault::Clear));
    }

    pub(super) fn network(&mut self) {
        let replica = self.replica_number();
        let mut faults =
            NetworkFaults { latency: *one(&mut self.dice, &[5, 20, 200, 2000]), ..NetworkFaults::default() };
        let share = *one(&mut self.dice, &[50, 200, 500]);
        match self.dice.below(8) {
            0 => faults.lost_requests = share,
            1..=2 => faults.lost_responses = share,
            3 => faults.errors = share,
            4 => {
                faults.delayed = share;
                faults.delay = *one(&mut self.dice, &[3000, 12_000, 40_000]);
            }
            5 => faults.partitioned = true,
            _ => {}
        }
        self.push(Action::Network(replica, faults));
        if faults.partitioned || self.dice.happens(600) {
            let after = 100 + self.dice.below(25_000);
            self.later(after, Action::Network(replica, NetworkFaults { latency: 5, ..NetworkFaults::default() }));
        }
    }

    pub(super) fn replica_number(&mut self) -> usize {
        usize::try_from(self.dice.below(self.replicas as u64)).unwrap_or_default()
    }

    pub(super) fn replica(&mut self) {
        let replica = self.replica_number();
        let after = self.moment() + self.dice.below(200);
        match self.dice.below(8) {
            0..=3 => {
                let polls = self.dice.below(40);
                self.push(Action::Crash { replica, polls });
                self.later(after, Action::Start(replica));
            }
            4..=5 => {
                self.push(Action::Stop(replica));
                self.later(after + 3000, Action::Start(replica));
            }
            6 => {
                self.push(Action::Suspend(replica));
                let after = 500 + self.dice.below(30_000);
                self.later(after, Action::Resume(replica));
            }
            _ => {
                let seconds = *one(&mut self.dice, &[-3600, -5, 5, 86_400]);
                self.push(Action::ClockJump(seconds));
            }
        }
    }

    pub(super) fn policy(&mut self) {
        if self.dice.happens(250) {
            let (verb, resource) = *one(
                &mut self.dice,
                &[
                    ("create", "secrets"),
                    ("get", "secrets"),
                    ("patch", "secrets"),
                    ("delete", "secrets"),
                    ("watch", "secrets"),
                    ("update", "keypairs/status"),
                    ("list", "keypairs"),
                    ("watch", "keypairs"),
                    ("create", "events"),
                ],
            );
            self.push(Action::Deny(verb, resource));
            let after = 100 + self.dice.below(20_000);
            self.later(after, Action::AllowAll);
            return;
        }
        let policy = *one(
            &mut self.dice,
            &[
                Policy::OverwriteLabel,
                Policy::RemoveLabel,
                Policy::RemoveUid,
                Policy::RemoveOwner,
                Policy::Refuse,
                Policy::Invalid,
                Policy::Away,
                Policy::Quota,
            ],
        );
        self.push(Action::Policy(policy));
        let after = 100 + self.dice.below(20_000);
        self.later(after, Action::NoPolicy);
    }

    pub(super) fn has_restored(&self) -> bool {
        self.steps.iter().any(|step| step.action == Action::Restore)
    }

    pub(super) fn snapshot(&mut self) {
        self.push(Action::Snapshot);
        for _ in 0..=self.dice.below(3) {
            self.pause();
            self.create();
        }
        self.pause();
        self.push(Action::Restore);
        // About as long as the outage, so that some of the next steps happen while the API server is still down.
        self.at += Duration::from_millis(2000 + self.dice.below(1500));
    }
}
