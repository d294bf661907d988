//! Nothing that was acknowledged is lost, however many nodes are killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use vioduct_db::ShardId;
use vioduct_db::client::{DbConfig, Freshness};
use vioduct_db::command::TableId;
use vioduct_db::query::Range;
use vioduct_tests::built;
use vioduct_tests::db::{DbClient, DbCluster, TABLE, key};

/// Writes numbered rows, one after the other, until it is stopped; gives which were acknowledged
/// and when.
async fn write(client: DbClient, stop: Arc<AtomicBool>) -> Vec<(u64, Instant)> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let value = Bytes::from(number.to_string());
        if client.db.put(key(&format!("{number:08}")), value).await.is_ok() {
            acknowledged.push((number, Instant::now()));
        }
    }
    acknowledged
}

/// All rows of the table, at this moment.
async fn rows(client: &DbClient) -> Vec<u64> {
    let mut found: Vec<u64> = Vec::new();
    let mut from = Bytes::new();
    loop {
        let range = vec![Range { table: TableId(TABLE), from, to: None }];
        let rows = client.db.scan(ShardId(0), range, 10_000, Freshness::Linearizable).await;
        let rows = rows.expect("the database answers");
        let numbers = rows.rows.iter().map(|row| {
            let key: u64 = std::str::from_utf8(&row.place.key).unwrap().parse().unwrap();
            assert_eq!(row.value, Bytes::from(key.to_string()));
            key
        });
        found.extend(numbers);
        match rows.rows.last() {
            Some(last) if rows.is_cut => from = [last.place.key.as_ref(), b"\0"].concat().into(),
            _end => return found,
        }
    }
}

async fn lost(client: &DbClient, acknowledged: &[(u64, Instant)]) -> Vec<u64> {
    let found = rows(client).await;
    let numbers = acknowledged.iter().map(|(number, _when)| *number);
    numbers.filter(|number| found.binary_search(number).is_err()).collect()
}

fn longest_gap(acknowledged: &[(u64, Instant)], from: Instant, to: Instant) -> Duration {
    let within = acknowledged.iter().map(|(_number, when)| *when).filter(|when| *when >= from);
    let mut last = from;
    let mut longest = Duration::ZERO;
    for when in within {
        longest = longest.max(when - last);
        last = when;
        if when > to {
            break;
        }
    }
    longest
}

fn patient() -> DbConfig {
    DbConfig { deadline: Duration::from_secs(20), ..DbConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_leaders_killed_in_a_row_lose_nothing() {
    let vioduct = built::vioduct().expect("vioduct is built");
    let mut cluster = DbCluster::start(vioduct, 3).await.expect("the database begins");
    let eye = cluster.client(patient()).await.unwrap();
    let (writer, stop) = (cluster.client(patient()).await.unwrap(), Arc::<AtomicBool>::default());
    let writing = tokio::spawn(write(writer, Arc::clone(&stop)));
    let mut kills = Vec::new();
    for _ in 0..20 {
        let leader = cluster.leader(&eye.db).await.expect("one leads");
        kills.push(Instant::now());
        cluster.cluster.kill(&leader).await.unwrap();
        cluster.leader(&eye.db).await.expect("another one leads");
        cluster.cluster.start(&leader).await.expect("it starts again");
        let caught_up = eye.db.put(key("99999999"), Bytes::from_static(b"99999999")).await;
        caught_up.expect("writes go on");
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writing.await.unwrap();
    assert!(acknowledged.len() > 100, "only {} rows were written", acknowledged.len());
    assert_eq!(lost(&eye, &acknowledged).await, Vec::<u64>::new());
    let ends = kills.iter().skip(1).copied().chain([Instant::now()]);
    let mut gaps: Vec<Duration> =
        kills.iter().zip(ends).map(|(from, to)| longest_gap(&acknowledged, *from, to)).collect();
    gaps.sort_unstable();
    let (median, worst) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
    println!(
        "{} rows written, 20 leaders killed: longest gap median {} ms, worst {} ms",
        acknowledged.len(),
        median.as_millis(),
        worst.as_millis()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_killed_at_once_lose_nothing() {
    let vioduct = built::vioduct().expect("vioduct is built");
    let mut cluster = DbCluster::start(vioduct, 3).await.expect("the database begins");
    let eye = cluster.client(patient()).await.unwrap();
    for _ in 0..3 {
        let writer = cluster.client(patient()).await.unwrap();
        let stop = Arc::<AtomicBool>::default();
        let writing = tokio::spawn(write(writer, Arc::clone(&stop)));
        tokio::time::sleep_until(Instant::now() + Duration::from_secs(1)).await;
        let names = cluster.names().to_vec();
        for name in &names {
            cluster.cluster.kill(name).await.unwrap();
        }
        for name in &names {
            cluster.cluster.start(name).await.expect("it starts again");
        }
        cluster.leader(&eye.db).await.expect("one leads");
        stop.store(true, Ordering::Relaxed);
        let acknowledged = writing.await.unwrap();
        assert!(acknowledged.len() > 20, "only {} rows were written", acknowledged.len());
        assert_eq!(lost(&eye, &acknowledged).await, Vec::<u64>::new());
    }
}
