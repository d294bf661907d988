//! A client's disk over two VIOSes and a repository, each a node: what is written is read back
//! while fabrics are cut and a VIOS dies.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here fails the test"
)]

mod cluster;

use std::time::Duration;

use bytes::Bytes;
use vioduct_vios::block::{Extent, Reply, Request};
use vioduct_vios::disk::Disk;

use cluster::{Cluster, SIZE};

fn write(offset: u64, data: &[u8]) -> Request {
    Request::Write { offset, data: Bytes::copy_from_slice(data), fua: false }
}

fn read(offset: u64, length: u32) -> Request {
    Request::Read { extent: Extent { offset, length } }
}

/// Writes one block after another, and reads each back, until `blocks` are done.
async fn write_and_read(cluster: &Cluster, blocks: std::ops::Range<u64>) {
    for block in blocks {
        let data = vec![u8::try_from(block % 251).unwrap(); 4096];
        let offset = block % (SIZE / 4096) * 4096;
        assert_eq!(cluster.disk.execute(write(offset, &data)).await, Ok(Reply::Done), "{block}");
        let back = cluster.disk.execute(read(offset, 4096)).await;
        assert_eq!(back, Ok(Reply::Data(data.into())), "{block}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_is_written_and_read_through_its_vios() {
    let cluster = Cluster::start().await;
    write_and_read(&cluster, 0..200).await;
    assert_eq!(cluster.disk.execute(Request::Flush).await, Ok(Reply::Done));
    let figures = cluster.figures().await;
    assert_eq!((figures.size, figures.paths_lost), (SIZE, 0));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_fabric_is_gone_around_by_the_other_vios_and_the_client_sees_no_error() {
    let mut cluster = Cluster::start().await;
    write_and_read(&cluster, 0..50).await;
    let before = cluster.figures().await.exit;
    cluster.cut_fabric(0).await;
    write_and_read(&cluster, 50..100).await;
    let after = cluster.figures().await;
    assert_ne!(after.exit, before, "requests leave by the other VIOS");
    assert!(after.paths_lost >= 1);
    assert!(after.longest_wait < Duration::from_secs(5), "{after:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vios_that_is_gone_is_a_change_of_path() {
    let mut cluster = Cluster::start().await;
    write_and_read(&cluster, 0..50).await;
    cluster.kill_vios(0).await;
    write_and_read(&cluster, 50..100).await;
    assert_eq!(cluster.disk.execute(Request::Flush).await, Ok(Reply::Done));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_outlive_the_repository_process() {
    let mut cluster = Cluster::start().await;
    write_and_read(&cluster, 0..50).await;
    cluster.restart_storage().await;
    write_and_read(&cluster, 50..100).await;
    let first = cluster.disk.execute(read(4096, 4096)).await;
    assert_eq!(first, Ok(Reply::Data(vec![1; 4096].into())));
    cluster.stop().await;
}
