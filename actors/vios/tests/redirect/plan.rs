//! What a run is made of: sizes, bounds, what may happen how often, and which bug is planted.

use std::time::Duration;

use bytes::Bytes;
use vioduct_vios::block::{Extent, Request};
use vioduct_vios::redirect::limits::{OwnerLimits, RelayLimits, StoreLimits};
use vioduct_vios::redirect::name::AdapterId;

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const NEVER: Duration = Duration::from_secs(3_600_000);

/// How often each thing may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Budget {
    pub(crate) asks: u8,
    pub(crate) cuts: u8,
    pub(crate) store_kills: u8,
    pub(crate) power_cuts: u8,
    pub(crate) owner_kills: u8,
    pub(crate) attaches: u8,
    pub(crate) relay_kills: u8,
    pub(crate) fabric_losses: u8,
    pub(crate) fsync_failures: u8,
    pub(crate) op_failures: u8,
    pub(crate) duplicates: u8,
    /// Messages between nodes that are lost without a trace.
    pub(crate) losses: u8,
    pub(crate) closes: u8,
    /// Messages whose checksum does not match.
    pub(crate) spoils: u8,
    /// The owner gets its entries in another order.
    pub(crate) shuffles: u8,
    pub(crate) ticks: u8,
}

/// Whether messages between nodes arrive at once, or when a step says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    Instant,
    Queued,
}

/// A bug, planted around the machines: what goes into one or comes out of it is altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Plant {
    Nothing,
    /// The storage carries out requests of any session.
    NoFence,
    /// The storage says that its records are stored when they are only in its memory.
    RecordNotDurable,
    /// Connections outlive a restart of the storage, and it carries out what is of the session that
    /// its record names without an open.
    OpenAfterStart,
    /// The storage looks at a request's session when it arrives, and carries it out some time
    /// later.
    CheckedOnArrival,
    /// The owner is told that a replay is done, which is done some time later.
    ReplayInBackground,
    /// The owner is told the life that it knows already.
    LifeHidden,
    /// The owner is told that all is settled.
    SettledForged,
    /// A restarted storage process does not wait for what the last one left in the kernel.
    NoLockAtStart,
    /// A write that was answered EIO is not carried out after the next open.
    HeldReleased,
    /// The exit connects anew under an open session, and raises and re-sends by itself.
    SecondRaiser,
    /// The storage begins a session while requests of the last one are in the device.
    NoDrain,
    /// An fsync that failed is tried again, and the second one succeeds.
    FsyncTriedAgain,
    /// The storage keeps no note, outside of its process, of a sync that is under way.
    SyncNotNoted,
    /// The storage's answer to a flush comes before the flush is done.
    FlushAcknowledgedEarly,
}

/// All that does not change while a run goes on.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Bytes of the disk.
    pub(crate) cells: usize,
    pub(crate) vioses: u32,
    /// How many of them are in the clients' CEC.
    pub(crate) near: usize,
    /// Physical adapters of each VIOS.
    pub(crate) adapters: u8,
    pub(crate) owner: OwnerLimits,
    pub(crate) store: StoreLimits,
    pub(crate) relay: RelayLimits,
    pub(crate) links: Links,
    pub(crate) budget: Budget,
    /// What clients ask for, in turn; a write of bytes 0 gets its own number as its bytes.
    pub(crate) script: Vec<Request>,
    /// The highest number of a session.
    pub(crate) seq_max: u64,
    pub(crate) plant: Plant,
}

impl Plan {
    pub(crate) fn adapters(&self) -> impl Iterator<Item = AdapterId> + use<> {
        (0..self.adapters).map(AdapterId)
    }

    /// Small bounds and short times.
    pub(crate) fn small(script: Vec<Request>) -> Self {
        let owner = OwnerLimits {
            requests_max: 4,
            request_bytes_max: 16,
            under_way_max: 3,
            under_way_first: 3,
            dirty_bytes_max: 8,
            dirty_ranges_max: 4,
            silence_max: MS,
            open_max: MS,
            backoff_min: MS,
            backoff_max: MS,
            hold_max: NEVER / 4,
            little_dirty_bytes: 0,
            move_flushes_max: 1,
            home_after: MS,
            home_after_max: 4 * MS,
            is_write_through: false,
            unresolved_max: 64,
            flush_from_bytes: u64::MAX,
            flush_from_ranges: usize::MAX,
        };
        let store = StoreLimits {
            lus_max: 1,
            requests_max: 4,
            device_depth: 2,
            request_bytes_max: 16,
            alive_every: MS,
        };
        let relay = RelayLimits { routes_max: 4, peers_max: 3, hysteresis: Duration::ZERO };
        let asks = u8::try_from(script.len()).unwrap();
        Self {
            cells: 2,
            vioses: 2,
            near: 2,
            adapters: 1,
            owner,
            store,
            relay,
            links: Links::Instant,
            budget: Budget { asks, ..Budget::default() },
            script,
            seq_max: 3,
            plant: Plant::Nothing,
        }
    }
}

/// A write of one byte, which gets its own number as its value.
pub(crate) fn write(offset: u64) -> Request {
    Request::Write { offset, data: Bytes::from_static(&[0]), fua: false }
}

pub(crate) fn read(offset: u64, length: u32) -> Request {
    Request::Read { extent: Extent { offset, length } }
}
