//! A node's data directory: one process uses it at a time, and each run has a number of its own.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use vioduct_certs::files::{FileError, PUBLIC_MODE, create_private_dir, read_public, write_atomic};

/// File that holds the number of the node's latest run, decimal.
pub const INCARNATION_FILE: &str = "incarnation";
const LOCK_FILE: &str = "lock";
/// A `u64` in decimal and a line end.
const INCARNATION_BYTES_MAX: u64 = 21;
/// As much of a lock file as is shown.
const HOLDER_BYTES_MAX: u64 = 20;

/// Why a data directory is not used. Fault: operator or disk.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process uses it. Nothing was changed.
    #[error(
        "data directory {} is in use by process {holder}; stop that one, or give each node its own",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process's id, as it wrote it down.
        holder: String,
    },
    /// The directory or its lock can't be made.
    #[error("can't use data directory {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file in it can't be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The number of the last run is no number. A lower one than before would be refused by peers.
    #[error(
        "{} holds {found:?}, needed is the number of the last run; \
         write one that is not below what `vioduct cluster status` shows for this node",
        path.display()
    )]
    Incarnation {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
}

/// A data directory that this process holds until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes the directory for this process, and makes it when it is new.
    ///
    /// # Errors
    /// Another process holds it, or the system refuses.
    pub fn lock(path: &Path) -> Result<Self, DataDirError> {
        create_private_dir(path)?;
        let io = |source| DataDirError::Io { path: path.to_owned(), source };
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only shown: when it can't be read, the message says less.
                (&lock).take(HOLDER_BYTES_MAX).read_to_string(&mut holder).ok();
                let holder = holder.trim().to_owned();
                return Err(DataDirError::InUse { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        lock.set_len(0).map_err(io)?;
        writeln!(lock, "{}", std::process::id()).map_err(io)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Counts one more run. When this returns, the number is on disk: use it for the first packet.
    ///
    /// # Errors
    /// The number of the last run can't be read, or the new one not be written.
    pub fn begin_run(&self) -> Result<u64, DataDirError> {
        let path = self.path.join(INCARNATION_FILE);
        let last = self.last_run(&path)?;
        let next = last.checked_add(1).ok_or_else(|| DataDirError::Incarnation {
            path: path.clone(),
            found: last.to_string(),
        })?;
        write_atomic(&path, format!("{next}\n").as_bytes(), PUBLIC_MODE)?;
        Ok(next)
    }

    fn last_run(&self, path: &Path) -> Result<u64, DataDirError> {
        match fs::exists(path) {
            Ok(true) => {}
            Ok(false) => return Ok(0),
            Err(source) => return Err(DataDirError::Io { path: self.path.clone(), source }),
        }
        let text = String::from_utf8_lossy(&read_public(path, INCARNATION_BYTES_MAX)?).into_owned();
        let number = text.trim_end().parse();
        number.map_err(|_digits| DataDirError::Incarnation { path: path.to_owned(), found: text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test's own, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("vioduct-{name}-{}", std::process::id()));
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn each_run_has_a_higher_number_and_the_first_is_one() {
        let scratch = Scratch::new("runs");
        for expected in 1..4 {
            let dir = DataDir::lock(&scratch.0).unwrap();
            assert_eq!(dir.begin_run().unwrap(), expected);
        }
        assert_eq!(fs::read_to_string(scratch.0.join(INCARNATION_FILE)).unwrap(), "3\n");
    }

    #[test]
    fn a_directory_in_use_is_refused_with_the_process_that_has_it() {
        let scratch = Scratch::new("in-use");
        let _held = DataDir::lock(&scratch.0).unwrap();
        let error = DataDir::lock(&scratch.0).unwrap_err().to_string();
        assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    }

    #[test]
    fn a_damaged_number_is_refused_and_left_as_it_is() {
        let scratch = Scratch::new("damaged");
        let dir = DataDir::lock(&scratch.0).unwrap();
        fs::write(scratch.0.join(INCARNATION_FILE), "seven").unwrap();
        let error = dir.begin_run().unwrap_err();
        assert!(matches!(&error, DataDirError::Incarnation { found, .. } if found == "seven"));
        assert_eq!(fs::read_to_string(scratch.0.join(INCARNATION_FILE)).unwrap(), "seven");
    }
}
