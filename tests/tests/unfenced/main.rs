//! A disk on a storage outside of the cluster that fences nobody: what is late there, and a cache
//! that it loses, cost no acknowledged data.

#![cfg(test)]
#![expect(clippy::print_stdout, reason = "how long requests took is for whoever runs the tests")]

#[cfg(test)]
mod double;
#[cfg(test)]
mod site;

use std::sync::Arc;
use std::time::Duration;

use site::{A, B, Site};
use tokio::time::Instant;
use vioduct_vios::redirect::limits::LEASE_TOLD;

/// How long the storage holds a write back, and how long it may at most.
const HELD: Duration = Duration::from_secs(2);
const LIFE: Duration = Duration::from_secs(5);

/// A write is stuck in the storage while its path is lost. It is sent again by another VIOS and
/// acknowledged; newer ones follow; then the stuck one is carried out. What the block holds then,
/// of `newest`.
async fn late_write(life: Duration) -> (u8, u8) {
    let site = Site::start(Some(life)).await;
    site.write(0, 1).await;
    site.storage.hold_next(HELD);
    let disk = Arc::clone(site.disk());
    let stuck = tokio::spawn(async move { site::write_to(&disk, 0, 2).await });
    site.storage.holds().await;
    site.a.gateway.reset();
    site.a.gateway.refuse();
    stuck.await.unwrap();
    assert_eq!(site.figures().await.exit, Some(B), "the other VIOS reaches the storage");
    let began = Instant::now();
    site.write(1, 7).await;
    println!("beside the doubtful write: {} ms", began.elapsed().as_millis());
    for value in 3..=200 {
        site.write(0, value).await;
    }
    println!("over the doubtful write: {} ms", began.elapsed().as_millis());
    site.storage.let_go().await;
    let found = site.read(0).await;
    site.stop().await;
    (found, 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_late_lands_on_nothing_newer() {
    let (found, newest) = late_write(LIFE).await;
    assert_eq!(found, newest);
}

/// The same, and the owner takes a request's life for nothing: it does not hold newer writes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_hold_the_late_write_is_found() {
    let (found, newest) = late_write(Duration::ZERO).await;
    assert_ne!(found, newest, "the stuck write has landed on newer ones");
}

/// The storage loses what was acknowledged and not flushed; with `is_hidden` its connections
/// outlive that. How many blocks are as they were written.
async fn lost_cache(is_hidden: bool) -> u64 {
    let site = Site::start(Some(LIFE)).await;
    const BLOCKS: u64 = 64;
    for block in 0..BLOCKS {
        site.write(block, 5).await;
    }
    site.storage.lose_cache();
    if !is_hidden {
        site.a.gateway.reset();
    }
    let mut kept = 0;
    for block in 0..BLOCKS {
        kept += u64::from(site.read(block).await == 5);
    }
    site.flush().await;
    let is_durable = (0..BLOCKS).filter(|block| site.storage.durable(*block) == 5).count();
    assert_eq!(u64::try_from(is_durable).unwrap(), kept, "a flush makes durable what is there");
    site.stop().await;
    BLOCKS - kept
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_that_loses_its_cache_with_its_connections_loses_nothing() {
    assert_eq!(lost_cache(false).await, 0);
}

/// The same, and something keeps the connections as if nothing had been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_whose_loss_is_hidden_is_found_to_be_lost() {
    assert_eq!(lost_cache(true).await, 64);
}

/// A storage that is silent is given up like a fabric; requests that share no bytes with one in
/// doubt go on by the other VIOS, and it is gone back to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_gateway_is_left_for_the_other_vios_and_gone_back_to() {
    let site = Site::start(Some(Duration::from_millis(500))).await;
    let began = Instant::now();
    site.a.gateway.cut_both();
    let mut longest = Duration::ZERO;
    let mut block = 0;
    while site.figures().await.exit != Some(B) {
        let asked = Instant::now();
        site.write(block % 200, 9).await;
        longest = longest.max(asked.elapsed());
        block += 1;
        assert!(began.elapsed() < site::BOUND, "it is not left");
    }
    println!("longest write over a silent gateway: {} ms", longest.as_millis());
    // What is held on the way is lost with the connections.
    site.a.gateway.reset();
    site.a.gateway.heal().unwrap();
    site.until(async |site| site.figures().await.exit == Some(A)).await;
    assert_eq!(site.read(0).await, 9);
    site.stop().await;
}

/// Nobody knows how long a request of the storage lives: what was left without an answer waits for
/// somebody who says that it cannot land any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_known_life_doubtful_writes_wait_until_they_are_cleared() {
    let site = Site::start(None).await;
    site.storage.hold_next(Duration::from_millis(200));
    let disk = Arc::clone(site.disk());
    let stuck = tokio::spawn(async move { site::write_to(&disk, 0, 2).await });
    site.storage.holds().await;
    site.a.gateway.reset();
    stuck.await.unwrap();
    site.storage.let_go().await;
    let disk = Arc::clone(site.disk());
    let newer = tokio::spawn(async move { site::write_to(&disk, 0, 3).await });
    for block in 1..50 {
        site.write(block, 4).await;
    }
    assert!(!newer.is_finished(), "the newer write is held back");
    assert_eq!(site.figures().await.unresolved, 1);
    site.disk().clear(site::BOUND).await.unwrap();
    newer.await.unwrap();
    assert_eq!(site.read(0).await, 3);
    site.stop().await;
}

/// An owner that died may have left writes that land later: the next one waits, unless the one
/// before has closed in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_owner_waits_for_what_one_that_died_has_left() {
    let life = Duration::from_millis(300);
    let mut site = Site::start(Some(life)).await;
    site.write(0, 1).await;
    site.close_owner().await;
    site.open_again().await;
    site.write(0, 2).await;
    let after_close = site.figures().await.longest_wait;
    assert!(after_close < LEASE_TOLD, "{after_close:?}");
    site.kill_owner();
    site.open_again().await;
    assert_eq!(site.read(0).await, 2);
    let after_death = site.figures().await.longest_wait;
    assert!(after_death >= LEASE_TOLD + life, "{after_death:?}");
    site.stop().await;
}
