//! The open disks of a hypervisor, for a program on its node that uses them without NBD.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use vioduct_runtime::{AskError, Doubt, LocalRef, NotDelivered};

use super::desk::{FindDisk, Phyp};
use crate::lpar::{Figures, LparDisk};
use crate::redirect::name::LuId;

/// How long a disk's owner is waited for; one that is busy for longer lives.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// Why a hypervisor gives no disk of an LU. It may come later; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoDisk {
    /// It carries none. Fault: the operator, or the cluster's database is away.
    #[error(
        "no VTD that the hypervisor knows of shows LU {} to a client of CEC {cec}: \
         vioduct vtd create", lu.0
    )]
    NotCarried {
        /// Which LU.
        lu: LuId,
        /// The hypervisor's CEC.
        cec: u32,
    },
    /// It waits for its repository's first answer. Fault: none.
    #[error("LU {} is being attached", lu.0)]
    Attaching {
        /// Which LU.
        lu: LuId,
    },
    /// It could not be attached until now, which is tried again. Fault: as the reason says.
    #[error("LU {} is not attached: {reason}", lu.0)]
    NotAttached {
        /// Which LU.
        lu: LuId,
        /// As [`DiskState::error`](super::DiskState::error) has it.
        reason: String,
    },
    /// It was detached, or another owner took the LU over.
    #[error("the owner of LU {} has ended", lu.0)]
    Over {
        /// Which LU.
        lu: LuId,
    },
    /// The hypervisor has ended. There will be no disk.
    #[error("the hypervisor has ended")]
    Ended,
}

/// Finds the open disks of a hypervisor, by their LUs.
///
/// Such a disk is the same one that NBD clients are served: requests of both have one order.
#[derive(Debug, Clone)]
pub struct OpenDisks {
    phyp: LocalRef<Phyp>,
    changed: watch::Receiver<()>,
}

impl OpenDisks {
    pub(super) const fn new(phyp: LocalRef<Phyp>, changed: watch::Receiver<()>) -> Self {
        Self { phyp, changed }
    }

    /// The disk of an LU, once it is open: it takes requests, which wait for a path if need be. It
    /// is the hypervisor's to close. Once it answers with
    /// [`ShuttingDown`](crate::block::Failure::ShuttingDown) it has ended, and is found anew here
    /// if it is attached again. Cancel-safe.
    ///
    /// # Errors
    /// It is not open within the time, and why; at once when the hypervisor has ended.
    pub async fn disk(&self, lu: LuId, within: Duration) -> Result<Arc<LparDisk>, NoDisk> {
        let deadline = Instant::now() + within;
        let mut changed = self.changed.clone();
        loop {
            changed.mark_unchanged();
            let none = match self.phyp.ask(FindDisk(lu), within).await {
                Ok(Ok(disk)) if lives(&disk).await => return Ok(disk),
                Ok(Ok(_ended)) => NoDisk::Over { lu },
                Ok(Err(none)) => none,
                Err(error) if is_late(&error) => NoDisk::Attaching { lu },
                Err(_ended) => return Err(NoDisk::Ended),
            };
            match timeout_at(deadline, changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_ended)) => return Err(NoDisk::Ended),
                Err(_elapsed) => return Err(none),
            }
        }
    }
}

/// Its hypervisor is told a moment after its owner has ended.
async fn lives(disk: &LparDisk) -> bool {
    match disk.figures(LOOK_WITHIN).await {
        Ok(Figures { end, .. }) => end.is_none(),
        Err(error) => is_late(&error),
    }
}

fn is_late(error: &AskError) -> bool {
    matches!(
        error,
        AskError::MaybeDelivered(Doubt::Late) | AskError::NotDelivered(NotDelivered::Late)
    )
}
