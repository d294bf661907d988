//! Small files that are changed in place, in the room that they have: a value in two slots.
//!
//! ```text
//! 0      CRC32C of the rest of the slot, 8 hexadecimal digits
//!        serial, one higher with each value
//!        the value, one line of JSON
//!        empty lines up to 4096
//! 4096   the same once more
//! ```
//!
//! Invariants:
//! 1. A value whose write has succeeded, or that was read, is in both slots on stable media.
//! 2. While a slot is written, the other one is whole and on stable media. So a write that was cut
//!    off leaves the value before it or its own, and one damaged slot costs nothing.
//! 3. A file has its room from its creation: a full file system refuses no write.
//!
//! Nobody else reads or writes such a file meanwhile.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use vioduct_certs::files::{FileError, write_atomic};

const MODE: u32 = 0o600;
const SLOT: usize = 4096;
const CHECKSUM: usize = "01234567\n".len();

/// Why such a file is not read, or not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealedError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Create(#[from] FileError),
    #[error("neither of its two slots is whole")]
    Damaged,
    #[error("it does not read: {0}")]
    Form(#[from] serde_json::Error),
    #[error("a slot has no room for the value")]
    Long,
    #[error("no serial is left")]
    Serial,
}

/// Makes the file, or replaces it. When this returns, it is on stable media.
pub(crate) fn create<T: Serialize>(path: &Path, value: &T) -> Result<(), SealedError> {
    let held = Held { serial: 0, line: serde_json::to_string(value)? };
    Ok(write_atomic(path, &held.seal()?.repeat(2), MODE)?)
}

/// Stores another value. When this returns, it is in both slots and on stable media; after an error
/// the one before or this one is there.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), SealedError> {
    store(&open(path)?, serde_json::to_string(value)?)
}

/// Reads the value, and makes whole what a crash or damage has left.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, SealedError> {
    let file = open(path)?;
    let slots = slots(&file)?;
    let held = newest(&slots)?;
    let value = serde_json::from_str(&held.line)?;
    if slots.contains(&None) {
        tracing::warn!(path = %path.display(), "one of two slots is not whole, and written anew");
    }
    if slots.iter().any(|slot| slot.as_ref() != Some(held)) {
        put(&file, &slots, held)?;
    }
    Ok(value)
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// What a slot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    serial: u64,
    line: String,
}

impl Held {
    fn seal(&self) -> Result<Vec<u8>, SealedError> {
        let mut rest = format!("{}\n{}\n", self.serial, self.line).into_bytes();
        if rest.len() > SLOT - CHECKSUM {
            return Err(SealedError::Long);
        }
        rest.resize(SLOT - CHECKSUM, b'\n');
        let mut slot = checksum(&rest);
        slot.append(&mut rest);
        Ok(slot)
    }

    /// `None` if the slot is not whole.
    fn unseal(slot: &[u8]) -> Option<Self> {
        let (said, rest) = slot.split_at_checked(CHECKSUM)?;
        if said != checksum(rest) {
            return None;
        }
        let mut lines = str::from_utf8(rest).ok()?.split('\n');
        let serial = lines.next()?.parse().ok()?;
        Some(Self { serial, line: lines.next()?.to_owned() })
    }
}

fn checksum(rest: &[u8]) -> Vec<u8> {
    format!("{:08x}\n", crc32c::crc32c(rest)).into_bytes()
}

/// What such a file lies on.
trait Medium {
    fn read(&self, slot: &mut [u8], at: u64) -> io::Result<()>;
    fn write(&self, slot: &[u8], at: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

impl Medium for File {
    fn read(&self, slot: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(slot, at)
    }

    fn write(&self, slot: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(slot, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

type Slots = [Option<Held>; 2];

/// Both slots; `None` for one that is not whole, or cannot be read while the other one can.
fn slots(medium: &impl Medium) -> Result<Slots, SealedError> {
    let slot = |at| {
        let mut bytes = vec![0; SLOT];
        match medium.read(&mut bytes, at) {
            Ok(()) => Ok(Held::unseal(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    };
    match (slot(0), slot(SLOT as u64)) {
        (Err(error), Err(_)) => Err(error.into()),
        (first, second) => Ok([first.unwrap_or(None), second.unwrap_or(None)]),
    }
}

fn newest(slots: &Slots) -> Result<&Held, SealedError> {
    slots.iter().flatten().max_by_key(|held| held.serial).ok_or(SealedError::Damaged)
}

fn store(medium: &impl Medium, line: String) -> Result<(), SealedError> {
    let slots = slots(medium)?;
    let serial = newest(&slots)?.serial.checked_add(1).ok_or(SealedError::Serial)?;
    put(medium, &slots, &Held { serial, line })
}

/// Writes both slots, first the one whose loss costs nothing: one that is not whole, else the newer
/// one, whose write was cut off before it was in both.
fn put(medium: &impl Medium, slots: &Slots, held: &Held) -> Result<(), SealedError> {
    let slot = held.seal()?;
    let is_second_first = match slots {
        [Some(first), Some(second)] => second.serial > first.serial,
        [first, second] => first.is_some() && second.is_none(),
    };
    let order = if is_second_first { [SLOT as u64, 0] } else { [0, SLOT as u64] };
    // What is here may be what a process that died had not synced yet.
    medium.sync()?;
    for at in order {
        medium.write(&slot, at)?;
        medium.sync()?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "sealed_tests.rs"]
mod tests;
