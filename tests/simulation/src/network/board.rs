//! A value with change notification, like tokio's `watch` channel. It wakes waiting readers in the order in which they began to wait;
//! tokio's channel wakes them in random order, which a seed does not reproduce.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

struct Shared<T> {
    value: Mutex<(T, u64)>,
    changed: Notify,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, (T, u64)> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing side.
pub(super) struct Board<T>(Arc<Shared<T>>);

impl<T: Copy> Board<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Arc::new(Shared { value: Mutex::new((value, 0)), changed: Notify::new() }))
    }

    /// Changes the value and wakes all waiting readers.
    pub(super) fn send_modify(&self, change: impl FnOnce(&mut T)) {
        let mut value = self.0.lock();
        change(&mut value.0);
        value.1 += 1;
        drop(value);
        self.0.changed.notify_waiters();
    }

    /// A reader that has seen the current value.
    pub(super) fn subscribe(&self) -> Reader<T> {
        Reader { shared: Arc::clone(&self.0), seen: self.0.lock().1 }
    }
}

/// The reading side, which can wait for the next change.
pub(super) struct Reader<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T> Clone for Reader<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

impl<T: Copy> Reader<T> {
    pub(super) fn get(&self) -> T {
        self.shared.lock().0
    }

    pub(super) fn get_and_update(&mut self) -> T {
        let (value, version) = *self.shared.lock();
        self.seen = version;
        value
    }

    /// Resolves when the value has changed since this reader last saw it.
    pub(super) async fn changed(&mut self) {
        loop {
            let notified = self.shared.changed.notified();
            let version = self.shared.lock().1;
            if version != self.seen {
                self.seen = version;
                return;
            }
            notified.await;
        }
    }
}
