//! What the repository has on its disk.
//!
//! ```text
//! VOLUME/volume           which volume this is, and its losses        two slots
//! VOLUME/note             whether a sync is under way, in which boot  written in place
//! VOLUME/lock             held by whoever serves the volume
//! VOLUME/lus/ID/record    the sessions of an LU                       two slots
//! VOLUME/lus/ID/owner     the last number given to an owner, to whom  two slots
//! VOLUME/lus/ID/data      its bytes, sparse                           held by its I/O
//! ```
//!
//! What has two slots holds one line of JSON in each, with a CRC32C, and is written in place, one
//! slot after the other: after a crash it is the old one or the new one, one damaged slot costs
//! nothing, and with both damaged it is refused, never guessed at. All files but `data` have their
//! room from when they are made: on a full file system only a client's writes to new places fail.
//!
//! Source: redirect protocol, its table of states, and rules 4 and 6.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vioduct_certs::files::{FileError, create_private_dir};
use vioduct_certs::identity::NodeName;

use super::sealed::{self, SealedError};
use crate::lock::lock_file;
use crate::redirect::Epoch;
use crate::redirect::name::{Holder, Identity, LuId, OwnerId};
use crate::redirect::store::{Record, Start};

/// Bytes that an LU may have.
pub const LU_BYTES_MAX: u64 = 1 << 50;

const FORMAT: u32 = 1;
const VOLUME: &str = "volume";
const NOTE: &str = "note";
const LOCK: &str = "lock";
const LUS: &str = "lus";
const RECORD: &str = "record";
const OWNER: &str = "owner";
const DATA: &str = "data";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why a volume is not served, or was not changed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// There is a volume already. Fault: the operator.
    #[error("{} is a volume already", dir.display())]
    Exists {
        /// Where.
        dir: PathBuf,
    },
    /// There is no volume. Fault: the operator.
    #[error("{} is no volume; `Volume::create` makes one", dir.display())]
    Missing {
        /// Where.
        dir: PathBuf,
    },
    /// Another process serves it, or one that died still has I/O in the kernel.
    #[error(
        "{} is in use by another process; it is free when that one's last I/O has ended",
        path.display()
    )]
    InUse {
        /// What is locked.
        path: PathBuf,
    },
    /// There is such an LU already, or was. Fault: the caller.
    #[error("LU {} exists already, or was deleted", lu.0)]
    LuExists {
        /// Which.
        lu: LuId,
    },
    /// There is no such LU, or it was deleted. Fault: the caller.
    #[error("there is no LU {}", lu.0)]
    NoLu {
        /// Which.
        lu: LuId,
    },
    /// An LU has another size than it has to have. Fault: the operator.
    #[error("LU {} has {size} bytes, not {wanted}; it keeps the size that it was made with", lu.0)]
    OtherSize {
        /// Which.
        lu: LuId,
        /// Bytes that it has.
        size: u64,
        /// Bytes that were wanted.
        wanted: u64,
    },
    /// A size that no LU may have. Fault: the operator.
    #[error("an LU of {size} bytes: it must have 1 to {LU_BYTES_MAX}")]
    LuSize {
        /// Bytes.
        size: u64,
    },
    /// A file was made by a later version. Fault: the operator.
    #[error("{} has format {format}; this version reads up to {FORMAT}", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// A file is damaged. Nothing is served until it is restored.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// In which way.
        why: String,
    },
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// In its words.
        source: io::Error,
    },
    /// The system refuses to write.
    #[error(transparent)]
    Write(#[from] FileError),
}

/// Which volume, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct VolumeFile {
    format: u32,
    volume: String,
    losses: u64,
}

/// A record, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct RecordFile {
    format: u32,
    lu: u64,
    owner: u64,
    seq: u64,
    holder: u64,
    settled_volume: String,
    settled_boot: String,
    settled_losses: u64,
    is_clean: bool,
    is_deleted: bool,
    size: u64,
}

impl RecordFile {
    fn new(LuId(lu): LuId, record: &Record) -> Self {
        let Epoch { owner: OwnerId(owner), seq } = record.highest;
        let Identity { volume, boot, losses } = record.settled;
        Self {
            format: FORMAT,
            lu,
            owner,
            seq,
            holder: record.holder.0,
            settled_volume: hex(volume),
            settled_boot: hex(boot),
            settled_losses: losses,
            is_clean: record.is_clean,
            is_deleted: record.is_deleted,
            size: record.size,
        }
    }

    fn record(&self) -> Option<Record> {
        let settled = Identity {
            volume: unhex(&self.settled_volume)?,
            boot: unhex(&self.settled_boot)?,
            losses: self.settled_losses,
        };
        Some(Record {
            highest: Epoch { owner: OwnerId(self.owner), seq: self.seq },
            holder: Holder(self.holder),
            settled,
            is_clean: self.is_clean,
            is_deleted: self.is_deleted,
            size: self.size,
        })
    }
}

