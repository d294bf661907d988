//! What our client asks of our server, over a file.

use std::sync::Arc;

use bytes::Bytes;
use vioduct_vios::block::{Extent, Failure, Reply, Request, Run};
use vioduct_vios::disk::{Abilities, Device, Disk};
use vioduct_vios::file;
use vioduct_vios::nbd::client::{self, Address, Remote, RequestError};
use vioduct_vios::nbd::server::Config;

use crate::served::{SIZE, Served};
use crate::stuck::StuckDisk;

const MIB: u32 = 1 << 20;

fn at(offset: u64, length: u32) -> Extent {
    Extent { offset, length }
}

fn write(offset: u64, data: &[u8]) -> Request {
    Request::Write { offset, data: Bytes::copy_from_slice(data), fua: false }
}

fn zeroes(extent: Extent, may_punch: bool) -> Request {
    Request::WriteZeroes { extent, fua: false, may_punch, only_fast: false }
}

async fn read(disk: &Remote, offset: u64, length: u32) -> Vec<u8> {
    match disk.execute(Request::Read { extent: at(offset, length) }).await.unwrap() {
        Reply::Data(data) => data.to_vec(),
        other => panic!("{other:?}"),
    }
}

async fn done(disk: &Remote, request: Request) {
    assert_eq!(disk.execute(request).await, Ok(Reply::Done));
}

#[tokio::test]
async fn what_was_written_is_read_by_every_connection() {
    let served = Served::file();
    let (one, other) = (served.connect().await, served.connect().await);
    assert_eq!(one.device().size, SIZE);
    assert!(one.device().abilities.is_shared && one.device().abilities.can_status);
    for (offset, length) in [(0, 1), (4095, 3), (1 << 20, MIB), (5 << 20, 32 * MIB)] {
        let data: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        done(&one, write(offset, &data)).await;
        assert!(read(&other, offset, length).await == data, "{length} bytes at {offset}");
    }
    assert_eq!(served.stored(4095, 3), [0, 1, 2]);
    one.close().await;
    served.stop().await;
}

#[tokio::test]
async fn many_requests_at_once_are_each_answered_with_their_own() {
    let served = Served::file();
    let disk = served.connect().await;
    let each = futures_util::future::join_all((0..500_u64).map(|block| {
        let disk = &disk;
        async move {
            let data = block.to_be_bytes().repeat(512);
            done(disk, write(block * 4096, &data)).await;
            assert!(read(disk, block * 4096, 4096).await == data);
        }
    }));
    each.await;
}

#[tokio::test]
async fn a_request_past_the_end_is_refused_and_the_next_one_is_served() {
    let served = Served::file();
    let disk = served.connect().await;
    let invalid = Err(RequestError::Device(Failure::Invalid));
    let no_space = Err(RequestError::Device(Failure::NoSpace));
    for extent in [at(SIZE, 1), at(SIZE - 1, 2), at(u64::MAX, 512), at(1 << 63, 512)] {
        assert_eq!(disk.execute(Request::Read { extent }).await, invalid);
        assert_eq!(disk.execute(Request::Trim { extent, fua: false }).await, invalid);
        assert_eq!(disk.execute(Request::Status { extent }).await, invalid);
        assert_eq!(disk.execute(zeroes(extent, true)).await, no_space);
        let data = vec![1; extent.length.try_into().unwrap()];
        assert_eq!(disk.execute(write(extent.offset, &data)).await, no_space);
    }
    assert_eq!(read(&disk, SIZE - 1, 1).await, [0]);
}

#[tokio::test]
async fn a_request_of_no_length_does_nothing_well() {
    let served = Served::file();
    let disk = served.connect().await;
    for offset in [0, 512, SIZE] {
        assert_eq!(read(&disk, offset, 0).await, []);
        done(&disk, write(offset, b"")).await;
        done(&disk, zeroes(at(offset, 0), true)).await;
        done(&disk, Request::Trim { extent: at(offset, 0), fua: true }).await;
    }
    let status = disk.execute(Request::Status { extent: at(0, 0) }).await;
    assert_eq!(status, Err(RequestError::Device(Failure::Invalid)), "a run is never empty");
}

