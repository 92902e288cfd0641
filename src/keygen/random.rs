//! The source of random bytes.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

use super::KeygenError;

/// The generator failed, or its output is not random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the random number generator failed")]
pub(super) struct RandomError;

impl From<RandomError> for KeygenError {
    fn from(_: RandomError) -> Self {
        Self::Generation
    }
}

/// A source of random bytes. Tests use deterministic ones.
pub(super) trait Random {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        (*self).fill(bytes).map_err(|_| RandomError)
    }
}
