//! References to actors.

use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tokio::sync::{SemaphorePermit, TryAcquireError, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::actor::ActorBuilder;
use crate::current;
use crate::error::{AskError, DEADLINE_MAX, Doubt, EndReason, NotDelivered, NotTaken};
use crate::exports::Entry;
use crate::id::ActorId;
use crate::inbox::{Closed, Hosted, Inbox, LocalCall, Order};
use crate::message::{RemoteMessage, Wire};
use crate::peer::watches::{NoRoom, Tell};
use crate::remote::Remote;
use crate::schema::Schema;
use crate::trace;

/// That an actor takes a message.
///
/// Every actor accepts what it handles. A type of its own, a protocol, can stand for an actor whose
/// code the sender does not have: implement this for each of the protocol's messages.
pub trait Accepts<M: RemoteMessage>: 'static {}

impl<A: Actor + Handler<M>, M: RemoteMessage> Accepts<M> for A {}

/// A reference to one life of an actor, wherever it runs. `P` is the actor's type or a protocol.
///
/// Messages sent through references of one node to one actor arrive in the order in which the sends
/// ended, at most once. Cheap to clone; can be part of a message.
pub struct ActorRef<P> {
    target: Target,
    protocol: PhantomData<fn(P)>,
}

#[derive(Clone)]
enum Target {
    Here(Arc<dyn Hosted>),
    There(Remote),
}

impl<P> Clone for ActorRef<P> {
    fn clone(&self) -> Self {
        Self { target: self.target.clone(), protocol: PhantomData }
    }
}

impl<P> fmt::Debug for ActorRef<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActorRef({})", self.id())
    }
}

impl<P> PartialEq for ActorRef<P> {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl<P> Eq for ActorRef<P> {}

impl<P> ActorRef<P> {
    pub(crate) fn here(actor: Arc<dyn Hosted>) -> Self {
        Self { target: Target::Here(actor), protocol: PhantomData }
    }

    pub(crate) fn there(remote: Remote) -> Self {
        Self { target: Target::There(remote), protocol: PhantomData }
    }

    /// Which life of which actor.
    #[must_use]
    pub fn id(&self) -> &ActorId {
        match &self.target {
            Target::Here(actor) => actor.id(),
            Target::There(remote) => remote.id(),
        }
    }

    /// Sends a message, waiting while the actor has no room for more. `Ok` says that it is on its
    /// way, not that it was handled; what of it is lost with a link is not told.
    ///
    /// Cancel-safe: when the future is dropped, the message was not sent.
    ///
    /// # Errors
    /// Gives the message back, and says why it was not delivered.
    pub async fn tell<M: RemoteMessage>(&self, message: M) -> Result<(), NotTaken<M>>
    where
        P: Accepts<M>,
    {
        match &self.target {
            Target::Here(actor) => {
                let Some(entry) = entry::<M>(&**actor) else {
                    return Err(NotTaken { message, reason: not_exported::<M>(actor.id()) });
                };
                let place = Place::of(&**actor);
                if let Err(reason) = place.taken().await {
                    return Err(NotTaken { message, reason });
                }
                place.enter(message, |call| entry(actor.as_any(), call))
            }
            Target::There(remote) => match remote.tell(&message).await {
                Ok(()) => Ok(()),
                Err(reason) => Err(NotTaken { message, reason }),
            },
        }
    }

    /// Sends a message if there is room now.
    ///
    /// # Errors
    /// As [`tell`](Self::tell), and [`NotDelivered::Full`], also while leave to send is being asked
    /// for.
    pub fn try_tell<M: RemoteMessage>(&self, message: M) -> Result<(), NotTaken<M>>
    where
        P: Accepts<M>,
    {
        match &self.target {
            Target::Here(actor) => {
                let Some(entry) = entry::<M>(&**actor) else {
                    return Err(NotTaken { message, reason: not_exported::<M>(actor.id()) });
                };
                let put = |call| entry(actor.as_any(), call);
                Place::of(&**actor).try_put(message, put)
            }
            Target::There(remote) => {
                remote.try_tell(&message).map_err(|reason| NotTaken { message, reason })
            }
        }
    }

