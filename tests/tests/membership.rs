//! Real `vioduct` processes as members of a cluster: who is frozen is declared down by the others,
//! and comes back as a new run without being started by anybody.

use std::time::Duration;

use serde_json::Value;
use vioduct_tests::built;
use vioduct_tests::cluster::{Cluster, node};

/// The defaults declare a node down after some seven seconds, and let it dial again after five.
const BOUND: Duration = Duration::from_secs(60);
const NODES: [&str; 3] = ["n1", "n2", "n3"];

async fn started() -> Cluster {
    let vioduct = built::vioduct().expect("vioduct is built");
    let mut cluster = Cluster::create(vioduct, &NODES).await.expect("certificates are made");
    for name in NODES {
        cluster.start(name).await.expect("the node starts");
    }
    cluster
}

/// What `at` sees of `member`.
fn seen<'a>(status: &'a Value, at: &str, member: &str) -> Option<&'a Value> {
    let members = node(status, at).pointer("/membership/members")?.as_array()?;
    members.iter().find(|seen| seen.get("node").is_some_and(|node| node == member))
}

/// Everybody sees the two others, alive, and the last one in this run.
fn is_whole(status: &Value, run: u64) -> Option<()> {
    let pairs = NODES.iter().flat_map(|at| NODES.map(|of| (*at, of))).filter(|(at, of)| at != of);
    for (at, of) in pairs {
        let seen = seen(status, at, of)?;
        let has_run = |status: &Value| status.get("incarnation").is_some_and(|it| *it == run);
        let is_alive = seen.get("state").is_some_and(|state| state == "alive");
        (is_alive && (of != "n3" || has_run(seen))).then_some(())?;
    }
    node(status, "n3").get("incarnation").is_some_and(|it| *it == run).then_some(())
}

#[tokio::test]
async fn a_frozen_node_is_declared_down_and_returns_by_itself_as_a_new_run() {
    let mut cluster = started().await;
    let whole = |status: &Value| is_whole(status, 1);
    cluster.until(None, BOUND, "three members", whole).await.unwrap();

    cluster.signal("n3", "STOP").await.unwrap();
    let down = |status: &Value| {
        let state = seen(status, "n1", "n3").map(|seen| seen["state"].clone());
        (state == Some("down".into())).then_some(())
    };
    cluster.until(Some("n1"), BOUND, "n3 declared down", down).await.unwrap();

    cluster.signal("n3", "CONT").await.unwrap();
    let again = |status: &Value| is_whole(status, 2);
    cluster.until(None, BOUND, "three members, n3 in its second run", again).await.unwrap();
    cluster.healthy(BOUND).await.unwrap();
}

#[tokio::test]
async fn the_actors_of_every_node_are_listed() {
    let cluster = started().await;
    let ls = ["actor", "ls", "--certs", "tool", "--cluster", "cluster.toml"];
    let table = cluster.run(&ls).await.unwrap();
    for node in NODES {
        let is_echo = |line: &&str| line.starts_with(node) && line.contains("vioduct.echo");
        assert_eq!(table.lines().filter(is_echo).count(), 1, "{table}");
    }
    let json = cluster.run(&[&ls[..], &["--output", "json"]].concat()).await.unwrap();
    let list: Value = serde_json::from_str(&json).unwrap();
    let actors = list["nodes"][0]["inspection"]["actors"].as_array().unwrap();
    let echo = actors.iter().find(|actor| actor["name"] == "vioduct.echo").unwrap();
    assert_eq!(echo["exports"][0]["message"], "vioduct.Echo");
    assert!(list["nodes"][0]["inspection"]["totals"]["actors"].as_u64() >= Some(4));
}
