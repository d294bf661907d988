//! Bytes for a socket, from many messages, written with as few calls as there is room for.
//!
//! Headers are put one behind the other in one buffer; long payloads stand beside it and are not
//! copied.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Shorter payloads are copied behind their header: that costs less than a slice of its own.
const COPIED_BYTES_MAX: usize = 1024;
/// Most slices that one call takes.
const SLICES_MAX: usize = 64;
/// Room for headers that is made at once, and how little is left when it is.
const HEADS_BYTES: usize = 16 << 10;
const HEAD_BYTES_MIN: usize = 128;

/// What is to be written.
#[derive(Debug)]
pub(crate) struct Outgoing {
    parts: VecDeque<Bytes>,
    /// Headers behind the last part.
    heads: BytesMut,
    /// Bytes in `parts` and `heads`.
    waiting: u64,
    /// Bytes written since the start.
    written: u64,
}

impl Outgoing {
    pub(crate) fn new() -> Self {
        let heads = BytesMut::with_capacity(HEADS_BYTES);
        Self { parts: VecDeque::new(), heads, waiting: 0, written: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Bytes put in since the start, and of these, bytes written.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.written + self.waiting, self.written)
    }

    /// Puts in a message's head, as `put` appends it.
    pub(crate) fn head(&mut self, put: impl FnOnce(&mut BytesMut)) {
        let before = self.heads.len();
        put(&mut self.heads);
        self.waiting += (self.heads.len() - before) as u64;
    }

    /// Puts in a payload, behind the head that was put in before.
    pub(crate) fn payload(&mut self, payload: Bytes) {
        self.waiting += payload.len() as u64;
        if payload.len() <= COPIED_BYTES_MAX {
            self.heads.extend_from_slice(&payload);
            return;
        }
        self.close_heads();
        self.parts.push_back(payload);
    }

    fn close_heads(&mut self) {
        if !self.heads.is_empty() {
            self.parts.push_back(self.heads.split().freeze());
        }
        if self.heads.capacity() < HEAD_BYTES_MIN {
            self.heads.reserve(HEADS_BYTES);
        }
    }

    /// The slices that stand first, for one call.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let parts = self.parts.iter().map(|part| part.as_ref());
        let heads = (!self.heads.is_empty()).then_some(self.heads.as_ref());
        let mut count = 0;
        for (slot, part) in slices.iter_mut().zip(parts.chain(heads)) {
            *slot = IoSlice::new(part);
            count += 1;
        }
        count
    }

    /// Room for the slices of one call.
    pub(crate) fn no_slices<'a>() -> [IoSlice<'a>; SLICES_MAX] {
        [IoSlice::new(&[]); SLICES_MAX]
    }

    /// Drops `bytes` bytes that were written.
    pub(crate) fn take(&mut self, mut bytes: usize) {
        self.waiting -= bytes as u64;
        self.written += bytes as u64;
        while bytes > 0 {
            let Some(first) = self.parts.front_mut() else {
                self.heads.advance(bytes);
                break;
            };
            let here = first.len().min(bytes);
            first.advance(here);
            bytes -= here;
            if first.is_empty() {
                self.parts.pop_front();
            }
        }
        if self.heads.is_empty() {
            self.heads.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_leave_in_order_however_few_are_written_at_once(
            messages in prop::collection::vec((1..40_usize, 0..5000_usize), 1..100),
            writes in prop::collection::vec(1..9000_usize, 1..10),
        ) {
            let (mut outgoing, mut expected) = (Outgoing::new(), Vec::new());
            let (mut written, mut sizes) = (Vec::new(), writes.into_iter().cycle());
            let mut write = |outgoing: &mut Outgoing| {
                let mut slices = Outgoing::no_slices();
                let count = outgoing.slices(&mut slices);
                let there: Vec<u8> =
                    slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
                let here = there.len().min(sizes.next().unwrap());
                written.extend_from_slice(&there[..here]);
                outgoing.take(here);
            };
            for (number, (head, payload)) in (0_u8..).zip(messages) {
                outgoing.head(|out| out.extend_from_slice(&vec![number; head]));
                outgoing.payload(Bytes::from(vec![!number; payload]));
                expected.extend(vec![number; head]);
                expected.extend(vec![!number; payload]);
                if number % 3 == 0 {
                    write(&mut outgoing);
                }
            }
            while !outgoing.is_empty() {
                write(&mut outgoing);
            }
            prop_assert_eq!(outgoing.progress(), (expected.len() as u64, expected.len() as u64));
            prop_assert!(written == expected);
        }
    }
}
