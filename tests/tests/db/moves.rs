//! The lead is handed over while clients are at work.

use std::time::Duration;

use vioduct_db::client::DbConfig;
use vioduct_tests::built;
use vioduct_tests::db::{Clients, DbCluster, Load};
use vioduct_tests::linear::check;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_go_on_each_time_that_the_lead_is_handed_over() {
    let vioduct = built::vioduct().expect("vioduct is built");
    let cluster = DbCluster::start(vioduct, 3).await.expect("the database begins");
    let load = Load { clients: 6, keys: 12, seed: 1, pause: Duration::from_millis(5), plant: None };
    let clients = Clients::start(&cluster, load).await.expect("the clients start");
    let eye = cluster.client(DbConfig::default()).await.unwrap();
    for to in ["d2", "d3", "d1", "d3", "d2", "d1"] {
        let lead = ["db", "replica", "lead", to, "--certs", "tool", "--cluster", "cluster.toml"];
        cluster.cluster.run(&lead).await.expect("the lead is handed over");
        clients.go_on(500, Duration::from_secs(20)).await.expect("clients go on");
        assert_eq!(cluster.leader(&eye.db).await.unwrap(), to);
    }
    let history = clients.finish(&cluster, load).await.expect("the database answers");
    let verdict = check(&history);
    assert!(verdict.is_linearizable(), "{verdict}");
}
