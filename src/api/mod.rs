//! The `KeyPair` custom resource: its types, its schema and its translation to and from the domain.

pub mod cel;
pub mod crd;
pub mod key_pair;
mod object;
pub mod status;
pub mod translate;

pub use crd::crd;
pub use key_pair::{KeyPair, KeyPairSpec};
pub use object::FromObject;
pub use status::KeyPairStatus;
