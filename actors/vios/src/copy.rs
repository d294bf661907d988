//! Copies the bytes of one disk to another one that holds nothing yet.
//!
//! What reads as zero is not copied: the other disk reads as zero there already. Which parts that
//! are, the first disk is asked, if it can tell; what it takes for data is looked at, too.

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::block::{Extent, Failure, Reply, Request, Run};
use crate::disk::Disk;

/// Bytes that one read, and the write after it, move at most.
pub const PIECE_BYTES: u32 = 1 << 20;
/// Pieces that are under way at once.
pub const UNDER_WAY_MAX: usize = 16;
/// Bytes of which it is asked at once what they are.
const ASK_BYTES: u32 = 1 << 30;
/// What is compared with zero at once.
const LOOK_BYTES: usize = 4096;

/// How far a copy is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes that need no more work, those that read as zero among them.
    pub done: u64,
    /// Bytes that were written.
    pub written: u64,
}

/// Why bytes are not copied. What was written before is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// They are not read.
    #[error("reading at byte {offset}: {failure}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        failure: Failure,
    },
    /// They are not written. Without room: make some on the storage, or where the file is.
    #[error("writing at byte {offset}: {failure}")]
    Write {
        /// Where.
        offset: u64,
        /// Why.
        failure: Failure,
    },
    /// It is not known whether all of them are on stable media.
    #[error("flushing: {0}")]
    Flush(Failure),
}

/// Copies the first `length` bytes, and flushes the other disk: when this returns, they are on
/// stable media. Each step is told to `watch`.
///
/// Dropping the future leaves requests of up to [`UNDER_WAY_MAX`] pieces under way.
///
/// # Errors
/// [`CopyError`]
pub async fn copy<S: Disk, T: Disk>(
    from: &S,
    to: &T,
    length: u64,
    watch: impl Fn(Copied),
) -> Result<Copied, CopyError> {
    let mut copied = Copied::default();
    let mut running = FuturesUnordered::new();
    let mut count = |moved: Option<Result<(u32, u32), CopyError>>| {
        let (done, written) = moved.transpose()?.unwrap_or((0, 0));
        copied.done += u64::from(done);
        copied.written += u64::from(written);
        watch(copied);
        Ok::<_, CopyError>(copied)
    };
    let piece_max = piece_max(from, to);
    let mut at = 0;
    while at < length {
        for run in runs(from, at, length - at).await? {
            let mut left = run.length;
            while left > 0 {
                let piece = if run.is_zero { left } else { left.min(piece_max) };
                if run.is_zero {
                    count(Some(Ok((piece, 0))))?;
                } else {
                    if running.len() >= UNDER_WAY_MAX {
                        count(running.next().await)?;
                    }
                    running.push(move_piece(from, to, Extent { offset: at, length: piece }));
                }
                (at, left) = (at + u64::from(piece), left - piece);
            }
        }
    }
    while let Some(moved) = running.next().await {
        count(Some(moved))?;
    }
    to.flush().await.map_err(CopyError::Flush)?;
    Ok(copied)
}

/// What both disks take at once, in whole blocks of both.
fn piece_max(from: &impl Disk, to: &impl Disk) -> u32 {
    let (from, to) = (from.device(), to.device());
    let block = from.block_min.max(to.block_min);
    let most = PIECE_BYTES.min(from.payload_max).min(to.payload_max);
    (most - most % block).max(block)
}

/// The runs from `offset` on, of `left` bytes at most.
async fn runs(from: &impl Disk, offset: u64, left: u64) -> Result<Vec<Run>, CopyError> {
    let length = u32::try_from(left).map_or(ASK_BYTES, |left| left.min(ASK_BYTES));
    let data = Run { length, is_hole: false, is_zero: false };
    if !from.device().abilities.can_status {
        return Ok(vec![data]);
    }
    let extent = Extent { offset, length };
    let failed = |failure| CopyError::Read { offset, failure };
    let reply = from.execute(Request::Status { extent }).await;
    let mut runs = match reply.map_err(|error| failed(error.into()))? {
        Reply::Status(runs) => runs,
        Reply::Done | Reply::Data(_) => return Err(failed(Failure::Io)),
    };
    // Else nothing would come of it, for ever; and no more than was asked for.
    let mut rest = length;
    runs.retain_mut(|run| {
        run.length = run.length.min(rest);
        rest -= run.length;
        run.length > 0
    });
    if runs.is_empty() { Ok(vec![data]) } else { Ok(runs) }
}

