//! What a node tells its embedder of its links.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use vioduct_transport::{BoxFuture, DialError, Inbound, Link, LinkEvent, Message};

use crate::router::Router;

/// Is told what happens to a node's links: for logs, and for those who ask how the node is.
///
/// It hears of everything after the node has acted on it, and changes nothing. It is called from
/// the links' own tasks: it must not block, and while it runs the link stands still.
pub trait LinkListener: fmt::Debug + Send + Sync + 'static {
    /// Something happened to a link.
    fn event(&self, link: &Link, event: &LinkEvent);

    /// A connection from outside was turned down before it belonged to a link.
    fn refused(&self, addr: SocketAddr, error: &DialError);
}

/// The router, and who listens to what it is told.
pub(crate) fn overheard(
    router: Router,
    listener: Option<Arc<dyn LinkListener>>,
) -> Arc<dyn Inbound> {
    match listener {
        Some(listener) => Arc::new(Overheard { router, listener }),
        None => Arc::new(router),
    }
}

struct Overheard {
    router: Router,
    listener: Arc<dyn LinkListener>,
}

impl Inbound for Overheard {
    fn deliver<'a>(
        &'a self,
        from: &'a Link,
        lane: u8,
        batch: &'a mut Vec<Message>,
    ) -> BoxFuture<'a> {
        self.router.deliver(from, lane, batch)
    }

    fn datagram(&self, from: &Link, datagram: Bytes) {
        self.router.datagram(from, datagram);
    }

    fn event(&self, link: &Link, event: LinkEvent) {
        self.router.event(link, event.clone());
        self.listener.event(link, &event);
    }

    fn refused(&self, addr: SocketAddr, error: DialError) {
        self.router.refused(addr, error.clone());
        self.listener.refused(addr, &error);
    }
}
