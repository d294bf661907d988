//! Whether what a disk answers can be true.
//!
//! The disk is a row of blocks, each a register that holds what one write put there. A block has
//! one write under way at a time; reads of it may be under way beside that one. What is known of a
//! block:
//!
//! - *settled*: the newest write that was acknowledged, or whose effect was read;
//! - *open*: newer writes that are under way, or ended without an answer: each has happened, or
//!   will, or never does;
//! - *forgotten*: after a power cut, how much of what was not flushed may be lost.
//!
//! The rules. (1) A read gives a block's own content, whole, of a write that was made. (2) Never an
//! older one than was settled when the read began. (3) An open write that a later settled one has
//! left behind does not come back. (4) A power cut takes nothing that was acknowledged before an
//! acknowledged flush was sent, or acknowledged with FUA.
//!
//! Trimmed blocks read as zeroes or as anything older, until the next write.
//!
//! Bounds: 24 bytes for each block, 40 where power cuts are planned; open writes of a block,
//! [`OPEN_MAX`]: one that has as many is not written before a read has settled it.

mod durability;
mod version;
mod violation;

use std::collections::HashMap;

use super::content::{Content, SECTOR_BYTES, Sector};
use durability::Durability;
use version::Version;
pub(crate) use version::{Change, Number};
pub(crate) use violation::{Violation, What};

/// Writes of one block that may be open at once.
pub(crate) const OPEN_MAX: usize = 64;

/// Some neighbouring blocks, counted from the start of the checked part of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Acknowledged,
    /// Nobody knows: it has happened, or may yet.
    Unknown,
    /// Nothing of it was sent, so it never happens.
    NotSent,
}

/// Whether a block may be read while it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// No: NBD gives such a read no meaning.
    Apart,
    /// Yes: for disks that put overlapping requests in an order.
    Beside,
}

/// The part of a disk that is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Bytes from the start of the disk.
    pub(crate) offset: u64,
    /// Bytes of a block: whole sectors.
    pub(crate) block_bytes: usize,
    pub(crate) blocks: u32,
}

/// A write under way.
#[derive(Debug)]
pub(crate) struct Writing {
    span: Span,
    version: Version,
    is_fua: bool,
}

/// A read under way.
#[derive(Debug)]
pub(crate) struct Reading {
    span: Span,
    /// What was known of each block when it began.
    views: Vec<View>,
}

#[derive(Debug)]
struct View {
    settled: Version,
    open: Vec<Version>,
    forgotten: Option<Version>,
}

/// What is known of a block.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    settled: Version,
    /// The newest write that was begun.
    newest: Version,
    readers: u32,
    is_written: bool,
}

/// What only few blocks have.
#[derive(Debug, Default)]
struct Rare {
    /// Writes that ended without an answer, newer than what is settled.
    unknown: Vec<Version>,
    /// Writes that were begun while the block was read.
    beside: Vec<Version>,
    /// Of what is newer than the settled one, up to this, any may be lost.
    forgotten: Option<Version>,
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.unknown.is_empty() && self.beside.is_empty() && self.forgotten.is_none()
    }
}

/// One disk's blocks. It starts with a disk that reads as zeroes.
#[derive(Debug)]
pub(crate) struct Checker {
    content: Content,
    place: Place,
    reads: Reads,
    blocks: Vec<Block>,
    rare: HashMap<u32, Rare>,
    last_number: Number,
    /// Zeroes may be there because of a write.
    has_zeroed: bool,
    durability: Option<Durability>,
}

impl Checker {
    /// `has_power_cuts`: [`power_cut`](Self::power_cut) will be called.
    pub(crate) fn new(content: Content, place: Place, reads: Reads, has_power_cuts: bool) -> Self {
        let blocks = vec![Block::default(); place.blocks as usize];
        let durability = has_power_cuts.then(|| Durability::new(place.blocks as usize));
        let (rare, last_number, has_zeroed) = (HashMap::new(), 0, false);
        Self { content, place, reads, blocks, rare, last_number, has_zeroed, durability }
    }

    fn of(&self, span: Span) -> &[Block] {
        let first = span.first as usize;
        self.blocks.get(first..first + span.count as usize).unwrap_or_default()
    }

