//! Messages on a lane.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | kind: 1 = body follows the head, 2 = body on a stream of its own |
//! | 1 | 4 | flow: messages of one flow are delivered in order |
//! | 5 | 4 | head length |
//! | 9 | 4 | body length |
//! | 13 | … | head, then for kind 1 the body |
//!
//! Messages are numbered by their place on the lane; the number is not written.

use bytes::{Bytes, BytesMut};

/// Bytes before a message's head.
pub(crate) const HEADER_BYTES: usize = 13;

const KIND_INLINE: u8 = 1;
const KIND_DETACHED: u8 = 2;

/// What a receiver takes. A message past a limit ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Longest head, bytes.
    pub head_bytes_max: u32,
    /// Longest body that travels on the lane itself, bytes.
    pub inline_body_bytes_max: u32,
    /// Longest body on a stream of its own, bytes.
    pub body_bytes_max: u32,
}

/// Why the bytes of a lane are not messages. Fault: the peer. Nothing of the message was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The kind is none that this version knows.
    #[error("unknown frame kind {kind}")]
    UnknownKind {
        /// The byte received.
        kind: u8,
    },
    /// The head is longer than the limit that both sides agreed on.
    #[error("message head of {bytes} bytes is past the limit of {limit}")]
    HeadTooLong {
        /// Length announced.
        bytes: u32,
        /// The limit.
        limit: u32,
    },
    /// The body is longer than the limit for where it travels.
    #[error("message body of {bytes} bytes is past the limit of {limit}")]
    BodyTooLong {
        /// Length announced.
        bytes: u32,
        /// The limit.
        limit: u32,
    },
}

/// One message as it came off a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// Head and body together.
    Inline {
        /// The sender–target pair.
        flow: u32,
        /// The encoded head.
        head: Bytes,
        /// The body, possibly empty.
        body: Bytes,
    },
    /// The body is on a stream of its own.
    Detached {
        /// The sender–target pair.
        flow: u32,
        /// The encoded head.
        head: Bytes,
        /// Length of the body, already checked.
        body_bytes: u32,
    },
}

/// Writes the fixed part of a frame.
pub(crate) fn header(flow: u32, head_bytes: u32, body_bytes: u32, detached: bool) -> [u8; 13] {
    let kind = if detached { KIND_DETACHED } else { KIND_INLINE };
    let [f0, f1, f2, f3] = flow.to_le_bytes();
    let [h0, h1, h2, h3] = head_bytes.to_le_bytes();
    let [b0, b1, b2, b3] = body_bytes.to_le_bytes();
    [kind, f0, f1, f2, f3, h0, h1, h2, h3, b0, b1, b2, b3]
}

#[derive(Debug, Clone, Copy)]
struct Header {
    flow: u32,
    head_bytes: u32,
    body_bytes: u32,
    detached: bool,
}

impl Header {
    fn decode(bytes: &[u8; HEADER_BYTES], limits: &FrameLimits) -> Result<Self, FrameError> {
        let [kind, f0, f1, f2, f3, h0, h1, h2, h3, b0, b1, b2, b3] = *bytes;
        let (detached, limit) = match kind {
            KIND_INLINE => (false, limits.inline_body_bytes_max),
            KIND_DETACHED => (true, limits.body_bytes_max),
            kind => return Err(FrameError::UnknownKind { kind }),
        };
        let head_bytes = u32::from_le_bytes([h0, h1, h2, h3]);
        let body_bytes = u32::from_le_bytes([b0, b1, b2, b3]);
        if head_bytes > limits.head_bytes_max {
            return Err(FrameError::HeadTooLong {
                bytes: head_bytes,
                limit: limits.head_bytes_max,
            });
        }
        if body_bytes > limit {
            return Err(FrameError::BodyTooLong { bytes: body_bytes, limit });
        }
        Ok(Self { flow: u32::from_le_bytes([f0, f1, f2, f3]), head_bytes, body_bytes, detached })
    }

    fn inline_body_bytes(self) -> usize {
        if self.detached { 0 } else { self.body_bytes as usize }
    }

    /// Bytes of the frame on its lane, header included.
    fn frame_bytes(self) -> usize {
        HEADER_BYTES + self.head_bytes as usize + self.inline_body_bytes()
    }

    fn split(self, mut frame: Bytes) -> Incoming {
        let head_end = HEADER_BYTES + self.head_bytes as usize;
        let body = frame.split_off(head_end);
        let head = frame.split_off(HEADER_BYTES);
        if self.detached {
            Incoming::Detached { flow: self.flow, head, body_bytes: self.body_bytes }
        } else {
            Incoming::Inline { flow: self.flow, head, body }
        }
    }
}

/// Cuts a lane's bytes into messages. Frames that lie within one chunk are not copied.
#[derive(Debug)]
pub struct FrameDecoder {
    limits: FrameLimits,
    chunk: Bytes,
    /// A frame that began in an earlier chunk, as far as it has come.
    partial: BytesMut,
}

impl FrameDecoder {
    /// A decoder at the start of a lane.
    pub fn new(limits: FrameLimits) -> Self {
        Self { limits, chunk: Bytes::new(), partial: BytesMut::new() }
    }

