//! The `KeyPair` custom resource: its types, its schema, its admission policies, and its translation to and from the domain.

pub mod cel;
pub mod claim;
pub mod crd;
pub mod key_pair;
mod object;
pub mod policy;
pub mod secret;
pub mod status;
pub mod translate;

pub use claim::ClaimRequest;
pub use crd::crd;
pub use key_pair::{KeyPair, KeyPairSpec};
pub use object::FromObject;
pub use status::KeyPairStatus;
