//! A socket that takes batches of large datagrams apart.
//!
//! QUIC hands over up to ten datagrams at a time, and one system call takes 64 KiB. What is longer
//! the kernel refuses, which is taken for a datagram larger than the path's: all ten are lost.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

/// The longest UDP payload that IPv4 has, and so a batch.
const BATCH_BYTES_MAX: usize = 65_507;

/// Room that the kernel may want for what it joined of received datagrams.
const JOINED_BYTES_MAX: usize = 65_536;

/// The socket of an endpoint.
#[derive(Debug)]
pub(crate) struct Segments {
    inner: Arc<dyn AsyncUdpSocket>,
    receive_segments_max: usize,
}

impl Segments {
    /// `datagram_bytes_max` is the largest UDP payload that the endpoint takes.
    pub(crate) fn new(inner: Arc<dyn AsyncUdpSocket>, datagram_bytes_max: u16) -> Self {
        // QUIC makes 32 buffers of so many datagrams each.
        let enough = JOINED_BYTES_MAX.div_ceil(usize::from(datagram_bytes_max));
        let receive_segments_max = inner.max_receive_segments().min(enough);
        Self { inner, receive_segments_max }
    }
}

impl AsyncUdpSocket for Segments {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    /// When a later part finds no room, QUIC hands over all of them again, and the peer drops those
    /// that it has.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let whole = transmit.contents;
        let Some(segment) = transmit.segment_size.filter(|_batch| whole.len() > BATCH_BYTES_MAX)
        else {
            return self.inner.try_send(transmit);
        };
        let part_bytes = (BATCH_BYTES_MAX / segment.max(1)).max(1) * segment.max(1);
        for contents in whole.chunks(part_bytes) {
            self.inner.try_send(&Transmit { contents, ..transmit.clone() })?;
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.receive_segments_max
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
