//! A TCP proxy with faults, for storage links.
//!
//! One task accepts; each connection has a task of its own that moves both directions. A cut is a
//! stall: bytes, and the end of a stream, are held with the connection open, as behind a cable
//! that was pulled. What a client sends after the call that set a fault returned meets that fault.
//! The kernel completes a client's handshake whatever is cut; [`TcpProxy::refuse`] turns new
//! clients away.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{Direction, PerDirection, StreamFaults, StreamProxyStats, StreamStats};

mod acceptor;
mod connection;
mod line;
#[cfg(test)]
mod tests;

pub use acceptor::CONNECTIONS_MAX;
pub use line::LINE_BYTES_MAX;

/// Clients that may wait to be accepted.
const BACKLOG: u32 = 128;

/// Where a TCP proxy listens and connects to.
#[derive(Debug, Clone, Copy)]
pub struct TcpProxyConfig {
    /// Where clients connect to; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where their connections go.
    pub target: SocketAddr,
}

/// A running TCP proxy; dropping it ends it and its connections.
#[derive(Debug)]
pub struct TcpProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
    /// Keeps the port while new clients are refused: bound, but it never listens.
    _port: TcpSocket,
}

impl TcpProxy {
    /// Starts a proxy without faults on the current tokio runtime.
    ///
    /// # Errors
    /// When the listening socket can't be made or bound.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(config: TcpProxyConfig) -> io::Result<Self> {
        let port = bind(config.listen)?;
        let addr = port.local_addr()?;
        let shared = Arc::new(Shared {
            control: watch::Sender::new(Control::default()),
            listener: Mutex::new(Some(bind(addr)?.listen(BACKLOG)?)),
            listener_changed: Notify::new(),
            stats: Mutex::new(StreamProxyStats::default()),
            progress: Notify::new(),
        });
        let acceptor = tokio::spawn(acceptor::run(Arc::clone(&shared), config.target));
        Ok(Self { addr, shared, acceptor, _port: port })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Puts `faults` in force for one direction of every connection, open or to come. What is held
    /// is treated as if it had come just now.
    pub fn set(&self, direction: Direction, faults: StreamFaults) {
        self.shared.control.send_modify(|control| control.set(direction, faults));
    }

    /// Puts `faults` in force for both directions of every connection, open or to come.
    pub fn set_both(&self, faults: StreamFaults) {
        self.shared.control.send_modify(|control| {
            for direction in Direction::BOTH {
                control.set(direction, faults);
            }
        });
    }

    /// The faults in force for a direction.
    #[must_use]
    pub fn faults(&self, direction: Direction) -> StreamFaults {
        self.shared.control.borrow().faults.at(direction).faults
    }

    /// Holds everything in one direction from now on; its other faults stay set.
    pub fn cut(&self, direction: Direction) {
        self.set(direction, self.faults(direction).with_stall(true));
    }

    /// Holds everything from now on.
    pub fn cut_both(&self) {
        for direction in Direction::BOTH {
            self.cut(direction);
        }
    }

    /// Takes away every fault of both directions, lets go what is held and listens again.
    ///
    /// # Errors
    /// When new clients were refused and the listening socket can't be made again; the faults are
    /// gone all the same.
    pub fn heal(&self) -> io::Result<()> {
        self.set_both(StreamFaults::none());
        self.accept()
    }

    /// Resets every open connection, towards the client and towards the target; bytes on hold are
    /// lost. A client whose connection the proxy has not yet taken is spared.
    pub fn reset(&self) {
        self.shared.control.send_modify(|control| control.resets += 1);
    }

    /// Refuses new clients from now on; open connections go on.
    pub fn refuse(&self) {
        *self.shared.listener() = None;
    }

    /// Listens again after [`refuse`](Self::refuse).
    ///
    /// # Errors
    /// When the listening socket can't be made again.
    pub fn accept(&self) -> io::Result<()> {
        let mut listener = self.shared.listener();
        if listener.is_none() {
            *listener = Some(bind(self.addr)?.listen(BACKLOG)?);
            self.shared.listener_changed.notify_one();
        }
        Ok(())
    }

    /// What the proxy has done so far.
    #[must_use]
    pub fn stats(&self) -> StreamProxyStats {
        *self.shared.stats()
    }

    /// Waits until the counts fulfil `reached`; the counts then. Cancel-safe.
    pub async fn stats_when(
        &self,
        reached: impl Fn(&StreamProxyStats) -> bool,
    ) -> StreamProxyStats {
        loop {
            let progress = self.shared.progress.notified();
            let stats = self.stats();
            if reached(&stats) {
                return stats;
            }
            progress.await;
        }
    }

    /// Ends the proxy and its connections; what it had done by then.
    pub async fn shutdown(mut self) -> StreamProxyStats {
        self.refuse();
        self.shared.control.send_modify(|control| control.stopping = true);
        if let Err(ended) = (&mut self.acceptor).await {
            std::panic::resume_unwind(ended.into_panic());
        }
        self.stats()
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// What the control surface, the acceptor and the connections share.
#[derive(Debug)]
struct Shared {
    control: watch::Sender<Control>,
    /// `None` while new clients are refused. Behind a lock, so that a change is in force when the
    /// call that makes it returns.
    listener: Mutex<Option<TcpListener>>,
    listener_changed: Notify,
    stats: Mutex<StreamProxyStats>,
    /// Told after each change of `stats`.
    progress: Notify,
}

impl Shared {
    fn listener(&self) -> MutexGuard<'_, Option<TcpListener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stats(&self) -> MutexGuard<'_, StreamProxyStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, count: impl FnOnce(&mut StreamProxyStats)) {
        count(&mut self.stats());
        self.progress.notify_waiters();
    }

    fn count_bytes(&self, direction: Direction, count: impl FnOnce(&mut StreamStats)) {
        self.count(|stats| count(stats.by_direction.at_mut(direction)));
    }

    /// The next client. Pending, without a way to be woken by a socket, while clients are refused.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        let Some(listener) = &*self.listener() else {
            return Poll::Pending;
        };
        listener.poll_accept(cx).map_ok(|(client, _addr)| client)
    }
}

/// What the connections are told.
#[derive(Debug, Clone, Copy, Default)]
struct Control {
    faults: PerDirection<Setting>,
    /// How often the open connections were reset.
    resets: u64,
    stopping: bool,
}

impl Control {
    fn set(&mut self, direction: Direction, faults: StreamFaults) {
        let setting = self.faults.at_mut(direction);
        *setting = Setting { faults, version: setting.version + 1 };
    }
}

/// The faults of a direction, and how often they were set.
#[derive(Debug, Clone, Copy, Default)]
struct Setting {
    faults: StreamFaults,
    version: u64,
}

/// A socket bound to `local`, next to others of this proxy that are bound to it.
fn bind(local: SocketAddr) -> io::Result<TcpSocket> {
    let socket = open(local)?;
    socket.set_reuseaddr(true)?;
    socket.bind(local)?;
    Ok(socket)
}

/// A socket of the family of `addr`.
fn open(addr: SocketAddr) -> io::Result<TcpSocket> {
    if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}
