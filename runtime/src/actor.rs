//! Starting an actor, and starting it again.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler};
use futures_util::FutureExt;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::access::Access;
use crate::current::Life;
use crate::error::{EndReason, StartError};
use crate::exports::Exports;
use crate::id::{ActorId, ActorName, GroupName};
use crate::inbox::{Hosted, Inbox, Order, Pump, Seat};
use crate::message::RemoteMessage;
use crate::names::{GROUPS_MAX, Listing};
use crate::node::NodeShared;
use crate::reference::LocalRef;
use crate::supervision::family::{Parent, childless};
use crate::supervision::policy::{Intensity, RestartPolicy, Verdict};

/// Places for senders of the actor's own node, by default.
const CAPACITY: usize = 1024;
/// Most places.
const CAPACITY_MAX: usize = 1 << 20;
/// Credit for each other node, bytes, by default.
const WINDOW: u32 = 4 << 20;
/// Least and most credit for each other node, bytes.
const WINDOW_MIN: u32 = 4 << 10;
const WINDOW_MAX: u32 = 1 << 30;

/// Where an actor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seating {
    Next,
    On(usize),
}

/// An actor that is about to start.
pub struct ActorBuilder<A: Actor> {
    node: Weak<NodeShared>,
    factory: Box<dyn FnMut() -> A + Send>,
    name: Option<ActorName>,
    groups: Vec<GroupName>,
    exports: Exports<A>,
    policy: RestartPolicy,
    /// The life whose child it is to be.
    parent: Option<Arc<dyn Hosted>>,
    seating: Seating,
    capacity: usize,
    window: u32,
}

impl<A: Actor> fmt::Debug for ActorBuilder<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<A: Actor<Context = Context<A>>> ActorBuilder<A> {
    pub(crate) fn new(node: Weak<NodeShared>, factory: impl FnMut() -> A + Send + 'static) -> Self {
        Self {
            node,
            factory: Box::new(factory),
            name: None,
            groups: Vec::new(),
            exports: Exports::default(),
            policy: RestartPolicy::default(),
            parent: None,
            seating: Seating::Next,
            capacity: CAPACITY,
            window: WINDOW,
        }
    }

    /// The name under which the actor is found, on its node and in the cluster, the same over its
    /// lives.
    #[must_use]
    pub fn named(mut self, name: ActorName) -> Self {
        self.name = Some(name);
        self
    }

    /// Makes it a member of this [group](crate::Node::group), of 16 groups at most.
    #[must_use]
    pub fn in_group(mut self, group: GroupName) -> Self {
        if !self.groups.contains(&group) {
            self.groups.push(group);
        }
        self
    }

    /// Takes this message from those that `access` allows, and from references on this node that do
    /// not know the actor's type. What is not exported is taken from nobody else. At most 64
    /// messages.
    #[must_use]
    pub fn accept<M>(mut self, access: Access) -> Self
    where
        A: Handler<M>,
        M: RemoteMessage,
        M::Result: Send,
    {
        self.exports.add::<M>(access);
        self
    }

    /// When it is started again after a failure.
    #[must_use]
    pub fn restart(mut self, policy: RestartPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Belongs to that life of another actor.
    pub(crate) fn child_of(mut self, parent: Arc<dyn Hosted>) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Runs it on this worker, from 0; on the first one modulo their number when there are fewer.
    #[must_use]
    pub fn on_worker(mut self, worker: usize) -> Self {
        self.seating = Seating::On(worker);
        self
    }

    /// Runs it on the worker of another actor: asks between the two cross no threads.
    #[must_use]
    pub fn beside<B: Actor<Context = Context<B>>>(self, other: &LocalRef<B>) -> Self {
        let worker = other.worker();
        self.on_worker(worker)
    }

    /// Messages of its own node that may wait, 1 to 1,048,576. Default 1024.
    #[must_use]
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// Bytes of messages that each other node may have under way to it, 4 KiB to 1 GiB. Default
    /// 4 MiB. Each message counts for its length and 64 bytes more, but for three eighths of this
    /// at most, until it is handled, an ask until it is answered.
    #[must_use]
    pub fn window(mut self, bytes: u32) -> Self {
        self.window = bytes;
        self
    }

    /// Starts the actor: when this returns, its first life has begun.
    ///
    /// Not cancel-safe: an actor whose start is dropped may run all the same.
    ///
    /// # Errors
    /// [`StartError`]; nothing was started.
    pub async fn start(self) -> Result<ActorHandle<A>, StartError> {
        self.exports.check()?;
        self.policy.validate()?;
        if self.groups.len() > GROUPS_MAX {
            return Err(StartError::TooManyGroups { limit: GROUPS_MAX });
        }
        let (capacity, window) = (self.capacity, self.window);
        in_range("capacity", capacity as u64, 1, CAPACITY_MAX as u64, "1 to 1048576")?;
        let (least, most) = (u64::from(WINDOW_MIN), u64::from(WINDOW_MAX));
        in_range("window", window.into(), least, most, "4 KiB to 1 GiB")?;
        let node = self.node.upgrade().ok_or(StartError::Closing)?;
        let workers = node.workers().ok_or(StartError::Closing)?;
        let worker = match self.seating {
            Seating::Next => workers.next(),
            Seating::On(worker) => worker % workers.count(),
        };
        let is_findable = self.name.is_some() || !self.groups.is_empty();
        node.actors.reserve(self.name.as_ref(), is_findable)?;
        let (lives, current) = watch::channel(None);
        let (begun, outcome) = oneshot::channel();
        let (halt, halted) = watch::channel(false);
        let child = Child {
            node,
            factory: self.factory,
            name: self.name,
            groups: self.groups,
            is_findable,
            exports: Arc::new(self.exports),
            worker,
            capacity,
            window,
            parent: self.parent.map(Parent::new),
            restarts: 0,
            lives,
            halted,
        };
        let intensity = Intensity::new(self.policy);
        let live = move || drop(tokio::task::spawn_local(child.run(intensity, begun)));
        if !workers.place(worker, Box::new(live)).await {
            return Err(StartError::Closing);
        }
        outcome.await.map_err(|_gone| StartError::Closing)??;
        Ok(ActorHandle { current, halt: Arc::new(halt) })
    }
}

fn in_range(
    setting: &'static str,
    value: u64,
    least: u64,
    most: u64,
    bound: &'static str,
) -> Result<(), StartError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(StartError::OutOfRange { setting, value, bound })
}

