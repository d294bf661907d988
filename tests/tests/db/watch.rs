//! Changes are told in order, each once, whoever leads.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::Instant;
use vioduct_db::ShardId;
use vioduct_db::client::{DbConfig, WatchEvent, WatchFrom};
use vioduct_db::watch::Filter;
use vioduct_tests::built;
use vioduct_tests::db::{DbClient, DbCluster, key};

/// Writes one row after the other until it is stopped; gives the revisions of what was
/// acknowledged.
async fn write(client: DbClient, stop: Arc<AtomicBool>) -> Vec<u64> {
    let mut revisions = Vec::new();
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let value = Bytes::from(number.to_string());
        revisions.extend(client.db.put(key(&format!("w{number:08}")), value).await.ok());
    }
    revisions
}

fn missing(acknowledged: &[u64], told: &[u64]) -> Vec<u64> {
    let is_missing = |revision: &&u64| told.binary_search(revision).is_err();
    acknowledged.iter().filter(is_missing).copied().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_and_the_command_are_told_all_that_was_acknowledged_while_leaders_are_killed() {
    let vioduct = built::vioduct().expect("vioduct is built");
    let mut cluster = DbCluster::start(vioduct, 3).await.expect("the database begins");
    let config = DbConfig { deadline: Duration::from_secs(20), ..DbConfig::default() };
    let eye = cluster.client(config).await.unwrap();
    let (shard, filter) = (ShardId(0), Filter { prefix: "w".into(), ..Filter::default() });
    let mut watch = eye.db.watch(shard, filter, WatchFrom::After(0)).await.unwrap();
    let place = ["--certs", "tool", "--cluster", "cluster.toml", "--timeout-ms", "20000"];
    let command = ["db", "watch", "--shard", "0", "--after", "0", "--prefix", "w"];
    let args = [&command[..], &place[..], &["--output", "json"]].concat();
    let mut follower = cluster.cluster.command(&args);
    let mut follower = follower.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();

    let (writer, stop) = (cluster.client(config).await.unwrap(), Arc::<AtomicBool>::default());
    let writing = tokio::spawn(write(writer, Arc::clone(&stop)));
    let mut told = Vec::new();
    for kills in 0..4 {
        let enough = told.len() + 100;
        while told.len() < enough {
            if let WatchEvent::Changes { revision, .. } = watch.next().await.unwrap() {
                told.push(revision);
            }
        }
        if kills < 3 {
            let leader = cluster.leader(&eye.db).await.expect("one leads");
            cluster.cluster.kill(&leader).await.unwrap();
            cluster.leader(&eye.db).await.expect("another one leads");
            cluster.cluster.start(&leader).await.expect("it starts again");
        }
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writing.await.unwrap();
    let last = *acknowledged.last().unwrap();
    while watch.revision() < last {
        match watch.next().await.unwrap() {
            WatchEvent::Changes { revision, .. } => told.push(revision),
            WatchEvent::Progress { .. } => {}
            WatchEvent::Resync { .. } => panic!("all is recorded"),
        }
    }
    assert!(told.is_sorted_by(|one, next| one < next), "out of order: {told:?}");
    assert_eq!(missing(&acknowledged, &told), Vec::<u64>::new());

    let mut printed: Vec<u64> = Vec::new();
    while printed.last() != Some(&last) {
        let line = lines.next_line().await.unwrap().expect("the command goes on");
        let line: Value = serde_json::from_str(&line).expect("an object a line");
        assert_eq!((&line["kind"], &line["table"]), (&"put".into(), &"kv".into()));
        printed.push(line["revision"].as_u64().unwrap());
    }
    assert_eq!(printed, told[..printed.len()]);
}

/// Puts, one after the other, and how long each took to reach the watchers.
async fn tell(cluster: &DbCluster, watchers: usize, puts: usize) -> Vec<Duration> {
    let config = DbConfig { deadline: Duration::from_secs(20), ..DbConfig::default() };
    let (writer, reader) =
        (cluster.client(config).await.unwrap(), cluster.client(config).await.unwrap());
    let mut watches = Vec::new();
    for _ in 0..watchers {
        let filter = Filter { prefix: "t".into(), ..Filter::default() };
        watches.push(reader.db.watch(ShardId(0), filter, WatchFrom::Now).await.unwrap());
    }
    let (told, mut all_told) = tokio::sync::mpsc::channel(watchers);
    for mut watch in watches {
        let told = told.clone();
        tokio::spawn(async move {
            let mut count = 0;
            while count < puts {
                if let WatchEvent::Changes { revision, .. } = watch.next().await.unwrap() {
                    count += 1;
                    told.send((revision, Instant::now())).await.unwrap();
                }
            }
        });
    }
    let mut latencies = Vec::new();
    for number in 0..puts {
        let value = Bytes::from(vec![b'v'; 256]);
        let begun = Instant::now();
        let revision = writer.db.put(key(&format!("t{number}")), value).await.unwrap();
        for _ in 0..watchers {
            let (at, when) = all_told.recv().await.expect("all are told");
            assert_eq!(at, revision);
            latencies.push(when - begun);
        }
    }
    latencies.sort_unstable();
    latencies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_watchers_are_each_told_of_every_write() {
    let vioduct = built::vioduct().expect("vioduct is built");
    let cluster = DbCluster::start(vioduct, 3).await.expect("the database begins");
    for watchers in [1, 10, 100] {
        let latencies = tell(&cluster, watchers, 100).await;
        let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_micros();
        let (median, late) = (at(50), at(99));
        println!("{watchers} watchers: put to notice p50 {median} us, p99 {late} us");
    }
}
