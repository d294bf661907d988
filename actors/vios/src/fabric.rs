//! The fabric: a link of its own between a VIOS and the storage, with its own address and
//! connection, so that it can fail alone.
//!
//! Each connection gets a number; a link that comes back is another connection. What a peer sends
//! waits for the actor behind the fabric, and with it the peer's lane.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use actix::{Actor, Context, Handler};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use vioduct_runtime::{Codec, LocalRef, RemoteMessage};
use vioduct_transport::{
    BoxFuture, DialError, Flow, Inbound, Link, LinkEvent, Message as Parcel, SendError,
};

use crate::redirect::name::{ConnId, LuId};

/// Messages that wait for one connection; the sender of one more has lost the connection.
const SENDS_MAX: usize = 4096;

/// What came over the fabric.
#[derive(Debug)]
pub struct FromFabric<T> {
    /// By which connection.
    pub conn: ConnId,
    /// The link that it carries.
    pub link: Link,
    /// What.
    pub news: News<T>,
}

/// What there is to say of a connection.
#[derive(Debug)]
pub enum News<T> {
    /// It is there.
    Up,
    /// A message came.
    Came(T),
    /// It is gone, and with it what was under way.
    Down,
}

impl<T: 'static> actix::Message for FromFabric<T> {
    type Result = ();
}

/// One end of the fabric, for the actor behind it: what an endpoint hands over to.
///
/// Messages that cannot be read, and datagrams, are dropped.
pub struct FabricEnd<A: Actor, T> {
    actor: LocalRef<A>,
    conns: Mutex<HashMap<Link, ConnId>>,
    last: AtomicU64,
    handle: Handle,
    came: PhantomData<fn(T)>,
}

impl<A: Actor, T> fmt::Debug for FabricEnd<A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FabricEnd").field("actor", &self.actor).finish_non_exhaustive()
    }
}

impl<A, T> FabricEnd<A, T>
where
    A: Actor<Context = Context<A>> + Handler<FromFabric<T>>,
    T: RemoteMessage,
{
    /// Hands over to `actor`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(actor: LocalRef<A>) -> Self {
        Self {
            actor,
            conns: Mutex::default(),
            last: AtomicU64::new(0),
            handle: Handle::current(),
            came: PhantomData,
        }
    }

    fn conns(&self) -> MutexGuard<'_, HashMap<Link, ConnId>> {
        self.conns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn conn(&self, link: &Link) -> ConnId {
        let next = || ConnId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        *self.conns().entry(link.clone()).or_insert_with(next)
    }

    fn tell(&self, conn: ConnId, link: &Link, news: News<T>) {
        let (actor, link) = (self.actor.clone(), link.clone());
        // An event must not wait for room. There are few of them, and their order does not matter:
        // each names its connection.
        self.handle.spawn(async move {
            // Fails only when the actor has ended.
            drop(actor.tell(FromFabric { conn, link, news }).await);
        });
    }

    fn read(Parcel { head, body, .. }: Parcel) -> Option<T> {
        let mut came: T = Codec::Postcard.decode(&head).ok()?;
        came.put_body(body).ok()?;
        Some(came)
    }
}

impl<A, T> Inbound for FabricEnd<A, T>
where
    A: Actor<Context = Context<A>> + Handler<FromFabric<T>>,
    T: RemoteMessage + Send,
{
    fn deliver<'a>(
        &'a self,
        from: &'a Link,
        _lane: u8,
        batch: &'a mut Vec<Parcel>,
    ) -> BoxFuture<'a> {
        Box::pin(async move {
            let conn = self.conn(from);
            for parcel in batch.drain(..) {
                let Some(came) = Self::read(parcel) else {
                    tracing::warn!(peer = %from.peer(), "a message of the fabric does not read");
                    continue;
                };
                let came = FromFabric { conn, link: from.clone(), news: News::Came(came) };
                // Fails only when the actor has ended.
                drop(self.actor.tell(came).await);
            }
        })
    }

    fn datagram(&self, _from: &Link, _datagram: bytes::Bytes) {}

    fn event(&self, link: &Link, event: LinkEvent) {
        match event {
            LinkEvent::Up { .. } => self.tell(self.conn(link), link, News::Up),
            LinkEvent::Down { reason } => {
                tracing::info!(peer = %link.peer(), %reason, "fabric lost");
                let lost = self.conns().remove(link);
                if let Some(conn) = lost {
                    self.tell(conn, link, News::Down);
                }
            }
            LinkEvent::Undelivered { .. }
            | LinkEvent::Unreachable
            | LinkEvent::DialFailed { .. }
            | LinkEvent::PeerRestarted => {}
        }
    }

    fn refused(&self, addr: SocketAddr, error: DialError) {
        tracing::debug!(%addr, reason = error.label(), "connection to the fabric refused");
    }
}

/// Why nothing more can be sent by a connection. It is to be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection is gone, or takes no more")]
pub struct Broken;

/// What goes out by one connection, in order.
#[derive(Debug)]
pub struct Way<T> {
    queue: mpsc::Sender<(LuId, T)>,
}

impl<T: RemoteMessage + Send> Way<T> {
    /// Sends by `link` as long as this lives. `lost` is called once if the link refuses something.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(link: Link, lost: impl FnOnce() + Send + 'static) -> Self {
        let (queue, queued) = mpsc::channel(SENDS_MAX);
        Handle::current().spawn(async move {
            if let Err(error) = send_all(&link, queued).await {
                tracing::warn!(peer = %link.peer(), %error, "nothing more is sent over the fabric");
                lost();
            }
        });
        Self { queue }
    }

    /// Sends, or keeps what is to be sent. What concerns one LU keeps its order.
    ///
    /// # Errors
    /// [`Broken`]: it was not sent, nor will anything after it be.
    pub fn send(&self, lu: LuId, message: T) -> Result<(), Broken> {
        self.queue.try_send((lu, message)).map_err(|_full_or_over| Broken)
    }
}

async fn send_all<T: RemoteMessage>(
    link: &Link,
    mut queued: mpsc::Receiver<(LuId, T)>,
) -> Result<(), SendError> {
    let mut head = Vec::new();
    while let Some((LuId(lu), message)) = queued.recv().await {
        head.clear();
        if let Err(error) = Codec::Postcard.encode(&message, &mut head) {
            // Numbers and short lists always encode.
            tracing::error!(%error, "a message for the fabric does not encode");
            continue;
        }
        #[expect(clippy::cast_possible_truncation, reason = "which lane; any bits will do")]
        let flow = Flow::Pair(lu as u32);
        link.send(flow, &head, &message.body()).await?;
    }
    Ok(())
}
