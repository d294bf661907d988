//! The table that brings a reply to the task which asked.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::sync::oneshot;

/// Outstanding asks by id.
///
/// An id is `generation << 32 | slot`, so that a reply to an abandoned ask never reaches the next
/// user of its slot. The size is bounded by the number of tasks that ask.
#[derive(Debug, Default)]
pub struct Correlation {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    waiting: Option<oneshot::Sender<Bytes>>,
}

impl Correlation {
    /// Enters an ask: the id to send, and where its reply will arrive.
    ///
    /// # Errors
    /// The connection is closed, or 2³² asks are outstanding.
    pub fn enter(&self) -> Result<(u64, oneshot::Receiver<Bytes>)> {
        let (reply, arrival) = oneshot::channel();
        let mut table = self.lock();
        anyhow::ensure!(!table.closed, "the connection is closed");
        let slot_index = match table.free.pop() {
            Some(free) => free,
            None => {
                let next = u32::try_from(table.slots.len()).context("too many asks outstanding")?;
                table.slots.push(Slot::default());
                next
            }
        };
        let slot =
            table.slot(slot_index).context("the free list names a slot that does not exist")?;
        slot.waiting = Some(reply);
        Ok((u64::from(slot.generation) << 32 | u64::from(slot_index), arrival))
    }

    /// Hands a reply to its ask. An id that is not outstanding is an error of the peer.
    ///
    /// # Errors
    /// It is not outstanding.
    pub fn complete(&self, id: u64, payload: Bytes) -> Result<()> {
        let slot_index = u32::try_from(id & u64::from(u32::MAX))?;
        let waiting = {
            let mut table = self.lock();
            let slot =
                table.slot(slot_index).with_context(|| format!("reply to unknown ask {id}"))?;
            anyhow::ensure!(u64::from(slot.generation) == id >> 32, "reply to finished ask {id}");
            let waiting =
                slot.waiting.take().with_context(|| format!("second reply to ask {id}"))?;
            slot.generation = slot.generation.wrapping_add(1);
            table.free.push(slot_index);
            waiting
        };
        // A task that stopped waiting lost interest in the reply, which is no fault.
        drop(waiting.send(payload));
        Ok(())
    }

    /// Ends every outstanding ask with an error, and refuses new ones.
    pub fn close(&self) {
        let mut table = self.lock();
        table.closed = true;
        table.slots.clear();
        table.free.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // The table is consistent at every point where a panic could unwind.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(index).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reply_reaches_the_ask_with_its_id() {
        let asks = Correlation::default();
        let (first, first_reply) = asks.enter().unwrap();
        let (second, second_reply) = asks.enter().unwrap();
        asks.complete(second, Bytes::from_static(b"two")).unwrap();
        asks.complete(first, Bytes::from_static(b"one")).unwrap();
        assert_eq!(first_reply.await.unwrap(), "one");
        assert_eq!(second_reply.await.unwrap(), "two");
    }

    #[test]
    fn a_second_reply_is_refused_even_when_the_slot_is_used_again() {
        let asks = Correlation::default();
        let (first, _reply) = asks.enter().unwrap();
        asks.complete(first, Bytes::new()).unwrap();
        let (again, _reply) = asks.enter().unwrap();
        assert_ne!(first, again);
        assert!(asks.complete(first, Bytes::new()).is_err());
        asks.complete(again, Bytes::new()).unwrap();
    }

    #[tokio::test]
    async fn closing_ends_what_is_outstanding_and_refuses_more() {
        let asks = Correlation::default();
        let (_id, reply) = asks.enter().unwrap();
        asks.close();
        assert!(reply.await.is_err());
        assert!(asks.enter().is_err());
    }
}
