//! Replies, losses and deadlines, each in the order that a link could report them in.

use bytes::Bytes;

use super::super::counts::Counts;
use super::*;

const DEADLINE_NS: u64 = 1000;

struct Run {
    ledger: Ledger,
    board: Arc<Board>,
    bodies: Arc<Bodies>,
}

fn run() -> Run {
    let board = Arc::new(Board::new().unwrap());
    let bodies = Arc::new(Bodies::new(16));
    let ledger = Ledger::new(Arc::clone(&board), Arc::clone(&bodies), DEADLINE_NS, 8);
    Run { ledger, board, bodies }
}

impl Run {
    /// Opens a message sent at 0, with its number as its ticket's.
    fn sent(&self, flow: u32) -> u64 {
        self.ledger.room.try_acquire().unwrap().forget();
        let planned = Planned { flow, phase: Phase::Measured, planned_ns: 0, sent_ns: 0 };
        let number = self.ledger.open(planned);
        self.ledger.taken(number, Ticket { lane: 1, number }, 0);
        number
    }

    fn reply(&self, number: u64) -> Message {
        let head = Head { kind: Kind::EchoReply, number }.encode();
        Message { flow: 0, head: Bytes::copy_from_slice(&head), body: self.bodies.make(number) }
    }

    fn counts(&self) -> Counts {
        self.board.finished().measured
    }

    fn strays(&self) -> (u64, u64) {
        let strays = self.board.finished().strays;
        (strays.late, strays.unexpected)
    }
}

#[test]
fn replies_in_the_wrong_order_are_seen_within_one_batch_and_by_flow() {
    let run = run();
    let [first, second, other] = [run.sent(1), run.sent(1), run.sent(2)];
    let batch = [run.reply(other), run.reply(second), run.reply(first)];
    run.ledger.replied(batch.into_iter(), 5);
    assert_eq!(run.counts(), Counts { sent: 3, ok: 2, wrong_order: 1, ..Counts::default() });
    assert_eq!(run.ledger.room.available_permits(), 8);
}

#[test]
fn a_reply_with_other_bytes_is_wrong_and_one_to_nothing_is_unexpected() {
    let run = run();
    let number = run.sent(1);
    let mut other = run.reply(number);
    other.body = run.bodies.make(number + 1);
    let mut request = run.reply(number);
    request.head = Bytes::copy_from_slice(&Head { kind: Kind::EchoRequest, number }.encode());
    run.ledger.replied([request, other, run.reply(number), run.reply(99)].into_iter(), 5);
    assert_eq!(run.counts(), Counts { sent: 1, wrong_body: 1, ..Counts::default() });
    assert_eq!(run.strays(), (0, 3));
}

#[test]
fn losses_end_messages_also_when_they_are_told_before_the_ticket() {
    let run = run();
    let early = run.sent(1);
    run.ledger.undelivered(1, 1..3, Fate::MaybeDelivered, 5);
    let second = run.sent(1);
    let third = run.sent(1);
    run.ledger.undelivered(1, third..third + 1, Fate::NotDelivered, 5);
    let fourth = run.sent(1);
    run.ledger.undelivered(2, fourth..fourth + 1, Fate::NotDelivered, 5);
    let expected = Counts {
        sent: 4,
        maybe_delivered: 2,
        not_delivered: 1,
        unfinished: 1,
        ..Counts::default()
    };
    assert_eq!(run.counts(), expected);
    // What may have been delivered may be answered; what was not, can't be.
    let late = [early, second, third].map(|number| run.reply(number));
    run.ledger.replied(late.into_iter(), 6);
    assert_eq!(run.strays(), (2, 1));
    assert_eq!(run.ledger.room.available_permits(), 7);
}

#[test]
fn a_deadline_ends_what_was_sent_and_leaves_the_rest_to_its_sender() {
    let run = run();
    let sent = run.sent(1);
    let planned = Planned { flow: 1, phase: Phase::Measured, planned_ns: 0, sent_ns: 0 };
    let unsent = run.ledger.open(planned);
    run.ledger.sweep(DEADLINE_NS);
    assert_eq!(run.counts().deadline, 0);
    run.ledger.sweep(DEADLINE_NS + 1);
    run.ledger.replied([run.reply(sent)].into_iter(), DEADLINE_NS + 2);
    run.ledger.refused(unsent, DEADLINE_NS + 2);
    let expected = Counts { sent: 2, deadline: 1, not_delivered: 1, ..Counts::default() };
    assert_eq!((run.counts(), run.strays()), (expected, (1, 0)));
}
