//! What goes into a store, and what it wants done.

use super::super::message::{Call, Word};
use super::super::name::{ConnId, Epoch, Holder, Identity, LuId, ViosId};
use crate::block::{Failure, Reply, Request};

/// How a store finds its volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Start {
    /// The volume's identity, with the boot of this host.
    pub identity: Identity,
    /// What the last [`Note`](Effect::Note) of this boot of the host says; `false` if there is
    /// none.
    pub was_syncing: bool,
    /// Drawn at random for each start; the store's life and all that it draws follow from it.
    pub seed: u64,
}

/// What is stored of an LU's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    /// The highest session that was ever opened.
    pub highest: Epoch,
    /// Whose it was.
    pub holder: Holder,
    /// Up to which identity all that was acknowledged is known to be there.
    pub settled: Identity,
    /// The last session was closed in order, so that all that was acknowledged is durable.
    pub is_clean: bool,
    /// A tombstone: the LU was deleted.
    pub is_deleted: bool,
    /// Bytes of the disk.
    pub size: u64,
}

impl Record {
    /// A new LU of so many bytes, on a volume of this identity. Sessions of `floor` and below are
    /// refused: a restored LU takes it from the DB.
    #[must_use]
    pub fn new(size: u64, identity: Identity, floor: Epoch) -> Self {
        Self {
            highest: floor,
            holder: Holder(0),
            settled: identity,
            is_clean: false,
            is_deleted: false,
            size,
        }
    }
}

/// One operation given to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// One record or identity given to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncId(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// An LU is there from now on; its record is stored already.
    Created {
        /// Which.
        lu: LuId,
        /// Its record.
        record: Record,
    },
    /// An LU has room for so many bytes. They are its own once its record says so and is stored.
    Grown {
        /// Which.
        lu: LuId,
        /// Bytes.
        size: u64,
    },
    /// An LU is to be deleted.
    Deleted {
        /// Which.
        lu: LuId,
    },
    /// An exit has passed a call on.
    Received {
        /// By which connection.
        conn: ConnId,
        /// Who it is, by its certificate.
        exit: ViosId,
        /// For which LU.
        lu: LuId,
        /// What.
        call: Call,
    },
    /// A call on a connection had a checksum that does not match.
    Spoilt {
        /// Which connection.
        conn: ConnId,
        /// For which LU.
        lu: LuId,
    },
    /// A connection is gone.
    Lost {
        /// Which.
        conn: ConnId,
    },
    /// The device has carried an operation out, or failed to.
    Performed {
        /// Which.
        op: OpId,
        /// Its result.
        outcome: Result<Reply, Failure>,
    },
    /// What was to be stored is on stable media.
    Stored {
        /// Which.
        sync: SyncId,
    },
    /// What was to be stored may not be on stable media.
    NotStored {
        /// Which.
        sync: SyncId,
    },
    /// The deadline has come.
    TimePassed,
}

/// What is to be done. In the order given; an operation is given to the device before the next
/// input is handled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Send a word to an exit. If that cannot be done, [`Input::Lost`] follows.
    Send {
        /// By which connection.
        conn: ConnId,
        /// Of which LU.
        lu: LuId,
        /// What.
        word: Word,
    },
    /// Give a request to the device; never a flush. A change with FUA is durable when it is
    /// performed.
    Perform {
        /// Named in [`Input::Performed`].
        op: OpId,
        /// On which LU.
        lu: LuId,
        /// In which session.
        epoch: Epoch,
        /// Its number there.
        no: u64,
        /// What.
        request: Request,
    },
    /// Note, in memory that outlives this process but not the host's boot, whether a sync is under
    /// way: before the next effect is carried out.
    Note {
        /// Found by the next start as [`Start::was_syncing`].
        is_syncing: bool,
    },
    /// Make all that the volume holds durable, on a descriptor of its own, so that no other sync
    /// can take its error away. One at a time.
    Flush {
        /// Named in [`Input::Performed`].
        op: OpId,
    },
    /// Store the record of an LU, and sync it. One at a time for each LU.
    StoreRecord {
        /// Named in [`Input::Stored`].
        sync: SyncId,
        /// Of which LU.
        lu: LuId,
        /// What.
        record: Record,
    },
    /// Store the volume's identity, and sync it.
    StoreIdentity {
        /// Named in [`Input::Stored`].
        sync: SyncId,
        /// What.
        identity: Identity,
    },
    /// No request refers to the LU any more, and its tombstone is stored: its room may be used.
    Free {
        /// Which.
        lu: LuId,
    },
    /// Tell whoever watches.
    Tell(StoreEvent),
}

/// What became of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreEvent {
    /// An fsync failed: every session was ended.
    FsyncFailed {
        /// What the volume is from now on.
        identity: Identity,
    },
    /// An LU's record could not be stored: it is not served until the next start.
    RecordLost {
        /// Which.
        lu: LuId,
    },
    /// The identity could not be stored: nothing is served until the next start.
    IdentityLost,
}