#[tokio::test]
async fn zeroes_read_as_zeroes_with_and_without_a_hole() {
    let served = Served::file();
    let disk = served.connect().await;
    done(&disk, write(0, &vec![9; 3 << 20])).await;
    done(&disk, zeroes(at(0, MIB), true)).await;
    done(&disk, zeroes(at(1 << 20, MIB), false)).await;
    assert!(read(&disk, 0, 2 * MIB).await == vec![0; 2 << 20]);
    assert_eq!(read(&disk, 2 << 20, 2).await, [9, 9]);
    let fast =
        Request::WriteZeroes { extent: at(0, MIB), fua: true, may_punch: true, only_fast: true };
    match disk.execute(fast).await {
        // The second is for file systems that know no holes.
        Ok(Reply::Done) | Err(RequestError::Device(Failure::NotSupported)) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn status_tells_holes_from_data() {
    let served = Served::file();
    let disk = served.connect().await;
    done(&disk, write(1 << 20, &vec![9; 1 << 20])).await;
    done(&disk, Request::Flush).await;
    let status = disk.execute(Request::Status { extent: at(0, 4 * MIB) }).await;
    let run = |length, is_hole| Run { length, is_hole, is_zero: is_hole };
    let runs = vec![run(MIB, true), run(MIB, false), run(2 * MIB, true)];
    assert_eq!(status, Ok(Reply::Status(runs)));
    done(&disk, Request::Trim { extent: at(1 << 20, MIB), fua: true }).await;
    let status = disk.execute(Request::Status { extent: at(0, 4 * MIB) }).await;
    assert_eq!(status, Ok(Reply::Status(vec![run(4 * MIB, true)])));
}

#[tokio::test]
async fn every_flag_reaches_the_disk() {
    let abilities = Abilities {
        can_flush: true,
        can_fua: true,
        can_trim: true,
        can_write_zeroes: true,
        can_zero_fast: true,
        ..Abilities::default()
    };
    let stuck = Arc::new(StuckDisk::with(Device { abilities, ..Device::new(1 << 20) }));
    let served = Served::disk(Arc::clone(&stuck), Config::default());
    let disk = served.connect().await;
    let extent = at(512, 1024);
    let zeroes =
        |fua, may_punch, only_fast| Request::WriteZeroes { extent, fua, may_punch, only_fast };
    let asked = [
        Request::Write { offset: 4096, data: Bytes::from_static(b"abc"), fua: true },
        Request::Write { offset: 4096, data: Bytes::from_static(b"abc"), fua: false },
        Request::Flush,
        Request::Trim { extent, fua: true },
        Request::Trim { extent, fua: false },
        zeroes(true, false, false),
        zeroes(false, true, false),
        zeroes(false, false, true),
    ];
    stuck.let_go(asked.len());
    for request in &asked {
        done(&disk, request.clone()).await;
    }
    assert_eq!(stuck.begun(), asked);
}

#[tokio::test]
async fn a_read_only_disk_takes_no_writes() {
    let served = Served::file_with(file::Config { is_read_only: true, ..file::Config::default() });
    let disk = served.connect().await;
    assert!(disk.device().abilities.is_read_only);
    let refused = Err(RequestError::Device(Failure::ReadOnly));
    assert_eq!(disk.execute(write(0, b"x")).await, refused);
    done(&disk, Request::Flush).await;
    assert_eq!(read(&disk, 0, 1).await, [0]);
}

#[tokio::test]
async fn a_disk_around_the_page_cache_keeps_to_its_blocks() {
    let served = Served::file_with(file::Config { is_direct: true, ..file::Config::default() });
    let disk = served.connect().await;
    let block = disk.device().block_min;
    assert!(block >= 512, "direct I/O has blocks");
    let data: Vec<u8> = (0..16 * block).map(|at| (at % 249) as u8).collect();
    done(&disk, Request::Write { offset: 0, data: data.clone().into(), fua: true }).await;
    assert!(read(&disk, 0, 16 * block).await == data);
    let off_by_one = disk.execute(Request::Read { extent: at(1, block) }).await;
    assert_eq!(off_by_one, Err(RequestError::Device(Failure::Invalid)));
}

#[tokio::test]
async fn a_client_without_structured_replies_is_served_as_well() {
    let served = Served::file();
    let config = client::Config { structured: false, ..client::Config::default() };
    let address = Address::Unix(served.socket());
    let disk = Remote::connect(&address, &config).await.unwrap();
    done(&disk, write(512, b"abc")).await;
    assert_eq!(read(&disk, 511, 5).await, *b"\0abc\0");
    let past = disk.execute(Request::Read { extent: at(SIZE, 1) }).await;
    assert_eq!(past, Err(RequestError::Device(Failure::Invalid)));
    let status = disk.execute(Request::Status { extent: at(0, 512) }).await;
    assert_eq!(status, Err(RequestError::Device(Failure::NotSupported)));
}
