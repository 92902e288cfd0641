//! The source of randomness for the jitter of retries and the identity in leader election.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};

/// A seed from which a process draws everything random except keys. The same seed and purpose give the same value, so a run of the
/// operator can be repeated.
#[derive(Debug, Clone, Copy)]
pub struct Randomness(u64);

impl Randomness {
    /// A seed that differs from process to process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self(RandomState::new().hash_one(std::process::id()))
    }

    /// A fixed seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Draws the value for this purpose.
    #[must_use]
    pub fn draw(self, purpose: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0, purpose).hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_depend_on_seed_and_purpose() {
        let draw = |seed, purpose: &str| Randomness::from_seed(seed).draw(purpose);
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
    }
}
