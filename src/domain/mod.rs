//! What a key pair is and may be: the rules of the four cloud API documents, key handling, the index of a namespace and the
//! decision what to do about a `KeyPair`.
//!
//! Everything here is pure: the same input gives the same output, with no Kubernetes client, no runtime, no clock, no
//! randomness, no file and no network. A test of the source (`tests/layout.rs`) keeps it so.

pub mod admission;
pub mod advice;
pub mod decide;
pub mod digest;
pub mod display;
pub mod immutable;
pub mod key;
pub mod key_pair_id;
pub mod label_selector;
pub mod ledger;
pub mod profile;
pub mod reason;
pub mod region;
pub mod request;
pub mod request_summary;
pub mod rules;
pub mod secret;
pub mod text_rule;
