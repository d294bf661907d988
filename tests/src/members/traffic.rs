//! What membership costs on the wire.
//!
//! | part of a packet | bytes |
//! |---|---|
//! | IPv4 and UDP | 20 + 8 |
//! | QUIC short header: flags, connection id, packet number | 1 + 8 + 2 |
//! | frame: DATAGRAM with its length, or ACK, or PING | 3, 5, 1 |
//! | tag of the encryption | 16 |
//!
//! QUIC acknowledges datagrams. The acknowledgement rides on a datagram that goes back at once,
//! else it is a packet of its own. What QUIC sends to find a lost packet out is not counted.

use std::time::Duration;

/// Bytes of a packet around its frames.
const PACKET_BYTES: u64 = 28 + 11 + 16;
/// Bytes around a datagram of ours, the acknowledgement of another one included.
const DATAGRAM_BYTES: u64 = PACKET_BYTES + 3 + 5;
/// Bytes of an acknowledgement alone.
const ACKNOWLEDGEMENT_BYTES: u64 = PACKET_BYTES + 5;
/// What a keep-alive costs both sides of a link together: a PING one way, an ACK the other.
const KEEP_ALIVE_BYTES: u64 = PACKET_BYTES + 1 + ACKNOWLEDGEMENT_BYTES;

/// What was sent. Packets that are lost on the way count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams of the membership.
    pub datagrams: u64,
    /// Acknowledgements that were packets of their own.
    pub acknowledgements: u64,
    /// Bytes of it all, from the IP header on.
    pub bytes: u64,
}

impl Traffic {
    pub(super) fn datagram(&mut self, len: usize) {
        self.datagrams += 1;
        self.bytes += DATAGRAM_BYTES + u64::try_from(len).unwrap_or(u64::MAX);
    }

    pub(super) fn acknowledgement(&mut self) {
        self.acknowledgements += 1;
        self.bytes += ACKNOWLEDGEMENT_BYTES;
    }

    /// Per node and second; zero for a span of zero.
    #[must_use]
    pub fn rate(&self, nodes: u32, span: Duration) -> Rate {
        if span.is_zero() {
            return Rate::default();
        }
        let share = f64::from(nodes) * span.as_secs_f64();
        let packets = self.datagrams + self.acknowledgements;
        Rate { packets: packets as f64 / share, bytes: self.bytes as f64 / share }
    }
}

/// What one node sends in a second, on average.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rate {
    /// UDP packets.
    pub packets: f64,
    /// Bytes, from the IP header on.
    pub bytes: f64,
}

impl Rate {
    /// This, and `links` of each node kept alive every `interval`. Each side sends half of it.
    #[must_use]
    pub fn with_keep_alives(self, links: u32, interval: Duration) -> Self {
        let per_second = f64::from(links) / interval.as_secs_f64();
        Self {
            packets: self.packets + per_second,
            bytes: self.bytes + per_second * KEEP_ALIVE_BYTES as f64 / 2.0,
        }
    }
}
