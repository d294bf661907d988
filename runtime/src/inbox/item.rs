//! One message that waits, and how its answer gets back.

use std::any::type_name;
use std::sync::Arc;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Context, Handler, Message};
use bytes::Bytes;
use tokio::time::Instant;

use super::AskKey;
use crate::codec::Codec;
use crate::envelope::Status;
use crate::message::Wire;
use crate::peer::inlet::{Debit, Inlet};
use crate::trace::{self, RequestId};

/// A message of this node, with the actor's type in its type only.
pub(crate) trait LocalItem<A: Actor>: Send {
    /// False when nobody waits for the answer any more: it was not handled.
    fn run(self: Box<Self>, actor: &mut A, ctx: &mut A::Context) -> bool;
}

/// A message of this node, and where its answer goes.
pub(crate) struct LocalCall<M: Message> {
    pub(crate) message: M,
    pub(crate) answer: Option<OneshotSender<M::Result>>,
    pub(crate) request: Option<RequestId>,
}

impl<A, M> LocalItem<A> for LocalCall<M>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message<Result: Send> + Send,
{
    fn run(self: Box<Self>, actor: &mut A, ctx: &mut A::Context) -> bool {
        if self.answer.as_ref().is_some_and(OneshotSender::is_closed) {
            return false;
        }
        let Self { message, answer, request } = *self;
        let handle = || actor.handle(message, ctx).handle(ctx, answer);
        trace::handling(request, type_name::<M>(), None, handle);
        true
    }
}

/// A message of another node, not yet decoded.
#[derive(Debug)]
pub(crate) struct RemoteItem {
    pub(crate) message: u8,
    pub(crate) codec: Codec,
    pub(crate) payload: Bytes,
    pub(crate) body: Bytes,
    pub(crate) request: Option<RequestId>,
    /// Where an answer goes; none for a tell.
    pub(crate) reply: Option<Reply>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) debit: Debit,
}

impl RemoteItem {
    pub(crate) fn inlet(&self) -> &Arc<Inlet> {
        self.debit.inlet()
    }

    pub(crate) fn key(&self) -> Option<AskKey> {
        self.reply.as_ref().map(Reply::key)
    }

    /// Says that no handler saw it.
    pub(crate) fn refuse(self, status: Status) {
        self.inlet().peer.counts.refused(status);
        if let Some(reply) = self.reply {
            reply.refuse(status);
        }
    }
}

/// The way back of an answer to another node. Dropped unused, it says so.
#[derive(Debug)]
pub(crate) struct Reply {
    inlet: Arc<Inlet>,
    flow: u32,
    id: u64,
    codec: Codec,
    is_sent: bool,
}

impl Reply {
    pub(crate) fn new(inlet: Arc<Inlet>, flow: u32, id: u64, codec: Codec) -> Self {
        Self { inlet, flow, id, codec, is_sent: false }
    }

    pub(crate) fn key(&self) -> AskKey {
        (self.inlet.peer.number, self.id)
    }

    pub(crate) fn done<R: Wire>(mut self, result: &R) {
        self.is_sent = true;
        let Self { inlet, flow, id, codec, .. } = &self;
        if !inlet.is_over() {
            inlet.peer.answer(*flow, *id, *codec, result);
        }
    }

    pub(crate) fn refuse(mut self, status: Status) {
        self.send(status);
    }

    /// Nobody waits for it any more.
    pub(crate) fn forget(mut self) {
        self.is_sent = true;
    }

    fn send(&mut self, status: Status) {
        if !std::mem::replace(&mut self.is_sent, true) && !self.inlet.is_over() {
            self.inlet.peer.answer_without_result(self.flow, self.id, self.codec, status);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.send(Status::Dropped);
    }
}
