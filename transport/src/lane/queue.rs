//! What waits to be written on one lane, encoded once and kept until a connection takes it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::wire::frame::{HEADER_BYTES, header};

/// Bodies up to this size are copied into the lane's buffer; larger ones are referred to.
const COPIED_BODY_BYTES_MAX: usize = 1024;
/// How much room the buffer for small messages grows by.
const BUFFER_BYTES: usize = 16 * 1024;

/// Bounds of a lane's queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    pub(crate) head_bytes_max: usize,
    pub(crate) inline_body_bytes_max: usize,
    pub(crate) body_bytes_max: usize,
    /// Bytes queued beyond which a sender waits.
    pub(crate) queued_bytes_max: usize,
    /// Bytes of detached bodies, queued or being sent, beyond which a sender waits.
    pub(crate) detached_bytes_max: usize,
}

/// Whether the queue takes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Unreachable,
    Closed,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    Full,
    Unreachable,
    Closed,
    HeadTooLong { bytes: usize, limit: usize },
    BodyTooLong { bytes: usize, limit: usize },
}

/// A body on its way to a stream of its own.
#[derive(Debug, Clone)]
pub(crate) struct Detached {
    pub(crate) number: u64,
    pub(crate) body: Bytes,
}

/// Messages taken off the queue to be written together.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Number of the first message.
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// How often the queue had been dropped when the batch was taken.
    drops: u64,
    pub(crate) segments: Vec<Bytes>,
    pub(crate) detached: VecDeque<Detached>,
}

impl Batch {
    /// Number of the message after the last.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.count
    }

    /// What is left when the connection took only the first `written` bytes: whole messages of
    /// which no byte was taken.
    fn unwritten(self, written: usize) -> Self {
        let mut segments: VecDeque<Bytes> = self.segments.into();
        let (mut passed, mut started) = (0, 0);
        while passed < written {
            let Some(bytes) = segments.front().and_then(|front| frame_bytes(front)) else { break };
            skip(&mut segments, bytes);
            passed += bytes;
            started += 1;
        }
        let first = self.first + started;
        let mut detached = self.detached;
        detached.retain(|body| body.number >= first);
        let (count, drops) = (self.count - started, self.drops);
        Self { first, count, drops, segments: segments.into(), detached }
    }
}

/// Length on the lane of the frame that we encoded at the start of `bytes`.
fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let [kind, _, _, _, _, h0, h1, h2, h3, b0, b1, b2, b3] =
        *bytes.first_chunk::<HEADER_BYTES>()?;
    let head = u32::from_le_bytes([h0, h1, h2, h3]) as usize;
    let body = u32::from_le_bytes([b0, b1, b2, b3]) as usize;
    Some(HEADER_BYTES + head + if kind == 1 { body } else { 0 })
}

fn skip(segments: &mut VecDeque<Bytes>, mut bytes: usize) {
    while bytes > 0 {
        let Some(front) = segments.front_mut() else { return };
        let taken = bytes.min(front.len());
        drop(front.split_to(taken));
        bytes -= taken;
        if front.is_empty() {
            segments.pop_front();
        }
    }
}

/// What became of a batch that a connection did not take whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PutBack {
    /// Number after the last message of which a byte was taken.
    pub(crate) begun_end: u64,
    /// Messages that never left and never will: the queue was dropped meanwhile.
    pub(crate) dropped: Range<u64>,
}

impl PutBack {
    /// Everything before this number was written, and nothing else was taken.
    pub(crate) fn nothing(end: u64) -> Self {
        Self { begun_end: end, dropped: end..end }
    }
}

#[derive(Debug)]
struct State {
    gate: Gate,
    first: u64,
    count: u64,
    /// How often what was queued has been dropped.
    drops: u64,
    segments: Vec<Bytes>,
    tail: BytesMut,
    detached: VecDeque<Detached>,
    queued_bytes: usize,
    detached_bytes: usize,
}

/// The queue of one lane. Senders push, one writer at a time takes.
#[derive(Debug)]
pub(crate) struct LaneQueue {
    limits: QueueLimits,
    state: Mutex<State>,
    /// Something to write, or the gate changed.
    ready: Notify,
    /// Room for senders that wait, or the gate changed.
    room: Notify,
}

