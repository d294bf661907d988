//! What an actor takes from other nodes, and from references that do not know its type.

use std::any::{Any, TypeId};

use actix::dev::MessageResponse;
use actix::{Actor, Context, Handler, Message};
use tokio::sync::oneshot;

use crate::access::Access;
use crate::envelope::Status;
use crate::error::StartError;
use crate::inbox::{Closed, Inbox, LocalCall, RemoteItem, Running};
use crate::message::{MessageType, RemoteMessage};
use crate::trace;

/// Most messages that an actor exports; a peer's leave is kept in as many bits.
pub(crate) const EXPORTS_MAX: usize = 64;

/// One message that an actor takes, without the actor's type.
#[derive(Debug)]
pub(crate) struct Export {
    pub(crate) message: MessageType,
    pub(crate) access: Access,
}

/// Decodes and handles a message of another node.
pub(crate) type Runner<A> = fn(&mut A, &mut Context<A>, RemoteItem, &mut Running) -> Handled;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handled {
    Not,
    /// There is no answer, or it comes later.
    Yes,
    Answered,
}

/// Puts a message of this node into an inbox whose type only the function knows.
pub(crate) type Entry<M> = fn(&dyn Any, LocalCall<M>) -> Result<u64, Closed<LocalCall<M>>>;

struct Row<A: Actor> {
    export: Export,
    type_id: TypeId,
    /// An [`Entry`] of the message's type.
    entry: Box<dyn Any + Send + Sync>,
    runner: fn(&mut A, &mut A::Context, RemoteItem, &mut Running) -> Handled,
}

/// Everything that one actor exports. The index of a row is the message's number on the wire.
pub(crate) struct Exports<A: Actor> {
    rows: Vec<Row<A>>,
}

impl<A: Actor> Default for Exports<A> {
    fn default() -> Self {
        Self { rows: Vec::new() }
    }
}

impl<A: Actor> Exports<A> {
    pub(crate) fn get(&self, message: u8) -> Option<&Export> {
        self.rows.get(usize::from(message)).map(|row| &row.export)
    }

    pub(crate) fn find(&self, is_it: &dyn Fn(&Export) -> bool) -> Option<u8> {
        let index = self.rows.iter().position(|row| is_it(&row.export))?;
        u8::try_from(index).ok()
    }

    pub(crate) fn entry(&self, message: TypeId) -> Option<&(dyn Any + Send + Sync)> {
        self.rows.iter().find(|row| row.type_id == message).map(|row| &*row.entry)
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        if self.rows.len() > EXPORTS_MAX {
            return Err(StartError::TooManyExports { limit: EXPORTS_MAX });
        }
        for (index, row) in self.rows.iter().enumerate() {
            let key = row.export.message.key;
            if self.rows.iter().take(index).any(|earlier| earlier.export.message.key == key) {
                return Err(StartError::ExportedTwice { message: row.export.message.name });
            }
        }
        Ok(())
    }
}

impl<A: Actor<Context = Context<A>>> Exports<A> {
    pub(crate) fn add<M>(&mut self, access: Access)
    where
        A: Handler<M>,
        M: RemoteMessage,
        M::Result: Send,
    {
        let entry: Entry<M> = enter::<A, M>;
        self.rows.push(Row {
            export: Export { message: MessageType::of::<M>(), access },
            type_id: TypeId::of::<M>(),
            entry: Box::new(entry),
            runner: run::<A, M>,
        });
    }

    pub(crate) fn runner(&self, message: u8) -> Option<Runner<A>> {
        self.rows.get(usize::from(message)).map(|row| row.runner)
    }
}

fn enter<A, M>(inbox: &dyn Any, call: LocalCall<M>) -> Result<u64, Closed<LocalCall<M>>>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message<Result: Send> + Send + 'static,
{
    match inbox.downcast_ref::<Inbox<A>>() {
        Some(inbox) => inbox.put(call),
        None => Err(Closed(call)),
    }
}

fn run<A, M>(
    actor: &mut A,
    ctx: &mut Context<A>,
    item: RemoteItem,
    running: &mut Running,
) -> Handled
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: RemoteMessage,
{
    let RemoteItem { codec, payload, body, request, reply, deadline, debit, .. } = item;
    let decoded = codec.decode::<M>(&payload).ok().and_then(|mut message| {
        message.put_body(body).ok()?;
        Some(message)
    });
    let Some(message) = decoded else {
        let peer = debit.inlet().peer.name();
        tracing::warn!(%peer, message = M::NAME, "a message could not be read");
        debit.inlet().peer.counts.refused(Status::Unreadable);
        if let Some(reply) = reply {
            reply.refuse(Status::Unreadable);
        }
        return Handled::Not;
    };
    let from = debit.inlet().peer.name();
    let Some(reply) = reply else {
        trace::handling(request, M::NAME, Some(from), || {
            actor.handle(message, ctx).handle(ctx, None);
        });
        return Handled::Yes;
    };
    let (sender, mut answer) = oneshot::channel();
    trace::handling(request, M::NAME, Some(from), || {
        actor.handle(message, ctx).handle(ctx, Some(sender));
    });
    match answer.try_recv() {
        Ok(result) => {
            reply.done(&result);
            return Handled::Answered;
        }
        Err(oneshot::error::TryRecvError::Empty) => running.push(answer, reply, deadline, debit),
        Err(oneshot::error::TryRecvError::Closed) => drop(reply),
    }
    Handled::Yes
}
