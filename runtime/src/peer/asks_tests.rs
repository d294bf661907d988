use std::time::Duration;

use super::*;

type Waiting = oneshot::Receiver<Outcome>;

fn asks() -> Asks {
    Asks::new(Arc::default(), 0)
}

fn in_seconds(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn sent(asks: &Asks, lane: u8, number: u64) -> (u64, Waiting) {
    let (id, waiting) = asks.enter(in_seconds(10)).unwrap();
    asks.send(id, || Ok(Ticket { lane, number })).unwrap();
    (id, waiting)
}

fn fault(mut waiting: Waiting) -> Option<Fault> {
    waiting.try_recv().ok().and_then(Result::err)
}

#[test]
fn an_answer_ends_its_own_ask_and_a_second_one_meets_nobody() {
    let asks = asks();
    let (id, first) = sent(&asks, 1, 1);
    asks.finish(id, Err(Fault::Told(Status::Gone)));
    assert_eq!(fault(first), Some(Fault::Told(Status::Gone)));
    // The place is used again, under another number.
    let (next, second) = sent(&asks, 1, 2);
    assert_ne!(id, next);
    asks.finish(id, Err(Fault::Told(Status::Late)));
    assert_eq!(fault(second), None);
}

#[test]
fn a_loss_ends_the_asks_it_names_with_what_is_known_of_them() {
    let asks = asks();
    let tickets = [(1, 4), (1, 5), (1, 6), (2, 5)];
    let waiting = tickets.map(|(lane, number)| sent(&asks, lane, number).1);
    asks.undelivered(1, &(5..6), Fate::MaybeDelivered);
    asks.undelivered(1, &(6..9), Fate::NotDelivered);
    let faults = waiting.map(fault);
    assert_eq!(faults, [None, Some(Fault::LinkLost), Some(Fault::NotSent), None]);
}

#[test]
fn deadlines_say_whether_the_ask_had_left() {
    let asks = asks();
    let (_id, queued) = asks.enter(in_seconds(1)).unwrap();
    let (_id, left) = sent(&asks, 1, 1);
    assert!(asks.expire(in_seconds(2)), "one is left");
    assert!(!asks.expire(in_seconds(11)));
    assert_eq!(fault(queued), Some(Fault::Late { was_sent: false }));
    assert_eq!(fault(left), Some(Fault::Late { was_sent: true }));
}

#[test]
fn an_ask_whose_deadline_has_passed_does_not_leave_any_more() {
    let asks = asks();
    let (id, waiting) = asks.enter(in_seconds(1)).unwrap();
    asks.expire(in_seconds(2));
    asks.send(id, || panic!("it was told as not delivered")).unwrap();
    assert_eq!(fault(waiting), Some(Fault::Late { was_sent: false }));
}

#[test]
fn once_closed_nothing_is_taken_and_what_waits_is_told() {
    let asks = asks();
    let (_id, waiting) = sent(&asks, 1, 1);
    asks.close();
    assert_eq!(fault(waiting), Some(Fault::Closing { was_sent: true }));
    assert_eq!(asks.enter(in_seconds(1)).map(|_entered| ()), Err(NotBegun::Closed));
}

#[test]
fn an_ask_that_is_not_sent_leaves_nothing_behind() {
    let asks = asks();
    let full = SendError::Full { peer: "there".parse().unwrap() };
    let begun = asks.begin(in_seconds(1), |_id| Err(full.clone()));
    assert_eq!(begun.map(|_begun| ()), Err(NotBegun::Link(full)));
    assert!(!asks.expire(Instant::now()), "none is left");
    let (id, waiting) = asks.begin(in_seconds(1), |_id| Ok(Ticket { lane: 1, number: 1 })).unwrap();
    asks.undelivered(1, &(1..2), Fate::MaybeDelivered);
    assert_eq!(fault(waiting), Some(Fault::LinkLost));
    assert!(!asks.forget(id));
}
