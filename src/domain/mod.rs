//! The domain: the rules of the four cloud API documents, key handling, the ledger of a namespace, and the decision about
//! each `KeyPair`.
//!
//! Everything here is pure: the same input gives the same output, without a Kubernetes client, runtime, clock, randomness,
//! file or network. `tests/layout.rs` enforces this.

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
pub mod publication;
pub mod reason;
pub mod region;
pub mod request;
pub mod request_summary;
pub mod rotation;
pub mod rules;
pub mod secret;
pub mod share_with;
pub mod text_rule;
