//! What an endpoint takes from its surroundings, so that it runs over a simulated network.

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use quinn::TokioRuntime;
pub use quinn::udp::{RecvMeta, Transmit};
pub use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, UdpPoller};
pub use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::Handle;

pub use crate::reset::ResetSecret;
use crate::socket::Udp;

/// Socket, clocks, spawning and randomness of one endpoint. The only quinn types that leave this
/// crate are the traits named here.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Spawning, timers and monotonic time. Must spawn from wherever the endpoint's handles are
    /// used and dropped.
    pub runtime: Arc<dyn Runtime>,
    /// Where datagrams go and come from.
    pub socket: Arc<dyn AsyncUdpSocket>,
    /// Wall-clock time; for certificates only.
    pub wall_clock: Arc<dyn TimeProvider>,
    /// Seeds back-off jitter, run numbers and what of QUIC's own randomness can be seeded.
    pub seed: [u8; 32],
    /// The same in each run of a node, if its peers are to know at once that it was killed.
    pub reset_secret: ResetSecret,
}

/// The machine's wall clock.
#[derive(Debug)]
pub struct SystemClock;

impl TimeProvider for SystemClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::now())
    }
}

/// The tokio runtime that an endpoint was made on.
#[derive(Debug)]
struct Home(Handle);

impl Runtime for Home {
    fn new_timer(&self, due: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let _home = self.0.enter();
        TokioRuntime.new_timer(due)
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(task);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let _home = self.0.enter();
        Ok(Arc::new(Udp::new(socket)?))
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

impl Surroundings {
    /// The real ones: a UDP socket, the current tokio runtime, the machine's clocks, random seed
    /// and secret.
    /// Whoever calls the endpoint later, and wherever, its tasks run on that runtime.
    ///
    /// `buffer_bytes` is asked for both kernel buffers; the kernel may grant less.
    ///
    /// # Errors
    /// [`io::Error`] when the socket cannot be bound.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(addr: SocketAddr, buffer_bytes: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        let buffer_bytes = buffer_bytes as usize;
        socket.set_recv_buffer_size(buffer_bytes)?;
        socket.set_send_buffer_size(buffer_bytes)?;
        socket.bind(&addr.into())?;
        let runtime = Arc::new(Home(Handle::current()));
        Ok(Self {
            socket: runtime.wrap_udp_socket(socket.into())?,
            runtime,
            wall_clock: Arc::new(SystemClock),
            seed: rand::random(),
            reset_secret: ResetSecret::random(),
        })
    }
}
