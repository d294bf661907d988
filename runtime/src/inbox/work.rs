//! Work that handlers leave behind, for the pump that called them.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;

/// What goes on after a handler.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    /// What was left since the pump looked last; none while no pump calls handlers.
    static LEFT: RefCell<Option<Vec<Work>>> = const { RefCell::new(None) };
}

/// Leaves work to the pump that calls the handler which runs now. Gives it back if none does.
pub(crate) fn leave(work: Work) -> Result<(), Work> {
    LEFT.with_borrow_mut(|left| match left {
        Some(left) => {
            left.push(work);
            Ok(())
        }
        None => Err(work),
    })
}

/// Until it is dropped, a pump calls handlers on this thread.
pub(super) struct Calling;

impl Calling {
    pub(super) fn begin() -> Self {
        LEFT.set(Some(Vec::new()));
        Self
    }

    /// Ends it. Gives what was left, in order.
    pub(super) fn end(self) -> Vec<Work> {
        LEFT.take().unwrap_or_default()
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        // Already empty, but after a panic.
        drop(LEFT.take());
    }
}
