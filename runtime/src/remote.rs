//! Sending to an actor of another node.

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout_at};
use vioduct_transport::{Flow, Hold, SendError};

use crate::codec::Codec;
use crate::current;
use crate::envelope::{self, Address, Status};
use crate::error::{AskError, DEADLINE_MAX, Doubt, NotDelivered};
use crate::id::ActorId;
use crate::message::{MessageType, RemoteMessage, Wire};
use crate::node::NodeShared;
use crate::peer::asks::{AskRefused, Fault};
use crate::peer::credit::cost;
use crate::peer::outlet::{Lease, Next, Outlet};
use crate::peer::watches::{NoRoom, Tell};
use crate::peer::{Judge, Peer, flow_of};
use crate::scratch::Scratch;
use crate::trace::{self, RequestId};

/// A reference to an actor of another node.
#[derive(Clone)]
pub(crate) struct Remote {
    node: Arc<NodeShared>,
    peer: Arc<Peer>,
    outlet: Arc<Outlet>,
    codec: Codec,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("id", &self.outlet.id).finish_non_exhaustive()
    }
}

/// A place for an answer; given up when it is dropped, and the other side is told.
struct Asking<'a> {
    remote: &'a Remote,
    flow: Flow,
    id: u64,
    is_over: bool,
    /// A peer that falls silent is noticed.
    _hold: Hold,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.is_over && self.remote.peer.asks.forget(self.id) {
            self.remote.cancel(self.flow, self.id);
        }
    }
}

impl Remote {
    pub(crate) fn new(node: &Arc<NodeShared>, peer: &Arc<Peer>, id: &ActorId) -> Self {
        let (codec, outlet) = (node.codec, peer.outlet(id));
        Self { node: Arc::clone(node), peer: Arc::clone(peer), outlet, codec }
    }

    pub(crate) fn id(&self) -> &ActorId {
        &self.outlet.id
    }

    /// That of the actor that runs, or of the node, to this one.
    fn flow(&self) -> Flow {
        flow_of(current::serial(), self.id().serial)
    }

    /// Has `tell` called when the actor ends. Gives the number of the watch.
    pub(crate) fn watch(&self, watcher: u64, tell: Tell) -> Result<u64, NoRoom> {
        let judge = if self.node.cluster.is_some() { Judge::Cluster } else { Judge::Links };
        self.peer.watch(self.id(), watcher, tell, judge)
    }

    pub(crate) fn unwatch(&self, watch: u64) {
        self.peer.unwatch(self.id(), watch);
    }

    /// Leave to send, asked for when there is none yet.
    async fn lease<M: RemoteMessage>(&self) -> Result<Lease, NotDelivered> {
        if let Some(lease) = self.next::<M>()? {
            return Ok(lease);
        }
        loop {
            let changed = self.outlet.changed();
            match self.next::<M>()? {
                Some(lease) => return Ok(lease),
                None => {
                    let _waiting = self.outlet.waiting();
                    changed.await;
                }
            }
        }
    }

    /// The same, at once or not at all.
    fn next<M: RemoteMessage>(&self) -> Result<Option<Lease>, NotDelivered> {
        match self.outlet.next(TypeId::of::<M>(), const { MessageType::of::<M>() }) {
            Next::Send(lease) => Ok(Some(lease)),
            Next::Wait => Ok(None),
            Next::Fail(reason) => Err(reason),
            Next::Ask(want) => {
                let asked = self.peer.bind(&self.outlet, want);
                if asked.is_err() {
                    self.outlet.not_asked(&want);
                }
                asked.map(|()| None)
            }
        }
    }

    fn head<M: RemoteMessage>(
        &self,
        message: &M,
        lease: &Lease,
        request: Option<RequestId>,
        ask: Option<(u64, u64)>,
    ) -> Result<Scratch, NotDelivered> {
        let mut head = Scratch::new();
        let to = Address {
            codec: self.codec,
            target: self.id().serial,
            message: lease.message,
            epoch: lease.epoch,
            request,
        };
        envelope::put_message(&mut head, to, ask);
        self.codec.encode(message, &mut head).map_err(NotDelivered::Encode)?;
        if request.is_some() && head.len() > self.node.head_bytes_max as usize {
            // Whoever chose the id does not decide whether the message fits.
            return self.head(message, lease, None, ask);
        }
        Ok(head)
    }

