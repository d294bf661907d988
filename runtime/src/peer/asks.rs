//! Asks that wait for a peer's answers.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use slab::Slab;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use vioduct_transport::{Fate, Link, SendError, Ticket};

use crate::codec::Codec;
use crate::envelope::Status;
use crate::inspect::AskFigures;

/// Asks to one peer that wait at once.
const ASKS_MAX: usize = 1 << 20;

/// A peer's answer, still encoded.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) codec: Codec,
    pub(crate) payload: Bytes,
    pub(crate) body: Bytes,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The peer says so.
    Told(Status),
    /// It never left.
    NotSent,
    /// It left, and the link was lost.
    LinkLost,
    /// The deadline passed; whether it had left by then.
    Late { was_sent: bool },
    /// This node is shutting down; whether it had left by then.
    Closing { was_sent: bool },
}

pub(crate) type Outcome = Result<Answer, Fault>;

struct Pending {
    nonce: u32,
    ticket: Option<Ticket>,
    deadline: Instant,
    answer: oneshot::Sender<Outcome>,
}

#[derive(Default)]
struct Table {
    pending: Slab<Pending>,
    last_nonce: u32,
    is_closed: bool,
    /// How they ended.
    ended: AskFigures,
}

/// Says that some ask has a deadline to be kept.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    is_set: AtomicBool,
    rung: Notify,
}

impl Alarm {
    fn set(&self) {
        if !self.is_set.swap(true, Ordering::AcqRel) {
            self.rung.notify_one();
        }
    }

    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }

    /// To be called before looking whether asks are left.
    pub(crate) fn clear(&self) {
        self.is_set.store(false, Ordering::Release);
    }
}

/// The asks to one peer.
pub(crate) struct Asks {
    table: Mutex<Table>,
    alarm: Arc<Alarm>,
}

/// Why an ask did not begin. Nothing waits for its answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotBegun {
    Closed,
    TooMany,
    Link(SendError),
}

