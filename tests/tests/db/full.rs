//! A node whose disk is full to the last byte stops, and goes on where it was once there is room.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use vioduct_db::client::{DbConfig, Freshness};
use vioduct_tests::built;
use vioduct_tests::db::{DbCluster, key};

/// Several times what RocksDB reserves for a write-ahead log.
const ROOM: u64 = 384 << 20;
const VALUE_BYTES: usize = 500 << 10;

/// A small file system of its own.
struct Small(PathBuf);

impl Small {
    /// `None` without the privilege to mount one, and says so.
    fn mount(dir: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={ROOM}"), "small"]).arg(dir);
        let refused = match mount.output() {
            Ok(mounted) if mounted.status.success() => return Some(Self(dir.to_owned())),
            Ok(refused) => String::from_utf8_lossy(&refused.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        // Not `eprintln`, which nobody sees of a test that passes.
        let why = refused.lines().next().unwrap_or_default();
        let said = format!("SKIPPED: a node on a full disk, which needs root: {why}\n");
        io::stderr().write_all(said.as_bytes()).unwrap();
        None
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut file = File::create(self.ballast()).unwrap();
        let piece = vec![7; 64 << 10];
        while file.write_all(&piece).is_ok() {}
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // What a test that failed has left open keeps it busy.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_is_full_stops_with_the_reason_and_goes_on_once_there_is_room() {
    let vioduct = built::vioduct().expect("vioduct is built");
    let mut cluster = DbCluster::start(vioduct, 3).await.expect("the database begins");
    let patient = DbConfig { deadline: Duration::from_secs(20), ..DbConfig::default() };
    let client = cluster.client(patient).await.unwrap();
    cluster.cluster.signal("d3", "TERM").await.unwrap();
    assert!(cluster.cluster.ended("d3").await.unwrap().success());
    let home = cluster.cluster.dir().join("d3");
    fs::create_dir(home.join("small")).unwrap();
    let Some(small) = Small::mount(&home.join("small")) else { return };
    let copied = Command::new("cp").arg("-a").arg(home.join("db")).arg(&small.0).status();
    assert!(copied.unwrap().success());
    let file = cluster.cluster.config("d3");
    // Without a reserve clients' writes would be refused long before.
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace("dir = \"db\"", "dir = \"small/db\"\nreserve = 0");
    fs::write(&file, text).unwrap();
    cluster.cluster.start("d3").await.expect("it starts");
    small.fill();
    let value = Bytes::from(vec![1; VALUE_BYTES]);
    let mut written = 0;
    while cluster.cluster.is_alive("d3").unwrap() {
        client.db.put(key(&format!("{written:05}")), value.clone()).await.unwrap();
        written += 1;
        assert!(written < 400, "it does not stop");
    }
    assert_eq!(cluster.cluster.ended("d3").await.unwrap().code(), Some(1));
    let log = fs::read_to_string(cluster.cluster.log("d3")).unwrap();
    assert!(log.contains("can't be written") && log.contains("No space left"), "{log}");
    client.db.put(key("meanwhile"), value.clone()).await.expect("two of three are enough");
    fs::remove_file(small.ballast()).unwrap();
    cluster.cluster.start("d3").await.expect("it starts again");
    cluster.cluster.kill("d1").await.unwrap();
    for name in (0..written).map(|number| format!("{number:05}")) {
        let found = client.db.get(key(&name), Freshness::Linearizable).await;
        let found = found.unwrap_or_else(|error| {
            cluster.cluster.keep_files();
            panic!("{name}: {error}; d3 runs: {:?}", cluster.cluster.is_alive("d3"))
        });
        assert!(found.is_some_and(|row| row.value == value), "{name}");
    }
    client.db.put(key("after"), value).await.expect("two of three are enough");
    cluster.cluster.kill("d3").await.unwrap();
}
