//! The watch cache: watch streams, objects in a compressed store, and a ledger for each namespace.

pub(crate) mod continuity;
pub(crate) mod duplicate_keys;
pub(crate) mod index;
pub(crate) mod sight;
pub(crate) mod store;
pub(crate) mod stream;
pub(crate) mod usage;
pub(crate) mod view;
pub(crate) mod watched;

pub use index::{Claimant, Index};
pub use stream::{READ_TIMEOUT, on_watch_success, watch_config, watched};
pub use usage::Usage;
pub use view::{ObjectLister, View, Views, Watch};

/// The timeout of a watch, after which it restarts.
const WATCH_SECONDS: u32 = 120;
