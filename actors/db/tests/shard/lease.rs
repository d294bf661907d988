//! Leases: what goes with them, and when.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use vioduct_db::ShardId;
use vioduct_db::client::{DbError, Freshness, Lease, Watch, WatchEvent, WatchFrom};
use vioduct_db::command::Change;
use vioduct_db::machine::{Event, EventKind};
use vioduct_db::query::Range;
use vioduct_db::watch::Filter;

use crate::cluster::{Cluster, bytes, system, wide};

const SHARD: ShardId = ShardId(0);

/// The next row of which it is told that it went with its lease, and when.
async fn next_expired(watch: &mut Watch) -> Vec<String> {
    loop {
        if let WatchEvent::Changes { changes, .. } = watch.next().await.unwrap() {
            let is_expired = |event: &&Event| event.kind == EventKind::Expired;
            let key = |event: &Event| String::from_utf8(event.place.key.to_vec()).unwrap();
            let keys: Vec<String> = changes.iter().filter(is_expired).map(key).collect();
            if !keys.is_empty() {
                return keys;
            }
        }
    }
}

/// Keeps it alive until it has ended.
async fn hold(lease: Lease) -> DbError {
    let mut often = interval(Duration::from_millis(50));
    often.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        often.tick().await;
        if let Err(error) = lease.keep_alive().await {
            return error;
        }
    }
}

#[tokio::test]
async fn the_rows_of_a_lease_go_when_it_is_not_kept_alive_and_stay_while_it_is() {
    let cluster = Cluster::start(3, 0).await;
    let (db, other) = (cluster.client(0), cluster.client(1));
    let mut watch = other.watch(SHARD, Filter::default(), WatchFrom::Now).await.unwrap();
    let ttl = Duration::from_secs(3);
    let (held, left) = (db.grant(SHARD, ttl).await.unwrap(), db.grant(SHARD, ttl).await.unwrap());
    db.put_leased(wide("held"), bytes("1"), &held).await.unwrap();
    db.put_leased(wide("left"), bytes("1"), &left).await.unwrap();
    db.put(wide("other"), bytes("1")).await.unwrap();
    let holding = tokio::spawn(hold(held.clone()));
    assert_eq!(next_expired(&mut watch).await, ["left"]);
    let is_there = async |key| {
        let found = other.get(wide(key), Freshness::Linearizable).await.unwrap();
        found.is_some()
    };
    assert!(is_there("held").await && is_there("other").await && !is_there("left").await);
    let gone = DbError::NoLease { lease: left.number() };
    assert_eq!(left.keep_alive().await, Err(gone.clone()));
    assert_eq!(db.put_leased(wide("late"), bytes("1"), &left).await, Err(gone.clone()));
    assert_eq!(left.revoke().await, Err(gone));
    held.revoke().await.unwrap();
    assert_eq!(next_expired(&mut watch).await, ["held"]);
    assert_eq!(holding.await.unwrap(), DbError::NoLease { lease: held.number() });
}

#[tokio::test]
async fn the_next_leader_ends_no_lease_early_and_ends_it_then() {
    let mut cluster = Cluster::start(3, 0).await;
    let db = cluster.client(0);
    let mut watch = db.watch(SHARD, Filter::default(), WatchFrom::Now).await.unwrap();
    let (long, short) = (Duration::from_secs(4), Duration::from_secs(3));
    let kept = db.grant(SHARD, long).await.unwrap();
    db.put_leased(wide("kept"), bytes("1"), &kept).await.unwrap();
    let sign = db.grant(SHARD, short).await.unwrap();
    db.put_leased(wide("sign"), bytes("1"), &sign).await.unwrap();
    // Three of its four seconds are over.
    assert_eq!(next_expired(&mut watch).await, ["sign"]);
    let statuses = db.status(SHARD).await.unwrap();
    let leads = statuses.iter().find(|(_node, status)| status.leader == Some(status.replica));
    let leader = leads.unwrap().0.clone();
    let is_leader = |member: &crate::cluster::Member| member.node.name().as_str() == leader;
    let at = cluster.nodes.iter().position(is_leader).unwrap();
    let gone = cluster.nodes.remove(at);
    let db = cluster.client(0);
    let mut watch = db.watch(SHARD, Filter::default(), WatchFrom::Now).await.unwrap();
    let lost = Instant::now();
    gone.node.shutdown(Duration::ZERO).await;
    assert_eq!(next_expired(&mut watch).await, ["kept"]);
    let lasted = lost.elapsed();
    assert!(lasted >= long, "it ended {lasted:?} after the leader was lost");
}

