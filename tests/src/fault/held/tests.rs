use super::{ENTRY_COST_BYTES, HELD_BYTES_MAX, HeldFull, HeldQueue};
use crate::fault::{Direction, Instant};

fn at(nanos: u64) -> Instant {
    Instant::START.after_nanos(nanos)
}

fn drain(queue: &mut HeldQueue<&'static str>, now: Instant) -> Vec<&'static str> {
    std::iter::from_fn(|| queue.pop_due(now).map(|held| held.item)).collect()
}

#[test]
fn leaves_by_time_then_by_arrival() {
    let mut queue = HeldQueue::new();
    for (nanos, item) in [(20, "c"), (10, "a"), (20, "d"), (10, "b"), (30, "late")] {
        queue.push(at(nanos), Direction::ToTarget, 1, item).expect("room");
    }
    assert_eq!(queue.next_departure(), Some(at(10)));
    assert_eq!(drain(&mut queue, at(20)), ["a", "b", "c", "d"]);
    assert_eq!(queue.next_departure(), Some(at(30)));
}

#[test]
fn what_is_put_back_keeps_its_place() {
    let mut queue = HeldQueue::new();
    for item in ["first", "second"] {
        queue.push(at(5), Direction::ToClient, 1, item).expect("room");
    }
    let first = queue.pop_due(at(5)).expect("due");
    queue.put_back(first);
    assert_eq!(drain(&mut queue, at(5)), ["first", "second"]);
}

#[test]
fn a_full_direction_refuses_and_leaves_the_other_alone() {
    let mut queue = HeldQueue::new();
    let half = HELD_BYTES_MAX / 2 - ENTRY_COST_BYTES;
    queue.push(at(1), Direction::ToTarget, half, "a").expect("room");
    queue.push(at(1), Direction::ToTarget, half, "b").expect("room");
    assert_eq!(queue.push(at(1), Direction::ToTarget, 0, "c"), Err(HeldFull));
    queue.push(at(1), Direction::ToClient, half, "d").expect("room of its own");
    assert_eq!(drain(&mut queue, at(1)), ["a", "b", "d"]);
    queue.push(at(2), Direction::ToTarget, half, "e").expect("room again");
}

#[test]
fn a_purge_takes_one_direction_and_its_room() {
    let mut queue = HeldQueue::new();
    let most = HELD_BYTES_MAX - ENTRY_COST_BYTES;
    queue.push(at(1), Direction::ToTarget, most, "gone").expect("room");
    queue.push(at(1), Direction::ToClient, 10, "kept").expect("room");
    assert_eq!(queue.purge(Direction::ToTarget), 1);
    queue.push(at(2), Direction::ToTarget, most, "new").expect("room again");
    assert_eq!(drain(&mut queue, at(2)), ["kept", "new"]);
}
