//! What two runtimes tell each other about their actors. Always postcard, always on the control
//! lane, so it keeps its order.

use serde::{Deserialize, Serialize};

use crate::error::EndReason;
use crate::id::ActorName;
use crate::names::{Page, Read};

/// One control message. Numbers of questions are the asker's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Control {
    /// Which actor has this name?
    Find { question: u64, name: ActorName },
    /// It is this one; none when there is none.
    Found { question: u64, serial: Option<u64> },
    /// May I send this message to that actor, and under which index?
    Bind(Bind),
    /// The answer.
    Bound { question: u64, answer: Result<Bound, BindRefusal> },
    /// Room for more bytes of messages to this actor.
    Credit { serial: u64, epoch: u32, bytes: u32 },
    /// That actor of mine is gone: messages to it were dropped.
    Over { serial: u64 },
    /// Tell me when that actor ends, by a notice on the flow of the actor `watcher`; 0 stands for
    /// the control lane.
    Watch { watch: u64, actor: Life, watcher: u64 },
    /// No more.
    Unwatch { watch: u64 },
    /// Credit or answers of the sender may have been lost: bind again.
    Reset,
    /// I have read so far in the ledger of that run of yours: what follows?
    ReadNames { incarnation: u64, read: Read },
    /// This follows, in the ledger of this run of mine.
    Names { incarnation: u64, page: Page },
}

/// A life of an actor on the node that is spoken to, or that speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    /// The node's run.
    pub(crate) incarnation: u64,
    pub(crate) serial: u64,
}

/// That an actor has ended; in an envelope of its own, since it travels on the watcher's flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    pub(crate) watch: u64,
    pub(crate) actor: Life,
    pub(crate) reason: EndReason,
    /// Behind whose messages to the watcher it comes: it counts once it has come behind all.
    pub(crate) behind: Behind,
}

/// Whose messages a notice comes behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Behind {
    /// Nobody's: the watcher is no actor.
    Nobody,
    /// The ended actor's own.
    Actor,
    /// Those of its node that no actor's context sent, as some futures of the actor's may have.
    Node,
}

/// A question for leave to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bind {
    pub(crate) question: u64,
    pub(crate) serial: u64,
    /// The run of the node that is meant.
    pub(crate) incarnation: u64,
    pub(crate) key: u64,
    pub(crate) fingerprint: u64,
    /// Rises whenever the asker lost count of its credit.
    pub(crate) epoch: u32,
}

/// Leave to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bound {
    /// Index of the message.
    pub(crate) message: u8,
    /// Most credit that there is at once, bytes; a longer message takes all of it.
    pub(crate) window: u32,
    /// First credit of this epoch, bytes; 0 when it has been given.
    pub(crate) credit: u32,
}

/// Why leave was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BindRefusal {
    Restarted,
    Gone,
    NotExported,
    AccessDenied,
    Skew { fingerprint: u64 },
}
