//! The custom resources: their types, their schemas, their admission policies, and their translation to and from the domain.

pub mod cel;
pub mod claim;
pub mod crd;
pub mod key_pair;
mod object;
pub mod policy;
pub mod publication;
pub mod secret;
pub mod status;
pub mod translate;

pub use claim::ClaimRequest;
pub use crd::{crd, crds};
pub use key_pair::{KeyPair, KeyPairSpec};
pub use object::FromObject;
pub use publication::{AuthorizedKeys, KnownHosts};
pub use status::KeyPairStatus;
