//! What an actor can know while it runs.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix::Actor;
use tracing::Span;
use vioduct_certs::identity::Identity;

use crate::inbox::Inbox;
use crate::node::NodeShared;
use crate::peer::inlet::Inlet;
use crate::reference::LocalRef;
use crate::trace;

thread_local! {
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
    static CALLER: RefCell<Caller> = const { RefCell::new(Caller::Nobody) };
}

/// What a thread works for.
struct Place {
    node: Arc<NodeShared>,
    /// The inbox of the actor that runs, if one does.
    inbox: Option<Arc<dyn Any + Send + Sync>>,
    /// Its number; 0 without one.
    serial: u64,
}

/// Who sent the message that is being handled.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    Nobody,
    Local,
    Remote(Arc<Inlet>),
}

/// Until it is dropped, this thread works for a node.
struct Scope {
    before: Option<Place>,
}

impl Scope {
    fn enter(place: Place) -> Self {
        Self { before: PLACE.replace(Some(place)) }
    }

    /// Ends it. Gives the place back.
    fn leave(self) -> Option<Place> {
        ManuallyDrop::new(self).end()
    }

    fn end(&mut self) -> Option<Place> {
        set_caller(Caller::Nobody);
        PLACE.replace(self.before.take())
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// Runs something for a node.
pub(crate) fn with_node<T>(node: &Arc<NodeShared>, act: impl FnOnce() -> T) -> T {
    let _scope = Scope::enter(Place { node: Arc::clone(node), inbox: None, serial: 0 });
    act()
}

/// A life of an actor, which knows its node and itself.
pub(crate) struct Life<F> {
    life: Pin<Box<F>>,
    /// Lent to the thread while the life runs.
    place: Option<Place>,
    span: Span,
}

impl<F: Future> Life<F> {
    pub(crate) fn new<A: Actor>(life: F, node: &Arc<NodeShared>, inbox: &Arc<Inbox<A>>) -> Self {
        let kind = std::any::type_name::<A>();
        let span = trace::of_actor(&node.span, &inbox.id, inbox.name.as_ref(), kind);
        let serial = inbox.id.serial;
        let inbox: Arc<dyn Any + Send + Sync> = Arc::<Inbox<A>>::clone(inbox);
        let place = Some(Place { node: Arc::clone(node), inbox: Some(inbox), serial });
        Self { life: Box::pin(life), place, span }
    }
}

impl<F: Future> Future for Life<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { life, place, span } = self.get_mut();
        let _span = span.enter();
        let scope = place.take().map(Scope::enter);
        let polled = life.as_mut().poll(cx);
        *place = scope.and_then(Scope::leave);
        polled
    }
}

pub(crate) fn set_caller(caller: Caller) {
    CALLER.with_borrow_mut(|last| match (&caller, &*last) {
        (Caller::Nobody, Caller::Nobody) | (Caller::Local, Caller::Local) => {}
        _other => *last = caller,
    });
}

/// Most messages come from where the one before came from.
pub(crate) fn set_remote_caller(inlet: &Arc<Inlet>) {
    CALLER.with_borrow_mut(|caller| match caller {
        Caller::Remote(last) if Arc::ptr_eq(last, inlet) => {}
        other => *other = Caller::Remote(Arc::clone(inlet)),
    });
}

/// The node that this thread works for.
pub(crate) fn node() -> Option<Arc<NodeShared>> {
    PLACE.with_borrow(|place| place.as_ref().map(|place| Arc::clone(&place.node)))
}

/// The number of the actor that runs; 0 outside one.
pub(crate) fn serial() -> u64 {
    PLACE.with_borrow(|place| place.as_ref().map_or(0, |place| place.serial))
}

/// The actor that runs: to be asked from its handlers, `started` and futures. None elsewhere, or
/// when its type is another.
#[must_use]
pub fn myself<A: Actor>() -> Option<LocalRef<A>> {
    let inbox = PLACE.with_borrow(|place| place.as_ref()?.inbox.clone())?;
    inbox.downcast::<Inbox<A>>().ok().map(LocalRef::new)
}

/// Whose certificate the message that is being handled came under; none when it came from this
/// node, or outside a handler.
///
/// To be asked in the handler itself: in a future that it returns, another message may be handled.
#[must_use]
pub fn caller() -> Option<Identity> {
    CALLER.with_borrow(|caller| match caller {
        Caller::Nobody | Caller::Local => None,
        Caller::Remote(inlet) => inlet.peer.identity(),
    })
}