impl LaneQueue {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        let state = State {
            gate: Gate::Open,
            first: 1,
            count: 0,
            drops: 0,
            segments: Vec::new(),
            tail: BytesMut::new(),
            detached: VecDeque::new(),
            queued_bytes: 0,
            detached_bytes: 0,
        };
        Self { limits, state: Mutex::new(state), ready: Notify::new(), room: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message and gives its number.
    pub(crate) fn push(&self, flow: u32, head: &[u8], body: &Bytes) -> Result<u64, PushError> {
        let (head_bytes, body_bytes) = self.checked(head.len(), body.len())?;
        let detached = body.len() > self.limits.inline_body_bytes_max;
        let mut guard = self.state();
        let state = &mut *guard;
        match state.gate {
            Gate::Open => {}
            Gate::Unreachable => return Err(PushError::Unreachable),
            Gate::Closed => return Err(PushError::Closed),
        }
        let lane_bytes = HEADER_BYTES + head.len() + if detached { 0 } else { body.len() };
        if !self.has_room(state, lane_bytes, if detached { body.len() } else { 0 }) {
            return Err(PushError::Full);
        }
        let number = state.first + state.count;
        let was_empty = state.count == 0;
        state.count += 1;
        state.queued_bytes += lane_bytes;
        state.reserve(HEADER_BYTES + head.len());
        state.tail.put_slice(&header(flow, head_bytes, body_bytes, detached));
        state.tail.put_slice(head);
        if detached {
            state.detached_bytes += body.len();
            state.detached.push_back(Detached { number, body: body.clone() });
        } else if body.len() <= COPIED_BODY_BYTES_MAX {
            state.tail.put_slice(body);
        } else {
            let before = state.tail.split().freeze();
            state.segments.push(before);
            state.segments.push(body.clone());
        }
        drop(guard);
        // Whoever takes waits for an empty queue only.
        if was_empty {
            self.ready.notify_one();
        }
        Ok(number)
    }

    fn checked(&self, head: usize, body: usize) -> Result<(u32, u32), PushError> {
        let QueueLimits { head_bytes_max, body_bytes_max, .. } = self.limits;
        let head_bytes = u32::try_from(head).ok().filter(|_| head <= head_bytes_max);
        let body_bytes = u32::try_from(body).ok().filter(|_| body <= body_bytes_max);
        Ok((
            head_bytes.ok_or(PushError::HeadTooLong { bytes: head, limit: head_bytes_max })?,
            body_bytes.ok_or(PushError::BodyTooLong { bytes: body, limit: body_bytes_max })?,
        ))
    }

    /// One message always fits an empty queue, whatever its size.
    fn has_room(&self, state: &State, lane_bytes: usize, detached_bytes: usize) -> bool {
        let fits = |used: usize, more: usize, max: usize| used == 0 || used + more <= max;
        fits(state.queued_bytes, lane_bytes, self.limits.queued_bytes_max)
            && (detached_bytes == 0
                || fits(state.detached_bytes, detached_bytes, self.limits.detached_bytes_max))
    }

    /// Queues a message, waiting for room. Cancel-safe: the message is queued or it is not.
    pub(crate) async fn push_wait(
        &self,
        flow: u32,
        head: &[u8],
        body: &Bytes,
    ) -> Result<u64, PushError> {
        match self.push(flow, head, body) {
            Err(PushError::Full) => {}
            other => return other,
        }
        loop {
            let room = self.more_room();
            match self.push(flow, head, body) {
                Err(PushError::Full) => room.await,
                other => return other,
            }
        }
    }

    /// Ends when there is more room, or the gate has changed, since this call. Cancel-safe.
    pub(crate) fn more_room(&self) -> Notified<'_> {
        self.room.notified()
    }

    /// Everything queued, or `None` when nothing is.
    pub(crate) fn take(&self) -> Option<Batch> {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.count == 0 {
            return None;
        }
        if !state.tail.is_empty() {
            let tail = state.tail.split().freeze();
            state.segments.push(tail);
        }
        let batch = Batch {
            first: state.first,
            count: state.count,
            drops: state.drops,
            segments: std::mem::take(&mut state.segments),
            detached: std::mem::take(&mut state.detached),
        };
        state.first = batch.end();
        state.count = 0;
        state.queued_bytes = 0;
        drop(guard);
        self.room.notify_waiters();
        Some(batch)
    }

