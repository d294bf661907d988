//! The messages that nodes send: numbered heads, and bodies that can be checked.

use std::fmt;

use bytes::{BufMut, Bytes};
use vioduct_transport::Message;

/// Longest body that is sent, bytes.
pub(super) const BODY_BYTES_MAX: usize = 300 << 10;
/// Length of a head.
const HEAD_BYTES: usize = 1 + 1 + 4 + 8 + 8 + 4;
/// The pattern of bodies repeats after this many bytes; a prime, so that no block size fits it.
const PERIOD: usize = 251;

/// A node of the simulation, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u8);

impl NodeId {
    /// The node of this name, if it is one.
    pub(super) fn of(name: &str) -> Option<Self> {
        name.strip_prefix('n')?.parse().ok().map(Self)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// Names one message of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Who sent it.
    pub from: NodeId,
    /// In which run of the sender.
    pub run: u64,
    /// For whom it is.
    pub to: NodeId,
    /// The flow, 0 for the control lane.
    pub flow: u32,
    /// Its place in the flow, from 1.
    pub number: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, run, to, flow, number } = self;
        write!(f, "{from}#{run}>{to}/{flow}/{number}")
    }
}

impl MessageId {
    /// The head that carries this name and the length of the body.
    pub(super) fn head(&self, body: &Bytes) -> Vec<u8> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.put_u8(self.from.0);
        head.put_u8(self.to.0);
        head.put_u32_le(self.flow);
        head.put_u64_le(self.run);
        head.put_u64_le(self.number);
        head.put_u32_le(u32::try_from(body.len()).unwrap_or(u32::MAX));
        head
    }

    /// Reads a message; `true` when its body is the one that was sent under this name.
    pub(super) fn read(bodies: &Bodies, message: &Message) -> Option<(Self, bool)> {
        let head: [u8; HEAD_BYTES] = message.head.as_ref().try_into().ok()?;
        let [from, to, f0, f1, f2, f3, rest @ ..] = head;
        let (run, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (length, _) = rest.split_first_chunk()?;
        let id = Self {
            from: NodeId(from),
            run: u64::from_le_bytes(*run),
            to: NodeId(to),
            flow: u32::from_le_bytes([f0, f1, f2, f3]),
            number: u64::from_le_bytes(*number),
        };
        let sent = bodies.body(id, u32::from_le_bytes(*length) as usize);
        Some((id, sent == message.body))
    }
}

/// Makes bodies without copying: each is a piece of one pattern.
#[derive(Debug, Clone)]
pub(super) struct Bodies(Bytes);

impl Bodies {
    pub(super) fn new() -> Self {
        let pattern = (0..=u8::MAX).take(PERIOD).cycle().take(BODY_BYTES_MAX + PERIOD);
        Self(pattern.collect())
    }

    /// The body of a message, `length` bytes of at most [`BODY_BYTES_MAX`].
    pub(super) fn body(&self, id: MessageId, length: usize) -> Bytes {
        let mixed = id.number.wrapping_mul(31).wrapping_add(u64::from(id.flow) * 7 + id.run);
        let start = usize::try_from(mixed % PERIOD as u64).unwrap_or(0);
        self.0.slice(start..start + length.min(BODY_BYTES_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_back_and_a_changed_body_shows() {
        let bodies = Bodies::new();
        let id = MessageId { from: NodeId(1), run: 3, to: NodeId(2), flow: 5, number: 77 };
        let body = bodies.body(id, 64);
        let mut message = Message { flow: 5, head: id.head(&body).into(), body };
        assert_eq!(MessageId::read(&bodies, &message), Some((id, true)));
        message.body = bodies.body(MessageId { number: 78, ..id }, 64);
        assert_eq!(MessageId::read(&bodies, &message), Some((id, false)));
        message.head = Bytes::from_static(b"short");
        assert_eq!(MessageId::read(&bodies, &message), None);
    }
}
