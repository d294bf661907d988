//! A node's data directory: one process uses it at a time, and each run has a number of its own.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use vioduct_certs::files::{
    FileError, KEY_MODE, PUBLIC_MODE, create_private_dir, read_key, read_public, write_atomic,
};
use vioduct_transport::seam::ResetSecret;

/// File that holds the number of the node's latest run, decimal.
pub const INCARNATION_FILE: &str = "incarnation";
/// File of the secret by which peers know a run of the same node.
const RESET_SECRET_FILE: &str = "reset_secret";
/// More than a secret has.
const SECRET_BYTES_MAX: u64 = 64;
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
    lock: File,
}

impl Drop for DataDir {
    /// A process that is being started has a copy of the file until it runs its own program:
    /// closing alone would leave the lock to that.
    fn drop(&mut self) {
        // The lock goes with the last copy then.
        self.lock.unlock().ok();
    }
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
        Ok(Self { path: path.to_owned(), lock })
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

    /// The node's secret, made in its first run. One that is damaged is replaced: peers of the run
    /// before then learn of its end by its silence.
    ///
    /// # Errors
    /// The file can't be read, or a new one not be written.
    pub fn reset_secret(&self) -> Result<ResetSecret, DataDirError> {
        let path = self.path.join(RESET_SECRET_FILE);
        let io = |source| DataDirError::Io { path: self.path.clone(), source };
        if fs::exists(&path).map_err(io)?
            && let Ok(found) = <[u8; 32]>::try_from(read_key(&path, SECRET_BYTES_MAX)?.as_slice())
        {
            return Ok(found.into());
        }
        let made = ResetSecret::random();
        write_atomic(&path, made.bytes(), KEY_MODE)?;
        Ok(made)
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
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

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
    fn a_secret_stays_the_same_is_the_owners_only_and_a_damaged_one_is_replaced() {
        let scratch = Scratch::new("secret");
        let dir = DataDir::lock(&scratch.0).unwrap();
        let (path, first) = (scratch.0.join(RESET_SECRET_FILE), dir.reset_secret().unwrap());
        assert_eq!(dir.reset_secret().unwrap().bytes(), first.bytes());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, [0; 5]).unwrap();
        assert_ne!(dir.reset_secret().unwrap().bytes(), first.bytes());
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let error = dir.reset_secret().unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
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
