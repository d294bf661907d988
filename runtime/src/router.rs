//! Takes what peers send, and brings it to actors, asks and outlets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use vioduct_certs::identity::Kind;
use vioduct_transport::wire::Rejection;
use vioduct_transport::{BoxFuture, DialError, Inbound, Link, LinkEvent, Message};

use crate::codec::Codec;
use crate::envelope::{Envelope, Status};
use crate::error::DEADLINE_MAX;
use crate::id::ActorId;
use crate::inbox::{RemoteItem, Reply};
use crate::names::{Page, Taken};
use crate::node::NodeShared;
use crate::peer::Peer;
use crate::peer::asks::{Answer, Fault};
use crate::peer::control::{Bind, BindRefusal, Bound, Control, Life, Notice};
use crate::peer::inlet::Inlet;

/// A node's end of all its links.
pub(crate) struct Router {
    pub(crate) node: Arc<NodeShared>,
}

/// One delivery: what does not change from message to message.
struct Delivery<'a> {
    router: &'a Router,
    peer: Arc<Peer>,
    /// Read once, if a message has a deadline.
    now: Option<Instant>,
    /// The last one that was looked up: most deliveries are for one actor.
    inlet: Option<(u64, Arc<Inlet>)>,
}

impl Router {
    fn take(&self, from: &Link, batch: &mut Vec<Message>) {
        // None after the last connection of a tool.
        let Some(peer) = self.node.peers.known(from) else { return };
        if peer.incarnation().is_none_or(|run| peer.is_down(run)) {
            return batch.clear();
        }
        let mut delivery = Delivery { router: self, peer, now: None, inlet: None };
        for message in batch.drain(..) {
            delivery.take(message);
        }
    }

    /// A peer may know of a later run of this node.
    fn dial_failed(&self, error: &DialError) {
        let DialError::Rejected { rejection, .. } = error else { return };
        let Rejection::StaleIncarnation { dialling, known } = rejection else { return };
        if let Some(cluster) = &self.node.cluster
            && *dialling == self.node.incarnation
        {
            cluster.sighted(self.node.name.clone(), *known);
        }
    }
}

