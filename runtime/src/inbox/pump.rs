//! Takes messages out of an inbox and calls the actor's handlers, in the actor's own context.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{self, Poll};

use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, AsyncContext, Context};
use futures_util::stream::{FuturesUnordered, Stream};
use tokio::time::Instant;

use super::work::{Calling, Work};
use super::{AskKey, Inbox, Item, Order, RemoteItem, Running};
use crate::current::{self, Caller};
use crate::envelope::Status;
use crate::exports::Handled;

/// Messages handled before others on the worker get their turn.
const BUDGET: usize = 128;
/// Places of handled messages that are given back at once.
const FREED_MAX: usize = 16;

/// Lives as long as the actor; its end closes the inbox.
pub(crate) struct Pump<A: Actor> {
    inbox: Arc<Inbox<A>>,
    batch: VecDeque<Item<A>>,
    /// What handlers left behind, each until its asker has gone.
    works: FuturesUnordered<Work>,
    running: Running,
    cancelled: HashSet<AskKey>,
    order: Option<Order>,
    /// When the batch was taken, if a message in it has a deadline: read once for all of them.
    now: Option<Instant>,
    /// Items that a handler has seen, or that were dropped on purpose.
    begun: u64,
    /// Places of messages that were handled in this turn.
    freed: usize,
}

impl<A: Actor> Pump<A> {
    pub(crate) fn new(inbox: Arc<Inbox<A>>) -> Self {
        Self {
            inbox,
            batch: VecDeque::new(),
            works: FuturesUnordered::new(),
            running: Running::default(),
            cancelled: HashSet::new(),
            order: None,
            now: None,
            begun: 0,
            freed: 0,
        }
    }

    /// Gives places back, not each by itself: it takes a lock.
    fn free(&mut self) {
        if self.freed > 0 {
            self.inbox.room.add_permits(std::mem::take(&mut self.freed));
        }
    }

    /// Takes over what came in; when nothing did, the waker is kept.
    fn refill(&mut self, cx: &task::Context<'_>) {
        let mut state = self.inbox.state();
        let cancels = std::mem::take(&mut state.cancels);
        self.order.clone_from(&state.order);
        std::mem::swap(&mut state.items, &mut self.batch);
        if self.batch.is_empty() {
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        drop(state);
        self.now = None;
        self.cancelled.clear();
        for key in cancels {
            if !self.running.cancel(key) {
                // It waits in this batch, or is answered already.
                self.cancelled.insert(key);
            }
        }
    }
}

impl<A: Actor<Context = Context<A>>> Pump<A> {
    fn run(&mut self, item: Item<A>, actor: &mut A, ctx: &mut Context<A>) {
        self.begun += 1;
        self.inbox.begun.store(self.begun, Ordering::Release);
        match item {
            Item::Local(call) => {
                self.freed += 1;
                if self.batch.is_empty() || self.freed == FREED_MAX {
                    self.free();
                }
                current::set_caller(Caller::Local);
                if !call.run(actor, ctx) {
                    self.passed_over();
                }
            }
            Item::Notice(notice) => {
                current::set_caller(Caller::Local);
                notice.run(actor, ctx);
            }
            Item::Remote(item) => self.run_remote(item, actor, ctx),
        }
    }

    fn run_remote(&mut self, item: RemoteItem, actor: &mut A, ctx: &mut Context<A>) {
        let is_cancelled = !self.cancelled.is_empty()
            && item.key().is_some_and(|key| self.cancelled.contains(&key));
        let now = &mut self.now;
        let is_late = |deadline| deadline <= *now.get_or_insert_with(Instant::now);
        if is_cancelled || item.deadline.is_some_and(is_late) {
            self.passed_over();
            return item.refuse(Status::Late);
        }
        let Some(run) = self.inbox.exports.runner(item.message) else {
            self.passed_over();
            return item.refuse(Status::Refused);
        };
        current::set_remote_caller(item.inlet());
        match run(actor, ctx, item, &mut self.running) {
            Handled::Not => self.passed_over(),
            Handled::Yes => {}
            Handled::Answered => self.inbox.counts.answered.more(1),
        }
    }

    fn passed_over(&self) {
        self.inbox.counts.passed_over.more(1);
    }

    /// Handles messages, one after another. True when there may be more, after a turn for others.
    fn turn(&mut self, actor: &mut A, ctx: &mut Context<A>, cx: &task::Context<'_>) -> bool {
        for _message in 0..BUDGET {
            if self.batch.is_empty() {
                self.refill(cx);
            }
            if self.order.is_none() {
                self.order = self.inbox.ordered();
            }
            self.obey(ctx);
            if ctx.waiting() {
                return false;
            }
            let Some(item) = self.batch.pop_front() else { return false };
            self.run(item, actor, ctx);
        }
        true
    }

    fn is_idle(&self) -> bool {
        self.batch.is_empty() && self.works.is_empty() && self.running.is_empty()
    }

    /// Lets the works that were woken go on, new ones in order.
    fn go_on(&mut self, cx: &mut task::Context<'_>) {
        while let Poll::Ready(Some(())) = Pin::new(&mut self.works).poll_next(cx) {}
    }

    /// What was ordered, once it is time.
    fn obey(&mut self, ctx: &mut Context<A>) {
        match &self.order {
            None => {}
            Some(Order::Drain) if !self.is_idle() => {}
            Some(Order::Drain | Order::Stop) => ctx.stop(),
            Some(Order::Fail(_reason)) => ctx.terminate(),
        }
    }
}

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for Pump<A> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut Context<A>,
        cx: &mut task::Context<'_>,
    ) -> Poll<()> {
        let this = self.get_mut();
        let calling = Calling::begin();
        let is_more = this.turn(actor, ctx, cx);
        this.works.extend(calling.end());
        this.free();
        // A handler may have asked that nothing runs beside what it waits for.
        if !ctx.waiting() {
            this.go_on(cx);
        }
        // Not before what was begun is polled: its answers do not wait for messages behind them.
        let answered = this.running.poll(cx);
        this.inbox.counts.answered.more(answered);
        this.obey(ctx);
        // What runs next in this context may be no message of ours.
        current::set_caller(Caller::Nobody);
        if is_more {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<A: Actor> Drop for Pump<A> {
    fn drop(&mut self) {
        let later = self.inbox.close();
        for item in self.batch.drain(..).chain(later) {
            if let Item::Remote(item) = item {
                item.refuse(Status::Gone);
            }
        }
    }
}

impl<A: Actor> Unpin for Pump<A> {}
