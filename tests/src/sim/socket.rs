//! A turmoil socket under quinn.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use turmoil::net::UdpSocket;
use vioduct_transport::seam::{AsyncUdpSocket, RecvMeta, Transmit, UdpPoller};

use super::clock::SimClock;
use super::stray::ShownIds;
use super::weather::Weather;

/// Datagrams of one socket that are delayed at once; beyond it they are lost, as in a full router.
const DELAYED_MAX: usize = 4096;

type Readable = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// One node's socket. Datagrams pass the weather, then turmoil.
pub(super) struct SimSocket {
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    weather: Arc<Mutex<Weather>>,
    clock: SimClock,
    delayed: Arc<AtomicUsize>,
    shown: Mutex<ShownIds>,
    /// Holds turmoil's lock on its receive queue while it waits: dropped before reading.
    readable: Mutex<Option<Readable>>,
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimSocket").field("local", &self.local).finish_non_exhaustive()
    }
}

impl SimSocket {
    /// Binds on the current turmoil host, whose address is `local`.
    pub(super) async fn bind(
        local: SocketAddr,
        weather: Arc<Mutex<Weather>>,
        clock: SimClock,
    ) -> io::Result<Arc<Self>> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, local.port())).await?;
        Ok(Arc::new(Self {
            socket: Arc::new(socket),
            local,
            weather,
            clock,
            delayed: Arc::default(),
            shown: Mutex::default(),
            readable: Mutex::new(None),
        }))
    }

    fn read(&self, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> io::Result<usize> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = self.clock.now_ms();
        let is_stray =
            |datagram: Option<&[u8]>| shown.is_stray(datagram.unwrap_or_default(), now_ms);
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let received = loop {
                match self.socket.try_recv_from(buf) {
                    Ok((len, _addr)) if is_stray(buf.get(..len)) => {}
                    other => break other,
                }
            };
            match received {
                Ok((len, addr)) => *meta = RecvMeta { addr, len, stride: len, ..*meta },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            count += 1;
        }
        Ok(count)
    }

    fn send_later(&self, wait: Duration, bytes: Bytes, to: SocketAddr) {
        if self.delayed.fetch_add(1, Ordering::Relaxed) >= DELAYED_MAX {
            self.delayed.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let (socket, delayed) = (Arc::clone(&self.socket), Arc::clone(&self.delayed));
        let due = Instant::now() + wait;
        tokio::spawn(async move {
            sleep_until(due).await;
            delayed.fetch_sub(1, Ordering::Relaxed);
            // A datagram that cannot be sent is lost, which is what networks do.
            socket.try_send_to(&bytes, to).ok();
        });
    }
}

impl AsyncUdpSocket for SimSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let to = transmit.destination;
        {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            shown.note_sent(transmit.contents, self.clock.now_ms());
        }
        let copies = {
            let mut weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
            weather.draw(self.local.ip(), to.ip(), self.clock.now_ms())
        };
        for wait in copies {
            self.send_later(wait, Bytes::copy_from_slice(transmit.contents), to);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut readable = self.readable.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(waiting) = readable.as_mut() {
                let Poll::Ready(is_readable) = waiting.as_mut().poll(cx) else {
                    return Poll::Pending;
                };
                *readable = None;
                is_readable?;
            }
            match self.read(bufs, meta)? {
                0 => {
                    let socket = Arc::clone(&self.socket);
                    *readable = Some(Box::pin(async move { socket.readable().await }));
                }
                count => return Poll::Ready(Ok(count)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// Sending never blocks: what does not fit is lost.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
