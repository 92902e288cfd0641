//! The room for bodies that are too large for the share of their connection.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Buffers that together never hold more than the room there is. For a body that comes, the one that has been coming the
/// longest is given up: so whoever lets bodies wait loses them to those who send theirs.
#[derive(Debug)]
pub struct Pool {
    room: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What all buffers take, also those that have been taken out.
    used: usize,
    next: u64,
    /// What has come of each body, in the order in which they came here.
    coming: BTreeMap<u64, Vec<u8>>,
}

impl Pool {
    pub fn new(room: usize) -> Self {
        Self { room, state: Mutex::default() }
    }

    /// Begins with an empty buffer.
    pub fn begin(&self) -> u64 {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.coming.insert(id, Vec::new());
        id
    }

    /// Adds to a body. Is it `false`, then it was given up for others, or there is no room for it.
    pub fn extend(&self, id: u64, bytes: &[u8]) -> bool {
        let mut state = self.lock();
        let Some(mut body) = state.coming.remove(&id) else { return false };
        let more = growth(&body, bytes.len());
        while state.used + more > self.room {
            // Whatever came here later has the better right to the room.
            let Some(oldest) = state.coming.first_entry().filter(|oldest| *oldest.key() < id) else {
                state.used -= body.capacity();
                return false;
            };
            let given_up = oldest.remove();
            state.used -= given_up.capacity();
        }
        let before = body.capacity();
        body.reserve_exact(before - body.len() + more);
        body.extend_from_slice(bytes);
        state.used = state.used - before + body.capacity();
        state.coming.insert(id, body);
        true
    }

    /// Takes out a body that is complete, unless it was given up. Its room is in use until it is [given back](Self::give_back).
    pub fn take(&self, id: u64) -> Option<Vec<u8>> {
        self.lock().coming.remove(&id)
    }

    /// Gives up a body that is still coming, if it is.
    pub fn forget(&self, id: u64) {
        let mut state = self.lock();
        if let Some(body) = state.coming.remove(&id) {
            state.used -= body.capacity();
        }
    }

    /// Gives back the room of a body that was taken out.
    pub fn give_back(&self, capacity: usize) {
        self.lock().used -= capacity;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By how much a buffer is to grow so that `more` bytes fit: by what it has, so that a body is copied a few times only, but by
/// a mebibyte at most. Never by what a peer says it is going to send.
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
    fn what_has_been_coming_the_longest_is_given_up() {
        let pool = Pool::new(100 * KIB);
        let (first, second) = (pool.begin(), pool.begin());
        assert!(pool.extend(first, &vec![1; 60 * KIB]));
        assert!(pool.extend(second, &vec![2; 60 * KIB]));
        assert!(!pool.extend(first, &[1]));
        assert_eq!(pool.take(first), None);
        // There is nobody left to be given up for it but itself.
        let third = pool.begin();
        assert!(pool.extend(third, &vec![3; 30 * KIB]));
        assert!(!pool.extend(second, &vec![2; 40 * KIB]));
        assert_eq!(pool.take(third).unwrap().len(), 30 * KIB);
    }

    #[test]
    fn what_is_complete_is_not_given_up() {
        let pool = Pool::new(100 * KIB);
        let (first, second) = (pool.begin(), pool.begin());
        assert!(pool.extend(first, &vec![1; 60 * KIB]));
        let complete = pool.take(first).unwrap();
        assert!(!pool.extend(second, &vec![2; 60 * KIB]));
        pool.give_back(complete.capacity());
        let third = pool.begin();
        assert!(pool.extend(third, &vec![3; 100 * KIB]));
        pool.forget(third);
        assert_eq!(pool.lock().used, 0);
    }

    #[test]
    fn a_body_takes_what_has_come_of_it_and_a_little_more() {
        let pool = Pool::new(8 * KIB * KIB);
        let id = pool.begin();
        for _ in 0..7 * 64 {
            assert!(pool.extend(id, &vec![0; 16 * KIB]));
            let state = pool.lock();
            let body = state.coming.get(&id).unwrap();
            assert_eq!(state.used, body.capacity());
            assert!(body.capacity() <= (2 * body.len()).min(body.len() + KIB * KIB));
        }
    }
}
