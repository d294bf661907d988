//! A value that many wait for: the consensus library's `Watch`.
//!
//! tokio's wakes those who wait in an order of its own randomness. Here they are woken in the order
//! in which they began to wait, so that a simulation runs the same way again.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use openraft::async_runtime::watch::{RecvError, SendError};
use openraft::async_runtime::{Watch, WatchReceiver, WatchSender};
use openraft::{OptionalSend, OptionalSync};
use tokio::sync::Notify;

/// Makes watched values.
#[derive(Debug)]
pub struct Watched;

struct Shared<T> {
    slot: RwLock<Slot<T>>,
    changed: Notify,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

struct Slot<T> {
    value: T,
    version: u64,
    /// There are no senders any more.
    is_over: bool,
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, Slot<T>> {
        // A change that panicked half-way has the watched value as it left it, as with tokio's.
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Slot<T>> {
        self.slot.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes the value. A clone changes the same one.
pub struct Sender<T>(Arc<Shared<T>>);

/// Sees the value, and waits for the next one.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// The value as it is now; it does not change while this is held.
pub struct Ref<'a, T>(RwLockReadGuard<'a, Slot<T>>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.write().is_over = true;
            self.0.changed.notify_waiters();
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Watch for Watched {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let shared = Arc::new(Shared {
            slot: RwLock::new(Slot { value: init, version: 0, is_over: false }),
            changed: Notify::new(),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
        });
        (Sender(Arc::clone(&shared)), Receiver { shared, seen: 0 })
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<Watched, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.receivers.load(Ordering::Acquire) == 0 {
            return Err(SendError(value));
        }
        self.send_if_modified(|current| {
            *current = value;
            true
        });
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        {
            let mut slot = self.0.write();
            if !modify(&mut slot.value) {
                return false;
            }
            slot.version += 1;
        }
        self.0.changed.notify_waiters();
        true
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        Ref(self.0.read())
    }

    fn subscribe(&self) -> Receiver<T> {
        self.0.receivers.fetch_add(1, Ordering::Relaxed);
        let seen = self.0.read().version;
        Receiver { shared: Arc::clone(&self.0), seen }
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<Watched, T> for Receiver<T> {
    /// Cancel-safe.
    async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            // Made before the look at the value: a change after it is not missed.
            let changed = self.shared.changed.notified();
            {
                let slot = self.shared.read();
                if slot.version != self.seen {
                    self.seen = slot.version;
                    return Ok(());
                }
                if slot.is_over {
                    return Err(RecvError(()));
                }
            }
            changed.await;
        }
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        Ref(self.shared.read())
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let slot = self.shared.read();
        self.seen = slot.version;
        Ref(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_began_to() {
        for _round in 0..50 {
            let (sender, receiver) = Watched::channel(0);
            let order = Arc::new(Mutex::new(Vec::new()));
            let waits = (0..10).map(|number| {
                let (mut receiver, order) = (receiver.clone(), Arc::clone(&order));
                tokio::spawn(async move {
                    receiver.changed().await.unwrap();
                    order.lock().unwrap().push(number);
                })
            });
            let waits: Vec<_> = waits.collect();
            tokio::task::yield_now().await;
            sender.send(1).unwrap();
            for wait in waits {
                wait.await.unwrap();
            }
            assert_eq!(*order.lock().unwrap(), Vec::from_iter(0..10));
        }
    }

    #[tokio::test]
    async fn the_last_value_is_seen_before_the_end_and_nothing_after_it() {
        let (sender, mut receiver) = Watched::channel(0);
        let other = sender.clone();
        sender.send(1).unwrap();
        drop(sender);
        assert_eq!(receiver.changed().await, Ok(()));
        assert_eq!(*receiver.borrow_watched(), 1);
        other.send(2).unwrap();
        drop(other);
        assert_eq!(receiver.changed().await, Ok(()));
        assert_eq!(receiver.changed().await, Err(RecvError(())));
        let (sender, receiver) = Watched::channel(0);
        drop(receiver);
        assert_eq!(sender.send(1), Err(SendError(1)));
    }
}
