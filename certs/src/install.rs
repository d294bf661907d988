//! The host's side of a signing request: a key that never leaves, and the certificate for it.
//!
//! A new key waits in `node.key.new` until its certificate is there, so a running node keeps a pair
//! that fits. Whoever changes the directory holds a lock on it, the file `.lock`.
//!
//! An installation that changes one file replaces it. One that changes more goes through these
//! steps; each is on the disk before the next begins:
//!
//! | step | file | after a crash here, [`finish`] |
//! |---|---|---|
//! | staged | `ca.crt.new` and `ca.crl.new`, as far as they change | drops them |
//! | **committed** | `node.crt.new`, the certificate after it, changed or not | see below |
//! | put in place | `node.key.new` becomes `node.key`, if the certificate is for it | goes on |
//! | | `ca.crt.new` becomes `ca.crt`, `ca.crl.new` becomes `ca.crl` | goes on |
//! | ended | `node.crt.new` becomes `node.crt`, or is removed | has nothing to do |
//!
//! What comes after the commit renames and removes, so a full disk does not stop it. Right after
//! the commit, with nothing in place yet, the old set is still whole: if it works, what waits is
//! dropped, because somebody may have rotated by hand since; if not, it is put in place. Only where
//! neither key nor roots change can that moment not be told from later ones; then what waits goes
//! in place as well.

use std::io;
use std::path::{Path, PathBuf};

use rustls::crypto::KeyProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use zeroize::Zeroizing;

use crate::ca_dir::DirLock;
use crate::credentials::{
    CERT_FILE, CRL_FILE, Credentials, KEY_FILE, LoadError, Parts, ROOTS_FILE, items,
};
use crate::crl::{self, Crl, Root};
use crate::files::{FileError, read_key, read_public};
use crate::identity::Identity;
use crate::leaf::Leaf;
use crate::provider::provider;
use crate::serial::Serial;
use crate::trust::{CERTIFICATE, REVOCATION_LIST, blocks, lists_to_keep};

mod request;
mod staging;

pub use request::{NEW_KEY_FILE, REQUEST_FILE, make_request, pending_request};
use staging::{Change, NEW_CERT_FILE, NEW_CRL_FILE, NEW_ROOTS_FILE, Plan, drop_staged};

const FILE_MAX: u64 = 12 << 20;

/// Why a request was not made or a certificate not installed. What was installed before stays,
/// unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file can't be read or written, or exists already.
    #[error(transparent)]
    File(#[from] FileError),
    /// The files together are no usable credentials.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Another command, or the node itself, is at work in the directory.
    #[error("{} is in use by another installation; try again when it has ended", dir.display())]
    Busy {
        /// The certificate directory.
        dir: PathBuf,
    },
    /// The installation is committed but not at its end: old and new files stand side by side.
    /// [`finish`] or the next [`install`] goes on with it.
    #[error("installation cut off; the next start of the node, or the next install, goes on")]
    CutOff(#[source] FileError),
    /// Neither key in the directory belongs to the certificate.
    #[error(
        "no key in the directory belongs to the certificate; \
         install it where `vioduct cert request` was run"
    )]
    NoKey,
    /// The certificate is for somebody else than the installed one.
    #[error("{installed} is installed here and {offered} was offered; add --force if you mean it")]
    OtherHolder {
        /// Who holds the installed certificate.
        installed: Box<Identity>,
        /// Who the offered one is for.
        offered: Box<Identity>,
    },
    /// The key that waits for its certificate is not one. Fault: whoever wrote the file, or disk.
    #[error(
        "{} is no private key; make a new one with `vioduct cert request --force`",
        path.display()
    )]
    DamagedKey {
        /// The key's file.
        path: PathBuf,
    },
    /// The certificate library refused. Fault: ours.
    #[error("key or request could not be made")]
    Library(#[from] rcgen::Error),
}

/// What to install, PEM. What is `None` stays as it is in the directory, but for the revocation
/// lists of roots that go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Installation<'a> {
    /// The leaf certificate.
    pub cert: Option<&'a [u8]>,
    /// The trusted roots.
    pub roots: Option<&'a [u8]>,
    /// The revocation lists. Those of other trusted roots stay.
    pub crls: Option<&'a [u8]>,
    /// Whether the certificate may be for somebody else than the installed one.
    pub change_holder: bool,
}

/// What an installation did.
#[derive(Debug, Clone)]
pub struct Installed {
    /// What the directory holds now.
    pub credentials: Credentials,
    /// The certificate that was replaced, if there was another.
    pub replaced: Option<Serial>,
}

/// Checks `new` together with what `dir` holds, then writes it there.
///
/// Files that would stay the same are left alone. An earlier installation that was cut off is ended
/// first.
///
/// # Errors
/// The result would be refused by [`Credentials::load`]; a revocation list would get older; the
/// certificate changes hands; or another installation is under way. Nothing is written then, but
/// for [`InstallError::CutOff`].
pub fn install(
    dir: &Path,
    new: &Installation<'_>,
    now: UnixTime,
) -> Result<Installed, InstallError> {
    let _lock = lock(dir)?;
    // One that can't be ended is superseded by a set that passes all checks.
    if let Ok(Waiting::Goes(ready)) = waiting(dir, now) {
        ready.perform(dir)?;
    }
    prepare(dir, new, now)?.perform(dir)
}

