//! Room on the disk: writes of clients are refused before there is none.

use std::path::Path;

use crate::StoreError;

/// Decides whether clients may write: not below `bytes` of free space, and from then on not until
/// there is a quarter more than that.
///
/// What the cluster itself writes, such as votes and the records of other replicas, is what the
/// reserve is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    bytes: u64,
    refusing: bool,
}

impl Reserve {
    /// A reserve of `bytes`.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self { bytes, refusing: false }
    }

    /// Whether clients may write now that `free` bytes are free.
    pub fn admits(&mut self, free: u64) -> bool {
        let enough =
            if self.refusing { self.bytes.saturating_add(self.bytes / 4) } else { self.bytes };
        self.refusing = free < enough;
        !self.refusing
    }
}

/// The bytes that this process may still write to the file system of `dir`.
///
/// # Errors
///
/// As the system says.
pub fn free_bytes(dir: &Path) -> Result<u64, StoreError> {
    let found = rustix::fs::statvfs(dir).map_err(|error| StoreError::Failed {
        what: format!("asking for the free space of {}", dir.display()),
        why: error.to_string(),
    })?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::{Reserve, free_bytes};
    use crate::StoreError;

    #[test]
    fn writes_are_refused_under_the_reserve_until_there_is_a_quarter_more() {
        let mut reserve = Reserve::new(1000);
        let seen: Vec<_> = [5000, 1000, 999, 1000, 1249, 1250, 1000, 0, 1249, 9999]
            .map(|free| (free, reserve.admits(free)))
            .into_iter()
            .filter(|(_, admitted)| !admitted)
            .map(|(free, _)| free)
            .collect();
        assert_eq!(seen, [999, 1000, 1249, 0, 1249]);
    }

    #[test]
    fn a_reserve_of_nothing_refuses_nothing() {
        let mut reserve = Reserve::new(0);
        assert!(reserve.admits(0));
    }

    #[test]
    fn the_free_space_of_a_directory_is_found_and_of_none_is_not() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(dir.path()).unwrap() > 0);
        let missing = free_bytes(&dir.path().join("none"));
        assert!(matches!(missing, Err(StoreError::Failed { .. })));
    }
}
