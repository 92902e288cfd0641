//! How watches go wrong: they lag, stop, break and expire.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{
    Server,
    failure::Failure,
    watch::{Health, Watch, line},
};

/// By how much a watch is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lag {
    /// It is told everything at once.
    #[default]
    None,
    /// The latest so many events are held back.
    Events(usize),
    /// What happened is told so much later.
    Time(Duration),
}

/// How watches behave, by user and resource.
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

/// Whether this name, or `*`, means that one.
pub(super) fn is_meant(rule: &str, name: &str) -> bool {
    rule == "*" || rule == name
}

/// The watches of the server, each of a user and a resource; `*` means any.
pub struct Watches<'a>(pub(super) &'a Server);

impl Watches<'_> {
    /// Lets watches, those that are open and those to come, be behind.
    pub fn lag(&self, user: &str, resource: &str, lag: Lag) {
        self.0.with(|state| {
            state.watch_settings.lags.insert((user.to_owned(), resource.to_owned()), lag);
        });
        self.each(user, resource, |watch| watch.lag = lag);
    }

    /// Lets the open watches stop without a word: no event comes any more, and no end.
    pub fn stop(&self, user: &str, resource: &str) {
        self.each(user, resource, |watch| watch.state = Health::Silent);
    }

    /// The same, and for watches that are begun until [`Watches::calm`].
    pub fn stop_all(&self, user: &str, resource: &str) {
        self.0.with(|state| state.watch_settings.silent.push((user.to_owned(), resource.to_owned())));
        self.stop(user, resource);
    }

    /// Breaks the connections of open watches.
    pub fn cut(&self, user: &str, resource: &str) {
        self.each(user, resource, |watch| watch.state = Health::Cut);
    }

    /// Ends open watches in an orderly way.
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

    /// No more lag and silence for what is begun from now on; open watches catch up, but for those that have stopped.
    pub fn calm(&self) {
        self.0.with(|state| state.watch_settings = WatchSettings::default());
        self.each("*", "*", |watch| watch.lag = Lag::None);
    }

    /// How many are open.
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
