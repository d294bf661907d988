//! The actor that serves a volume over the fabric: the hands of [`Store`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler};
use tokio::task::spawn_blocking;
use vioduct_certs::identity::NodeName;
use vioduct_runtime::Node;
use vioduct_transport::Link;

use super::backing::{Backing, FileBacking};
use super::users::Users;
use super::volume::{Opened, Volume, VolumeError};
use crate::block::{Failure, Reply, Request};
use crate::carry::{Beat, CarriedCall, CarriedWord, Echo};
use crate::clock::Clock;
use crate::fabric::{FromFabric, News, OfConn, send_pulse};
use crate::file::OpenError;
use crate::redirect::Moment;
use crate::redirect::limits::{LimitError, StoreLimits};
use crate::redirect::name::{ConnId, LuId};
use crate::redirect::store::{Effect, Input, OpId, Record, Store, StoreEvent, SyncId};
use crate::roles::layout::Layouts;
use crate::way::Way;

/// Why a repository does not start.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// Its volume is not served.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A setting is out of its range. Fault: the operator.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The bytes of an LU cannot be reached.
    #[error("LU {}: {source}", lu.0)]
    Lu {
        /// Which.
        lu: LuId,
        /// Why.
        source: OpenError,
    },
}

/// Gives the bytes of an LU.
pub(super) struct OpenLu<D>(Arc<Opening<D>>);

type Opening<D> = dyn Fn(&Volume, LuId) -> Result<D, OpenError> + Send + Sync;

impl<D> Clone for OpenLu<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D> OpenLu<D> {
    pub(super) fn open(&self, volume: &Volume, lu: LuId) -> Result<Arc<D>, OpenError> {
        (self.0)(volume, lu).map(Arc::new)
    }
}

impl<D> fmt::Debug for OpenLu<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenLu")
    }
}

/// An actor that serves one volume. Made once: what follows a failure is a new start of its node.
#[derive(Debug)]
pub struct Repository<D = FileBacking> {
    store: Store,
    volume: Arc<Volume>,
    data: BTreeMap<LuId, Arc<D>>,
    open: OpenLu<D>,
    users: Users,
    /// LUs that something is being done to: made, deleted, or freed.
    busy: BTreeSet<LuId>,
    exits: Layouts,
    ways: BTreeMap<ConnId, Way<CarriedWord>>,
    /// Connections that nothing more can be sent by.
    broken: Vec<ConnId>,
    device: Device,
    clock: Clock,
}

/// How the device does: what heartbeats are answered with.
#[derive(Debug, Default)]
struct Device {
    /// When each operation under way began, by its number: the first is the oldest.
    under_way: BTreeMap<u64, Moment>,
    last: u64,
    failures: u64,
}

impl Device {
    fn began(&mut self, now: Moment) -> u64 {
        self.last += 1;
        self.under_way.insert(self.last, now);
        self.last
    }

    fn ended(&mut self, operation: u64, input: &Input) {
        self.under_way.remove(&operation);
        let is_failure = matches!(
            input,
            Input::Performed { outcome: Err(Failure::Io), .. } | Input::NotStored { .. }
        );
        self.failures += u64::from(is_failure);
    }

    fn oldest(&self, now: Moment) -> Duration {
        let began = self.under_way.first_key_value();
        began.map_or(Duration::ZERO, |(_operation, began)| now.since(*began))
    }
}

impl Repository {
    /// Serves a volume's files to these VIOSes. Blocks for as long as the disk takes to open them.
    ///
    /// # Errors
    /// [`RepositoryError`]; nothing is served.
    pub fn new(
        opened: Opened,
        limits: StoreLimits,
        exits: Layouts,
    ) -> Result<Self, RepositoryError> {
        Self::with(opened, limits, exits, FileBacking::open)
    }
}

impl<D: Backing> Repository<D> {
    /// Serves a volume's LUs to these VIOSes; `open` gives the bytes of each.
    ///
    /// # Errors
    /// [`RepositoryError`]; nothing is served.
    pub fn with(
        opened: Opened,
        limits: StoreLimits,
        exits: Layouts,
        open: impl Fn(&Volume, LuId) -> Result<D, OpenError> + Send + Sync + 'static,
    ) -> Result<Self, RepositoryError> {
        let Opened { volume, start, records } = opened;
        let open = OpenLu(Arc::new(open));
        let mut data = BTreeMap::new();
        for (lu, record) in records.iter().filter(|(_lu, record)| !record.is_deleted) {
            debug_assert!(record.size > 0);
            let bytes = open.open(&volume, *lu);
            let bytes = bytes.map_err(|source| RepositoryError::Lu { lu: *lu, source })?;
            data.insert(*lu, bytes);
        }
        Ok(Self {
            store: Store::new(limits, start, records)?,
            volume: Arc::new(volume),
            data,
            open,
            users: Users::default(),
            busy: BTreeSet::new(),
            exits,
            ways: BTreeMap::new(),
            broken: Vec::new(),
            device: Device::default(),
            clock: Clock::new(),
        })
    }

    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    pub(super) const fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    /// Asks other nodes, by the links of this one, whether they use an LU, before it gives that to
    /// a new owner.
    #[must_use]
    pub fn asking(self, node: Node) -> Self {
        Self { users: Users::of(node), ..self }
    }

