//! The checks of the fuzz targets, independent of the fuzzer: `fuzz/` passes these functions to cargo-fuzz, and plain tests
//! run them on every seed and on every input that once broke one of them.
//!
//! A target takes bytes, and panics if they violate what its module guarantees.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a broken promise ends the process: that is what a fuzzer sees"
)]

pub mod admission;
pub mod armor;
pub mod label_selector;
pub mod leak;
pub mod linear;
pub mod private_key;
pub mod public_key;
pub mod referee;
pub mod rfc4716;
pub mod seeds;

/// A fuzz target.
pub struct Target {
    /// The name of the target, of its module, of its file in `fuzz/fuzz_targets`, and of the folder of its regressions.
    pub name: &'static str,
    /// Checks an input.
    pub check: fn(&[u8]),
    /// The initial inputs.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident),*) => {
        &[$(Target { name: stringify!($name), check: $name::check, seeds: $name::seeds }),*]
    };
}

/// Every target.
pub const TARGETS: &[Target] = targets!(public_key, private_key, rfc4716, leak, admission, label_selector, linear);
