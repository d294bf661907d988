//! Who the replicas are changes while the database works.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{interval, timeout};
use vioduct_certs::identity::NodeName;
use vioduct_db::ShardId;
use vioduct_db::client::{Freshness, Members, MembersError, Status};
use vioduct_db::command::VALUE_BYTES_MAX;
use vioduct_db::log::LogEngine;
use vioduct_db::replica::client::ReplicaClient;
use vioduct_db::replica::reform::{MemberChange, Reform, ReformRefusal};
use vioduct_db::replica::replica_name;
use vioduct_runtime::ActorRef;

use crate::cluster::{Cluster, bytes, wide};

const SOON: Duration = Duration::from_secs(30);
const SHARD: ShardId = ShardId(0);

/// Three nodes with a database, a fourth without a replica, and so many rows.
async fn with_a_fourth(rows: usize) -> Cluster {
    let mut cluster = Cluster::empty(0);
    (cluster.flush_every, cluster.keep) = (100, 0);
    for _ in 0..4 {
        cluster.join().await;
    }
    cluster.found(3).await;
    let db = cluster.client(0);
    for number in 0..rows {
        db.put(wide(&format!("{number:04}")), bytes(&number.to_string())).await.unwrap();
    }
    let has_flushed = rows > 100;
    for member in cluster.nodes.iter().take(3).filter(|_| has_flushed) {
        let first = || member.log.bounds(SHARD).unwrap().map(|bounds| *bounds.start());
        let is_purged = || first().is_none_or(|first| first > 50);
        let mut looks = interval(Duration::from_millis(50));
        let purged = async {
            while !is_purged() {
                looks.tick().await;
            }
        };
        timeout(SOON, purged).await.unwrap();
    }
    cluster
}

#[tokio::test]
async fn a_new_replica_is_sent_the_rows_that_the_log_has_no_more() {
    let cluster = with_a_fourth(500).await;
    let (db, node) = (cluster.client(0), &cluster.nodes[0].node);
    let new = cluster.nodes[3].node.name().clone();
    Members::of(&db, node, SHARD, SOON).add(&new).await.unwrap();
    let statuses = db.status(SHARD).await.unwrap();
    let (_node, status) = statuses.iter().find(|(node, _)| *node == new.as_str()).unwrap();
    assert_eq!(status.members.iter().filter(|member| member.is_voter).count(), 4);
    // What the new replica itself has, without asking the others.
    Members::of(&db, node, SHARD, SOON).lead(&new).await.unwrap();
    for number in (0..500).step_by(50) {
        let found = db.get(wide(&format!("{number:04}")), Freshness::Linearizable).await.unwrap();
        assert_eq!(found.unwrap().value, bytes(&number.to_string()));
    }
}

#[tokio::test]
async fn a_replica_takes_no_place_that_was_given_up_meanwhile() {
    let cluster = with_a_fourth(150).await;
    let (db, node) = (cluster.client(0), &cluster.nodes[0].node);
    let third = cluster.nodes[2].node.name();
    let replica_on = |statuses: &[(String, Status)], name: &NodeName| {
        let mut found = statuses.iter().filter(|(node, _)| node == name.as_str());
        found.next().unwrap().1.replica
    };
    let old = replica_on(&db.status(SHARD).await.unwrap(), third);
    let members = Members::of(&db, node, SHARD, SOON);
    members.lead(node.name()).await.unwrap();
    members.remove(third).await.unwrap();
    let leader = node.lookup(node.name(), &replica_name(SHARD)).await.unwrap();
    let leader: ActorRef<ReplicaClient> = leader;
    let ask = async |change| leader.ask(Reform { change }, SOON).await.unwrap();
    let new = 7;
    let learner = MemberChange::AddLearner { replica: new, node: "d4".into() };
    assert_eq!(ask(learner).await, Ok(()));
    let late = ask(MemberChange::Voters { come: vec![new], go: vec![old] }).await;
    assert!(matches!(late, Err(ReformRefusal::Invalid { .. })), "{late:?}");
    let voters = db.status(SHARD).await.unwrap()[0].1.members.clone();
    assert_eq!(voters.iter().filter(|member| member.is_voter).count(), 2);
}

