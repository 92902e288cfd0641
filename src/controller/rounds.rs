//! A queue in which namespaces take turns.

use std::collections::{HashMap, VecDeque};

/// What waits, by namespace: of each that has something, one comes before any of them has another.
#[derive(Debug)]
pub struct Rounds<T> {
    waiting: HashMap<String, VecDeque<T>>,
    /// The namespaces in which something waits; the one whose turn it is comes first.
    turns: VecDeque<String>,
}

impl<T> Default for Rounds<T> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), turns: VecDeque::new() }
    }
}

impl<T> Rounds<T> {
    /// In how many namespaces something waits.
    pub fn namespaces(&self) -> usize {
        self.turns.len()
    }

    /// Lets something wait in this namespace.
    pub fn push(&mut self, namespace: &str, item: T) {
        if !self.waiting.contains_key(namespace) {
            self.turns.push_back(namespace.to_owned());
        }
        self.waiting.entry(namespace.to_owned()).or_default().push_back(item);
    }

    /// The next that is `wanted`. What is not is dropped, and costs its namespace no turn.
    pub fn pop(&mut self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        while let Some(namespace) = self.turns.pop_front() {
            let waiting = self.waiting.get_mut(&namespace)?;
            let next = std::iter::from_fn(|| waiting.pop_front()).find(&wanted);
            if waiting.is_empty() {
                self.waiting.remove(&namespace);
            } else {
                self.turns.push_back(namespace);
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }
}
