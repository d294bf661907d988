//! Attempts that may still land on a storage that cannot refuse them.
//!
//! Storage that knows no epochs, such as an NBD server that is not ours, carries out what reaches
//! it, whoever sent it and whenever. An attempt whose connection ended without an answer is
//! *unresolved*: its write may land until its request's life is over. Until then no
//! newer write that shares bytes is sent; the same write may be sent again and acknowledged, for
//! landing twice it leaves what it left once.
//!
//! Source: redirect protocol, rule 12.

use std::time::Duration;

use super::moment::Moment;
use crate::block::Extent;

/// How a storage keeps out what belongs to sessions that are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fence {
    /// It refuses them by their epoch.
    Epochs,
    /// It does not.
    None {
        /// An exit that hears nothing from the owner aborts its connection within this.
        lease: Duration,
        /// A request takes effect within this after it was given to its exit's kernel, or never,
        /// also while its connection lives: an exit that is stopped aborts nothing. `None`: the
        /// storage does not say, so somebody must [say](super::owner::Input::AttemptsEnded) that
        /// nothing can land any more.
        request_life: Option<Duration>,
        /// No attempt of an earlier owner can land: it closed in order, or it is known to be dead
        /// and its attempts with it.
        is_clear: bool,
    },
}

/// Which write an attempt is of: later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WriteId(pub(super) u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Unresolved {
    write: WriteId,
    extent: Extent,
    /// It cannot land after this.
    until: Option<Moment>,
}

/// The unresolved attempts of one LU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Hold {
    unresolved: Vec<Unresolved>,
}

impl Hold {
    pub(super) fn len(&self) -> usize {
        self.unresolved.len()
    }

    /// An attempt was left without an answer; `None`: until somebody says so.
    pub(super) fn leave(&mut self, write: WriteId, extent: Extent, until: Option<Moment>) {
        let mut same =
            self.unresolved.iter_mut().filter(|left| left.write == write && left.extent == extent);
        match same.next() {
            Some(left) => left.until = left.until.zip(until).map(|(one, two)| one.max(two)),
            None => self.unresolved.push(Unresolved { write, extent, until }),
        }
    }

    /// Whether a write must wait: an older one that shares its bytes may still land.
    pub(super) fn blocks(&self, write: WriteId, extent: Extent) -> bool {
        self.unresolved.iter().any(|left| left.write < write && left.extent.overlaps(extent))
    }

    /// Forgets those that cannot land any more. Whether there were such.
    pub(super) fn expire(&mut self, now: Moment) -> bool {
        let before = self.unresolved.len();
        self.unresolved.retain(|left| left.until.is_none_or(|until| now <= until));
        self.unresolved.len() < before
    }

    pub(super) fn clear(&mut self) {
        self.unresolved.clear();
    }

    /// When the next one cannot land any more.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let until = self.unresolved.iter().filter_map(|left| left.until).min();
        until.map(|until| until.after(Duration::from_nanos(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Moment {
        Moment::START.after(Duration::from_nanos(nanos))
    }

    #[test]
    fn an_older_write_that_may_land_holds_newer_ones_of_its_bytes_to_its_last_tick() {
        let mut hold = Hold::default();
        let extent = |offset| Extent { offset, length: 4 };
        hold.leave(WriteId(5), extent(0), Some(at(100)));
        assert!(hold.blocks(WriteId(6), extent(3)));
        assert!(!hold.blocks(WriteId(6), extent(4)), "other bytes");
        assert!(!hold.blocks(WriteId(5), extent(0)), "the same write");
        assert!(!hold.blocks(WriteId(4), extent(0)), "an older one");
        hold.leave(WriteId(5), extent(0), Some(at(90)));
        assert_eq!(hold.len(), 1);
        assert!(!hold.expire(at(100)));
        assert_eq!(hold.deadline(), Some(at(101)));
        assert!(hold.expire(at(101)));
        assert!(!hold.blocks(WriteId(6), extent(0)));
    }
}
