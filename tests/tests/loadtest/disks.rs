//! Disks in memory that break one promise each, and a server for them.

#![expect(clippy::indexing_slicing, reason = "a server that panics fails the test")]

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use vioduct_vios::block::{Extent, Failure, Reply, Request};
use vioduct_vios::disk::{Abilities, Device, Disk};
use vioduct_vios::nbd::server::{Config, Listener, OneExport, serve};

/// Bytes of the disk.
pub(crate) const SIZE: usize = 2 << 20;
const BLOCK: usize = 4096;
/// How often a fault strikes: once in so many writes.
const EVERY: u64 = 100;
/// Versions of a block that a late write is older than.
const LATE_BY: usize = 3;

/// The promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// A write is acknowledged, and not made.
    Loses,
    /// So is every one after the first hundred.
    LosesAllLater,
    /// What was written and read goes back to what was there before.
    Reverts,
    /// Half of a block is written.
    Tears,
    /// A block is written to its neighbour's place.
    Misplaces,
    /// A bit turns.
    Spoils,
    /// A write is refused, and made after newer ones.
    MakesLate,
    /// Zeroes are acknowledged, and not written.
    KeepsWhatWasZeroed,
    /// A flush is acknowledged, and nothing is flushed.
    DoesNotFlush,
    /// All requests wait for so long, once.
    Stalls(Duration),
}

/// A disk in memory.
#[derive(Debug)]
pub(crate) struct Double {
    fault: Fault,
    /// While this file is there, power is about to be cut.
    cut: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    flushed: Vec<u8>,
    writes: u64,
    requests: u64,
    /// Blocks that were written, to be gone back to.
    before: VecDeque<(usize, Vec<u8>)>,
    /// Writes that will land late, by their block, and how many newer ones there are.
    late: HashMap<usize, (Vec<u8>, usize)>,
    stalled_until: Option<Instant>,
}

impl Double {
    fn new(fault: Fault, cut: PathBuf) -> Self {
        let state = State {
            bytes: vec![0; SIZE],
            flushed: vec![0; SIZE],
            writes: 0,
            requests: 0,
            before: VecDeque::new(),
            late: HashMap::new(),
            stalled_until: None,
        };
        Self { fault, cut, state: Mutex::new(state) }
    }

    fn carry_out(&self, request: Request) -> Result<Reply, Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::fs::remove_file(&self.cut).is_ok() {
            state.bytes = state.flushed.clone();
        }
        match request {
            Request::Read { extent } => Ok(Reply::Data(Bytes::copy_from_slice(state.part(extent)))),
            Request::Write { offset, data, fua } => {
                let at = place(offset);
                state.writes += 1;
                let is_struck = state.writes.is_multiple_of(EVERY);
                state.write(self.fault, is_struck, at, &data)?;
                if fua {
                    state.flushed[at..at + data.len()].copy_from_slice(&data);
                }
                Ok(Reply::Done)
            }
            Request::Flush if self.fault == Fault::DoesNotFlush => Ok(Reply::Done),
            Request::Flush => {
                state.flushed = state.bytes.clone();
                Ok(Reply::Done)
            }
            Request::WriteZeroes { .. } if self.fault == Fault::KeepsWhatWasZeroed => {
                Ok(Reply::Done)
            }
            Request::WriteZeroes { extent, .. } | Request::Trim { extent, .. } => {
                state.part(extent).fill(0);
                Ok(Reply::Done)
            }
            Request::Status { .. } => Err(Failure::NotSupported),
        }
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("the server refuses what lies past the end")
}

impl State {
    fn part(&mut self, extent: Extent) -> &mut [u8] {
        let at = place(extent.offset);
        &mut self.bytes[at..at + extent.length as usize]
    }

    fn write(
        &mut self,
        fault: Fault,
        is_struck: bool,
        at: usize,
        data: &[u8],
    ) -> Result<(), Failure> {
        let old = self.bytes[at..at + data.len()].to_vec();
        let place = &mut self.bytes[at..at + data.len()];
        match fault {
            Fault::Loses if is_struck => {}
            Fault::LosesAllLater if self.writes > EVERY => {}
            Fault::Tears if is_struck => {
                place[..data.len() / 2].copy_from_slice(&data[..data.len() / 2]);
            }
            Fault::Misplaces if is_struck => {
                let beside = (at + BLOCK) % (SIZE - data.len());
                self.bytes[beside..beside + data.len()].copy_from_slice(data);
            }
            Fault::Spoils if is_struck => {
                place.copy_from_slice(data);
                place[data.len() / 2] ^= 4;
            }
            Fault::MakesLate if is_struck => {
                self.late.insert(at, (data.to_vec(), 0));
                return Err(Failure::Io);
            }
            _ => place.copy_from_slice(data),
        }
        match fault {
            Fault::Reverts => {
                self.before.push_back((at, old));
                if self.before.len() > 50 {
                    let (at, old) = self.before.pop_front().expect("there are some");
                    if is_struck && !self.before.iter().any(|(newer, _)| *newer == at) {
                        self.bytes[at..at + old.len()].copy_from_slice(&old);
                    }
                }
            }
            Fault::MakesLate => {
                if let Some((late, newer)) = self.late.get_mut(&at) {
                    *newer += 1;
                    if *newer >= LATE_BY {
                        self.bytes[at..at + late.len()].copy_from_slice(late);
                        self.late.remove(&at);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Disk for Double {
    type Error = Failure;

    fn device(&self) -> Device {
        let abilities = Abilities { can_status: false, ..Abilities::ALL };
        Device { abilities, ..Device::new(SIZE as u64) }
    }

    async fn execute(&self, request: Request) -> Result<Reply, Failure> {
        if let Fault::Stalls(length) = self.fault {
            let until = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.requests += 1;
                if state.requests == 3000 {
                    state.stalled_until = Some(Instant::now() + length);
                }
                state.stalled_until
            };
            if let Some(until) = until {
                sleep_until(until).await;
            }
        }
        self.carry_out(request)
    }
}

/// A disk that is served over a Unix socket until this is dropped.
#[derive(Debug)]
pub(crate) struct Served {
    disk: Arc<Double>,
    socket: PathBuf,
    serving: JoinHandle<()>,
}

impl Served {
    /// In a directory of its own.
    pub(crate) fn new(fault: Fault, dir: &Path) -> Self {
        let disk = Arc::new(Double::new(fault, dir.join("cut")));
        let socket = dir.join("d.sock");
        let serving = begin(&disk, &socket);
        Self { disk, socket, serving }
    }

    /// Its address.
    pub(crate) fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket.display())
    }

    /// Cuts every client off, and serves the same disk anew.
    pub(crate) async fn restart(&mut self) {
        self.serving.abort();
        assert!((&mut self.serving).await.is_err_and(|error| error.is_cancelled()));
        std::fs::remove_file(&self.socket).expect("the socket has a file");
        self.serving = begin(&self.disk, &self.socket);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn begin(disk: &Arc<Double>, socket: &Path) -> JoinHandle<()> {
    let listener = Listener::Unix(UnixListener::bind(socket).expect("the socket is free"));
    let exports = OneExport::new("", Arc::clone(disk));
    tokio::spawn(async move {
        let never = std::future::pending();
        serve(listener, exports, Config::default(), never).await.expect("the settings are sound");
    })
}
