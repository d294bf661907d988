//! What was acknowledged and not flushed: range by range, the newest bytes.
//!
//! Invariants:
//! 1. Ranges do not overlap, and none is empty.
//! 2. A range's bytes are those of the last [`put`](DirtyMap::put) that covers them.
//! 3. The memory held is at most twice [`bytes`](DirtyMap::bytes): a rest that is less than half of
//!    the buffer that it shares gets a buffer of its own.
//!
//! Source: redirect protocol, rules 5 and 6.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::block::Extent;

/// A moment in the life of a map: what it held then and still holds unchanged can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(u64);

/// What a range holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// These bytes.
    Data(Bytes),
    /// Zeroes.
    Zeroes {
        /// As many.
        length: u32,
        /// They need not take room: it may have been given to others since.
        may_punch: bool,
    },
}

impl Content {
    fn length(&self) -> u64 {
        match self {
            Self::Data(data) => u64::try_from(data.len()).unwrap_or(u64::MAX),
            Self::Zeroes { length, .. } => u64::from(*length),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Data(_) => self.length(),
            Self::Zeroes { .. } => 0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Range {
    content: Content,
    /// Bytes of the buffer that `content` keeps alive.
    held: usize,
    /// The write that it is of.
    order: u64,
    stamp: u64,
}

impl Range {
    /// The part from `start` to `end`, counted from the range's own start.
    fn part(&self, start: u64, end: u64) -> Self {
        let (content, held) = match &self.content {
            Content::Zeroes { may_punch, .. } => {
                let length = u32::try_from(end - start).unwrap_or(u32::MAX);
                (Content::Zeroes { length, may_punch: *may_punch }, 0)
            }
            Content::Data(data) => {
                let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(data.len());
                let part = data.slice(index(start)..index(end));
                if part.len() < self.held / 2 {
                    (Content::Data(Bytes::copy_from_slice(&part)), part.len())
                } else {
                    (Content::Data(part), self.held)
                }
            }
        };
        Self { content, held, order: self.order, stamp: self.stamp }
    }
}

/// Acknowledged writes that no flush has covered yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct DirtyMap {
    ranges: BTreeMap<u64, Range>,
    bytes: u64,
    stamp: u64,
}

impl DirtyMap {
    /// Bytes of data in it; zeroes take none.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ranges in it.
    #[must_use]
    pub fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// All ranges in order, each with its first byte.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Content)> {
        self.ranges.iter().map(|(offset, range)| (*offset, &range.content))
    }

    /// The first range that begins at `from` or later: its start, the write that it is of, what it
    /// holds.
    #[must_use]
    pub fn first_from(&self, from: u64) -> Option<(u64, u64, &Content)> {
        let first = self.ranges.range(from..).next();
        first.map(|(offset, range)| (*offset, range.order, &range.content))
    }

    /// How many ranges more there may be after a [`put`](Self::put) of this extent.
    #[must_use]
    pub fn growth_of_put(&self, extent: Extent) -> usize {
        1 + self.growth_of_removal(extent)
    }

    /// How many ranges more there are after a [`remove`](Self::remove) of this extent: one, if it
    /// lies in the midst of a range.
    #[must_use]
    pub fn growth_of_removal(&self, extent: Extent) -> usize {
        let inside = self.reaching_into(extent.offset);
        let splits = inside.is_some_and(|(_, range_end)| range_end > end_of(extent));
        usize::from(splits && extent.length > 0)
    }

    /// The newest content from `offset` on, of the write that came as the `order`th. An empty one
    /// changes nothing.
    pub fn put(&mut self, offset: u64, content: Content, order: u64) {
        let length = u32::try_from(content.length()).unwrap_or(u32::MAX);
        if length == 0 {
            return;
        }
        self.remove(Extent { offset, length });
        self.stamp += 1;
        let held = match &content {
            Content::Data(data) => data.len(),
            Content::Zeroes { .. } => 0,
        };
        self.insert(offset, Range { content, held, order, stamp: self.stamp });
    }

    /// These bytes need no replay any more.
    pub fn remove(&mut self, extent: Extent) {
        let end = end_of(extent);
        if extent.length == 0 {
            return;
        }
        if let Some((offset, _)) = self.reaching_into(extent.offset) {
            self.cut(offset, extent.offset, end);
        }
        while let Some((offset, ..)) = self.first_from(extent.offset).filter(|(at, ..)| *at < end) {
            self.cut(offset, extent.offset, end);
        }
    }

    /// All that is in it now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.stamp)
    }

    /// What was in it at `mark` and was not written since is durable.
    pub fn settle(&mut self, mark: Mark) {
        let bytes = &mut self.bytes;
        self.ranges.retain(|_, range| {
            let stays = range.stamp > mark.0;
            if !stays {
                *bytes -= range.content.bytes();
            }
            stays
        });
    }

    /// The range that begins before `at` and ends behind it: its start and end.
    fn reaching_into(&self, at: u64) -> Option<(u64, u64)> {
        let before = self.ranges.range((Bound::Unbounded, Bound::Excluded(at))).next_back();
        let (offset, range) = before?;
        let end = offset.saturating_add(range.content.length());
        (end > at).then_some((*offset, end))
    }

    fn insert(&mut self, offset: u64, range: Range) {
        self.bytes += range.content.bytes();
        self.ranges.insert(offset, range);
    }

