//! LUs that become larger, on real processes: while a client uses them, and while their storage is
//! away or killed.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by it")]

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::{interval, timeout};
use vioduct_tests::built;
use vioduct_tests::disks::{DiskCluster, DiskPlan, STORAGE};
use vioduct_vios::block::Failure;
use vioduct_vios::disk::Disk;
use vioduct_vios::nbd::client::{Address, Config, Remote};

const WITHIN: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;
const BLOCK: u32 = 4096;

async fn started() -> DiskCluster {
    let plan = DiskPlan { lu: 1, size: MIB };
    let mut disks = DiskCluster::create(built::vioduct().unwrap(), &[plan]).await.unwrap();
    disks.start(WITHIN).await.unwrap();
    disks
}

async fn resize(disks: &DiskCluster, size: &str, more: &[&str]) -> Result<Value, String> {
    let words = ["lu", "resize", "1", "--size", size, "--output", "json"];
    let said = disks.command(&[&words, more].concat()).await.map_err(|error| error.to_string())?;
    Ok(serde_json::from_str(&said).unwrap())
}

async fn connect(disks: &DiskCluster) -> Remote {
    let address = Address::Unix(disks.socket(1));
    timeout(WITHIN, Remote::connect(&address, &Config::default())).await.unwrap().unwrap()
}

/// A connection that sees so many bytes.
async fn seen(disks: &DiskCluster, size: u64) -> Remote {
    let looking = async {
        let mut looks = interval(Duration::from_millis(50));
        loop {
            looks.tick().await;
            let remote = connect(disks).await;
            if remote.device().size == size {
                return remote;
            }
            assert!(remote.device().size < size, "{:?}", remote.device());
        }
    };
    timeout(WITHIN, looking).await.unwrap_or_else(|_late| panic!("nobody sees {size} bytes"))
}

/// Bytes of LU 1, as its storage has it and as the database has it.
async fn sizes(disks: &DiskCluster) -> [Option<u64>; 2] {
    let lus = disks.lus().await.unwrap();
    ["/lus/0/size", "/rows/0/size"].map(|place| lus.pointer(place).and_then(Value::as_u64))
}

async fn write(disk: &Remote, offset: u64, value: u8) -> Result<(), Failure> {
    disk.write(offset, Bytes::from(vec![value; BLOCK as usize])).await
}

async fn read(disk: &Remote, offset: u64) -> u8 {
    let data = disk.read(offset, BLOCK).await.unwrap();
    assert!(data.iter().all(|byte| *byte == data[0]));
    data[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_lu_grows_under_its_client_which_sees_that_when_it_connects_anew() {
    let disks = started().await;
    let (old, last) = (connect(&disks).await, MIB - u64::from(BLOCK));
    write(&old, last, 1).await.unwrap();
    for (size, said) in [
        ("512KiB", "LU 1 has 1048576 bytes and can't be cut to 524288: what its client has behind"),
        ("1048577", "a multiple of 512"),
    ] {
        let error = resize(&disks, size, &[]).await.unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let done = resize(&disks, "3MiB", &[]).await.unwrap();
    assert_eq!(done["done"], "LU 1 is 3145728 bytes large");
    assert_eq!(sizes(&disks).await[0], Some(3 * MIB));
    // Again is no mistake.
    resize(&disks, "3MiB", &[]).await.unwrap();

    let new = seen(&disks, 3 * MIB).await;
    assert_eq!((read(&new, last).await, read(&new, MIB).await), (1, 0));
    write(&new, 3 * MIB - u64::from(BLOCK), 2).await.unwrap();
    new.flush().await.unwrap();
    // The old one goes on with the size that it was told.
    assert_eq!(old.device().size, MIB);
    write(&old, 0, 3).await.unwrap();
    old.flush().await.unwrap();
    assert_eq!((read(&old, last).await, read(&new, 0).await), (1, 3));
    assert_eq!(write(&old, MIB, 4).await, Err(Failure::NoSpace));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_that_was_away_or_killed_makes_an_lu_larger_at_its_return() {
    let mut disks = started().await;
    let old = connect(&disks).await;
    write(&old, 0, 1).await.unwrap();
    old.flush().await.unwrap();
    disks.cluster().kill(STORAGE).await.unwrap();
    let late = resize(&disks, "2MiB", &["--timeout-ms", "2000"]).await.unwrap_err();
    assert!(late.contains("LU 1 is made 2097152 bytes large once its storage sees that"), "{late}");
    disks.cluster().start(STORAGE).await.unwrap();
    let new = seen(&disks, 2 * MIB).await;
    assert_eq!((read(&new, 0).await, read(&new, MIB).await), (1, 0));

    // Killed at whatever it is doing about it.
    for (round, size) in (0..).zip((3..9).map(|mib| mib * MIB)) {
        resize(&disks, &size.to_string(), &["--no-wait"]).await.unwrap();
        let mut wait = interval(Duration::from_millis(1 + 40 * round));
        wait.tick().await;
        wait.tick().await;
        disks.cluster().kill(STORAGE).await.unwrap();
        disks.cluster().start(STORAGE).await.unwrap();
        let new = seen(&disks, size).await;
        write(&new, size - u64::from(BLOCK), 7).await.unwrap();
        new.flush().await.unwrap();
        assert_eq!(sizes(&disks).await[0], Some(size));
        assert_eq!((read(&new, 0).await, read(&new, size - u64::from(BLOCK)).await), (1, 7));
    }
    write(&old, u64::from(BLOCK), 5).await.unwrap();
    assert_eq!(read(&old, u64::from(BLOCK)).await, 5);
}
