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
    let mut cluster = DbCluster::start(vioduct, 3).await.expect("the database begins");
    let load = load(seed, None);
    let clients = Clients::start(&cluster, load).await.expect("the clients start");
    let eye = cluster.client(DbConfig::default()).await.expect("a client that looks");
    let played = Plan::new(seed).play(&mut cluster, &clients, &eye, FAULTS).await;
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
async fn ten_seeds_of_kills_and_pauses_are_linearizable() {
    let first: u64 = std::env::var("DB_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let count = std::env::var("DB_SEEDS").ok().and_then(|count| count.parse().ok());
    for seed in first..first + count.unwrap_or(SEEDS) {
        play(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_lose_writes_are_found_out() {
    let vioduct = built::vioduct().expect("vioduct is built");
    let cluster = DbCluster::start(vioduct, 3).await.expect("the database begins");
    let load = load(1, Some(Plant::LostWrite));
    let clients = Clients::start(&cluster, load).await.expect("the clients start");
    clients.go_on(1000, Duration::from_secs(60)).await.expect("the database works");
    let history = clients.finish(&cluster, load).await.expect("the database answers");
    let verdict = check(&history);
    assert!(verdict.violation().is_some(), "it was not found: {verdict}");
}
