//! A node's part of the database on its disk.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use vioduct_runtime::Node;

use super::{DbRole, DbRoleConfig, DbRoleError, Stores};
use crate::StoreError;
use crate::log::{LogWriter, RocksLog};
use crate::offload::Offload;
use crate::rocks;
use crate::space::{Reserve, free_bytes};
use crate::state::RocksState;

/// A node's part of a database whose stores are on its disk.
pub type DiskRole = DbRole<RocksLog, RocksState>;

/// Where a node has its replicas, and how much room they may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskConfig {
    /// The directory; made if it is not there.
    pub dir: PathBuf,
    /// Bytes of memory for what is read back from the disk.
    pub cache_bytes: usize,
    /// Writes are refused while fewer bytes of the file system are free.
    pub reserve_bytes: u64,
}

/// Opens the stores of a directory, and starts the replicas that they hold.
///
/// # Errors
///
/// [`DbRoleError`].
// Boxed, so that the consensus library is compiled for these stores here, and not once more in each
// program.
pub fn start_on_disk(
    node: Node,
    disk: DiskConfig,
    config: DbRoleConfig,
) -> Pin<Box<dyn Future<Output = Result<DiskRole, DbRoleError>>>> {
    let DiskConfig { dir, cache_bytes, reserve_bytes } = disk;
    Box::pin(async move {
        let stores = Stores::open(dir, cache_bytes, reserve_bytes).await?;
        DbRole::start(&node, stores, config).await
    })
}

/// How often it is looked how much of the disk is free.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Stores<RocksLog, RocksState> {
    /// Opens those in a directory; makes them if it is empty or not there. One that is damaged is
    /// set aside, and others' replicas have the rows. What is read back from the disk is kept in
    /// `cache_bytes` of memory. Writes are refused while less than `reserve_bytes` of the file
    /// system are free.
    ///
    /// # Errors
    ///
    /// As [`rocks::RocksStores::open_or_begin_anew`].
    pub async fn open(
        dir: PathBuf,
        cache_bytes: usize,
        reserve_bytes: u64,
    ) -> Result<Self, StoreError> {
        let place = dir.clone();
        let opened = Offload::Threads
            .run(move || rocks::RocksStores::open_or_begin_anew(&place, cache_bytes));
        let rocks::RocksStores { log, state } = opened.await??;
        let writer = LogWriter::on_thread(log.clone())?;
        let mut reserve = Reserve::new(reserve_bytes);
        let (room, has_room) = watch::channel(reserve.admits(free_bytes(&dir)?));
        tokio::spawn(watch_space(dir, reserve, room));
        Ok(Self { log, writer, state, has_room })
    }
}

/// Looks at the disk until nobody wants to know any more.
async fn watch_space(dir: PathBuf, mut reserve: Reserve, room: watch::Sender<bool>) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = room.closed() => return,
            _now = looks.tick() => look(&dir, &mut reserve, &room),
        }
    }
}

fn look(dir: &Path, reserve: &mut Reserve, room: &watch::Sender<bool>) {
    let free = match free_bytes(dir) {
        Ok(free) => free,
        Err(error) => return tracing::warn!(%error, "how much of the disk is free is not known"),
    };
    let has_room = reserve.admits(free);
    let is_news = room.send_if_modified(|before| std::mem::replace(before, has_room) != has_room);
    match (is_news, has_room) {
        (true, true) => tracing::info!(free, "the disk has room again: writes are taken"),
        (true, false) => tracing::warn!(free, "the disk is nearly full: writes are refused"),
        (false, _) => {}
    }
}
