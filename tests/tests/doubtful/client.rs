//! What the client does with its disk.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use vioduct_vios::disk::Disk;
use vioduct_vios::lpar::{Figures, LparDisk};

/// Longer than anything here takes.
pub(crate) const BOUND: Duration = Duration::from_secs(30);
pub(crate) const SIZE: u64 = 1 << 20;
pub(crate) const BLOCK: u32 = 4096;
const LAST: u64 = SIZE / BLOCK as u64 - 1;

/// Writes one block of bytes that are alike.
pub(crate) async fn write(disk: &LparDisk, block: u64, value: u8) {
    let data = Bytes::from(vec![value; BLOCK as usize]);
    let write = disk.write(block * u64::from(BLOCK), data);
    timeout(BOUND, write).await.expect("an answer").unwrap();
}

/// What a block consists of.
pub(crate) async fn read(disk: &LparDisk, block: u64) -> u8 {
    let read = disk.read(block * u64::from(BLOCK), BLOCK);
    let data = timeout(BOUND, read).await.expect("an answer").unwrap();
    assert!(data.iter().all(|byte| *byte == data[0]), "a torn block");
    data[0]
}

pub(crate) async fn flush(disk: &LparDisk) {
    timeout(BOUND, disk.flush()).await.expect("an answer").unwrap();
}

pub(crate) async fn figures(disk: &LparDisk) -> Figures {
    disk.figures(BOUND).await.unwrap()
}

/// Writes the last block until that is so.
pub(crate) async fn until(disk: &LparDisk, is_so: impl Fn(Figures) -> bool) {
    let reached = async {
        while !is_so(figures(disk).await) {
            write(disk, LAST, 1).await;
        }
    };
    timeout(BOUND, reached).await.expect("it comes to that");
}
