//! Where the whole records of a write-ahead log end.
//!
//! The format is RocksDB's: blocks of 32 KiB with fragments of records in them; a rest of a block
//! that is too short for a header is padding.
//!
//! | offset | bytes | what (little endian) |
//! |---|---|---|
//! | 0 | 4 | CRC-32C of all from offset 6 on, masked |
//! | 4 | 2 | length of the content |
//! | 6 | 1 | 1: a whole record; 2, 3, 4: its first fragment, a middle one, its last |
//! | 7 | length | content; a record begins with its sequence number (8) and count (4) |
//!
//! Source: `log_format.h` and `write_batch.cc` of RocksDB 11.8.

pub(super) const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
const NUMBERS_BYTES: usize = 12;
/// Sequence numbers are below this.
const SEQUENCE_END: u64 = 1 << 56;

const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Something whole comes after something that is not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gap;

/// A reader of logs, oldest first, block by block.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Where the next block begins in its log.
    offset: u64,
    /// The sequence number that follows from what was read.
    next: u64,
    /// Whether a record of this log was read. Within a log no number is left out; between two, a
    /// restart may have.
    in_log: bool,
    /// The record of which fragments were read, but not the last.
    open: Option<Open>,
    /// Where this log ends to be whole.
    bad: Option<u64>,
}

#[derive(Debug)]
struct Open {
    offset: u64,
    numbers: Vec<u8>,
}

/// A fragment whose checksum is right.
struct Fragment<'a> {
    kind: u8,
    content: &'a [u8],
}

impl Scan {
    pub(super) fn begin_log(&mut self) {
        self.offset = 0;
        self.in_log = false;
        // After one that is not whole, all of this log has to go.
        self.bad = self.bad.map(|_| 0);
    }

    /// Takes the next block of the log; only the last may be shorter than a block.
    pub(super) fn take(&mut self, block: &[u8]) -> Result<(), Gap> {
        let mut at = 0_usize;
        while self.bad.is_none() {
            let rest = block.get(at..).unwrap_or_default();
            let offset = self.offset.saturating_add(at as u64);
            if rest.len() < HEADER_BYTES {
                if !rest.is_empty() && block.len() < BLOCK_BYTES {
                    self.spoil(offset);
                }
                break;
            }
            match fragment(rest) {
                Some(fragment) => {
                    self.add(&fragment, offset)?;
                    at = at.saturating_add(HEADER_BYTES).saturating_add(fragment.content.len());
                }
                None => {
                    self.spoil(offset);
                    at = at.saturating_add(1);
                }
            }
        }
        if self.bad.is_some() {
            self.expect_nothing_whole(block.get(at..).unwrap_or_default())?;
        }
        self.offset = self.offset.saturating_add(block.len() as u64);
        Ok(())
    }

    /// Where to cut the log, if it does not end with a whole record.
    pub(super) fn end_log(&mut self) -> Option<u64> {
        if self.open.is_some() {
            self.spoil(self.offset);
        }
        self.bad
    }

    fn add(&mut self, fragment: &Fragment<'_>, offset: u64) -> Result<(), Gap> {
        let (begins, ends) = match fragment.kind {
            WHOLE => (true, true),
            FIRST => (true, false),
            MIDDLE => (false, false),
            LAST => (false, true),
            // Kinds that a log only has with features that this crate does not use.
            _ => return Err(Gap),
        };
        let mut record = match (begins, self.open.take()) {
            (true, None) => Open { offset, numbers: Vec::new() },
            (false, Some(open)) => open,
            (true, Some(_)) => return Err(Gap),
            (false, None) => {
                self.spoil(offset);
                return Ok(());
            }
        };
        let missing = NUMBERS_BYTES.saturating_sub(record.numbers.len());
        record.numbers.extend(fragment.content.iter().take(missing));
        if !ends {
            self.open = Some(record);
            return Ok(());
        }
        let (sequence, count) = numbers(&record.numbers).ok_or(Gap)?;
        let follows = if self.in_log { sequence == self.next } else { sequence >= self.next };
        if !follows {
            return Err(Gap);
        }
        self.in_log = true;
        self.next = sequence.saturating_add(u64::from(count));
        Ok(())
    }

    fn spoil(&mut self, offset: u64) {
        let offset = self.open.take().map_or(offset, |open| open.offset);
        self.bad = Some(offset);
    }

    /// Fragments in the middle of a record may have reached the disk before its first.
    fn expect_nothing_whole(&self, bytes: &[u8]) -> Result<(), Gap> {
        for at in 0..bytes.len() {
            let found = fragment(bytes.get(at..).unwrap_or_default())
                .filter(|fragment| matches!(fragment.kind, WHOLE | FIRST))
                .and_then(|fragment| numbers(fragment.content));
            if found.is_some_and(|(number, _)| number >= self.next && number < SEQUENCE_END) {
                return Err(Gap);
            }
        }
        Ok(())
    }
}

fn fragment(bytes: &[u8]) -> Option<Fragment<'_>> {
    let (sum, rest) = bytes.split_first_chunk::<4>()?;
    let (length, summed) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_le_bytes(*length));
    let summed = summed.get(..length.checked_add(1)?)?;
    let (kind, content) = summed.split_first()?;
    if !(WHOLE..=LAST).contains(kind) || u32::from_le_bytes(*sum) != masked(crc32c::crc32c(summed))
    {
        return None;
    }
    Some(Fragment { kind: *kind, content })
}

fn masked(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn numbers(content: &[u8]) -> Option<(u64, u32)> {
    let (sequence, rest) = content.split_first_chunk()?;
    let count = rest.first_chunk()?;
    Some((u64::from_le_bytes(*sequence), u32::from_le_bytes(*count)))
}

#[cfg(test)]
mod tests;
