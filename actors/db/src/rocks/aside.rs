//! A damaged directory is set aside.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{RocksStores, io_failed};
use crate::StoreError;

impl RocksStores {
    /// As [`open`](Self::open), but for a directory that is damaged: it is renamed, with `.damaged`
    /// at the end of its name, and a new one is made. One that was set aside before goes.
    ///
    /// What others know of this node is then more than it has: its replicas have to be made anew.
    ///
    /// # Errors
    ///
    /// As `open`, but for `Damaged`. `Failed` if it can't be renamed.
    pub fn open_or_begin_anew(dir: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let what = match Self::open(dir, cache_bytes) {
            Err(StoreError::Damaged { what }) => what,
            opened => return opened,
        };
        let aside = aside(dir);
        let (from, to) = (dir.display(), aside.display());
        tracing::error!(what, dir = %from, aside = %to, "the stores are damaged and set aside");
        let failed = |error: io::Error| io_failed(&format!("renaming {from} to {to}"), &error);
        move_away(dir, &aside).map_err(failed)?;
        Self::open(dir, cache_bytes)
    }
}

fn aside(dir: &Path) -> PathBuf {
    let mut name = OsString::from(dir);
    name.push(".damaged");
    name.into()
}

fn move_away(dir: &Path, aside: &Path) -> io::Result<()> {
    if aside.try_exists()? {
        tracing::warn!(aside = %aside.display(), "what was set aside before is removed");
        fs::remove_dir_all(aside)?;
    }
    fs::rename(dir, aside)?;
    match dir.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        _here => File::open(".")?.sync_all(),
    }
}
