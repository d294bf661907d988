//! What decoders make of damaged bytes, and how much memory a lie about a length is worth.
#![expect(unsafe_code, reason = "an allocator that counts is a `GlobalAlloc`")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use vioduct_runtime::{Codec, DecodeError, Wire};

const BOTH: [Codec; 2] = [Codec::Bincode, Codec::Postcard];
const ROUNDS: u32 = 100_000;
const MIB: usize = 1 << 20;

/// Bytes that one byte of input may become: an empty string is one byte there and 24 here, and a
/// vector that grows is there twice for a moment.
const PER_BYTE: usize = 128;

thread_local! {
    /// Bytes allocated and not freed by this thread, now and at most.
    static LIVE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn count(change: impl Fn(usize) -> usize) {
    let counted = LIVE.try_with(|live| {
        let (now, most) = live.get();
        let now = change(now);
        live.set((now, most.max(now)));
    });
    // Fails only while the thread ends.
    counted.ok();
}

// SAFETY: every call goes to the system's allocator with the arguments as they came. Counting does
// not allocate: the cell has no destructor and is initialised at compile time.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(|now| now.saturating_add(layout.size()));
        // SAFETY: the caller's promise about `layout` is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(|now| now.saturating_add(layout.size()));
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(|now| now.saturating_sub(layout.size()));
        // SAFETY: `pointer` came from `System` with this layout, since `alloc` gave it.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `act` gives, and the most bytes that it held at once.
fn held<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let (before, _) = LIVE.get();
    LIVE.set((before, before));
    let value = act();
    let (_, most) = LIVE.get();
    (value, most - before)
}

/// Nests lists three levels deep.
#[derive(Debug, PartialEq, Wire, Serialize, Deserialize)]
struct Sample {
    block: u64,
    names: Vec<String>,
    parts: Vec<Vec<Part>>,
    flags: BTreeMap<u16, Option<BTreeSet<char>>>,
    end: Result<[u8; 4], Box<i128>>,
}

#[derive(Debug, PartialEq, Wire, Serialize, Deserialize)]
enum Part {
    Plain,
    Named { name: String, weight: (u8, i32) },
    Wide(Box<[u64; 16]>),
}

impl Part {
    fn random(rng: &mut StdRng) -> Self {
        match rng.random_range(0..3) {
            0 => Self::Plain,
            1 => Self::Named { name: text(rng), weight: rng.random() },
            _ => Self::Wide(Box::new(rng.random())),
        }
    }
}

fn text(rng: &mut StdRng) -> String {
    (0..rng.random_range(0..9)).map(|_| rng.random::<char>()).collect()
}

fn list<T>(rng: &mut StdRng, mut make: impl FnMut(&mut StdRng) -> T) -> Vec<T> {
    (0..rng.random_range(0..4)).map(|_| make(rng)).collect()
}

fn sample(rng: &mut StdRng) -> Sample {
    let flag = |rng: &mut StdRng| {
        let letters = rng.random::<bool>().then(|| text(rng).chars().collect());
        (rng.random(), letters)
    };
    Sample {
        block: rng.random(),
        names: list(rng, text),
        parts: list(rng, |rng| list(rng, Part::random)),
        flags: list(rng, flag).into_iter().collect(),
        end: if rng.random() { Ok(rng.random()) } else { Err(Box::new(rng.random())) },
    }
}

/// One to four wounds: a byte changed, cut out, put in or made the start of a long number, or the
/// rest cut off.
fn damage(rng: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..bytes.len().max(1));
        match (rng.random_range(0..5), bytes.get_mut(at)) {
            (0, Some(byte)) => *byte = rng.random(),
            (1, Some(byte)) => *byte = rng.random_range(0xfb..=0xff),
            (2, Some(_)) => drop(bytes.remove(at)),
            (3, Some(_)) => bytes.truncate(at),
            _ => bytes.insert(at, rng.random()),
        }
    }
}

/// bincode believes what a list announces, up to 1 MiB for each of the levels that are open at
/// once; postcard looks how much is left. A node of a map is made whole for its first entry.
fn memory_max(codec: Codec, input: usize) -> usize {
    let lies = match codec {
        Codec::Bincode => 3 * MIB,
        Codec::Postcard => 1024,
    };
    lies + PER_BYTE * input
}

#[test]
fn damaged_bytes_are_read_or_refused_within_a_bound_of_memory() {
    for (seed, codec) in (7..).zip(BOTH) {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut read, mut refused) = (0_u32, 0_u32);
        let mut whole = Vec::new();
        for round in 0..ROUNDS {
            if round % 10 == 0 {
                whole.clear();
                codec.encode(&sample(&mut rng), &mut whole).unwrap();
            }
            let mut bytes = whole.clone();
            damage(&mut rng, &mut bytes);
            let (decoded, most) = held(|| codec.decode::<Sample>(&bytes));
            assert!(
                most <= memory_max(codec, bytes.len()),
                "{codec:?} {round}: {most} for {bytes:?}"
            );
            let Ok(value) = decoded else {
                refused += 1;
                continue;
            };
            read += 1;
            let mut again = Vec::new();
            codec.encode(&value, &mut again).unwrap();
            assert_eq!(codec.decode(&again), Ok(value), "{codec:?} {round}: {bytes:?}");
        }
        assert!(read > ROUNDS / 20 && refused > ROUNDS / 4, "{codec:?}: {read} and {refused}");
    }
}

#[test]
fn a_lie_about_a_length_is_worth_a_mebibyte_for_each_level_at_most() {
    let lies: [(Codec, &[u8], usize); 2] =
        [(Codec::Bincode, &[252, 0, 0, 0x0f, 0], MIB), (Codec::Postcard, &[0x80, 0x80, 0x3c], 64)];
    for (codec, lie, worth) in lies {
        let (text, most) = held(|| codec.decode::<String>(lie));
        assert_eq!(text, Err(DecodeError::Truncated));
        assert!(most <= worth, "{codec:?}: {most}");
        let (numbers, most) = held(|| codec.decode::<Vec<u64>>(lie));
        assert_eq!(numbers, Err(DecodeError::Truncated));
        assert!(most <= worth, "{codec:?}: {most}");
        let deep = lie.repeat(3);
        let (lists, most) = held(|| codec.decode::<Vec<Vec<String>>>(&deep));
        assert_eq!(lists, Err(DecodeError::Truncated));
        assert!(most <= 3 * worth, "{codec:?}: {most}");
    }
}

#[test]
fn encoding_into_a_buffer_with_room_allocates_nothing() {
    let mut rng = StdRng::seed_from_u64(9);
    let mut out = Vec::with_capacity(64 << 10);
    for codec in BOTH {
        for round in 0..1000 {
            let value = sample(&mut rng);
            out.clear();
            let (encoded, most) = held(|| codec.encode(&value, &mut out));
            assert_eq!((encoded, most), (Ok(()), 0), "{codec:?} {round}");
        }
    }
}
