//! What reads may find.
//!
//! The writes of a key are numbered from 1, and one is under way at most. A read may find the last
//! one that was acknowledged, or found, before it began; any later one that was acknowledged
//! meanwhile; and the one that is under way or of which it is not known whether it was done. What
//! the database said was not done may never be found.

use std::fmt;
use std::ops::RangeInclusive;

use super::value::Held;

/// What reads may find under each key of a run.
///
/// Invariants: (1) of each key `acknowledged <= begun` and `known <= begun`; (2) the writes between
/// `acknowledged` and `begun` were not done, and that of `begun` may be only if it is under way or
/// the key is retired.
#[derive(Debug)]
pub(crate) struct Ledger {
    keys: Vec<Key>,
    retired: u32,
    retired_max: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Key {
    begun: u64,
    acknowledged: u64,
    /// The latest that was acknowledged or found.
    known: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Writing,
    /// It is not known whether its last write was done, or will be.
    Retired,
}

/// A write under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writing {
    pub(crate) key: u32,
    pub(crate) serial: u64,
}

/// A read under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) key: u32,
    /// What it may find at least.
    low: u64,
}

/// What is known of a write that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Acknowledged,
    /// It was not done, and never will be.
    NotDone,
    /// It was done, or will be, or neither.
    Unknown,
}

/// What can't be if the database keeps what it promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) key: u32,
    pub(crate) what: What,
    found: Held,
    allowed: RangeInclusive<u64>,
}

/// The kinds of violations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// No row, where one was written.
    Lost,
    /// An older write than one that was acknowledged or found before.
    WentBack,
    /// A write that was never begun.
    NeverWritten,
    /// A write that was said not to be done.
    Denied,
    /// The value of another key.
    Moved,
    /// The value of another run.
    Foreign,
    /// Bytes that no write made.
    Damaged,
}

impl What {
    /// Its name in the result.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::WentBack => "went_back",
            Self::NeverWritten => "never_written",
            Self::Denied => "denied",
            Self::Moved => "moved",
            Self::Foreign => "foreign",
            Self::Damaged => "damaged",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (self.allowed.start(), self.allowed.end());
        let kind = self.what.name().replace('_', " ");
        write!(f, "{kind}: found {}, allowed are writes {low} to {high}", self.found)?;
        if *low == 0 { write!(f, ", or no row") } else { Ok(()) }
    }
}

impl Ledger {
    /// No key has a row yet. No more writes begin when more than `retired_max` keys are retired.
    pub(crate) fn new(keys: u32, retired_max: u32) -> Self {
        Self { keys: vec![Key::default(); keys as usize], retired: 0, retired_max }
    }

    /// Keys that are not written any more.
    pub(crate) const fn retired(&self) -> u32 {
        self.retired
    }

    /// Whether there are too many of them.
    pub(crate) const fn is_spent(&self) -> bool {
        self.retired > self.retired_max
    }

    /// The keys that may have a row.
    pub(crate) fn touched(&self) -> impl Iterator<Item = u32> {
        let numbered = (0..).zip(&self.keys);
        numbered.filter(|(_number, key)| key.begun > 0).map(|(number, _key)| number)
    }

    /// Begins a write of this key, or of the next one that is free; none if none is, or too many
    /// are retired.
    pub(crate) fn begin_write(&mut self, near: u32) -> Option<Writing> {
        if self.is_spent() {
            return None;
        }
        let (before, behind) = self.keys.split_at_mut_checked(near as usize)?;
        let behind = (near..).zip(behind);
        let mut in_turn = behind.chain((0..).zip(before));
        let (number, key) = in_turn.find(|(_number, key)| key.state == State::Free)?;
        key.state = State::Writing;
        key.begun += 1;
        Some(Writing { key: number, serial: key.begun })
    }

    /// A write has ended.
    ///
    /// # Errors
    /// It was found before, and is said not to be done.
    pub(crate) fn end_write(&mut self, writing: Writing, ending: Ending) -> Result<(), Violation> {
        let Writing { key: number, serial } = writing;
        let Some(key) = self.keys.get_mut(number as usize) else { return Ok(()) };
        key.state = State::Free;
        match ending {
            Ending::Acknowledged => {
                key.acknowledged = serial;
                key.known = key.known.max(serial);
            }
            Ending::Unknown => {
                key.state = State::Retired;
                self.retired += 1;
            }
            Ending::NotDone if key.known >= serial => {
                // What it wrote is what is there.
                key.acknowledged = serial;
                let (what, found) = (What::Denied, Held::Serial(serial));
                let allowed = serial..=serial;
                return Err(Violation { key: number, what, found, allowed });
            }
            Ending::NotDone => {}
        }
        Ok(())
    }

    /// Begins a read of a key.
    pub(crate) fn begin_read(&self, number: u32) -> Reading {
        let low = self.keys.get(number as usize).map_or(0, |key| key.known);
        Reading { key: number, low }
    }

    /// A read has found something.
    ///
    /// # Errors
    /// It can't be there.
    pub(crate) fn end_read(&mut self, reading: Reading, found: Held) -> Result<(), Violation> {
        let Reading { key: number, low } = reading;
        let Some(key) = self.keys.get_mut(number as usize) else { return Ok(()) };
        let is_open = key.state != State::Free;
        let what = match found {
            Held::Nothing if low == 0 => return Ok(()),
            Held::Nothing => What::Lost,
            Held::Moved(_) => What::Moved,
            Held::Foreign => What::Foreign,
            Held::Damaged => What::Damaged,
            Held::Serial(serial) if serial == 0 || serial > key.begun => What::NeverWritten,
            Held::Serial(serial) if serial < low => What::WentBack,
            Held::Serial(serial)
                if serial > key.acknowledged && !(is_open && serial == key.begun) =>
            {
                What::Denied
            }
            Held::Serial(serial) => {
                key.known = key.known.max(serial);
                return Ok(());
            }
        };
        Err(Violation { key: number, what, found, allowed: low..=key.begun })
    }
}

#[cfg(test)]
mod tests;
