//! A value that others wait for a change of. As tokio's channel of the same kind, but for the order in which those who wait are woken: that
//! is the one in which they came, where tokio's is drawn by chance.

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

/// Where the value is written.
pub(super) struct Board<T>(Arc<Shared<T>>);

impl<T: Copy> Board<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Arc::new(Shared { value: Mutex::new((value, 0)), changed: Notify::new() }))
    }

    /// Changes the value and wakes whoever waits.
    pub(super) fn send_modify(&self, change: impl FnOnce(&mut T)) {
        let mut value = self.0.lock();
        change(&mut value.0);
        value.1 += 1;
        drop(value);
        self.0.changed.notify_waiters();
    }

    /// One who has seen what the value is now.
    pub(super) fn subscribe(&self) -> Reader<T> {
        Reader { shared: Arc::clone(&self.0), seen: self.0.lock().1 }
    }
}

/// Who has seen the value, and may wait for the next.
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

    /// Resolves when the value has changed since it was seen.
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
