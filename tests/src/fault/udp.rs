//! A UDP proxy with seeded faults, for QUIC links.
//!
//! One task moves the datagrams. Each client address is a flow with a socket of its own towards
//! the target, so that the target tells clients apart. A datagram that is to leave at once goes
//! straight from the receive buffer to the kernel; one with a later departure waits in the
//! [`HeldQueue`]. A change of faults is in force when its call returns: what arrives later meets
//! it, and a cut also drops what is held.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::held::HeldQueue;
use super::plan::{LossCause, Schedule, Verdict};
use super::{Direction, Faults, Instant, PacketStats, ProxyStats};

mod driver;
mod flows;

pub use flows::{FLOW_IDLE, FLOWS_MAX};

/// Asked of the kernel for each socket, so that a burst is not lost unseen; it may grant less.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Where a UDP proxy listens and sends to.
#[derive(Debug, Clone, Copy)]
pub struct UdpProxyConfig {
    /// Where clients send to; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where their datagrams go.
    pub target: SocketAddr,
    /// Fixes every random choice.
    pub seed: u64,
}

/// A running UDP proxy; dropping it ends it.
#[derive(Debug)]
pub struct UdpProxy {
    addr: SocketAddr,
    switch: Arc<Switch>,
    driver: JoinHandle<()>,
}

impl UdpProxy {
    /// Starts a proxy without faults on the current tokio runtime.
    ///
    /// # Errors
    /// When the listening socket can't be made or bound.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(config: UdpProxyConfig) -> io::Result<Self> {
        let listen = open(config.listen)?;
        let addr = listen.local_addr()?;
        let switch = Arc::new(Switch::new(config.seed));
        let driver = driver::Driver::new(listen, config.target, Arc::clone(&switch));
        Ok(Self { addr, switch, driver: tokio::spawn(driver) })
    }

    /// Where clients send to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Puts `faults` in force for one direction. A cut also drops what that direction holds.
    pub fn set(&self, direction: Direction, faults: Faults) {
        self.switch.change(|state| state.set(direction, faults));
    }

    /// Puts `faults` in force for both directions, each with its own draws and its own rate.
    pub fn set_both(&self, faults: Faults) {
        self.switch.change(|state| {
            for direction in Direction::BOTH {
                state.set(direction, faults);
            }
        });
    }

    /// The faults in force for a direction.
    #[must_use]
    pub fn faults(&self, direction: Direction) -> Faults {
        self.switch.lock().schedule.faults(direction)
    }

    /// Drops everything in one direction from now on; its other faults stay set.
    pub fn cut(&self, direction: Direction) {
        self.switch.change(|state| {
            let faults = state.schedule.faults(direction).with_cut(true);
            state.set(direction, faults);
        });
    }

    /// Drops everything from now on.
    pub fn cut_both(&self) {
        for direction in Direction::BOTH {
            self.cut(direction);
        }
    }

    /// Takes away every fault of both directions. What is held keeps its departure.
    pub fn heal(&self) {
        self.set_both(Faults::none());
    }

    /// What the proxy has done so far.
    #[must_use]
    pub fn stats(&self) -> ProxyStats {
        self.switch.lock().stats
    }

    /// Waits until the counts fulfil `reached`; the counts then. Cancel-safe.
    pub async fn stats_when(&self, reached: impl Fn(&ProxyStats) -> bool) -> ProxyStats {
        loop {
            let progress = self.switch.progress.notified();
            let stats = self.stats();
            if reached(&stats) {
                return stats;
            }
            progress.await;
        }
    }

    /// Ends the proxy and closes its sockets; what it had done by then.
    pub async fn shutdown(mut self) -> ProxyStats {
        self.driver.abort();
        match (&mut self.driver).await {
            Ok(()) => {}
            Err(ended) if ended.is_cancelled() => {}
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        }
        self.stats()
    }
}

impl Drop for UdpProxy {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What the driver and the control surface share. A lock, not a command queue: a fault must be in
/// force when the call that sets it returns. It is held for one batch of datagrams at a time.
#[derive(Debug)]
struct Switch {
    state: Mutex<State>,
    /// Told after each turn of the driver and each change of faults.
    progress: Notify,
}

impl Switch {
    fn new(seed: u64) -> Self {
        let state = State {
            schedule: Schedule::new(seed),
            held: HeldQueue::new(),
            stats: ProxyStats::default(),
        };
        Self { state: Mutex::new(state), progress: Notify::new() }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.progress.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in between leaves counters behind, at worst.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct State {
    schedule: Schedule,
    held: HeldQueue<Parcel>,
    stats: ProxyStats,
}

/// A datagram on hold.
#[derive(Debug)]
struct Parcel {
    client: SocketAddr,
    /// Its place among the arrivals of its direction, from 1.
    arrival: u64,
    payload: Box<[u8]>,
}

impl State {
    fn set(&mut self, direction: Direction, faults: Faults) {
        self.schedule.set(direction, faults);
        if faults.is_cut() {
            let purged = self.held.purge(direction);
            self.stats_mut(direction).lost += u64::try_from(purged).unwrap_or(u64::MAX);
        }
    }

    fn stats_mut(&mut self, direction: Direction) -> &mut PacketStats {
        self.stats.by_direction.at_mut(direction)
    }

    /// Counts an arrival and asks what becomes of it.
    fn arrived(&mut self, now: Instant, direction: Direction, size_bytes: usize) -> (u64, Verdict) {
        let verdict = self.schedule.handle(now, direction, size_bytes);
        let stats = self.stats_mut(direction);
        stats.received += 1;
        match verdict {
            Verdict::Lost(LossCause::Cut | LossCause::Chance) => stats.lost += 1,
            Verdict::Lost(LossCause::QueueFull) => stats.dropped_by_bound += 1,
            Verdict::Once(_) => {}
            Verdict::Twice(_, _) => stats.duplicated += 1,
        }
        (stats.received, verdict)
    }

    /// Holds a datagram until `at`, or drops it when too much is held.
    fn hold(&mut self, at: Instant, direction: Direction, parcel: Parcel) {
        if self.held.push(at, direction, parcel.payload.len(), parcel).is_err() {
            self.stats_mut(direction).dropped_by_bound += 1;
        }
    }
}

/// A socket bound to `local`, with large buffers.
fn open(local: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&local.into())?;
    UdpSocket::from_std(socket.into())
}

/// A socket of its own for one client, which speaks with `target` only.
fn open_towards(target: SocketAddr) -> io::Result<UdpSocket> {
    let any = match target {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = open(any)?;
    socket2::SockRef::from(&socket).connect(&target.into())?;
    Ok(socket)
}