/// Ends an installation that was cut off, or drops what is left of one that is of no use any more.
///
/// `None` when the installed set is to stay. Without an installation that was cut off, nothing is
/// written.
///
/// # Errors
/// As [`install`]: what waits is no good, for instance because it has expired, and nor is what is
/// installed.
pub fn finish(dir: &Path, now: UnixTime) -> Result<Option<Installed>, InstallError> {
    if matches!(waiting(dir, now), Ok(Waiting::Nothing)) {
        return Ok(None);
    }
    let _lock = lock(dir)?;
    match waiting(dir, now)? {
        Waiting::Nothing => Ok(None),
        Waiting::Useless => {
            drop_staged(dir)?;
            Ok(None)
        }
        Waiting::Goes(ready) => ready.perform(dir).map(Some),
    }
}

/// What `dir` will hold after [`finish`], if that has an installation to go on with.
///
/// Writes nothing.
///
/// # Errors
/// As [`finish`], less its writing.
pub fn pending(dir: &Path, now: UnixTime) -> Result<Option<Credentials>, InstallError> {
    Ok(match waiting(dir, now)? {
        Waiting::Goes(ready) => Some(ready.installed.credentials),
        Waiting::Nothing | Waiting::Useless => None,
    })
}

/// What is left of an earlier installation.
enum Waiting {
    Nothing,
    /// It never began, or the directory has moved on.
    Useless,
    Goes(Box<Ready>),
}

fn waiting(dir: &Path, now: UnixTime) -> Result<Waiting, InstallError> {
    let read = |file| if_there(read_public(&dir.join(file), FILE_MAX));
    let (cert, roots, crls) = (read(NEW_CERT_FILE)?, read(NEW_ROOTS_FILE)?, read(NEW_CRL_FILE)?);
    let Some(cert) = cert else {
        let is_clean = roots.is_none() && crls.is_none();
        return Ok(if is_clean { Waiting::Nothing } else { Waiting::Useless });
    };
    let key = if_there(read_key(&dir.join(KEY_FILE), FILE_MAX))?;
    // New roots are the first to go where the key stays.
    let is_begun = roots.is_none() && key.is_some_and(|key| belongs(&key, &cert));
    let works = Credentials::load(dir, now).is_ok();
    if works && !is_begun {
        return Ok(Waiting::Useless);
    }
    let staged = Installation {
        cert: Some(&cert),
        roots: roots.as_deref(),
        crls: crls.as_deref(),
        // That was asked before it was staged.
        change_holder: true,
    };
    match prepare_change(dir, &staged, now) {
        Ok((change, installed)) => {
            let plan = Plan { stage: Vec::new(), apply: change.apply() };
            Ok(Waiting::Goes(Box::new(Ready { installed, plan })))
        }
        Err(_superseded) if works => Ok(Waiting::Useless),
        // Whoever loads the set says better what is wrong with it.
        Err(_error) if Parts::read(dir).and_then(Credentials::unchecked).is_ok() => {
            Ok(Waiting::Nothing)
        }
        Err(error) => Err(error),
    }
}

/// An installation that passed all checks.
#[derive(Debug)]
struct Ready {
    installed: Installed,
    plan: Plan,
}

impl Ready {
    fn perform(self, dir: &Path) -> Result<Installed, InstallError> {
        let Plan { stage, apply } = self.plan;
        if let Err(error) = stage.iter().try_for_each(|step| step.perform(dir)) {
            // What can't be removed now is dropped by whoever comes next.
            drop_staged(dir).ok();
            return Err(error.into());
        }
        apply.iter().try_for_each(|step| step.perform(dir)).map_err(InstallError::CutOff)?;
        Ok(self.installed)
    }
}

fn prepare(dir: &Path, new: &Installation<'_>, now: UnixTime) -> Result<Ready, InstallError> {
    let (change, installed) = prepare_change(dir, new, now)?;
    let cert = match &change.cert {
        Some(cert) => cert.clone(),
        None => read_public(&dir.join(CERT_FILE), FILE_MAX)?,
    };
    Ok(Ready { installed, plan: change.plan(cert) })
}