/// The last number that was given to an owner of an LU, and to whom, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct OwnerFile {
    format: u32,
    lu: u64,
    owner: u64,
    #[serde(default)]
    user: Option<LuUser>,
    /// Tells the LU from another one of its number; 0 if it was made as a file said.
    #[serde(default)]
    birth: u64,
}

/// For whom an LU is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LuUser {
    /// The node that carries its disk.
    pub node: NodeName,
    /// The client partition, if it is known.
    pub client: Option<String>,
}

/// What was given of an LU's numbers last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastOwner {
    /// The number; 0 for none.
    pub owner: OwnerId,
    /// To whom.
    pub user: Option<LuUser>,
}

/// A volume that this process serves, and no other.
#[derive(Debug)]
pub struct Volume {
    dir: PathBuf,
    /// Held while a number for an owner is drawn.
    drawing: Mutex<()>,
    boot: u128,
    note: File,
    _lock: File,
}

/// What a volume held when it was opened.
#[derive(Debug)]
pub struct Opened {
    /// The volume.
    pub volume: Volume,
    /// How the store begins.
    pub start: Start,
    /// The record of each LU, deleted ones too.
    pub records: BTreeMap<LuId, Record>,
}

impl Volume {
    /// Makes an empty volume in `dir`, which is made if it is new. `number` tells it from every
    /// other: draw it at random.
    ///
    /// # Errors
    /// [`VolumeError::Exists`], or the system refuses.
    pub fn create(dir: &Path, number: u128) -> Result<(), VolumeError> {
        if dir.join(VOLUME).exists() {
            return Err(VolumeError::Exists { dir: dir.to_owned() });
        }
        create_private_dir(dir)?;
        create_private_dir(&dir.join(LUS))?;
        // Last: it is a volume once this is there.
        let file = VolumeFile { format: FORMAT, volume: hex(number), losses: 0 };
        create(&dir.join(VOLUME), &file)
    }

    /// Takes the volume in `dir` for this process. `seed` is drawn at random for each start.
    ///
    /// # Errors
    /// [`VolumeError`]; nothing was changed, but slots that were not whole may be again.
    pub fn open(dir: &Path, seed: u64) -> Result<Opened, VolumeError> {
        let path = dir.join(VOLUME);
        if !path.exists() {
            return Err(VolumeError::Missing { dir: dir.to_owned() });
        }
        let lock = locked(&dir.join(LOCK))?;
        let file: VolumeFile = read(&path)?;
        check_format(&path, file.format)?;
        let damaged = || damage(&path, "it names no volume");
        let volume = unhex(&file.volume).ok_or_else(damaged)?;
        let boot = boot_id()?;
        let (note, was_syncing) = open_note(&dir.join(NOTE), boot)?;
        let identity = Identity { volume, boot, losses: file.losses };
        let records = records(&dir.join(LUS))?;
        let drawing = Mutex::default();
        let volume = Self { dir: dir.to_owned(), drawing, boot, note, _lock: lock };
        Ok(Opened { volume, start: Start { identity, was_syncing, seed }, records })
    }

