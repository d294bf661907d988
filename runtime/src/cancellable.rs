//! An answer that is given up when nobody waits for it any more.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, AsyncContext, Message};

use crate::inbox::work;
use crate::trace;

/// A handler's result that comes later, and whose work ends when its asker has stopped waiting: by
/// its deadline, because it dropped the ask, or because its node is gone.
///
/// Works begin, up to their first await, in the order in which their messages were handled.
///
/// actix's own `ResponseFuture` runs on whether anybody waits or not. A tell's work is never given
/// up.
pub struct Cancellable<T>(Pin<Box<dyn Future<Output = T>>>);

impl<T> fmt::Debug for Cancellable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cancellable")
    }
}

impl<T> Cancellable<T> {
    /// Runs `work` in the actor's context, for the [request](crate::trace) that is current now. It
    /// may be dropped at any of its awaits.
    pub fn new(work: impl Future<Output = T> + 'static) -> Self {
        Self(Box::pin(trace::carry(work)))
    }
}

impl<A, M> MessageResponse<A, M> for Cancellable<M::Result>
where
    A: Actor,
    A::Context: AsyncContext<A>,
    M: Message,
{
    fn handle(self, ctx: &mut A::Context, tx: Option<OneshotSender<M::Result>>) {
        let work = async move {
            let Some(mut answer) = tx else {
                drop(self.0.await);
                return;
            };
            let result = tokio::select! {
                biased;
                () = answer.closed() => return,
                result = self.0 => result,
            };
            // Fails only when nobody waits any more.
            drop(answer.send(result));
        };
        // The context would look at all its futures whenever one of them wakes, and start them out
        // of order. It gets what was not handled for an inbox, but for actix's own address.
        if let Err(work) = work::leave(Box::pin(work)) {
            ctx.spawn(actix::fut::wrap_future(work));
        }
    }
}
