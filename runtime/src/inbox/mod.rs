//! Where messages to one life of an actor wait, from here and from other nodes alike.
//!
//! A [`Pump`] in the actor's own context takes them out and calls the handlers. The actor's actix
//! mailbox stays what it was, for whoever holds its `Addr`.
//!
//! Bounds: senders of this node wait for one of `capacity` places; each other node has credit for a
//! window of bytes ([`Account`](crate::peer::credit::Account)).

mod figures;
mod item;
mod pump;
mod running;
pub(crate) mod work;

use std::any::{Any, TypeId};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use actix::{Actor, Addr, Context, Handler, Message};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

pub(crate) use self::item::{LocalCall, LocalItem, RemoteItem, Reply};
pub(crate) use self::pump::Pump;
pub(crate) use self::running::{AskKey, Running};
use crate::error::EndReason;
use crate::exports::{Export, Exports};
use crate::id::{ActorId, ActorName};
use crate::inspect::ActorFigures;
use crate::inspect::count::{ActorCounts, ActorTallies};
use crate::node::NodeShared;

/// Cancels that wait for the actor.
const CANCELS_MAX: usize = 4096;

/// What waits.
pub(crate) enum Item<A: Actor> {
    Local(Box<dyn LocalItem<A>>),
    /// Holds no place.
    Notice(Box<dyn LocalItem<A>>),
    Remote(RemoteItem),
}

/// What the actor is told to do besides its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Take no more, and stop once what waits is handled.
    Drain,
    /// Stop now; what waits is not handled.
    Stop,
    /// As a stop, and it counts as a failure.
    Fail(String),
}

struct State<A: Actor> {
    items: VecDeque<Item<A>>,
    /// Items ever put in.
    pushed: u64,
    cancels: Vec<AskKey>,
    order: Option<Order>,
    is_closed: bool,
    /// What waited was dropped.
    is_over: bool,
    /// The pump, when it waits.
    waker: Option<Waker>,
}

/// One life's inbox.
pub(crate) struct Inbox<A: Actor> {
    node: Weak<NodeShared>,
    pub(crate) id: ActorId,
    pub(crate) name: Option<ActorName>,
    /// The worker that it lives on.
    pub(crate) worker: usize,
    /// Where that worker's tasks are spawned.
    pub(crate) handle: Handle,
    pub(crate) addr: Addr<A>,
    pub(crate) exports: Arc<Exports<A>>,
    /// Credit that each other node gets, bytes.
    pub(crate) window: u32,
    capacity: usize,
    /// Lives before this one.
    restarts: u64,
    parent: Option<u64>,
    pub(crate) counts: ActorCounts,
    /// Places for senders of this node.
    pub(crate) room: Semaphore,
    /// Items that a handler has seen, or that were dropped on purpose; the pump's to write.
    begun: AtomicU64,
    state: Mutex<State<A>>,
    /// An order is there; read for each message.
    is_ordered: AtomicBool,
    pub(crate) ended: watch::Sender<Option<EndReason>>,
    /// How many children this life has.
    children: watch::Sender<usize>,
}

/// Why an item was not put in: that life is over. Gives the item back.
pub(crate) struct Closed<T>(pub(crate) T);

/// Who an inbox is for, and how much it takes.
pub(crate) struct Seat {
    pub(crate) node: Weak<NodeShared>,
    pub(crate) id: ActorId,
    pub(crate) name: Option<ActorName>,
    pub(crate) worker: usize,
    pub(crate) capacity: usize,
    pub(crate) window: u32,
    /// Lives before this one.
    pub(crate) restarts: u64,
    /// The serial of the parent's life.
    pub(crate) parent: Option<u64>,
}

impl<A: Actor> Inbox<A> {
    /// To be called on the actor's worker.
    pub(crate) fn new(seat: Seat, addr: Addr<A>, exports: Arc<Exports<A>>) -> Self {
        let Seat { node, id, name, worker, capacity, window, restarts, parent } = seat;
        let state = State {
            items: VecDeque::new(),
            pushed: 0,
            cancels: Vec::new(),
            order: None,
            is_closed: false,
            is_over: false,
            waker: None,
        };
        Self {
            node,
            id,
            name,
            worker,
            handle: Handle::current(),
            addr,
            exports,
            window,
            capacity,
            restarts,
            parent,
            counts: ActorCounts::default(),
            room: Semaphore::new(capacity),
            begun: AtomicU64::new(0),
            state: Mutex::new(state),
            is_ordered: AtomicBool::new(false),
            ended: watch::Sender::new(None),
            children: watch::Sender::new(0),
        }
    }

    /// The node it lives on, as long as that is.
    pub(crate) fn node(&self) -> &Weak<NodeShared> {
        &self.node
    }

    fn state(&self) -> MutexGuard<'_, State<A>> {
        // No code that holds the lock calls a handler, or anything else that may panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message of this node in. Who calls it holds a place for it. Gives its number.
    pub(crate) fn put<M>(&self, call: LocalCall<M>) -> Result<u64, Closed<LocalCall<M>>>
    where
        A: Actor<Context = Context<A>> + Handler<M>,
        M: Message<Result: Send> + Send + 'static,
    {
        self.push(call, |call| Item::Local(Box::new(call)))
    }

