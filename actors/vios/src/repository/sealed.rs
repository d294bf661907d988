//! Small files that say when they are damaged: one line of JSON, and its CRC32C in a second one.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use vioduct_certs::files::{FileError, write_atomic};

const MODE: u32 = 0o600;
const BYTES_MAX: u64 = 4096;

/// Why such a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealedError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("its checksum does not match")]
    Checksum,
    #[error("it does not read: {0}")]
    Form(#[from] serde_json::Error),
}

/// Replaces the file; when this returns, the new one is on stable media.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), FileError> {
    let line = serde_json::to_string(value).map_err(|error| FileError::Write {
        path: path.to_owned(),
        source: io::Error::other(error),
    })?;
    let text = format!("{line}\n{:08x}\n", crc32c::crc32c(line.as_bytes()));
    write_atomic(path, text.as_bytes(), MODE)
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, SealedError> {
    let mut text = String::new();
    File::open(path)?.take(BYTES_MAX).read_to_string(&mut text)?;
    let (line, checksum) = text.split_once('\n').ok_or(SealedError::Checksum)?;
    if checksum != format!("{:08x}\n", crc32c::crc32c(line.as_bytes())) {
        return Err(SealedError::Checksum);
    }
    Ok(serde_json::from_str(line)?)
}
