//! Where the bytes of a log are: roughly, which is enough to bound what it takes of the disk.

use std::collections::VecDeque;

/// Bytes between two marks, but for a larger entry.
const STEP: u64 = 1 << 20;

/// What was appended since the log was opened.
#[derive(Debug, Default)]
pub(super) struct Weight {
    marks: VecDeque<Mark>,
    /// Bytes that were ever appended, but for what was truncated.
    end: u64,
    /// Of them, those that were purged.
    begin: u64,
}

/// Where a stretch of the log ends.
#[derive(Debug)]
struct Mark {
    index: u64,
    end: u64,
}

impl Weight {
    pub(super) fn append(&mut self, index: u64, bytes: u64) {
        self.end += bytes;
        if self.end - self.marked() >= STEP {
            self.marks.push_back(Mark { index, end: self.end });
        }
    }

    pub(super) fn truncate(&mut self, next: u64) {
        while self.marks.pop_back_if(|mark| mark.index >= next).is_some() {}
        self.end = self.marked();
    }

    pub(super) fn purge(&mut self, upto: u64) {
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.index <= upto) {
            self.begin = mark.end;
        }
    }

    fn marked(&self) -> u64 {
        self.marks.back().map_or(self.begin, |mark| mark.end)
    }

    /// The index up to which a log of more than so many bytes may be purged, so that at least half
    /// of them stay.
    pub(super) fn excess(&self, bytes_max: u64) -> Option<u64> {
        if self.end - self.begin <= bytes_max {
            return None;
        }
        let kept_from = self.end - bytes_max / 2;
        let past = self.marks.partition_point(|mark| mark.end <= kept_from);
        self.marks.get(past.checked_sub(1)?).map(|mark| mark.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many entries of half a step each, from index 1 on.
    fn of(entries: u64) -> Weight {
        let mut weight = Weight::default();
        (1..=entries).for_each(|index| weight.append(index, STEP / 2));
        weight
    }

    #[test]
    fn a_log_within_its_bound_keeps_all() {
        assert_eq!(of(20).excess(10 * STEP), None);
        assert_eq!(Weight::default().excess(0), None);
    }

    #[test]
    fn of_one_past_it_half_of_the_bound_stays() {
        let mut weight = of(22);
        assert_eq!(weight.excess(10 * STEP), Some(12));
        weight.purge(11);
        assert_eq!(weight.excess(10 * STEP), None);
        assert_eq!(weight.excess(5 * STEP), Some(16));
        weight.purge(100);
        assert_eq!(weight.excess(0), None);
    }

    #[test]
    fn what_was_truncated_weighs_nothing() {
        let mut weight = of(22);
        weight.truncate(17);
        assert_eq!(weight.excess(8 * STEP), None);
        assert_eq!(weight.excess(7 * STEP), Some(8));
        weight.append(17, 9 * STEP);
        assert_eq!(weight.excess(10 * STEP), Some(16));
    }

    #[test]
    fn an_entry_larger_than_the_bound_stays() {
        let mut weight = Weight::default();
        weight.append(1, 4 * STEP);
        assert_eq!(weight.excess(STEP), None);
        weight.append(2, 4 * STEP);
        assert_eq!(weight.excess(STEP), Some(1));
    }
}
