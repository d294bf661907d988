//! A node that lost its disk comes back as another replica.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use vioduct_db::client::{DbConfig, Freshness};
use vioduct_tests::built;
use vioduct_tests::db::{DbCluster, key};

use crate::join::join;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_disk_votes_for_nobody_until_it_is_let_in_and_then_carries_its_part() {
    let vioduct = built::vioduct().expect("vioduct is built");
    let mut cluster = DbCluster::start(vioduct, 3).await.expect("the database begins");
    let config = DbConfig { deadline: Duration::from_secs(20), ..DbConfig::default() };
    let client = cluster.client(config).await.unwrap();
    for number in 0..100 {
        client.db.put(key(&number.to_string()), Bytes::from_static(b"v")).await.unwrap();
    }
    cluster.cluster.kill("d3").await.unwrap();
    fs::remove_dir_all(cluster.cluster.dir().join("d3").join("db")).unwrap();
    cluster.cluster.start("d3").await.expect("it starts without a replica");
    client.db.put(key("meanwhile"), Bytes::from_static(b"v")).await.unwrap();
    let place = ["--certs", "tool", "--cluster", "cluster.toml", "--timeout-ms", "20000"];
    let replace = ["db", "replica", "replace", "--old", "d3", "d3"];
    if let Err(error) = cluster.cluster.run(&[&replace[..], &place[..]].concat()).await {
        // The node sees to it by itself, and was faster.
        assert!(error.to_string().contains("is a member no longer"), "{error}");
    }
    join(&cluster).await;
    cluster.cluster.kill("d1").await.unwrap();
    for name in ["0", "99", "meanwhile"] {
        let found = client.db.get(key(name), Freshness::Linearizable).await.unwrap();
        assert!(found.is_some(), "{name} is gone");
    }
    client.db.put(key("after"), Bytes::from_static(b"v")).await.expect("two of three are enough");
}
