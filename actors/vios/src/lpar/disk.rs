//! The disk that a client sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use tokio::sync::{Semaphore, watch};
use vioduct_runtime::{ActorHandle, AskError, Doubt, LocalRef};

use super::actor::{Ask, AwaitEnd, ClientLpar, Close, Figures, Grown, Look};
use super::entries::Entry;
use super::record::OwnerRecord;
use crate::block::{Extent, Failure, Reply, Request};
use crate::disk::{Abilities, Device, Disk};
use crate::redirect::owner::End;
use crate::seek::Task;

/// Longest read or write, bytes.
const PAYLOAD_MAX: u32 = 32 << 20;
/// Longest that travels as one; longer ones go in parts.
const PART_MAX: u32 = 1 << 20;
/// Longer than an owner holds a request.
const DEADLINE: Duration = Duration::from_secs(24 * 3600);

type Outcome = Result<Reply, Failure>;

/// What a client sees of a disk that can do everything.
pub(super) fn client_device(size: u64) -> Device {
    Device { payload_max: PAYLOAD_MAX, abilities: Abilities::ALL, ..Device::new(size) }
}

/// A client's disk: its requests go to the actor that owns the LU.
#[derive(Debug)]
pub struct LparDisk {
    handle: ActorHandle<ClientLpar>,
    owner: LocalRef<ClientLpar>,
    /// As it was when it was opened.
    device: Device,
    /// Bytes, now.
    size: AtomicU64,
    /// Requests that the owner may have or that wait for it.
    room: Arc<Semaphore>,
    /// Held while the owner lives, on a storage that keeps none itself.
    record: Option<OwnerRecord>,
    search: Search,
}

/// The search for the VIOSes that it enters by. Dropped it ends.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) entries: watch::Sender<Vec<Entry>>,
    _task: Task,
}

impl Search {
    pub(super) const fn new(entries: watch::Sender<Vec<Entry>>, task: Task) -> Self {
        Self { entries, _task: task }
    }
}

impl LparDisk {
    /// The disk of this owner. At most `requests_max` requests are let in at
    /// once; more wait.
    pub(super) fn new(
        handle: ActorHandle<ClientLpar>,
        owner: LocalRef<ClientLpar>,
        device: Device,
        requests_max: usize,
        search: Search,
        record: Option<OwnerRecord>,
    ) -> Self {
        let room = Arc::new(Semaphore::new(requests_max));
        let size = AtomicU64::new(device.size);
        Self { handle, owner, device, size, room, record, search }
    }

    pub(super) const fn search(&self) -> &Search {
        &self.search
    }

    /// Its storage has made it larger: whoever connects from now on sees so many bytes.
    ///
    /// # Errors
    /// The owner has ended, or does not answer within the time.
    pub(super) async fn grown(&self, size: u64, within: Duration) -> Result<(), AskError> {
        // First: else what a client asks for there would be refused.
        self.owner.ask(Grown(size), within).await?;
        self.size.fetch_max(size, Ordering::AcqRel);
        Ok(())
    }

    /// The actor that owns the LU.
    #[must_use]
    pub const fn owner(&self) -> &LocalRef<ClientLpar> {
        &self.owner
    }

    /// What its owner has come to. Cancel-safe.
    ///
    /// # Errors
    /// When the owner has ended, or does not answer within the time.
    pub async fn figures(&self, within: Duration) -> Result<Figures, AskError> {
        self.owner.ask(Look, within).await
    }

    /// Waits until the owner has ended: it was closed, its LU was deleted, or another owner took
    /// the LU over. Nothing is answered any more then. Cancel-safe.
    pub async fn ended(&self) {
        while let Err(AskError::MaybeDelivered(Doubt::Late)) =
            self.owner.ask(AwaitEnd, DEADLINE).await
        {}
    }

    /// Ends the owner, and its actor.
    pub(super) async fn stop_owner(&self) {
        self.handle.stop().await;
    }

    pub(super) async fn close_owner(&self, within: Duration) {
        // Fails only when it has ended.
        self.owner.ask(Close, within).await.ok();
        let end = self.figures(within).await.ok().and_then(|figures| figures.end);
        self.stop_owner().await;
        if let Some(record) = self.record.as_ref().filter(|_| end == Some(End::Closed))
            && let Err(error) = record.clean().await
        {
            tracing::warn!(%error, "it is not stored that the owner of a disk has let it go");
        }
    }
}

impl Disk for LparDisk {
    type Error = Failure;

    fn device(&self) -> Device {
        Device { size: self.size.load(Ordering::Acquire), ..self.device }
    }

    async fn execute(&self, request: Request) -> Result<Reply, Failure> {
        self.device().admit(&request)?;
        match request {
            Request::Read { extent } if extent.length > PART_MAX => self.read_parts(extent).await,
            Request::Write { offset, data, fua } if data.len() > PART_MAX as usize => {
                self.write_parts(offset, data, fua).await
            }
            request => self.ask(request).await,
        }
    }
}

/// A long request is as good as several: NBD promises nothing of the order in which its bytes are
/// read or written. The parts are asked for in order, so that each keeps its place before later
/// requests for the same bytes.
impl LparDisk {
    async fn ask(&self, request: Request) -> Result<Reply, Failure> {
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.map_err(|_closed| Failure::ShuttingDown)?;
        self.owner.ask(Ask(request, room), DEADLINE).await.unwrap_or(Err(Failure::ShuttingDown))
    }

    async fn read_parts(&self, Extent { mut offset, length: mut left }: Extent) -> Outcome {
        let mut whole = BytesMut::with_capacity(left as usize);
        let mut parts = Vec::new();
        while left > 0 {
            let length = left.min(PART_MAX);
            parts.push(self.ask(Request::Read { extent: Extent { offset, length } }));
            offset = offset.saturating_add(length.into());
            left -= length;
        }
        for part in join_all(parts).await {
            match part? {
                Reply::Data(data) => whole.extend_from_slice(&data),
                // The storage answers a read otherwise.
                Reply::Done | Reply::Status(_) => return Err(Failure::Io),
            }
        }
        Ok(Reply::Data(whole.freeze()))
    }

    async fn write_parts(&self, mut offset: u64, mut left: Bytes, fua: bool) -> Outcome {
        let mut parts = Vec::new();
        while !left.is_empty() {
            let data = left.split_to(left.len().min(PART_MAX as usize));
            let length = data.len() as u64;
            parts.push(self.ask(Request::Write { offset, data, fua }));
            offset = offset.saturating_add(length);
        }
        let failed = join_all(parts).await.into_iter().find(Result::is_err);
        failed.unwrap_or(Ok(Reply::Done))
    }
}
