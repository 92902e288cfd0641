//! The watch cache: watch streams, objects in a compressed store, and a ledger for each namespace.

pub(crate) mod continuity;
pub(crate) mod duplicate_keys;
pub(crate) mod index;
pub(crate) mod publications;
pub(crate) mod rotation_metrics;
pub(crate) mod scope_cache;
pub(crate) mod store;
pub(crate) mod stream;
pub(crate) mod usage;
pub(crate) mod watch_status;
pub(crate) mod watched;

pub use index::{Claimant, Index};
pub use scope_cache::{ObjectLister, ScopeCache, ScopeCaches, Watch};
pub use stream::{READ_TIMEOUT, on_watch_success, watch_config, watch_events};
pub use usage::Usage;

/// The timeout of a watch, after which it restarts.
const WATCH_SECONDS: u32 = 120;
