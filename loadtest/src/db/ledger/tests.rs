use super::*;

fn ledger() -> Ledger {
    Ledger::new(4, 2)
}

/// Writes key 2 so often, each acknowledged.
fn written(times: u64) -> Ledger {
    let mut ledger = ledger();
    for serial in 1..=times {
        let writing = ledger.begin_write(2).unwrap();
        assert_eq!(writing, Writing { key: 2, serial });
        ledger.end_write(writing, Ending::Acknowledged).unwrap();
    }
    ledger
}

/// What a read of key 2 that finds this is judged to be.
fn read(ledger: &mut Ledger, found: Held) -> Result<(), What> {
    let reading = ledger.begin_read(2);
    ledger.end_read(reading, found).map_err(|violation| violation.what)
}

#[test]
fn a_key_without_a_write_has_no_row() {
    let mut ledger = ledger();
    assert_eq!(read(&mut ledger, Held::Nothing), Ok(()));
    assert_eq!(read(&mut ledger, Held::Serial(1)), Err(What::NeverWritten));
    assert_eq!(read(&mut ledger, Held::Serial(0)), Err(What::NeverWritten));
}

#[test]
fn each_kind_of_violation_is_found() {
    let mut ledger = written(5);
    for (found, what) in [
        (Held::Nothing, What::Lost),
        (Held::Serial(4), What::WentBack),
        (Held::Serial(6), What::NeverWritten),
        (Held::Moved(3), What::Moved),
        (Held::Foreign, What::Foreign),
        (Held::Damaged, What::Damaged),
    ] {
        assert_eq!(read(&mut ledger, found), Err(what), "{found}");
    }
    assert_eq!(read(&mut ledger, Held::Serial(5)), Ok(()));
}

#[test]
fn a_read_beside_writes_may_find_any_from_its_beginning_to_its_end() {
    for (found, expected) in [
        (Held::Serial(1), Err(What::WentBack)),
        (Held::Serial(2), Ok(())),
        (Held::Serial(3), Ok(())),
        (Held::Serial(4), Ok(())),
        (Held::Serial(5), Err(What::NeverWritten)),
        (Held::Nothing, Err(What::Lost)),
    ] {
        let mut ledger = written(2);
        let reading = ledger.begin_read(2);
        let third = ledger.begin_write(2).unwrap();
        ledger.end_write(third, Ending::Acknowledged).unwrap();
        let _fourth = ledger.begin_write(2).unwrap();
        let judged = ledger.end_read(reading, found).map_err(|violation| violation.what);
        assert_eq!(judged, expected, "{found}");
    }
}

#[test]
fn a_read_that_began_before_the_first_write_may_find_no_row_after_it() {
    let mut ledger = ledger();
    let reading = ledger.begin_read(2);
    let first = ledger.begin_write(2).unwrap();
    ledger.end_write(first, Ending::Acknowledged).unwrap();
    assert_eq!(ledger.end_read(reading, Held::Nothing), Ok(()));
}

#[test]
fn what_was_found_once_is_not_gone_for_a_later_read() {
    let mut ledger = written(1);
    let beside = ledger.begin_read(2);
    let _second = ledger.begin_write(2).unwrap();
    assert_eq!(read(&mut ledger, Held::Serial(2)), Ok(()));
    assert_eq!(read(&mut ledger, Held::Serial(1)), Err(What::WentBack));
    assert_eq!(ledger.end_read(beside, Held::Serial(1)), Ok(()), "it began before that");
}

#[test]
fn a_write_that_was_not_done_is_never_found() {
    let mut ledger = written(1);
    let second = ledger.begin_write(2).unwrap();
    ledger.end_write(second, Ending::NotDone).unwrap();
    assert_eq!(read(&mut ledger, Held::Serial(2)), Err(What::Denied));
    let third = ledger.begin_write(2).unwrap();
    assert_eq!(third.serial, 3);
    assert_eq!(read(&mut ledger, Held::Serial(2)), Err(What::Denied));
    assert_eq!(read(&mut ledger, Held::Serial(1)), Ok(()));
    assert_eq!(read(&mut ledger, Held::Serial(3)), Ok(()));
}

#[test]
fn a_write_that_was_found_can_not_be_said_not_to_be_done() {
    let mut ledger = written(1);
    let second = ledger.begin_write(2).unwrap();
    assert_eq!(read(&mut ledger, Held::Serial(2)), Ok(()));
    let denied = ledger.end_write(second, Ending::NotDone).unwrap_err();
    assert_eq!((denied.key, denied.what), (2, What::Denied));
    assert_eq!(read(&mut ledger, Held::Serial(2)), Ok(()), "it is told once");
}

#[test]
fn a_key_of_an_unknown_write_is_retired_and_may_have_either_value() {
    let mut ledger = written(1);
    let second = ledger.begin_write(2).unwrap();
    ledger.end_write(second, Ending::Unknown).unwrap();
    assert_eq!((ledger.retired(), ledger.begin_write(2).unwrap().key), (1, 3));
    assert_eq!(read(&mut ledger, Held::Serial(1)), Ok(()));
    assert_eq!(read(&mut ledger, Held::Serial(2)), Ok(()));
    assert_eq!(read(&mut ledger, Held::Serial(1)), Err(What::WentBack));
}

#[test]
fn a_taken_key_is_passed_over_for_the_next_free_one_and_the_last_is_followed_by_the_first() {
    let mut ledger = ledger();
    let keys = [2, 2, 2, 2].map(|near| ledger.begin_write(near).unwrap().key);
    assert_eq!(keys, [2, 3, 0, 1]);
    assert_eq!(ledger.begin_write(0), None);
    ledger.end_write(Writing { key: 0, serial: 1 }, Ending::NotDone).unwrap();
    assert_eq!(ledger.begin_write(5), None, "there is no such key");
    assert_eq!(ledger.begin_write(3), Some(Writing { key: 0, serial: 2 }));
}

#[test]
fn no_write_begins_when_too_many_keys_are_retired() {
    let mut ledger = ledger();
    for _ in 0..3 {
        assert!(!ledger.is_spent());
        let writing = ledger.begin_write(0).unwrap();
        ledger.end_write(writing, Ending::Unknown).unwrap();
    }
    assert!(ledger.is_spent());
    assert_eq!(ledger.begin_write(3), None);
    assert_eq!(ledger.touched().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_violation_says_what_was_found_and_what_was_allowed() {
    let mut ledger = written(5);
    let reading = ledger.begin_read(2);
    let violation = ledger.end_read(reading, Held::Serial(3)).unwrap_err();
    assert_eq!(violation.to_string(), "went back: found write 3, allowed are writes 5 to 5");
}