    /// Whether a read of them may begin now.
    pub(crate) fn may_read(&self, span: Span) -> bool {
        self.reads == Reads::Beside || self.of(span).iter().all(|block| !block.is_written)
    }

    /// Whether a write to them may begin now.
    pub(crate) fn may_write(&self, span: Span) -> bool {
        let is_apart = |block: &Block| block.readers == 0 || self.reads == Reads::Beside;
        self.of(span).iter().all(|block| !block.is_written && is_apart(block))
            && (self.rare.is_empty() || self.numbers(span).all(|at| self.has_room(at)))
    }

    fn has_room(&self, at: u32) -> bool {
        self.rare.get(&at).is_none_or(|rare| rare.unknown.len() + rare.beside.len() < OPEN_MAX)
    }

    fn numbers(&self, span: Span) -> std::ops::Range<u32> {
        span.first..span.first.saturating_add(span.count).min(self.place.blocks)
    }

    /// Begins a write. May only be called where [`may_write`](Self::may_write).
    pub(crate) fn begin_write(&mut self, span: Span, change: Change, is_fua: bool) -> Writing {
        self.last_number += 1;
        self.has_zeroed |= change != Change::Data;
        let version = Version::new(self.last_number, change);
        for at in self.numbers(span) {
            let Some(block) = self.blocks.get_mut(at as usize) else { continue };
            block.newest = version;
            block.is_written = true;
            if block.readers > 0 {
                self.rare.entry(at).or_default().beside.push(version);
            }
        }
        Writing { span, version, is_fua }
    }

    /// The bytes of a write of [`Change::Data`].
    pub(crate) fn fill(&self, writing: &Writing, out: &mut [u8]) {
        let position = self.position(writing.span.first);
        self.content.fill(out, position, writing.version.number());
    }

    /// Ends a write.
    pub(crate) fn end_write(&mut self, writing: &Writing, ending: Ending) {
        let Writing { span, version, is_fua } = *writing;
        for at in self.numbers(span) {
            let Some(block) = self.blocks.get_mut(at as usize) else { continue };
            block.is_written = false;
            match ending {
                Ending::Acknowledged => self.settle(at, version),
                Ending::Unknown if version > block.settled => {
                    self.rare.entry(at).or_default().unknown.push(version);
                }
                Ending::Unknown | Ending::NotSent => {}
            }
        }
        if let (Some(durability), Ending::Acknowledged) = (&mut self.durability, ending) {
            durability.acknowledged(span, version, is_fua);
        }
    }

    /// Begins a read. May only be called where [`may_read`](Self::may_read).
    pub(crate) fn begin_read(&mut self, span: Span) -> Reading {
        let mut views = Vec::with_capacity(span.count as usize);
        for at in self.numbers(span) {
            let Some(block) = self.blocks.get_mut(at as usize) else { continue };
            block.readers += 1;
            let rare = self.rare.get(&at);
            let mut open = rare.map_or_else(Vec::new, |rare| rare.unknown.clone());
            if block.is_written && block.newest > block.settled {
                open.push(block.newest);
            }
            let forgotten = rare.and_then(|rare| rare.forgotten);
            views.push(View { settled: block.settled, open, forgotten });
        }
        Reading { span, views }
    }

    /// Ends a read with the bytes that came, none if it failed. Tells `report` what cannot be true.
    pub(crate) fn end_read(
        &mut self,
        reading: Reading,
        bytes: Option<&[u8]>,
        mut report: impl FnMut(Violation),
    ) {
        let numbers = self.numbers(reading.span);
        let mut seen = bytes.map(|bytes| bytes.chunks(self.place.block_bytes));
        for (at, view) in numbers.zip(reading.views) {
            if let Some(seen) = &mut seen {
                let here = seen.next().unwrap_or_default();
                match self.explain(at, view, here) {
                    Ok(version) => self.settle(at, version),
                    Err(what) => report(Violation { offset: self.position(at), what }),
                }
            }
            let Some(block) = self.blocks.get_mut(at as usize) else { continue };
            block.readers = block.readers.saturating_sub(1);
            if block.readers == 0 {
                self.tidy(at, |rare| rare.beside.clear());
            }
        }
    }