impl Delivery<'_> {
    fn take(&mut self, Message { flow, head, body }: Message) {
        let head_bytes = head.len();
        match Envelope::decode(head) {
            Ok(Envelope::Message { codec, target, message, epoch, request, ask, payload }) => {
                let Some(inlet) = self.inlet(target) else {
                    self.say_if_over(target);
                    return self.refuse(flow, codec, ask, Status::Gone);
                };
                let Ok(debit) = inlet.take_in(epoch, head_bytes, body.len()) else {
                    return self.refuse(flow, codec, ask, Status::Overrun);
                };
                // Its credit goes back at once.
                if !inlet.allows(message) {
                    if let Some(actor) = inlet.actor() {
                        actor.counts().refused_access.one_more();
                    }
                    return self.refuse(flow, codec, ask, Status::Refused);
                }
                let deadline = ask.map(|(_id, ms)| self.deadline(ms));
                let reply = ask.map(|(id, _ms)| Reply::new(Arc::clone(&inlet), flow, id, codec));
                let item =
                    RemoteItem { message, codec, payload, body, request, reply, deadline, debit };
                let left = match inlet.actor() {
                    Some(actor) => actor.push_remote(item),
                    None => Some(item),
                };
                if let Some(item) = left {
                    self.say_if_over(target);
                    item.refuse(Status::Gone);
                }
            }
            Ok(Envelope::Answer { codec, id, status, payload }) => {
                let outcome = match status {
                    Status::Done => Ok(Answer { codec, payload, body }),
                    status => Err(Fault::Told(status)),
                };
                self.peer.asks.finish(id, outcome);
            }
            Ok(Envelope::Cancel { target, id }) => {
                if let Some(actor) = self.inlet(target).and_then(|inlet| inlet.actor()) {
                    actor.cancel((self.peer.number, id));
                }
            }
            Ok(Envelope::Control { payload }) => self.control(&payload),
            Ok(Envelope::Notice { payload }) => self.notice(&payload),
            Err(error) => {
                self.malformed();
                tracing::warn!(peer = %self.peer.name(), %error, "message dropped");
            }
        }
    }

    fn inlet(&mut self, serial: u64) -> Option<Arc<Inlet>> {
        if let Some((of, inlet)) = &self.inlet
            && *of == serial
        {
            return Some(Arc::clone(inlet));
        }
        let inlet = self.peer.inlet(serial)?;
        self.inlet = Some((serial, Arc::clone(&inlet)));
        Some(inlet)
    }

    /// Who sends to an actor that is gone must not go on.
    fn say_if_over(&self, serial: u64) {
        if self.router.node.actors.get(serial).is_none() {
            self.answer(&Control::Over { serial });
        }
    }

    fn deadline(&mut self, ms: u32) -> Instant {
        let now = *self.now.get_or_insert_with(Instant::now);
        now + Duration::from_millis(ms.into()).min(DEADLINE_MAX)
    }

    fn malformed(&self) {
        self.peer.counts.malformed.one_more();
        self.router.node.counts.malformed.one_more();
    }

    fn refuse(&self, flow: u32, codec: Codec, ask: Option<(u64, u32)>, status: Status) {
        let peer = self.peer.name();
        self.peer.counts.refused(status);
        tracing::debug!(%peer, ?status, "a message was refused");
        if let Some((id, _ms)) = ask {
            self.peer.answer_without_result(flow, id, codec, status);
        }
    }

    fn control(&mut self, payload: &[u8]) {
        let control = match Codec::Postcard.decode::<Control>(payload) {
            Ok(control) => control,
            Err(error) => {
                self.malformed();
                let peer = self.peer.name();
                return tracing::warn!(%peer, %error, "control message dropped");
            }
        };
        match control {
            Control::Find { question, name } => {
                let found = self.router.node.actors.find(&name);
                let serial = found.map(|actor| actor.id().serial);
                self.answer(&Control::Found { question, serial });
            }
            Control::Found { question, serial } => self.peer.found(question, serial),
            Control::Bind(bind) => {
                let answer = self.bind(&bind);
                self.answer(&Control::Bound { question: bind.question, answer });
            }
            Control::Bound { question, answer } => self.peer.bound(question, answer),
            Control::Credit { serial, epoch, bytes } => {
                if let Some(outlet) = self.peer.known_outlet(serial) {
                    outlet.credited(epoch, bytes);
                }
            }
            Control::Watch { watch, actor, watcher } => {
                let node = &self.router.node;
                let is_this_run = actor.incarnation == node.incarnation;
                let alive = node.actors.get(actor.serial).filter(|_| is_this_run);
                self.peer.watched(watch, watcher, actor, alive.map(|actor| actor.ended()));
            }
            Control::ReadNames { incarnation, read } => {
                let node = &self.router.node;
                if incarnation == node.incarnation {
                    self.peer.names_read(&node.names, incarnation, read);
                }
            }
            Control::Names { incarnation, page } => self.names(incarnation, page),
            Control::Unwatch { watch } => self.peer.unwatched(watch),
            Control::Over { serial } => {
                if let Some(outlet) = self.peer.known_outlet(serial) {
                    outlet.gone();
                }
            }
            Control::Reset => {
                self.peer.asks.lost(&self.peer.link);
                self.peer.reset();
                self.peer.watch_again();
                self.peer.read_names(&self.router.node.names);
            }
        }
    }

    /// The peer tells of its named and grouped actors.
    fn names(&self, incarnation: u64, page: Page) {
        if self.peer.incarnation() != Some(incarnation) {
            return;
        }
        match self.router.node.names.take(self.peer.name(), incarnation, page) {
            Taken::ReadOn(read) => self.peer.read_names_on(incarnation, read),
            Taken::Refused(error) => {
                let peer = self.peer.name();
                tracing::warn!(%peer, %error, "names of a peer are not read any more");
            }
        }
    }

    fn notice(&self, payload: &[u8]) {
        match Codec::Postcard.decode(payload) {
            Ok(Notice { watch, actor: Life { incarnation, serial }, reason, behind }) => {
                let id = ActorId { node: self.peer.name().clone(), incarnation, serial };
                if let Some(tell) = self.peer.watches.noticed(&id, watch, behind) {
                    tell(reason);
                }
            }
            Err(error) => {
                self.malformed();
                tracing::warn!(peer = %self.peer.name(), %error, "notice dropped");
            }
        }
    }

    fn answer(&self, control: &Control) {
        // Without a link, the peer asks again.
        self.peer.tell_control(control).ok();
    }

    fn bind(&self, bind: &Bind) -> Result<Bound, BindRefusal> {
        self.leave(bind).inspect_err(|refusal| self.peer.counts.not_bound(*refusal))
    }

    fn leave(&self, bind: &Bind) -> Result<Bound, BindRefusal> {
        let node = &self.router.node;
        if bind.incarnation != node.incarnation {
            return Err(BindRefusal::Restarted);
        }
        let identity = self.peer.identity().ok_or(BindRefusal::AccessDenied)?;
        let actor = node.actors.get(bind.serial).ok_or(BindRefusal::Gone)?;
        let inlet = self.peer.inlet_or(bind.serial, || Inlet::new(Arc::clone(&self.peer), &actor));
        let answer = inlet.bind(bind, &identity);
        if let Err(refusal @ (BindRefusal::AccessDenied | BindRefusal::NotExported)) = &answer {
            actor.counts().refused_access.one_more();
            let actor = actor.id();
            tracing::warn!(peer = %identity.name, %actor, ?refusal, "a message was not allowed");
        }
        answer
    }
}

