//! The questions of one peer that wait for their answers.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;
use vioduct_transport::{Fate, Ticket};

use super::head::{Head, Kind, Request};

/// Losses kept for messages whose ticket is not noted yet.
const LOSSES_MAX: usize = 64;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// The link reported this fate of the question.
    Undelivered(Fate),
    /// No answer in time.
    Deadline,
}

pub(super) type Answer = Result<Bytes, Lost>;

#[derive(Debug)]
struct Entry {
    expected: Kind,
    /// `None` until the link has taken the question.
    ticket: Option<Ticket>,
    due: u64,
    answer: oneshot::Sender<Answer>,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: HashMap<u64, Entry>,
    /// Latest losses: one may be reported before its ticket is noted.
    losses: VecDeque<(u8, Range<u64>, Fate)>,
}

/// Questions and who waits for their answers. At most `limit` wait at once.
#[derive(Debug)]
pub(super) struct Pending {
    waiting: Mutex<Waiting>,
    last_id: AtomicU64,
    limit: usize,
}

impl Pending {
    pub(super) fn new(limit: usize) -> Self {
        Self { waiting: Mutex::default(), last_id: AtomicU64::new(0), limit }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names a question that is about to be sent; `None` when too many wait.
    pub(super) fn register(
        &self,
        request: Request,
        due: u64,
    ) -> Option<(u64, oneshot::Receiver<Answer>)> {
        let (answer, answered) = oneshot::channel();
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let entry = Entry { expected: request.reply(), ticket: None, due, answer };
        let mut waiting = self.waiting();
        if waiting.entries.len() >= self.limit {
            return None;
        }
        waiting.entries.insert(id, entry);
        Some((id, answered))
    }

    /// The link took the question as this ticket.
    pub(super) fn sent(&self, id: u64, ticket: Ticket) {
        let mut waiting = self.waiting();
        let covers = |(lane, numbers, _fate): &&(u8, Range<u64>, Fate)| {
            *lane == ticket.lane && numbers.contains(&ticket.number)
        };
        let lost = waiting.losses.iter().find(covers).map(|(_lane, _numbers, fate)| *fate);
        let lost_entry = match (lost, waiting.entries.get_mut(&id)) {
            (_, None) => None, // Answered already.
            (None, Some(entry)) => {
                entry.ticket = Some(ticket);
                None
            }
            (Some(fate), Some(_entry)) => waiting.entries.remove(&id).map(|entry| (entry, fate)),
        };
        drop(waiting);
        if let Some((entry, fate)) = lost_entry {
            entry.end(Err(Lost::Undelivered(fate)));
        }
    }

    /// Nobody waits for this question any more.
    pub(super) fn forget(&self, id: u64) {
        self.waiting().entries.remove(&id);
    }

    /// Hands out answers; gives how many belonged to no question.
    pub(super) fn answered(&self, replies: impl Iterator<Item = (Head, Bytes)>) -> u64 {
        let mut strays = 0;
        let mut done = Vec::new();
        let mut waiting = self.waiting();
        for (head, body) in replies {
            match waiting.entries.remove(&head.number) {
                Some(entry) if entry.expected == head.kind => done.push((entry, body)),
                Some(entry) => {
                    waiting.entries.insert(head.number, entry);
                    strays += 1;
                }
                None => strays += 1,
            }
        }
        drop(waiting); // Whoever is woken asks again at once.
        for (entry, body) in done {
            entry.end(Ok(body));
        }
        strays
    }

    /// The link reported the fate of these messages.
    pub(super) fn undelivered(&self, lane: u8, numbers: Range<u64>, fate: Fate) {
        let mut waiting = self.waiting();
        let lost = waiting.entries.extract_if(|_id, entry| {
            entry
                .ticket
                .is_some_and(|ticket| ticket.lane == lane && numbers.contains(&ticket.number))
        });
        let lost: Vec<Entry> = lost.map(|(_id, entry)| entry).collect();
        if waiting.losses.len() >= LOSSES_MAX {
            waiting.losses.pop_front();
        }
        waiting.losses.push_back((lane, numbers, fate));
        drop(waiting);
        for entry in lost {
            entry.end(Err(Lost::Undelivered(fate)));
        }
    }

    /// Ends what was due by `now`.
    pub(super) fn sweep(&self, now: u64) {
        let mut waiting = self.waiting();
        let late = waiting.entries.extract_if(|_id, entry| entry.due <= now);
        let late: Vec<Entry> = late.map(|(_id, entry)| entry).collect();
        drop(waiting);
        for entry in late {
            entry.end(Err(Lost::Deadline));
        }
    }
}

impl Entry {
    fn end(self, answer: Answer) {
        // Fails only when the asker was dropped, who then wants to know nothing.
        self.answer.send(answer).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(kind: Kind, number: u64) -> std::iter::Once<(Head, Bytes)> {
        std::iter::once((Head { kind, number }, Bytes::from_static(b"body")))
    }

    fn ticket(number: u64) -> Ticket {
        Ticket { lane: 1, number }
    }

    #[test]
    fn an_answer_reaches_its_asker_once_and_only_of_its_kind() {
        let pending = Pending::new(8);
        let (id, mut answer) = pending.register(Request::Echo, 10).unwrap();
        assert_eq!(pending.answered(reply(Kind::StatusReply, id)), 1);
        assert_eq!(pending.answered(reply(Kind::EchoReply, id + 1)), 1);
        assert!(answer.try_recv().is_err());
        assert_eq!(pending.answered(reply(Kind::EchoReply, id)), 0);
        assert_eq!(answer.try_recv().unwrap(), Ok(Bytes::from_static(b"body")));
        assert_eq!(pending.answered(reply(Kind::EchoReply, id)), 1);
    }

    #[test]
    fn a_loss_ends_the_questions_it_names_even_when_told_before_their_ticket() {
        let pending = Pending::new(8);
        let (first, mut first_answer) = pending.register(Request::Echo, 10).unwrap();
        let (second, mut second_answer) = pending.register(Request::Echo, 10).unwrap();
        let (third, mut third_answer) = pending.register(Request::Echo, 10).unwrap();
        pending.sent(first, ticket(1));
        pending.undelivered(1, 1..3, Fate::MaybeDelivered);
        pending.sent(second, ticket(2));
        pending.sent(third, ticket(3));
        let lost = Err(Lost::Undelivered(Fate::MaybeDelivered));
        assert_eq!(first_answer.try_recv().unwrap(), lost);
        assert_eq!(second_answer.try_recv().unwrap(), lost);
        assert!(third_answer.try_recv().is_err());
    }

    #[test]
    fn what_is_late_ends_and_makes_room() {
        let pending = Pending::new(1);
        let (_id, mut answer) = pending.register(Request::Status, 10).unwrap();
        assert!(pending.register(Request::Status, 10).is_none());
        pending.sweep(9);
        assert!(answer.try_recv().is_err());
        pending.sweep(10);
        assert_eq!(answer.try_recv().unwrap(), Err(Lost::Deadline));
        assert!(pending.register(Request::Status, 20).is_some());
    }
}
