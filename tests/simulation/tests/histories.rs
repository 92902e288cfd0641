//! Histories: the same seed gives the same history. `make simulate` runs thousands of them.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests: a panic fails them")]

use keypair_simulation::{history::draw, run::run};

/// Every request and every change is the same, except for the wall clock and the content of Secrets.
#[test]
fn a_seed_repeats_its_history() {
    let mut accepted = 0;
    for seed in 1..=12 {
        let history = draw(seed);
        assert_eq!(history, draw(seed));
        let [one, other] = [run(&history, true), run(&history, true)].map(|outcome| outcome.trace);
        let differs = one.iter().zip(&other).position(|(one, other)| one != other);
        if let Some(at) = differs {
            panic!("{history}\n{at}:\n{}\n{}", one.get(at).unwrap(), other.get(at).unwrap());
        }
        assert_eq!(one.len(), other.len(), "{history}");
        accepted +=
            one.iter().filter(|line| line.contains(" True Generated") || line.contains(" True Imported")).count();
    }
    assert!(accepted > 12, "too few KeyPairs are accepted: {accepted}");
}
