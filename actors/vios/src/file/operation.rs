//! One request, as system calls.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, fdatasync, seek};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2, pwritev2};

use crate::block::{Extent, Failure, Reply, Request, Run};
use crate::disk::Device;

/// Zeroes that are written at once where the file system cannot make holes.
static ZEROES: Zeroes = Zeroes { bytes: [0; 64 << 10] };
/// Most runs that are looked for at once.
const RUNS_MAX: usize = 1024;

/// Aligned as direct I/O may need it.
#[repr(align(4096))]
struct Zeroes {
    bytes: [u8; 64 << 10],
}

/// An open file.
#[derive(Debug)]
pub(super) struct Volume {
    file: File,
    device: Device,
    /// A sync failed: what was written before it may be lost.
    is_broken: AtomicBool,
}

impl Volume {
    pub(super) fn new(file: File, device: Device) -> Self {
        Self { file, device, is_broken: AtomicBool::new(false) }
    }

    /// The bytes, if all of them are in the page cache.
    pub(super) fn read_cached(&self, extent: Extent) -> Option<Bytes> {
        let mut data = vec![0; usize::try_from(extent.length).ok()?];
        let length = data.len();
        let slices = &mut [IoSliceMut::new(&mut data)];
        match preadv2(&self.file, slices, extent.offset, ReadWriteFlags::NOWAIT) {
            Ok(read) if read == length => Some(data.into()),
            Ok(_) | Err(_) => None,
        }
    }

    /// Carries out a request, and waits for it.
    pub(super) fn carry_out(&self, request: Request) -> Result<Reply, Failure> {
        match request {
            Request::Read { extent } => self.read(extent).map(Reply::Data),
            Request::Status { extent } => self.status(extent).map(Reply::Status),
            Request::Flush => self.sync().map(|()| Reply::Done),
            Request::Write { offset, data, fua } => {
                self.write(offset, &data, fua).map(|()| Reply::Done)
            }
            Request::Trim { extent, fua } => self.trim(extent, fua).map(|()| Reply::Done),
            Request::WriteZeroes { extent, fua, may_punch, only_fast } => {
                self.write_zeroes(extent, may_punch, only_fast)?;
                self.sync_if(fua).map(|()| Reply::Done)
            }
        }
    }

    fn read(&self, extent: Extent) -> Result<Bytes, Failure> {
        let length = usize::try_from(extent.length).map_err(|_too_long| Failure::Invalid)?;
        match self.align() {
            1 => self.read_anywhere(extent.offset, length),
            align => self.read_aligned(extent.offset, length, align),
        }
    }

    fn align(&self) -> usize {
        usize::try_from(self.device.memory_align).unwrap_or(1)
    }

    /// Reads without setting the memory to zero first.
    fn read_anywhere(&self, offset: u64, length: usize) -> Result<Bytes, Failure> {
        let mut data: Vec<u8> = Vec::with_capacity(length);
        while data.len() < length {
            let at = offset + data.len() as u64;
            match pread(&self.file, spare_capacity(&mut data), at) {
                // The file has become shorter than its disk.
                Ok(0) => return Err(Failure::Io),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(failure(error)),
            }
        }
        data.truncate(length);
        Ok(data.into())
    }

    fn read_aligned(&self, offset: u64, length: usize, align: usize) -> Result<Bytes, Failure> {
        let mut data = vec![0; length + align - 1];
        let start = data.as_ptr().align_offset(align).min(align - 1);
        let place = data.get_mut(start..start + length).ok_or(Failure::Io)?;
        self.file.read_exact_at(place, offset).map_err(|error| failure_of(&error))?;
        Ok(Bytes::from(data).slice(start..start + length))
    }

    fn write(&self, offset: u64, data: &[u8], fua: bool) -> Result<(), Failure> {
        self.check_sound()?;
        let align = self.align();
        if data.as_ptr().align_offset(align) == 0 {
            return self.write_aligned(offset, data, fua);
        }
        let mut copy = vec![0; data.len() + align - 1];
        let start = copy.as_ptr().align_offset(align).min(align - 1);
        let place = copy.get_mut(start..start + data.len()).ok_or(Failure::Io)?;
        place.copy_from_slice(data);
        self.write_aligned(offset, place, fua)
    }

