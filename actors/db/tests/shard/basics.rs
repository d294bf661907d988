//! What a client can do.

use bytes::Bytes;
use vioduct_db::ShardId;
use vioduct_db::client::{DbError, Freshness, Outcome};
use vioduct_db::command::{
    Change, Condition, Found, KEY_BYTES_MAX, Place, TableId, VALUE_BYTES_MAX,
};
use vioduct_db::query::{Range, Rows};

use crate::cluster::{Cluster, bytes, system, wide};

#[tokio::test]
async fn what_is_written_by_one_node_is_read_by_all() {
    let cluster = Cluster::start(3, 2).await;
    let revision = cluster.client(0).put(wide("a"), bytes("one")).await.unwrap();
    for node in 0..3 {
        let found = cluster.client(node).get(wide("a"), Freshness::Linearizable).await.unwrap();
        let found = found.unwrap();
        assert_eq!((found.value, found.revision), (bytes("one"), revision));
    }
    cluster.client(1).delete(wide("a")).await.unwrap();
    let gone = cluster.client(2).get(wide("a"), Freshness::Linearizable).await.unwrap();
    assert_eq!(gone, None);
}

#[tokio::test]
async fn a_row_is_set_only_if_it_is_as_expected() {
    let cluster = Cluster::start(3, 0).await;
    let db = cluster.client(0);
    let made = db.compare_and_set(system("k"), None, bytes("1")).await.unwrap();
    let Outcome::Done { revision } = made else { panic!("{made:?}") };
    let again = db.compare_and_set(system("k"), None, bytes("2")).await.unwrap();
    let found = Some(Found { revision, value: bytes("1") });
    assert_eq!(again, Outcome::Refused { condition: 0, found });
    let next = db.compare_and_set(system("k"), Some(bytes("1")), bytes("3")).await.unwrap();
    assert!(matches!(next, Outcome::Done { .. }));
}

#[tokio::test]
async fn a_transaction_is_done_wholly_or_not_at_all() {
    let cluster = Cluster::start(3, 0).await;
    let db = cluster.client(0);
    let put = |key: &str, value: &str| Change::Put {
        place: system(key),
        value: bytes(value),
        lease: None,
    };
    db.transact(Vec::new(), vec![put("a", "1"), put("b", "1")]).await.unwrap();
    let wrong = Condition::Value { place: system("b"), value: Some(bytes("2")) };
    let refused = db.transact(vec![wrong], vec![put("a", "2"), put("c", "2")]).await.unwrap();
    assert!(matches!(refused, Outcome::Refused { condition: 0, .. }));
    let all = vec![Range::all(system("").table)];
    let rows = db.scan(ShardId(0), all, 10, Freshness::Linearizable).await;
    let rows: Vec<_> =
        rows.unwrap().rows.into_iter().map(|row| (row.place.key, row.value)).collect();
    assert_eq!(rows, [(bytes("a"), bytes("1")), (bytes("b"), bytes("1"))]);
}

#[tokio::test]
async fn rows_that_an_answer_has_no_room_for_are_read_from_where_it_was_cut() {
    let cluster = Cluster::start(1, 0).await;
    let db = cluster.client(0);
    let value = Bytes::from(vec![7; VALUE_BYTES_MAX - 1024]);
    for at in 0..10 {
        db.put(system(&format!("k{at}")), value.clone()).await.unwrap();
    }
    let mut range = Range::all(system("").table);
    let (mut keys, mut answers) = (Vec::new(), 0);
    loop {
        let found = db.scan(ShardId(0), vec![range.clone()], 100, Freshness::Linearizable).await;
        let found = found.unwrap();
        answers += 1;
        keys.extend(found.rows.into_iter().map(|row| row.place.key));
        if !found.is_cut {
            break;
        }
        range.from = [keys.last().unwrap().as_ref(), b"\0"].concat().into();
    }
    assert_eq!(keys, (0..10).map(|at| bytes(&format!("k{at}"))).collect::<Vec<_>>());
    assert_eq!(answers, 2);
}

#[tokio::test]
async fn several_tables_are_read_at_once_and_rows_know_theirs() {
    let cluster = Cluster::start(1, 0).await;
    let db = cluster.client(0);
    let (one, two) = (wide("").table, system("").table);
    let place = |table, key: &str| Place { table, key: bytes(key) };
    for (table, key) in [(one, "a"), (one, "b"), (two, "a"), (two, "b")] {
        db.put(place(table, key), bytes(&format!("{}{key}", table.0))).await.unwrap();
    }
    let keys = |rows: Rows| -> Vec<_> {
        rows.rows.into_iter().map(|row| (row.place, row.value)).collect()
    };
    let row = |table: TableId, key: &str| (place(table, key), bytes(&format!("{}{key}", table.0)));
    let places = vec![place(two, "b"), place(one, "b"), place(two, "c")];
    let found = db.get_many(places, Freshness::Linearizable).await.unwrap();
    assert_eq!(keys(found), [row(two, "b"), row(one, "b")]);
    let ranges = || vec![Range::all(two), Range { from: bytes("b"), ..Range::all(one) }];
    let found = db.scan(ShardId(0), ranges(), 100, Freshness::Linearizable).await.unwrap();
    assert!(!found.is_cut);
    assert_eq!(keys(found), [row(two, "a"), row(two, "b"), row(one, "b")]);
    let found = db.scan(ShardId(0), ranges(), 2, Freshness::Linearizable).await.unwrap();
    assert!(found.is_cut);
    assert_eq!(keys(found), [row(two, "a"), row(two, "b")]);
}

#[tokio::test]
async fn numbers_are_given_once() {
    let cluster = Cluster::start(3, 0).await;
    let mut given = std::collections::BTreeSet::new();
    for turn in 0..30 {
        let db = cluster.client(turn % 3);
        let first = db.allocate(bytes("adapters"), 3).await.unwrap();
        for number in first..first + 3 {
            assert!(given.insert(number), "{number} was given twice");
        }
    }
}

#[tokio::test]
async fn wrong_commands_have_errors_of_their_own_and_change_nothing() {
    let cluster = Cluster::start(1, 2).await;
    let db = cluster.client(0);
    let mut other = wide("a");
    other.table.0 = 77;
    assert_eq!(db.put(other, bytes("")).await, Err(DbError::NoTable { table: 77 }));
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    let refused = db.put(wide(&long), bytes("")).await;
    assert_eq!(refused, Err(DbError::KeyTooLong { bytes: KEY_BYTES_MAX + 1 }));
    let put = |key| Change::Put { place: wide(key), value: bytes("1"), lease: None };
    let keys = ["a", "b", "c", "d", "e", "f"].map(put);
    assert_eq!(db.transact(Vec::new(), keys.to_vec()).await, Err(DbError::AcrossShards));
    assert_eq!(db.transact(Vec::new(), Vec::new()).await, Err(DbError::Empty));
}