    /// Asks, and waits for the answer until `deadline` has passed. The deadline travels with the
    /// message, and ends the work over there. Deadlines are kept to 10 ms.
    ///
    /// When the future is dropped, the other side is told, and ends the work; whether the message
    /// was handled is not known then.
    ///
    /// # Errors
    /// [`AskError`] says whether the message may have been handled.
    pub async fn ask<M: RemoteMessage>(
        &self,
        message: M,
        deadline: Duration,
    ) -> Result<M::Result, AskError>
    where
        P: Accepts<M>,
        M::Result: Send,
    {
        match &self.target {
            Target::Here(actor) => {
                let entry = entry::<M>(&**actor).ok_or_else(|| not_exported::<M>(actor.id()))?;
                let put = |call| entry(actor.as_any(), call);
                Place::of(&**actor).ask(message, deadline, put).await
            }
            Target::There(remote) => remote.ask(&message, deadline).await,
        }
    }
}

impl<P> ActorRef<P> {
    /// Waits for the end of this life of the actor. The end of its node counts as well: a new run
    /// of it, or that the cluster declares it down; without a cluster, that it is unreachable for
    /// as long as links allow. Cancel-safe.
    pub async fn ended(&self) -> EndReason {
        match &self.target {
            Target::Here(actor) => end_of(actor.ended()).await,
            Target::There(remote) => {
                let (told, end) = oneshot::channel();
                // Fails only when nobody waits any more.
                let tell = Box::new(move |reason| drop(told.send(reason)));
                let Ok(watch) = remote.watch(0, tell) else { return EndReason::NodeDown };
                let _unwatch = Unwatch { remote, watch };
                end.await.unwrap_or(EndReason::NodeDown)
            }
        }
    }

    /// Has `tell` called once, when this life of the actor ends: for `watcher`, after everything
    /// that the ended actor had sent to it.
    fn on_end(&self, watcher: u64, tell: Tell) {
        match &self.target {
            Target::Here(actor) => {
                let ended = actor.ended();
                actor.handle().spawn(async move { tell(end_of(ended).await) });
            }
            Target::There(remote) => {
                if let Err(NoRoom(tell)) = remote.watch(watcher, tell) {
                    tell(EndReason::NodeDown);
                }
            }
        }
    }
}

async fn end_of(mut ended: watch::Receiver<Option<EndReason>>) -> EndReason {
    match ended.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or(EndReason::Gone),
        Err(_gone) => EndReason::Gone,
    }
}

/// Takes a watch back when it is dropped.
struct Unwatch<'a> {
    remote: &'a Remote,
    watch: u64,
}

impl Drop for Unwatch<'_> {
    fn drop(&mut self) {
        self.remote.unwatch(self.watch);
    }
}

/// Told to an actor that watches another: that life is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminated {
    /// The actor.
    pub actor: ActorId,
    /// Why.
    pub reason: EndReason,
}

impl Message for Terminated {
    type Result = ();
}

fn not_exported<M: RemoteMessage>(id: &ActorId) -> NotDelivered {
    NotDelivered::NotExported { actor: id.clone(), message: M::NAME }
}

fn entry<M: RemoteMessage>(actor: &dyn Hosted) -> Option<Entry<M>> {
    actor.entry(TypeId::of::<M>())?.downcast_ref::<Entry<M>>().copied()
}

/// A place in an inbox of this node.
struct Place<'a> {
    actor: &'a dyn Hosted,
}

impl<'a> Place<'a> {
    fn of(actor: &'a dyn Hosted) -> Self {
        Self { actor }
    }

    fn gone(&self) -> NotDelivered {
        NotDelivered::Gone { actor: self.actor.id().clone() }
    }

