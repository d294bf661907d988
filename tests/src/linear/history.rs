//! What clients asked and what they were told, in the order in which the recorder saw it.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Operations that one history holds at most; [`Recorder::invoke`] refuses more.
pub const OPS: usize = 1 << 20;

/// A key of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(pub String);

impl<T: Into<String>> From<T> for Key {
    fn from(key: T) -> Self {
        Self(key.into())
    }
}

/// What a key can hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Value(pub String);

impl<T: Into<String>> From<T> for Value {
    fn from(value: T) -> Self {
        Self(value.into())
    }
}

/// A key with what it holds, should hold or shall hold; without a value it is absent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// The key.
    pub key: Key,
    /// Its value, if it is present.
    pub value: Option<Value>,
}

impl Cell {
    /// The key with this value.
    pub fn holds(key: impl Into<Key>, value: impl Into<Value>) -> Self {
        Self { key: key.into(), value: Some(value.into()) }
    }

    /// The key without a value.
    pub fn absent(key: impl Into<Key>) -> Self {
        Self { key: key.into(), value: None }
    }
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Puts the new value if the key holds what is expected.
    Cas {
        /// The key.
        key: Key,
        /// What it has to hold; `None` for absent.
        expect: Option<Value>,
        /// What it holds afterwards.
        new: Value,
    },
    /// Takes the key away, if it is there.
    Delete {
        /// The key.
        key: Key,
    },
    /// Reads the key.
    Get {
        /// The key.
        key: Key,
    },
    /// Writes the key.
    Put {
        /// The key.
        key: Key,
        /// What it holds afterwards.
        value: Value,
    },
    /// Reads all keys from `from` on, before `to`.
    Scan {
        /// The first key of the range.
        from: Key,
        /// The first key after it.
        to: Key,
    },
    /// All changes at once if all conditions hold, otherwise none; without conditions it cannot
    /// be refused.
    Transaction {
        /// What has to hold beforehand.
        conditions: Vec<Cell>,
        /// What holds afterwards; of two changes of a key the later counts.
        changes: Vec<Cell>,
    },
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The put, deletion, compare-and-set or transaction took place.
    Done,
    /// The compare-and-set or transaction met another state and changed nothing.
    Refused,
    /// The compare-and-set changed nothing, since the key held this.
    RefusedAt(Option<Value>),
    /// All rows of the range; a key of the range that is not among them was absent.
    Rows(Vec<(Key, Value)>),
    /// What the key held.
    Value(Option<Value>),
}

impl Outcome {
    fn answers(&self, op: &Op) -> bool {
        match op {
            Op::Cas { .. } => matches!(self, Self::Done | Self::Refused | Self::RefusedAt(_)),
            Op::Delete { .. } | Op::Put { .. } => *self == Self::Done,
            Op::Get { .. } => matches!(self, Self::Value(_)),
            Op::Scan { .. } => matches!(self, Self::Rows(_)),
            Op::Transaction { conditions, .. } => {
                *self == Self::Done || (*self == Self::Refused && !conditions.is_empty())
            }
        }
    }
}

/// How an operation ended for its client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It certainly did not take place, and never will.
    Failed {
        /// The moment.
        at: u64,
    },
    /// It took place, at one moment between its invocation and this one.
    Ok {
        /// The moment.
        at: u64,
        /// What the client was told.
        outcome: Outcome,
    },
    /// Nobody has ended it yet; held to be unknown.
    Open,
    /// It may have taken place, may take place at any later time, or never.
    Unknown {
        /// When the client stopped waiting, which says nothing about the store.
        at: u64,
    },
}

/// An operation, counted from 0 in the order of the invocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpId(pub u32);

/// One operation of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Who asked. For the reader; one client may have several operations open.
    pub client: u32,
    /// What it asked for.
    pub op: Op,
    /// The moment.
    pub invoked: u64,
    /// How it ended.
    pub end: End,
}

/// Why something was not recorded, or not read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The operation ended before; the history keeps its first end.
    #[error("operation {0:?} has ended before")]
    Ended(OpId),
    /// The history is full and unchanged.
    #[error("a history takes {OPS} operations")]
    Full,
    /// The outcome does not belong to such an operation; the operation stays open.
    #[error("operation {0:?} cannot have such an outcome")]
    Mismatch(OpId),
    /// The operation ended before it began.
    #[error("operation {0:?} ended before it began")]
    Order(OpId),
    /// No such operation was invoked.
    #[error("no operation {0:?}")]
    Stranger(OpId),
}

/// What happened: written by a [`Recorder`], kept as JSON, judged by [`super::check`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Entry>")]
pub struct History(Vec<Entry>);

impl History {
    /// The operations with their numbers.
    pub fn entries(&self) -> impl Iterator<Item = (OpId, &Entry)> {
        (0..).map(OpId).zip(&self.0)
    }

    /// One operation.
    #[must_use]
    pub fn entry(&self, id: OpId) -> Option<&Entry> {
        self.0.get(id.0 as usize)
    }

