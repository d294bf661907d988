//! What our decoders allocate for a peer's bytes, counted.
//!
//! The counter replaces the allocator of this test binary. [`measure`] counts what the calling
//! thread allocates meanwhile. Around a decoder, that is the decoder's alone. In the one test over
//! a network it is everything that both sides do, QUIC and TLS libraries included, which run on one
//! thread there: what these take for a connection is theirs and not bounded here, but nothing of it
//! may stay, and the refusal's kind shows that no decoder of ours has run.
#![expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait; both calls are handed on unchanged"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use crate::support::hostile::{Hostile, header};
use crate::support::{Node, ca, within};
use bytes::Bytes;
use vioduct_certs::dev::{DevCa, client_config_without_certificate};
use vioduct_certs::identity::{Identity, Roles};
use vioduct_certs::refusal::{Refusal, RefusalSlot};
use vioduct_transport::DialError;
use vioduct_transport::seam::SystemClock;
use vioduct_transport::wire::{
    ALPN, FrameDecoder, FrameError, FrameLimits, Hello, HelloDecoder, Rejection,
};

/// What an unauthenticated peer may cost, bytes.
const UNAUTHENTICATED_BYTES_MAX: isize = 64 << 10;

thread_local! {
    static OWN: Cell<Figures> = const { Cell::new(Figures { live: 0, peak: 0, total: 0 }) };
}

/// Bytes allocated: now, at most, and in sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Figures {
    live: isize,
    peak: isize,
    total: isize,
}

struct Counting;

fn note(bytes: isize) {
    OWN.with(|own| {
        let Figures { live, peak, total } = own.get();
        let live = live + bytes;
        own.set(Figures { live, peak: peak.max(live), total: total + bytes.max(0) });
    });
}

fn size(layout: Layout) -> isize {
    isize::try_from(layout.size()).expect("a layout is at most isize::MAX bytes")
}

// SAFETY: every call goes to the system's allocator with the same arguments; counting neither
// allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(size(layout));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-size(layout));
        // SAFETY: the caller keeps the contract of `dealloc`, and `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What this thread allocates while it does this work. A reallocation counts as both.
fn measure<T>(work: impl FnOnce() -> T) -> (Figures, T) {
    OWN.set(Figures { live: 0, peak: 0, total: 0 });
    let output = work();
    (OWN.get(), output)
}

/// What this thread has allocated and not freed, since the last measurement began.
pub(crate) fn live_bytes() -> usize {
    usize::try_from(OWN.get().live).expect("nothing is freed that was not allocated")
}

const NONE: Figures = Figures { live: 0, peak: 0, total: 0 };

#[test]
fn the_counter_counts() {
    let (figures, kept) = measure(|| {
        drop(vec![0_u8; 3000]);
        vec![0_u8; 1000]
    });
    assert_eq!(figures, Figures { live: 1000, peak: 3000, total: 4000 });
    drop(kept);
}

/// As the crate reads a handshake message: the opening, then a buffer of the announced length.
fn read_handshake(bytes: &[u8]) {
    let (opening, rest) = bytes.split_first_chunk().expect("7 bytes and more");
    if let Ok(decoder) = HelloDecoder::open(*opening) {
        let [.., low, high] = *opening;
        let mut fields = vec![0; usize::from(u16::from_le_bytes([low, high]))];
        fields.iter_mut().zip(rest).for_each(|(field, byte)| *field = *byte);
        // Both results are kept at once, which no side of a link does.
        drop((decoder.hello(&fields), decoder.answer(&fields)));
    }
}

#[test]
fn a_handshake_message_costs_two_kib_whatever_it_says() {
    let names = "n".repeat(255);
    let longest =
        Hello { cluster: names.clone(), node: names.clone(), ..Hostile::said_by("test", "evil") };
    let rejection = Rejection::Identity { said: names.clone(), certificate: names };
    let mut inputs = vec![longest.encode(), rejection.encode()];
    // Every kind and length, with fields that are names from some offset on.
    for kind in 0..=4 {
        for length in (0..=u16::MAX).step_by(101).chain([1023, 1024, 1025, u16::MAX]) {
            let [low, high] = length.to_le_bytes();
            let fields = vec![u8::try_from(length % 256).unwrap(); usize::from(length)];
            inputs.push([&[b'V', b'D', b'C', b'T', kind, low, high][..], &fields].concat());
        }
    }
    for bytes in inputs {
        let (figures, ()) = measure(|| read_handshake(&bytes));
        assert!(figures.peak <= 2048 && figures.total <= 2048, "{figures:?} for {:?}", &bytes[..7]);
        assert!(figures.peak <= UNAUTHENTICATED_BYTES_MAX);
        assert_eq!(figures.live, 0);
    }
    let (figures, ()) = measure(|| read_handshake(b"VDCT\x01\x01\x04and so on"));
    assert_eq!(figures, NONE, "an opening past the limit allocates nothing");
}

const LIMITS: FrameLimits = FrameLimits {
    head_bytes_max: 64 << 10,
    inline_body_bytes_max: 256 << 10,
    body_bytes_max: 16 << 20,
};

