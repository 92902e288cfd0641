//! Key generation: threads, pending keys, and a pool of pregenerated keys.

pub(crate) mod generator;
pub(crate) mod pending;
pub(crate) mod pool;

pub use generator::{Generator, KeySource};
pub use pool::KeyPool;