    pub(super) const fn users(&self) -> &Users {
        &self.users
    }

    pub(super) fn opener(&self) -> OpenLu<D> {
        self.open.clone()
    }

    /// An LU was made; its record is stored.
    pub(super) fn made(
        &mut self,
        lu: LuId,
        record: Record,
        bytes: Arc<D>,
        ctx: &mut Context<Self>,
    ) {
        self.data.insert(lu, bytes);
        self.handle(Input::Created { lu, record }, ctx);
    }

    /// There is room for a larger LU; it is larger once its record is stored.
    pub(super) fn grow(&mut self, lu: LuId, size: u64, ctx: &mut Context<Self>) {
        if let Some(bytes) = self.data.get(&lu) {
            bytes.grown(size);
            tracing::info!(lu = lu.0, size, "LU made larger");
            self.handle(Input::Grown { lu, size }, ctx);
        }
    }

    /// Something is being done to an LU from now on; `false` if that is so already.
    pub(super) fn begin(&mut self, lu: LuId) -> bool {
        self.busy.insert(lu)
    }

    pub(super) fn finish(&mut self, lu: LuId) {
        self.busy.remove(&lu);
    }

    /// Whether the bytes of an LU are still open.
    pub(super) fn has_bytes(&self, lu: LuId) -> bool {
        self.data.contains_key(&lu)
    }

    /// Ends an LU's session, and deletes it.
    pub(super) fn delete(&mut self, lu: LuId, ctx: &mut Context<Self>) {
        self.handle(Input::Deleted { lu }, ctx);
    }

    fn handle(&mut self, input: Input, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        self.store.handle(now, input);
        self.carry_out(ctx);
        while let Some(conn) = self.broken.pop() {
            self.ways.remove(&conn);
            self.store.handle(now, Input::Lost { conn });
            self.carry_out(ctx);
        }
        self.clock.set(self.store.deadline(), ctx, |act: &mut Self, ctx| {
            act.clock.rung();
            act.handle(Input::TimePassed, ctx);
        });
    }

    fn carry_out(&mut self, ctx: &mut Context<Self>) {
        while let Some(effect) = self.store.poll() {
            match effect {
                Effect::Send { conn, lu, word } => {
                    let way = self.ways.get(&conn);
                    let sent = way.map(|way| way.send(lu, CarriedWord::seal(lu, word)));
                    if let Some(Err(_broken)) = sent {
                        self.broken.push(conn);
                    }
                }
                Effect::Perform { op, lu, request, .. } => self.perform(op, lu, request, ctx),
                Effect::Flush { op } => self.flush(op, ctx),
                Effect::Note { is_syncing } => self.note(is_syncing),
                Effect::StoreRecord { sync, lu, record } => {
                    let volume = Arc::clone(&self.volume);
                    let stored = blocking(move || volume.store_record(lu, &record));
                    self.then(ctx, async move { stored_or_not(sync, stored.await) });
                }
                Effect::StoreIdentity { sync, identity } => {
                    let volume = Arc::clone(&self.volume);
                    let stored = blocking(move || volume.store_identity(identity));
                    self.then(ctx, async move { stored_or_not(sync, stored.await) });
                }
                Effect::Free { lu } => self.free(lu, ctx),
                Effect::Tell(event) => tell(event),
            }
        }
    }

    /// Handles what comes of `work` of the device, once it is there.
    fn then(&mut self, ctx: &mut Context<Self>, work: impl Future<Output = Input> + 'static) {
        let operation = self.device.began(self.clock.now());
        ctx.spawn(wrap_future(work).map(move |input, act: &mut Self, ctx| {
            act.device.ended(operation, &input);
            act.handle(input, ctx);
        }));
    }

    fn perform(&mut self, op: OpId, lu: LuId, request: Request, ctx: &mut Context<Self>) {
        let disk = self.data.get(&lu).map(Arc::clone);
        self.then(ctx, async move {
            let outcome = match disk {
                Some(disk) => disk.execute(request).await,
                None => Err(Failure::Io),
            };
            Input::Performed { op, outcome }
        });
    }

    fn flush(&mut self, op: OpId, ctx: &mut Context<Self>) {
        let all: Vec<_> = self.data.values().map(Arc::clone).collect();
        let synced = blocking(move || all.iter().try_for_each(|bytes| bytes.sync()));
        self.then(ctx, async move {
            let outcome = synced.await.map(|()| Reply::Done).map_err(|error| {
                tracing::error!(%error, "an fsync failed");
                Failure::Io
            });
            Input::Performed { op, outcome }
        });
    }

    fn note(&self, is_syncing: bool) {
        if let Err(error) = self.volume.note(is_syncing) {
            // A process that dies during this sync may leave a loss that the next one can't see.
            tracing::error!(%error, "it can't be noted whether a sync is under way");
        }
    }

