//! What came of a check, for programs and for readers.

use std::fmt;

use super::history::{Cell, Entry, Key, OpId};

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// There is an order in which everything can have happened.
    Linearizable {
        /// Operations with an outcome that were held against the store's rules.
        ops: usize,
        /// Operations of which nobody knows whether they took place.
        unknown: usize,
        /// Keys.
        keys: usize,
    },
    /// Neither found in the work that was granted; of the other keys none is at fault.
    Undecided {
        /// The key, or the keys taken together.
        keys: Vec<Key>,
        /// The work spent on them: operations tried in one order or another.
        work: u64,
    },
    /// There is no such order.
    Violation(Box<Violation>),
}

impl Verdict {
    /// Whether the history was found right.
    #[must_use]
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Self::Linearizable { .. })
    }

    /// What is wrong with the history, if that was found.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        match self {
            Self::Violation(violation) => Some(violation),
            _ => None,
        }
    }
}

/// A piece of a history that no order explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The key, or the keys taken together.
    pub keys: Vec<Key>,
    /// The operation that no order reaches.
    pub stuck: OpId,
    /// Where the window begins: what it says holds whatever the keys held at this moment. Without
    /// one it goes back to the empty store. It ends with the stuck operation.
    pub from: Option<u64>,
    /// The operations that contradict each other, in the order of their invocations. Those that
    /// began before the window or ended after it may have taken place inside or not.
    pub window: Vec<(OpId, Entry)>,
    /// The states in which the store can have been at the end of the stuck operation; the first
    /// of them, if there are many.
    pub states: Vec<Vec<Cell>>,
    /// Writers of what the stuck operation found, from the whole history.
    pub writers: Vec<(OpId, Entry)>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not linearizable:")?;
        self.keys.iter().try_for_each(|key| write!(f, " {key}"))?;
        match self.from {
            Some(from) => write!(f, "\n  at {from}: whatever it held")?,
            None => f.write_str("\n  in the beginning: nothing")?,
        }
        for (id, entry) in &self.window {
            let mark = if *id == self.stuck { '!' } else { ' ' };
            write!(f, "\n{mark} {id} {entry}")?;
        }
        write!(f, "\n  {} fits none of the states possible at its end:", self.stuck)?;
        for state in &self.states {
            f.write_str("\n   ")?;
            state.iter().try_for_each(|cell| write!(f, " {cell}"))?;
        }
        match self.writers.is_empty() {
            true => f.write_str("\n  nobody wrote what it found"),
            false => {
                f.write_str("\n  what it found was written by:")?;
                self.writers.iter().try_for_each(|(id, entry)| write!(f, "\n    {id} {entry}"))
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable { ops, unknown, keys } => write!(
                f,
                "linearizable: {ops} operations and {unknown} unknown ones on {keys} keys"
            ),
            Self::Undecided { keys, work } => {
                write!(f, "undecided after {work} tries:")?;
                keys.iter().try_for_each(|key| write!(f, " {key}"))
            }
            Self::Violation(violation) => violation.fmt(f),
        }
    }
}
