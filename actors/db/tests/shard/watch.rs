//! What those who watch are told, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use vioduct_db::ShardId;
use vioduct_db::client::{Db, DbError, Freshness, Watch, WatchEvent, WatchFrom};
use vioduct_db::command::{Change, Place, TableId};
use vioduct_db::machine::EventKind;
use vioduct_db::schema::Class;
use vioduct_db::watch::{Filter, TABLES_MAX};

use crate::cluster::{Cluster, SYSTEM, WIDE, bytes, system, wide};

const SHARD: ShardId = ShardId(0);

/// What comes next that is a change: its revision, and the keys with what happened to them.
async fn changes(watch: &mut Watch) -> (u64, Vec<(String, EventKind)>) {
    loop {
        match watch.next().await.unwrap() {
            WatchEvent::Changes { revision, changes } => {
                let key = |place: &Place| String::from_utf8(place.key.to_vec()).unwrap();
                let changes = changes.iter().map(|event| (key(&event.place), event.kind));
                return (revision, changes.collect());
            }
            WatchEvent::Progress { .. } => {}
            WatchEvent::Resync { revision } => panic!("told to resync at {revision}"),
        }
    }
}

fn put(place: Place) -> Change {
    Change::Put { place, value: bytes("v"), lease: None }
}

#[tokio::test]
async fn changes_come_in_order_a_revision_at_once_from_any_node() {
    let cluster = Cluster::start(3, 0).await;
    let (db, other) = (cluster.client(0), cluster.client(1));
    let mut watch = other.watch(SHARD, Filter::default(), WatchFrom::Now).await.unwrap();
    let first = db.put(wide("a"), bytes("1")).await.unwrap();
    let both = vec![put(wide("b")), Change::Delete { place: wide("a") }];
    db.transact(Vec::new(), both).await.unwrap();
    // Takes nothing away: nothing is told.
    db.delete(wide("none")).await.unwrap();
    let last = db.put(system("c"), bytes("1")).await.unwrap();
    let one = |key: &str, kind| vec![(key.to_owned(), kind)];
    assert_eq!(changes(&mut watch).await, (first, one("a", EventKind::Put)));
    let (_second, told) = changes(&mut watch).await;
    assert_eq!(told, [("b".to_owned(), EventKind::Put), ("a".to_owned(), EventKind::Delete)]);
    assert_eq!(changes(&mut watch).await, (last, one("c", EventKind::Put)));
    assert_eq!(watch.revision(), last);
    let progress = watch.next().await.unwrap();
    assert_eq!(progress, WatchEvent::Progress { revision: last });
}

#[tokio::test]
async fn only_what_is_asked_for_is_told_and_a_later_watch_goes_on_where_an_earlier_was() {
    let cluster = Cluster::start(3, 0).await;
    let db = cluster.client(2);
    let start = db.put(wide("first"), bytes("1")).await.unwrap();
    let table = Filter::of([TableId(WIDE)]);
    let class = Filter { class: Some(Class::Alert), ..Filter::default() };
    let prefix = Filter { prefix: bytes("ab"), ..Filter::default() };
    for place in [wide("a"), system("abc"), wide("ab"), system("b")] {
        db.put(place, bytes("1")).await.unwrap();
    }
    for (filter, keys) in [(table, ["a", "ab"]), (class, ["abc", "b"]), (prefix, ["abc", "ab"])] {
        let after = WatchFrom::After(start);
        let mut watch = db.watch(SHARD, filter.clone(), after).await.unwrap();
        assert_eq!(changes(&mut watch).await.1[0].0, keys[0]);
        let after = WatchFrom::After(watch.revision());
        let mut watch = db.watch(SHARD, filter, after).await.unwrap();
        assert_eq!(changes(&mut watch).await.1[0].0, keys[1]);
        assert!(matches!(watch.next().await.unwrap(), WatchEvent::Progress { .. }));
    }
    let none = Filter::of([TableId(WIDE), TableId(SYSTEM + 1)]);
    let refused = db.watch(SHARD, none, WatchFrom::Now).await.unwrap_err();
    assert_eq!(refused, DbError::NoTable { table: SYSTEM + 1 });
    let many = Filter::of(vec![TableId(WIDE); TABLES_MAX + 1]);
    let mut watch = db.watch(SHARD, many, WatchFrom::After(start)).await.unwrap();
    assert!(matches!(watch.next().await.unwrap_err(), DbError::Invalid { .. }));
}

/// Writes one row after the other until it is stopped; gives the revisions of what was
/// acknowledged.
async fn write(db: Db, stop: Arc<AtomicBool>) -> Vec<u64> {
    let mut revisions = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        revisions.extend(db.put(wide("k"), bytes(&number.to_string())).await.ok());
    }
    revisions
}

async fn leader(db: &Db) -> String {
    loop {
        let statuses = db.status(SHARD).await.unwrap();
        let leads = |(_node, status): &&(String, _)| leads(status);
        if let Some((node, _status)) = statuses.iter().find(leads) {
            return node.clone();
        }
    }
}

fn leads(status: &vioduct_db::client::Status) -> bool {
    status.leader == Some(status.replica)
}