#[tokio::test]
async fn a_replica_is_replaced_while_its_node_is_gone() {
    let mut cluster = with_a_fourth(150).await;
    let gone = cluster.nodes.remove(2);
    let old = gone.node.name().clone();
    gone.node.shutdown(Duration::ZERO).await;
    let (db, node) = (cluster.client(0), &cluster.nodes[0].node);
    let new = cluster.nodes[2].node.name().clone();
    Members::of(&db, node, SHARD, SOON).replace(&old, &new).await.unwrap();
    let members = db.status(SHARD).await.unwrap()[0].1.members.clone();
    let mut names: Vec<_> = members.iter().map(|member| member.node.clone()).collect();
    names.sort_unstable();
    assert_eq!(names, ["d1", "d2", "d4"]);
    db.put(wide("after"), bytes("1")).await.unwrap();
}

#[tokio::test]
async fn a_removed_replica_counts_no_more_and_one_that_is_none_is_named() {
    let cluster = with_a_fourth(1).await;
    let (db, node) = (cluster.client(0), &cluster.nodes[0].node);
    let stranger = cluster.nodes[3].node.name().clone();
    let refused = Members::of(&db, node, SHARD, SOON).remove(&stranger).await;
    assert!(matches!(refused, Err(MembersError::NoReplica { .. })), "{refused:?}");
    let third = cluster.nodes[2].node.name().clone();
    Members::of(&db, node, SHARD, SOON).remove(&third).await.unwrap();
    db.put(wide("after"), bytes("1")).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_is_behind_by_more_than_a_message_holds_catches_up() {
    let mut cluster = Cluster::start(3, 0).await;
    let gone = cluster.last_goes().await;
    let db = cluster.client(0);
    let large = Bytes::from(vec![7; VALUE_BYTES_MAX]);
    let mut last = 0;
    for number in 0..48 {
        last = db.put(wide(&number.to_string()), large.clone()).await.unwrap();
    }
    cluster.comes_back(gone).await;
    let mut looks = interval(Duration::from_millis(50));
    let caught_up = async {
        loop {
            looks.tick().await;
            let statuses = db.status(SHARD).await.unwrap();
            let mut of_third = statuses.iter().filter(|(node, _)| node == "d3");
            if of_third.any(|(_, status)| status.applied >= last) {
                return;
            }
        }
    };
    timeout(SOON, caught_up).await.expect("it has all of them");
}

#[tokio::test]
async fn a_client_writes_again_after_thousands_of_its_commands_failed() {
    let mut cluster = Cluster::start(2, 0).await;
    let (eye, node) = (cluster.client(0), cluster.nodes[0].node.clone());
    let last = cluster.nodes[1].node.name().clone();
    Members::of(&eye, &node, SHARD, SOON).lead(&last).await.unwrap();
    let db = cluster.client_for(0, Duration::from_millis(300));
    db.put(wide("before"), bytes("1")).await.unwrap();
    let gone = cluster.last_goes().await;
    for turn in 0..9 {
        let puts = (0..512).map(|number| db.put(wide(&format!("{turn}.{number}")), bytes("2")));
        let ended = futures_util::future::join_all(puts).await;
        assert!(ended.iter().all(Result::is_err));
    }
    cluster.comes_back(gone).await;
    eye.put(wide("eye"), bytes("1")).await.unwrap();
    let after = async {
        let mut looks = interval(Duration::from_millis(50));
        while db.put(wide("after"), bytes("1")).await.is_err() {
            looks.tick().await;
        }
    };
    timeout(SOON, after).await.expect("it writes again");
}
