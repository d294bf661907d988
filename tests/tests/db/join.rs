//! A replica without rows joins a shard while clients write.
//!
//! `DB_JOIN_MIB` says how large the shard is; how much slower writes may become is asked only of a
//! gibibyte, where the joining takes long enough to be measured.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use vioduct_db::client::{Db, DbConfig, Freshness};
use vioduct_tests::built;
use vioduct_tests::db::{DbClient, DbCluster, key};

const VALUE_BYTES: usize = 16 << 10;
const FILLERS: usize = 32;
const WRITERS: usize = 4;
const MEASURED: Duration = Duration::from_secs(5);
/// What the time of 99 of 100 writes may be multiplied by meanwhile.
const SLOWER_MAX: f64 = 3.0;
/// Memory that a node may take at most, however large the shard is.
const MEMORY_MAX_KIB: u64 = 384 << 10;
const LARGE_MIB: usize = 1024;
/// How often it is looked whether the replica has joined: each look is a process of its own.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const JOINED_WITHIN: Duration = Duration::from_secs(600);

fn size_mib() -> usize {
    std::env::var("DB_JOIN_MIB").map_or(24, |text| text.parse().unwrap())
}

fn patient() -> DbConfig {
    DbConfig { deadline: Duration::from_secs(60), ..DbConfig::default() }
}

fn name(number: usize) -> String {
    format!("{number:08}")
}

/// What the row of a number has: no other row has it.
fn value(number: usize) -> Bytes {
    let mut value = vec![0; VALUE_BYTES];
    let mut state = number as u64 + 1;
    for byte in &mut value {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_le_bytes()[0];
    }
    value.into()
}

async fn fill(db: &Db, rows: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut fillers = JoinSet::new();
    for _filler in 0..FILLERS {
        let (db, next) = (db.clone(), Arc::clone(&next));
        fillers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= rows {
                    return;
                }
                db.put(key(&name(number)), value(number)).await.expect("the database works");
            }
        });
    }
    while let Some(filled) = fillers.join_next().await {
        filled.unwrap();
    }
}

/// Small writes, until they are stopped.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Vec<Duration>>,
}

impl Writers {
    fn start(db: &Db) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS {
            let (db, stop) = (db.clone(), Arc::clone(&stop));
            tasks.spawn(async move {
                let mut took = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let place = key(&format!("writer {number}"));
                    db.put(place, Bytes::from(vec![1; 256])).await.expect("writes go on");
                    took.push(begun.elapsed());
                }
                took
            });
        }
        Self { stop, tasks }
    }

    /// The time within which 99 of 100 were done.
    async fn stop(mut self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let mut took = Vec::new();
        while let Some(of_one) = self.tasks.join_next().await {
            took.append(&mut of_one.unwrap());
        }
        took.sort_unstable();
        took.get(took.len() * 99 / 100).copied().unwrap()
    }
}

/// The most memory that a node held at once, KiB.
fn most_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Waits until `d3`, whose disk was lost, has a replica again that has all rows and a vote: it
/// makes that by itself. Gives how long it took.
pub(crate) async fn join(cluster: &DbCluster) -> Duration {
    let begun = Instant::now();
    let status = ["db", "status", "--certs", "tool", "--cluster", "cluster.toml"];
    let joined = async {
        let mut looks = interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            let command = [&status[..], &["--output", "json"]].concat();
            let output = cluster.cluster.output(&command).await.unwrap();
            let Ok(status) = serde_json::from_slice::<Value>(&output.stdout) else { continue };
            let replicas = status.pointer("/replicas").and_then(Value::as_array).unwrap();
            let is = |it: &Value, key, value: &str| it.get(key).is_some_and(|it| it == value);
            if replicas.iter().any(|it| is(it, "node", "d3") && is(it, "state", "follows")) {
                return begun.elapsed();
            }
        }
    };
    timeout(JOINED_WITHIN, joined).await.expect("it joins in time")
}

async fn measured(db: &Db) -> Duration {
    let writers = Writers::start(db);
    tokio::time::sleep_until(Instant::now() + MEASURED).await;
    writers.stop().await
}

/// All rows are on the two nodes that are left, one of which has joined.
async fn all_are_there(client: &DbClient, rows: usize) {
    let step = (rows / 512).max(1);
    for number in (0..rows).step_by(step) {
        let found = client.db.get(key(&name(number)), Freshness::Linearizable).await.unwrap();
        assert_eq!(found.map(|row| row.value), Some(value(number)), "row {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_replica_joins_while_writes_go_on_in_bounded_memory() {
    let vioduct = built::vioduct().expect("vioduct is built");
    let mut cluster = DbCluster::start(vioduct, 3).await.expect("the database begins");
    let client = cluster.client(patient()).await.unwrap();
    let rows = (size_mib() << 20) / VALUE_BYTES;
    fill(&client.db, rows).await;
    cluster.cluster.kill("d3").await.unwrap();
    fs::remove_dir_all(cluster.cluster.dir().join("d3").join("db")).unwrap();
    let alone = measured(&client.db).await;
    cluster.cluster.start("d3").await.expect("it starts without a replica");
    let writers = Writers::start(&client.db);
    let took = join(&cluster).await;
    let meanwhile = writers.stop().await;
    let memory = ["d1", "d2", "d3"].map(|node| most_kib(cluster.cluster.id(node).unwrap()));
    println!(
        "{} MiB: let in after {took:?}; 99 of 100 writes within {alone:?} before, {meanwhile:?} \
         meanwhile; most memory of d1, d2, d3: {memory:?} KiB",
        size_mib()
    );
    let leader = cluster.leader(&client.db).await.unwrap();
    let other = if leader == "d1" { "d2" } else { "d1" };
    cluster.cluster.kill(other).await.unwrap();
    all_are_there(&client, rows).await;
    assert!(memory.iter().all(|kib| *kib < MEMORY_MAX_KIB), "memory: {memory:?} KiB");
    if size_mib() >= LARGE_MIB {
        let slower = meanwhile.as_secs_f64() / alone.as_secs_f64();
        assert!(slower < SLOWER_MAX, "writes took {slower:.1} times as long");
    }
}
