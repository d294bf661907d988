//! The host's side of a signing request: a key that never leaves, and the certificate for it.
//!
//! A new key waits in `node.key.new` until its certificate is there, so a running node keeps a pair
//! that fits. The certificate waits in `node.crt.new` while key and certificate are replaced one
//! after the other: whoever is killed between the two leaves behind what [`finish`] needs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::KeyProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use zeroize::Zeroizing;

use crate::ca_dir::IfExists;
use crate::credentials::{
    CERT_FILE, CRL_FILE, Credentials, KEY_FILE, LoadError, Parts, ROOTS_FILE,
};
use crate::files::{
    FileError, KEY_MODE, PUBLIC_MODE, create_private_dir, read_key, read_public, require_absent,
    write_atomic,
};
use crate::identity::{Identity, NodeName};
use crate::provider::provider;
use crate::serial::Serial;
use crate::trust::{CERTIFICATE, REVOCATION_LIST, blocks, lists_to_keep};

/// File of a key that waits for its certificate.
pub const NEW_KEY_FILE: &str = "node.key.new";
/// File of a certificate whose installation has begun.
const NEW_CERT_FILE: &str = "node.crt.new";
/// File of the signing request.
pub const REQUEST_FILE: &str = "node.csr";
const FILE_MAX: u64 = 12 << 20;

