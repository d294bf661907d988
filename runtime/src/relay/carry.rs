//! Packets from one end to the other, as they are.
//!
//! What comes is not looked into, and nothing is sent that did not come: for each packet one of the
//! same bytes goes on, or none. One buffer is all that a pair takes, beside the kernel's.

use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use vioduct_transport::MTU_MAX;
use vioduct_transport::seam::{AsyncUdpSocket, RecvMeta, Transmit};

/// A pair between which nothing passes for so long is over.
const QUIET_MAX: Duration = Duration::from_secs(30);
/// How often a pair is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Room for what the kernel joins of packets that came in a row.
const JOINED_BYTES_MAX: usize = 65_536;
/// The longest UDP payload that IPv4 has, and so the longest row that is sent at once.
const ROW_BYTES_MAX: usize = 65_507;

/// The two ends of a relay.
#[derive(Debug)]
pub(super) struct Ends {
    asker_ip: IpAddr,
    /// Where the asker sends from and to; none before its first packet.
    asker: Option<(SocketAddr, Option<IpAddr>)>,
    /// As the socket wants it.
    target: SocketAddr,
}

/// What passed, and what did not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passed {
    /// Packets that went on.
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Packets of strangers, those that are too long, and those that found no room.
    pub(super) dropped: u64,
}

/// An address of IPv4 is the same however a socket writes it.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}

impl Ends {
    /// `own` is where the relay's socket is bound.
    pub(super) fn new(asker_ip: IpAddr, target: SocketAddr, own: IpAddr) -> Self {
        let ip = match target.ip() {
            IpAddr::V4(ip) if own.is_ipv6() => IpAddr::V6(ip.to_ipv6_mapped()),
            ip => ip,
        };
        let mut mapped = target;
        mapped.set_ip(ip);
        Self { asker_ip: asker_ip.to_canonical(), asker: None, target: mapped }
    }

    /// Where a packet goes on to, and the address of this host that it is sent from, if that is not
    /// the system's to choose. None for a stranger's.
    fn onward(&mut self, meta: &RecvMeta) -> Option<(SocketAddr, Option<IpAddr>)> {
        let from = meta.addr;
        if is_same(from, self.target) {
            return self.asker;
        }
        if self.asker.is_none() && from.ip().to_canonical() == self.asker_ip {
            self.asker = Some((from, meta.dst_ip));
        }
        let (asker, _ip) = self.asker?;
        is_same(from, asker).then_some((self.target, None))
    }
}

/// Carries packets between the two until none has passed for 30 s, or they are not to be carried
/// any more, which is asked every 5 s.
pub(super) async fn carry(
    socket: &dyn AsyncUdpSocket,
    mut ends: Ends,
    may_go_on: impl Fn() -> bool,
) -> Passed {
    let mut buffer = vec![0; JOINED_BYTES_MAX];
    let mut passed = Passed::default();
    let mut quiet_since = Instant::now();
    let mut look_at = quiet_since + LOOK_EVERY;
    loop {
        let received = timeout_at(look_at, receive(socket, &mut buffer)).await;
        let now = Instant::now();
        match received {
            Ok(Ok(meta)) => {
                let before = passed.packets;
                pass(socket, &mut ends, &meta, &buffer, &mut passed);
                if passed.packets > before {
                    quiet_since = now;
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "a relay's socket broke");
                return passed;
            }
            Err(_nothing_came) => {}
        }
        if now >= look_at {
            if now - quiet_since >= QUIET_MAX || !may_go_on() {
                return passed;
            }
            look_at = now + LOOK_EVERY;
        }
    }
}

async fn receive(socket: &dyn AsyncUdpSocket, buffer: &mut [u8]) -> io::Result<RecvMeta> {
    let mut meta = [RecvMeta::default()];
    poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(buffer)], &mut meta)).await?;
    let [meta] = meta;
    Ok(meta)
}

/// Sends on a row of packets, which are `meta.stride` long each, the last one perhaps shorter.
fn pass(
    socket: &dyn AsyncUdpSocket,
    ends: &mut Ends,
    meta: &RecvMeta,
    buffer: &[u8],
    passed: &mut Passed,
) {
    let row = buffer.get(..meta.len).unwrap_or_default();
    let stride = meta.stride.max(1);
    let count = |bytes: usize| bytes.div_ceil(stride) as u64;
    let onward = ends.onward(meta).filter(|_| stride <= usize::from(MTU_MAX));
    let Some((destination, src_ip)) = onward else {
        passed.dropped += count(row.len());
        return;
    };
    let at_once = socket.max_transmit_segments().min(ROW_BYTES_MAX / stride).max(1);
    for contents in row.chunks(at_once * stride) {
        let segment_size = (contents.len() > stride).then_some(stride);
        let transmit = Transmit { destination, ecn: meta.ecn, contents, segment_size, src_ip };
        // Without room it is lost, as packets may be.
        if socket.try_send(&transmit).is_ok() {
            passed.packets += count(contents.len());
            passed.bytes += contents.len() as u64;
        } else {
            passed.dropped += count(contents.len());
        }
    }
}

#[cfg(test)]
#[path = "carry_tests.rs"]
mod tests;
