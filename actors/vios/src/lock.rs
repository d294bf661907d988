//! A file whose lock says that its holder lives.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// Locks a file, which is made if it is new, for as long as what is given lives. `None` if somebody
/// else has it.
pub(crate) fn lock_file(path: &Path) -> io::Result<Option<File>> {
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
