//! Actors that belong to another one: they end with it, and it fails with them.

use std::sync::Arc;

use crate::error::EndReason;
use crate::inbox::{Hosted, Order};

/// One life of an actor, as its child knows it. While this is kept, the parent has a child.
pub(crate) struct Parent(Arc<dyn Hosted>);

impl Parent {
    pub(crate) fn new(parent: Arc<dyn Hosted>) -> Self {
        parent.children().send_modify(|count| *count += 1);
        Self(parent)
    }

    pub(crate) fn serial(&self) -> u64 {
        self.0.id().serial
    }

    /// Waits for the end of that life.
    pub(crate) async fn ended(&self) -> EndReason {
        let mut ended = self.0.ended();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(EndReason::Gone),
            Err(_gone) => EndReason::Gone,
        }
    }

    /// The child is given up: the parent fails as well, and its own supervision decides.
    pub(crate) fn escalate(&self, child: &str, reason: &EndReason) {
        self.0.order(Order::Fail(format!("its child {child} was given up: {reason}")));
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        self.0.children().send_modify(|count| *count -= 1);
    }
}

/// Waits until a life has no children any more.
pub(crate) async fn childless(parent: &dyn Hosted) {
    // Fails only when the inbox is gone, and its children with it.
    parent.children().subscribe().wait_for(|count| *count == 0).await.ok();
}
