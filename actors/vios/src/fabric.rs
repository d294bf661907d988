//! The fabric: a link of its own between a VIOS and the storage, with its own address and
//! connection, so that it can fail alone.
//!
//! Each connection gets a number; a link that comes back is another connection. What a peer sends
//! waits for the actor behind the fabric, and with it the peer's lane.
//!
//! Heartbeats travel on the control lane and nothing else does, so that they wait for no data.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use actix::{Actor, Context, Handler};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::Instant;
use vioduct_runtime::{Codec, LocalRef, RemoteMessage};
use vioduct_transport::{BoxFuture, DialError, Flow, Inbound, Link, LinkEvent, Message as Parcel};

use crate::carry::{Beat, CarriedCall, CarriedWord, Echo};
use crate::redirect::name::ConnId;

/// Which lane is the control lane.
const CONTROL: u8 = 0;

/// What travels in one direction.
pub trait Bound: RemoteMessage + Send {
    /// What travels before it, on the control lane.
    type Pulse: RemoteMessage + Send;
}

impl Bound for CarriedCall {
    type Pulse = Beat;
}

impl Bound for CarriedWord {
    type Pulse = Echo;
}

/// What came over the fabric.
#[derive(Debug)]
pub struct FromFabric<T> {
    /// By which connection.
    pub conn: ConnId,
    /// The link that it carries.
    pub link: Link,
    /// What.
    pub came: T,
}

/// What there is to say of a connection of the fabric.
#[derive(Debug)]
pub struct OfConn<P> {
    /// Which.
    pub conn: ConnId,
    /// The link that it carries.
    pub link: Link,
    /// What.
    pub news: News<P>,
}

/// What there is to say of a connection.
#[derive(Debug)]
pub enum News<P> {
    /// It is there.
    Up,
    /// A heartbeat came, or an answer to one.
    Pulse {
        /// It.
        pulse: P,
        /// When, wherever it waited since.
        at: Instant,
    },
    /// It is gone, and with it what was under way.
    Down,
}

impl<T: 'static> actix::Message for FromFabric<T> {
    type Result = ();
}

impl<P: 'static> actix::Message for OfConn<P> {
    type Result = ();
}

/// Sends a heartbeat or an answer, before all data. One that finds no room is dropped, as one that
/// gets lost on the way: it was late already.
pub(crate) fn send_pulse<P: RemoteMessage>(link: &Link, pulse: &P) {
    let mut head = Vec::new();
    let encoded = Codec::Postcard.encode(pulse, &mut head);
    debug_assert!(encoded.is_ok(), "a few numbers");
    if let Err(error) = link.try_send(Flow::Control, &head, &Bytes::new()) {
        tracing::debug!(peer = %link.peer(), %error, "a heartbeat is not sent");
    }
}

/// One end of the fabric, for the actors behind it: what an endpoint hands over to.
///
/// `A` takes messages, `C` hears of connections and heartbeats. Messages that cannot be read, and
/// datagrams, are dropped.
pub struct FabricEnd<A: Actor, T, C: Actor = A> {
    actor: LocalRef<A>,
    keeper: LocalRef<C>,
    conns: Mutex<HashMap<Link, ConnId>>,
    last: AtomicU64,
    handle: Handle,
    came: PhantomData<fn(T)>,
}

impl<A: Actor, T, C: Actor> fmt::Debug for FabricEnd<A, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FabricEnd").field("actor", &self.actor).finish_non_exhaustive()
    }
}

impl<A, T, C> FabricEnd<A, T, C>
where
    A: Actor<Context = Context<A>> + Handler<FromFabric<T>>,
    C: Actor<Context = Context<C>> + Handler<OfConn<T::Pulse>>,
    T: Bound,
{
    /// Messages go to `actor`, everything else to `keeper`. Ends of the same actors have different
    /// numbers, so that no two of their connections have the same.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(number: u8, actor: LocalRef<A>, keeper: LocalRef<C>) -> Self {
        Self {
            actor,
            keeper,
            conns: Mutex::default(),
            last: AtomicU64::new(u64::from(number) << 56),
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

    fn tell(&self, conn: ConnId, link: &Link, news: News<T::Pulse>) {
        let (keeper, link) = (self.keeper.clone(), link.clone());
        // An event must not wait for room. There are few of them, and their order does not matter:
        // each names its connection.
        self.handle.spawn(async move {
            // Fails only when the actor has ended.
            drop(keeper.tell(OfConn { conn, link, news }).await);
        });
    }

    async fn hand_over(&self, conn: ConnId, from: &Link, lane: u8, parcel: Parcel) -> Option<()> {
        let link = from.clone();
        // Each fails only when the actor has ended.
        if lane == CONTROL {
            let (pulse, at) = (read(parcel)?, Instant::now());
            let news = News::Pulse { pulse, at };
            drop(self.keeper.tell(OfConn { conn, link, news }).await);
        } else {
            let came = read(parcel)?;
            drop(self.actor.tell(FromFabric { conn, link, came }).await);
        }
        Some(())
    }
}

fn read<M: RemoteMessage>(Parcel { head, body, .. }: Parcel) -> Option<M> {
    let mut came: M = Codec::Postcard.decode(&head).ok()?;
    came.put_body(body).ok()?;
    Some(came)
}

impl<A, T, C> Inbound for FabricEnd<A, T, C>
where
    A: Actor<Context = Context<A>> + Handler<FromFabric<T>>,
    C: Actor<Context = Context<C>> + Handler<OfConn<T::Pulse>>,
    T: Bound,
{
    fn deliver<'a>(
        &'a self,
        from: &'a Link,
        lane: u8,
        batch: &'a mut Vec<Parcel>,
    ) -> BoxFuture<'a> {
        Box::pin(async move {
            let conn = self.conn(from);
            for parcel in batch.drain(..) {
                if self.hand_over(conn, from, lane, parcel).await.is_none() {
                    tracing::warn!(peer = %from.peer(), "a message of the fabric does not read");
                }
            }
        })
    }

    fn datagram(&self, _from: &Link, _datagram: Bytes) {}

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
