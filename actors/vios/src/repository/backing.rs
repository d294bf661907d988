//! What lies behind a repository: the bytes of an LU.

use std::fs::File;
use std::io;

use super::volume::Volume;
use crate::block::{Failure, Reply, Request};
use crate::disk::{Device, Disk};
use crate::file::{Config, FileDisk, OpenError};
use crate::redirect::name::LuId;

/// The bytes of one LU: a disk of whose cache a repository may say what is safe.
///
/// It must keep to what the repository tells its clients: what it has carried out is read by
/// whoever comes later, until its host or its device loses its cache, which changes the volume's
/// identity; and it carries nothing out that was asked of an earlier life of it.
pub trait Backing: Disk<Error = Failure> {
    /// Makes durable all that was carried out before. Blocks for as long as it takes.
    ///
    /// # Errors
    /// When some of it may not be durable. No other use of the LU takes such an error away.
    fn sync(&self) -> io::Result<()>;

    /// The LU has been made larger, and has so many bytes from now on.
    fn grown(&self, size: u64);
}

/// A file of the volume.
#[derive(Debug)]
pub struct FileBacking {
    disk: FileDisk,
    /// Syncs, on a descriptor of its own: no other use of the file takes an error away.
    sync: File,
}

impl FileBacking {
    /// The bytes of an LU of this volume.
    ///
    /// # Errors
    /// The file cannot be opened, or does not work as it must.
    pub fn open(volume: &Volume, lu: LuId) -> Result<Self, OpenError> {
        let path = volume.data(lu);
        let disk = FileDisk::open(&path, Config::default())?;
        Ok(Self { disk, sync: File::open(&path)? })
    }
}

impl Disk for FileBacking {
    type Error = Failure;

    fn device(&self) -> Device {
        self.disk.device()
    }

    async fn execute(&self, request: Request) -> Result<Reply, Failure> {
        self.disk.execute(request).await
    }
}

impl Backing for FileBacking {
    fn sync(&self) -> io::Result<()> {
        self.sync.sync_data()
    }

    fn grown(&self, size: u64) {
        self.disk.grown(size);
    }
}
