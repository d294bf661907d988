//! The two ways in which redirecting loses acknowledged data without a word: a write that is late,
//! and a cache that is lost behind a connection that comes back. On the repository, which fences,
//! and on a storage outside of the cluster, which does not; each time also with what prevents it
//! taken out, and then it is found.

#![cfg(test)]
#![expect(clippy::print_stdout, reason = "how long requests took is for whoever runs the tests")]

#[cfg(test)]
mod client;
#[cfg(test)]
mod double;
#[cfg(test)]
mod nodes;
#[cfg(test)]
mod outside;
#[cfg(test)]
mod repository;

use std::sync::Arc;
use std::time::Duration;

use client::{BOUND, figures, flush, read, until, write};
use double::Double;
use nodes::{A, B};
use repository::Fence;
use tokio::time::Instant;
use vioduct_vios::lpar::LparDisk;
use vioduct_vios::redirect::limits::LEASE_TOLD;

/// How long the storage holds a write back, and how long one may live at most.
const HELD: Duration = Duration::from_secs(2);
const LIFE: Duration = Duration::from_secs(5);
const NEWEST: u8 = 200;
const BLOCKS: u64 = 64;

/// A write is stuck in the storage while its path is lost. It is sent again by another VIOS and
/// acknowledged; newer ones follow; then the stuck one is carried out. Gives what the block
/// consists of then.
async fn late_write(disk: &Arc<LparDisk>, storage: &Double, lose_path: impl FnOnce()) -> u8 {
    write(disk, 0, 1).await;
    storage.hold_next(HELD);
    let client = Arc::clone(disk);
    let stuck = tokio::spawn(async move { write(&client, 0, 2).await });
    storage.holds().await;
    lose_path();
    stuck.await.unwrap();
    assert_eq!(figures(disk).await.exit, Some(B), "the other VIOS reaches the storage");
    let began = Instant::now();
    write(disk, 1, 7).await;
    println!("beside the doubtful write: {} ms", began.elapsed().as_millis());
    for value in 3..=NEWEST {
        write(disk, 0, value).await;
    }
    println!("over the doubtful write: {} ms", began.elapsed().as_millis());
    storage.let_go().await;
    read(disk, 0).await
}

async fn late_on_repository(fence: Fence) -> u8 {
    let site = repository::Site::start(fence).await;
    let found = late_write(&site.disk, &site.double, || site.cut_fabric()).await;
    site.stop().await;
    found
}

