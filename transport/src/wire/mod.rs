//! The bytes of a link, without any I/O: handshake, control frames, lane frames.
//!
//! `docs/wire.md` has the layouts as tables. Every integer is little-endian. Every length is
//! checked against a limit before anything is allocated for it.
//!
//! Invariants: (1) a decoder never panics and never allocates more than the length it checked;
//! (2) what one build encodes, the same build decodes to the same value; (3) the bytes of a
//! released version change only together with its version number (golden tests).

pub(crate) mod control;
pub(crate) mod frame;
pub(crate) mod handshake;
mod reader;

pub use frame::{FrameDecoder, FrameError, FrameLimits, Incoming};
pub use handshake::{Hello, HelloDecoder, LimitName, Rejection, VersionRange, Welcome, WireError};

/// The application protocol that both sides name during the TLS handshake.
pub const ALPN: &[u8] = b"vioduct/1";

/// First bytes of each handshake message: "VDCT".
pub(crate) const MAGIC: [u8; 4] = *b"VDCT";

/// First byte of a unidirectional stream that carries a lane.
pub(crate) const STREAM_LANE: u8 = 1;
/// First byte of a unidirectional stream that carries one message's body.
pub(crate) const STREAM_BODY: u8 = 2;
/// Bytes of a stream's opening: kind, lane, message number.
pub(crate) const STREAM_OPENING_BYTES: usize = 10;

/// What a unidirectional stream is for. Layout: kind `u8`, lane `u8`, number `u64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamOpening {
    /// A lane; `first` is the number of the first message on it.
    Lane { lane: u8, first: u64 },
    /// The body of message `number` of `lane`.
    Body { lane: u8, number: u64 },
}

impl StreamOpening {
    pub(crate) fn encode(self) -> [u8; STREAM_OPENING_BYTES] {
        let (kind, lane, number) = match self {
            Self::Lane { lane, first } => (STREAM_LANE, lane, first),
            Self::Body { lane, number } => (STREAM_BODY, lane, number),
        };
        let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
        [kind, lane, a, b, c, d, e, f, g, h]
    }

    pub(crate) fn decode(bytes: [u8; STREAM_OPENING_BYTES]) -> Result<Self, WireError> {
        let [kind, lane, a, b, c, d, e, f, g, h] = bytes;
        let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        match kind {
            STREAM_LANE => Ok(Self::Lane { lane, first: number }),
            STREAM_BODY => Ok(Self::Body { lane, number }),
            kind => Err(WireError::UnknownStream { kind }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_opening_has_these_bytes() {
        let lane = StreamOpening::Lane { lane: 3, first: 0x0102 };
        assert_eq!(lane.encode(), [1, 3, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(StreamOpening::decode(lane.encode()), Ok(lane));
        let body = StreamOpening::Body { lane: 0, number: u64::MAX };
        assert_eq!(body.encode(), [2, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(StreamOpening::decode(body.encode()), Ok(body));
    }

    #[test]
    fn an_unknown_stream_kind_is_refused() {
        assert_eq!(
            StreamOpening::decode([9, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Err(WireError::UnknownStream { kind: 9 })
        );
    }
}
