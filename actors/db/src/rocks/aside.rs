//! A damaged directory is set aside.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{RocksStores, io_failed};
use crate::StoreError;

/// Directories that are kept beside one at most.
const ASIDE_MAX: u32 = 10;

impl RocksStores {
    /// As [`open`](Self::open), but for a directory that is damaged: it is renamed, with `.damaged`
    /// at the end of its name and a number where there is such a one already, and a new one is
    /// made. None is ever removed: they may have what nobody else has.
    ///
    /// What others know of this node is then more than it has: its replicas have to be made anew.
    ///
    /// # Errors
    ///
    /// As `open`, but for `Damaged`. `Failed` if it can't be renamed, or if ten were set aside
    /// already.
    pub fn open_or_begin_anew(dir: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let what = match Self::open(dir, cache_bytes) {
            Err(StoreError::Damaged { what }) => what,
            opened => return opened,
        };
        let failed = |error: io::Error| {
            io_failed(
                &format!("setting {}, which is damaged ({what}), aside", dir.display()),
                &error,
            )
        };
        let aside = free_name(dir).map_err(failed)?;
        let (from, to) = (dir.display(), aside.display());
        tracing::error!(what, dir = %from, aside = %to, "the stores are damaged and set aside");
        move_away(dir, &aside).map_err(failed)?;
        Self::open(dir, cache_bytes)
    }
}

fn free_name(dir: &Path) -> io::Result<PathBuf> {
    for number in 1..=ASIDE_MAX {
        let mut name = OsString::from(dir);
        name.push(".damaged");
        if number > 1 {
            name.push(number.to_string());
        }
        if !Path::new(&name).try_exists()? {
            return Ok(name.into());
        }
    }
    let why = format!("there are {ASIDE_MAX} such directories beside it: see which may go");
    Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
}

fn move_away(dir: &Path, aside: &Path) -> io::Result<()> {
    fs::rename(dir, aside)?;
    match dir.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        _here => File::open(".")?.sync_all(),
    }
}