async fn late_outside(life: Duration) -> u8 {
    let site = outside::Site::start(Some(life)).await;
    let lose_path = || {
        site.a.gateway.reset();
        site.a.gateway.refuse();
    };
    let found = late_write(site.disk(), &site.storage, lose_path).await;
    site.stop().await;
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_repository_a_late_write_lands_on_nothing_newer() {
    assert_eq!(late_on_repository(Fence::On).await, NEWEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_repositories_that_do_not_fence_the_late_write_is_found() {
    assert_eq!(late_on_repository(Fence::Off).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_a_late_write_lands_on_nothing_newer() {
    assert_eq!(late_outside(LIFE).await, NEWEST);
}

/// The owner takes a request's life for nothing: it does not hold newer writes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_without_the_hold_the_late_write_is_found() {
    assert_eq!(late_outside(Duration::ZERO).await, 2);
}

async fn fill(disk: &LparDisk) {
    for block in 0..BLOCKS {
        write(disk, block, 5).await;
    }
}

/// How many of the blocks are not as they were written; those that are, are durable after a flush.
async fn lost(disk: &LparDisk, storage: &Double) -> u64 {
    let mut kept = 0;
    for block in 0..BLOCKS {
        kept += u64::from(read(disk, block).await == 5);
    }
    flush(disk).await;
    let durable = (0..BLOCKS).filter(|block| storage.durable(*block) == 5).count();
    assert_eq!(u64::try_from(durable).unwrap(), kept, "a flush makes durable what is there");
    BLOCKS - kept
}

/// The storage loses what was acknowledged and not flushed, and is started anew, unless that is
/// hidden.
async fn lost_on_repository(is_hidden: bool) -> u64 {
    let mut site = repository::Site::start(Fence::On).await;
    fill(&site.disk).await;
    site.double.lose_cache();
    if !is_hidden {
        site.restart_storage().await;
    }
    let lost = lost(&site.disk, &site.double).await;
    site.stop().await;
    lost
}

/// The same, with its connections.
async fn lost_outside(is_hidden: bool) -> u64 {
    let site = outside::Site::start(Some(LIFE)).await;
    fill(site.disk()).await;
    site.storage.lose_cache();
    if !is_hidden {
        site.a.gateway.reset();
    }
    let lost = lost(site.disk(), &site.storage).await;
    site.stop().await;
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_loses_its_cache_loses_nothing_that_was_acknowledged() {
    assert_eq!(lost_on_repository(false).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_whose_loss_is_hidden_is_found() {
    assert_eq!(lost_on_repository(true).await, BLOCKS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outside_storage_that_loses_its_cache_loses_nothing_that_was_acknowledged() {
    assert_eq!(lost_outside(false).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outside_storage_whose_loss_is_hidden_is_found() {
    assert_eq!(lost_outside(true).await, BLOCKS);
}

/// A gateway that is silent is given up like a fabric; requests that share no bytes with one in
/// doubt go on by the other VIOS, and it is gone back to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_gateway_is_left_for_the_other_vios_and_gone_back_to() {
    let site = outside::Site::start(Some(Duration::from_millis(500))).await;
    let disk = site.disk();
    let began = Instant::now();
    site.a.gateway.cut_both();
    let mut longest = Duration::ZERO;
    let mut block = 0;
    while figures(disk).await.exit != Some(B) {
        let asked = Instant::now();
        write(disk, block % 200, 9).await;
        longest = longest.max(asked.elapsed());
        block += 1;
        assert!(began.elapsed() < BOUND, "it is not left");
    }
    println!("longest write over a silent gateway: {} ms", longest.as_millis());
    // What is held on the way is lost with the connections.
    site.a.gateway.reset();
    site.a.gateway.heal().unwrap();
    until(disk, |figures| figures.exit == Some(A)).await;
    assert_eq!(read(disk, 0).await, 9);
    site.stop().await;
}

/// Nobody knows how long a request of the storage lives: what was left without an answer waits for
/// somebody who says that it cannot land any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_known_life_doubtful_writes_wait_until_they_are_cleared() {
    let site = outside::Site::start(None).await;
    site.storage.hold_next(Duration::from_millis(200));
    let client = Arc::clone(site.disk());
    let stuck = tokio::spawn(async move { write(&client, 0, 2).await });
    site.storage.holds().await;
    site.a.gateway.reset();
    stuck.await.unwrap();
    site.storage.let_go().await;
    let client = Arc::clone(site.disk());
    let newer = tokio::spawn(async move { write(&client, 0, 3).await });
    for block in 1..50 {
        write(site.disk(), block, 4).await;
    }
    assert!(!newer.is_finished(), "the newer write is held back");
    assert_eq!(figures(site.disk()).await.unresolved, 1);
    site.disk().clear(BOUND).await.unwrap();
    newer.await.unwrap();
    assert_eq!(read(site.disk(), 0).await, 3);
    site.stop().await;
}

/// An owner that died may have left writes that land later: the next one waits, unless the one
/// before has closed in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_owner_waits_for_what_one_that_died_has_left() {
    let life = Duration::from_millis(300);
    let mut site = outside::Site::start(Some(life)).await;
    write(site.disk(), 0, 1).await;
    site.close_owner().await;
    site.open_again().await;
    write(site.disk(), 0, 2).await;
    let after_close = figures(site.disk()).await.longest_wait;
    assert!(after_close < LEASE_TOLD, "{after_close:?}");
    site.kill_owner();
    site.open_again().await;
    assert_eq!(read(site.disk(), 0).await, 2);
    let after_death = figures(site.disk()).await.longest_wait;
    assert!(after_death >= LEASE_TOLD + life, "{after_death:?}");
    site.stop().await;
}