    /// A flush is about to be sent. One at a time.
    pub(crate) fn begin_flush(&mut self) {
        if let Some(durability) = &mut self.durability {
            durability.begin_flush();
        }
    }

    /// It was acknowledged, or not.
    pub(crate) fn end_flush(&mut self, is_done: bool) {
        if let Some(durability) = &mut self.durability {
            durability.end_flush(is_done);
        }
    }

    /// What was not flushed may be gone. Nothing may be under way.
    pub(crate) fn power_cut(&mut self) {
        let Some(durability) = &mut self.durability else { return };
        durability.power_cut();
        for (at, (block, stable)) in (0..).zip(self.blocks.iter_mut().zip(durability.stable())) {
            if block.newest > *stable {
                block.settled = *stable;
                self.rare.entry(at).or_default().forgotten = Some(block.newest);
            }
        }
    }

    fn position(&self, at: u32) -> u64 {
        self.place.offset + u64::from(at) * self.place.block_bytes as u64
    }

    /// What is older than this does not come back.
    fn settle(&mut self, at: u32, version: Version) {
        let Some(block) = self.blocks.get_mut(at as usize) else { return };
        block.settled = block.settled.max(version);
        let settled = block.settled;
        self.tidy(at, |rare| {
            rare.unknown.retain(|open| *open > settled);
            rare.forgotten = None;
        });
    }

    fn tidy(&mut self, at: u32, change: impl FnOnce(&mut Rare)) {
        let is_empty = self.rare.get_mut(&at).is_some_and(|rare| {
            change(rare);
            rare.is_empty()
        });
        if is_empty {
            self.rare.remove(&at);
        }
    }

    /// The write whose effect a read has seen; the oldest, where several look alike.
    fn explain(&self, at: u32, mut view: View, bytes: &[u8]) -> Result<Version, What> {
        let seen = self.seen(at, bytes)?;
        if let Some(rare) = self.rare.get(&at) {
            view.open.extend(&rare.beside);
        }
        view.open.sort_unstable();
        let settled = view.settled;
        let open = view.open.into_iter().filter(|open| *open > settled);
        let mut possible = std::iter::once(settled).chain(open);
        if let Some(version) = possible.find(|version| version.explains(seen)) {
            return Ok(version);
        }
        match (seen, view.forgotten) {
            // Of the writes that may be lost, one that made zeroes was not.
            (None, Some(_)) if self.has_zeroed => {
                Ok(Version::new(settled.number() + 1, Change::Zeroes))
            }
            (Some(found), Some(forgotten))
                if (settled.number()..=forgotten.number()).contains(&found) =>
            {
                Ok(Version::new(found, Change::Data))
            }
            (Some(found), _) if found >= settled.number() => Err(What::NeverWritten { found }),
            (found, _) => {
                Err(What::WentBack { found: found.unwrap_or(0), settled: settled.number() })
            }
        }
    }

    /// Of which write a block is; none if it is all zeroes.
    fn seen(&self, at: u32, bytes: &[u8]) -> Result<Option<Number>, What> {
        let (sectors, rest) = bytes.as_chunks::<SECTOR_BYTES>();
        let start = self.position(at);
        if sectors.is_empty() || !rest.is_empty() {
            return Err(What::Damaged { at: start });
        }
        let mut whole = None;
        for (position, sector) in (start..).step_by(SECTOR_BYTES).zip(sectors) {
            let number = match self.content.judge(sector, position) {
                Sector::Zero => None,
                Sector::Written(number) => Some(number),
                Sector::Moved(from) => return Err(What::Moved { from }),
                Sector::Foreign => return Err(What::Foreign),
                Sector::Damaged => return Err(What::Damaged { at: position }),
            };
            let of_all = *whole.get_or_insert(number);
            if of_all != number {
                let [first, second] = [of_all, number].map(|number| number.unwrap_or(0));
                return Err(What::Torn { one: first, other: second });
            }
        }
        Ok(whole.flatten())
    }
}

#[cfg(test)]
mod tests;
