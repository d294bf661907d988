//! The messages to one node that wait for their replies.
//!
//! Every message has a number, rising over all flows; its reply carries the same. Replies are
//! judged as the link hands them over, lane by lane, so that two in the wrong order are seen even
//! when they arrive together. A client that wakes one asker for each reply would not show that.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use vioduct_node::service::{Head, Kind};
use vioduct_transport::{Fate, Message, Ticket};

use super::body::Bodies;
use super::counts::{Board, Ended, Outcome, Phase, Strays};

/// Losses kept for messages whose ticket is not noted yet.
const LOSSES_MAX: usize = 64;
/// Messages given up as maybe delivered whose late reply would be known; of the rest it counts as
/// unexpected.
const GIVEN_UP_MAX: usize = 65_536;

#[derive(Debug)]
struct Waiting {
    flow: u32,
    phase: Phase,
    planned_ns: u64,
    sent_ns: u64,
    /// `None` until the link has taken the message.
    ticket: Option<Ticket>,
}

#[derive(Debug, Default)]
struct Table {
    last_number: u64,
    waiting: HashMap<u64, Waiting>,
    /// Number of the latest reply, by flow.
    replied: HashMap<u32, u64>,
    losses: VecDeque<(u8, Range<u64>, Fate)>,
    given_up: BTreeSet<u64>,
}

/// A message that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) flow: u32,
    pub(crate) phase: Phase,
    pub(crate) planned_ns: u64,
    pub(crate) sent_ns: u64,
}

/// The messages to one node.
///
/// Invariants: (1) a message ends once; (2) with each end one permit comes back to `room`.
#[derive(Debug)]
pub(crate) struct Ledger {
    table: Mutex<Table>,
    board: Arc<Board>,
    bodies: Arc<Bodies>,
    deadline_ns: u64,
    /// Messages that may be sent now. Whoever sends one takes a permit and forgets it.
    pub(crate) room: Semaphore,
}

impl Waiting {
    const fn ended(&self, outcome: Outcome) -> Ended {
        let Self { phase, planned_ns, sent_ns, .. } = *self;
        Ended { phase, planned_ns, sent_ns, outcome }
    }
}

impl Table {
    fn give_up(&mut self, number: u64) {
        if self.given_up.len() >= GIVEN_UP_MAX {
            self.given_up.pop_first();
        }
        self.given_up.insert(number);
    }

    /// Ends a message that the link lost.
    fn lose(&mut self, number: u64, fate: Fate) -> Option<Ended> {
        let waiting = self.waiting.remove(&number)?;
        Some(waiting.ended(match fate {
            Fate::NotDelivered => Outcome::NotDelivered,
            Fate::MaybeDelivered => {
                self.give_up(number);
                Outcome::MaybeDelivered
            }
        }))
    }

    /// Judges one reply; `None` when no message waits for it.
    fn reply(&mut self, bodies: &Bodies, number: u64, body: &[u8]) -> Option<Ended> {
        let waiting = self.waiting.remove(&number)?;
        let latest = self.replied.entry(waiting.flow).or_default();
        let is_in_order = number > *latest;
        *latest = number.max(*latest);
        Some(waiting.ended(if !bodies.is(number, body) {
            Outcome::WrongBody
        } else if is_in_order {
            Outcome::Ok
        } else {
            Outcome::WrongOrder
        }))
    }
}