    /// Gives the room of a deleted LU back, which may take long.
    fn free(&mut self, lu: LuId, ctx: &mut Context<Self>) {
        let (bytes, volume) = (self.data.remove(&lu), Arc::clone(&self.volume));
        self.busy.insert(lu);
        let freed = blocking(move || {
            drop(bytes);
            volume.free(lu)
        });
        ctx.spawn(wrap_future(freed).map(move |freed, act: &mut Self, _ctx| {
            act.finish(lu);
            if let Err(error) = freed {
                tracing::error!(lu = lu.0, %error, "the room of a deleted LU is not given back");
            }
        }));
    }

    fn came(&mut self, conn: ConnId, from: &NodeName, carried: CarriedCall) -> Option<Input> {
        let Some(exit) = self.exits.vios_on(from) else {
            tracing::warn!(peer = %from, "a node that is no VIOS of this storage is not heard");
            return None;
        };
        let lu = carried.lu();
        if !carried.is_whole() {
            tracing::warn!(peer = %from, lu = lu.0, "a checksum does not match");
            return Some(Input::Spoilt { conn, lu });
        }
        match carried.open() {
            Ok(call) => Some(Input::Received { conn, exit, lu, call }),
            Err(error) => {
                tracing::warn!(peer = %from, lu = lu.0, %error, "a call is dropped");
                None
            }
        }
    }
}

impl<D: Backing> Actor for Repository<D> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.carry_out(ctx);
    }
}

impl<D: Backing> Handler<FromFabric<CarriedCall>> for Repository<D> {
    type Result = ();

    fn handle(&mut self, from: FromFabric<CarriedCall>, ctx: &mut Self::Context) {
        let FromFabric { conn, link, came } = from;
        self.ways.entry(conn).or_insert_with(|| way_back::<D>(conn, link.clone()));
        if let Some(input) = self.came(conn, link.peer(), came) {
            Self::handle(self, input, ctx);
        }
    }
}

impl<D: Backing> Handler<OfConn<Beat>> for Repository<D> {
    type Result = ();

    fn handle(&mut self, OfConn { conn, link, news }: OfConn<Beat>, ctx: &mut Self::Context) {
        match news {
            News::Up => {}
            News::Pulse { pulse: Beat { no }, .. } if self.exits.vios_on(link.peer()).is_some() => {
                let oldest = self.device.oldest(self.clock.now());
                let oldest_us = u64::try_from(oldest.as_micros()).unwrap_or(u64::MAX);
                send_pulse(&link, &Echo { no, oldest_us, failures: self.device.failures });
            }
            News::Pulse { .. } => {
                let peer = link.peer();
                tracing::warn!(%peer, "a node that is no VIOS of this storage is not answered");
            }
            News::Down => {
                self.ways.remove(&conn);
                Self::handle(self, Input::Lost { conn }, ctx);
            }
        }
    }
}

/// The way of a connection's words.
fn way_back<D: Backing>(conn: ConnId, link: Link) -> Way<CarriedWord> {
    let me = vioduct_runtime::myself::<Repository<D>>();
    let lost = link.clone();
    Way::over(link, move || {
        let gone = OfConn::<Beat> { conn, link: lost, news: News::Down };
        if let Some(me) = me {
            // Without room for it, the next word finds out.
            me.try_tell(gone).ok();
        }
    })
}

async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> io::Result<T>
where
    T: Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    // Fails only when the runtime is shutting down.
    spawn_blocking(work).await.map_err(io::Error::other)?.map_err(io::Error::other)
}

fn stored_or_not(sync: SyncId, stored: io::Result<()>) -> Input {
    match stored {
        Ok(()) => Input::Stored { sync },
        Err(error) => {
            tracing::error!(%error, "a record is not stored");
            Input::NotStored { sync }
        }
    }
}

fn tell(event: StoreEvent) {
    match event {
        StoreEvent::FsyncFailed { identity } => {
            tracing::error!(losses = identity.losses, "an fsync failed: every session was ended");
        }
        StoreEvent::RecordLost { lu } => {
            tracing::error!(lu = lu.0, "an LU is not served until the next start");
        }
        StoreEvent::IdentityLost => tracing::error!("nothing is served until the next start"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(ms: u64) -> Moment {
        Moment::START.after(Duration::from_millis(ms))
    }

    #[test]
    fn the_oldest_operation_is_the_first_that_has_not_ended_and_only_device_errors_are_failures() {
        let done = |outcome| Input::Performed { op: OpId(1), outcome };
        let mut device = Device::default();
        assert_eq!(device.oldest(after(9)), Duration::ZERO);
        let first = device.began(after(10));
        let second = device.began(after(20));
        assert_eq!(device.oldest(after(50)), Duration::from_millis(40));
        device.ended(first, &done(Err(Failure::NoSpace)));
        assert_eq!(device.oldest(after(50)), Duration::from_millis(30));
        device.ended(second, &done(Err(Failure::Io)));
        assert_eq!((device.oldest(after(99)), device.failures), (Duration::ZERO, 1));
        let stored = device.began(after(99));
        device.ended(stored, &Input::NotStored { sync: SyncId(1) });
        assert_eq!(device.failures, 2);
    }
}
