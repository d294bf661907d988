//! The client LPAR actor: owns the disk's session. It alone makes epochs and sends again.
//!
//! The NBD server asks it; it asks one VIOS actor, and when no answer comes, opens the next epoch
//! by the other. What has no answer yet then goes again, in order. A probe: it does not keep
//! acknowledged writes for a replay, and leaves it to its client not to overlap requests in flight.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::ActorFutureExt;
use actix::{Actor, AsyncContext, Context, Handler, WrapFuture};

use crate::names::{Names, NoAnswer, not_taken};
use crate::trace::Mark;
use crate::wire::{Answer, Call, Epoch, Question, Request, Status};

/// Silence for this long ends the epoch.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// Opens in a row without success; then what waits fails.
const OPENS_MAX: u32 = 8;
/// Wait after an open that failed.
const OPEN_AGAIN: Duration = Duration::from_millis(200);
/// Requests that may wait.
const WAITING_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    Closed,
    Opening { failed: u32 },
    Open,
}

#[derive(Debug)]
pub(crate) struct Lpar {
    names: Arc<Names>,
    /// Names of the VIOS actors, the one in use first.
    entries: [String; 2],
    epoch: Epoch,
    session: Session,
    last_number: u64,
    /// Requests without an answer, in the order they came.
    waiting: BTreeMap<u64, Call>,
}

impl Lpar {
    /// `owner` is above that of every earlier owner of the disk.
    pub(crate) fn new(names: Arc<Names>, entries: [String; 2], owner: u64) -> Self {
        let epoch = Epoch { owner, seq: 0 };
        let (session, waiting) = (Session::Closed, BTreeMap::new());
        Self { names, entries, epoch, session, last_number: 0, waiting }
    }

    fn open(&mut self, failed: u32, ctx: &mut Context<Self>) {
        self.session = Session::Opening { failed };
        self.epoch.seq += 1;
        let epoch = self.epoch;
        let question = Question { epoch, request: Request::Open, trace: Default::default() };
        let asked = self.names.ask(&self.entries[0], question, SILENCE_MAX);
        ctx.spawn(asked.into_actor(self).map(move |answer, lpar, ctx| match answer {
            Ok(Answer { status: Status::Done, .. }) => lpar.opened(ctx),
            Ok(Answer { status: Status::Refused, epoch, .. }) => {
                lpar.epoch.seq = lpar.epoch.seq.max(epoch.seq);
                lpar.not_opened(failed, ctx);
            }
            Ok(_) | Err(_) => lpar.not_opened(failed, ctx),
        }));
    }

    fn opened(&mut self, ctx: &mut Context<Self>) {
        println!("opened ({}, {}) by {}", self.epoch.owner, self.epoch.seq, self.entries[0]);
        self.session = Session::Open;
        let again: Vec<u64> = self.waiting.keys().copied().collect();
        for number in again {
            self.issue(number, ctx);
        }
    }

    fn not_opened(&mut self, failed: u32, ctx: &mut Context<Self>) {
        if failed + 1 >= OPENS_MAX {
            self.session = Session::Closed;
            for call in std::mem::take(&mut self.waiting).into_values() {
                let Question { epoch, trace, .. } = call.question;
                call.reply.send(Answer::bare(Status::Failed, epoch, trace));
            }
            return;
        }
        self.entries.swap(0, 1);
        ctx.run_later(OPEN_AGAIN, move |lpar, ctx| lpar.open(failed + 1, ctx));
    }

    fn issue(&mut self, number: u64, ctx: &mut Context<Self>) {
        let Some(call) = self.waiting.get(&number) else { return };
        let epoch = self.epoch;
        let question = Question { epoch, ..call.question.clone() };
        let asked = self.names.ask(&self.entries[0], question, SILENCE_MAX);
        ctx.spawn(asked.into_actor(self).map(move |answer, lpar, ctx| {
            // An answer of another epoch says nothing of this one.
            if lpar.epoch == epoch && lpar.session == Session::Open {
                lpar.came_back(number, answer, ctx);
            }
        }));
    }

    fn came_back(
        &mut self,
        number: u64,
        answer: Result<Answer, NoAnswer>,
        ctx: &mut Context<Self>,
    ) {
        match answer {
            Ok(mut answer) if [Status::Done, Status::Failed].contains(&answer.status) => {
                answer.trace.mark(Mark::LparGoesOn);
                if let Some(call) = self.waiting.remove(&number) {
                    call.reply.send(answer);
                }
            }
            Ok(_) | Err(_) => {
                self.entries.swap(0, 1);
                self.open(0, ctx);
            }
        }
    }
}

impl Actor for Lpar {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(WAITING_MAX);
        self.open(0, ctx);
    }
}

impl Handler<Call> for Lpar {
    type Result = ();

    fn handle(&mut self, mut call: Call, ctx: &mut Self::Context) {
        call.question.trace.mark(Mark::Lpar);
        if self.waiting.len() >= WAITING_MAX {
            return not_taken(call);
        }
        self.last_number += 1;
        self.waiting.insert(self.last_number, call);
        match self.session {
            Session::Open => self.issue(self.last_number, ctx),
            Session::Opening { .. } => {}
            Session::Closed => self.open(0, ctx),
        }
    }
}
