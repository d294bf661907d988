//! What an actor sends to one other party, in order, without waiting for it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::{Actor, Context, Handler, Message};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use vioduct_runtime::{Accepts, ActorRef, Codec, LocalRef, RemoteMessage};
use vioduct_transport::{Flow, Link};

use crate::redirect::name::LuId;

/// Messages that wait for one party. Who would be one too many has lost that party.
const SENDS_MAX: usize = 65_536;

/// Nothing more can be sent this way. It is to be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side is gone, or takes no more")]
pub(crate) struct Broken;

/// Gives a message to the other party if it has room now, or back.
type Now<T> = Box<dyn Fn(LuId, T) -> Result<(), T> + Send + Sync>;

/// A way to one party, used by one actor. What waits on it is sent even when it is dropped.
pub(crate) struct Way<T> {
    now: Now<T>,
    queue: mpsc::Sender<(LuId, T)>,
    /// How many were given to the queue and have not left it: while there are any, all others go
    /// behind them.
    waiting: Arc<AtomicUsize>,
}

impl<T> fmt::Debug for Way<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl<T: RemoteMessage + Send + Sync> Way<T> {
    /// Over a link. What concerns one LU keeps its order. `lost` is called when it is broken.
    pub(crate) fn over(link: Link, lost: impl FnOnce() + Send + 'static) -> Self {
        let at_once = link.clone();
        let now = move |lu: LuId, message: T| {
            let Some(head) = head_of(&message) else { return Err(message) };
            let sent = at_once.try_send(flow_of(lu), &head, &message.body());
            sent.map(drop).map_err(|_no_room| message)
        };
        Self::start(lost, now, move |lu, message: T| {
            let link = link.clone();
            async move {
                let head = head_of(&message).ok_or(Broken)?;
                let sent = link.send(flow_of(lu), &head, &message.body()).await;
                sent.map(drop).map_err(|_error| Broken)
            }
        })
    }

    /// To an actor, wherever it runs. `lost` is called when it is broken.
    ///
    /// All go by the way's task: what an actor sends itself, and what a task sends for it, are two
    /// senders, whose messages keep no order with each other on a link.
    pub(crate) fn to<P: Accepts<T>>(
        actor: ActorRef<P>,
        lost: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self::start(
            lost,
            |_lu, message| Err(message),
            move |_lu, message| {
                let actor = actor.clone();
                async move { actor.tell(message).await.map_err(|_not_taken| Broken) }
            },
        )
    }
}

impl<T: Send + 'static> Way<T> {
    /// To an actor of this node.
    pub(crate) fn within<A>(actor: LocalRef<A>) -> Self
    where
        T: Message<Result = ()> + Sync,
        A: Actor<Context = Context<A>> + Handler<T>,
    {
        let at_once = actor.clone();
        let now = move |_lu, message| at_once.try_tell(message).map_err(|full| full.message);
        Self::start(
            || (),
            now,
            move |_lu, message| {
                let actor = actor.clone();
                async move { actor.tell(message).await.map_err(|_ended| Broken) }
            },
        )
    }

    /// By whatever `now` does with a message if it can be done at once, and else `send`; it ends
    /// with the first that fails.
    pub(crate) fn start<F, S>(
        lost: impl FnOnce() + Send + 'static,
        now: impl Fn(LuId, T) -> Result<(), T> + Send + Sync + 'static,
        send: S,
    ) -> Self
    where
        S: Fn(LuId, T) -> F + Send + 'static,
        F: Future<Output = Result<(), Broken>> + Send,
    {
        let (queue, mut queued) = mpsc::channel::<(LuId, T)>(SENDS_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        Handle::current().spawn(async move {
            while let Some((lu, message)) = queued.recv().await {
                if send(lu, message).await.is_err() {
                    return lost();
                }
                left.fetch_sub(1, Ordering::Release);
            }
        });
        Self { now: Box::new(now), queue, waiting }
    }

    /// Sends, or keeps what is to be sent.
    pub(crate) fn send(&self, lu: LuId, message: T) -> Result<(), Broken> {
        if self.waiting.load(Ordering::Acquire) > 0 {
            return self.wait(lu, message);
        }
        (self.now)(lu, message).or_else(|message| self.wait(lu, message))
    }

    fn wait(&self, lu: LuId, message: T) -> Result<(), Broken> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send((lu, message)).map_err(|_full_or_over| Broken)
    }
}

fn head_of<T: RemoteMessage>(message: &T) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    Codec::Postcard.encode(message, &mut head).ok()?;
    Some(head)
}

#[expect(clippy::cast_possible_truncation, reason = "which lane; any will do")]
fn flow_of(LuId(lu): LuId) -> Flow {
    Flow::Pair(lu as u32)
}
