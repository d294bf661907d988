//! Who and what the machines speak of.

/// A logical unit, a client's disk. Given once, cluster-wide, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LuId(pub u64);

/// A virtual I/O server, known by its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViosId(pub u32);

/// A link by which a VIOS hears an owner: the node and the run that its certificate and handshake
/// told. Never used for another run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One connection between an exit and the storage. Each end numbers its own, and uses no number
/// twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A physical adapter of a VIOS: one of its own ways to the storage. Its VIOS numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterId(pub u8);

/// One connection of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// What the DB gives a new owner of an LU, once, rising.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(pub u64);

/// A random number for each life of an owner: tells two apart that were given one [`OwnerId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder(pub u64);

/// A session between an owner and the storage. Ordered by owner first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Whose session.
    pub owner: OwnerId,
    /// The owner's own count of its sessions, from 1.
    pub seq: u64,
}

impl Epoch {
    /// Below every epoch that is ever opened.
    pub const NONE: Self = Self { owner: OwnerId(0), seq: 0 };
}

/// A random number for each run of the storage server, renewed by a failed fsync. What was
/// acknowledged in one life is in the storage's cache or on its medium for as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life(pub u64);

/// What the storage's cache depends on. As long as it is the same, nothing that the storage
/// acknowledged was lost, though its server may have been restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The volume.
    pub volume: u128,
    /// The start of its host: the kernel holds the cache.
    pub boot: u128,
    /// Failed fsyncs and restores so far; stored with the volume.
    pub losses: u64,
}