    fn write_aligned(&self, offset: u64, data: &[u8], fua: bool) -> Result<(), Failure> {
        let flags = if fua { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
        let (mut rest, mut at) = (data, offset);
        while !rest.is_empty() {
            match pwritev2(&self.file, &[IoSlice::new(rest)], at, flags) {
                Ok(0) => return Err(Failure::Io),
                Ok(written) => {
                    rest = rest.split_at_checked(written).ok_or(Failure::Io)?.1;
                    at += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP) if fua => {
                    // Not in one call here.
                    self.write_aligned(at, rest, false)?;
                    return self.sync();
                }
                Err(error) if fua => return Err(self.failed_fua(rest, at, error)),
                Err(error) => return Err(failure(error)),
            }
        }
        Ok(())
    }

    fn check_sound(&self) -> Result<(), Failure> {
        if self.is_broken.load(Ordering::Acquire) { Err(Failure::Io) } else { Ok(()) }
    }

    /// A sync failed: the kernel may have dropped what it could not write, and forgets that it
    /// has.
    fn broken_by(&self, error: Errno) -> Failure {
        self.is_broken.store(true, Ordering::Release);
        tracing::error!(%error, "a sync failed: this disk takes no more writes");
        Failure::Io
    }

    /// A write that is to be synced failed. Where a write alone finds no room either, it was not
    /// the sync, and nothing that was there before is harmed.
    fn failed_fua(&self, rest: &[u8], at: u64, error: Errno) -> Failure {
        let alone = self.write_aligned(at, rest, false);
        match (failure(error), alone) {
            (Failure::NoSpace, Err(Failure::NoSpace)) => Failure::NoSpace,
            (_, _) => self.broken_by(error),
        }
    }

    fn sync(&self) -> Result<(), Failure> {
        self.check_sound()?;
        loop {
            match fdatasync(&self.file) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.broken_by(error)),
            }
        }
    }

    fn sync_if(&self, fua: bool) -> Result<(), Failure> {
        if fua { self.sync() } else { Ok(()) }
    }

    fn trim(&self, extent: Extent, fua: bool) -> Result<(), Failure> {
        self.check_sound()?;
        match self.allocate(FallocateFlags::PUNCH_HOLE, extent) {
            // Only a hint, which this file system cannot take.
            Ok(()) | Err(Errno::OPNOTSUPP) => self.sync_if(fua),
            Err(error) => Err(failure(error)),
        }
    }

    fn write_zeroes(
        &self,
        extent: Extent,
        may_punch: bool,
        only_fast: bool,
    ) -> Result<(), Failure> {
        self.check_sound()?;
        let (first, second) = (FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE);
        let ways = if may_punch { [first, second] } else { [second, second] };
        for way in ways {
            match self.allocate(way, extent) {
                Ok(()) => return Ok(()),
                Err(Errno::OPNOTSUPP) => {}
                Err(error) => return Err(failure(error)),
            }
        }
        if only_fast {
            return Err(Failure::NotSupported);
        }
        self.write_out_zeroes(extent)
    }

    fn allocate(&self, way: FallocateFlags, extent: Extent) -> Result<(), Errno> {
        let flags = way | FallocateFlags::KEEP_SIZE;
        loop {
            match fallocate(&self.file, flags, extent.offset, extent.length.into()) {
                Err(Errno::INTR) => {}
                done => return done,
            }
        }
    }

    fn write_out_zeroes(&self, extent: Extent) -> Result<(), Failure> {
        let (mut at, mut rest) = (extent.offset, u64::from(extent.length));
        while rest > 0 {
            let here = rest.min(ZEROES.bytes.len() as u64);
            let zeroes = ZEROES.bytes.get(..usize::try_from(here).unwrap_or(0));
            self.write_aligned(at, zeroes.ok_or(Failure::Io)?, false)?;
            at += here;
            rest -= here;
        }
        Ok(())
    }

    /// Data and holes from the extent's start on, neighbours that are alike as one run.
    fn status(&self, extent: Extent) -> Result<Vec<Run>, Failure> {
        let end = extent.end().ok_or(Failure::Invalid)?;
        let (mut at, mut runs) = (extent.offset, Vec::new());
        while at < end && runs.len() < RUNS_MAX {
            let (next, is_hole) = self.run_at(at)?;
            let next = next.min(end);
            let length = u32::try_from(next.saturating_sub(at)).map_err(|_too_long| Failure::Io)?;
            if length == 0 {
                return Err(Failure::Io);
            }
            runs.push(Run { length, is_hole, is_zero: is_hole });
            at = next;
        }
        Ok(runs)
    }

    /// Where what begins at `at` ends, and whether it is a hole.
    fn run_at(&self, at: u64) -> Result<(u64, bool), Failure> {
        match seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) if data > at => Ok((data, true)),
            Ok(_) => {
                seek(&self.file, SeekFrom::Hole(at)).map(|hole| (hole, false)).map_err(failure)
            }
            // No data up to the end of the file.
            Err(Errno::NXIO) => Ok((u64::MAX, true)),
            // Nothing is known of holes here.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok((u64::MAX, false)),
            Err(error) => Err(failure(error)),
        }
    }
}