fn prepare_change(
    dir: &Path,
    new: &Installation<'_>,
    now: UnixTime,
) -> Result<(Change, Installed), InstallError> {
    let absent = |file: &str| FileError::Read {
        path: dir.join(file),
        source: io::ErrorKind::NotFound.into(),
    };
    let held = |file| if_there(read_public(&dir.join(file), FILE_MAX));
    let (old_cert, old_roots, old_crls) = (held(CERT_FILE)?, held(ROOTS_FILE)?, held(CRL_FILE)?);
    let given = |file, given: Option<&[u8]>, old: &Option<Vec<u8>>| match given {
        Some(bytes) => Ok(bytes.to_vec()),
        None => old.clone().ok_or_else(|| absent(file)),
    };
    let cert = given(CERT_FILE, new.cert, &old_cert)?;
    let roots = given(ROOTS_FILE, new.roots, &old_roots)?;
    if new.crls.is_none() && old_crls.is_none() {
        return Err(absent(CRL_FILE).into());
    }
    let installed_crls = old_crls.as_deref().unwrap_or_default();
    let crls = lists_to_keep(&roots, new.crls.unwrap_or_default(), installed_crls);
    let (key, key_is_new) = matching_key(dir, &cert)?;
    let credentials = Credentials::from_parts(Parts::from_pem(&cert, &key, &roots, &crls)?, now)?;

    // Read by itself: the installed key may not fit, or the lists may be too old.
    let old_leaf = old_cert.as_deref().and_then(leaf);
    if let Some(Ok(installed)) = old_leaf.as_ref().map(|leaf| &leaf.identity) {
        let offered = credentials.identity();
        if !installed.is_same_holder(offered) && !new.change_holder {
            return Err(InstallError::OtherHolder {
                installed: Box::new(installed.clone()),
                offered: Box::new(offered.clone()),
            });
        }
    }
    refuse_older_lists(installed_crls, &roots, &crls)?;

    let replaced = old_leaf.map(|leaf| leaf.serial).filter(|old| *old != credentials.serial());
    let changed = |new: Vec<u8>, old: Option<Vec<u8>>| (old.as_ref() != Some(&new)).then_some(new);
    let change = Change {
        key: key_is_new,
        is_answered: if_there(read_key(&dir.join(NEW_KEY_FILE), FILE_MAX))?.is_none(),
        roots: changed(roots, old_roots),
        crls: changed(crls, old_crls),
        cert: changed(cert, old_cert),
    };
    Ok((change, Installed { credentials, replaced }))
}

/// The certificate in a PEM text, if it is one of ours.
fn leaf(pem: &[u8]) -> Option<Leaf> {
    Leaf::parse(&CertificateDer::from_pem_slice(pem).ok()?).ok()
}

/// Refuses `offered` when it holds an older list than `installed` of one of the roots. Damaged
/// lists, and those of other roots, are passed over in `installed`.
fn refuse_older_lists(installed: &[u8], roots: &[u8], offered: &[u8]) -> Result<(), LoadError> {
    let roots: Vec<Root> =
        CertificateDer::pem_slice_iter(roots).flatten().map(|der| Root { der }).collect();
    let offered = crl::check_bundle(&roots, items(CRL_FILE, offered, roots.len())?)?;
    for der in CertificateRevocationListDer::pem_slice_iter(installed).flatten() {
        if let Ok(held) = Crl::check(der, &roots) {
            crl::refuse_older(&[held], &offered)?;
        }
    }
    Ok(())
}

/// What came back for a signing request: PEM, of which other text and other items are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The certificate; with anything but one in it, [`install`] refuses.
    pub cert: String,
    /// Revocation lists, when there are any.
    pub crls: Option<String>,
}

impl Answer {
    /// Takes an answer apart; `None` when there is no certificate in it.
    #[must_use]
    pub fn parse(pem: &[u8]) -> Option<Self> {
        let cert = blocks(pem, CERTIFICATE).concat();
        let crls = blocks(pem, REVOCATION_LIST).concat();
        let crls = (!crls.is_empty()).then_some(crls);
        (!cert.is_empty()).then_some(Self { cert, crls })
    }

    /// As something to install.
    #[must_use]
    pub fn installation(&self) -> Installation<'_> {
        Installation {
            cert: Some(self.cert.as_bytes()),
            crls: self.crls.as_deref().map(str::as_bytes),
            ..Installation::default()
        }
    }
}

/// The key in `dir` that belongs to `cert`, and whether it is the one that waited for it.
fn matching_key(dir: &Path, cert: &[u8]) -> Result<(Zeroizing<Vec<u8>>, bool), InstallError> {
    for (file, is_new) in [(NEW_KEY_FILE, true), (KEY_FILE, false)] {
        match if_there(read_key(&dir.join(file), FILE_MAX))? {
            Some(key) if belongs(&key, cert) => return Ok((key, is_new)),
            Some(_) | None => {}
        }
    }
    Err(InstallError::NoKey)
}

fn belongs(key: &[u8], cert: &[u8]) -> bool {
    let (Ok(key), Ok(cert)) =
        (PrivateKeyDer::from_pem_slice(key), CertificateDer::from_pem_slice(cert))
    else {
        return false;
    };
    let loader: &dyn KeyProvider = provider().key_provider;
    loader
        .load_private_key(key)
        .is_ok_and(|key| rustls::sign::CertifiedKey::new(vec![cert], key).keys_match().is_ok())
}

fn is_absent(error: &FileError) -> bool {
    matches!(error, FileError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// `None` for a file that is not there.
fn if_there<T>(read: Result<T, FileError>) -> Result<Option<T>, FileError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn lock(dir: &Path) -> Result<DirLock, InstallError> {
    DirLock::acquire(dir)?.ok_or_else(|| InstallError::Busy { dir: dir.to_owned() })
}

#[cfg(test)]
mod tests;
