//! A client's disk over two VIOSes and a repository, each a node: what is written is read back
//! while fabrics are cut and a VIOS dies.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here fails the test"
)]

mod cluster;
mod ear;
mod full;
mod served;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::timeout;
use vioduct_vios::block::{Extent, Failure, Reply, Request};
use vioduct_vios::carry::CarriedCall;
use vioduct_vios::disk::Disk;
use vioduct_vios::redirect::Epoch;
use vioduct_vios::redirect::limits::OwnerLimits;
use vioduct_vios::redirect::message::{Call, Why, Word};
use vioduct_vios::redirect::name::{Holder, LuId, OwnerId, ViosId};

use cluster::{BOUND, Cluster, SIZE};
use served::Served;

fn write(offset: u64, data: &[u8]) -> Request {
    Request::Write { offset, data: Bytes::copy_from_slice(data), fua: false }
}

fn read(offset: u64, length: u32) -> Request {
    Request::Read { extent: Extent { offset, length } }
}

/// Writes one block after another, and reads each back, until `blocks` are done.
async fn write_and_read(cluster: &Cluster, blocks: std::ops::Range<u64>) {
    write_and_read_on(&*cluster.disk, blocks).await;
}

async fn write_and_read_on(disk: &impl Disk, blocks: std::ops::Range<u64>) {
    let done = async |request| disk.execute(request).await.map_err(Into::into);
    for block in blocks {
        let data = vec![u8::try_from(block % 251).unwrap(); 4096];
        let offset = block % (SIZE / 4096) * 4096;
        assert_eq!(done(write(offset, &data)).await, Ok::<_, Failure>(Reply::Done), "{block}");
        assert_eq!(done(read(offset, 4096)).await, Ok(Reply::Data(data.into())), "{block}");
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
async fn a_client_and_its_vios_may_share_a_node() {
    let cluster = Cluster::start().await;
    let disk = cluster.open_beside_vios(0).await;
    timeout(BOUND, write_and_read_on(&disk, 0..50)).await.expect("it is served");
    assert_eq!(disk.figures(BOUND).await.unwrap().exit, Some(ViosId(1)));
    disk.close(BOUND).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_nbd_client_sees_nothing_of_a_cut() {
    let mut cluster = Cluster::start().await;
    let (served, remote) = Served::start(&cluster.disk).await;
    assert_eq!(remote.device().size, SIZE);
    write_and_read_on(&remote, 0..50).await;
    cluster.cut_fabric(0).await;
    write_and_read_on(&remote, 50..100).await;
    assert_eq!(remote.execute(Request::Flush).await.map_err(Failure::from), Ok(Reply::Done));
    drop(remote);
    served.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vios_that_refuses_a_write_says_so_in_a_word_that_is_whole() {
    let cluster = Cluster::start().await;
    let (node, vios) = cluster.by_hand(0).await;
    let (back, mut heard) = ear::listen(node).await;
    // The storage has no such LU, so that no session begins.
    let (lu, epoch) = (LuId(9), Epoch { owner: OwnerId(1), seq: 1 });
    let open = Call::Open { epoch, holder: Holder(12), hop: 0, avoid: None };
    vios.tell(CarriedCall::seal(lu, open).answered_to(back)).await.unwrap();
    while heard.next().await.open() != Ok(Word::NoPath { epoch }) {}

    let write = Call::Request { epoch, no: 1, request: write(0, b"late") };
    vios.tell(CarriedCall::seal(lu, write)).await.unwrap();
    let refused = heard.next().await;
    assert!(refused.is_whole(), "{refused:?}");
    assert_eq!(refused.open(), Ok(Word::Down { epoch, why: Why::NotOpen }));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_owner_takes_the_disk_over_and_the_first_ends() {
    let cluster = Cluster::start().await;
    write_and_read(&cluster, 0..10).await;
    let second = cluster.open_again().await;
    write_and_read_on(&second, 10..20).await;
    timeout(Duration::from_secs(20), cluster.disk.ended()).await.expect("it hears of the other");
    let late = cluster.disk.execute(write(0, &[9; 4096])).await;
    assert_eq!(late, Err(Failure::ShuttingDown));
    assert_eq!(second.execute(read(0, 4096)).await, Ok(Reply::Data(vec![0; 4096].into())));
    second.close(Duration::from_secs(10)).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_path_requests_wait_within_their_bounds_and_then_fail_in_order() {
    let hold_max = Duration::from_millis(400);
    let limits = OwnerLimits { hold_max, request_bytes_max: 8192, ..OwnerLimits::default() };
    let mut cluster = Cluster::start_with(limits).await;
    write_and_read(&cluster, 0..5).await;
    cluster.cut_fabric(0).await;
    cluster.cut_fabric(1).await;
    // Two have room, the others wait for it.
    let writes = (0..6).map(|block| cluster.disk.execute(write(block * 4096, &[9; 4096])));
    let began = tokio::time::Instant::now();
    let outcomes = timeout(Duration::from_secs(20), join_all(writes)).await.expect("they end");
    assert!(began.elapsed() >= hold_max, "{:?}", began.elapsed());
    assert_eq!(outcomes, vec![Err(Failure::Io); 6]);
    let figures = cluster.figures().await;
    assert!(!figures.is_serving && figures.requests <= 2, "{figures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_request_goes_in_parts_and_keeps_its_place_before_later_ones() {
    let cluster = Cluster::start().await;
    let old: Vec<u8> = (0..3 * 256_u32).flat_map(|block| [block.to_le_bytes()[0]; 4096]).collect();
    let (long, short) = (write(4096, &old), write(4096 + (2 << 20), &[9; 4096]));
    let (first, second) = tokio::join!(cluster.disk.execute(long), cluster.disk.execute(short));
    assert_eq!((first, second), (Ok(Reply::Done), Ok(Reply::Done)));
    let mut expected = old;
    expected[2 << 20..][..4096].fill(9);
    let all = cluster.disk.execute(read(4096, 3 << 20)).await;
    assert_eq!(all, Ok(Reply::Data(expected.into())));
    let most = cluster.disk.execute(read(0, 8 << 20)).await;
    assert!(matches!(most, Ok(Reply::Data(data)) if data.len() == 8 << 20));
    cluster.stop().await;
}
