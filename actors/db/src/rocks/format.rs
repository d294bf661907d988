//! The file that says in which format a directory is.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::io_failed;
use crate::StoreError;

/// The newest format. One of 1 differs in what it lacks, and becomes one of 2 when it is opened.
const KNOWN: u32 = 2;
const OLDEST: u32 = 1;
const FILE: &str = "FORMAT";
/// What a crash may leave of a file that was being made.
const UNFINISHED: &str = "FORMAT.new";
/// What stands beside it.
const OURS: [&str; 2] = ["log", "state"];
const TEXT_BYTES_MAX: u64 = 16;

/// Says that damage was found while the directory was in use.
const DAMAGED: &str = "DAMAGED";
const DAMAGED_TEXT_BYTES_MAX: u64 = 4096;

/// Keeps other processes out of a directory for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    dir: PathBuf,
}

impl Lock {
    /// Has the next start find what concerns all shards, though it might not meet it: a table is
    /// read only when it is used.
    pub(crate) fn note(&self, error: &StoreError) {
        let StoreError::Damaged { what } = error else { return };
        let path = self.dir.join(DAMAGED);
        let noted = match File::create_new(&path) {
            Ok(mut file) => file.write_all(what.as_bytes()).and_then(|()| file.sync_all()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return,
            Err(error) => Err(error),
        };
        if let Err(error) = noted {
            tracing::error!(%error, path = %path.display(), "damage could not be noted");
        }
    }

    fn found(&self) -> Result<(), StoreError> {
        let failed = |error: &io::Error| io_failed("reading DAMAGED", error);
        let file = match File::open(self.dir.join(DAMAGED)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(&error)),
        };
        let mut what = Vec::new();
        let read = file.take(DAMAGED_TEXT_BYTES_MAX).read_to_end(&mut what);
        read.map_err(|error| failed(&error))?;
        let what = String::from_utf8_lossy(&what);
        Err(StoreError::Damaged { what: format!("as an earlier run found: {what}") })
    }
}

/// Makes sure that this version may use `dir`, and nobody else does. One that is empty or not there
/// gets the file, which is on the disk before anything else is.
pub(super) fn check(dir: &Path) -> Result<Lock, StoreError> {
    fs::create_dir_all(dir).map_err(|error| io_failed("making the directory", &error))?;
    let path = dir.join(FILE);
    if !path.exists() {
        if !is_empty(dir).map_err(|error| io_failed("reading the directory", &error))? {
            return Err(without_file(dir));
        }
        make(dir).map_err(|error| io_failed("writing FORMAT", &error))?;
    }
    let file = File::options().read(true).write(true).open(&path);
    let file = file.map_err(|error| io_failed("opening FORMAT", &error))?;
    let mut lock = Lock { file, dir: dir.to_owned() };
    lock.file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StoreError::Failed {
            what: format!("opening {}", dir.display()),
            why: "it is open already, here or in another process".into(),
        },
        TryLockError::Error(error) => io_failed("locking FORMAT", &error),
    })?;
    let mut text = Vec::new();
    let read = (&mut lock.file).take(TEXT_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|error| io_failed("reading FORMAT", &error))?;
    if judge(&text)? < KNOWN {
        write(&mut lock.file).map_err(|error| io_failed("writing FORMAT", &error))?;
    }
    lock.found()?;
    Ok(lock)
}

/// A directory of something else is left alone, whatever is done with those that are damaged.
fn without_file(dir: &Path) -> StoreError {
    if OURS.iter().any(|name| dir.join(name).is_dir()) {
        return StoreError::Damaged { what: "FORMAT, which is not there,".into() };
    }
    StoreError::Failed {
        what: format!("opening {}", dir.display()),
        why: "there are files in it, and none of a database".into(),
    }
}

fn judge(text: &[u8]) -> Result<u32, StoreError> {
    let number = text
        .strip_suffix(b"\n")
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse::<u32>().ok());
    match number {
        Some(found @ OLDEST..=KNOWN) => Ok(found),
        Some(found) if found > KNOWN => Err(StoreError::Newer { found, known: KNOWN }),
        Some(_) | None => Err(StoreError::Damaged { what: FILE.into() }),
    }
}

fn is_empty(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        // A file system's own directory does not count.
        let name = entry?.file_name();
        if name != UNFINISHED && name != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

fn make(dir: &Path) -> io::Result<()> {
    let unfinished = dir.join(UNFINISHED);
    write(&mut File::create(&unfinished)?)?;
    fs::rename(&unfinished, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

/// All numbers have one digit: whatever happens, the file has the old one or the new one.
fn write(file: &mut File) -> io::Result<()> {
    file.rewind()?;
    writeln!(file, "{KNOWN}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{FILE, KNOWN, UNFINISHED, check};
    use crate::StoreError;

    #[test]
    fn an_empty_directory_gets_the_file_and_is_had_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("made/on/the/way");
        let lock = check(&store).unwrap();
        assert!(matches!(check(&store), Err(StoreError::Failed { .. })));
        drop(lock);
        assert_eq!(fs::read(store.join(FILE)).unwrap(), b"2\n");
        fs::write(store.join("other"), b"").unwrap();
        assert!(check(&store).is_ok());
    }

    #[test]
    fn a_directory_whose_making_was_cut_short_is_made() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(UNFINISHED), b"").unwrap();
        check(dir.path()).unwrap();
    }

    #[test]
    fn a_directory_of_something_else_is_refused_and_not_called_damaged() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("other"), b"").unwrap();
        assert!(matches!(check(dir.path()), Err(StoreError::Failed { .. })));
    }

    #[test]
    fn damage_that_was_noted_is_found_by_every_later_start_and_a_failure_is_not_noted() {
        let dir = tempfile::tempdir().unwrap();
        let lock = check(dir.path()).unwrap();
        lock.note(&StoreError::Failed { what: "it".into(), why: "so".into() });
        drop(lock);
        let lock = check(dir.path()).unwrap();
        lock.note(&StoreError::Damaged { what: "it".into() });
        lock.note(&StoreError::Damaged { what: "another".into() });
        drop(lock);
        let found = StoreError::Damaged { what: "as an earlier run found: it".into() };
        for _ in 0..2 {
            assert_eq!(check(dir.path()).unwrap_err(), found);
        }
    }

    #[test]
    fn an_older_format_becomes_this_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"1\n").unwrap();
        check(dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), b"2\n");
    }

    #[test]
    fn a_newer_format_is_refused_by_its_number() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"7\n").unwrap();
        let newer = StoreError::Newer { found: 7, known: KNOWN };
        assert_eq!(check(dir.path()).unwrap_err(), newer);
    }

    #[test]
    fn a_directory_that_lacks_the_file_or_has_nonsense_in_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        assert!(matches!(check(dir.path()), Err(StoreError::Damaged { .. })));
        for nonsense in [&b""[..], b"1", b"x\n", b"0\n", b"-1\n", b"0000000000000001\n"] {
            fs::write(dir.path().join(FILE), nonsense).unwrap();
            let answer = check(dir.path());
            assert!(matches!(answer, Err(StoreError::Damaged { .. })), "{nonsense:?}: {answer:?}");
        }
    }
}
