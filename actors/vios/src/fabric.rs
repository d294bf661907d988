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
use vioduct_runtime::{Codec, LocalRef, RemoteMessage};
use vioduct_transport::{BoxFuture, DialError, Inbound, Link, LinkEvent, Message as Parcel};

use crate::redirect::name::ConnId;

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
