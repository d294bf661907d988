//! Commands and answers to bytes and back.

use proptest::prelude::*;

use super::*;
use crate::encoding::DecodeError;

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn place() -> impl Strategy<Value = Place> {
    (any::<u16>(), bytes(40)).prop_map(|(table, key)| Place { table: TableId(table), key })
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        (place(), prop::option::of(bytes(40)))
            .prop_map(|(place, value)| Condition::Value { place, value }),
        (place(), any::<u64>())
            .prop_map(|(place, revision)| Condition::Revision { place, revision }),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (place(), bytes(200), any::<Option<u64>>()).prop_map(|(place, value, lease)| Change::Put {
            place,
            value,
            lease
        }),
        place().prop_map(|place| Change::Delete { place }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (prop::collection::vec(condition(), 0..5), prop::collection::vec(change(), 0..5))
            .prop_map(|(conditions, changes)| Operation::Transact { conditions, changes }),
        (bytes(40), 1..=ALLOCATE_MAX)
            .prop_map(|(counter, count)| Operation::Allocate { counter, count }),
        Just(Operation::OpenSession),
        any::<u64>().prop_map(|session| Operation::CloseSession { session }),
        any::<u32>().prop_map(|ttl_ms| Operation::Grant { ttl_ms }),
        any::<u64>().prop_map(|lease| Operation::Revoke { lease }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let attempt = (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
        |(session, sequence, answered_below)| Attempt { session, sequence, answered_below },
    );
    (prop::option::of(attempt), operation())
        .prop_map(|(attempt, operation)| Command { attempt, operation })
}

fn answer() -> impl Strategy<Value = Answer> {
    let found = (any::<u64>(), bytes(100)).prop_map(|(revision, value)| Found { revision, value });
    prop_oneof![
        any::<u64>().prop_map(|revision| Answer::Done { revision }),
        (any::<u32>(), prop::option::of(found))
            .prop_map(|(condition, found)| Answer::Refused { condition, found }),
        any::<u64>().prop_map(|first| Answer::Allocated { first }),
        any::<u64>().prop_map(|session| Answer::Opened { session }),
        any::<u64>().prop_map(|lease| Answer::Granted { lease }),
        any::<u64>().prop_map(|lease| Answer::NoLease { lease }),
        Just(Answer::NoSession),
        Just(Answer::StaleSequence),
        Just(Answer::TooFarAhead),
        Just(Answer::TooManySessions),
        Just(Answer::Exhausted),
        Just(Answer::TooManyLeases),
        any::<u64>().prop_map(|revision| Answer::Partly { revision }),
    ]
}

proptest! {
    #[test]
    fn a_command_is_read_as_it_was_written(command in command()) {
        prop_assert_eq!(Command::decode(command.encode()), Ok(command));
    }

    #[test]
    fn an_answer_is_read_as_it_was_written(answer in answer()) {
        let mut out = Vec::new();
        answer.encode(&mut out);
        prop_assert_eq!(Answer::decode(out.into()), Ok(answer));
    }

    #[test]
    fn a_cut_command_is_no_command(command in command(), cut in any::<prop::sample::Index>()) {
        let whole = command.encode();
        let cut = whole.slice(..cut.index(whole.len()));
        prop_assert!(Command::decode(cut).is_err());
    }

    #[test]
    fn no_bytes_make_the_decoders_panic(bytes in bytes(300)) {
        drop(Command::decode(bytes.clone()));
        drop(Answer::decode(bytes));
    }
}

#[test]
fn the_encoding_of_the_first_format_stays_as_it_is() {
    let place = Place { table: TableId(0x0201), key: Bytes::from_static(b"k") };
    let command = Command {
        attempt: Some(Attempt { session: 1, sequence: 2, answered_below: 3 }),
        operation: Operation::Transact {
            conditions: vec![Condition::Value { place: place.clone(), value: None }],
            changes: vec![Change::Put { place, value: Bytes::from_static(b"v"), lease: Some(4) }],
        },
    };
    let golden = b"\x01\x01\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\
        \x01\x01\0\0\0\x02\x01\x02\x01\0\0\0k\
        \x01\0\0\0\x01\x01\x02\x01\0\0\0k\x01\0\0\0v\x01\x04\0\0\0\0\0\0\0";
    assert_eq!(command.encode(), &golden[..]);
}

#[test]
fn what_is_past_a_bound_is_refused() {
    let long = Bytes::from(vec![0; KEY_BYTES_MAX + 1]);
    let place = Place { table: TableId(1), key: long };
    let command = Command {
        attempt: None,
        operation: Operation::Transact {
            conditions: Vec::new(),
            changes: vec![Change::Delete { place }],
        },
    };
    assert!(matches!(Command::decode(command.encode()), Err(DecodeError::TooMany { .. })));
    let none = Command {
        attempt: None,
        operation: Operation::Allocate { counter: Bytes::new(), count: 0 },
    };
    assert!(Command::decode(none.encode()).is_err());
}

#[test]
fn a_count_that_the_bytes_cannot_hold_allocates_nothing() {
    let bytes = Bytes::from_static(b"\x01\0\x01\xff\0\0\0");
    assert_eq!(Command::decode(bytes), Err(DecodeError::Short));
}
