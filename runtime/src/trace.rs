//! Following one request over actors and nodes.
//!
//! A request gets an id where it enters the cluster, by [`with_id`]. Everything that is told or
//! asked under it carries the id, on this node and to others, and so does what is told or asked
//! while such a message is handled:
//!
//! - in the handler itself;
//! - in the work of a [`Cancellable`](crate::Cancellable);
//! - in any other future that [`carry`] was called for in the handler: actix's own futures, and
//!   what is spawned.
//!
//! A message without an id takes no bytes for one.
//!
//! # Spans
//!
//! | span | level | fields |
//! |---|---|---|
//! | `node` | INFO | `name`, `incarnation` |
//! | `actor`, in its node | INFO | `serial`, `name`, `type` |
//! | `message`, in its actor: one that is handled | DEBUG | `name`, `request`, `from` |
//!
//! Their target is `vioduct_runtime::trace`, so that the filter
//! `info,vioduct_runtime::trace=debug` shows with each line of a handler which request it belongs
//! to. `from` is the name in the sender's certificate, `request` the id, if there is one. The spans
//! of a node and an actor are made when it starts: for a subscriber that is there by then.
//!
//! An id is a label that senders choose. Nothing is decided by it, and a peer may send one that is
//! somebody else's.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::num::NonZeroU128;
use std::pin::pin;
use std::str::FromStr;

use tracing::Span;
use tracing::field::display;
use vioduct_certs::identity::NodeName;

use crate::current;
use crate::id::{ActorId, ActorName};

thread_local! {
    static CURRENT: Cell<Option<RequestId>> = const { Cell::new(None) };
}

/// Which request something belongs to. Shown as 32 hexadecimal digits, as W3C's trace ids are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(NonZeroU128);

/// A text that is no [`RequestId`]. Fault: the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request's id is 32 hexadecimal digits, not all of them zero")]
pub struct RequestIdError;

impl RequestId {
    /// One that no other request has, by chance. In an actor it comes from its node's seed, so that
    /// a simulation repeats it.
    #[must_use]
    pub fn random() -> Self {
        let number = match current::node() {
            Some(node) => u128::from(node.jitter()) << 64 | u128::from(node.jitter()),
            None => rand::random(),
        };
        Self(NonZeroU128::new(number).unwrap_or(NonZeroU128::MIN))
    }

    /// The id of this number; none for zero.
    #[must_use]
    pub const fn new(number: u128) -> Option<Self> {
        match NonZeroU128::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0.get()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for RequestId {
    type Err = RequestIdError;

    fn from_str(text: &str) -> Result<Self, RequestIdError> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex);
        number.and_then(Self::new).ok_or(RequestIdError)
    }
}

/// The request that is worked for now: the one whose message is being handled, or that of
/// [`with_id`].
#[must_use]
pub fn current() -> Option<RequestId> {
    CURRENT.get()
}

/// Runs `future` for this request. Cancel-safe if `future` is.
pub async fn with_id<F: Future>(id: RequestId, future: F) -> F::Output {
    keep(Some(id), Span::none(), future).await
}

/// Has `future` belong to the request and the span that are current now, wherever it runs.
pub fn carry<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let is_watched = tracing::enabled!(tracing::Level::DEBUG);
    let span = if is_watched { Span::current() } else { Span::none() };
    keep(current(), span, future)
}

async fn keep<F: Future>(id: Option<RequestId>, span: Span, future: F) -> F::Output {
    let mut future = pin!(future);
    let step = poll_fn(|cx| {
        let _id = enter(id);
        let _span = span.enter();
        future.as_mut().poll(cx)
    });
    step.await
}

/// Until it is dropped, this thread works for a request.
struct Entered {
    before: Option<RequestId>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

fn enter(id: Option<RequestId>) -> Entered {
    Entered { before: CURRENT.replace(id) }
}

/// Has a message handled for its request, in a span of its own if that is of interest. `from` is
/// who sent it, if that was another node.
pub(crate) fn handling<T>(
    id: Option<RequestId>,
    name: &'static str,
    from: Option<&NodeName>,
    handle: impl FnOnce() -> T,
) -> T {
    let _id = enter(id);
    let span = tracing::debug_span!(
        "message",
        name = name,
        request = id.map(display),
        from = from.map(display)
    );
    span.in_scope(handle)
}

pub(crate) fn of_node(name: &NodeName, incarnation: u64) -> Span {
    tracing::info_span!(parent: None, "node", %name, incarnation)
}

pub(crate) fn of_actor(node: &Span, id: &ActorId, name: Option<&ActorName>, kind: &str) -> Span {
    let name = name.map(display);
    tracing::info_span!(parent: node, "actor", serial = id.serial, name = name, "type" = kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown_and_nothing_else_is() {
        let id = RequestId::new(0xab).unwrap();
        let shown = "000000000000000000000000000000ab";
        assert_eq!((id.to_string().as_str(), shown.parse()), (shown, Ok(id)));
        for bad in ["", "ab", "+00000000000000000000000000000ab", &"0".repeat(32), &"g".repeat(32)]
        {
            assert_eq!(bad.parse::<RequestId>(), Err(RequestIdError), "{bad}");
        }
    }

    #[test]
    fn an_id_holds_for_its_future_and_for_what_is_carried_and_is_gone_after_a_panic() {
        let (outer, inner) = (RequestId::random(), RequestId::random());
        let now = tokio::runtime::Builder::new_current_thread().build().unwrap();
        now.block_on(async {
            let mut carried = None;
            let outer_work = with_id(outer, async {
                assert_eq!(with_id(inner, async { current() }).await, Some(inner));
                assert_eq!(current(), Some(outer));
                carried = Some(carry(async { current() }));
            });
            outer_work.await;
            assert_eq!(carried.unwrap().await, Some(outer));
        });
        let handler = || handling::<()>(Some(inner), "test", None, || panic!("asked to"));
        std::panic::catch_unwind(handler).unwrap_err();
        assert_eq!(current(), None);
    }
}