/// Feeds a lane's bytes in pieces of `size`, which belong to nobody: only the decoder is counted.
fn feed(bytes: &[u8], size: usize) -> (Figures, Option<FrameError>) {
    let bytes: &'static [u8] = Box::leak(bytes.into());
    let mut decoder = FrameDecoder::new(LIMITS);
    let (figures, error) = measure(|| {
        for piece in bytes.chunks(size) {
            decoder.push(Bytes::from_static(piece));
            if let Err(error) = decoder.next() {
                return Some(error);
            }
        }
        None
    });
    assert!(decoder.is_mid_message());
    (figures, error)
}

#[test]
fn a_frame_costs_no_more_than_its_checked_length() {
    let (head, body) = (LIMITS.head_bytes_max, LIMITS.inline_body_bytes_max);
    let checked = isize::try_from(13 + head + body).unwrap();
    for size in [1, 5, 13] {
        let (figures, error) = feed(&header(1, 1, head, body), size);
        assert_eq!(error, None);
        // The header's own bytes are moved once; the shared-buffer bookkeeping is a few words.
        assert!(figures.live <= checked + 64, "{figures:?} in pieces of {size}");
        assert!(figures.peak <= checked + 64 + 64, "{figures:?} in pieces of {size}");
    }
    // A body on a stream of its own costs nothing on the lane, whatever its length.
    let (figures, error) = feed(&header(2, 1, 100, LIMITS.body_bytes_max), 13);
    assert_eq!(error, None);
    assert!(figures.peak <= 13 + 100 + 64 + 64, "{figures:?}");
}

#[test]
fn a_frame_past_a_limit_costs_nothing() {
    let claims = [
        header(1, 1, LIMITS.head_bytes_max + 1, 0),
        header(1, 1, u32::MAX, u32::MAX),
        header(1, 1, 0, LIMITS.inline_body_bytes_max + 1),
        header(2, 1, 0, LIMITS.body_bytes_max + 1),
        header(2, 1, u32::MAX, 1),
        header(9, 1, 1, 1),
    ];
    for claim in claims {
        let (figures, error) = feed(&claim, 13);
        assert!(error.is_some());
        assert_eq!(figures, NONE, "{error:?}");
        // Cut anywhere, only the bytes that came are kept.
        let (figures, error) = feed(&claim, 4);
        assert!(error.is_some());
        assert!(figures.peak <= 128, "{figures:?} for {error:?}");
    }
}

/// One dial by someone who is refused in TLS. It says a hello as soon as its own side of the TLS
/// handshake is done, with the greatest lengths there are.
async fn knock(node: &mut Node, tls: rustls::ClientConfig, expected: &Refusal) {
    let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let name = node.endpoint.credentials().identity().server_name();
    let connecting =
        endpoint.connect_with(crate::support::hostile::client(tls), node.addr, &name).unwrap();
    if let Ok(connection) = within(connecting).await
        && let Ok((mut send, _recv)) = connection.open_bi().await
    {
        // Fails when the refusal is there already.
        send.write_all(b"VDCT\x01\xff\xff").await.ok();
        within(connection.closed()).await;
    }
    let (_addr, error) = within(node.refused.recv()).await.unwrap();
    // Not `Wire`: no decoder of ours has seen a byte.
    let DialError::Refused { refusal, .. } = error else { panic!("another error: {error}") };
    assert_eq!(refusal.label(), expected.label());
    within(endpoint.wait_idle()).await;
}

/// Garbage to the socket, then strangers; a link at the end shows that all of it was handled.
async fn harass(ca: &mut DevCa, strangers: usize) {
    let mut node = crate::support::node(ca, "n1");
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut foreign = crate::support::ca();
    for number in 0..strangers {
        for first in [0x00, 0x40, 0xc0, 0xff, b'V'] {
            let garbage = [&[first][..], &vec![7; number * 37 % 1400]].concat();
            socket.send_to(&garbage, node.addr).await.unwrap();
        }
        let credentials = node.endpoint.credentials();
        let (clock, slot) = (Arc::new(SystemClock), RefusalSlot::default());
        let nobody = client_config_without_certificate(&credentials, &[ALPN], clock, slot);
        knock(&mut node, nobody.unwrap(), &Refusal::NoCertificate).await;
        let cluster = credentials.identity().cluster.clone();
        let identity = Identity::node(cluster, "n2".parse().unwrap(), Roles::default());
        let spy = Hostile::new(ca.infiltrate(&mut foreign, &identity).unwrap());
        knock(&mut node, spy.tls(), &Refusal::ForeignCa).await;
    }
    assert!(node.endpoint.links().is_empty());
    let two = crate::support::node(ca, "n2");
    let link = two.connect(&node).await;
    within(link.up()).await.unwrap();
    within(two.endpoint.close()).await;
    within(node.endpoint.close()).await;
}

/// Runs `work` to its end, and that of all its tasks, on this thread.
fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work);
}

#[test]
fn strangers_are_refused_before_any_decoder_and_leave_nothing_behind() {
    let mut ca = ca();
    // What the libraries make once and keep is made here.
    run(harass(&mut ca, 1));
    for strangers in [1, 20] {
        let (figures, ()) = measure(|| run(harass(&mut ca, strangers)));
        assert!(figures.live <= UNAUTHENTICATED_BYTES_MAX, "{strangers}: {figures:?}");
    }
}
