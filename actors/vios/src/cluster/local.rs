//! What a VIOS keeps on its own disk of the cluster: two stores, each a file.
//!
//! | store | file | holds |
//! |---|---|---|
//! | ODM | `odm` | which VIOS this is; so far none of its devices |
//! | cluster view | `view` | what the database answered last |
//!
//! A file is two lines: the CRC32C of the second one in hexadecimal digits, and that, JSON with the
//! number of its form. It is replaced whole: after a crash it is the old one or the new one. The
//! view may be lost, since the database has it; the ODM may not: without it nobody is this VIOS.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vioduct_certs::files::{FileError, create_private_dir, write_atomic};

use super::row::UniqueId;
use super::view::View;

const MODE: u32 = 0o600;
const FORM: u32 = 3;
const ODM: &str = "odm";
const VIEW: &str = "view";

/// Why a store is not read, or not written.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The system refuses to read it.
    #[error("{}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system refuses to write it; the old one still stands.
    #[error(transparent)]
    Write(#[from] FileError),
    /// It is not what was written.
    #[error("{} is damaged: {why}; put it back from a copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A newer program wrote it.
    #[error("{} has form {form}, and this program knows {FORM} at most: update it", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its form.
        form: u32,
    },
}

/// What a VIOS knows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Odm {
    /// Which VIOS this is.
    pub unique: UniqueId,
}

/// The two stores of a VIOS.
#[derive(Debug, Clone)]
pub struct LocalStores {
    dir: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    form: u32,
    value: T,
}

/// All that is read of a file whose form is not known.
#[derive(Deserialize)]
struct FormOnly {
    form: u32,
}

impl LocalStores {
    /// Those in a directory, which is made if it is not there.
    ///
    /// # Errors
    /// [`LocalError::Write`].
    pub fn open(dir: PathBuf) -> Result<Self, LocalError> {
        create_private_dir(&dir)?;
        Ok(Self { dir })
    }

    /// The ODM; with a new unique ID if this VIOS has none yet.
    ///
    /// # Errors
    /// [`LocalError`]
    pub fn odm(&self, new: impl FnOnce() -> UniqueId) -> Result<Odm, LocalError> {
        if let Some(odm) = self.read(ODM)? {
            return Ok(odm);
        }
        let odm = Odm { unique: new() };
        self.write(ODM, &odm)?;
        Ok(odm)
    }

    /// What the database answered last, if it ever did.
    ///
    /// # Errors
    /// [`LocalError`]
    pub fn view(&self) -> Result<Option<View>, LocalError> {
        self.read(VIEW)
    }

    /// Keeps what the database answered. When this returns, it is on stable media.
    ///
    /// # Errors
    /// [`LocalError::Write`]
    pub fn keep_view(&self, view: &View) -> Result<(), LocalError> {
        self.write(VIEW, view)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, LocalError> {
        let path = self.dir.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => unseal(&path, &text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(LocalError::Damaged { path, why: "it is no text".into() })
            }
            Err(source) => Err(LocalError::Read { path, source }),
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), LocalError> {
        let line = serde_json::to_string(&Stored { form: FORM, value });
        let line = line.expect("stores are plain values with names for keys");
        let text = format!("{:08x}\n{line}\n", crc32c::crc32c(line.as_bytes()));
        Ok(write_atomic(&self.dir.join(name), text.as_bytes(), MODE)?)
    }
}

fn unseal<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, LocalError> {
    let damaged = |why: String| LocalError::Damaged { path: path.to_owned(), why };
    let (sum, line) = text.split_once('\n').unwrap_or_default();
    let line = line.strip_suffix('\n').unwrap_or_default();
    if sum != format!("{:08x}", crc32c::crc32c(line.as_bytes())) {
        return Err(damaged("its checksum is wrong".into()));
    }
    let form: FormOnly = serde_json::from_str(line).map_err(|error| damaged(error.to_string()))?;
    if form.form > FORM {
        return Err(LocalError::Newer { path: path.to_owned(), form: form.form });
    }
    let stored: Stored<T> =
        serde_json::from_str(line).map_err(|error| damaged(error.to_string()))?;
    Ok(stored.value)
}

#[cfg(test)]
mod tests {
    use vioduct_db::query::FoundRow;

    use super::*;
    use crate::cluster::row::{Row, ViosRow};
    use crate::redirect::name::ViosId;

    fn stores() -> (tempfile::TempDir, LocalStores) {
        let dir = tempfile::tempdir().unwrap();
        let stores = LocalStores::open(dir.path().join("cluster")).unwrap();
        (dir, stores)
    }

    fn view() -> View {
        let mut view = View::default();
        view.revision = 12;
        let (place, value) =
            (ViosRow::place(&"v1".parse().unwrap()), ViosRow::admitted(ViosId(3)).encode());
        view.set(FoundRow { place, revision: 9, value });
        view
    }

    #[test]
    fn a_vios_draws_its_id_once() {
        let (_dir, stores) = stores();
        let drawn = stores.odm(|| UniqueId([7; 16])).unwrap();
        let again = stores.odm(|| panic!("it has one")).unwrap();
        assert_eq!((drawn.unique, again), (UniqueId([7; 16]), drawn));
    }

    #[test]
    fn what_was_kept_is_read_again() {
        let (_dir, stores) = stores();
        assert_eq!(stores.view().unwrap(), None);
        stores.keep_view(&view()).unwrap();
        assert_eq!(stores.view().unwrap(), Some(view()));
    }

    #[test]
    fn a_flipped_bit_and_a_cut_anywhere_are_found() {
        let (dir, stores) = stores();
        stores.keep_view(&view()).unwrap();
        let path = dir.path().join("cluster/view");
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            for spoilt in [flipped, whole[..at].to_vec()] {
                fs::write(&path, spoilt).unwrap();
                let damaged = stores.view().unwrap_err();
                assert!(matches!(damaged, LocalError::Damaged { .. }), "{at}: {damaged}");
            }
        }
    }

    #[test]
    fn a_newer_form_is_refused() {
        let (dir, stores) = stores();
        let line = r#"{"form":4,"value":"unheard of"}"#;
        let text = format!("{:08x}\n{line}\n", crc32c::crc32c(line.as_bytes()));
        fs::write(dir.path().join("cluster/view"), text).unwrap();
        assert!(matches!(stores.view().unwrap_err(), LocalError::Newer { form: 4, .. }));
    }
}
