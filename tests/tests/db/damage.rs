//! What is damaged on a node's disk is found, never served, and made anew from the others.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{interval, timeout};
use vioduct_db::ShardId;
use vioduct_db::client::{DbConfig, Freshness, Status};
use vioduct_tests::built;
use vioduct_tests::db::{DbClient, DbCluster, key};

const ROWS: usize = 400;
const SOON: Duration = Duration::from_secs(60);

fn name(number: usize) -> String {
    format!("{number:05}")
}

/// Long enough that the rows are in many blocks.
fn value(number: usize) -> Bytes {
    name(number).repeat(120).into()
}

async fn with_rows() -> (DbCluster, DbClient) {
    let vioduct = built::vioduct().expect("vioduct is built");
    let cluster = DbCluster::start(vioduct, 3).await.expect("the database begins");
    let patient = DbConfig { deadline: Duration::from_secs(20), ..DbConfig::default() };
    let client = cluster.client(patient).await.unwrap();
    for number in 0..ROWS {
        client.db.put(key(&name(number)), value(number)).await.unwrap();
    }
    (cluster, client)
}

async fn all_rows_are_right(client: &DbClient) {
    for number in 0..ROWS {
        let found = client.db.get(key(&name(number)), Freshness::Linearizable).await.unwrap();
        assert!(found.is_some_and(|row| row.value == value(number)), "row {number}");
    }
}

async fn statuses(client: &DbClient) -> Vec<(String, Status)> {
    client.db.status(ShardId(0)).await.unwrap()
}

async fn replica_of(client: &DbClient, node: &str) -> Option<u64> {
    let statuses = statuses(client).await;
    statuses.iter().find(|(name, _)| name == node).map(|(_, status)| status.replica)
}

/// Waits until the node has a replica that is not `old`, votes, and is as far as all others.
async fn is_healed(cluster: &mut DbCluster, client: &DbClient, node: &str, old: Option<u64>) {
    let looking = async {
        let mut looks = interval(Duration::from_millis(100));
        loop {
            looks.tick().await;
            let statuses = statuses(client).await;
            let mut of_node = statuses.iter().filter(|(name, _)| name == node);
            let Some((_, new)) = of_node.next() else { continue };
            let is_one_of_three = |status: &Status| {
                let votes = status.members.iter().filter(|member| member.is_voter);
                let voters: Vec<u64> = votes.map(|member| member.replica).collect();
                voters.len() == 3 && status.members.len() == 3 && voters.contains(&new.replica)
            };
            let is_even = statuses.iter().all(|(_, status)| status.applied == new.applied);
            if Some(new.replica) != old
                && statuses.len() == 3
                && is_even
                && statuses.iter().all(|(_, status)| is_one_of_three(status))
            {
                return;
            }
        }
    };
    if timeout(SOON, looking).await.is_err() {
        cluster.cluster.keep_files();
        panic!("{node} is not healed: {:?}", statuses(client).await);
    }
}

/// All rows are there and right though another node is gone: so the healed one has them.
async fn carries_its_part(cluster: &mut DbCluster, client: &DbClient) {
    cluster.cluster.kill("d1").await.unwrap();
    all_rows_are_right(client).await;
    client.db.put(key("after"), Bytes::from_static(b"v")).await.expect("two of three are enough");
}

/// The largest file of a node's database with that ending.
fn largest(cluster: &DbCluster, node: &str, part: &str, ending: &str) -> PathBuf {
    let dir = cluster.cluster.dir().join(node).join("db").join(part);
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|found| found == ending));
    files.max_by_key(|path| fs::metadata(path).unwrap().len()).expect("there is one")
}

fn flip_in_the_middle(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    assert!(middle > 50_000, "{} holds too little: {middle}", path.display());
    *bytes.get_mut(middle).unwrap() ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn says(cluster: &DbCluster, node: &str, text: &str) -> bool {
    fs::read_to_string(cluster.cluster.log(node)).unwrap().contains(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_in_a_table_of_rows_is_never_served_and_is_healed() {
    let (mut cluster, client) = with_rows().await;
    let old = replica_of(&client, "d3").await;
    cluster.cluster.signal("d3", "TERM").await.unwrap();
    assert!(cluster.cluster.ended("d3").await.unwrap().success());
    flip_in_the_middle(&largest(&cluster, "d3", "state", "sst"));
    cluster.cluster.start("d3").await.expect("it starts, and does not know yet");
    let short = DbConfig { deadline: Duration::from_secs(2), ..DbConfig::default() };
    let of_d3 = cluster.client_of(&["d3".to_owned()], short).await.unwrap();
    for number in 0..ROWS {
        match of_d3.db.get(key(&name(number)), Freshness::Stale).await {
            Ok(Some(row)) => assert!(row.value == value(number), "row {number} is wrong"),
            // The replica has stopped, or another is there already that has no rows yet.
            Ok(None) | Err(_) => break,
        }
    }
    all_rows_are_right(&client).await;
    is_healed(&mut cluster, &client, "d3", old).await;
    assert!(says(&cluster, "d3", "a replica is damaged, and serves no more"));
    carries_its_part(&mut cluster, &client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_in_the_middle_of_the_log_is_found_at_the_start_and_healed() {
    let (mut cluster, client) = with_rows().await;
    let old = replica_of(&client, "d3").await;
    cluster.cluster.kill("d3").await.unwrap();
    flip_in_the_middle(&largest(&cluster, "d3", "log", "log"));
    cluster.cluster.start("d3").await.expect("it starts without its replica");
    assert!(says(&cluster, "d3", "the stores are damaged and set aside"));
    assert!(cluster.cluster.dir().join("d3/db.damaged/log").is_dir());
    all_rows_are_right(&client).await;
    is_healed(&mut cluster, &client, "d3", old).await;
    carries_its_part(&mut cluster, &client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_without_its_disk_has_its_replica_again_by_itself() {
    let (mut cluster, client) = with_rows().await;
    let old = replica_of(&client, "d3").await;
    cluster.cluster.kill("d3").await.unwrap();
    fs::remove_dir_all(cluster.cluster.dir().join("d3/db")).unwrap();
    cluster.cluster.start("d3").await.expect("it starts without a replica");
    all_rows_are_right(&client).await;
    is_healed(&mut cluster, &client, "d3", old).await;
    carries_its_part(&mut cluster, &client).await;
}
