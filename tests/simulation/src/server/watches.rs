//! The faults of watches: they lag, go silent, break and expire.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{
    Server,
    failure::Failure,
    watch::{Health, Watch, line},
};

/// How far a watch is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lag {
    /// Every event arrives immediately.
    #[default]
    None,
    /// This many of the latest events are held back.
    Events(usize),
    /// Every event is delayed by this time.
    Time(Duration),
}

/// The faults of watches, by user and resource.
#[derive(Debug, Default)]
pub(super) struct WatchSettings {
    lags: BTreeMap<(String, String), Lag>,
    silent: Vec<(String, String)>,
}

impl WatchSettings {
    pub fn lag(&self, user: &str, resource: &str) -> Lag {
        let mut rules = self.lags.iter().rev();
        let rule = rules.find(|((who, what), _)| is_meant(who, user) && is_meant(what, resource));
        rule.map_or(Lag::None, |(_, lag)| *lag)
    }

    pub fn is_silent(&self, user: &str, resource: &str) -> bool {
        self.silent.iter().any(|(who, what)| is_meant(who, user) && is_meant(what, resource))
    }
}

/// Whether a rule, which is a name or `*`, matches this name.
pub(super) fn is_meant(rule: &str, name: &str) -> bool {
    rule == "*" || rule == name
}

/// The watches of the server, selected by user and resource; `*` means any.
pub struct Watches<'a>(pub(super) &'a Server);

impl Watches<'_> {
    /// Sets the lag of open and future watches.
    pub fn lag(&self, user: &str, resource: &str, lag: Lag) {
        self.0.with(|state| {
            state.watch_settings.lags.insert((user.to_owned(), resource.to_owned()), lag);
        });
        self.each(user, resource, |watch| watch.lag = lag);
    }

    /// Silences the open watches: no more events arrive, and no end.
    pub fn stop(&self, user: &str, resource: &str) {
        self.each(user, resource, |watch| watch.state = Health::Silent);
    }

    /// Silences the open watches, and those that start before [`Watches::calm`].
    pub fn stop_all(&self, user: &str, resource: &str) {
        self.0.with(|state| state.watch_settings.silent.push((user.to_owned(), resource.to_owned())));
        self.stop(user, resource);
    }

    /// Breaks the connections of open watches.
    pub fn cut(&self, user: &str, resource: &str) {
        self.each(user, resource, |watch| watch.state = Health::Cut);
    }

    /// Closes open watches cleanly.
    pub fn end(&self, user: &str, resource: &str) {
        self.each(user, resource, |watch| watch.end = Instant::now());
    }

    /// Ends open watches with an ERROR event of code 410.
    pub fn expire(&self, user: &str, resource: &str) {
        self.each(user, resource, |watch| {
            let failure = Failure::new(410, "Expired", "too old resource version");
            watch.pending.clear();
            watch.ready.push_back(line("ERROR", &failure.to_value()));
            watch.state = Health::Ending;
        });
    }

    /// Ends lag and silence for new watches. Open watches catch up, except silent ones.
    pub fn calm(&self) {
        self.0.with(|state| state.watch_settings = WatchSettings::default());
        self.each("*", "*", |watch| watch.lag = Lag::None);
    }

    /// The number of open watches.
    #[must_use]
    pub fn open(&self, user: &str, resource: &str) -> usize {
        let meant = |watch: &&Watch| is_meant(user, &watch.user) && is_meant(resource, watch.resource.plural);
        self.0.with(|state| state.watches.values().filter(meant).count())
    }

    fn each(&self, user: &str, resource: &str, change: impl Fn(&mut Watch)) {
        self.0.with(|state| {
            for watch in state.watches.values_mut() {
                if is_meant(user, &watch.user) && is_meant(resource, watch.resource.plural) {
                    change(watch);
                    watch.wake();
                }
            }
        });
    }
}
