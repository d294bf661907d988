//! Why a store did not do what was asked.

/// The storage under a replica said no.
///
/// After `Damaged` and `Failed` nothing more is taken from or given to the store by this run: what
/// it holds is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Bytes were read that are not those which were written.
    #[error("{what} is damaged")]
    Damaged {
        /// Which part.
        what: String,
    },
    /// The operating system or RocksDB refused; a sync that failed is one of these.
    #[error("{what}: {why}")]
    Failed {
        /// What was being done.
        what: String,
        /// The answer.
        why: String,
    },
    /// The store was written by a newer version.
    #[error("format {found} is newer than {known}, the newest that this version reads")]
    Newer {
        /// Found on disk.
        found: u32,
        /// The newest known here.
        known: u32,
    },
    /// An earlier failure stopped the store.
    #[error("the store stopped after an earlier failure")]
    Stopped,
}
