//! A write, by its number, and what it does to its blocks.

/// Number of a write among all to its disk, from 1. Later ones are greater. 0 stands for the
/// zeroes that a disk starts with.
pub(crate) type Number = u64;

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Data,
    Zeroes,
    Trim,
}

/// A number and a change, in eight bytes. Greater is later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u64);

const CHANGE_BITS: u32 = 2;

impl Version {
    pub(super) const fn new(number: Number, change: Change) -> Self {
        let change = match change {
            Change::Zeroes => 0,
            Change::Data => 1,
            Change::Trim => 2,
        };
        Self(number << CHANGE_BITS | change)
    }

    pub(super) const fn number(self) -> Number {
        self.0 >> CHANGE_BITS
    }

    const fn change(self) -> Change {
        match self.0 & ((1 << CHANGE_BITS) - 1) {
            0 => Change::Zeroes,
            1 => Change::Data,
            _trim => Change::Trim,
        }
    }

    /// Whether a block may read so when this is the last write that it had; none are zeroes.
    pub(super) fn explains(self, seen: Option<Number>) -> bool {
        match self.change() {
            Change::Data => seen == Some(self.number()),
            Change::Zeroes => seen.is_none(),
            Change::Trim => seen.is_none_or(|number| number < self.number()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_again_and_keeps_its_order() {
        for change in [Change::Data, Change::Zeroes, Change::Trim] {
            let version = Version::new(9, change);
            assert_eq!((version.number(), version.change()), (9, change));
            assert!(Version::new(8, Change::Trim) < version);
            assert!(version < Version::new(10, Change::Zeroes));
        }
        assert_eq!(Version::default(), Version::new(0, Change::Zeroes));
    }
}