fn is_node(link: &Link) -> bool {
    link.peer_kind() == Kind::Node
}

impl Inbound for Router {
    fn deliver<'a>(
        &'a self,
        from: &'a Link,
        _lane: u8,
        batch: &'a mut Vec<Message>,
    ) -> BoxFuture<'a> {
        // Nothing here waits: an answer must not stand behind a question on its lane.
        self.take(from, batch);
        Box::pin(std::future::ready(()))
    }

    fn datagram(&self, from: &Link, datagram: Bytes) {
        if let Some(cluster) = self.node.cluster.as_ref().filter(|_| is_node(from)) {
            cluster.datagram(from.peer().clone(), datagram);
        }
    }

    fn event(&self, link: &Link, event: LinkEvent) {
        let peer = match &event {
            LinkEvent::Up { .. } => Some(self.node.peers.of(link)),
            _other => self.node.peers.known(link),
        };
        let Some(peer) = peer else { return };
        match event {
            LinkEvent::Up { info, replaced } => {
                if let Some(cluster) = self.node.cluster.as_ref().filter(|_| is_node(link)) {
                    cluster.sighted(peer.name().clone(), info.incarnation);
                }
                if peer.is_down(info.incarnation) {
                    // It is here to be told so.
                    return;
                }
                peer.connected(info);
                if !replaced {
                    // A bind may have been dropped while there was no link.
                    peer.reset();
                    peer.watch_again();
                    peer.read_names(&self.node.names);
                }
            }
            LinkEvent::Down { reason } => {
                tracing::info!(peer = %peer.name(), %reason, "link down");
                peer.disconnected();
                if !is_node(link) {
                    self.node.peers.forget(link);
                }
            }
            LinkEvent::Undelivered { lane, numbers, fate } => {
                peer.asks.undelivered(lane, &numbers, fate);
                peer.reset();
                // Credit or answers of ours may be among them.
                peer.tell_control(&Control::Reset).ok();
                peer.watch_again();
                peer.read_names(&self.node.names);
            }
            LinkEvent::Unreachable if self.node.cluster.is_none() => {
                peer.watches.earlier_than(None);
                self.node.names.forget(peer.name());
            }
            // A member is gone when the cluster says so.
            LinkEvent::Unreachable => {}
            LinkEvent::DialFailed { error } => self.dial_failed(&error),
            LinkEvent::PeerRestarted => {}
        }
    }

    fn refused(&self, addr: SocketAddr, error: DialError) {
        tracing::debug!(%addr, reason = error.label(), "connection refused");
    }
}
