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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives `bytes` to an intake in reads of at most `piece`, and takes headers of one byte,
    /// each followed by a payload as long as it says.
    fn payloads(bytes: &[u8], scale: usize, piece: usize, align: usize) -> Vec<Bytes> {
        let (mut intake, mut rest) = (Intake::new(BytesMut::new()), bytes);
        let (mut payloads, mut is_due) = (Vec::new(), false);
        loop {
            if is_due {
                if let Some(payload) = intake.payload() {
                    payloads.push(payload);
                    is_due = false;
                    continue;
                }
            } else if let Some(length) = intake.header().first() {
                let length = usize::from(*length) * scale;
                intake.take_header(1);
                intake.expect_payload(length, align);
                is_due = true;
                continue;
            }
            if rest.is_empty() {
                return payloads;
            }
            let mut room = intake.room();
            let here = piece.min(room.remaining_mut()).min(rest.len());
            assert!(here > 0, "room is never empty");
            let (now, later) = rest.split_at(here);
            room.put_slice(now);
            rest = later;
        }
    }

    proptest! {
        #[test]
        fn payloads_survive_any_cutting(
            lengths in prop::collection::vec(0..=255_u8, 1..5),
            piece in 1..300_000_usize,
            scale in prop::sample::select(vec![1, 7, 1024]),
            align in prop::sample::select(vec![1, 16, 512]),
        ) {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for (number, length) in (1..).zip(lengths) {
                let payload = vec![number; usize::from(length) * scale];
                bytes.push(length);
                bytes.extend_from_slice(&payload);
                expected.push(payload);
            }
            let come = payloads(&bytes, scale, piece, align);
            prop_assert_eq!(&come, &expected);
            for payload in come {
                prop_assert!(payload.is_empty() || payload.as_ptr().align_offset(align) == 0);
            }
        }
    }

    #[test]
    fn a_payload_keeps_no_more_than_itself() {
        let come = payloads(&[&[4][..], &[1; 4096]].concat(), 1024, usize::MAX, 1);
        let [payload] = <[Bytes; 1]>::try_from(come).unwrap();
        assert_eq!(payload.try_into_mut().unwrap().capacity(), 4096);
    }

    #[test]
    fn what_is_of_no_use_is_not_kept() {
        let mut intake = Intake::new(BytesMut::from(&b"abcdef"[..]));
        intake.pass_over(4);
        assert!(intake.has_passed());
        assert_eq!(intake.header(), b"ef");
        intake.pass_over(u64::MAX);
        assert!(!intake.has_passed());
        assert_eq!(intake.header(), b"");
    }
}
