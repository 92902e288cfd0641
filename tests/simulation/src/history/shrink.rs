//! Shortens a failing history to the steps that make it fail.

use std::time::{Duration, Instant};

use super::History;

/// The time limit for shortening a history.
const PATIENCE: Duration = Duration::from_secs(60);

/// Removes as many steps from a history as possible while `fails` still returns true for it (delta debugging).
pub fn shorten(history: &History, fails: impl Fn(&History) -> bool) -> History {
    let end = Instant::now() + PATIENCE;
    let mut best = history.clone();
    let mut size = best.steps.len().div_ceil(2);
    while size > 0 && Instant::now() < end {
        let mut at = 0;
        let mut found = false;
        while at < best.steps.len() && Instant::now() < end {
            let mut shorter = best.clone();
            shorter.steps.drain(at..(at + size).min(shorter.steps.len()));
            if fails(&shorter) {
                best = shorter;
                found = true;
            } else {
                at += size;
            }
        }
        if !found || size > best.steps.len() {
            size /= 2;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::{super::draw, *};

    #[test]
    fn shrinking_keeps_the_necessary_steps() {
        let history = (0..1000).map(draw).find(|history| history.steps.len() > 12).unwrap();
        let needed = [history.steps.get(2).unwrap().clone(), history.steps.get(9).unwrap().clone()];
        let fails = |history: &History| needed.iter().all(|step| history.steps.contains(step));
        let shortened = shorten(&history, fails);
        assert!(shortened.steps.len() <= 4 && fails(&shortened), "{shortened}");
    }
}
