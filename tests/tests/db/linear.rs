//! What clients see is what one copy of the data would have shown them.

use std::time::Duration;

use vioduct_db::client::DbConfig;
use vioduct_tests::built;
use vioduct_tests::db::{Clients, DbCluster, Load, Plan, Plant};
use vioduct_tests::linear::check;

const SEEDS: u64 = 10;
const FAULTS: usize = 4;

fn load(seed: u64, plant: Option<Plant>) -> Load {
    Load { clients: 6, keys: 12, seed, pause: Duration::from_millis(5), plant }
}

async fn play(seed: u64) {
    let vioduct = built::vioduct().expect("vioduct is built");
    let begun = DbCluster::start_over_proxies(vioduct, 3).await;
    let (mut cluster, links) = begun.expect("the database begins");
    let load = load(seed, None);
    let clients = Clients::start(&cluster, load).await.expect("the clients start");
    let eye = cluster.client(DbConfig::default()).await.expect("a client that looks");
    let played = Plan::new(seed).play((&mut cluster, &links), &clients, &eye, FAULTS).await;
    let played = played.unwrap_or_else(|error| {
        cluster.cluster.keep_files();
        panic!("seed {seed}: {error:#}")
    });
    let history = clients.finish(&cluster, load).await.expect("the database answers at the end");
    let verdict = check(&history);
    println!("seed {seed}: {played:?}: {verdict}");
    if !verdict.is_linearizable() {
        cluster.cluster.keep_files();
        let file = cluster.cluster.dir().join("history.json");
        std::fs::write(&file, serde_json::to_vec(&history).unwrap()).unwrap();
        panic!("seed {seed}: {verdict}; the history is {}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_seeds_of_kills_pauses_and_cuts_are_linearizable() {
    let first: u64 = std::env::var("DB_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let count = std::env::var("DB_SEEDS").ok().and_then(|count| count.parse().ok());
    for seed in first..first + count.unwrap_or(SEEDS) {
        play(seed).await;
    }
}

async fn is_found_out(cluster: &DbCluster, load: Load) {
    let clients = Clients::start(cluster, load).await.expect("the clients start");
    clients.go_on(1000, Duration::from_secs(60)).await.expect("the database works");
    let history = clients.finish(cluster, load).await.expect("the database answers");
    let verdict = check(&history);
    assert!(verdict.violation().is_some(), "it was not found: {verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_lose_writes_or_read_what_was_are_found_out() {
    let vioduct = built::vioduct().expect("vioduct is built");
    let cluster = DbCluster::start(vioduct, 3).await.expect("the database begins");
    is_found_out(&cluster, load(1, Some(Plant::LostWrite))).await;
    // The first node is who answers when anybody may: its rows lag only if another one leads.
    let lead = ["db", "replica", "lead", "d2", "--certs", "tool", "--cluster", "cluster.toml"];
    cluster.cluster.run(&lead).await.expect("the lead is handed over");
    is_found_out(&cluster, load(2, Some(Plant::StaleRead))).await;
}
