//! A volume on a full file system: who writes to a new place is told, nobody else is harmed.

use std::io::{self, Write};
use std::ops::Range;
use std::process::Command;

use bytes::Bytes;
use tempfile::TempDir;
use vioduct_vios::block::{Extent, Failure, Reply, Request};
use vioduct_vios::disk::Disk;
use vioduct_vios::redirect::limits::OwnerLimits;

use crate::cluster::{Cluster, SIZE};
use crate::read;
use crate::served::Served;

const BLOCK: u32 = 4096;
/// The file system has room for half of an LU.
const ROOM: u64 = SIZE / 2;

/// A small file system of its own.
struct Small(TempDir);

impl Small {
    /// `None` without the privilege to mount one, and says so.
    fn mount() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let size = format!("size={ROOM}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "small"]).arg(dir.path());
        let refused = match mount.output() {
            Ok(mounted) if mounted.status.success() => return Some(Self(dir)),
            Ok(refused) => String::from_utf8_lossy(&refused.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        // Not `eprintln`, which nobody sees of a test that passes.
        let why = refused.lines().next().unwrap_or_default();
        let said = format!("SKIPPED: a full storage, which needs root: {why}\n");
        io::stderr().write_all(said.as_bytes()).unwrap();
        None
    }

    /// A cluster whose volume is on it.
    async fn cluster(&self) -> Cluster {
        Cluster::start_on(self.0.path().join("volume"), OwnerLimits::default()).await
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // What a test that failed has left open keeps it busy.
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn extent(blocks: &Range<u64>) -> Extent {
    let length = u32::try_from(blocks.end - blocks.start).unwrap() * BLOCK;
    Extent { offset: blocks.start * u64::from(BLOCK), length }
}

fn write(block: u64, version: u64, fua: bool) -> Request {
    let value = u8::try_from((block + version) % 251).unwrap();
    let data = Bytes::from(vec![value; BLOCK as usize]);
    Request::Write { offset: block * u64::from(BLOCK), data, fua }
}

async fn done(disk: &impl Disk, request: Request) -> Result<Reply, Failure> {
    disk.execute(request).await.map_err(Into::into)
}

/// Says no more of other data than that it is.
async fn assert_reads(disk: &impl Disk, offset: u64, data: Bytes) {
    let found = done(disk, read(offset, u32::try_from(data.len()).unwrap())).await;
    let is_same = found == Ok(Reply::Data(data));
    assert!(is_same, "at {offset}: {:?}", found.map(|_reply| "other data"));
}

async fn assert_holds(disk: &impl Disk, blocks: Range<u64>, version: u64) {
    for block in blocks {
        let Request::Write { offset, data, .. } = write(block, version, false) else {
            unreachable!("it is a write")
        };
        assert_reads(disk, offset, data).await;
    }
}

/// Writes one block after another, from `block` on, until there is no room; gives the first one
/// that was refused.
async fn fill(disk: &impl Disk, mut block: u64) -> u64 {
    while block < SIZE / u64::from(BLOCK) {
        match done(disk, write(block, 0, false)).await {
            Ok(_done) => block += 1,
            Err(failure) => {
                assert_eq!(failure, Failure::NoSpace);
                return block;
            }
        }
    }
    panic!("it is never full");
}

/// Everything but a write to a new place goes on, on a disk whose blocks before `full` are written.
async fn assert_unharmed(disk: &impl Disk, full: u64, version: u64) {
    for block in [0, full / 2, full - 1] {
        for fua in [false, true] {
            assert_eq!(done(disk, write(block, version, fua)).await, Ok(Reply::Done), "{block}");
        }
        assert_holds(disk, block..block + 1, version).await;
        assert_eq!(done(disk, write(block, 0, false)).await, Ok(Reply::Done), "{block}");
    }
    for fua in [false, true] {
        assert_eq!(done(disk, write(full, version, fua)).await, Err(Failure::NoSpace));
    }
    assert_holds(disk, 0..full, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_storage_harms_nobody_but_who_writes_to_a_new_place() {
    let Some(small) = Small::mount() else { return };
    let mut cluster = small.cluster().await;
    let (served, client) = Served::start(&cluster.disk).await;
    let other = cluster.open_other().await;
    for block in 0..10 {
        assert_eq!(done(&other, write(block, 0, false)).await, Ok(Reply::Done));
    }
    let full = fill(&client, 0).await;
    assert_unharmed(&client, full, 1).await;
    assert_unharmed(&other, 10, 2).await;
    assert_eq!(done(&client, Request::Flush).await, Ok(Reply::Done));

    let exit = cluster.figures().await.exit;
    cluster.cut_fabric(0).await;
    assert_unharmed(&client, full, 3).await;
    assert_unharmed(&other, 10, 4).await;
    assert_ne!(cluster.figures().await.exit, exit, "requests leave by the other VIOS");
    let successor = cluster.open_other().await;
    assert_unharmed(&successor, 10, 5).await;

    let trim = Request::Trim { extent: extent(&(8..24)), fua: false };
    assert_eq!(done(&client, trim).await, Ok(Reply::Done));
    let again = fill(&client, full).await;
    assert!(again > full, "there is room where it was trimmed");
    assert_holds(&client, full..again, 0).await;
    assert_eq!(done(&client, Request::Flush).await, Ok(Reply::Done));

    drop(client);
    served.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_starts_anew_on_a_full_file_system_has_what_was_acknowledged() {
    let Some(small) = Small::mount() else { return };
    let mut cluster = small.cluster().await;
    let disk = cluster.disk.clone();
    let full = fill(&*disk, 0).await;
    // What it gives back is used, and not flushed: neither needs room when it is written again.
    let zeroed = 8..24;
    let zeroes = Request::WriteZeroes {
        extent: extent(&zeroed),
        fua: false,
        may_punch: true,
        only_fast: false,
    };
    assert_eq!(done(&*disk, zeroes).await, Ok(Reply::Done));
    let again = fill(&*disk, full).await;
    assert!(again > full, "there is room where it was zeroed");
    cluster.restart_storage().await;

    assert_holds(&*disk, 0..zeroed.start, 0).await;
    assert_holds(&*disk, zeroed.end..again, 0).await;
    let Extent { offset, length } = extent(&zeroed);
    assert_reads(&*disk, offset, vec![0; length as usize].into()).await;
    assert_eq!(done(&*disk, write(8, 0, false)).await, Err(Failure::NoSpace));
    assert_eq!(done(&*disk, Request::Flush).await, Ok(Reply::Done));
    drop(disk);
    cluster.stop().await;
}
