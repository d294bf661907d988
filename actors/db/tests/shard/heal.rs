//! A replica that is lost, damaged or failed comes back; a node that can't write ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{interval, timeout};
use vioduct_db::ShardId;
use vioduct_db::client::{Db, Freshness, Status};
use vioduct_db::role::DbEnd;
use vioduct_db::state::{ShardState, StateEngine};

use crate::cluster::{Cluster, Member, bytes, wide};

const SHARD: ShardId = ShardId(0);
const SOON: Duration = Duration::from_secs(60);
const ROWS: usize = 300;

async fn with_rows() -> (Cluster, Db) {
    let mut cluster = Cluster::empty(0);
    (cluster.flush_every, cluster.keep) = (100, 0);
    for _ in 0..3 {
        cluster.join().await;
    }
    cluster.found(3).await;
    let db = cluster.client(0);
    for number in 0..ROWS {
        db.put(wide(&number.to_string()), bytes(&number.to_string())).await.unwrap();
    }
    (cluster, db)
}

async fn all_rows_are_right(db: &Db) {
    for number in 0..ROWS {
        let key = number.to_string();
        let found = db.get(wide(&key), Freshness::Linearizable).await.unwrap();
        assert_eq!(found.map(|row| row.value), Some(bytes(&key)), "{key}");
    }
}

/// Waits until the replicas are as asked.
async fn until(db: &Db, is_so: impl Fn(&[(String, Status)]) -> bool) {
    let looking = async {
        let mut looks = interval(Duration::from_millis(50));
        loop {
            looks.tick().await;
            if is_so(&db.status(SHARD).await.unwrap()) {
                return;
            }
        }
    };
    timeout(SOON, looking).await.expect("it comes to that");
}

fn of<'a>(statuses: &'a [(String, Status)], name: &str) -> Option<&'a Status> {
    statuses.iter().find(|(node, _)| node == name).map(|(_, status)| status)
}

async fn replica_of(db: &Db, name: &str) -> u64 {
    of(&db.status(SHARD).await.unwrap(), name).unwrap().replica
}

async fn has_another_replica(db: &Db, name: &str, old: u64) {
    until(db, |statuses| {
        let new = of(statuses, name).map_or(old, |status| status.replica);
        let votes = |status: &Status| {
            let mut of_node = status.members.iter().filter(|member| member.node == name);
            of_node.all(|member| member.replica == new && member.is_voter)
        };
        new != old && statuses.len() == 3 && statuses.iter().all(|(_, status)| votes(status))
    })
    .await;
}

/// What a node stops for is no loss of what it has: as long as it takes to look after lost ones,
/// nothing is made anew.
async fn keeps_its_rows(member: &Member) {
    let rows = member.state.open(SHARD).unwrap();
    let mut looks = interval(Duration::from_millis(500));
    for _ in 0..6 {
        looks.tick().await;
        assert_eq!(rows.scan(&[0], &[9], ROWS, usize::MAX).unwrap().len(), ROWS);
    }
}

#[tokio::test]
async fn a_node_that_lost_its_disk_has_a_replica_again_by_itself_and_then_carries_its_part() {
    let (mut cluster, db) = with_rows().await;
    let old = replica_of(&db, "d3").await;
    cluster.last_loses_its_disk().await;
    has_another_replica(&db, "d3", old).await;
    let gone = cluster.nodes.remove(1);
    gone.node.shutdown(Duration::ZERO).await;
    all_rows_are_right(&db).await;
    db.put(wide("after"), bytes("1")).await.unwrap();
}

#[tokio::test]
async fn two_lost_disks_of_three_are_not_made_up_for() {
    let mut cluster = Cluster::start(3, 0).await;
    let gone = cluster.nodes.remove(1);
    gone.node.shutdown(Duration::ZERO).await;
    cluster.last_loses_its_disk().await;
    let eye = cluster.client(0);
    // As long as it takes to heal when a leader is there.
    let mut looks = interval(Duration::from_secs(1));
    for _ in 0..6 {
        looks.tick().await;
        assert_eq!(eye.status(SHARD).await.unwrap().len(), 1, "a replica was made");
    }
}

#[tokio::test]
async fn a_replica_whose_rows_are_damaged_serves_none_of_them_and_is_made_anew() {
    let (cluster, db) = with_rows().await;
    for member in &cluster.nodes {
        let name = member.node.name().as_str();
        let old = replica_of(&db, name).await;
        member.faults.rows.store(true, Ordering::SeqCst);
        // Its next command reads rows, and finds it out.
        db.put(wide("next"), bytes(name)).await.unwrap();
        all_rows_are_right(&db).await;
        has_another_replica(&db, name, old).await;
    }
    all_rows_are_right(&db).await;
}

#[tokio::test]
async fn a_replica_whose_consensus_panics_is_started_again_with_what_was_in_its_log() {
    let (cluster, db) = with_rows().await;
    for (turn, member) in cluster.nodes.iter().enumerate() {
        let name = member.node.name().as_str();
        let old = replica_of(&db, name).await;
        member.faults.panic.store(true, Ordering::SeqCst);
        let last = format!("last{turn}");
        let revision = db.put(wide(&last), bytes("1")).await.unwrap();
        until(&db, |statuses| of(statuses, name).is_some_and(|status| status.applied >= revision))
            .await;
        assert!(!member.faults.panic.load(Ordering::SeqCst), "nothing was wrong");
        assert_eq!(replica_of(&db, name).await, old);
    }
    all_rows_are_right(&db).await;
}

#[tokio::test]
async fn a_node_whose_log_can_not_be_written_ends_and_the_others_go_on() {
    let (cluster, db) = with_rows().await;
    let member = &cluster.nodes[2];
    member.faults.record_writes.store(true, Ordering::SeqCst);
    db.put(wide("next"), bytes("1")).await.unwrap();
    let end = timeout(SOON, member.role.ended()).await.unwrap();
    assert!(matches!(end, DbEnd::Log { .. }), "{end:?}");
    keeps_its_rows(member).await;
    all_rows_are_right(&db).await;
}

#[tokio::test]
async fn a_node_whose_rows_can_not_be_written_ends_and_the_others_go_on() {
    let (cluster, db) = with_rows().await;
    let member = &cluster.nodes[2];
    member.faults.row_writes.store(true, Ordering::SeqCst);
    db.put(wide("next"), bytes("1")).await.unwrap();
    let end = timeout(SOON, member.role.ended()).await.unwrap();
    assert!(matches!(end, DbEnd::Rows { .. }), "{end:?}");
    all_rows_are_right(&db).await;
}

#[tokio::test]
async fn a_node_whose_log_is_damaged_ends_and_does_not_go_on_with_what_is_left_of_it() {
    let (cluster, db) = with_rows().await;
    let member = &cluster.nodes[2];
    member.faults.records.store(true, Ordering::SeqCst);
    // A new life reads the log.
    member.faults.panic.store(true, Ordering::SeqCst);
    db.put(wide("next"), bytes("1")).await.unwrap();
    let end = timeout(SOON, member.role.ended()).await.unwrap();
    assert!(matches!(end, DbEnd::LogDamaged { .. }), "{end:?}");
    keeps_its_rows(member).await;
    all_rows_are_right(&db).await;
}