    /// Gives the next bytes of the lane. Call [`next`](Self::next) until it has no more first.
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "the last chunk was not used up");
        self.chunk = chunk;
    }

    /// The next whole message, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`] when the bytes are no message; the lane cannot go on after it.
    #[expect(clippy::should_implement_trait, reason = "fallible, and ends only for now")]
    pub fn next(&mut self) -> Result<Option<Incoming>, FrameError> {
        if self.partial.is_empty() {
            if let Some(bytes) = self.chunk.first_chunk::<HEADER_BYTES>() {
                let header = Header::decode(bytes, &self.limits)?;
                if self.chunk.len() >= header.frame_bytes() {
                    let frame = self.chunk.split_to(header.frame_bytes());
                    return Ok(Some(header.split(frame)));
                }
            }
            if self.chunk.is_empty() {
                return Ok(None);
            }
        }
        self.next_across_chunks()
    }

    /// Whether a message has begun and not ended.
    pub fn is_mid_message(&self) -> bool {
        !self.partial.is_empty() || !self.chunk.is_empty()
    }

    fn next_across_chunks(&mut self) -> Result<Option<Incoming>, FrameError> {
        self.fill_partial(HEADER_BYTES);
        let Some(bytes) = self.partial.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = Header::decode(bytes, &self.limits)?;
        self.fill_partial(header.frame_bytes());
        if self.partial.len() < header.frame_bytes() {
            return Ok(None);
        }
        let frame = std::mem::take(&mut self.partial).freeze();
        Ok(Some(header.split(frame)))
    }

    /// Moves bytes from the chunk until `partial` holds `length`, or the chunk is used up.
    fn fill_partial(&mut self, length: usize) {
        let missing = length.saturating_sub(self.partial.len());
        if missing == 0 {
            return;
        }
        self.partial.reserve(missing);
        let taken = self.chunk.split_to(missing.min(self.chunk.len()));
        self.partial.extend_from_slice(&taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: FrameLimits =
        FrameLimits { head_bytes_max: 64, inline_body_bytes_max: 256, body_bytes_max: 1024 };

    fn encode(flow: u32, head: &[u8], body: &[u8], detached: bool) -> Vec<u8> {
        let fixed =
            header(flow, head.len().try_into().unwrap(), body.len().try_into().unwrap(), detached);
        let mut bytes = fixed.to_vec();
        bytes.extend_from_slice(head);
        if !detached {
            bytes.extend_from_slice(body);
        }
        bytes
    }

    fn decode_in_pieces(bytes: &[u8], pieces: &[usize]) -> Result<Vec<Incoming>, FrameError> {
        let mut decoder = FrameDecoder::new(LIMITS);
        let mut messages = Vec::new();
        let mut rest = Bytes::copy_from_slice(bytes);
        let mut sizes = pieces.iter().copied().cycle();
        while !rest.is_empty() {
            let piece = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
            decoder.push(rest.split_to(piece));
            while let Some(message) = decoder.next()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn a_frame_has_these_bytes() {
        assert_eq!(
            encode(0x0a0b_0c0d, b"hi", b"xyz", false),
            [1, 0x0d, 0x0c, 0x0b, 0x0a, 2, 0, 0, 0, 3, 0, 0, 0, b'h', b'i', b'x', b'y', b'z']
        );
        assert_eq!(
            encode(1, b"h", &[0; 600], true),
            [2, 1, 0, 0, 0, 1, 0, 0, 0, 0x58, 2, 0, 0, b'h']
        );
    }

    #[test]
    fn lengths_past_a_limit_are_refused_before_anything_is_allocated() {
        let huge = header(1, u32::MAX, 0, false);
        assert_eq!(
            decode_in_pieces(&huge, &[13]),
            Err(FrameError::HeadTooLong { bytes: u32::MAX, limit: 64 })
        );
        let body = header(1, 0, 257, false);
        assert_eq!(
            decode_in_pieces(&body, &[5]),
            Err(FrameError::BodyTooLong { bytes: 257, limit: 256 })
        );
        let detached = header(1, 0, 1025, true);
        assert_eq!(
            decode_in_pieces(&detached, &[1]),
            Err(FrameError::BodyTooLong { bytes: 1025, limit: 1024 })
        );
        assert_eq!(decode_in_pieces(&[7; 13], &[13]), Err(FrameError::UnknownKind { kind: 7 }));
    }

    fn message() -> impl Strategy<Value = (u32, Vec<u8>, Vec<u8>, bool)> {
        (
            any::<u32>(),
            prop::collection::vec(any::<u8>(), 0..=64),
            prop::collection::vec(any::<u8>(), 0..=256),
            any::<bool>(),
        )
    }

    proptest! {
        #[test]
        fn messages_survive_any_cutting(
            messages in prop::collection::vec(message(), 1..20),
            pieces in prop::collection::vec(1_usize..400, 1..8),
        ) {
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for (flow, head, body, detached) in messages {
                bytes.extend(encode(flow, &head, &body, detached));
                let body_bytes = u32::try_from(body.len()).unwrap();
                let head = Bytes::from(head);
                expected.push(if detached {
                    Incoming::Detached { flow, head, body_bytes }
                } else {
                    Incoming::Inline { flow, head, body: Bytes::from(body) }
                });
            }
            prop_assert_eq!(decode_in_pieces(&bytes, &pieces), Ok(expected));
        }

        #[test]
        fn any_bytes_end_in_messages_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            pieces in prop::collection::vec(1_usize..400, 1..8),
        ) {
            if let Ok(messages) = decode_in_pieces(&bytes, &pieces) {
                prop_assert!(messages.len() <= bytes.len() / HEADER_BYTES);
            }
        }
    }
}