    /// Takes a place, waiting for one if need be.
    async fn taken(&self) -> Result<(), NotDelivered> {
        if self.take_now().is_ok() {
            return Ok(());
        }
        // Apart, so that the usual case carries no room for it along.
        match Box::pin(self.actor.places().acquire()).await {
            Ok(place) => {
                place.forget();
                Ok(())
            }
            Err(_closed) => Err(self.gone()),
        }
    }

    fn take_now(&self) -> Result<(), TryAcquireError> {
        self.actor.places().try_acquire().map(SemaphorePermit::forget)
    }

    fn try_put<M: Message>(
        &self,
        message: M,
        put: impl FnOnce(LocalCall<M>) -> Result<u64, Closed<LocalCall<M>>>,
    ) -> Result<(), NotTaken<M>> {
        match self.take_now() {
            Ok(()) => {}
            Err(TryAcquireError::Closed) => {
                return Err(NotTaken { message, reason: self.gone() });
            }
            Err(TryAcquireError::NoPermits) => {
                self.actor.counts().refused_full.one_more();
                let actor = self.actor.id().clone();
                return Err(NotTaken { message, reason: NotDelivered::Full { actor } });
            }
        }
        self.enter(message, put)
    }

    fn enter<M: Message>(
        &self,
        message: M,
        put: impl FnOnce(LocalCall<M>) -> Result<u64, Closed<LocalCall<M>>>,
    ) -> Result<(), NotTaken<M>> {
        match put(LocalCall { message, answer: None, request: trace::current() }) {
            Ok(_number) => Ok(()),
            Err(Closed(call)) => Err(NotTaken { message: call.message, reason: self.gone() }),
        }
    }

    async fn ask<M: Message>(
        &self,
        message: M,
        deadline: Duration,
        put: impl FnOnce(LocalCall<M>) -> Result<u64, Closed<LocalCall<M>>>,
    ) -> Result<M::Result, AskError> {
        let deadline = Instant::now() + deadline.min(DEADLINE_MAX);
        if self.take_now().is_err() {
            let taken = timeout_at(deadline, self.taken());
            Box::pin(taken).await.map_err(|_late| NotDelivered::Late)??;
        }
        let (answer, answered) = oneshot::channel();
        let number = put(LocalCall { message, answer: Some(answer), request: trace::current() });
        let number = number.map_err(|Closed(_call)| self.gone())?;
        match timeout_at(deadline, answered).await {
            Ok(Ok(result)) => {
                self.actor.counts().answered_here.one_more();
                Ok(result)
            }
            Ok(Err(_dropped)) if self.actor.has_begun(number) => Err(Doubt::Dropped.into()),
            Ok(Err(_dropped)) => Err(self.gone().into()),
            Err(_late) => Err(Doubt::Late.into()),
        }
    }
}

/// A reference to one life of an actor of this node, which takes every message that the actor
/// handles, exported or not, without encoding it.
pub struct LocalRef<A: Actor> {
    inbox: Arc<Inbox<A>>,
}

impl<A: Actor> Clone for LocalRef<A> {
    fn clone(&self) -> Self {
        Self { inbox: Arc::clone(&self.inbox) }
    }
}

impl<A: Actor> fmt::Debug for LocalRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalRef({})", self.inbox.id)
    }
}

impl<A: Actor> LocalRef<A> {
    pub(crate) fn new(inbox: Arc<Inbox<A>>) -> Self {
        Self { inbox }
    }
}

impl<A: Actor<Context = Context<A>>> LocalRef<A> {
    /// Which life of the actor.
    #[must_use]
    pub fn id(&self) -> &ActorId {
        &self.inbox.id
    }

    /// The actor's actix address. What is sent through it goes by the actix mailbox: it keeps no
    /// order with what goes through references, and knows no deadlines.
    #[must_use]
    pub fn addr(&self) -> Addr<A> {
        self.inbox.addr.clone()
    }

