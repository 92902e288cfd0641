//! What the fuzz targets of keypair-operator check, apart from the fuzzer: `fuzz/` hands the same functions to cargo-fuzz, and
//! plain tests run them over every seed and every input that has broken one of them.
//!
//! A target takes bytes, and panics if they break what is promised. Each has a module that says what that is.

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
    /// Its name: that of its module, of its file in `fuzz/fuzz_targets`, and of the folder of its regressions.
    pub name: &'static str,
    /// What is done with an input.
    pub check: fn(&[u8]),
    /// The inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident),*) => {
        &[$(Target { name: stringify!($name), check: $name::check, seeds: $name::seeds }),*]
    };
}

/// Every target.
pub const TARGETS: &[Target] = targets!(public_key, private_key, rfc4716, leak, admission, label_selector, linear);
