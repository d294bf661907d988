//! RocksDB's write-ahead logs, looked at before RocksDB replays them.
//!
//! A loss of power may leave the end of the newest log torn: a record of which a part is missing.
//! That is no damage, and has to be cut. RocksDB cannot tell the two apart. It takes a flipped bit
//! in the length of a record of the last block for a torn end, and drops what stands behind it; it
//! passes over zeros up to the end of their block without a word, and goes on with the next; and a
//! torn record whose bytes are wrong instead of missing keeps it from starting. So the logs are
//! read here first. The first record that is not whole is a torn end if nothing whole comes after
//! it, and is cut off; otherwise the log is damaged, as it is where a record is missing between two
//! whole ones. RocksDB then replays in its strictest mode.
//!
//! A damaged last record still looks like a torn one. That it was synced is known from the mark.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::scan::{BLOCK_BYTES, Gap, Scan};
use crate::StoreError;
use crate::rocks::io_failed;

/// Cuts a torn record off the end of the logs in `dir`, which nobody has open.
pub(super) fn cut_torn_end(dir: &Path) -> Result<(), StoreError> {
    let failed = |error: io::Error| io_failed("reading the write-ahead log", &error);
    let mut scan = Scan::default();
    let mut cuts = Vec::new();
    let mut block = vec![0; BLOCK_BYTES];
    for path in logs_in_order(dir).map_err(failed)? {
        let mut file = File::open(&path).map_err(failed)?;
        let damaged = |Gap| StoreError::Damaged { what: format!("log {}", path.display()) };
        scan.begin_log();
        loop {
            let filled = fill(&mut file, &mut block).map_err(failed)?;
            scan.take(block.get(..filled).unwrap_or_default()).map_err(damaged)?;
            if filled < BLOCK_BYTES {
                break;
            }
        }
        if let Some(offset) = scan.end_log() {
            cuts.push((path, offset));
        }
    }
    for (path, offset) in cuts {
        tracing::info!(path = %path.display(), offset, "a torn end is cut off");
        cut(&path, offset).map_err(failed)?;
    }
    Ok(())
}

fn cut(path: &Path, offset: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(offset)?;
    file.sync_all()
}

fn logs_in_order(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        let ending = path.extension().and_then(|ending| ending.to_str());
        if let (Some(number), Some("log")) = (number, ending) {
            logs.push((number, path));
        }
    }
    logs.sort();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

fn fill(file: &mut File, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0_usize;
    while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => filled = filled.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