/// Moves some bytes; gives how many they are, and how many were written.
async fn move_piece(
    from: &impl Disk,
    to: &impl Disk,
    Extent { offset, length }: Extent,
) -> Result<(u32, u32), CopyError> {
    let data = from.read(offset, length).await;
    let data = data.map_err(|failure| CopyError::Read { offset, failure })?;
    if is_zero(&data) {
        return Ok((length, 0));
    }
    let written = to.write(offset, data).await;
    written.map_err(|failure| CopyError::Write { offset, failure })?;
    Ok((length, length))
}

fn is_zero(data: &Bytes) -> bool {
    // A branch for each byte would be several times slower.
    data.chunks(LOOK_BYTES).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::path::Path;
    use std::sync::Mutex;

    use super::*;
    use crate::disk::{Abilities, Device};
    use crate::file::{Config, FileDisk};

    const SIZE: u64 = (5 << 20) + 77;

    fn sparse(path: &Path, size: u64) -> FileDisk {
        File::create_new(path).unwrap().set_len(size).unwrap();
        FileDisk::open(path, Config::default()).unwrap()
    }

    #[tokio::test]
    async fn data_is_copied_and_holes_stay_holes() {
        let dir = tempfile::TempDir::new().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let (from, to) = (sparse(&one, SIZE), sparse(&two, SIZE));
        let file = File::options().write(true).open(&one).unwrap();
        file.write_all_at(&[7; 9000], (3 << 20) - 500).unwrap();
        file.write_all_at(b"end", SIZE - 3).unwrap();
        // It has room, and reads as zero.
        file.write_all_at(&[0; 1 << 20], 1 << 20).unwrap();
        let told = Mutex::new(Copied::default());
        let copied = copy(&from, &to, SIZE, |copied| *told.lock().unwrap() = copied).await;
        let copied = copied.unwrap();
        assert_eq!((copied.done, *told.lock().unwrap()), (SIZE, copied));
        assert!(std::fs::read(&one).unwrap() == std::fs::read(&two).unwrap());
        let room = std::fs::metadata(&two).unwrap().blocks() * 512;
        assert!(room <= copied.written + 4096 && copied.written < 3 << 20, "{room} {copied:?}");
    }

    /// Knows nothing of its data, or fails.
    struct Blind {
        disk: FileDisk,
        fails_at: Option<u64>,
    }

    impl Disk for Blind {
        type Error = Failure;

        fn device(&self) -> Device {
            let device = self.disk.device();
            let abilities = Abilities { can_status: false, ..device.abilities };
            Device { abilities, ..device }
        }

        async fn execute(&self, request: Request) -> Result<Reply, Failure> {
            let is_hit = |extent: Extent| Some(extent.offset) == self.fails_at;
            if request.extent().is_some_and(is_hit) {
                return Err(Failure::NoSpace);
            }
            self.disk.execute(request).await
        }
    }

    #[tokio::test]
    async fn a_disk_that_can_t_tell_is_read_and_a_failure_names_its_place() {
        let dir = tempfile::TempDir::new().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        std::fs::write(&one, vec![3; 3 << 20]).unwrap();
        let from = Blind { disk: FileDisk::open(&one, Config::default()).unwrap(), fails_at: None };
        let to = Blind { disk: sparse(&two, 3 << 20), fails_at: None };
        let copied = copy(&from, &to, 3 << 20, |_copied| {}).await.unwrap();
        assert_eq!((copied.done, copied.written), (3 << 20, 3 << 20));
        assert!(std::fs::read(&one).unwrap() == std::fs::read(&two).unwrap());
        let to = Blind { fails_at: Some(2 << 20), ..to };
        let failed = copy(&from, &to, 3 << 20, |_copied| {}).await.unwrap_err();
        assert_eq!(failed, CopyError::Write { offset: 2 << 20, failure: Failure::NoSpace });
        assert_eq!(failed.to_string(), "writing at byte 2097152: no room left on the storage");
    }
}
