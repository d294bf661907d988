//! The CA's directory: `ca.crt`, `ca.key` (0600), `ca.crl` and `issued.toml`.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::ca::{CaError, ClusterCa, IssuedBundle};
use crate::credentials::{CERT_FILE, CRL_FILE, KEY_FILE, ROOTS_FILE};
use crate::files::{
    FileError, KEY_MODE, PUBLIC_MODE, create_private_dir, read_key, read_public, require_absent,
    write_atomic,
};
use crate::record::{Record, VERSION};

/// File of the CA's private key, PEM, mode 0600.
pub const CA_KEY_FILE: &str = "ca.key";
/// File of the CA's record of what it issued and revoked.
pub const RECORD_FILE: &str = "issued.toml";
const LOCK_FILE: &str = ".lock";
const SMALL_FILE_MAX: u64 = 64 << 10;
const CRL_FILE_MAX: u64 = 2 << 20;
// 150 bytes an entry: 400 000 certificates, 1000 nodes weekly for over seven years.
const RECORD_MAX: u64 = 64 << 20;

/// What to do about files that stand where new ones are to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    /// Write nothing, and name the first of them.
    Refuse,
    /// Replace them, each atomically.
    Replace,
}

const LOCK_RETRIES: u32 = 20;
const LOCK_RETRY: Duration = Duration::from_millis(25);

/// An exclusive lock on a directory, held until dropped.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Locks `dir`, which must exist; `None` when another process, or another part of this one,
    /// goes on holding the lock.
    ///
    /// It tries for half a second: a process that is just being started holds what its parent had
    /// locked, until its own program runs.
    pub(crate) fn acquire(dir: &Path) -> Result<Option<Self>, FileError> {
        let path = dir.join(LOCK_FILE);
        let opened = match File::options().create(true).truncate(false).write(true).open(&path) {
            // Made by root, who installs into another user's directory; to lock it is to read it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(&path),
            opened => opened,
        };
        let write = |source| FileError::Write { path: path.clone(), source };
        let file = opened.map_err(write)?;
        for _retry in 0..LOCK_RETRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self { _file: file })),
                Err(TryLockError::WouldBlock) => pause(),
                Err(TryLockError::Error(source)) => return Err(write(source)),
            }
        }
        Ok(None)
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing tells when a file lock is given back")]
fn pause() {
    std::thread::sleep(LOCK_RETRY);
}

/// Keeps other commands out of a CA directory until dropped.
#[derive(Debug)]
pub struct CaLock {
    _lock: DirLock,
}

impl CaLock {
    /// Locks `dir`, which must exist.
    ///
    /// # Errors
    /// [`CaError::Busy`] when another process holds the lock.
    pub fn acquire(dir: &Path) -> Result<Self, CaError> {
        Ok(Self { _lock: DirLock::acquire(dir)?.ok_or(CaError::Busy)? })
    }
}

impl ClusterCa {
    /// Reads the CA in `dir`.
    ///
    /// Hold a [`CaLock`] from before the load until after the save when the CA is to be changed.
    ///
    /// # Errors
    /// A file is missing or damaged, they don't belong together, or the key's mode is too wide.
    pub fn load(dir: &Path) -> Result<Self, CaError> {
        let text = |bytes| {
            String::from_utf8(bytes).map_err(|_bytes| CaError::Damaged { what: "not a text file" })
        };
        let root_pem = text(read_public(&dir.join(ROOTS_FILE), SMALL_FILE_MAX)?)?;
        let key = read_key(&dir.join(CA_KEY_FILE), SMALL_FILE_MAX)?;
        let key = std::str::from_utf8(&key)
            .map_err(|_bytes| CaError::Damaged { what: "ca.key is not a text file" })?;
        let record: Record =
            toml::from_str(&text(read_public(&dir.join(RECORD_FILE), RECORD_MAX)?)?)?;
        if record.version != VERSION {
            return Err(CaError::Damaged { what: "issued.toml is of an unknown version" });
        }
        let crl_pem = text(read_public(&dir.join(CRL_FILE), CRL_FILE_MAX)?)?;
        Self::from_pem(root_pem, key, record, crl_pem)
    }

    /// Writes a newly created CA into `dir`, which is made if it does not exist (mode 0700).
    ///
    /// # Errors
    /// [`FileError::Exists`] when `dir` holds any part of a CA; then nothing is written.
    pub fn save_new(&self, dir: &Path) -> Result<(), CaError> {
        for file in [ROOTS_FILE, CA_KEY_FILE, RECORD_FILE, CRL_FILE] {
            require_absent(&dir.join(file))?;
        }
        create_private_dir(dir)?;
        self.save(dir)?;
        write_atomic(&dir.join(CA_KEY_FILE), self.key_pem().as_bytes(), KEY_MODE)?;
        write_atomic(&dir.join(ROOTS_FILE), self.root_pem.as_bytes(), PUBLIC_MODE)?;
        Ok(())
    }

    /// Writes what has changed: the record, then the revocation list.
    ///
    /// # Errors
    /// A file can't be written. If only the record was, the next command signs the list again.
    pub fn save(&self, dir: &Path) -> Result<(), CaError> {
        let record = toml::to_string(&self.record)?;
        write_atomic(&dir.join(RECORD_FILE), record.as_bytes(), PUBLIC_MODE)?;
        write_atomic(&dir.join(CRL_FILE), self.crl_pem.as_bytes(), PUBLIC_MODE)?;
        Ok(())
    }
}

/// Whether [`IssuedBundle::write_to`] may write to `dir`; ask before issuing.
///
/// # Errors
/// One of the four files exists and `if_exists` says to refuse.
pub fn check_host_dir(dir: &Path, if_exists: IfExists) -> Result<(), FileError> {
    if if_exists == IfExists::Refuse {
        for file in [CERT_FILE, KEY_FILE, ROOTS_FILE, CRL_FILE] {
            require_absent(&dir.join(file))?;
        }
    }
    Ok(())
}

impl IssuedBundle {
    /// Writes `node.crt`, `node.key` (if the CA made it), `ca.crt`, `ca.crl` into `dir`, which is
    /// made if it does not exist (mode 0700).
    ///
    /// The certificate is written last: a node that reloads halfway finds that key and certificate
    /// differ, keeps what it has, and looks again.
    ///
    /// # Errors
    /// A file can't be written, or exists and `if_exists` says to refuse.
    pub fn write_to(&self, dir: &Path, if_exists: IfExists) -> Result<(), FileError> {
        check_host_dir(dir, if_exists)?;
        create_private_dir(dir)?;
        write_atomic(&dir.join(ROOTS_FILE), self.roots_pem.as_bytes(), PUBLIC_MODE)?;
        write_atomic(&dir.join(CRL_FILE), self.crl_pem.as_bytes(), PUBLIC_MODE)?;
        if let Some(key) = &self.key_pem {
            write_atomic(&dir.join(KEY_FILE), key.as_bytes(), KEY_MODE)?;
        }
        write_atomic(&dir.join(CERT_FILE), self.cert_pem.as_bytes(), PUBLIC_MODE)
    }
}
