//! The four files of a certificate directory, decoded but not yet judged.

use std::path::Path;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::LoadError;
use crate::crl::{CRL_SIZE_MAX, CrlError};
use crate::files::{read_key, read_public};

/// File of the leaf certificate, PEM, in a host's certificate directory.
pub const CERT_FILE: &str = "node.crt";
/// File of the leaf's private key, PEM, mode 0600.
pub const KEY_FILE: &str = "node.key";
/// File of the trusted roots, PEM.
pub const ROOTS_FILE: &str = "ca.crt";
/// File of the revocation lists, PEM, one per root.
pub const CRL_FILE: &str = "ca.crl";

/// Most roots in a bundle. Two are needed while a CA is replaced.
pub const ROOTS_MAX: usize = 8;
const SMALL_FILE_MAX: u64 = 256 << 10;
// PEM is 4/3 of DER and a little; eight lists of 1 MiB stay below.
const CRL_FILE_MAX: u64 = 12 << 20;

/// The decoded content of a certificate directory.
#[derive(Debug)]
pub struct Parts {
    /// The leaf certificate.
    pub leaf: CertificateDer<'static>,
    /// The leaf's private key.
    pub key: PrivateKeyDer<'static>,
    /// 1 to [`ROOTS_MAX`] trusted roots.
    pub roots: Vec<CertificateDer<'static>>,
    /// One revocation list per root.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

impl Parts {
    /// Reads the four files of `dir`.
    ///
    /// # Errors
    /// A file is missing, too large, not PEM of its kind, or a key that others may read.
    pub fn read(dir: &Path) -> Result<Self, LoadError> {
        let cert = read_public(&dir.join(CERT_FILE), SMALL_FILE_MAX)?;
        let key = read_key(&dir.join(KEY_FILE), SMALL_FILE_MAX)?;
        let roots = read_public(&dir.join(ROOTS_FILE), SMALL_FILE_MAX)?;
        let crls = read_public(&dir.join(CRL_FILE), CRL_FILE_MAX)?;
        Self::from_pem(&cert, &key, &roots, &crls)
    }

    /// Decodes the four files' contents.
    ///
    /// # Errors
    /// One of them is not PEM of its kind, or holds too many or too few items.
    pub fn from_pem(cert: &[u8], key: &[u8], roots: &[u8], crls: &[u8]) -> Result<Self, LoadError> {
        let mut leaves = items(CERT_FILE, cert, 1)?;
        let leaf = leaves.pop().ok_or(LoadError::ItemCount {
            file: CERT_FILE,
            count: 0,
            min: 1,
            max: 1,
        })?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|source| LoadError::Pem { file: KEY_FILE, source })?;
        let roots = items(ROOTS_FILE, roots, ROOTS_MAX)?;
        let crls = crls_from_pem(crls)?;
        Ok(Self { leaf, key, roots, crls })
    }
}

/// Decodes 1 to `max` PEM items of one kind.
pub(crate) fn items<T: PemObject>(
    file: &'static str,
    text: &[u8],
    max: usize,
) -> Result<Vec<T>, LoadError> {
    let mut found = Vec::new();
    for item in T::pem_slice_iter(text).take(max.saturating_add(1)) {
        found.push(item.map_err(|source| LoadError::Pem { file, source })?);
    }
    if found.is_empty() || found.len() > max {
        return Err(LoadError::ItemCount { file, count: found.len(), min: 1, max });
    }
    Ok(found)
}

/// Decodes a PEM file of revocation lists, at most [`ROOTS_MAX`].
///
/// # Errors
/// Not PEM, or too many or no lists.
pub fn crls_from_pem(text: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, LoadError> {
    let crls: Vec<CertificateRevocationListDer<'static>> = items(CRL_FILE, text, ROOTS_MAX)?;
    match crls.iter().map(|crl| crl.len()).find(|len| *len > CRL_SIZE_MAX) {
        Some(len) => Err(CrlError::TooLarge { len }.into()),
        None => Ok(crls),
    }
}
