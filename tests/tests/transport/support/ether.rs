//! A network within one process for tests in virtual time: what is sent has arrived, unless it is
//! cut off or too long. What is sent is counted.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use quinn::TokioRuntime;
use vioduct_transport::seam::{
    AsyncUdpSocket, RecvMeta, ResetSecret, Surroundings, SystemClock, Transmit, UdpPoller,
};

#[derive(Debug, Default)]
struct State {
    sent: u64,
    silenced: HashSet<SocketAddr>,
    /// Longer ones are lost.
    bytes_max: Option<usize>,
    ports: HashMap<SocketAddr, Port>,
}

/// Datagrams that have arrived, and who waits for one.
#[derive(Debug, Default)]
struct Port {
    arrived: VecDeque<(SocketAddr, Bytes)>,
    reader: Option<Waker>,
}

/// The network. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ether(Arc<Mutex<State>>);

impl Ether {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics with the lock")
    }

    /// What an endpoint at port `number` of this network is given.
    pub(crate) fn surroundings(&self, number: u16) -> Surroundings {
        let local = SocketAddr::from(([127, 0, 0, 1], number));
        self.state().ports.insert(local, Port::default());
        Surroundings {
            runtime: Arc::new(TokioRuntime),
            socket: Arc::new(Socket { ether: self.clone(), local }),
            wall_clock: Arc::new(SystemClock),
            seed: [7; 32],
            reset_secret: ResetSecret::from([7; 32]),
        }
    }

    /// Nothing that is sent from here arrives any more.
    pub(crate) fn silence(&self, addr: SocketAddr) {
        self.state().silenced.insert(addr);
    }

    /// Datagrams that are longer do not arrive any more.
    pub(crate) fn carries(&self, bytes_max: usize) {
        self.state().bytes_max = Some(bytes_max);
    }

    /// Datagrams sent by now, whether they arrived or not.
    pub(crate) fn sent(&self) -> u64 {
        self.state().sent
    }
}

#[derive(Debug)]
struct Socket {
    ether: Ether,
    local: SocketAddr,
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut state = self.ether.state();
        state.sent += 1;
        if !state.silenced.contains(&self.local)
            && state.bytes_max.is_none_or(|most| transmit.contents.len() <= most)
            && let Some(port) = state.ports.get_mut(&transmit.destination)
        {
            port.arrived.push_back((self.local, Bytes::copy_from_slice(transmit.contents)));
            if let Some(reader) = port.reader.take() {
                reader.wake();
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.ether.state();
        let port = state.ports.get_mut(&self.local).expect("a socket has its port");
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Some((addr, datagram)) = port.arrived.pop_front() else { break };
            let len = datagram.len();
            buf.get_mut(..len).expect("a datagram fits").copy_from_slice(&datagram);
            *meta = RecvMeta { addr, len, stride: len, ..RecvMeta::default() };
            count += 1;
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        port.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// The network takes everything at once.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