    /// Waits until something is queued and takes it. Cancel-safe.
    pub(crate) async fn take_wait(&self) -> Batch {
        loop {
            match self.take() {
                Some(batch) => return batch,
                None => self.ready.notified().await,
            }
        }
    }

    /// Puts back what a connection did not take; `written` bytes of the batch it did.
    ///
    /// If the queue was dropped since the batch was taken, the rest is dropped as well: it was
    /// meant for the same run of the peer.
    pub(crate) fn put_back(&self, batch: Batch, written: usize) -> PutBack {
        let end = batch.end();
        let rest = batch.unwritten(written);
        let mut guard = self.state();
        let state = &mut *guard;
        let begun_end = rest.first;
        let dropped = if rest.drops == state.drops {
            state.requeue(rest);
            end..end
        } else {
            state.forget_bodies(&rest.detached);
            begun_end..end
        };
        drop(guard);
        self.ready.notify_one();
        self.room.notify_waiters();
        PutBack { begun_end, dropped }
    }

    /// A detached body has been written, or given up.
    pub(crate) fn body_done(&self, bytes: usize) {
        let mut state = self.state();
        state.detached_bytes = state.detached_bytes.saturating_sub(bytes);
        drop(state);
        self.room.notify_waiters();
    }

    /// Number of the next message to be taken.
    pub(crate) fn next_number(&self) -> u64 {
        self.state().first
    }

    /// Number of the last message that was pushed; 0 before the first.
    pub(crate) fn last_number(&self) -> u64 {
        let state = self.state();
        state.first + state.count - 1
    }

    /// Opens or closes the queue. Unless it opens, what is queued is dropped: the numbers of the
    /// dropped messages are the answer.
    pub(crate) fn set_gate(&self, gate: Gate) -> Range<u64> {
        let mut guard = self.state();
        let state = &mut *guard;
        state.gate = gate;
        let dropped = match gate {
            Gate::Open => state.first..state.first,
            Gate::Unreachable | Gate::Closed => state.drop_queued(),
        };
        drop(guard);
        self.ready.notify_one();
        self.room.notify_waiters();
        dropped
    }

    /// Takes no more messages; what is queued stays to be written.
    pub(crate) fn seal(&self) {
        self.state().gate = Gate::Closed;
        self.ready.notify_one();
        self.room.notify_waiters();
    }

    /// Drops what is queued and goes on with later numbers.
    pub(crate) fn discard(&self) -> Range<u64> {
        let dropped = self.state().drop_queued();
        self.room.notify_waiters();
        dropped
    }

    /// Messages and bytes that wait.
    pub(crate) fn depth(&self) -> (u64, usize) {
        let state = self.state();
        (state.count, state.queued_bytes)
    }
}

impl State {
    fn reserve(&mut self, bytes: usize) {
        if self.tail.capacity() - self.tail.len() < bytes {
            self.tail.reserve(bytes.max(BUFFER_BYTES));
        }
    }

    fn requeue(&mut self, rest: Batch) {
        self.first = rest.first;
        self.count += rest.count;
        self.queued_bytes += rest.segments.iter().map(Bytes::len).sum::<usize>();
        let newer = std::mem::replace(&mut self.segments, rest.segments);
        self.segments.extend(newer);
        let newer = std::mem::replace(&mut self.detached, rest.detached);
        self.detached.extend(newer);
    }

    fn forget_bodies(&mut self, detached: &VecDeque<Detached>) {
        let bodies: usize = detached.iter().map(|detached| detached.body.len()).sum();
        self.detached_bytes = self.detached_bytes.saturating_sub(bodies);
    }

    fn drop_queued(&mut self) -> Range<u64> {
        let dropped = self.first..self.first + self.count;
        let detached = std::mem::take(&mut self.detached);
        self.forget_bodies(&detached);
        self.segments.clear();
        self.tail.clear();
        self.queued_bytes = 0;
        self.first = dropped.end;
        self.count = 0;
        self.drops += 1;
        dropped
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
