//! The database of real nodes: what is read is right, and a run outlives the loss of the leader.

use std::process::Stdio;

use bytes::Bytes;
use serde_json::Value;
use tokio::io::AsyncBufReadExt;
use tokio::process::Command;
use tokio::time::timeout;
use vioduct_db::ShardId;
use vioduct_db::client::{DbConfig, Freshness};
use vioduct_db::command::{Place, TableId};
use vioduct_db::query::Range;
use vioduct_tests::built;
use vioduct_tests::cluster::Cluster;
use vioduct_tests::db::{DbClient, DbCluster, TABLE};

use super::{BOUND, built_loadtest, ended, output, result, under_way};

async fn started() -> (DbCluster, DbClient) {
    let vioduct = built::vioduct().expect("vioduct is built");
    let cluster = DbCluster::start(vioduct, 3).await.expect("the database begins");
    let client = cluster.client(DbConfig::default()).await.expect("a client starts");
    (cluster, client)
}

/// `db` against the cluster's inventory, with JSON on standard output.
fn db(cluster: &Cluster, args: &str) -> Command {
    let mut command = Command::new(built_loadtest());
    command.args(["db", "--certs", "tool", "--inventory", "cluster.toml", "--output", "json"]);
    command.args(args.split(' ')).current_dir(cluster.dir()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn number(result: &Value, path: &str) -> u64 {
    let found = result.pointer(path).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("no number {path}: {result:#}"))
}

fn float(result: &Value, path: &str) -> f64 {
    let found = result.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no number {path}: {result:#}"))
}

/// Where the rows of any run are.
async fn places(client: &DbClient) -> Vec<Place> {
    let (from, to) = (Bytes::from("loadtest/"), Bytes::from("loadtest0"));
    let range = vec![Range { table: TableId(TABLE), from, to: Some(to) }];
    let found = client.db.scan(ShardId(0), range, 100, Freshness::Linearizable).await;
    let rows = found.expect("the database answers").rows.into_iter();
    rows.map(|row| row.place).collect()
}

#[tokio::test]
async fn a_closed_loop_outlives_a_killed_leader_without_a_violation() {
    let (mut cluster, client) = started().await;
    let leader = cluster.leader(&client.db).await.unwrap();
    // Few keys, so that reads meet writes; a deadline that outlasts an election.
    let args = "--keys 64 --concurrency 16 --warmup 0s --duration 6s --deadline 15s";
    let run = under_way(db(&cluster.cluster, args)).await;
    cluster.cluster.kill(&leader).await.unwrap();
    let output = ended(run).await;
    let result = result(&output);
    assert_eq!(output.status.code(), Some(0), "{result:#}");
    assert_eq!((&result["schema"], &result["config"]["driver"]), (&1.into(), &"db".into()));
    for kind in ["read", "write"] {
        let count = |name: &str| number(&result, &format!("/counts/{kind}/{name}"));
        assert!(count("ok") > 0 && count("ok") == count("sent"), "{result:#}");
        for times in ["service", "response"] {
            let path = format!("/latency/{kind}/{times}/count");
            assert_eq!(number(&result, &path), count("ok"), "{result:#}");
        }
        assert!(float(&result, &format!("/throughput_per_s/{kind}")) > 0.0);
    }
    let troubles = ["/violations/total", "/errors/total", "/retired_keys"];
    assert_eq!(troubles.map(|path| number(&result, path)), [0; 3], "{result:#}");
    // Nobody is elected at once.
    assert!(float(&result, "/longest_write_gap_ms") > 100.0, "{result:#}");
    assert_eq!(result["rows_left"], Value::Null);
    assert_eq!(places(&client).await, [], "the run's rows are deleted");
}

#[tokio::test]
async fn an_open_loop_does_every_operation_that_was_planned() {
    let (cluster, client) = started().await;
    let args = "--rate 101 --reads 30 --size 1000 --freshness lease --keys 100 --warmup 500ms \
                --duration 2s --late-after 5s --json result.json";
    let output = output(db(&cluster.cluster, args)).await;
    let result = result(&output);
    assert_eq!(output.status.code(), Some(0), "{result:#}");
    assert!(output.stderr.is_empty(), "no progress unless asked for");
    let done = ["read", "write"].map(|kind| number(&result, &format!("/counts/{kind}/ok")));
    assert_eq!(done.iter().sum::<u64>(), 202, "{result:#}");
    assert!(done[0] > 0 && done[0] < done[1], "{result:#}");
    assert_eq!((number(&result, "/schedule/planned"), &result["valid"]), (202, &true.into()));
    let file = std::fs::read(cluster.cluster.dir().join("result.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&file).unwrap(), result);
    assert_eq!(places(&client).await, [], "the run's rows are deleted");
}

#[tokio::test]
async fn rows_that_another_client_damages_or_deletes_are_found_out() {
    let (cluster, client) = started().await;
    // A key is read nine times, on average, before it is written again.
    let args = "--keys 8 --concurrency 4 --reads 90 --warmup 0s --duration 4s --deadline 15s";
    let run = under_way(db(&cluster.cluster, args)).await;
    let places = places(&client).await;
    for (turn, place) in places.iter().cycle().take(20).enumerate() {
        if turn < 10 {
            client.db.put(place.clone(), Bytes::from("not of a run")).await.unwrap();
        } else {
            client.db.delete(place.clone()).await.unwrap();
        }
    }
    let output = ended(run).await;
    let result = result(&output);
    assert_eq!(output.status.code(), Some(1), "{result:#}");
    for kind in ["damaged", "lost"] {
        assert!(number(&result, &format!("/violations/by_kind/{kind}")) > 0, "{result:#}");
    }
    let wrong = number(&result, "/counts/read/wrong") + number(&result, "/warmup/read/wrong");
    assert_eq!(wrong, number(&result, "/violations/total"));
    let first = result.pointer("/violations/first/0").and_then(Value::as_str).unwrap();
    assert!(first.starts_with("loadtest/") && first.contains("allowed are writes"), "{first}");
    assert_eq!(number(&result, "/errors/total"), 0, "{result:#}");
}

#[tokio::test]
async fn a_run_ends_by_itself_when_too_many_writes_are_unknown_and_leaves_no_row() {
    let (mut cluster, client) = started().await;
    let leader = cluster.leader(&client.db).await.unwrap();
    let follower = cluster.names().iter().find(|name| **name != leader).unwrap().clone();
    let args = "--keys 8 --concurrency 4 --reads 0 --warmup 0s --duration 10m --deadline 2s";
    let mut run = under_way(db(&cluster.cluster, args)).await;
    for name in [&leader, &follower] {
        cluster.cluster.signal(name, "STOP").await.unwrap();
    }
    let said_why = async {
        let mut line = String::new();
        while !line.contains("keys are retired") {
            line.clear();
            assert_ne!(run.1.read_line(&mut line).await.unwrap(), 0, "it ends without a word");
        }
    };
    timeout(BOUND, said_why).await.expect("writes without an answer end the run");
    for name in [&leader, &follower] {
        cluster.cluster.signal(name, "CONT").await.unwrap();
    }
    let output = ended(run).await;
    let result = result(&output);
    assert_eq!(output.status.code(), Some(1), "{result:#}");
    assert_eq!(
        (&result["too_many_retired"], &result["interrupted"]),
        (&true.into(), &false.into())
    );
    assert!(number(&result, "/retired_keys") > 2, "{result:#}");
    assert_eq!(number(&result, "/errors/by_kind/unknown"), number(&result, "/retired_keys"));
    assert_eq!(number(&result, "/violations/total"), 0, "{result:#}");
    assert_eq!(result["rows_left"], Value::Null);
    assert_eq!(places(&client).await, [], "what was late is not done after all was deleted");
}

#[tokio::test]
async fn a_run_that_can_not_start_prints_no_result() {
    let cluster = Cluster::create(built::vioduct().unwrap(), &["n1"]).await.unwrap();
    for (args, code, expected) in [
        ("--node n9", 2, "cluster.toml has no node n9"),
        ("--keys 100 --concurrency 51", 2, "with 100 keys, 50 at most"),
        ("--deadline 200ms", 1, "the database"),
    ] {
        let output = output(db(&cluster, args)).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(output.stdout.is_empty());
    }
}