/// A started actor over all its lives. Dropping it stops nothing.
pub struct ActorHandle<A: Actor> {
    current: watch::Receiver<Option<LocalRef<A>>>,
    halt: Arc<watch::Sender<bool>>,
}

impl<A: Actor> Clone for ActorHandle<A> {
    fn clone(&self) -> Self {
        Self { current: self.current.clone(), halt: Arc::clone(&self.halt) }
    }
}

impl<A: Actor> fmt::Debug for ActorHandle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorHandle").field("current", &self.current.borrow()).finish()
    }
}

impl<A: Actor<Context = Context<A>>> ActorHandle<A> {
    /// Its present life; none between two lives, and after the last.
    #[must_use]
    pub fn now(&self) -> Option<LocalRef<A>> {
        self.current.borrow().clone()
    }

    /// Waits for a life after this one, or for its present one without any. Cancel-safe.
    ///
    /// # Errors
    /// When there will be none.
    pub async fn life_after(&self, last: Option<&LocalRef<A>>) -> Result<LocalRef<A>, EndReason> {
        let mut current = self.current.clone();
        let is_next = |life: &Option<LocalRef<A>>| match (life, last) {
            (Some(life), Some(last)) => life.id() != last.id(),
            (life, _none) => life.is_some(),
        };
        let life = current.wait_for(is_next).await.map_err(|_over| EndReason::Stopped)?;
        life.clone().ok_or(EndReason::Stopped)
    }

    /// Handles what waits, ends the actor for good, and waits for that.
    pub async fn stop(&self) {
        self.halt.send_replace(true);
        let mut current = self.current.clone();
        // Ends when the last life and its supervision do.
        while current.changed().await.is_ok() {}
    }
}

/// One supervised actor, on its worker.
struct Child<A: Actor> {
    node: Arc<NodeShared>,
    factory: Box<dyn FnMut() -> A + Send>,
    name: Option<ActorName>,
    groups: Vec<GroupName>,
    /// It has a name, or is in a group.
    is_findable: bool,
    exports: Arc<Exports<A>>,
    worker: usize,
    capacity: usize,
    window: u32,
    parent: Option<Parent>,
    /// Lives that a failure ended.
    restarts: u64,
    lives: watch::Sender<Option<LocalRef<A>>>,
    halted: watch::Receiver<bool>,
}

impl<A: Actor<Context = Context<A>>> Child<A> {
    async fn run(
        mut self,
        mut intensity: Intensity,
        begun: oneshot::Sender<Result<(), StartError>>,
    ) {
        let started = Instant::now();
        let mut begun = Some(begun);
        let last = loop {
            let reason = self.live(&mut begun).await;
            let verdict = match &reason {
                reason if !reason.is_failure() => Verdict::GiveUp,
                _failure if begun.is_some() => Verdict::GiveUp,
                _failure => intensity.failed(started.elapsed(), self.node.jitter()),
            };
            let name = self.name.as_ref().map_or("(unnamed)", ActorName::as_str);
            let counts = &self.node.counts;
            if reason.is_failure() {
                counts.failures.one_more();
            }
            match verdict {
                Verdict::Restart { after } => {
                    tracing::warn!(name, %reason, ?after, "actor failed, it is started again");
                    if self.pause(after).await {
                        break reason;
                    }
                    self.restarts += 1;
                    self.node.counts.restarts.one_more();
                }
                Verdict::GiveUp => {
                    // The starter is told of the first life's.
                    if reason.is_failure() && begun.is_none() {
                        counts.given_up.one_more();
                        tracing::error!(name, %reason, "actor failed too often, it is given up");
                        if let Some(parent) = &self.parent {
                            parent.escalate(name, &reason);
                        }
                    }
                    break reason;
                }
            }
        };
        self.node.actors.release(self.name.as_ref(), self.is_findable);
        if let Some(begun) = begun {
            // Fails only when the starter is gone.
            drop(begun.send(Err(StartError::Ended(last))));
        }
    }