    /// Waits for credit; none when the epoch is over.
    async fn pay<'a>(&self, lease: &'a Lease, cost: u32) -> Option<SemaphorePermit<'a>> {
        if let Ok(paid) = lease.credit.try_acquire_many(cost) {
            return Some(paid);
        }
        let _waiting = self.outlet.waiting();
        lease.credit.acquire_many(cost).await.ok()
    }

    pub(crate) async fn tell<M: RemoteMessage>(&self, message: &M) -> Result<(), NotDelivered> {
        let (body, request) = (message.body(), trace::current());
        loop {
            let lease = self.lease::<M>().await?;
            let head = self.head(message, &lease, request, None)?;
            let cost = cost(head.len(), body.len(), lease.window);
            let Some(paid) = self.pay(&lease, cost).await else { continue };
            let sent = self.peer.link.send(self.flow(), &head, &body).await;
            sent.map_err(NotDelivered::of_link)?;
            paid.forget();
            return Ok(());
        }
    }

    pub(crate) fn try_tell<M: RemoteMessage>(&self, message: &M) -> Result<(), NotDelivered> {
        let full = || NotDelivered::Full { actor: self.id().clone() };
        let body = message.body();
        let lease = self.next::<M>()?.ok_or_else(full)?;
        let head = self.head(message, &lease, trace::current(), None)?;
        let cost = cost(head.len(), body.len(), lease.window);
        let paid = lease.credit.try_acquire_many(cost).map_err(|_none| full())?;
        match self.peer.link.try_send(self.flow(), &head, &body) {
            Ok(_ticket) => {
                paid.forget();
                Ok(())
            }
            Err(SendError::Full { .. }) => Err(full()),
            Err(error) => Err(NotDelivered::of_link(error)),
        }
    }

    pub(crate) async fn ask<M: RemoteMessage>(
        &self,
        message: &M,
        deadline: Duration,
    ) -> Result<M::Result, AskError> {
        let within = deadline.min(DEADLINE_MAX);
        let deadline = Instant::now() + within;
        let (id, outcome) = self.peer.asks.enter(deadline).map_err(|refused| match refused {
            AskRefused::Closed => NotDelivered::Closing,
            AskRefused::TooMany => NotDelivered::Overrun { node: self.peer.name().clone() },
        })?;
        let _hold = self.peer.link.hold();
        let flow = self.flow();
        let mut asking = Asking { remote: self, flow, id, is_over: false, _hold };
        timeout_at(deadline, self.send_ask(message, flow, id, within, deadline))
            .await
            .map_err(|_late| NotDelivered::Late)??;
        let outcome = outcome.await;
        asking.is_over = true;
        match outcome {
            Ok(Ok(answer)) => {
                let unreadable = Doubt::AnswerUnreadable;
                let decoded = current::with_node(&self.node, || {
                    answer.codec.decode::<M::Result>(&answer.payload)
                });
                let mut result = decoded.map_err(|_error| unreadable)?;
                result.put_body(answer.body).map_err(|_stray| unreadable)?;
                Ok(result)
            }
            Ok(Err(fault)) => {
                if let Fault::Late { was_sent: true } = fault {
                    self.cancel(flow, id);
                }
                Err(self.error::<M>(fault))
            }
            Err(_dropped) => Err(Doubt::LinkLost.into()),
        }
    }

    async fn send_ask<M: RemoteMessage>(
        &self,
        message: &M,
        flow: Flow,
        id: u64,
        mut left: Duration,
        deadline: Instant,
    ) -> Result<(), NotDelivered> {
        let (body, request) = (message.body(), trace::current());
        let mut has_waited = false;
        loop {
            let lease = match self.next::<M>()? {
                Some(lease) => lease,
                None => {
                    has_waited = true;
                    self.lease::<M>().await?
                }
            };
            let mut head = self.head(message, &lease, request, Some((id, millis(left))))?;
            let cost = cost(head.len(), body.len(), lease.window);
            let paid = match lease.credit.try_acquire_many(cost) {
                Ok(paid) => paid,
                Err(_none) => {
                    has_waited = true;
                    let Some(paid) = self.pay(&lease, cost).await else { continue };
                    paid
                }
            };
            loop {
                if has_waited {
                    left = deadline.saturating_duration_since(Instant::now());
                    head = self.head(message, &lease, request, Some((id, millis(left))))?;
                }
                let room = self.peer.link.room(flow);
                match self.peer.asks.send(id, || self.peer.link.try_send(flow, &head, &body)) {
                    Ok(()) => break,
                    Err(SendError::Full { .. }) => room.await,
                    Err(error) => return Err(NotDelivered::of_link(error)),
                }
                has_waited = true;
            }
            paid.forget();
            return Ok(());
        }
    }

    fn cancel(&self, flow: Flow, id: u64) {
        let mut head = Scratch::new();
        envelope::put_cancel(&mut head, self.id().serial, id);
        // Without room or a link, the deadline ends the work over there.
        self.peer.link.try_send(flow, &head, &Bytes::new()).ok();
    }

    fn error<M: RemoteMessage>(&self, fault: Fault) -> AskError {
        let actor = self.id().clone();
        let node = actor.node.clone();
        let message = M::NAME;
        match fault {
            Fault::NotSent => NotDelivered::Lost { node }.into(),
            Fault::Late { was_sent: false } | Fault::Told(Status::Late) => {
                NotDelivered::Late.into()
            }
            Fault::Closing { was_sent: false } => NotDelivered::Closing.into(),
            Fault::Told(Status::Gone) => NotDelivered::Gone { actor }.into(),
            Fault::Told(Status::Unreadable) => NotDelivered::Unreadable { message }.into(),
            Fault::Told(Status::Refused) => NotDelivered::AccessDenied { actor, message }.into(),
            Fault::Told(Status::Overrun) => NotDelivered::Overrun { node }.into(),
            Fault::LinkLost | Fault::Closing { was_sent: true } => Doubt::LinkLost.into(),
            Fault::Late { was_sent: true } => Doubt::Late.into(),
            Fault::Told(Status::AnswerLost) => Doubt::AnswerLost.into(),
            Fault::Told(Status::Dropped | Status::Done) => Doubt::Dropped.into(),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
