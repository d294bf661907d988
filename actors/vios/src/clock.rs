//! An actor's time, and the one deadline of its machine.

use actix::{Actor, AsyncContext, Context, SpawnHandle};
use tokio::time::Instant;

use crate::redirect::Moment;

/// Counts from when it was made.
#[derive(Debug)]
pub(crate) struct Clock {
    began: Instant,
    due: Option<(Moment, SpawnHandle)>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), due: None }
    }

    pub(crate) fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    pub(crate) fn moment(&self, at: Instant) -> Moment {
        Moment::START.after(at.saturating_duration_since(self.began))
    }

    pub(crate) fn instant(&self, moment: Moment) -> Instant {
        self.began + moment.since(Moment::START)
    }

    /// Has `ring` called at `due`, and not when it would have been before. It says
    /// [`rung`](Self::rung) first.
    pub(crate) fn set<A: Actor<Context = Context<A>>>(
        &mut self,
        due: Option<Moment>,
        ctx: &mut Context<A>,
        ring: impl FnOnce(&mut A, &mut Context<A>) + 'static,
    ) {
        if due == self.due.map(|(due, _timer)| due) {
            return;
        }
        if let Some((_due, timer)) = self.due.take() {
            ctx.cancel_future(timer);
        }
        self.due = due.map(|due| (due, ctx.run_later(due.since(self.now()), ring)));
    }

    pub(crate) fn rung(&mut self) {
        self.due = None;
    }
}
