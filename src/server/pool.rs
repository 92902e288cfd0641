//! The memory for bodies that exceed the share of their connection.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A pool of buffers with a total capacity. When it is full, an arriving body evicts the oldest incomplete one, so that slow peers lose
/// their buffers to fast ones.
#[derive(Debug)]
pub struct Pool {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The size of all buffers, including those that were taken out.
    used: usize,
    next_id: u64,
    /// The incomplete bodies, from the oldest to the newest.
    incomplete: BTreeMap<u64, Vec<u8>>,
}

impl Pool {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default() }
    }

    /// Creates an empty buffer and returns its identifier.
    pub fn begin(&self) -> u64 {
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.incomplete.insert(id, Vec::new());
        id
    }

    /// Appends to a body. Returns `false` if the body was evicted or the pool is full.
    pub fn extend(&self, id: u64, bytes: &[u8]) -> bool {
        let mut state = self.lock();
        let Some(mut body) = state.incomplete.remove(&id) else { return false };
        let more = growth(&body, bytes.len());
        while state.used + more > self.capacity {
            // Only older bodies are evicted.
            let Some(oldest) = state.incomplete.first_entry().filter(|oldest| *oldest.key() < id) else {
                state.used -= body.capacity();
                return false;
            };
            let evicted = oldest.remove();
            state.used -= evicted.capacity();
        }
        let old_capacity = body.capacity();
        body.reserve_exact(old_capacity - body.len() + more);
        body.extend_from_slice(bytes);
        state.used = state.used - old_capacity + body.capacity();
        state.incomplete.insert(id, body);
        true
    }

    /// Takes out a complete body, unless it was evicted. Its memory counts as used until it is [released](Self::release).
    pub fn take(&self, id: u64) -> Option<Vec<u8>> {
        self.lock().incomplete.remove(&id)
    }

    /// Discards an incomplete body, if it exists.
    pub fn discard(&self, id: u64) {
        let mut state = self.lock();
        if let Some(body) = state.incomplete.remove(&id) {
            state.used -= body.capacity();
        }
    }

    /// Releases the memory of a body that was taken out.
    pub fn release(&self, capacity: usize) {
        self.lock().used -= capacity;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By how much a buffer must grow so that `more` bytes fit. It doubles, so that a body is copied only a few times, but grows by at
/// most 1 MiB at a time. It never reserves what a peer merely declares.
pub fn growth(buffer: &Vec<u8>, more: usize) -> usize {
    let free = buffer.capacity() - buffer.len();
    if more <= free {
        return 0;
    }
    (more - free).max(buffer.capacity().min(1024 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    #[test]
    fn the_oldest_incomplete_body_is_evicted() {
        let pool = Pool::new(100 * KIB);
        let (first, second) = (pool.begin(), pool.begin());
        assert!(pool.extend(first, &vec![1; 60 * KIB]));
        assert!(pool.extend(second, &vec![2; 60 * KIB]));
        assert!(!pool.extend(first, &[1]));
        assert_eq!(pool.take(first), None);
        // No older body is left to evict.
        let third = pool.begin();
        assert!(pool.extend(third, &vec![3; 30 * KIB]));
        assert!(!pool.extend(second, &vec![2; 40 * KIB]));
        assert_eq!(pool.take(third).unwrap().len(), 30 * KIB);
    }

    #[test]
    fn a_complete_body_is_not_evicted() {
        let pool = Pool::new(100 * KIB);
        let (first, second) = (pool.begin(), pool.begin());
        assert!(pool.extend(first, &vec![1; 60 * KIB]));
        let complete = pool.take(first).unwrap();
        assert!(!pool.extend(second, &vec![2; 60 * KIB]));
        pool.release(complete.capacity());
        let third = pool.begin();
        assert!(pool.extend(third, &vec![3; 100 * KIB]));
        pool.discard(third);
        assert_eq!(pool.lock().used, 0);
    }

    #[test]
    fn a_buffer_is_at_most_twice_its_content() {
        let pool = Pool::new(8 * KIB * KIB);
        let id = pool.begin();
        for _ in 0..7 * 64 {
            assert!(pool.extend(id, &vec![0; 16 * KIB]));
            let state = pool.lock();
            let body = state.incomplete.get(&id).unwrap();
            assert_eq!(state.used, body.capacity());
            assert!(body.capacity() <= (2 * body.len()).min(body.len() + KIB * KIB));
        }
    }
}