impl Ledger {
    /// An empty ledger with room for `outstanding_max` messages.
    pub(crate) fn new(
        board: Arc<Board>,
        bodies: Arc<Bodies>,
        deadline_ns: u64,
        outstanding_max: usize,
    ) -> Self {
        let room = Semaphore::new(outstanding_max);
        Self { table: Mutex::default(), board, bodies, deadline_ns, room }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a message before it is given to the link; gives its number.
    pub(crate) fn open(&self, planned: Planned) -> u64 {
        let Planned { flow, phase, planned_ns, sent_ns } = planned;
        self.board.sent(phase);
        let mut table = self.table();
        table.last_number += 1;
        let number = table.last_number;
        table.waiting.insert(number, Waiting { flow, phase, planned_ns, sent_ns, ticket: None });
        number
    }

    /// The link took the message as this ticket.
    pub(crate) fn taken(&self, number: u64, ticket: Ticket, now_ns: u64) {
        let mut table = self.table();
        let covers = |(lane, numbers, _fate): &&(u8, Range<u64>, Fate)| {
            *lane == ticket.lane && numbers.contains(&ticket.number)
        };
        let fate = table.losses.iter().find(covers).map(|(_lane, _numbers, fate)| *fate);
        let ended = fate.and_then(|fate| table.lose(number, fate));
        if let Some(waiting) = table.waiting.get_mut(&number) {
            waiting.ticket = Some(ticket);
        }
        drop(table);
        self.settle(ended.as_slice(), now_ns);
    }

    /// The link did not take the message.
    pub(crate) fn refused(&self, number: u64, now_ns: u64) {
        let ended = self.table().lose(number, Fate::NotDelivered);
        self.settle(ended.as_slice(), now_ns);
    }

    /// The link reported the fate of these messages.
    pub(crate) fn undelivered(&self, lane: u8, numbers: Range<u64>, fate: Fate, now_ns: u64) {
        let mut table = self.table();
        let is_lost = |waiting: &Waiting| {
            let ticket = waiting.ticket;
            ticket.is_some_and(|ticket| ticket.lane == lane && numbers.contains(&ticket.number))
        };
        let lost: Vec<u64> = table
            .waiting
            .iter()
            .filter_map(|(number, waiting)| is_lost(waiting).then_some(*number))
            .collect();
        let ended: Vec<Ended> =
            lost.into_iter().filter_map(|number| table.lose(number, fate)).collect();
        if table.losses.len() >= LOSSES_MAX {
            table.losses.pop_front();
        }
        table.losses.push_back((lane, numbers, fate));
        drop(table);
        self.settle(&ended, now_ns);
    }

    /// Replies of one lane, in their order.
    pub(crate) fn replied(&self, replies: impl Iterator<Item = Message>, now_ns: u64) {
        let mut strays = Strays::default();
        let mut all = Vec::new();
        let mut table = self.table();
        for message in replies {
            let Ok(Head { kind: Kind::EchoReply, number }) = Head::decode(&message.head) else {
                strays.unexpected += 1;
                continue;
            };
            match table.reply(&self.bodies, number, &message.body) {
                Some(ended) => all.push(ended),
                None if table.given_up.remove(&number) => strays.late += 1,
                None => strays.unexpected += 1,
            }
        }
        drop(table);
        if strays != Strays::default() {
            self.board.strays(strays);
        }
        self.settle(&all, now_ns);
    }

    /// Ends what has waited for its reply for the deadline. What the link has not taken yet is left
    /// to its sender.
    pub(crate) fn sweep(&self, now_ns: u64) {
        let mut table = self.table();
        let sent_by_ns = now_ns.saturating_sub(self.deadline_ns);
        let is_late = |waiting: &Waiting| waiting.ticket.is_some() && waiting.sent_ns < sent_by_ns;
        let late: Vec<(u64, Waiting)> =
            table.waiting.extract_if(|_number, waiting| is_late(waiting)).collect();
        late.iter().for_each(|(number, _waiting)| table.give_up(*number));
        drop(table);
        let ended = |(_number, waiting): &(u64, Waiting)| waiting.ended(Outcome::Deadline);
        let ended: Vec<Ended> = late.iter().map(ended).collect();
        self.settle(&ended, now_ns);
    }

    fn settle(&self, ended: &[Ended], now_ns: u64) {
        if !ended.is_empty() {
            self.board.ended(ended, now_ns);
            self.room.add_permits(ended.len());
        }
    }
}

#[cfg(test)]
mod tests;
