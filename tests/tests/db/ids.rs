//! A number is given once, whoever asks and whatever dies meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use vioduct_db::client::{DbConfig, DbError};
use vioduct_tests::built;
use vioduct_tests::db::{DbClient, DbCluster};

const LEAST: u64 = 100_000;
const KILLS: usize = 5;

fn counter() -> Bytes {
    Bytes::from_static(b"ids")
}

#[derive(Default)]
struct Progress {
    given: AtomicU64,
    all_killed: AtomicBool,
}

/// Takes numbers until there are enough of them; gives the first one and how many, of each time.
async fn take(client: DbClient, progress: Arc<Progress>) -> Vec<(u64, u64)> {
    let mut taken = Vec::new();
    for count in (1..=32).cycle() {
        let is_enough = progress.given.load(Ordering::Relaxed) >= LEAST;
        if is_enough && progress.all_killed.load(Ordering::Relaxed) {
            break;
        }
        match client.db.allocate(counter(), count).await {
            Ok(first) => {
                taken.push((first, count.into()));
                progress.given.fetch_add(count.into(), Ordering::Relaxed);
            }
            // What an answer that is lost would have said is used by nobody.
            Err(DbError::Unknown { .. } | DbError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_ids_that_three_nodes_take_while_leaders_die_are_all_different() {
    let vioduct = built::vioduct().expect("vioduct is built");
    let mut cluster = DbCluster::start(vioduct, 3).await.expect("the database begins");
    let patient = DbConfig { deadline: Duration::from_secs(20), ..DbConfig::default() };
    let eye = cluster.client(patient).await.unwrap();
    let progress = Arc::<Progress>::default();
    let mut takers = Vec::new();
    for _node in 0..3 {
        let client = cluster.client(patient).await.unwrap();
        takers.push(tokio::spawn(take(client, Arc::clone(&progress))));
    }
    let mut ranges = BTreeMap::new();
    for _leader in 0..KILLS {
        let leader = cluster.leader(&eye.db).await.expect("one leads");
        cluster.cluster.kill(&leader).await.unwrap();
        cluster.leader(&eye.db).await.expect("another one leads");
        cluster.cluster.start(&leader).await.expect("it starts again");
        let first = eye.db.allocate(counter(), 1).await.expect("numbers are given");
        assert_eq!(ranges.insert(first, 1), None, "{first} was given twice");
    }
    progress.all_killed.store(true, Ordering::Relaxed);
    for taker in takers {
        for (first, count) in taker.await.unwrap() {
            assert_eq!(ranges.insert(first, count), None, "{first} was given twice");
        }
    }
    let mut end = 0;
    for (first, count) in &ranges {
        assert!(*first >= end, "{first} was given twice: the range before it ends at {end}");
        end = first + count;
    }
    let given: u64 = ranges.values().sum();
    println!("{given} numbers in {} answers, {KILLS} leaders killed", ranges.len());
    assert!(given >= LEAST);
}