    /// Takes what lies between `start` and `end` out of the range at `offset`.
    fn cut(&mut self, offset: u64, start: u64, end: u64) {
        let Some(range) = self.ranges.remove(&offset) else { return };
        self.bytes -= range.content.bytes();
        let length = range.content.length();
        if offset < start {
            self.insert(offset, range.part(0, start - offset));
        }
        if offset.saturating_add(length) > end {
            self.insert(end, range.part(end - offset, length));
        }
    }
}

fn end_of(extent: Extent) -> u64 {
    extent.offset.saturating_add(u64::from(extent.length))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const DISK: usize = 48;

    /// Each byte by itself: what it holds, and when it was put there.
    #[derive(Debug, Clone, Default)]
    struct Naive(Vec<Option<(u8, u64)>>);

    #[derive(Debug, Clone)]
    enum Step {
        Put(usize, usize),
        Zero(usize, usize),
        Remove(usize, usize),
        Mark,
        Settle,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let range = || (0..DISK, 0..12_usize).prop_map(|(at, n)| (at, n.min(DISK - at)));
        let step = prop_oneof![
            4 => range().prop_map(|(at, n)| Step::Put(at, n)),
            1 => range().prop_map(|(at, n)| Step::Zero(at, n)),
            2 => range().prop_map(|(at, n)| Step::Remove(at, n)),
            1 => Just(Step::Mark),
            1 => Just(Step::Settle),
        ];
        vec(step, 0..80)
    }

    fn extent(at: usize, n: usize) -> Extent {
        Extent { offset: at as u64, length: u32::try_from(n).unwrap() }
    }

    fn shown(map: &DirtyMap) -> Vec<Option<u8>> {
        let mut bytes = vec![None; DISK];
        for (offset, content) in map.iter() {
            let at = usize::try_from(offset).unwrap();
            let values: Vec<u8> = match content {
                Content::Data(data) => data.to_vec(),
                Content::Zeroes { length, .. } => vec![0; *length as usize],
            };
            assert!(!values.is_empty(), "an empty range");
            for (index, value) in values.into_iter().enumerate() {
                assert_eq!(bytes[at + index].replace(value), None, "ranges overlap");
            }
        }
        bytes
    }

    fn check(map: &DirtyMap, naive: &Naive) {
        let expected: Vec<Option<u8>> = naive.0.iter().map(|byte| byte.map(|(v, _)| v)).collect();
        assert_eq!(shown(map), expected);
        let data = map.ranges.values().map(|range| range.content.bytes()).sum::<u64>();
        assert_eq!(map.bytes(), data);
        for range in map.ranges.values() {
            assert!(range.held as u64 <= range.content.bytes() * 2 + 1, "{range:?}");
        }
    }

    proptest! {
        #[test]
        fn a_map_holds_for_each_byte_what_was_put_last(steps in steps()) {
            let mut map = DirtyMap::default();
            let mut naive = Naive(vec![None; DISK]);
            let mut marked = (map.mark(), 0);
            for (time, step) in (1_u64..).zip(steps) {
                let value = u8::try_from(time).unwrap();
                let before = map.ranges();
                match step {
                    Step::Put(at, n) => {
                        let room = map.growth_of_put(extent(at, n));
                        map.put(at as u64, Content::Data(Bytes::from(vec![value; n])), time);
                        naive.0[at..at + n].fill(Some((value, time)));
                        prop_assert!(map.ranges() <= before + room);
                    }
                    Step::Zero(at, n) => {
                        let length = u32::try_from(n).unwrap();
                        map.put(at as u64, Content::Zeroes { length, may_punch: false }, time);
                        naive.0[at..at + n].fill(Some((0, time)));
                    }
                    Step::Remove(at, n) => {
                        let room = map.growth_of_removal(extent(at, n));
                        map.remove(extent(at, n));
                        naive.0[at..at + n].fill(None);
                        prop_assert!(map.ranges() <= before + room);
                    }
                    Step::Mark => marked = (map.mark(), time),
                    Step::Settle => {
                        map.settle(marked.0);
                        for byte in &mut naive.0 {
                            *byte = byte.filter(|(_, put)| *put > marked.1);
                        }
                    }
                }
                check(&map, &naive);
            }
        }
    }

    #[test]
    fn a_range_at_the_last_countable_byte_is_kept_and_cut() {
        let mut map = DirtyMap::default();
        map.put(u64::MAX - 2, Content::Data(Bytes::from_static(b"abcdef")), 1);
        map.put(u64::MAX - 1, Content::Zeroes { length: u32::MAX, may_punch: true }, 2);
        assert_eq!(map.first_from(0), Some((u64::MAX - 2, 1, &Content::Data("a".into()))));
        map.remove(Extent { offset: 0, length: u32::MAX });
        assert_eq!(map.ranges(), 2);
    }

    #[test]
    fn a_small_rest_does_not_keep_a_large_buffer() {
        let mut map = DirtyMap::default();
        map.put(0, Content::Data(Bytes::from(vec![1; 1 << 20])), 1);
        map.remove(Extent { offset: 16, length: (1 << 20) - 16 });
        assert_eq!(map.ranges.values().map(|range| range.held).sum::<usize>(), 16);
    }
}
