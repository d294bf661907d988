//! Lets no request through while the power is off.

use std::cell::Cell;

use tokio::sync::{Notify, watch};

/// Counts what is under way, and closes.
#[derive(Debug)]
pub(crate) struct Gate {
    is_open: watch::Sender<bool>,
    inside: Cell<u32>,
    emptied: Notify,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { is_open: watch::Sender::new(true), inside: Cell::new(0), emptied: Notify::new() }
    }

    /// Waits until it is open.
    pub(crate) async fn opened(&self) {
        // The sender is this gate's own.
        drop(self.is_open.subscribe().wait_for(|is_open| *is_open).await);
    }

    /// A request is under way.
    pub(crate) fn enter(&self) {
        self.inside.set(self.inside.get() + 1);
    }

    /// It is not any more.
    pub(crate) fn leave(&self) {
        self.inside.set(self.inside.get().saturating_sub(1));
        if self.inside.get() == 0 {
            self.emptied.notify_waiters();
        }
    }

    /// Closes it, and waits until nothing is under way.
    pub(crate) async fn close(&self) {
        self.is_open.send_replace(false);
        loop {
            let emptied = self.emptied.notified();
            if self.inside.get() == 0 {
                return;
            }
            emptied.await;
        }
    }

    pub(crate) fn open(&self) {
        self.is_open.send_replace(true);
    }
}
