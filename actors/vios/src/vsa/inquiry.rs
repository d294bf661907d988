//! What a client's adapter needs to know of a disk on an outside storage before it serves it.

use std::time::Duration;

use actix::{Handler, Message, ResponseFuture};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use vioduct_runtime::{ActorName, Node, RemoteMessage, Wire};

use super::{Adapter, VSA_NAME, Vsa};
use crate::disk::{Abilities, Device};
use crate::lpar::Entry;
use crate::outside::Describe;
use crate::redirect::name::LuId;
use crate::seek::Seeker;

/// Longer than it may take to connect.
const DESCRIBE_WITHIN: Duration = Duration::from_secs(5);

/// Asks what a disk on an outside storage is: its VIOS connects to that.
#[derive(Debug, Clone, Copy, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "vios.Inquire")]
pub struct Inquire {
    /// Which LU.
    pub lu: u64,
}

/// What a disk is, and what it can do, as the storage says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is one ability of the disk")]
pub struct Model {
    /// Bytes.
    pub size: u64,
    /// Offsets and lengths are multiples of this many bytes.
    pub block_min: u32,
    /// Bytes that are best moved at once.
    pub block_preferred: u32,
    /// It takes no changes.
    pub is_read_only: bool,
    /// Carries out trims.
    pub can_trim: bool,
    /// Carries out writes of zeroes.
    pub can_write_zeroes: bool,
    /// Knows whether zeroes are written faster than other data.
    pub can_zero_fast: bool,
    /// Tells what is allocated.
    pub can_status: bool,
}

/// Why nothing is known of a disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Wire, Serialize, Deserialize)]
pub enum NotKnown {
    /// It has no export for it, or does not know it yet. Fault: the operator, or none.
    #[error("the VIOS has no export for it")]
    NoExport,
    /// The server was not reached, or says no.
    #[error("its server: {0}")]
    Server(String),
}

impl Message for Inquire {
    type Result = Result<Model, NotKnown>;
}

impl Model {
    fn of(device: &Device) -> Self {
        let Device { size, block_min, block_preferred, abilities, .. } = *device;
        Self {
            size,
            block_min,
            block_preferred,
            is_read_only: abilities.is_read_only,
            can_trim: abilities.can_trim,
            can_write_zeroes: abilities.can_write_zeroes,
            can_zero_fast: abilities.can_zero_fast,
            can_status: abilities.can_status,
        }
    }

    /// The disk as a client sees it: `common`, as far as the storage can do it. Flush and FUA are
    /// always there: the exit makes a flush of the latter where the storage does not.
    pub(crate) fn device(self, common: Device) -> Device {
        let abilities = Abilities {
            is_read_only: self.is_read_only,
            can_trim: self.can_trim,
            can_write_zeroes: self.can_write_zeroes,
            can_zero_fast: self.can_zero_fast,
            can_status: self.can_status,
            ..common.abilities
        };
        let (size, block_min, block_preferred) = (self.size, self.block_min, self.block_preferred);
        Device { size, block_min, block_preferred, abilities, ..common }
    }
}

impl Handler<Inquire> for Vsa {
    type Result = ResponseFuture<Result<Model, NotKnown>>;

    fn handle(&mut self, Inquire { lu }: Inquire, _ctx: &mut Self::Context) -> Self::Result {
        let outside = self.outside().cloned();
        Box::pin(async move {
            let outside = outside.ok_or(NotKnown::NoExport)?;
            let device = outside.ask(Describe { lu: LuId(lu) }, DESCRIBE_WITHIN).await;
            let device = device.map_err(|error| NotKnown::Server(error.to_string()))?;
            Ok(Model::of(&device.map_err(NotKnown::Server)?.ok_or(NotKnown::NoExport)?))
        })
    }
}

/// Asks the VIOSes that a client may enter by until one of them knows.
///
/// # Errors
/// The last thing that was heard; `None` if none of them was found.
pub(crate) async fn find_model(
    node: &Node,
    lu: LuId,
    entries: &[Entry],
    within: Duration,
) -> Result<Model, Option<NotKnown>> {
    let deadline = Instant::now() + within;
    let name = ActorName::new(VSA_NAME).expect("a constant that is a name");
    let mut all = Seeker::<Adapter>::new(node.clone(), name);
    let mut last = None;
    while let Ok(Some(vios)) = timeout_at(deadline, all.next()).await {
        if !entries.iter().any(|entry| entry.node == vios.id().node) {
            continue;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match vios.ask(Inquire { lu: lu.0 }, left).await {
            Ok(Ok(model)) => return Ok(model),
            Ok(Err(reason)) => last = Some(reason),
            Err(error) => tracing::debug!(lu = lu.0, %error, "a VIOS was not asked"),
        }
    }
    Err(last)
}
