//! The bytes of one direction of a connection, on their way through the proxy: pure.
//!
//! Invariants:
//! 1. Bytes leave in the order in which they came, and the end of the stream after all of them.
//! 2. No more than [`LINE_BYTES_MAX`] are held; [`room`](Line::room) says how much may come.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::super::plan::nanos_for;
use super::super::{Instant, StreamFaults};

#[cfg(test)]
mod tests;

/// Bytes held for one direction of a connection; beyond it, its sender has to wait.
pub const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most bytes taken in as one chunk.
pub(super) const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// Fewest bytes that a rate limit cuts a chunk to.
const CHUNK_BYTES_MIN: usize = 1024;

/// A rate limit cuts chunks so that about this many leave in a second.
const CHUNKS_PER_S: u64 = 100;

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The sender finished; the other direction may go on.
    Finished,
    /// The sender, or the receiver of the other direction, is gone.
    Broken,
}

/// What may leave now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due<'a> {
    /// Nothing, for now.
    Nothing,
    /// These bytes, or the first of them; [`Line::sent`] says how many did.
    Bytes(&'a [u8]),
    /// All bytes have left: the end.
    End(End),
    /// As many bytes have left as the faults allow: reset the connection.
    Spent,
}

/// Bytes on hold, and when they leave.
#[derive(Debug, Default)]
pub(super) struct Line {
    faults: StreamFaults,
    chunks: VecDeque<(Instant, Bytes)>,
    held_bytes: usize,
    end: Option<(Instant, End)>,
    /// When the rate limit has let through all it has taken in.
    line_free: Instant,
    /// No byte leaves before the one ahead of it.
    order_floor: Instant,
    sent_bytes: u64,
}

impl Line {
    /// A line that holds nothing.
    #[cfg(test)]
    pub(super) fn new(faults: StreamFaults) -> Self {
        Self { faults, ..Self::default() }
    }

    /// Puts `faults` in force; what is held is treated as if it had come just now.
    pub(super) fn set(&mut self, now: Instant, faults: StreamFaults) {
        self.faults = faults;
        self.line_free = now;
        self.order_floor = now;
        self.sent_bytes = 0;
        let mut chunks = std::mem::take(&mut self.chunks);
        for (at, chunk) in &mut chunks {
            *at = self.departure(now, chunk.len());
        }
        self.chunks = chunks;
        self.end = self.end.map(|(_at, end)| (self.departure(now, 0), end));
    }

    /// How many bytes may come next; 0 when the line is full or its end is known.
    pub(super) fn room(&self) -> usize {
        if self.end.is_some() {
            return 0;
        }
        let chunk = self.faults.rate_bytes_per_s.map_or(CHUNK_BYTES_MAX, |rate| {
            let share = usize::try_from(rate.get() / CHUNKS_PER_S).unwrap_or(usize::MAX);
            share.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX)
        });
        chunk.min(LINE_BYTES_MAX.saturating_sub(self.held_bytes))
    }

    /// These bytes came at `now`.
    pub(super) fn push(&mut self, now: Instant, bytes: Bytes) {
        debug_assert!(bytes.len() <= self.room());
        let at = self.departure(now, bytes.len());
        self.held_bytes += bytes.len();
        self.chunks.push_back((at, bytes));
    }

    /// The stream ended at `now`; only the first end counts.
    pub(super) fn push_end(&mut self, now: Instant, end: End) {
        if self.end.is_none() {
            self.end = Some((self.departure(now, 0), end));
        }
    }

    /// What may leave at `now`.
    pub(super) fn due(&self, now: Instant) -> Due<'_> {
        if self.faults.stalled {
            return Due::Nothing;
        }
        let left = self.faults.reset_after_bytes.map(|most| most.saturating_sub(self.sent_bytes));
        if left == Some(0) {
            return Due::Spent;
        }
        match (self.chunks.front(), self.end) {
            (Some((at, chunk)), _) if *at <= now => {
                let most = left.map_or(chunk.len(), |left| {
                    usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len())
                });
                Due::Bytes(chunk.get(..most).unwrap_or(chunk))
            }
            (None, Some((at, end))) if at <= now => Due::End(end),
            (Some(_) | None, _) => Due::Nothing,
        }
    }

    /// The first `count` of the due bytes have left.
    pub(super) fn sent(&mut self, count: usize) {
        let Some((_at, chunk)) = self.chunks.front_mut() else {
            return;
        };
        let count = count.min(chunk.len());
        chunk.advance(count);
        if chunk.is_empty() {
            self.chunks.pop_front();
        }
        self.held_bytes -= count;
        self.sent_bytes = self.sent_bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// When something will be due; `None` when nothing is held or a stall holds it.
    pub(super) fn next_departure(&self) -> Option<Instant> {
        if self.faults.stalled {
            return None;
        }
        let end = self.end.map(|(at, _end)| at);
        self.chunks.front().map(|(at, _chunk)| *at).or(end)
    }

    /// When `size_bytes` that come at `now` leave.
    fn departure(&mut self, now: Instant, size_bytes: usize) -> Instant {
        let size = u64::try_from(size_bytes).unwrap_or(u64::MAX);
        let sent = match self.faults.rate_bytes_per_s {
            Some(rate) => {
                self.line_free = self.line_free.max(now).after_nanos(nanos_for(size, rate));
                self.line_free
            }
            None => now,
        };
        self.order_floor = self.order_floor.max(sent.after(self.faults.delay));
        self.order_floor
    }
}