    /// How many operations it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<Entry>> for History {
    type Error = RecordError;

    fn try_from(entries: Vec<Entry>) -> Result<Self, RecordError> {
        if entries.len() > OPS {
            return Err(RecordError::Full);
        }
        let history = Self(entries);
        for (id, entry) in history.entries() {
            match &entry.end {
                End::Ok { outcome, .. } if !outcome.answers(&entry.op) => {
                    return Err(RecordError::Mismatch(id));
                }
                End::Failed { at } | End::Ok { at, .. } | End::Unknown { at }
                    if *at <= entry.invoked =>
                {
                    return Err(RecordError::Order(id));
                }
                _ => {}
            }
        }
        Ok(history)
    }
}

#[derive(Debug, Default)]
struct Tape {
    history: History,
    now: u64,
}

impl Tape {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn open(&mut self, id: OpId) -> Result<&mut Entry, RecordError> {
        let entry = self.history.0.get_mut(id.0 as usize).ok_or(RecordError::Stranger(id))?;
        if entry.end == End::Open { Ok(entry) } else { Err(RecordError::Ended(id)) }
    }
}

/// Writes a history down while clients run; many tasks share it behind an `Arc`.
///
/// Its time is a count of events: an operation that ends before another begins has the smaller
/// number, whatever any clock says. Call [`Recorder::invoke`] before the request leaves, and the
/// ends after the reply is there.
#[derive(Debug, Default)]
pub struct Recorder {
    tape: Mutex<Tape>,
}

impl Recorder {
    /// A client is about to ask.
    ///
    /// # Errors
    /// The history is full; do not send the request then.
    pub fn invoke(&self, client: u32, op: Op) -> Result<OpId, RecordError> {
        let mut tape = self.tape();
        let next = tape.history.len();
        let id = u32::try_from(next).ok().filter(|_| next < OPS).ok_or(RecordError::Full)?;
        let invoked = tape.tick();
        tape.history.0.push(Entry { client, op, invoked, end: End::Open });
        Ok(OpId(id))
    }

    /// The client was told that its operation took place, or was refused by the state.
    ///
    /// # Errors
    /// The operation is not open, or cannot have this outcome.
    pub fn ok(&self, id: OpId, outcome: Outcome) -> Result<(), RecordError> {
        let mut tape = self.tape();
        if !outcome.answers(&tape.open(id)?.op) {
            return Err(RecordError::Mismatch(id));
        }
        let at = tape.tick();
        tape.open(id)?.end = End::Ok { at, outcome };
        Ok(())
    }

    /// The operation certainly did not take place and never will.
    ///
    /// # Errors
    /// The operation is not open.
    pub fn fail(&self, id: OpId) -> Result<(), RecordError> {
        let mut tape = self.tape();
        let at = tape.tick();
        tape.open(id)?.end = End::Failed { at };
        Ok(())
    }

    /// The client stopped waiting, and the operation may take place at any later time.
    ///
    /// # Errors
    /// The operation is not open.
    pub fn unknown(&self, id: OpId) -> Result<(), RecordError> {
        let mut tape = self.tape();
        let at = tape.tick();
        tape.open(id)?.end = End::Unknown { at };
        Ok(())
    }

    /// What happened so far.
    #[must_use]
    pub fn history(&self) -> History {
        self.tape().history.clone()
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        // Nothing panics between two changes that belong together.
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, shown(self.value.as_ref()))
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cas { key, expect, new } => {
                write!(f, "cas {key} from {} to {}", shown(expect.as_ref()), new.0)
            }
            Self::Delete { key } => write!(f, "delete {key}"),
            Self::Get { key } => write!(f, "get {key}"),
            Self::Put { key, value } => write!(f, "put {key}={}", value.0),
            Self::Scan { from, to } => write!(f, "scan {from}..{to}"),
            Self::Transaction { conditions, changes } => {
                f.write_str("transaction if")?;
                conditions.iter().try_for_each(|cell| write!(f, " {cell}"))?;
                f.write_str(" then")?;
                changes.iter().try_for_each(|cell| write!(f, " {cell}"))
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Refused => f.write_str("refused"),
            Self::RefusedAt(seen) => write!(f, "refused at {}", shown(seen.as_ref())),
            Self::Rows(rows) => {
                f.write_str("rows")?;
                rows.iter().try_for_each(|(key, value)| write!(f, " {key}={}", value.0))
            }
            Self::Value(value) => f.write_str(shown(value.as_ref())),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, op, invoked, end } = self;
        match end {
            End::Ok { at, outcome } => write!(f, "[{invoked}, {at}] c{client} {op}: {outcome}"),
            End::Failed { at } => write!(f, "[{invoked}, {at}] c{client} {op}: not done"),
            End::Open | End::Unknown { .. } => {
                write!(f, "[{invoked}, ...] c{client} {op}: unknown")
            }
        }
    }
}

/// A value as a reader wants to see it.
pub(super) fn shown(value: Option<&Value>) -> &str {
    value.map_or("(absent)", |value| value.0.as_str())
}
