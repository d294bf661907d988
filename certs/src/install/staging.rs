//! The steps of an installation, as values: whoever stops after any of them stops where a process
//! that is killed would.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::request::{NEW_KEY_FILE, REQUEST_FILE};
use crate::credentials::{CERT_FILE, CRL_FILE, KEY_FILE, ROOTS_FILE};
use crate::files::{FileError, PUBLIC_MODE, write_atomic};

/// File of a certificate that waits to be put in place. While it is there, the installation that
/// wrote it is committed and not at its end.
pub(super) const NEW_CERT_FILE: &str = "node.crt.new";
/// File of roots that wait to be put in place.
pub(super) const NEW_ROOTS_FILE: &str = "ca.crt.new";
/// File of revocation lists that wait to be put in place.
pub(super) const NEW_CRL_FILE: &str = "ca.crl.new";

/// One change of the directory, whole or absent after a crash.
#[derive(Debug)]
pub(super) enum Step {
    /// Write a public file.
    Write { file: &'static str, bytes: Vec<u8> },
    /// Let a file take another's place. Needs no space on the disk.
    Rename { from: &'static str, to: &'static str },
    /// Remove a file, if it is there.
    Remove { file: &'static str },
}

impl Step {
    pub(super) fn perform(&self, dir: &Path) -> Result<(), FileError> {
        match self {
            Self::Write { file, bytes } => write_atomic(&dir.join(file), bytes, PUBLIC_MODE),
            Self::Rename { from, to } => {
                let path = dir.join(to);
                flushed(dir, fs::rename(dir.join(from), &path))
                    .map_err(|source| FileError::Write { path, source })
            }
            Self::Remove { file } => {
                let path = dir.join(file);
                match flushed(dir, fs::remove_file(&path)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    result => result.map_err(|source| FileError::Write { path, source }),
                }
            }
        }
    }
}

/// The next step must not reach the disk before this one.
fn flushed(dir: &Path, result: io::Result<()>) -> io::Result<()> {
    result?;
    File::open(dir)?.sync_all()
}

/// What an installation changes; `None` stays as it is.
#[derive(Debug)]
pub(super) struct Change {
    /// Whether the key that waits takes the installed one's place.
    pub(super) key: bool,
    /// Whether no other key waits: a request that is left answers to none.
    pub(super) is_answered: bool,
    pub(super) roots: Option<Vec<u8>>,
    pub(super) crls: Option<Vec<u8>>,
    pub(super) cert: Option<Vec<u8>>,
}

impl Change {
    /// Steps that put what is staged in place, and end with the commit mark.
    ///
    /// The key goes first: until the certificate follows, the set is visibly not whole, so nobody
    /// takes new trust with an old certificate for an installation that has ended.
    pub(super) fn apply(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.key {
            steps.push(Step::Rename { from: NEW_KEY_FILE, to: KEY_FILE });
        }
        let place = |is_new, from, to| match is_new {
            true => Step::Rename { from, to },
            false => Step::Remove { file: from },
        };
        steps.push(place(self.roots.is_some(), NEW_ROOTS_FILE, ROOTS_FILE));
        steps.push(place(self.crls.is_some(), NEW_CRL_FILE, CRL_FILE));
        if self.key || self.is_answered {
            // Left behind, it would stand in the way of the next request.
            steps.push(Step::Remove { file: REQUEST_FILE });
        }
        steps.push(place(self.cert.is_some(), NEW_CERT_FILE, CERT_FILE));
        steps
    }

    /// All steps of a new installation. `cert` is the certificate after it, changed or not.
    pub(super) fn plan(self, cert: Vec<u8>) -> Plan {
        let staged = [NEW_CERT_FILE, NEW_ROOTS_FILE, NEW_CRL_FILE];
        // The mark first: what an earlier installation left must not be taken for part of this one.
        let mut stage: Vec<Step> = staged.map(|file| Step::Remove { file }).into();
        let changed = [self.roots.is_some(), self.crls.is_some(), self.cert.is_some()];
        let count = changed.iter().filter(|is_new| **is_new).count();
        if !self.key && count <= 1 {
            // One file is replaced whole without any help.
            let files = [(ROOTS_FILE, self.roots), (CRL_FILE, self.crls), (CERT_FILE, self.cert)];
            let write =
                |(file, bytes): (_, Option<_>)| bytes.map(|bytes| Step::Write { file, bytes });
            stage.extend(files.into_iter().filter_map(write));
            return Plan { stage, apply: Vec::new() };
        }
        let apply = self.apply();
        for (file, bytes) in [(NEW_ROOTS_FILE, self.roots), (NEW_CRL_FILE, self.crls)] {
            stage.extend(bytes.map(|bytes| Step::Write { file, bytes }));
        }
        stage.push(Step::Write { file: NEW_CERT_FILE, bytes: cert });
        Plan { stage, apply }
    }
}

/// The steps of an installation, in their order.
#[derive(Debug)]
pub(super) struct Plan {
    /// Up to and with the commit.
    pub(super) stage: Vec<Step>,
    /// After the commit.
    pub(super) apply: Vec<Step>,
}

/// Drops what an installation staged that was not committed, or is of no use any more.
pub(super) fn drop_staged(dir: &Path) -> Result<(), FileError> {
    // The mark first, as in a new installation.
    [NEW_CERT_FILE, NEW_ROOTS_FILE, NEW_CRL_FILE]
        .into_iter()
        .try_for_each(|file| Step::Remove { file }.perform(dir))
}