    /// Makes a new LU of `size` bytes, all zero, whose sessions must be above `floor`. `birth`
    /// tells it from another one of its number. When this returns, it is on stable media.
    ///
    /// # Errors
    /// [`VolumeError::LuExists`], [`VolumeError::LuSize`], or the system refuses; there is no such
    /// LU then.
    pub fn create_lu(
        &self,
        lu: LuId,
        size: u64,
        identity: Identity,
        floor: Epoch,
        birth: u64,
    ) -> Result<Record, VolumeError> {
        if !(1..=LU_BYTES_MAX).contains(&size) {
            return Err(VolumeError::LuSize { size });
        }
        let dir = self.lu_dir(lu);
        let path = dir.join(RECORD);
        let is_there = path.try_exists();
        if is_there.map_err(|source| VolumeError::Io { path, source })? {
            return Err(VolumeError::LuExists { lu });
        }
        create_private_dir(&dir)?;
        let path = dir.join(DATA);
        let data = File::create(&path).and_then(|file| {
            file.set_len(size)?;
            file.sync_all()
        });
        data.map_err(|source| VolumeError::Io { path, source })?;
        sync_dir(&self.dir.join(LUS))?;
        let nobody = OwnerFile { format: FORMAT, lu: lu.0, owner: 0, user: None, birth };
        create(&dir.join(OWNER), &nobody)?;
        // Last: it is an LU once this is there.
        let record = Record::new(size, identity, floor);
        create(&dir.join(RECORD), &RecordFile::new(lu, &record))?;
        Ok(record)
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where an LU's bytes are.
    #[must_use]
    pub fn data(&self, lu: LuId) -> PathBuf {
        self.lu_dir(lu).join(DATA)
    }

    fn lu_dir(&self, LuId(lu): LuId) -> PathBuf {
        self.dir.join(LUS).join(lu.to_string())
    }

    /// Stores the record of an LU, one at a time. When this returns, it is on stable media.
    ///
    /// # Errors
    /// The system refuses: the old one or the new one is there.
    pub fn store_record(&self, lu: LuId, record: &Record) -> Result<(), VolumeError> {
        write(&self.lu_dir(lu).join(RECORD), &RecordFile::new(lu, record))
    }

    /// Makes room in the file of an LU's bytes, all zero, for a larger size. When this returns,
    /// that is on stable media. How much of it is the LU's, its record says: that is stored
    /// afterwards.
    ///
    /// # Errors
    /// [`VolumeError::LuSize`], or the system refuses; the LU is as before.
    pub fn grow_data(&self, lu: LuId, size: u64) -> Result<(), VolumeError> {
        if !(1..=LU_BYTES_MAX).contains(&size) {
            return Err(VolumeError::LuSize { size });
        }
        let path = self.data(lu);
        let grown = File::options().write(true).open(&path).and_then(|file| {
            // A start that was cut off before the record was stored may have made more of it.
            file.set_len(size.max(file.metadata()?.len()))?;
            file.sync_all()
        });
        grown.map_err(|source| VolumeError::Io { path, source })
    }

    /// Takes away what was left of the making of an LU. Never that of one which is served.
    ///
    /// # Errors
    /// The system refuses.
    pub fn discard(&self, lu: LuId) -> Result<(), VolumeError> {
        let dir = self.lu_dir(lu);
        // First: without it there is no LU.
        for path in [dir.join(RECORD), dir.join(OWNER), dir.join(DATA)] {
            remove(&path)?;
        }
        match fs::remove_dir_all(&dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(VolumeError::Io { path: dir, source })
            }
            Ok(()) | Err(_) => sync_dir(&self.dir.join(LUS)),
        }
    }

    /// What tells an LU from another one of its number.
    ///
    /// # Errors
    /// The file is damaged, or the system refuses.
    pub fn birth(&self, lu: LuId) -> Result<u64, VolumeError> {
        let _drawing = self.drawing.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(owner_file(&self.lu_dir(lu).join(OWNER), lu)?.birth)
    }

    /// The number that was drawn last for an owner of an LU.
    ///
    /// # Errors
    /// The file is damaged, or the system refuses.
    pub fn last_owner(&self, lu: LuId) -> Result<LastOwner, VolumeError> {
        let _drawing = self.drawing.lock().unwrap_or_else(PoisonError::into_inner);
        let file = owner_file(&self.lu_dir(lu).join(OWNER), lu)?;
        Ok(LastOwner { owner: OwnerId(file.owner), user: file.user })
    }

    /// Draws a number for a new owner of an LU: above each that was drawn before, and above `used`,
    /// the highest one that has opened a session. When this returns, that is on stable media.
    /// `None` if `last` is not the last one any more.
    ///
    /// # Errors
    /// The file is damaged, or the system refuses; the number before may be left out then.
    pub fn next_owner(
        &self,
        lu: LuId,
        used: OwnerId,
        last: &LastOwner,
        user: LuUser,
    ) -> Result<Option<OwnerId>, VolumeError> {
        let _drawing = self.drawing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.lu_dir(lu).join(OWNER);
        let file = owner_file(&path, lu)?;
        if (file.owner, &file.user) != (last.owner.0, &last.user) {
            return Ok(None);
        }
        let above = last.owner.max(used).0;
        let owner = above.checked_add(1).ok_or_else(|| damage(&path, "no number is left"))?;
        write(&path, &OwnerFile { owner, user: Some(user), ..file })?;
        Ok(Some(OwnerId(owner)))
    }

    /// Stores the volume's identity, one at a time. When this returns, it is on stable media.
    ///
    /// # Errors
    /// The system refuses: the old one or the new one is there.
    pub fn store_identity(&self, identity: Identity) -> Result<(), VolumeError> {
        let Identity { volume, losses, .. } = identity;
        let file = VolumeFile { format: FORMAT, volume: hex(volume), losses };
        write(&self.dir.join(VOLUME), &file)
    }

    /// Notes whether a sync is under way. It outlives this process, but not the host's boot.
    ///
    /// # Errors
    /// The system refuses.
    pub fn note(&self, is_syncing: bool) -> Result<(), VolumeError> {
        let path = || self.dir.join(NOTE);
        let written = self.note.write_all_at(&note(self.boot, is_syncing), 0);
        written.map_err(|source| VolumeError::Io { path: path(), source })
    }

    /// Gives the room of a deleted LU back.
    ///
    /// # Errors
    /// The system refuses.
    pub fn free(&self, lu: LuId) -> Result<(), VolumeError> {
        remove(&self.data(lu))
    }
}

