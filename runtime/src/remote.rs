//! Sending to an actor of another node.

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{SemaphorePermit, oneshot};
use tokio::time::{Instant, timeout_at};
use vioduct_transport::{Flow, Hold, SendError};

use crate::codec::Codec;
use crate::current;
use crate::envelope::{self, Address, SentAs, Status};
use crate::error::{AskError, DEADLINE_MAX, Doubt, NotDelivered};
use crate::id::ActorId;
use crate::message::{MessageType, RemoteMessage, Wire};
use crate::node::NodeShared;
use crate::peer::asks::{Fault, NotBegun, Outcome};
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

/// An ask under way; given up when it is dropped, and the other side is told.
struct Asked<'a> {
    remote: &'a Remote,
    flow: Flow,
    id: u64,
    outcome: oneshot::Receiver<Outcome>,
    is_over: bool,
    /// A peer that falls silent is noticed.
    _hold: Hold,
}

impl Drop for Asked<'_> {
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
        sent_as: SentAs,
    ) -> Result<Scratch, NotDelivered> {
        let mut head = Scratch::new();
        let to = Address {
            codec: self.codec,
            target: self.id().serial,
            message: lease.message,
            epoch: lease.epoch,
            request,
        };
        envelope::put_message(&mut head, to, sent_as);
        self.codec.encode(message, &mut head).map_err(NotDelivered::Encode)?;
        if request.is_some() && head.len() > self.node.head_bytes_max as usize {
            // Whoever chose the id does not decide whether the message fits.
            return self.head(message, lease, None, sent_as);
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
        if self.tell_now(message)? {
            return Ok(());
        }
        // Apart, so that the usual case carries no room for it along.
        Box::pin(self.tell_in_turn(message)).await
    }

    pub(crate) fn try_tell<M: RemoteMessage>(&self, message: &M) -> Result<(), NotDelivered> {
        if self.tell_now(message)? {
            return Ok(());
        }
        Err(NotDelivered::Full { actor: self.id().clone() })
    }

    /// Sends it if there is leave, credit and room. Gives whether it did.
    fn tell_now<M: RemoteMessage>(&self, message: &M) -> Result<bool, NotDelivered> {
        let Some(lease) = self.next::<M>()? else { return Ok(false) };
        let body = message.body();
        let head = self.head(message, &lease, trace::current(), SentAs::Tell)?;
        let cost = cost(head.len(), body.len(), lease.window);
        let Ok(paid) = lease.credit.try_acquire_many(cost) else { return Ok(false) };
        match self.peer.link.try_send(self.flow(), &head, &body) {
            Ok(_ticket) => {
                paid.forget();
                Ok(true)
            }
            Err(SendError::Full { .. }) => Ok(false),
            Err(error) => Err(NotDelivered::of_link(error)),
        }
    }

    async fn tell_in_turn<M: RemoteMessage>(&self, message: &M) -> Result<(), NotDelivered> {
        let (body, request) = (message.body(), trace::current());
        loop {
            let lease = self.lease::<M>().await?;
            let head = self.head(message, &lease, request, SentAs::Tell)?;
            let cost = cost(head.len(), body.len(), lease.window);
            let Some(paid) = self.pay(&lease, cost).await else { continue };
            let sent = self.peer.link.send(self.flow(), &head, &body).await;
            sent.map_err(NotDelivered::of_link)?;
            paid.forget();
            return Ok(());
        }
    }

    pub(crate) async fn ask<M: RemoteMessage>(
        &self,
        message: &M,
        deadline: Duration,
    ) -> Result<M::Result, AskError> {
        let within = deadline.min(DEADLINE_MAX);
        let mut asked = match self.ask_now(message, within)? {
            Some(asked) => asked,
            // Apart, so that the usual case carries no room for it along.
            None => Box::pin(self.ask_in_turn(message, within)).await?,
        };
        let outcome = (&mut asked.outcome).await;
        asked.is_over = true;
        self.result::<M>(&asked, outcome.unwrap_or(Err(Fault::LinkLost)))
    }

    /// Sends it if there is leave, credit and room.
    fn ask_now<M: RemoteMessage>(
        &self,
        message: &M,
        within: Duration,
    ) -> Result<Option<Asked<'_>>, NotDelivered> {
        let Some(lease) = self.next::<M>()? else { return Ok(None) };
        let body = message.body();
        let mut head = self.head(message, &lease, trace::current(), SentAs::Ask)?;
        let cost = cost(head.len(), body.len(), lease.window);
        let Ok(paid) = lease.credit.try_acquire_many(cost) else { return Ok(None) };
        let flow = self.flow();
        let begun = self.peer.asks.begin(Instant::now() + within, |id| {
            envelope::set_ask(&mut head, id, millis(within));
            self.peer.link.try_send(flow, &head, &body)
        });
        match begun {
            Ok((id, outcome)) => {
                paid.forget();
                Ok(Some(self.asked(flow, id, outcome)))
            }
            Err(NotBegun::Link(SendError::Full { .. })) => Ok(None),
            Err(reason) => Err(self.not_begun(reason)),
        }
    }

    async fn ask_in_turn<M: RemoteMessage>(
        &self,
        message: &M,
        within: Duration,
    ) -> Result<Asked<'_>, NotDelivered> {
        let deadline = Instant::now() + within;
        let entered = self.peer.asks.enter(deadline);
        let (id, outcome) = entered.map_err(|reason| self.not_begun(reason))?;
        let asked = self.asked(self.flow(), id, outcome);
        timeout_at(deadline, self.send_ask(message, &asked, deadline))
            .await
            .map_err(|_late| NotDelivered::Late)??;
        Ok(asked)
    }

    async fn send_ask<M: RemoteMessage>(
        &self,
        message: &M,
        &Asked { flow, id, .. }: &Asked<'_>,
        deadline: Instant,
    ) -> Result<(), NotDelivered> {
        let (body, request) = (message.body(), trace::current());
        loop {
            let lease = self.lease::<M>().await?;
            let mut head = self.head(message, &lease, request, SentAs::Ask)?;
            let cost = cost(head.len(), body.len(), lease.window);
            let Some(paid) = self.pay(&lease, cost).await else { continue };
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                envelope::set_ask(&mut head, id, millis(left));
                let room = self.peer.link.room(flow);
                match self.peer.asks.send(id, || self.peer.link.try_send(flow, &head, &body)) {
                    Ok(()) => break,
                    Err(SendError::Full { .. }) => room.await,
                    Err(error) => return Err(NotDelivered::of_link(error)),
                }
            }
            paid.forget();
            return Ok(());
        }
    }

    fn asked(&self, flow: Flow, id: u64, outcome: oneshot::Receiver<Outcome>) -> Asked<'_> {
        let _hold = self.peer.link.hold();
        Asked { remote: self, flow, id, outcome, is_over: false, _hold }
    }

    fn not_begun(&self, reason: NotBegun) -> NotDelivered {
        match reason {
            NotBegun::Closed => NotDelivered::Closing,
            NotBegun::TooMany => NotDelivered::Overrun { node: self.peer.name().clone() },
            NotBegun::Link(error) => NotDelivered::of_link(error),
        }
    }

    fn result<M: RemoteMessage>(
        &self,
        asked: &Asked<'_>,
        outcome: Outcome,
    ) -> Result<M::Result, AskError> {
        let answer = outcome.map_err(|fault| {
            if let Fault::Late { was_sent: true } = fault {
                self.cancel(asked.flow, asked.id);
            }
            self.error::<M>(fault)
        })?;
        let unreadable = Doubt::AnswerUnreadable;
        let decoded =
            current::with_node(&self.node, || answer.codec.decode::<M::Result>(&answer.payload));
        let mut result = decoded.map_err(|_error| unreadable)?;
        result.put_body(answer.body).map_err(|_stray| unreadable)?;
        Ok(result)
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

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