/// Why a request was not made or a certificate not installed. What was installed before stays.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file can't be read or written, or exists already.
    #[error(transparent)]
    File(#[from] FileError),
    /// The files together are no usable credentials.
    #[error(transparent)]
    Load(#[from] LoadError),
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

/// Makes a key and a signing request for `name` in `dir`: `node.key.new` (0600) and `node.csr`.
///
/// # Errors
/// Either file exists and `if_exists` says to refuse, or can't be written.
pub fn make_request(dir: &Path, name: &NodeName, if_exists: IfExists) -> Result<(), InstallError> {
    let (key_path, request_path) = (dir.join(NEW_KEY_FILE), dir.join(REQUEST_FILE));
    if if_exists == IfExists::Refuse {
        require_absent(&key_path)?;
        require_absent(&request_path)?;
    }
    let (key, request) = new_key(name)?;
    create_private_dir(dir)?;
    write_atomic(&key_path, key.as_bytes(), KEY_MODE)?;
    write_atomic(&request_path, request.as_bytes(), PUBLIC_MODE)?;
    Ok(())
}

/// The signing request, PEM, for the key that waits in `dir`; for a new one when none waits.
///
/// The key of an unanswered request is asked for again, not thrown away: its certificate may be on
/// the way. Both files are there afterwards, as [`make_request`] leaves them.
///
/// # Errors
/// The waiting key can't be read or is damaged, or a file can't be written.
pub fn pending_request(dir: &Path, name: &NodeName) -> Result<String, InstallError> {
    let (key_path, request_path) = (dir.join(NEW_KEY_FILE), dir.join(REQUEST_FILE));
    let request = match read_key(&key_path, FILE_MAX) {
        Ok(waiting) => {
            let path = key_path;
            let damaged = || InstallError::DamagedKey { path };
            let Ok(pem) = std::str::from_utf8(&waiting) else { return Err(damaged()) };
            let Ok(key) = KeyPair::from_pem(pem) else { return Err(damaged()) };
            request_for(&key, name)?
        }
        Err(error) if is_absent(&error) => {
            let (key, request) = new_key(name)?;
            write_atomic(&key_path, key.as_bytes(), KEY_MODE)?;
            request
        }
        Err(error) => return Err(error.into()),
    };
    write_atomic(&request_path, request.as_bytes(), PUBLIC_MODE)?;
    Ok(request)
}

fn new_key(name: &NodeName) -> Result<(Zeroizing<String>, String), InstallError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let request = request_for(&key, name)?;
    Ok((Zeroizing::new(key.serialize_pem()), request))
}

fn request_for(key: &KeyPair, name: &NodeName) -> Result<String, InstallError> {
    let mut params = CertificateParams::default();
    // For people who look at the file; the CA reads only the key.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name.as_str());
    Ok(params.serialize_request(key)?.pem()?)
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
/// # Errors
/// The result would be refused by [`Credentials::load`]; a revocation list would get older; or the
/// certificate changes hands. Nothing is written then.
pub fn install(
    dir: &Path,
    new: &Installation<'_>,
    now: UnixTime,
) -> Result<Installed, InstallError> {
    let read = |file: &str, given: Option<&[u8]>| match given {
        Some(bytes) => Ok(bytes.to_vec()),
        None => read_public(&dir.join(file), FILE_MAX),
    };
    let cert = read(CERT_FILE, new.cert)?;
    let roots = read(ROOTS_FILE, new.roots)?;
    let installed_crls = match read(CRL_FILE, None) {
        // Before the first installation; what is given then has to do.
        Err(error) if is_absent(&error) && new.crls.is_some() => Vec::new(),
        read => read?,
    };
    let crls = lists_to_keep(&roots, new.crls.unwrap_or_default(), &installed_crls);
    let (key, key_is_new) = matching_key(dir, &cert)?;
    let credentials = Credentials::from_parts(Parts::from_pem(&cert, &key, &roots, &crls)?, now)?;

    // What is installed may be expired, or not there at all; then there is nothing to compare.
    let installed = Parts::read(dir).ok().and_then(|parts| Credentials::unchecked(parts).ok());
    if let Some(installed) = &installed {
        let (old, offered) = (installed.identity(), credentials.identity());
        if !old.is_same_holder(offered) && !new.change_holder {
            return Err(InstallError::OtherHolder {
                installed: Box::new(old.clone()),
                offered: Box::new(offered.clone()),
            });
        }
        credentials.refuse_older_crls(installed)?;
    }

    write_atomic(&dir.join(ROOTS_FILE), &roots, PUBLIC_MODE)?;
    write_atomic(&dir.join(CRL_FILE), &crls, PUBLIC_MODE)?;
    if key_is_new {
        // Before the old key goes, which the old certificate can't do without.
        write_atomic(&dir.join(NEW_CERT_FILE), &cert, PUBLIC_MODE)?;
        write_atomic(&dir.join(KEY_FILE), &key, KEY_MODE)?;
    }
    write_atomic(&dir.join(CERT_FILE), &cert, PUBLIC_MODE)?;
    if key_is_new {
        // The request is answered; left behind, it would stand in the way of the next one.
        remove_if_there(&dir.join(NEW_KEY_FILE))?;
        remove_if_there(&dir.join(REQUEST_FILE))?;
        remove_if_there(&dir.join(NEW_CERT_FILE))?;
    }
    let replaced = installed
        .map(|installed| installed.serial())
        .filter(|serial| *serial != credentials.serial());
    Ok(Installed { credentials, replaced })
}

/// Ends an installation that was cut off after the old key had gone.
///
/// `None` when there is none: the installed key and certificate belong together, or nothing waits.
///
/// # Errors
/// As [`install`]: the certificate that waits is no good, for instance because it has expired.
pub fn finish(dir: &Path, now: UnixTime) -> Result<Option<Installed>, InstallError> {
    let waiting = match read_public(&dir.join(NEW_CERT_FILE), FILE_MAX) {
        Ok(waiting) => waiting,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let pair =
        (read_public(&dir.join(CERT_FILE), FILE_MAX), read_key(&dir.join(KEY_FILE), FILE_MAX));
    if matches!(&pair, (Ok(cert), Ok(key)) if belongs(key, cert)) {
        return Ok(None);
    }
    let new = Installation { cert: Some(&waiting), ..Installation::default() };
    install(dir, &new, now).map(Some)
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
        match read_key(&dir.join(file), FILE_MAX) {
            Ok(key) if belongs(&key, cert) => return Ok((key, is_new)),
            Ok(_other) => {}
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error.into()),
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

fn remove_if_there(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(FileError::Write { path: path.to_owned(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
