//! Who waits on a link: counted by those who do, looked at by the link's driver.
//!
//! Waits begin and end on hot paths. The driver is woken only by the first one after a rest of
//! `keep_alive` or more; until it rests again it looks by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::LinkShared;

/// Waits on one link.
#[derive(Debug)]
pub(crate) struct Awaited {
    holds: AtomicUsize,
    /// The driver looks by itself, or has been woken to: who begins to wait need not wake it.
    is_watched: AtomicBool,
    woken: Notify,
}

impl Awaited {
    /// Of a link without a connection: there is nothing to watch, nor anybody to wake.
    pub(crate) fn new() -> Self {
        Self { holds: AtomicUsize::new(0), is_watched: AtomicBool::new(true), woken: Notify::new() }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.holds.load(Ordering::SeqCst) > 0
    }

    /// Has the driver watch the link, unless it does. To be called after the wait has begun: either
    /// this sees that the driver rests, or the driver sees the wait before it rests.
    pub(crate) fn begun(&self) {
        if !self.is_watched.load(Ordering::SeqCst) && !self.is_watched.swap(true, Ordering::SeqCst)
        {
            self.woken.notify_one();
        }
    }

    /// Ends when a wait has begun on a link that was not watched. Cancel-safe.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Says whether the driver looks by itself. Before it rests, it must look once more.
    pub(crate) fn set_watched(&self, is_watched: bool) {
        self.is_watched.store(is_watched, Ordering::SeqCst);
    }
}

/// Says that somebody waits on a link, as long as it lives: the link is kept alive, and a silent
/// peer noticed. Made by [`Link::hold`](crate::Link::hold).
#[derive(Debug)]
#[must_use = "a link is held as long as this lives"]
pub struct Hold {
    link: Arc<LinkShared>,
}

impl Hold {
    pub(crate) fn new(link: Arc<LinkShared>) -> Self {
        link.awaited.holds.fetch_add(1, Ordering::SeqCst);
        link.awaited.begun();
        Self { link }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.link.awaited.holds.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_woken(awaited: &Awaited) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(pin!(awaited.woken()).poll(&mut cx), Poll::Ready(()))
    }

    #[test]
    fn only_the_first_wait_after_a_rest_wakes_the_driver() {
        let awaited = Awaited::new();
        awaited.begun();
        assert!(!is_woken(&awaited), "it looks by itself");
        awaited.set_watched(false);
        assert!(!is_woken(&awaited));
        for _wait in 0..3 {
            awaited.begun();
        }
        assert!(is_woken(&awaited));
        awaited.begun();
        assert!(!is_woken(&awaited), "it has been woken to look by itself");
    }
}
