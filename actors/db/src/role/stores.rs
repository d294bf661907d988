//! The stores of a node.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::StoreError;
use crate::log::{LogEngine, LogWriter, RocksLog};
use crate::offload::Offload;
use crate::rocks;
use crate::space::{Reserve, free_bytes};
use crate::state::{RocksState, StateEngine};

/// How often it is looked how much of the disk is free.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The stores of a node, for all its replicas.
#[derive(Clone, Debug)]
pub struct Stores<E, T> {
    /// The logs.
    pub log: E,
    /// Their one writer.
    pub writer: LogWriter,
    /// The rows.
    pub state: T,
    /// Whether the disk has room for more. Clients' writes are refused while it has not.
    pub has_room: watch::Receiver<bool>,
}

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

impl<E: LogEngine, T: StateEngine> Stores<E, T> {
    /// Of a disk that is never full.
    #[must_use]
    pub fn roomy(log: E, writer: LogWriter, state: T) -> Self {
        let (_always, has_room) = watch::channel(true);
        Self { log, writer, state, has_room }
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
