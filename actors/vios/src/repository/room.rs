//! How much room a repository has, and how much of it LUs take now. LUs are sparse: their sizes may
//! add up to more than there is.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use actix::{Handler, Message, ResponseFuture};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use vioduct_runtime::{Accepts, RemoteMessage, Wire};

use super::actor::Repository;
use super::backing::Backing;
use super::desk::Desk;
use super::volume::Volume;
use crate::redirect::name::LuId;

/// LUs that are asked for at once.
pub const ASKED_MAX: usize = 4096;
/// What a file system counts a file's room in.
const SECTOR: u64 = 512;

impl Accepts<AskRoom> for Desk {}

/// Asks how much room there is, and how much of it these LUs take together.
#[derive(Debug, Clone, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Result<Room, NoRoom>")]
#[remote(name = "storage.AskRoom")]
pub struct AskRoom {
    /// Which; [`ASKED_MAX`] at most. Those that there are not take none.
    pub lus: Vec<u64>,
}

/// Room, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct Room {
    /// What the file system of the volume can hold, of whatever.
    pub capacity: u64,
    /// What is free of that for LUs: without what the file system keeps for itself.
    pub free: u64,
    /// What the LUs take that were asked for.
    pub allocated: u64,
}

/// Why it is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Wire, Serialize, Deserialize)]
pub enum NoRoom {
    /// Fault: whoever asks.
    #[error("more than {ASKED_MAX} LUs at once")]
    TooMany,
    /// The system refuses.
    #[error("the volume's file system: {0}")]
    System(String),
}

impl<D: Backing> Handler<AskRoom> for Repository<D> {
    type Result = ResponseFuture<Result<Room, NoRoom>>;

    fn handle(&mut self, AskRoom { lus }: AskRoom, _ctx: &mut Self::Context) -> Self::Result {
        if lus.len() > ASKED_MAX {
            return Box::pin(std::future::ready(Err(NoRoom::TooMany)));
        }
        let volume = Arc::clone(self.volume());
        let looked = spawn_blocking(move || look(&volume, &lus));
        Box::pin(async move {
            // Fails only when the runtime is shutting down.
            let room = looked.await.map_err(io::Error::other).flatten();
            room.map_err(|error| NoRoom::System(error.to_string()))
        })
    }
}

fn look(volume: &Volume, lus: &[u64]) -> io::Result<Room> {
    let system = rustix::fs::statvfs(volume.dir())?;
    let mut allocated = 0;
    for lu in lus {
        match fs::metadata(volume.data(LuId(*lu))) {
            Ok(data) => allocated += data.blocks() * SECTOR,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let bytes = |blocks: u64| blocks.saturating_mul(system.f_frsize);
    Ok(Room { capacity: bytes(system.f_blocks), free: bytes(system.f_bavail), allocated })
}
