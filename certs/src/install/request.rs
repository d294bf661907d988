//! The key that waits for its certificate, and the request to have that signed.

use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use zeroize::Zeroizing;

use super::{FILE_MAX, InstallError, is_absent, lock};
use crate::ca_dir::IfExists;
use crate::files::{
    KEY_MODE, PUBLIC_MODE, create_private_dir, read_key, require_absent, write_atomic,
};
use crate::identity::NodeName;

/// File of a key that waits for its certificate.
pub const NEW_KEY_FILE: &str = "node.key.new";
/// File of the signing request.
pub const REQUEST_FILE: &str = "node.csr";

/// Makes a key and a signing request for `name` in `dir`: `node.key.new` (0600) and `node.csr`.
///
/// # Errors
/// Either file exists and `if_exists` says to refuse, or can't be written; or another command is at
/// work in `dir`.
pub fn make_request(dir: &Path, name: &NodeName, if_exists: IfExists) -> Result<(), InstallError> {
    create_private_dir(dir)?;
    let _lock = lock(dir)?;
    let (key_path, request_path) = (dir.join(NEW_KEY_FILE), dir.join(REQUEST_FILE));
    if if_exists == IfExists::Refuse {
        require_absent(&key_path)?;
        require_absent(&request_path)?;
    }
    let (key, request) = new_key(name)?;
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
/// The waiting key can't be read or is damaged, or a file can't be written; or another command is
/// at work in `dir`.
pub fn pending_request(dir: &Path, name: &NodeName) -> Result<String, InstallError> {
    let _lock = lock(dir)?;
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