fn failure(error: Errno) -> Failure {
    match error {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Failure::NoSpace,
        Errno::INVAL => Failure::Invalid,
        Errno::PERM | Errno::ROFS => Failure::ReadOnly,
        _other => Failure::Io,
    }
}

fn failure_of(error: &std::io::Error) -> Failure {
    Errno::from_io_error(error).map_or(Failure::Io, failure)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::disk::Abilities;

    fn volume(file: File) -> Volume {
        let device = Device { abilities: Abilities::default(), ..Device::new(1 << 20) };
        Volume::new(file, device)
    }

    fn write(fua: bool) -> Request {
        Request::Write { offset: 0, data: Bytes::from_static(b"data"), fua }
    }

    #[test]
    fn a_full_disk_says_so_and_is_not_broken_by_it() {
        let full = File::options().read(true).write(true).open("/dev/full").unwrap();
        let full = volume(full);
        for fua in [false, true, false] {
            assert_eq!(full.carry_out(write(fua)), Err(Failure::NoSpace));
        }
        let extent = Extent { offset: 0, length: 4 };
        assert_eq!(full.carry_out(Request::Read { extent }).map(|_zeroes| ()), Ok(()));
    }

    #[test]
    fn after_a_sync_that_failed_nothing_is_written_or_called_synced() {
        // Nothing that can be synced.
        let (socket, peer) = UnixStream::pair().unwrap();
        let broken = volume(File::from(OwnedFd::from(socket)));
        assert_eq!(broken.carry_out(Request::Flush), Err(Failure::Io));
        let file = tempfile::tempfile().unwrap();
        let now_sound = Volume { file, ..broken };
        for request in [Request::Flush, write(false), write(true)] {
            assert_eq!(now_sound.carry_out(request), Err(Failure::Io));
        }
        assert_eq!(now_sound.file.metadata().unwrap().len(), 0);
        drop(peer);
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error_and_not_zeroes() {
        let short = volume(tempfile::tempfile().unwrap());
        let extent = Extent { offset: 0, length: 4096 };
        assert_eq!(short.read_cached(extent), None);
        assert_eq!(short.carry_out(Request::Read { extent }), Err(Failure::Io));
    }

    #[test]
    fn data_that_lies_askew_in_memory_is_written_all_the_same() {
        let device = Device { memory_align: 512, ..Device::new(1 << 20) };
        let volume = Volume::new(tempfile::tempfile().unwrap(), device);
        let data = Bytes::from((0..=255).cycle().take(5000).collect::<Vec<u8>>());
        for start in 0..4 {
            let data = data.slice(start..start + 4096);
            let write = Request::Write { offset: 0, data: data.clone(), fua: true };
            assert_eq!(volume.carry_out(write), Ok(Reply::Done));
            let extent = Extent { offset: 0, length: 4096 };
            assert_eq!(volume.carry_out(Request::Read { extent }), Ok(Reply::Data(data)));
        }
    }
}