    /// The same as a reference that can be sent to other nodes.
    #[must_use]
    pub fn actor_ref(&self) -> ActorRef<A> {
        ActorRef::here(Arc::<Inbox<A>>::clone(&self.inbox))
    }

    /// As [`ActorRef::tell`].
    ///
    /// # Errors
    /// As [`ActorRef::tell`].
    pub async fn tell<M>(&self, message: M) -> Result<(), NotTaken<M>>
    where
        A: Handler<M>,
        M: Message<Result: Send> + Send + 'static,
    {
        let place = Place::of(&*self.inbox);
        if let Err(reason) = place.taken().await {
            return Err(NotTaken { message, reason });
        }
        place.enter(message, |call| self.inbox.put(call))
    }

    /// As [`ActorRef::try_tell`].
    ///
    /// # Errors
    /// As [`ActorRef::try_tell`].
    pub fn try_tell<M>(&self, message: M) -> Result<(), NotTaken<M>>
    where
        A: Handler<M>,
        M: Message<Result: Send> + Send + 'static,
    {
        Place::of(&*self.inbox).try_put(message, |call| self.inbox.put(call))
    }

    /// As [`ActorRef::ask`].
    ///
    /// # Errors
    /// As [`ActorRef::ask`].
    pub async fn ask<M>(&self, message: M, deadline: Duration) -> Result<M::Result, AskError>
    where
        A: Handler<M>,
        M: Message<Result: Send> + Send + 'static,
    {
        Place::of(&*self.inbox).ask(message, deadline, |call| self.inbox.put(call)).await
    }

    /// Tells this actor when that life of another ends, after everything that it had sent to this
    /// one. A notice needs no place: it is taken whatever else waits.
    pub fn watch<P>(&self, other: &ActorRef<P>)
    where
        A: Handler<Terminated>,
    {
        let (inbox, actor) = (Arc::clone(&self.inbox), other.id().clone());
        let tell = move |reason| {
            let message = Terminated { actor, reason };
            // Fails only when this actor has ended itself.
            drop(inbox.put_beyond(message));
        };
        other.on_end(self.id().serial, Box::new(tell));
    }

    /// Ends this life as a failure: supervision decides what follows.
    pub fn fail(&self, reason: impl Into<String>) {
        self.inbox.order(Order::Fail(reason.into()));
    }

    /// Waits for the end of this life. Cancel-safe.
    pub async fn ended(&self) -> EndReason {
        end_of(self.inbox.ended.subscribe()).await
    }

    /// An actor that is a child of this life: it runs on the same worker unless placed otherwise,
    /// and is stopped when the life ends; the parent's next life begins once it is gone. A child
    /// that is given up makes its parent fail.
    ///
    /// A parent starts its children anew in each life, from its `started`; see
    /// [`myself`](crate::myself).
    pub fn child<B>(&self, factory: impl FnMut() -> B + Send + 'static) -> ActorBuilder<B>
    where
        B: Actor<Context = Context<B>>,
    {
        let child = ActorBuilder::new(Weak::clone(self.inbox.node()), factory);
        child.child_of(Arc::<Inbox<A>>::clone(&self.inbox)).beside(self)
    }

    pub(crate) fn worker(&self) -> usize {
        self.inbox.worker
    }
}

impl<P> Serialize for ActorRef<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.id().serialize(serializer)
    }
}

impl<'de, P: 'static> Deserialize<'de> for ActorRef<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = ActorId::deserialize(deserializer)?;
        let node = current::node()
            .ok_or_else(|| de::Error::custom("a reference is read by a node only"))?;
        node.reference(&id).ok_or_else(|| {
            de::Error::custom(format_args!("no link to {}, where the actor lives", id.node))
        })
    }
}

impl<P: 'static> Wire for ActorRef<P> {
    const SCHEMA: Schema = Schema::leaf("ActorRef");
}
