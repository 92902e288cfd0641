//! A queue that serves namespaces in turn.

use std::collections::{HashMap, VecDeque};

/// A queue that takes one item of each namespace before a further item of any of them.
#[derive(Debug)]
pub struct RoundRobinQueue<T> {
    waiting: HashMap<String, VecDeque<T>>,
    /// The namespaces with items, in the order in which they are served.
    turns: VecDeque<String>,
}

impl<T> Default for RoundRobinQueue<T> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), turns: VecDeque::new() }
    }
}

impl<T> RoundRobinQueue<T> {
    /// The number of namespaces with items.
    pub fn namespaces(&self) -> usize {
        self.turns.len()
    }

    /// Adds an item of this namespace.
    pub fn push(&mut self, namespace: &str, item: T) {
        if !self.waiting.contains_key(namespace) {
            self.turns.push_back(namespace.to_owned());
        }
        self.waiting.entry(namespace.to_owned()).or_default().push_back(item);
    }

    /// Removes the next item that is `wanted`. Items that are not are dropped, and do not count as a turn of their namespace.
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
