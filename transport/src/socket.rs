//! The system's UDP socket, which wakes its thread for what arrives and for nothing else.
//!
//! tokio's own has the kernel tell it whenever there is room to send, too. There is room again
//! after each datagram that its receiver has taken, so a thread that sent one and sleeps is woken
//! once for nothing before it is woken by the answer. Here the kernel is asked for room only when
//! there was none.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Duration, Instant, Sleep, sleep_until};

/// How long room is waited for when there is no descriptor to wait with.
const WITHOUT_DESCRIPTOR: Duration = Duration::from_millis(1);

/// The socket of an endpoint.
#[derive(Debug)]
pub(crate) struct Udp {
    socket: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    /// The last datagram found no room.
    is_full: AtomicBool,
}

impl Udp {
    /// Makes a socket of the current tokio runtime.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let socket = register(socket, Interest::READABLE)?;
        Ok(Self { socket, state, is_full: AtomicBool::new(false) })
    }
}

#[expect(unsafe_code, reason = "tokio has no other way to wait for one direction alone")]
fn register(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    // SAFETY: the socket owns its descriptor, which is open and the same for as long as it lives,
    // and nothing here takes it out of the `AsyncFd`.
    let registered = unsafe { AsyncFd::register_with_interest(socket, interest) };
    Ok(registered?)
}

impl AsyncUdpSocket for Udp {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room { of: self, awaited: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send(self.socket.get_ref().into(), transmit);
        if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.is_full.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(cx))?;
            let socket = self.socket.get_ref();
            if let Ok(received) = ready.try_io(|_| self.state.recv(socket.into(), bufs, meta)) {
                // Fewer than fit are all that there were.
                if received.as_ref().is_ok_and(|count| *count < bufs.len()) {
                    ready.clear_ready();
                }
                return Poll::Ready(received);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Waits for room, for one connection.
#[derive(Debug)]
struct Room {
    of: Arc<Udp>,
    awaited: Option<Awaited>,
}

#[derive(Debug)]
enum Awaited {
    /// The socket by another descriptor.
    Socket(AsyncFd<UdpSocket>),
    /// Without one, some time.
    Time(Pin<Box<Sleep>>),
}

impl Awaited {
    fn begin(socket: &UdpSocket) -> Self {
        let another = socket.try_clone();
        match another.and_then(|another| register(another, Interest::WRITABLE)) {
            Ok(another) => Self::Socket(another),
            Err(error) => {
                tracing::warn!(%error, "no descriptor to wait for room to send with");
                Self::Time(Box::pin(sleep_until(Instant::now() + WITHOUT_DESCRIPTOR)))
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Socket(socket) => socket.poll_write_ready(cx).map(drop),
            Self::Time(time) => time.as_mut().poll(cx),
        }
    }
}

impl UdpPoller for Room {
    /// Never fails: its connection would neither go on nor end.
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { of, awaited } = self.get_mut();
        if of.is_full.load(Ordering::Relaxed) {
            let awaited = awaited.get_or_insert_with(|| Awaited::begin(of.socket.get_ref()));
            ready!(awaited.poll(cx));
            of.is_full.store(false, Ordering::Relaxed);
        }
        *awaited = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::net::Ipv4Addr;
    use std::pin::pin;
    use std::process::Command;

    use tokio::runtime::Builder;
    use tokio::time::timeout;

    use super::*;

    fn pair() -> (Arc<Udp>, Arc<Udp>) {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        (Arc::new(Udp::new(bind()).unwrap()), Arc::new(Udp::new(bind()).unwrap()))
    }

    fn datagram<'a>(to: &Udp, contents: &'a [u8]) -> Transmit<'a> {
        let destination = to.local_addr().unwrap();
        Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None }
    }

    async fn receive(socket: &Udp) -> Vec<Vec<u8>> {
        let mut buffers = vec![vec![0; 2048]; 4];
        let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let mut meta = vec![RecvMeta::default(); slices.len()];
        let count = poll_fn(|cx| socket.poll_recv(cx, &mut slices, &mut meta)).await.unwrap();
        let received = buffers.iter().zip(&meta).take(count);
        received
            .flat_map(|(buffer, meta)| buffer[..meta.len].chunks(meta.stride))
            .map(Vec::from)
            .collect()
    }

    #[tokio::test]
    async fn what_arrives_after_all_was_read_is_seen() {
        let (from, to) = pair();
        for round in 0..200_u32 {
            let bytes = round.to_be_bytes();
            if round % 2 == 0 {
                from.try_send(&datagram(&to, &bytes)).unwrap();
            } else {
                // It arrives while the other waits.
                let (from, to) = (Arc::clone(&from), Arc::clone(&to));
                tokio::spawn(async move { from.try_send(&datagram(&to, &bytes)).unwrap() });
            }
            assert_eq!(receive(&to).await, [bytes]);
        }
    }

    /// Loopback takes every datagram at once; so the test runs again where it is slow.
    #[test]
    fn a_full_socket_is_waited_for_until_its_receiver_has_made_room() {
        const SLOW: &str = "ip link set lo up; \
            tc qdisc add dev lo root tbf rate 1mbit burst 2000 latency 20s; \
            echo slow; SLOW=1 exec \"$0\" a_full_socket";
        if std::env::var_os("SLOW").is_some() {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            return runtime.block_on(over_a_slow_network());
        }
        let test = std::env::current_exe().unwrap();
        let ran = Command::new("unshare").args(["--net", "sh", "-ec", SLOW]).arg(test).output();
        let why = match &ran {
            Ok(ran) if ran.stdout.starts_with(b"slow\n") => {
                assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
                return;
            }
            Ok(ran) => String::from_utf8_lossy(&ran.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        let said = format!("SKIPPED: a full socket, which needs root, ip and tc: {why}\n");
        io::stderr().write_all(said.as_bytes()).unwrap();
    }

    async fn over_a_slow_network() {
        let (from, to) = pair();
        socket2::SockRef::from(from.socket.get_ref()).set_send_buffer_size(8 << 10).unwrap();
        let mut polled =
            (Arc::clone(&from).create_io_poller(), Arc::clone(&from).create_io_poller());
        let contents = [7; 1000];
        let mut sent = 0;
        while from.try_send(&datagram(&to, &contents)).is_ok() {
            sent += 1;
            assert!(sent < 1000, "there is room without end");
        }
        let mut room = pin!(async {
            poll_fn(|cx| polled.0.as_mut().poll_writable(cx)).await.unwrap();
            poll_fn(|cx| polled.1.as_mut().poll_writable(cx)).await.unwrap();
        });
        let waited = timeout(Duration::from_millis(20), room.as_mut()).await;
        assert!(waited.is_err(), "there is room though nothing was received");
        while sent > 0 {
            sent -= receive(&to).await.len();
        }
        timeout(Duration::from_secs(10), room).await.unwrap();
        from.try_send(&datagram(&to, &contents)).unwrap();
    }
}
