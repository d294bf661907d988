//! The file that says in which format a directory is.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use super::io_failed;
use crate::StoreError;

/// The newest format; the only one so far.
const KNOWN: u32 = 1;
const FILE: &str = "FORMAT";
/// What a crash may leave of a file that was being made.
const UNFINISHED: &str = "FORMAT.new";
const TEXT_BYTES_MAX: u64 = 16;

/// Keeps other processes out of a directory for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock(File);

/// Makes sure that this version may use `dir`, and nobody else does. One that is empty or not there
/// gets the file, which is on the disk before anything else is.
pub(super) fn check(dir: &Path) -> Result<Lock, StoreError> {
    fs::create_dir_all(dir).map_err(|error| io_failed("making the directory", &error))?;
    let path = dir.join(FILE);
    if !path.exists() {
        if !is_empty(dir).map_err(|error| io_failed("reading the directory", &error))? {
            return Err(StoreError::Damaged { what: "FORMAT, which is not there,".into() });
        }
        make(dir).map_err(|error| io_failed("writing FORMAT", &error))?;
    }
    let mut lock = Lock(File::open(&path).map_err(|error| io_failed("opening FORMAT", &error))?);
    lock.0.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StoreError::Failed {
            what: format!("opening {}", dir.display()),
            why: "it is open already, here or in another process".into(),
        },
        TryLockError::Error(error) => io_failed("locking FORMAT", &error),
    })?;
    let mut text = Vec::new();
    let read = (&mut lock.0).take(TEXT_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|error| io_failed("reading FORMAT", &error))?;
    judge(&text)?;
    Ok(lock)
}

fn judge(text: &[u8]) -> Result<(), StoreError> {
    let number = text
        .strip_suffix(b"\n")
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse::<u32>().ok());
    match number {
        Some(KNOWN) => Ok(()),
        Some(found) if found > KNOWN => Err(StoreError::Newer { found, known: KNOWN }),
        Some(_) | None => Err(StoreError::Damaged { what: FILE.into() }),
    }
}

fn is_empty(dir: &Path) -> std::io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        // A file system's own directory does not count.
        let name = entry?.file_name();
        if name != UNFINISHED && name != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

fn make(dir: &Path) -> std::io::Result<()> {
    let unfinished = dir.join(UNFINISHED);
    let mut file = File::create(&unfinished)?;
    writeln!(file, "{KNOWN}")?;
    file.sync_all()?;
    fs::rename(&unfinished, dir.join(FILE))?;
    File::open(dir)?.sync_all()
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
        assert_eq!(fs::read(store.join(FILE)).unwrap(), b"1\n");
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
    fn a_newer_format_is_refused_by_its_number() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"7\n").unwrap();
        let newer = StoreError::Newer { found: 7, known: KNOWN };
        assert_eq!(check(dir.path()).unwrap_err(), newer);
    }

    #[test]
    fn a_directory_that_lacks_the_file_or_has_nonsense_in_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("other"), b"").unwrap();
        assert!(matches!(check(dir.path()), Err(StoreError::Damaged { .. })));
        for nonsense in [&b""[..], b"1", b"x\n", b"0\n", b"-1\n", b"0000000000000001\n"] {
            fs::write(dir.path().join(FILE), nonsense).unwrap();
            let answer = check(dir.path());
            assert!(matches!(answer, Err(StoreError::Damaged { .. })), "{nonsense:?}: {answer:?}");
        }
    }
}
