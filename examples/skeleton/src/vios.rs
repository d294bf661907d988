//! The VIOS actor: takes the requests of an LPAR actor and performs them at the storage, over the
//! link that stands for its fabric. It opens nothing and repeats nothing of its own accord.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, WrapFuture};

use crate::names::{Names, NoAnswer};
use crate::trace::Mark;
use crate::wire::{Answer, Call, Status};

/// How long it waits for the storage; longer than an LPAR actor waits for it.
const STORAGE_MAX: Duration = Duration::from_secs(4);
/// Calls in its mailbox.
const MAILBOX: usize = 64;

#[derive(Debug)]
pub(crate) struct Vios {
    pub(crate) names: Arc<Names>,
    /// Name of the storage actor.
    pub(crate) storage: String,
}

impl Actor for Vios {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<Call> for Vios {
    type Result = ();

    fn handle(&mut self, Call { mut question, reply }: Call, ctx: &mut Self::Context) {
        question.trace.mark(Mark::Vios);
        let (epoch, trace) = (question.epoch, question.trace);
        let asked = self.names.ask(&self.storage, question, STORAGE_MAX);
        // Bounded by the table of waiting questions, which the ask has just entered.
        let answered = async move {
            let mut answer = asked.await.unwrap_or_else(|error| {
                let status = match error {
                    NoAnswer::NotTaken => Status::NotTaken,
                    NoAnswer::Unknown => Status::Dropped,
                };
                Answer::bare(status, epoch, trace)
            });
            answer.trace.mark(Mark::ViosGoesOn);
            reply.send(answer);
        };
        ctx.spawn(answered.into_actor(self));
    }
}
