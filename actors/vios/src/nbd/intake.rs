//! Bytes from a socket, cut into headers and payloads, for both roles.
//!
//! Headers come through one buffer, many with one read. A payload has a buffer of exactly its
//! size, so that whoever keeps a payload of 4 KiB keeps 4 KiB: what of it came along with its
//! header is copied once, and the rest of a long one is read into its place.

use std::ops::Range;

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes that one read may bring beyond a payload.
const STAGE_BYTES: usize = 128 << 10;
/// From how many missing bytes on a payload is read into its place. Fewer come with what follows
/// them, and are copied.
const DIRECT_BYTES_MIN: usize = 32 << 10;

/// What arrived and was not taken yet.
#[derive(Debug)]
pub(crate) struct Intake {
    stage: BytesMut,
    payload: Payload,
}

#[derive(Debug)]
enum Payload {
    None,
    Filling(Filling),
    /// That many bytes are of no use.
    Passing(u64),
}

#[derive(Debug)]
struct Filling {
    /// Its length is what arrived, padding included.
    buffer: BytesMut,
    /// Where in the buffer the payload lies.
    place: Range<usize>,
}

impl Filling {
    fn missing(&self) -> usize {
        self.place.end - self.buffer.len()
    }
}

impl Intake {
    /// Begins with bytes that came with something else.
    pub(crate) fn new(first: BytesMut) -> Self {
        Self { stage: first, payload: Payload::None }
    }

    /// Where the next bytes from the socket go. Never empty.
    pub(crate) fn room(&mut self) -> Limit<&mut BytesMut> {
        if let Payload::Filling(filling) = &mut self.payload
            && filling.missing() >= DIRECT_BYTES_MIN
        {
            let missing = filling.missing();
            return (&mut filling.buffer).limit(missing);
        }
        if self.stage.capacity() - self.stage.len() < STAGE_BYTES / 2 {
            self.stage.reserve(STAGE_BYTES);
        }
        let room = self.stage.capacity() - self.stage.len();
        (&mut self.stage).limit(room)
    }

    /// The bytes that stand before the next payload, as far as they have come.
    pub(crate) fn header(&self) -> &[u8] {
        &self.stage
    }

    /// Goes on behind a header of `bytes` bytes, which must be there.
    pub(crate) fn take_header(&mut self, bytes: usize) {
        self.stage.advance(bytes);
    }

    /// Expects a payload of `length` bytes next, checked against a limit before, and lays it out
    /// at a multiple of `align`.
    pub(crate) fn expect_payload(&mut self, length: usize, align: usize) {
        let slack = align.saturating_sub(1);
        let mut buffer = BytesMut::with_capacity(length + slack);
        let padding = if slack == 0 { 0 } else { buffer.as_ptr().align_offset(align).min(slack) };
        buffer.put_bytes(0, padding);
        let place = padding..padding + length;
        self.payload = Payload::Filling(Filling { buffer, place });
    }

    /// Expects `length` bytes of no use next; they are not kept.
    pub(crate) fn pass_over(&mut self, length: u64) {
        self.payload = Payload::Passing(length);
    }

    /// The payload that was expected; `None` while it is not whole, or when none is expected.
    pub(crate) fn payload(&mut self) -> Option<Bytes> {
        let Payload::Filling(filling) = &mut self.payload else { return None };
        let here = filling.missing().min(self.stage.len());
        filling.buffer.put(self.stage.split_to(here));
        if filling.missing() > 0 {
            return None;
        }
        let Payload::Filling(filling) = std::mem::replace(&mut self.payload, Payload::None) else {
            return None;
        };
        Some(filling.buffer.freeze().slice(filling.place))
    }

    /// Whether all that was of no use has passed.
    pub(crate) fn has_passed(&mut self) -> bool {
        let Payload::Passing(rest) = &mut self.payload else { return true };
        let here = usize::try_from(*rest).unwrap_or(usize::MAX).min(self.stage.len());
        self.stage.advance(here);
        *rest -= here as u64;
        if *rest > 0 {
            return false;
        }
        self.payload = Payload::None;
        true
    }
}