#[tokio::test]
async fn a_lease_with_very_many_rows_goes_on_ending_until_they_are_gone() {
    let cluster = Cluster::start(3, 0).await;
    let db = cluster.client(0);
    let mut watch = db.watch(SHARD, Filter::default(), WatchFrom::Now).await.unwrap();
    let fill = async |lease: &Lease| {
        for part in 0..10 {
            let put = |number| Change::Put {
                place: wide(&format!("{part}.{number}")),
                value: bytes("1"),
                lease: Some(lease.number()),
            };
            db.transact(Vec::new(), (0..256).map(put).collect()).await.unwrap();
        }
    };
    let revoked = db.grant(SHARD, Duration::from_secs(600)).await.unwrap();
    fill(&revoked).await;
    revoked.revoke().await.unwrap();
    let all = vec![Range::all(wide("").table)];
    let left = db.scan(SHARD, all, 9, Freshness::Linearizable).await;
    assert_eq!(left.unwrap().rows, []);
    let passed = db.grant(SHARD, Duration::from_secs(2)).await.unwrap();
    let holding = tokio::spawn(hold(passed.clone()));
    fill(&passed).await;
    holding.abort();
    let mut told = 0;
    while told < 2 * 2560 {
        told += next_expired(&mut watch).await.len();
    }
    assert_eq!(passed.keep_alive().await, Err(DbError::NoLease { lease: passed.number() }));
}

#[tokio::test]
async fn a_leader_that_is_cut_off_keeps_no_lease_alive() {
    let mut cluster = Cluster::start(3, 0).await;
    let db = cluster.client(0);
    let lease = db.grant(SHARD, Duration::from_secs(600)).await.unwrap();
    lease.keep_alive().await.unwrap();
    let statuses = db.status(SHARD).await.unwrap();
    let leads = statuses.iter().find(|(_node, status)| status.leader == Some(status.replica));
    let leader = leads.unwrap().0.clone();
    let is_leader = |member: &crate::cluster::Member| member.node.name().as_str() == leader;
    let others = cluster.nodes.extract_if(.., |member| !is_leader(member)).collect::<Vec<_>>();
    let db = cluster.client_for(0, Duration::from_secs(2));
    let lease = db.lease(SHARD, lease.number()).unwrap();
    lease.keep_alive().await.unwrap();
    for other in others {
        other.node.shutdown(Duration::ZERO).await;
    }
    let refused = lease.keep_alive().await.unwrap_err();
    assert!(
        matches!(refused, DbError::Unavailable { .. } | DbError::Unknown { .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn leases_that_are_wrong_have_errors_of_their_own() {
    let cluster = Cluster::start(1, 1).await;
    let db = cluster.client(0);
    let short = db.grant(SHARD, Duration::from_millis(99)).await.unwrap_err();
    assert!(matches!(short, DbError::Invalid { .. }), "{short:?}");
    let none = db.lease(SHARD, 77).unwrap();
    assert_eq!(none.keep_alive().await, Err(DbError::NoLease { lease: 77 }));
    let none = db.put_leased(system("k"), bytes("1"), &none).await;
    assert_eq!(none, Err(DbError::NoLease { lease: 77 }));
    let lease = db.grant(SHARD, Duration::from_secs(600)).await.unwrap();
    let elsewhere = db.put_leased(wide("k"), bytes("1"), &lease).await;
    assert_eq!(elsewhere, Err(DbError::AcrossShards));
}
