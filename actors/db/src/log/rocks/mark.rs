//! How far the log was synced, noted beside it.
//!
//! After each sync the log's sequence number is written into a small file, which is not synced
//! itself. So what is read from it was synced for certain, and a log that ends before it has lost
//! writes. After the end of a process the mark is exact; after a loss of power it may be as old as
//! the system lets a file's pages wait.
//!
//! Two slots are written in turn, so that one is whole whatever happens.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::StoreError;
use crate::rocks::io_failed;

/// A slot: the sequence number, big endian, and the CRC-32C of that.
const SLOT_BYTES: usize = 12;
/// Slots stand in different blocks of the disk.
const STEP: u64 = 4096;

#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    /// As it was when the mark was opened.
    found: u64,
    raised: AtomicU64,
}

impl Mark {
    /// Opens the mark; makes it where there is no log yet.
    pub(super) fn open(path: &Path, log_is_there: bool) -> Result<Self, StoreError> {
        let failed = |error: io::Error| io_failed("opening the mark of the log", &error);
        let file = OpenOptions::new().read(true).write(true).create(!log_is_there).open(path);
        let file = match file {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(failed)?),
        };
        let Some(file) = file else { return Err(damaged()) };
        if !log_is_there {
            for slot in 0..2 {
                file.write_all_at(&encode(0), slot * STEP).map_err(failed)?;
            }
            file.sync_all().map_err(failed)?;
        }
        let slots = [read(&file, 0), read(&file, STEP)];
        let found = slots.into_iter().flatten().max().ok_or_else(damaged)?;
        Ok(Self { file, found, raised: AtomicU64::new(0) })
    }

    /// Up to where the log was synced at least, as found.
    pub(super) fn found(&self) -> u64 {
        self.found
    }

    /// Notes that the log is synced up to `sequence`.
    pub(super) fn raise(&self, sequence: u64) -> Result<(), StoreError> {
        let slot = self.raised.fetch_add(1, Ordering::Relaxed) % 2;
        self.file
            .write_all_at(&encode(sequence), slot * STEP)
            .map_err(|error| io_failed("writing the mark of the log", &error))
    }
}

fn damaged() -> StoreError {
    StoreError::Damaged { what: "the mark of the log".into() }
}

fn encode(sequence: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let number = sequence.to_be_bytes();
    let (front, back) = slot.split_at_mut(number.len());
    front.copy_from_slice(&number);
    back.copy_from_slice(&crc32c::crc32c(&number).to_be_bytes());
    slot
}

fn read(file: &File, offset: u64) -> Option<u64> {
    let mut slot = [0; SLOT_BYTES];
    file.read_exact_at(&mut slot, offset).ok()?;
    let (number, sum) = slot.split_first_chunk::<8>()?;
    (crc32c::crc32c(number).to_be_bytes() == *sum).then(|| u64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use super::{Mark, STEP};
    use crate::StoreError;

    #[test]
    fn the_highest_mark_is_found_though_one_slot_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mark = Mark::open(&path, false).unwrap();
        assert_eq!(mark.found(), 0);
        for sequence in 1..=7 {
            mark.raise(sequence).unwrap();
        }
        assert_eq!(Mark::open(&path, true).unwrap().found(), 7);
        mark.file.write_all_at(&[9; 5], 0).unwrap();
        assert_eq!(Mark::open(&path, true).unwrap().found(), 6);
        mark.file.write_all_at(&[9; 5], STEP).unwrap();
        assert!(matches!(Mark::open(&path, true), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn a_log_without_its_mark_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        assert!(matches!(Mark::open(&path, true), Err(StoreError::Damaged { .. })));
        fs::write(&path, b"").unwrap();
        assert!(matches!(Mark::open(&path, true), Err(StoreError::Damaged { .. })));
        assert_eq!(Mark::open(&path, false).unwrap().found(), 0);
    }
}
