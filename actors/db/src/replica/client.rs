//! What a replica takes of clients, and what it answers.

use actix::Message;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vioduct_runtime::{Accepts, RemoteMessage, Wire};

use crate::consensus::entry::Host;
use crate::schema::Class;

/// What a replica takes of a client.
#[derive(Debug)]
pub struct ReplicaClient;

impl Accepts<Propose> for ReplicaClient {}

impl Accepts<Read> for ReplicaClient {}

impl Accepts<AskChanges> for ReplicaClient {}

impl Accepts<KeepAlive> for ReplicaClient {}

impl Accepts<AskStatus> for ReplicaClient {}

/// Asks that a command be done.
#[derive(Clone, Debug, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "db.Propose")]
pub struct Propose {
    /// The [command](crate::command::Command)'s encoding.
    #[serde(skip)]
    #[remote(body)]
    pub command: Bytes,
}

impl Message for Propose {
    type Result = Result<Encoded, Refusal>;
}

/// How fresh what is read has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub enum Freshness {
    /// As if it were read at one moment between question and answer, wherever it is asked. The
    /// leader makes sure that it leads.
    #[default]
    Linearizable,
    /// The same as long as clocks run alike: the leader relies on having been heard lately.
    Lease,
    /// At least what this revision wrote. Any replica answers, once it has it.
    AtLeast {
        /// The revision.
        revision: u64,
    },
    /// Whatever the replica that is asked has, once it has anything. It may be as old as you like.
    Stale,
}

/// Asks for rows.
#[derive(Clone, Debug, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "db.Read", version = 2)]
pub struct Read {
    /// How fresh.
    pub freshness: Freshness,
    /// The [query](crate::query::Query)'s encoding.
    #[serde(skip)]
    #[remote(body)]
    pub query: Bytes,
}

impl Message for Read {
    type Result = Result<Encoded, Refusal>;
}

/// Asks the leader for changes. It is answered at once if there are any, else as soon as there are,
/// or when it has waited long enough.
#[derive(Clone, Debug, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "db.AskChanges")]
pub struct AskChanges {
    /// The asker knows all up to this revision.
    pub after: u64,
    /// How long it waits for changes, milliseconds; a minute at most.
    pub wait_ms: u32,
    /// Changes of these tables; with none named, of all.
    pub tables: Vec<u16>,
    /// Changes of tables of this class; without it, of both.
    pub class: Option<Class>,
    /// Changes of keys that begin so.
    #[serde(skip)]
    #[remote(body)]
    pub prefix: Bytes,
}

impl Message for AskChanges {
    /// What is [told](crate::watch::Told), encoded.
    type Result = Result<Encoded, Refusal>;
}

/// Asks the leader to let a lease last for its whole time from now on.
#[derive(Clone, Copy, Debug, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "db.KeepAlive")]
pub struct KeepAlive {
    /// Which.
    pub lease: u64,
}

impl Message for KeepAlive {
    /// An [answer](crate::command::Answer), encoded.
    type Result = Result<Encoded, Refusal>;
}

/// An answer to a command, a query or a watch, encoded.
#[derive(Clone, Debug, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct Encoded {
    /// The encoding.
    #[serde(skip)]
    #[remote(body)]
    pub body: Bytes,
}

/// Asks a replica how it is.
#[derive(Clone, Copy, Debug, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "db.AskStatus")]
pub struct AskStatus;

impl Message for AskStatus {
    type Result = Result<Status, Refusal>;
}

/// How a replica is.
#[derive(Clone, Debug, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct Status {
    /// Which replica it is.
    pub replica: u64,
    /// The leader's term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// The index of its last entry.
    pub last: u64,
    /// Up to where entries are applied.
    pub applied: u64,
    /// All replicas, their nodes, and whether they vote.
    pub members: Vec<Member>,
}

/// A replica of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct Member {
    /// Its number.
    pub replica: u64,
    /// Its node.
    pub node: String,
    /// Whether it votes; one that does not is catching up.
    pub is_voter: bool,
}

/// Why a replica did not do what a client asked. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Wire, Serialize, Deserialize)]
pub enum Refusal {
    /// Another one leads.
    #[error("{}", leads(leader.as_deref()))]
    NotLeader {
        /// The node that does, as far as this one knows.
        leader: Option<String>,
    },
    /// The command or query can't be read, or is past a bound.
    #[error("{why}")]
    Invalid {
        /// What is wrong.
        why: String,
    },
    /// There is no such table.
    #[error("there is no table {table}")]
    NoTable {
        /// Its number.
        table: u16,
    },
    /// The table's rows, or this one, are others' to change.
    #[error("{who} may not change this row of table {table}")]
    NotItsTable {
        /// Its number.
        table: u16,
        /// Whose certificate the command came under.
        who: String,
    },
    /// The file system is nearly full. Reads go on.
    #[error("the disk of the leader is nearly full: writes are refused until there is room")]
    DiskFull,
    /// Too few replicas answer: the leader can't be sure that it leads.
    #[error("too few replicas answer")]
    NoQuorum,
    /// As many reads wait as may wait.
    #[error("too many reads wait")]
    Busy,
    /// As many wait for changes as may wait.
    #[error("too many wait for changes")]
    TooManyWatches,
    /// The replica has stopped, or is about to. Whether a command was done is not known.
    #[error("the replica has stopped")]
    Stopped,
    /// The replica lost the lead while the command was under way. Whether it was or will be done is
    /// not known.
    #[error("the leader was replaced while the command was under way")]
    LeadLost,
}

impl Refusal {
    pub(crate) fn not_leader(leader: Option<Host>) -> Self {
        Self::NotLeader { leader: leader.map(|host| host.0) }
    }
}

fn leads(leader: Option<&str>) -> String {
    match leader {
        Some(node) => format!("{node} leads"),
        None => "no leader is known here".into(),
    }
}
