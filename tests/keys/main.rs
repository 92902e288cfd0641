//! Public and private keys, against vectors made by `ssh-keygen` and `openssl` and against damage.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise, and spoils vectors at places known to be there"
)]

mod differential;
mod effort;
mod encoded;
mod fields;
mod forgeries;
mod fuzz;
mod private;
mod reading;
mod refusals;
mod vectors;
