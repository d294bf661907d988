//! What was acknowledged outlives the power of all nodes.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{interval, timeout};
use vioduct_db::ShardId;
use vioduct_db::client::Freshness;
use vioduct_db::log::LogEngine;

use crate::cluster::{Cluster, bytes, wide};

#[tokio::test]
async fn what_was_acknowledged_is_there_after_all_nodes_lost_their_power_again_and_again() {
    let mut cluster = Cluster::empty(0);
    // So that some of it is in the rows, and the rest in the log alone.
    (cluster.flush_every, cluster.keep) = (100, 10);
    for _ in 0..3 {
        cluster.join().await;
    }
    cluster.found(3).await;
    for round in 0..4 {
        let db = cluster.client(round % 3);
        for number in 0..130 {
            let key = format!("{round}.{number}");
            db.put(wide(&key), bytes(&key)).await.unwrap();
        }
        let given = db.allocate(bytes("numbers"), 10).await.unwrap();
        assert_eq!(given, 1 + 10 * round as u64);
        cluster.power_cut().await;
    }
    let db = cluster.client(0);
    for round in 0..4 {
        for number in 0..130 {
            let key = format!("{round}.{number}");
            let found = db.get(wide(&key), Freshness::Linearizable).await.unwrap();
            assert_eq!(found.map(|row| row.value), Some(bytes(&key)), "{key}");
        }
    }
}

#[tokio::test]
async fn a_log_of_few_large_entries_is_purged_by_its_bytes_and_nothing_is_lost() {
    const LARGE: usize = 256 << 10;
    let mut cluster = Cluster::empty(0);
    cluster.log_bytes = 1 << 20;
    for _ in 0..3 {
        cluster.join().await;
    }
    cluster.found(3).await;
    let value = |number: usize| Bytes::from(vec![u8::try_from(number).unwrap(); LARGE]);
    let key = |number: usize| wide(&number.to_string());
    let db = cluster.client(0);
    for number in 0..20 {
        db.put(key(number), value(number)).await.unwrap();
    }
    for member in &cluster.nodes {
        let entries = || member.log.bounds(ShardId(0)).unwrap().unwrap().count();
        let purged = async {
            let mut looks = interval(Duration::from_millis(50));
            while entries() * LARGE > 1 << 20 {
                looks.tick().await;
            }
        };
        let purged = timeout(Duration::from_secs(30), purged).await;
        assert!(purged.is_ok(), "{} entries are left", entries());
    }
    cluster.power_cut().await;
    let db = cluster.client(0);
    for number in 0..20 {
        let found = db.get(key(number), Freshness::Linearizable).await.unwrap();
        assert_eq!(found.map(|row| row.value), Some(value(number)));
    }
}

/// The index up to which entries are committed is written with the next ones: a leader that starts
/// again and goes on as such, without a vote, answers reads with less than it acknowledged before.
#[tokio::test]
async fn a_leader_that_lost_its_power_leads_again_only_by_a_new_vote() {
    let mut cluster = Cluster::start(3, 0).await;
    let term = async |cluster: &Cluster| {
        let db = cluster.client(0);
        db.put(wide("key"), bytes("value")).await.unwrap();
        let statuses = db.status(ShardId(0)).await.unwrap();
        statuses.into_iter().map(|(_node, status)| status.term).max().unwrap()
    };
    for _ in 0..2 {
        let before = term(&cluster).await;
        cluster.power_cut().await;
        assert!(term(&cluster).await > before);
    }
}
