//! What goes into an owner, and what it wants done.

use std::time::Duration;

use super::super::hold::Fence;
use super::super::message::{Call, Why, Word};
use super::super::name::{ClientId, Epoch, Holder, LuId, OwnerId, ViosId};
use crate::block::{Failure, Reply, Request};

/// What the DB gave to one life of an owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attachment {
    /// The disk.
    pub lu: LuId,
    /// Given once, above all that were given for the LU before.
    pub owner: OwnerId,
    /// Drawn at random for this life.
    pub holder: Holder,
    /// The VIOSes to go through, the preferred one first.
    pub entries: Vec<ViosId>,
    /// How many of them, from the first on, are of the client's own CEC.
    pub near: usize,
    /// The client itself was restarted too, so that it expects nothing unflushed to be there.
    pub is_client_new: bool,
    /// How the storage keeps out what is late.
    pub fence: Fence,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// Begin. Once.
    Started,
    /// A client asks; not before [`Owner::has_room`](super::Owner::has_room) says so: else the
    /// answer is EIO.
    Asked {
        /// Who.
        client: ClientId,
        /// The client's own name for it.
        tag: u64,
        /// What.
        request: Request,
    },
    /// A client's connection is gone. What it asked for is finished, and not answered.
    ClientLeft {
        /// Which.
        client: ClientId,
    },
    /// An entry has passed a word on.
    Heard {
        /// Who.
        entry: ViosId,
        /// What.
        word: Word,
    },
    /// A word of an entry had a checksum that does not match.
    Spoilt {
        /// Who passed it on.
        entry: ViosId,
    },
    /// The link to an entry is gone, or a call could not be given to it.
    EntryLost {
        /// Which.
        entry: ViosId,
    },
    /// An entry is there: it was found, or is still there after [`EntryLost`](Self::EntryLost).
    EntryFound {
        /// Which.
        entry: ViosId,
    },
    /// These are the VIOSes to go through from now on, the preferred one first. All that are
    /// there are [found](Self::EntryFound) anew.
    EntriesChanged {
        /// All of them.
        entries: Vec<ViosId>,
        /// How many of them, from the first on, are of the client's own CEC.
        near: usize,
    },
    /// The storage has made the disk larger: so many bytes are there.
    Grown {
        /// Bytes.
        size: u64,
    },
    /// No attempt of a session that is over can land any more: a fence hook ran, or an operator
    /// says so. For storage that cannot fence.
    AttemptsEnded,
    /// End in order: finish what was asked, flush, close.
    CloseAsked,
    /// The deadline has come.
    TimePassed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Give a call to an entry. If that cannot be done, [`Input::EntryLost`] follows.
    Send {
        /// Whom.
        entry: ViosId,
        /// What.
        call: Call,
    },
    /// Answer a client.
    Answer {
        /// Whom.
        client: ClientId,
        /// What it named the request.
        tag: u64,
        /// The request's result.
        outcome: Result<Reply, Failure>,
    },
    /// Close all connections of clients, without another answer.
    HangUp,
    /// Tell whoever watches.
    Tell(OwnerEvent),
}

/// What became of an owner's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwnerEvent {
    /// A session that was served is over.
    PathLost {
        /// Which.
        epoch: Epoch,
        /// Why.
        why: Why,
    },
    /// Requests are carried out, again or for the first time.
    PathBack {
        /// The session.
        epoch: Epoch,
        /// How long requests had to wait.
        waited: Duration,
    },
    /// Acknowledged writes had to be written anew.
    Replayed {
        /// The session.
        epoch: Epoch,
        /// Ranges of them.
        ranges: usize,
    },
    /// The repair of a session failed. It is tried again, and the next flush fails.
    RepairFailed {
        /// Which.
        epoch: Epoch,
        /// How.
        failure: Failure,
    },
    /// An earlier owner and the storage's cache were both lost: some acknowledged writes may be
    /// missing. The next flush fails.
    DoubleLoss {
        /// The session that showed it.
        epoch: Epoch,
    },
    /// Requests were answered EIO, since no path was there for too long.
    HoldExpired {
        /// How many.
        requests: usize,
    },
    /// The owner is no more.
    Ended(End),
}

/// How an owner ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// As asked: all is durable.
    Closed,
    /// Another owner has taken its place.
    Superseded {
        /// The session of the other one.
        by: Epoch,
    },
    /// The LU was deleted.
    Gone,
    /// Its sessions cannot be counted on. Fault: whoever told it of the last number.
    Exhausted,
}
