//! An image file that is there when all of it is.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tokio::task::spawn_blocking;
use vioduct_vios::file::{Config, FileDisk};

/// A file that is being written under another name. Dropped before it is finished, it is gone;
/// what a killed process leaves, the next one that writes to the same name takes.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    part: PathBuf,
    file: File,
    is_finished: bool,
}

impl NewFile {
    /// Begins the file `path`.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let is_there = path.symlink_metadata().is_ok();
        ensure!(!is_there, "there is {} already; remove it, or take another name", path.display());
        let name = path.file_name().context("the image needs a file's name")?;
        let mut part = name.to_owned();
        part.push(".part");
        let part = path.with_file_name(part);
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(&part);
        let file = file.with_context(|| part.display().to_string())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another process writes {}", part.display()),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // Who had it locked until now may have finished it, and it has its own name by now.
        let (own, there) = (file.metadata()?, part.symlink_metadata());
        let is_there =
            there.is_ok_and(|there| (own.dev(), own.ino()) == (there.dev(), there.ino()));
        ensure!(is_there, "another process has just written {}", part.display());
        // Left by a killed process.
        file.set_len(0).with_context(|| part.display().to_string())?;
        Ok(Self { path: path.to_owned(), part, file, is_finished: false })
    }

    /// It as a disk of so many bytes, all zero.
    pub(super) fn disk(&self, bytes: u64) -> Result<FileDisk> {
        let part = || self.part.display().to_string();
        self.file.set_len(bytes).with_context(part)?;
        FileDisk::open(&self.part, Config::default()).with_context(part)
    }

    /// Gives it its name. When this returns, that is on stable media.
    pub(super) async fn finish(mut self) -> Result<()> {
        let name = self.path.display().to_string();
        spawn_blocking(move || self.complete()).await?.context(name)
    }

    fn complete(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        // Unlike a rename it replaces no file.
        fs::hard_link(&self.part, &self.path)?;
        fs::remove_file(&self.part)?;
        self.is_finished = true;
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_finished {
            // What is left of it is taken by the next one.
            fs::remove_file(&self.part).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_has_its_name_once_it_is_complete_and_replaces_none() {
        let dir = std::env::temp_dir().join(format!("vioduct-image-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let (path, part) = (dir.join("image"), dir.join("image.part"));
        // Of a process that was killed.
        fs::write(&part, "old").unwrap();
        let new = NewFile::create(&path).unwrap();
        let error = NewFile::create(&path).unwrap_err().to_string();
        assert!(error.starts_with("another process writes"), "{error}");
        new.disk(512).unwrap();
        assert!(!path.exists());
        new.finish().await.unwrap();
        assert_eq!((fs::read(&path).unwrap(), part.exists()), (vec![0; 512], false));
        let error = NewFile::create(&path).unwrap_err().to_string();
        assert!(error.contains("already; remove it"), "{error}");
        drop(NewFile::create(&dir.join("other")).unwrap());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "what is given up is gone");
        fs::remove_dir_all(&dir).unwrap();
    }
}