impl Asks {
    /// `first` differs from run to run: an answer to an earlier run's ask meets none of this one.
    pub(crate) fn new(alarm: Arc<Alarm>, first: u32) -> Self {
        Self { table: Mutex::new(Table { last_nonce: first, ..Table::default() }), alarm }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a place for an answer, and gives the number of the ask.
    pub(crate) fn enter(
        &self,
        deadline: Instant,
    ) -> Result<(u64, oneshot::Receiver<Outcome>), NotBegun> {
        self.begin_with(deadline, |_id| Ok(None))
    }

    /// The same, and sends the ask, as [`send`](Self::send) does.
    pub(crate) fn begin(
        &self,
        deadline: Instant,
        send: impl FnOnce(u64) -> Result<Ticket, SendError>,
    ) -> Result<(u64, oneshot::Receiver<Outcome>), NotBegun> {
        self.begin_with(deadline, |id| send(id).map(Some))
    }

    fn begin_with(
        &self,
        deadline: Instant,
        ticket: impl FnOnce(u64) -> Result<Option<Ticket>, SendError>,
    ) -> Result<(u64, oneshot::Receiver<Outcome>), NotBegun> {
        let (answer, outcome) = oneshot::channel();
        let mut table = self.table();
        if table.is_closed {
            return Err(NotBegun::Closed);
        }
        if table.pending.len() >= ASKS_MAX {
            return Err(NotBegun::TooMany);
        }
        let nonce = table.last_nonce.wrapping_add(1);
        table.last_nonce = nonce;
        let place = table.pending.vacant_entry();
        let id = number(place.key(), nonce);
        let ticket = ticket(id).map_err(NotBegun::Link)?;
        place.insert(Pending { nonce, ticket, deadline, answer });
        drop(table);
        self.alarm.set();
        Ok((id, outcome))
    }

    /// Sends an ask while no loss can be told, so that its ticket is known when one is. One that is
    /// over by now does not leave: its outcome says so.
    pub(crate) fn send(
        &self,
        id: u64,
        send: impl FnOnce() -> Result<Ticket, SendError>,
    ) -> Result<(), SendError> {
        let mut table = self.table();
        if let Some(pending) = table.find(id) {
            pending.ticket = Some(send()?);
        }
        Ok(())
    }

    /// An answer came. One that nobody waits for is dropped.
    pub(crate) fn finish(&self, id: u64, outcome: Outcome) {
        let mut table = self.table();
        let Some(pending) = table.remove(id) else { return };
        match &outcome {
            Ok(_answer) => table.ended.answered += 1,
            Err(fault) => table.count(*fault),
        }
        drop(table);
        // Fails only when nobody waits any more.
        drop(pending.answer.send(outcome));
    }

    /// Nobody waits for this answer any more. Gives whether the ask has left.
    pub(crate) fn forget(&self, id: u64) -> bool {
        let mut table = self.table();
        let Some(pending) = table.remove(id) else { return false };
        let has_left = pending.ticket.is_some();
        if has_left {
            table.ended.cancelled += 1;
        } else {
            table.ended.not_sent += 1;
        }
        has_left
    }

    /// These messages have this fate.
    pub(crate) fn undelivered(&self, lane: u8, numbers: &Range<u64>, fate: Fate) {
        let fault = match fate {
            Fate::NotDelivered => Fault::NotSent,
            Fate::MaybeDelivered => Fault::LinkLost,
        };
        self.fail(|pending| {
            let ticket = pending.ticket?;
            (ticket.lane == lane && numbers.contains(&ticket.number)).then_some(fault)
        });
    }

    /// The connection is lost: answers to what the peer has taken may be lost as well.
    pub(crate) fn lost(&self, link: &Link) {
        self.fail(|pending| {
            pending.ticket.is_some_and(|ticket| link.is_settled(ticket)).then_some(Fault::LinkLost)
        });
    }

    /// Ends what is past its deadline. Gives whether any ask is left.
    pub(crate) fn expire(&self, now: Instant) -> bool {
        self.fail(|pending| {
            let was_sent = pending.ticket.is_some();
            (pending.deadline <= now).then_some(Fault::Late { was_sent })
        });
        !self.table().pending.is_empty()
    }

    pub(crate) fn close(&self) {
        self.table().is_closed = true;
        self.fail(|pending| Some(Fault::Closing { was_sent: pending.ticket.is_some() }));
    }

    /// How many there are, and how the others ended.
    pub(crate) fn figures(&self) -> AskFigures {
        let table = self.table();
        AskFigures { in_flight: table.pending.len() as u64, ..table.ended }
    }

    fn fail(&self, judge: impl Fn(&Pending) -> Option<Fault>) {
        let mut failed = Vec::new();
        let mut table = self.table();
        let judged = table.pending.iter().filter_map(|(key, pending)| Some((key, judge(pending)?)));
        for (key, fault) in judged.collect::<Vec<_>>() {
            failed.push((table.pending.remove(key), fault));
            table.count(fault);
        }
        drop(table);
        for (pending, fault) in failed {
            // Fails only when nobody waits any more.
            drop(pending.answer.send(Err(fault)));
        }
    }
}

impl Table {
    fn count(&mut self, fault: Fault) {
        match fault {
            Fault::Told(_status) => self.ended.refused += 1,
            Fault::Late { .. } => self.ended.late += 1,
            Fault::NotSent | Fault::LinkLost | Fault::Closing { .. } => self.ended.lost += 1,
        }
    }

    fn key(&self, id: u64) -> Option<usize> {
        let key = usize::try_from(id & u64::from(u32::MAX)).ok()?;
        let pending = self.pending.get(key)?;
        (u64::from(pending.nonce) == id >> 32).then_some(key)
    }

    fn find(&mut self, id: u64) -> Option<&mut Pending> {
        let key = self.key(id)?;
        self.pending.get_mut(key)
    }

    fn remove(&mut self, id: u64) -> Option<Pending> {
        let key = self.key(id)?;
        self.pending.try_remove(key)
    }
}

/// A place in the table, and which of its users: an answer that comes too late meets another.
fn number(key: usize, nonce: u32) -> u64 {
    u64::from(nonce) << 32 | key as u64
}

#[cfg(test)]
#[path = "asks_tests.rs"]
mod tests;
