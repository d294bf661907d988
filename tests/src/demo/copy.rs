//! A file that goes onto a disk and comes back: `nbdcopy`, a client that is not ours.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use rand::RngCore;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

const MIB: u64 = 1 << 20;
/// Bytes of the image that is made when none is given.
const IMAGE_BYTES: u64 = 64 * MIB;

/// A file, and the LU that it goes onto.
#[derive(Debug)]
pub(crate) struct Image {
    given: Option<PathBuf>,
    bytes: u64,
}

impl Image {
    /// Of a file, or of one that is made.
    ///
    /// # Errors
    /// There is no such file, or nothing in it.
    pub(crate) fn new(given: Option<PathBuf>) -> Result<Self> {
        let Some(path) = given else { return Ok(Self { given: None, bytes: IMAGE_BYTES }) };
        let metadata = path.metadata().with_context(|| path.display().to_string())?;
        ensure!(metadata.is_file() && metadata.len() > 0, "{} is no image", path.display());
        let path = std::path::absolute(path)?;
        Ok(Self { given: Some(path), bytes: metadata.len() })
    }

    /// Its bytes.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of an LU that it fits onto.
    pub(crate) const fn lu_bytes(&self) -> u64 {
        self.bytes.next_multiple_of(MIB)
    }

    /// The file; it is made in `dir` if none was given.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn file(&self, dir: &Path) -> io::Result<PathBuf> {
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        let path = dir.join("image");
        let mut file = File::create(&path)?;
        let mut block = vec![0; 1 << 20];
        for _block in 0..self.bytes / MIB {
            rand::rng().fill_bytes(&mut block);
            file.write_all(&block)?;
        }
        Ok(path)
    }
}

/// Begins to copy one into the other: files, or disks by their NBD URI.
///
/// # Errors
/// `nbdcopy` can't be run.
pub(crate) fn copy(from: &str, to: &str) -> Result<Child> {
    let mut command = Command::new("nbdcopy");
    command.args(["--requests", "16", "--request-size", "1048576", "--flush", from, to]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().context("nbdcopy; `cargo xtask setup` installs it")
}

/// Waits for the end of a copy.
///
/// # Errors
/// It failed; with what it says.
pub(crate) async fn copied(copy: Child) -> Result<()> {
    let output = copy.wait_with_output().await?;
    if !output.status.success() {
        bail!("nbdcopy: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// SHA-256 of the first bytes of a file.
///
/// # Errors
/// It can't be read, or is shorter.
pub(crate) async fn sha256(path: &Path, bytes: u64) -> Result<String> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    ensure!(file.metadata()?.len() >= bytes, "{} is cut short", path.display());
    let mut command = Command::new("sha256sum");
    let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = program.stdin.take().context("standard input was asked for")?;
    let mut first = tokio::fs::File::from_std(file).take(bytes);
    tokio::io::copy(&mut first, &mut stdin).await?;
    drop(stdin);
    let output = program.wait_with_output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().map(str::to_owned).context("sha256sum says nothing")
}