/// Takes a file away, if it is there.
fn remove(path: &Path) -> Result<(), VolumeError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(VolumeError::Io { path: path.to_owned(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Takes the lock, which the process has until its last I/O has ended.
fn locked(path: &Path) -> Result<File, VolumeError> {
    let io = |source| VolumeError::Io { path: path.to_owned(), source };
    let in_use = || VolumeError::InUse { path: path.to_owned() };
    lock_file(path).map_err(io)?.ok_or_else(in_use)
}

/// The boot, and whether a sync is under way in it.
fn note(boot: u128, is_syncing: bool) -> [u8; 17] {
    let mut bytes = [u8::from(is_syncing); 17];
    for (byte, of_boot) in bytes.iter_mut().zip(boot.to_le_bytes()) {
        *byte = of_boot;
    }
    bytes
}

fn open_note(path: &Path, boot: u128) -> Result<(File, bool), VolumeError> {
    let io = |source| VolumeError::Io { path: path.to_owned(), source };
    let mut options = File::options();
    let options = options.create(true).truncate(false).read(true).write(true);
    let file = options.open(path).map_err(io)?;
    let mut found = [0; 17];
    let was_syncing = match file.read_exact_at(&mut found, 0) {
        Ok(()) => found == note(boot, true),
        // New.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
        Err(error) => return Err(io(error)),
    };
    if !was_syncing {
        // Now, so that no note needs room later.
        file.write_all_at(&note(boot, false), 0).map_err(io)?;
    }
    Ok((file, was_syncing))
}

fn records(dir: &Path) -> Result<BTreeMap<LuId, Record>, VolumeError> {
    let io = |source| VolumeError::Io { path: dir.to_owned(), source };
    let mut records = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(lu) = name.and_then(|name| name.parse().ok()).map(LuId) else {
            return Err(damage(&path, "its name is no LU's number"));
        };
        let path = path.join(RECORD);
        if path.try_exists().map_err(io)? {
            records.insert(lu, record(&path, lu)?);
        }
        // Else its creation was cut off.
    }
    Ok(records)
}

fn record(path: &Path, lu: LuId) -> Result<Record, VolumeError> {
    let file: RecordFile = read(path)?;
    check_format(path, file.format)?;
    if file.lu != lu.0 {
        return Err(damage(path, "it is the record of another LU"));
    }
    file.record().ok_or_else(|| damage(path, "it names no volume"))
}

fn owner_file(path: &Path, lu: LuId) -> Result<OwnerFile, VolumeError> {
    let file: OwnerFile = read(path)?;
    check_format(path, file.format)?;
    if file.lu != lu.0 {
        return Err(damage(path, "it is the owner's number of another LU"));
    }
    Ok(file)
}

fn create<T: Serialize>(path: &Path, value: &T) -> Result<(), VolumeError> {
    sealed::create(path, value).map_err(|error| of_sealed(path, error))
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), VolumeError> {
    sealed::write(path, value).map_err(|error| of_sealed(path, error))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, VolumeError> {
    sealed::read(path).map_err(|error| of_sealed(path, error))
}

fn of_sealed(path: &Path, error: SealedError) -> VolumeError {
    match error {
        SealedError::Io(source) => VolumeError::Io { path: path.to_owned(), source },
        SealedError::Create(error) => error.into(),
        error @ (SealedError::Damaged | SealedError::Form(_)) => damage(path, &error.to_string()),
        error @ (SealedError::Long | SealedError::Serial) => {
            VolumeError::Io { path: path.to_owned(), source: io::Error::other(error) }
        }
    }
}

fn check_format(path: &Path, format: u32) -> Result<(), VolumeError> {
    match format {
        FORMAT => Ok(()),
        format => Err(VolumeError::Newer { path: path.to_owned(), format }),
    }
}

fn damage(path: &Path, why: &str) -> VolumeError {
    VolumeError::Damaged { path: path.to_owned(), why: why.to_owned() }
}

fn sync_dir(path: &Path) -> Result<(), VolumeError> {
    let synced = File::open(path).and_then(|dir| dir.sync_all());
    synced.map_err(|source| VolumeError::Io { path: path.to_owned(), source })
}

fn boot_id() -> Result<u128, VolumeError> {
    let path = Path::new(BOOT_ID);
    let text = fs::read_to_string(path);
    let text = text.map_err(|source| VolumeError::Io { path: path.to_owned(), source })?;
    unhex(&text.trim().replace('-', "")).ok_or_else(|| damage(path, "it is no UUID"))
}

fn hex(number: u128) -> String {
    format!("{number:032x}")
}

fn unhex(text: &str) -> Option<u128> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|_| is_hex)
}

#[cfg(test)]
#[path = "volume_tests.rs"]
mod tests;
