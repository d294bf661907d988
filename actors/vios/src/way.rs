//! What an actor sends to one other party, in order, without waiting for it.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use vioduct_runtime::{Accepts, ActorRef, Codec, RemoteMessage};
use vioduct_transport::{Flow, Link};

use crate::redirect::name::LuId;

/// Messages that wait for one party. Who would be one too many has lost that party.
const SENDS_MAX: usize = 65_536;

/// Nothing more can be sent this way. It is to be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side is gone, or takes no more")]
pub(crate) struct Broken;

/// A way to one party. What waits on it is sent even when it is dropped.
#[derive(Debug)]
pub(crate) struct Way<T> {
    queue: mpsc::Sender<(LuId, T)>,
}

impl<T: RemoteMessage + Send + Sync> Way<T> {
    /// Over a link. What concerns one LU keeps its order. `lost` is called when it is broken.
    pub(crate) fn over(link: Link, lost: impl FnOnce() + Send + 'static) -> Self {
        Self::start(lost, move |LuId(lu), message: T| {
            let link = link.clone();
            async move {
                let mut head = Vec::new();
                Codec::Postcard.encode(&message, &mut head).map_err(|_error| Broken)?;
                #[expect(clippy::cast_possible_truncation, reason = "which lane; any will do")]
                let flow = Flow::Pair(lu as u32);
                link.send(flow, &head, &message.body()).await.map_err(|_error| Broken)?;
                Ok(())
            }
        })
    }

    /// To an actor. `lost` is called when it is broken.
    pub(crate) fn to<P: Accepts<T>>(
        actor: ActorRef<P>,
        lost: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self::start(lost, move |_lu, message| {
            let actor = actor.clone();
            async move { actor.tell(message).await.map_err(|_not_taken| Broken) }
        })
    }

    /// By whatever `send` does with a message; it ends with the first that fails.
    pub(crate) fn start<F, S>(lost: impl FnOnce() + Send + 'static, send: S) -> Self
    where
        S: Fn(LuId, T) -> F + Send + 'static,
        F: Future<Output = Result<(), Broken>> + Send,
    {
        let (queue, mut queued) = mpsc::channel::<(LuId, T)>(SENDS_MAX);
        Handle::current().spawn(async move {
            while let Some((lu, message)) = queued.recv().await {
                if send(lu, message).await.is_err() {
                    return lost();
                }
            }
        });
        Self { queue }
    }

    /// Sends, or keeps what is to be sent.
    pub(crate) fn send(&self, lu: LuId, message: T) -> Result<(), Broken> {
        self.queue.try_send((lu, message)).map_err(|_full_or_over| Broken)
    }
}
