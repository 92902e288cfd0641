//! What is left to chance: how long to wait before another try, and the identity of a candidate for the lead.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};

/// The seed of all that a process leaves to chance. From the same seed, and of the same question, the same is drawn again: so a run
/// of the operator can be repeated. Keys are not drawn from it.
#[derive(Debug, Clone, Copy)]
pub struct Randomness(u64);

impl Randomness {
    /// A seed that differs from process to process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self(RandomState::new().hash_one(std::process::id()))
    }

    /// This seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// What is drawn for this question.
    #[must_use]
    pub fn draw(self, question: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0, question).hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_of_the_seed_and_the_question() {
        let draw = |seed, question: &str| Randomness::from_seed(seed).draw(question);
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
    }
}
