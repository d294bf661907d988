//! How calls and words travel between actors of two nodes, and over the fabric.
//!
//! What a machine says is cut in two: a head, which a codec encodes, and data, which is never
//! copied. The CRC32C of the data is made at one end, by the owner or the storage, and checked at
//! the other; a VIOS in between passes it on as it is, so that it also covers what happens inside
//! of a VIOS.
//!
//! The types of a head are apart from the machines' own: what travels changes only on purpose.
//!
//! Source: redirect protocol, "Messages"; CRC32C as RFC 3720, section 12.1 has it.

mod beat;
mod head;
#[cfg(test)]
mod tests;

use actix::Message;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vioduct_runtime::{Accepts, ActorRef, RemoteMessage};

use crate::block::{Reply, Request};
use crate::redirect::message::{Call, Word};
use crate::redirect::name::LuId;
pub use beat::{Beat, Echo};
use head::{CallHead, WordHead};

/// Runs that a status may have. What the storage finds beyond is asked for again.
pub const RUNS_MAX: usize = 4096;

/// What came is no call or word. Fault: a peer. Nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CarryError {
    /// Data came with what has none.
    #[error("data came with a message that has none")]
    StrayData,
    /// More data than an extent can count.
    #[error("{bytes} bytes of data are more than a request can have")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// More runs than [`RUNS_MAX`].
    #[error("a status of {runs} runs is longer than {RUNS_MAX}")]
    TooManyRuns {
        /// How many.
        runs: usize,
    },
}

/// The checksum of a message's data; of no data it is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum(u32);

impl Checksum {
    fn of(data: &[u8]) -> Self {
        Self(crc32c::crc32c(data))
    }
}

/// Who takes words: an owner's actor.
#[derive(Debug)]
pub struct WordTaker;

impl Accepts<CarriedWord> for WordTaker {}

/// A call on its way.
#[derive(Debug, Clone, PartialEq, Eq, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "vios.Call")]
pub struct CarriedCall {
    lu: u64,
    head: CallHead,
    checksum: u32,
    /// Where the words of a session go, said when it is opened; of no use over the fabric.
    back: Option<ActorRef<WordTaker>>,
    #[serde(skip)]
    #[remote(body)]
    data: Bytes,
}

/// A word on its way.
#[derive(Debug, Clone, PartialEq, Eq, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "vios.Word")]
pub struct CarriedWord {
    lu: u64,
    head: WordHead,
    checksum: u32,
    #[serde(skip)]
    #[remote(body)]
    data: Bytes,
}

impl Message for CarriedCall {
    type Result = ();
}

impl Message for CarriedWord {
    type Result = ();
}

impl CarriedCall {
    /// A call as its owner sends it.
    #[must_use]
    pub fn seal(lu: LuId, call: Call) -> Self {
        let checksum = Checksum::of(data_of_call(&call));
        Self::pass(lu, call, checksum)
    }

    /// A call as a VIOS passes it on, under the checksum that it came with.
    #[must_use]
    pub fn pass(LuId(lu): LuId, call: Call, Checksum(checksum): Checksum) -> Self {
        let (head, data) = CallHead::split(call);
        Self { lu, head, checksum, back: None, data }
    }

    /// The same, and the session's words go there.
    #[must_use]
    pub fn answered_to(mut self, back: ActorRef<WordTaker>) -> Self {
        self.back = Some(back);
        self
    }

    /// Where the words of the session go, if that was said.
    #[must_use]
    pub fn back(&self) -> Option<&ActorRef<WordTaker>> {
        self.back.as_ref()
    }

    /// What it came with.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        Checksum(self.checksum)
    }

    /// Whether its data is what the owner sent.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        Checksum::of(&self.data) == self.checksum()
    }

    /// For which LU it is.
    #[must_use]
    pub fn lu(&self) -> LuId {
        LuId(self.lu)
    }

    /// The call. It says nothing of [`is_whole`](Self::is_whole).
    ///
    /// # Errors
    /// [`CarryError`] when it is none.
    pub fn open(self) -> Result<Call, CarryError> {
        self.head.join(self.data)
    }
}

impl CarriedWord {
    /// A word as the storage sends it.
    #[must_use]
    pub fn seal(lu: LuId, word: Word) -> Self {
        let checksum = Checksum::of(data_of_word(&word));
        Self::pass(lu, word, checksum)
    }

    /// A word as a VIOS passes it on, under the checksum that it came with.
    #[must_use]
    pub fn pass(LuId(lu): LuId, word: Word, Checksum(checksum): Checksum) -> Self {
        let (head, data) = WordHead::split(word);
        Self { lu, head, checksum, data }
    }

    /// What it came with.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        Checksum(self.checksum)
    }

    /// Whether its data is what the storage sent.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        Checksum::of(&self.data) == self.checksum()
    }

    /// Of which LU it is.
    #[must_use]
    pub fn lu(&self) -> LuId {
        LuId(self.lu)
    }

    /// The word. It says nothing of [`is_whole`](Self::is_whole).
    ///
    /// # Errors
    /// [`CarryError`] when it is none.
    pub fn open(self) -> Result<Word, CarryError> {
        self.head.join(self.data)
    }
}

fn data_of_call(call: &Call) -> &[u8] {
    match call {
        Call::Request { request: Request::Write { data, .. }, .. } => data,
        Call::Request { .. }
        | Call::Open { .. }
        | Call::Flush { .. }
        | Call::Close { .. }
        | Call::Stay { .. } => &[],
    }
}

fn data_of_word(word: &Word) -> &[u8] {
    match word {
        Word::Answer { outcome: Ok(Reply::Data(data)), .. } => data,
        _other => &[],
    }
}
