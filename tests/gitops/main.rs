//! The behavior of GitOps tools, tested with their own libraries: kstatus (Flux), and Argo CD's engine with its health script.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic fails the test")]

mod argocd;
mod health;
mod repository;
mod stage;