#[tokio::test]
async fn nothing_is_left_out_or_told_twice_when_the_leader_is_lost_and_a_fetch_is_never_older() {
    let mut cluster = Cluster::start(3, 0).await;
    let leader = leader(&cluster.client(0)).await;
    let at = cluster.nodes.iter().position(|member| member.node.name().as_str() == leader);
    let gone = cluster.nodes.remove(at.unwrap());
    let (writer, reader) = (cluster.client(0), cluster.client(1));
    let mut watch = reader.watch(SHARD, Filter::default(), WatchFrom::Now).await.unwrap();
    let stop = Arc::<AtomicBool>::default();
    let writing = tokio::spawn(write(writer, Arc::clone(&stop)));
    let mut told = Vec::new();
    let mut gone = Some(gone);
    let mut after_loss = 0;
    while after_loss < 200 {
        let (revision, _changes) = changes(&mut watch).await;
        told.push(revision);
        if told.len() == 100 {
            gone.take().unwrap().node.shutdown(Duration::ZERO).await;
        }
        after_loss += usize::from(gone.is_none());
        if revision % 7 == 0 {
            let fresh = Freshness::AtLeast { revision };
            let found = reader.get(wide("k"), fresh).await.unwrap().unwrap();
            assert!(found.revision >= revision, "{} is older than {revision}", found.revision);
        }
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writing.await.unwrap();
    while watch.revision() < *acknowledged.last().unwrap() {
        told.push(changes(&mut watch).await.0);
    }
    assert!(told.is_sorted_by(|one, next| one < next), "out of order: {told:?}");
    let missing: Vec<_> =
        acknowledged.iter().filter(|revision| told.binary_search(revision).is_err()).collect();
    assert_eq!(missing, Vec::<&u64>::new());
}

#[tokio::test]
async fn one_who_is_slow_is_told_all_from_the_record_and_past_its_end_to_resync() {
    let cluster = Cluster::start(1, 0).await;
    let db = cluster.client(0);
    let begin = || db.watch(SHARD, Filter::default(), WatchFrom::Now);
    let mut slow = begin().await.unwrap();
    let fill = |count: u64| {
        let puts = (0..count).map(|_| db.put(wide("k"), bytes("")));
        futures_util::stream::iter(puts).buffer_unordered(256).map(Result::unwrap)
    };
    // More than is kept in memory.
    let mut revisions: Vec<u64> = fill(6000).collect().await;
    revisions.sort_unstable();
    for revision in &revisions {
        assert_eq!(changes(&mut slow).await.0, *revision);
    }
    let mut slow = begin().await.unwrap();
    let last = fill(vioduct_db::machine::EVENTS_KEPT + 1)
        .fold(0, |last, revision| async move { last.max(revision) });
    let last = last.await;
    let resync = slow.next().await.unwrap();
    assert_eq!(resync, WatchEvent::Resync { revision: last });
    let next = db.put(wide("k"), bytes("")).await.unwrap();
    assert_eq!(changes(&mut slow).await.0, next);
}

#[tokio::test]
async fn a_leader_that_is_cut_off_never_says_how_far_the_shard_is() {
    let mut cluster = Cluster::start(3, 0).await;
    let leader = leader(&cluster.client(0)).await;
    let is_leader = |member: &crate::cluster::Member| member.node.name().as_str() == leader;
    let others = cluster.nodes.extract_if(.., |member| !is_leader(member)).collect::<Vec<_>>();
    let db = cluster.client_for(0, Duration::from_secs(2));
    let mut watch = db.watch(SHARD, Filter::default(), WatchFrom::Now).await.unwrap();
    assert!(matches!(watch.next().await, Ok(WatchEvent::Progress { .. })));
    for other in others {
        other.node.shutdown(Duration::ZERO).await;
    }
    // One round may have been on its way.
    let silent = loop {
        match watch.next().await {
            Ok(WatchEvent::Progress { .. }) => {}
            other => break other,
        }
    };
    assert!(matches!(silent, Err(DbError::Unavailable { .. })), "{silent:?}");
    assert!(matches!(watch.next().await, Err(DbError::Unavailable { .. })));
}

#[tokio::test]
async fn more_than_may_wait_are_refused_and_those_who_wait_are_told_all_the_same() {
    let cluster = Cluster::start(1, 0).await;
    let db = cluster.client(0);
    let start = db.put(wide("a"), bytes("1")).await.unwrap();
    let begin = || db.watch(SHARD, Filter::default(), WatchFrom::After(start));
    let mut watches = Vec::new();
    for _ in 0..8300 {
        watches.push(begin().await.unwrap());
    }
    let first_error = async |mut watch: Watch| loop {
        if let Err(error) = watch.next().await {
            return error;
        }
    };
    let mut waiting: FuturesUnordered<_> = watches.into_iter().map(first_error).collect();
    assert_eq!(waiting.next().await, Some(DbError::TooManyWatches));
    drop(waiting);
    let mut watch = begin().await.unwrap();
    let next = db.put(wide("a"), bytes("2")).await.unwrap();
    assert_eq!(changes(&mut watch).await.0, next);
}