    /// Waits before the next life; true when there is to be none.
    async fn pause(&mut self, after: Duration) -> bool {
        let until = Instant::now() + after;
        tokio::select! {
            biased;
            _order = self.stopped(None) => true,
            () = sleep_until(until) => false,
        }
    }

    /// Ends when the actor is to end for good, and says how. After a drain was ordered, only a
    /// parent that failed has more to say.
    async fn stopped(&mut self, told: Option<Order>) -> Order {
        let is_draining = told.is_some();
        let by_handle = async {
            if is_draining || self.halted.wait_for(|halted| *halted).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let by_parent = async {
            let Some(parent) = &self.parent else { return std::future::pending().await };
            let has_failed = parent.ended().await.is_failure();
            match (has_failed, is_draining) {
                (true, _) => Order::Stop,
                (false, false) => Order::Drain,
                (false, true) => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = by_handle => Order::Drain,
            order = by_parent => order,
        }
    }

    /// One life, from factory to end.
    async fn live(
        &mut self,
        begun: &mut Option<oneshot::Sender<Result<(), StartError>>>,
    ) -> EndReason {
        let actor = match catch_unwind(AssertUnwindSafe(|| (self.factory)())) {
            Ok(actor) => actor,
            Err(panic) => return EndReason::Panicked(text_of(&*panic)),
        };
        let mut ctx = Context::new();
        let inbox = Arc::new(self.inbox(&ctx));
        let pump = Pump::new(Arc::clone(&inbox));
        ctx.spawn(pump);
        let hosted: Arc<dyn Hosted> = Arc::<Inbox<A>>::clone(&inbox);
        if !self.node.actors.begin(hosted) {
            return EndReason::Stopped;
        }
        if self.is_findable {
            let (serial, name, groups) = (inbox.id.serial, self.name.clone(), self.groups.clone());
            self.node.names.list(Listing { serial, name, groups });
        }
        self.lives.send_replace(Some(LocalRef::new(Arc::clone(&inbox))));
        if let Some(begun) = begun.take() {
            // Fails only when the starter is gone.
            drop(begun.send(Ok(())));
        }
        let mut over = Over {
            node: Arc::clone(&self.node),
            inbox: Arc::clone(&inbox),
            reason: EndReason::NodeDown,
        };
        let end = self.until_end(ctx, actor, &inbox).await;
        over.reason = match (end, inbox.failure()) {
            (Err(panic), _) => EndReason::Panicked(panic),
            (Ok(()), Some(failure)) => EndReason::Failed(failure),
            (Ok(()), None) => EndReason::Stopped,
        };
        self.lives.send_replace(None);
        let reason = over.reason.clone();
        drop(over);
        childless(&*inbox).await;
        reason
    }

    fn inbox(&self, ctx: &Context<A>) -> Inbox<A> {
        let id = ActorId {
            node: self.node.name.clone(),
            incarnation: self.node.incarnation,
            serial: self.node.actors.next_serial(),
        };
        let (name, worker, restarts) = (self.name.clone(), self.worker, self.restarts);
        let (capacity, window) = (self.capacity, self.window);
        let node = Arc::downgrade(&self.node);
        let parent = self.parent.as_ref().map(Parent::serial);
        let seat = Seat { node, id, name, worker, capacity, window, restarts, parent };
        Inbox::new(seat, ctx.address(), Arc::clone(&self.exports))
    }

    /// Runs the actor; gives the text of its panic.
    async fn until_end(
        &mut self,
        ctx: Context<A>,
        actor: A,
        inbox: &Arc<Inbox<A>>,
    ) -> Result<(), String> {
        let mut life = Life::new(ctx.into_future(actor), &self.node, inbox);
        let mut told = None;
        let end = loop {
            tokio::select! {
                biased;
                order = self.stopped(told.clone()), if told != Some(Order::Stop) => {
                    told = Some(order.clone());
                    inbox.order(order);
                }
                end = AssertUnwindSafe(&mut life).catch_unwind() => break end,
            }
        };
        // actix polls a life once more when it is dropped, and that may panic again.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(life)));
        end.and(dropped).map_err(|panic| text_of(&*panic))
    }
}

/// Says that a life is over, also when its worker is dropped with all that runs on it.
struct Over<A: Actor> {
    node: Arc<NodeShared>,
    inbox: Arc<Inbox<A>>,
    reason: EndReason,
}

impl<A: Actor> Drop for Over<A> {
    fn drop(&mut self) {
        self.node.names.unlist(self.inbox.id.serial);
        self.node.actors.end(self.inbox.id.serial);
        self.inbox.ended.send_replace(Some(self.reason.clone()));
    }
}

/// Longest text of a panic that is kept, characters.
const PANIC_CHARS_MAX: usize = 256;

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a text").chars().take(PANIC_CHARS_MAX).collect()
}
