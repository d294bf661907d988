//! Who is told what when.

use bytes::Bytes;

use super::*;
use crate::command::{Place, TableId};
use crate::machine::{Event, EventKind};
use crate::schema::Class;
use crate::watch::{CHANGES_MAX, Notice};

const LIVES: u16 = 1;
const ALERTS: u16 = 2;

fn hub(seen: u64) -> Hub<u32> {
    let schema = Schema::new(0).system_table(LIVES, "lives", Class::Lifecycle).system_table(
        ALERTS,
        "alerts",
        Class::Alert,
    );
    Hub::new(Arc::new(schema), seen)
}

fn event(table: u16, key: &str) -> Event {
    let place = Place { table: TableId(table), key: Bytes::copy_from_slice(key.as_bytes()) };
    Event { place, kind: EventKind::Put }
}

fn revised(revision: u64, events: &[Event]) -> Revised {
    (revision, events.into())
}

fn waiting(to: u32, filter: Filter, after: u64) -> Waiting<u32> {
    Waiting { to, filter, after, until: 5, is_ending: false }
}

fn changes(notices: &[(u64, &[Event])], through: u64) -> Result<Told, Refusal> {
    let notice = |(revision, changes): &(u64, &[Event])| {
        let (revision, changes) = (*revision, changes.to_vec());
        Notice { revision, changes }
    };
    let notices = notices.iter().map(notice).collect();
    Ok(Told::Changes { notices, through, is_current: false })
}

#[test]
fn each_is_told_what_it_waits_for_and_waits_on_if_that_is_nothing() {
    let mut hub = hub(7);
    let table = Filter::of([TableId(ALERTS)]);
    let class = Filter { class: Some(Class::Lifecycle), ..Filter::default() };
    let prefix = Filter { prefix: Bytes::from_static(b"ab"), ..Filter::default() };
    let all = Filter::default();
    for (to, filter, after) in [(1, table, 7), (2, class, 7), (3, prefix, 7), (4, all, 9)] {
        assert_eq!(hub.admit(waiting(to, filter, after), &[], 7), None);
    }
    let (life, alert) = (event(LIVES, "a"), event(ALERTS, "ab"));
    let both = [life.clone(), alert.clone()];
    assert_eq!(hub.changed(&[], 8), []);
    let mut told = hub.changed(&[revised(9, &both)], 9);
    told.sort_by_key(|(to, _told)| *to);
    let alone = changes(&[(9, std::slice::from_ref(&alert))], 9);
    let of_class = changes(&[(9, std::slice::from_ref(&life))], 9);
    assert_eq!(told, [(1, alone.clone()), (2, of_class), (3, alone)]);
    assert_eq!(hub.changed(&[revised(10, &both)], 10), [(4, changes(&[(10, &both)], 10))]);
}

#[test]
fn one_who_comes_late_is_told_at_once_and_an_answer_ends_between_revisions() {
    let mut hub = hub(20);
    let many: Vec<Event> = vec![event(LIVES, "k"); CHANGES_MAX - 1];
    let two = [event(LIVES, "k"), event(LIVES, "l")];
    let known = [revised(3, &two), revised(4, &many), revised(5, &two), revised(6, &two)];
    let told = hub.admit(waiting(1, Filter::default(), 3), &known, 20);
    assert_eq!(told, Some((1, changes(&[(4, &many)], 4))));
    let told = hub.admit(waiting(1, Filter::default(), 4), &known, 20);
    assert_eq!(told, Some((1, changes(&[(5, &two), (6, &two)], 20))));
    assert_eq!(hub.admit(waiting(1, Filter::default(), 6), &known, 20), None);
}

#[test]
fn a_revision_that_is_larger_than_an_answer_comes_whole() {
    let mut hub = hub(20);
    let many: Vec<Event> = vec![event(LIVES, "k"); CHANGES_MAX + 1];
    let told = hub.admit(waiting(1, Filter::default(), 0), &[revised(4, &many)], 20);
    assert_eq!(told, Some((1, changes(&[(4, &many)], 20))));
}

#[test]
fn who_waited_in_vain_is_told_how_far_the_shard_is_after_a_round_and_not_without() {
    let mut hub = hub(7);
    hub.admit(waiting(1, Filter::default(), 7), &[], 7);
    hub.admit(Waiting { until: 6, ..waiting(2, Filter::default(), 7) }, &[], 7);
    assert!(!hub.begins_round(4));
    assert_eq!(hub.next_round(), Some(5));
    assert!(hub.begins_round(5));
    assert!(!hub.begins_round(6), "one round at a time");
    hub.changed(&[], 9);
    let current = Told::Changes { notices: Vec::new(), through: 9, is_current: true };
    assert_eq!(hub.round_ended(&Ok(())), [(1, Ok(current))]);
    assert!(hub.begins_round(6));
    assert_eq!(hub.round_ended(&Err(Refusal::NoQuorum)), [(2, Err(Refusal::NoQuorum))]);
    assert_eq!(hub.next_round(), None);
}

#[test]
fn what_changes_during_a_round_is_told_all_the_same() {
    let mut hub = hub(7);
    hub.admit(waiting(1, Filter::default(), 7), &[], 7);
    assert!(hub.begins_round(5));
    let new = [event(LIVES, "k")];
    assert_eq!(hub.changed(&[revised(8, &new)], 8), [(1, changes(&[(8, &new)], 8))]);
    assert_eq!(hub.round_ended(&Ok(())), []);
}

#[test]
fn no_more_wait_than_may_and_those_who_are_gone_make_room() {
    let mut hub = hub(7);
    for to in 0..u32::try_from(WAITING_MAX).unwrap() {
        assert_eq!(hub.admit(waiting(to, Filter::default(), 7), &[], 7), None);
    }
    let refused = hub.admit(waiting(9999, Filter::default(), 7), &[], 7);
    assert_eq!(refused, Some((9999, Err(Refusal::TooManyWatches))));
    assert!(hub.is_full());
    hub.forget(|to| *to == 17);
    assert_eq!(hub.admit(waiting(9999, Filter::default(), 7), &[], 7), None);
}

#[test]
fn when_changes_are_lost_all_ask_again_from_where_they_were() {
    let mut hub = hub(7);
    hub.admit(waiting(1, Filter::default(), 3), &[], 7);
    hub.admit(waiting(2, Filter::default(), 50), &[], 7);
    assert_eq!(hub.lost(99), [(1, changes(&[], 7)), (2, changes(&[], 50))]);
    assert_eq!(hub.seen(), 99);
}
