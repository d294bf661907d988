//! Reading and writing certificate files: limits, modes, and writes that are whole or absent.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Mode of a private key's file, and of any other secret's.
pub const KEY_MODE: u32 = 0o600;
/// Mode of everything that is no secret.
pub const PUBLIC_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o700;
/// Names tried for a temporary file before giving up.
const TEMPORARY_NAMES_MAX: u32 = 16;

/// Why a file could not be read or written. Each variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file can't be read. Fault: operator or disk.
    #[error("can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file can't be written. What stood there before still does.
    #[error("can't write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is larger than anything of its kind.
    #[error("{} is larger than {max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Largest accepted size in bytes.
        max: u64,
    },
    /// Others than its owner may use the private key.
    #[error(
        "{} has mode {mode:04o}: a private key is for its owner only; run `chmod 600 {}`",
        path.display(), path.display()
    )]
    WideMode {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Something stands where a new file was to be written. Nothing was changed.
    #[error("{} exists already and is not overwritten; move it away first", path.display())]
    Exists {
        /// The file or directory.
        path: PathBuf,
    },
}

fn read_bounded(file: File, path: &Path, max: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    // A usize always fits in a u64 on the platforms we build for; the fallback refuses.
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max {
        return Err(FileError::TooLarge { path: path.to_owned(), max });
    }
    Ok(bytes)
}

fn open(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(|source| FileError::Read { path: path.to_owned(), source })
}

/// Reads a file of at most `max` bytes.
///
/// # Errors
/// [`FileError::Read`] or [`FileError::TooLarge`].
pub fn read_public(path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    read_bounded(open(path)?, path, max).map(|mut bytes| std::mem::take(&mut *bytes))
}

/// Reads a private key, and refuses one that group or others may use.
///
/// The mode is that of the open file, so that it can't be swapped between the two steps.
///
/// # Errors
/// [`FileError::WideMode`], [`FileError::Read`] or [`FileError::TooLarge`].
pub fn read_key(path: &Path, max: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let file = open(path)?;
    let metadata =
        file.metadata().map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::WideMode { path: path.to_owned(), mode });
    }
    read_bounded(file, path, max)
}

/// Refuses to go on when `path` exists.
///
/// # Errors
/// [`FileError::Exists`], or [`FileError::Read`] when that can't be told.
pub fn require_absent(path: &Path) -> Result<(), FileError> {
    match fs::symlink_metadata(path) {
        Ok(_found) => Err(FileError::Exists { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(FileError::Read { path: path.to_owned(), source }),
    }
}

/// Makes `dir` and its parents, the new ones for their owner only.
///
/// # Errors
/// [`FileError::Write`] when the system refuses.
pub fn create_private_dir(dir: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(dir)
        .map_err(|source| FileError::Write { path: dir.to_owned(), source })
}

/// Replaces `path` with `bytes`: after a crash the file is the old one or the new one.
///
/// Written to a temporary file beside it with `mode`, flushed, renamed, and the directory flushed.
///
/// # Errors
/// [`FileError::Write`] when the system refuses; the old file then still stands.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    replace(path, bytes, mode).map_err(|source| FileError::Write { path: path.to_owned(), source })
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let (temporary, file) = create_temporary(path, mode)?;
    let written = fill(file, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The first error is the one to report; a left-over temporary file is harmless.
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    File::open(dir)?.sync_all()
}

fn create_temporary(path: &Path, mode: u32) -> io::Result<(PathBuf, File)> {
    let process = std::process::id();
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for attempt in 0..TEMPORARY_NAMES_MAX {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{process}-{attempt}.tmp"));
        let temporary = path.with_file_name(name);
        match OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn fill(mut file: File, bytes: &[u8], mode: u32) -> io::Result<()> {
    // The mode given at creation was narrowed by the umask.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}
