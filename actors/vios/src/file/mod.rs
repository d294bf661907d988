//! A disk that is a local file or block device.
//!
//! Reads that the page cache can answer are carried out on the spot, by a read that never waits;
//! everything else on a small pool of threads.
//!
//! After one failed sync nothing that was not synced before can be trusted, and a second sync
//! proves nothing: the disk then refuses every write and flush with [`Failure::Io`].

mod operation;
mod pool;

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, OFlags, StatxFlags};

use crate::block::{Extent, Failure, Reply, Request};
use crate::disk::{Abilities, BLOCK_PREFERRED_DEFAULT, Device, Disk, PAYLOAD_MAX_DEFAULT};
use operation::Volume;
use pool::Pool;

/// How a file is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Takes no writes. Default false.
    pub is_read_only: bool,
    /// Goes around the page cache (`O_DIRECT`). Requests must then keep to the file system's
    /// alignment, which becomes the disk's smallest block. Default false.
    pub is_direct: bool,
    /// Requests that the kernel has at once, other than reads from the page cache; 1 to 1024.
    /// Default 16.
    pub threads: usize,
    /// Requests that wait for one of these; more wait in their callers. 1 to 65536.
    /// Default 1024.
    pub queue_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { is_read_only: false, is_direct: false, threads: 16, queue_max: 1024 }
    }
}

/// Why a file cannot be a disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting is out of its range. Fault: the operator.
    #[error("{field} is {value}; it must be 1 to {max}")]
    Setting {
        /// Which.
        field: &'static str,
        /// What it is.
        value: usize,
        /// Its limit.
        max: usize,
    },
    /// Its size is no multiple of what `O_DIRECT` asks for. Fault: the operator.
    #[error("a size of {size} bytes is no multiple of {align} bytes, as direct I/O needs it")]
    Unaligned {
        /// Bytes.
        size: u64,
        /// Bytes.
        align: u32,
    },
    /// The file could not be opened or measured.
    #[error(transparent)]
    Io(#[from] io::Error),
}

const THREADS_MAX: usize = 1024;
const QUEUE_MAX: usize = 65_536;
/// What direct I/O is aligned to where the kernel does not tell.
const DIRECT_ALIGN_DEFAULT: u32 = 4096;
/// Reads up to this many bytes are tried on the spot; longer ones would hold up others.
const ON_THE_SPOT_MAX: u32 = 128 << 10;

/// A local file as a disk. Dropping it waits for the requests that the kernel has.
#[derive(Debug)]
pub struct FileDisk {
    volume: Arc<Volume>,
    pool: Pool,
    /// As it was when the file was opened.
    device: Device,
    /// Bytes, now.
    size: AtomicU64,
    is_direct: bool,
}

impl FileDisk {
    /// Opens a file, or a block device, that exists. Its size stays what it is now, until
    /// [`grown`](Self::grown) is told otherwise.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, config: Config) -> Result<Self, OpenError> {
        in_range("threads", config.threads, THREADS_MAX)?;
        in_range("queue_max", config.queue_max, QUEUE_MAX)?;
        let mut options = OpenOptions::new();
        options.read(true).write(!config.is_read_only);
        if config.is_direct {
            options.custom_flags(OFlags::DIRECT.bits().cast_signed());
        }
        let mut file = options.open(path)?;
        let size = file.seek(SeekFrom::End(0))?;
        let (memory_align, block_min) =
            if config.is_direct { direct_alignment(&file)? } else { (1, 1) };
        if !size.is_multiple_of(block_min.into()) {
            return Err(OpenError::Unaligned { size, align: block_min });
        }
        let device = Device {
            size,
            block_min,
            block_preferred: BLOCK_PREFERRED_DEFAULT.max(block_min),
            payload_max: PAYLOAD_MAX_DEFAULT,
            memory_align,
            abilities: Abilities { is_read_only: config.is_read_only, ..Abilities::ALL },
        };
        let volume = Arc::new(Volume::new(file, device));
        let pool = Pool::new(config.threads, config.queue_max)?;
        let size = AtomicU64::new(size);
        Ok(Self { volume, pool, device, size, is_direct: config.is_direct })
    }

    /// The file has been made larger, and its disk has so many bytes from now on; never fewer than
    /// before.
    pub fn grown(&self, size: u64) {
        self.size.fetch_max(size, Ordering::AcqRel);
    }
}

fn in_range(field: &'static str, value: usize, max: usize) -> Result<(), OpenError> {
    if (1..=max).contains(&value) { Ok(()) } else { Err(OpenError::Setting { field, value, max }) }
}

/// What direct I/O is aligned to: memory, then offsets and lengths.
fn direct_alignment(file: &File) -> io::Result<(u32, u32)> {
    let told = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)?;
    let sound = |align: u32| align.is_power_of_two().then_some(align);
    let memory = sound(told.stx_dio_mem_align).unwrap_or(DIRECT_ALIGN_DEFAULT);
    let offset = sound(told.stx_dio_offset_align).unwrap_or(DIRECT_ALIGN_DEFAULT);
    Ok((memory, offset))
}

impl Disk for FileDisk {
    type Error = Failure;

    fn device(&self) -> Device {
        Device { size: self.size.load(Ordering::Acquire), ..self.device }
    }

    async fn execute(&self, request: Request) -> Result<Reply, Failure> {
        self.device().admit(&request)?;
        if let Request::Read { extent } = &request
            && self.is_on_the_spot(*extent)
            && let Some(data) = self.volume.read_cached(*extent)
        {
            return Ok(Reply::Data(data));
        }
        let volume = Arc::clone(&self.volume);
        self.pool.run(move || volume.carry_out(request)).await.unwrap_or(Err(Failure::ShuttingDown))
    }
}

impl FileDisk {
    fn is_on_the_spot(&self, extent: Extent) -> bool {
        !self.is_direct && extent.length <= ON_THE_SPOT_MAX
    }
}