    /// Puts in what is bounded otherwise: a notice, of which there is one for each watch.
    pub(crate) fn put_beyond<M>(&self, message: M) -> Result<u64, Closed<M>>
    where
        A: Actor<Context = Context<A>> + Handler<M>,
        M: Message<Result: Send> + Send + 'static,
    {
        let wrap =
            |message| Item::Notice(Box::new(LocalCall { message, answer: None, request: None }));
        self.push(message, wrap)
    }

    fn push<T>(&self, value: T, wrap: impl FnOnce(T) -> Item<A>) -> Result<u64, Closed<T>> {
        let mut state = self.state();
        if state.is_closed {
            return Err(Closed(value));
        }
        state.items.push_back(wrap(value));
        state.pushed += 1;
        let number = state.pushed;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(number)
    }

    /// Whether a handler may have seen the item of this number.
    pub(crate) fn has_begun(&self, number: u64) -> bool {
        self.begun.load(Ordering::Acquire) >= number
    }

    fn nudge(&self, change: impl FnOnce(&mut State<A>)) {
        let mut state = self.state();
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What the actor is told to do, without a lock while that is nothing.
    fn ordered(&self) -> Option<Order> {
        if self.is_ordered.load(Ordering::Acquire) { self.state().order.clone() } else { None }
    }

    /// The failure that the actor was told, if it was.
    pub(crate) fn failure(&self) -> Option<String> {
        match &self.state().order {
            Some(Order::Fail(reason)) => Some(reason.clone()),
            Some(Order::Drain | Order::Stop) | None => None,
        }
    }

    /// Takes no more items, and gives what waits.
    fn close(&self) -> VecDeque<Item<A>> {
        let mut state = self.state();
        state.is_closed = true;
        state.is_over = true;
        let left = std::mem::take(&mut state.items);
        drop(state);
        self.room.close();
        left
    }
}

/// An inbox whose actor's type is not known.
pub(crate) trait Hosted: Send + Sync {
    fn id(&self) -> &ActorId;
    fn name(&self) -> Option<&ActorName>;
    fn window(&self) -> u32;
    fn worker(&self) -> usize;
    fn counts(&self) -> &ActorCounts;
    fn type_name(&self) -> &'static str;
    fn tallies(&self) -> ActorTallies;
    fn figures(&self) -> ActorFigures;
    fn as_any(&self) -> &dyn Any;
    fn places(&self) -> &Semaphore;
    fn has_begun(&self, number: u64) -> bool;
    /// What is exported, by index.
    fn export(&self, message: u8) -> Option<&Export>;
    /// Index of what is exported.
    fn find_export(&self, is_it: &dyn Fn(&Export) -> bool) -> Option<u8>;
    /// Where messages of this type go in, if they are exported.
    fn entry(&self, message: TypeId) -> Option<&(dyn Any + Send + Sync)>;
    /// Gives the item back when that life is over.
    fn push_remote(&self, item: RemoteItem) -> Option<RemoteItem>;
    /// The asker does not wait any more. It asked before.
    fn cancel(&self, ask: AskKey);
    fn order(&self, order: Order);
    fn ended(&self) -> watch::Receiver<Option<EndReason>>;
    fn children(&self) -> &watch::Sender<usize>;
    fn handle(&self) -> &Handle;
}

impl<A: Actor> Hosted for Inbox<A> {
    fn id(&self) -> &ActorId {
        &self.id
    }

    fn name(&self) -> Option<&ActorName> {
        self.name.as_ref()
    }

    fn window(&self) -> u32 {
        self.window
    }

    fn worker(&self) -> usize {
        self.worker
    }

    fn counts(&self) -> &ActorCounts {
        &self.counts
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<A>()
    }

    fn tallies(&self) -> ActorTallies {
        Self::tallies(self)
    }

    fn figures(&self) -> ActorFigures {
        Self::figures(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn places(&self) -> &Semaphore {
        &self.room
    }

    fn has_begun(&self, number: u64) -> bool {
        Self::has_begun(self, number)
    }

    fn export(&self, message: u8) -> Option<&Export> {
        self.exports.get(message)
    }

    fn find_export(&self, is_it: &dyn Fn(&Export) -> bool) -> Option<u8> {
        self.exports.find(is_it)
    }

    fn entry(&self, message: TypeId) -> Option<&(dyn Any + Send + Sync)> {
        self.exports.entry(message)
    }

    fn push_remote(&self, item: RemoteItem) -> Option<RemoteItem> {
        self.push(item, Item::Remote).err().map(|Closed(item)| item)
    }

    fn cancel(&self, ask: AskKey) {
        self.nudge(|state| {
            // One that is too many is not missed: the deadline ends the work as well.
            if state.cancels.len() < CANCELS_MAX {
                state.cancels.push(ask);
            }
        });
    }

    fn order(&self, order: Order) {
        self.nudge(|state| {
            state.is_closed = true;
            // A failure is not turned into a stop, nor a stop into a drain.
            if matches!(state.order, None | Some(Order::Drain)) {
                state.order = Some(order);
            }
        });
        self.is_ordered.store(true, Ordering::Release);
        self.room.close();
    }

    fn ended(&self) -> watch::Receiver<Option<EndReason>> {
        self.ended.subscribe()
    }

    fn children(&self) -> &watch::Sender<usize> {
        &self.children
    }

    fn handle(&self) -> &Handle {
        &self.handle
    }
}
