//! Datagrams that wait for their departure: a pure heap keyed by time and arrival, with a bound.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::{Direction, Instant, PerDirection};

#[cfg(test)]
mod tests;

/// Bytes that one direction holds at most.
pub const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a held datagram costs besides its bytes, so that empty ones are bounded too.
pub const ENTRY_COST_BYTES: usize = 128;

/// Held datagrams of both directions, the next to leave first; of those due at one moment, the
/// first that was put in.
#[derive(Debug)]
pub struct HeldQueue<T> {
    heap: BinaryHeap<Reverse<Held<T>>>,
    pushed: u64,
    cost_bytes: PerDirection<usize>,
}

/// One held datagram.
#[derive(Debug)]
pub struct Held<T> {
    at: Instant,
    place: u64,
    size_bytes: usize,
    direction: Direction,
    /// What is held.
    pub item: T,
}

impl<T> Held<T> {
    /// The direction it goes.
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    const fn cost_bytes(&self) -> usize {
        self.size_bytes.saturating_add(ENTRY_COST_BYTES)
    }
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Held<T> {}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Held<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.place).cmp(&(other.at, other.place))
    }
}

/// A direction holds [`HELD_BYTES_MAX`] already; nothing was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the direction holds as much as it may")]
pub struct HeldFull;

impl<T> HeldQueue<T> {
    /// A queue that holds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), pushed: 0, cost_bytes: PerDirection::default() }
    }

    /// Holds an item of `size_bytes` until `at`.
    ///
    /// # Errors
    /// [`HeldFull`] when the direction has no room for it.
    pub fn push(
        &mut self,
        at: Instant,
        direction: Direction,
        size_bytes: usize,
        item: T,
    ) -> Result<(), HeldFull> {
        let held = Held { at, place: self.pushed, size_bytes, direction, item };
        let cost_bytes = self.cost_bytes.at(direction).saturating_add(held.cost_bytes());
        if cost_bytes > HELD_BYTES_MAX {
            return Err(HeldFull);
        }
        *self.cost_bytes.at_mut(direction) = cost_bytes;
        self.pushed += 1;
        self.heap.push(Reverse(held));
        Ok(())
    }

    /// Puts back what [`pop_due`](Self::pop_due) just gave, at its old place.
    pub fn put_back(&mut self, held: Held<T>) {
        *self.cost_bytes.at_mut(held.direction) += held.cost_bytes();
        self.heap.push(Reverse(held));
    }

    /// Takes out the next item that is due at `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<Held<T>> {
        if self.next_departure()? > now {
            return None;
        }
        let Reverse(held) = self.heap.pop()?;
        *self.cost_bytes.at_mut(held.direction) -= held.cost_bytes();
        Some(held)
    }

    /// When the next item is due.
    #[must_use]
    pub fn next_departure(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(held)| held.at)
    }

    /// Drops all that one direction holds; how many those were.
    pub fn purge(&mut self, direction: Direction) -> usize {
        let before = self.heap.len();
        self.heap.retain(|Reverse(held)| held.direction != direction);
        *self.cost_bytes.at_mut(direction) = 0;
        before - self.heap.len()
    }
}

impl<T> Default for HeldQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}
