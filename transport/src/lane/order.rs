//! Puts the messages of one lane in order while some bodies arrive on streams of their own.
//!
//! A message whose body is still on its way holds back the later messages of its own flow and
//! nothing else.
//!
//! Invariants:
//! 1. Messages of one flow leave in the order of their numbers, each at most once.
//! 2. A message leaves only with its whole body.
//! 3. `delivered_through` never falls, and every message up to it has left, or was lost with a
//!    connection.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;

use crate::wire::Incoming;

/// Highest number that a lane may begin at: what follows never overflows.
const FIRST_MAX: u64 = u64::MAX / 2;

/// What a held message costs beside its bytes, at most; empty ones are not free.
const HELD_MESSAGE_BYTES: usize = 128;

/// A message as it is handed to the embedder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The sender–target pair that the sender named.
    pub flow: u32,
    /// The encoded head. Shares its receive buffer: copy what is kept for long.
    pub head: Bytes,
    /// The body, empty when there is none. Shares its receive buffer when it came on the lane.
    pub body: Bytes,
}

/// What a peer did wrong with the numbers of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A lane begins at a number that was already received.
    #[error("a lane begins at message {first}, but {next} is the next one")]
    Replay {
        /// Number said.
        first: u64,
        /// Lowest number not yet seen.
        next: u64,
    },
    /// A lane begins so high that its numbers would run out.
    #[error("a lane begins at message {first}, past every number in use")]
    Beyond {
        /// Number said.
        first: u64,
    },
    /// A body arrived for a message that does not wait for one.
    #[error("a body arrived for message {number}, which waits for none")]
    StrayBody {
        /// Number said.
        number: u64,
    },
}

/// A detached message whose body is to be read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AwaitedBody {
    pub(crate) number: u64,
    pub(crate) bytes: u32,
}

#[derive(Debug)]
struct Held {
    number: u64,
    head: Bytes,
    /// `None` while the body is on its way.
    body: Option<Bytes>,
}

/// What a held message counts as while it waits.
fn cost(head: &Bytes, body: &Bytes) -> usize {
    HELD_MESSAGE_BYTES + head.len() + body.len()
}

/// Bytes of their own: a few held ones must not keep a whole receive buffer.
fn unshared(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

#[derive(Debug)]
pub(crate) struct LaneOrder {
    /// The run of the peer whose numbers these are.
    run: u64,
    next: u64,
    held: HashMap<u32, VecDeque<Held>>,
    /// Every held message, with its flow. The first is what acknowledgement waits for.
    numbers: BTreeMap<u64, u32>,
    held_bytes: usize,
}

impl LaneOrder {
    pub(crate) fn new() -> Self {
        Self { run: 0, next: 1, held: HashMap::new(), numbers: BTreeMap::new(), held_bytes: 0 }
    }

    /// A connection opens the lane anew, after [`give_up_bodies`](Self::give_up_bodies). Another
    /// run of the peer counts from the start again.
    pub(crate) fn start(&mut self, run: u64, first: u64) -> Result<(), OrderError> {
        let next = if run == self.run { self.next } else { 1 };
        if first < next {
            return Err(OrderError::Replay { first, next });
        }
        if first > FIRST_MAX {
            return Err(OrderError::Beyond { first });
        }
        debug_assert!(self.numbers.is_empty(), "the last connection left something");
        self.run = run;
        self.next = first;
        Ok(())
    }

    /// The connection is over: a message whose body is not there is lost, and what waited behind it
    /// leaves.
    pub(crate) fn give_up_bodies(&mut self, ready: &mut Vec<Message>) {
        let numbers = std::mem::take(&mut self.numbers);
        for flow in numbers.into_values() {
            let next = self.held.get_mut(&flow).and_then(VecDeque::pop_front);
            if let Some(Held { head, body: Some(body), .. }) = next {
                ready.push(Message { flow, head, body });
            }
        }
        self.held.clear();
        self.held_bytes = 0;
    }

    /// Takes the next message of the lane; what may leave is added to `ready`.
    pub(crate) fn accept(
        &mut self,
        incoming: Incoming,
        ready: &mut Vec<Message>,
    ) -> Option<AwaitedBody> {
        let number = self.next;
        self.next += 1;
        match incoming {
            Incoming::Inline { flow, head, body } => {
                if let Some(queue) = self.held.get_mut(&flow) {
                    self.held_bytes += cost(&head, &body);
                    self.numbers.insert(number, flow);
                    let (head, body) = (unshared(&head), Some(unshared(&body)));
                    queue.push_back(Held { number, head, body });
                } else {
                    ready.push(Message { flow, head, body });
                }
                None
            }
            Incoming::Detached { flow, head, body_bytes } => {
                self.held_bytes += cost(&head, &Bytes::new());
                self.numbers.insert(number, flow);
                let held = Held { number, head: unshared(&head), body: None };
                self.held.entry(flow).or_default().push_back(held);
                Some(AwaitedBody { number, bytes: body_bytes })
            }
        }
    }

    /// Takes a body; what may leave is added to `ready`.
    pub(crate) fn body_arrived(
        &mut self,
        number: u64,
        body: Bytes,
        ready: &mut Vec<Message>,
    ) -> Result<(), OrderError> {
        let stray = OrderError::StrayBody { number };
        let flow = *self.numbers.get(&number).ok_or(stray)?;
        let queue = self.held.get_mut(&flow).ok_or(stray)?;
        let waiting = queue.iter_mut().find(|held| held.number == number).ok_or(stray)?;
        if waiting.body.is_some() {
            return Err(stray);
        }
        self.held_bytes += body.len();
        waiting.body = Some(body);
        while let Some(Held { number, head, body: Some(body) }) =
            queue.pop_front_if(|held| held.body.is_some())
        {
            self.held_bytes -= cost(&head, &body);
            self.numbers.remove(&number);
            ready.push(Message { flow, head, body });
        }
        if queue.is_empty() {
            self.held.remove(&flow);
        }
        Ok(())
    }

    /// Every message up to this number has left, or is known to be lost.
    pub(crate) fn delivered_through(&self) -> u64 {
        self.numbers.first_key_value().map_or(self.next, |(number, _flow)| *number) - 1
    }

    /// Bytes that wait for a body before them, and what keeping them costs.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.numbers.is_empty()
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
