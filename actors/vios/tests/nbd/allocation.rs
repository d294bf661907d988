//! What is allocated for a client's claims, counted on the thread that serves it.
#![expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait; both calls are handed on unchanged"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use vioduct_vios::nbd::server::Config;

use crate::raw::{READ, Raw, WRITE};
use crate::served::Served;
use crate::stuck::StuckDisk;

/// For one connection that has no request under way, bytes: its buffers, and some room.
const CONNECTION_BYTES_MAX: isize = 512 << 10;
const EINVAL: u32 = 22;

thread_local! {
    /// Bytes now, and at most.
    static OWN: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn note(bytes: isize) {
    OWN.with(|own| {
        let (live, peak) = own.get();
        let live = live + bytes;
        own.set((live, peak.max(live)));
    });
}

fn size(layout: Layout) -> isize {
    isize::try_from(layout.size()).unwrap_or(isize::MAX)
}

// SAFETY: every call goes to the system's allocator with the same arguments; counting neither
// allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(size(layout));
        // SAFETY: the caller keeps the contract of this very call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note(-size(layout));
        // SAFETY: the caller keeps the contract of this very call.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most that this thread allocated at once beyond what it had before.
async fn peak_of(work: impl Future<Output = ()>) -> isize {
    let before = OWN.with(|own| {
        let (live, _) = own.get();
        own.set((live, live));
        live
    });
    work.await;
    OWN.with(Cell::get).1 - before
}

#[tokio::test]
async fn what_a_request_claims_is_not_allocated() {
    let config = Config { connections_max: 1, ..Config::default() };
    let served = Served::disk(Arc::new(StuckDisk::new_writable()), config);
    let work = async {
        let mut raw = Raw::go(&served.socket()).await;
        for cookie in 0..500 {
            raw.request(READ, cookie, 0, u32::MAX).await;
            assert_eq!(raw.reply().await, (EINVAL, cookie));
        }
        raw.request(WRITE, 500, 0, u32::MAX).await;
        for _piece in 0..100 {
            raw.socket.write_all(&[7; 64 << 10]).await.unwrap();
        }
        drop(raw);
        // The only place is free once all of it was dealt with.
        Raw::connect(&served.socket()).await.greet().await;
    };
    let peak = peak_of(work).await;
    assert!(peak < CONNECTION_BYTES_MAX, "{peak} bytes");
}

#[tokio::test]
async fn what_an_option_claims_is_not_allocated() {
    let config = Config { connections_max: 1, ..Config::default() };
    let served = Served::disk(Arc::new(StuckDisk::new()), config);
    let work = async {
        let mut raw = Raw::connect(&served.socket()).await;
        raw.greet().await;
        let claim = [b"IHAVEOPT", &[0, 0, 0, 7][..], &u32::MAX.to_be_bytes()].concat();
        raw.socket.write_all(&claim).await.unwrap();
        for _piece in 0..100 {
            raw.socket.write_all(&[7; 64 << 10]).await.unwrap();
        }
        drop(raw);
        Raw::connect(&served.socket()).await.greet().await;
    };
    let peak = peak_of(work).await;
    assert!(peak < CONNECTION_BYTES_MAX, "{peak} bytes");
}

#[tokio::test]
async fn the_counter_counts() {
    let work = async {
        let bytes = std::hint::black_box(vec![1_u8; 1 << 20]);
        drop(bytes);
    };
    let peak = peak_of(work).await;
    assert!(((1 << 20)..(1 << 21)).contains(&peak), "{peak} bytes");
}
