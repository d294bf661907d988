//! RocksDB's C++ code: compiled once on a machine and kept in the user's cache.
//!
//! The crate would compile it again for every profile and every build directory, 25 minutes on two
//! cores. Instead its library is built here, and `.cargo/rocksdb.toml`, which is no part of the
//! tree, tells every cargo in this checkout where it is. Without that file all builds work too, and
//! take their time.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::steps::run;
use crate::workspace::Workspace;

/// The crate that holds the C++ code.
const CRATE: &str = "librocksdb-sys";
const LIBRARY: &str = "librocksdb.a";

/// Sees to it that the library is there and that cargo knows where.
pub(crate) fn run_setup(workspace: &Workspace) -> Result<(), Failure> {
    let lock = workspace.root.join("Cargo.lock");
    let lock = fs::read_to_string(&lock).map_err(|error| Failure::file(&lock, error))?;
    let version =
        version_in(&lock).ok_or_else(|| Failure::new(format!("Cargo.lock has no {CRATE}")))?;
    let dir = workspace.cache_dir.join("rocksdb").join(version);
    let config = workspace.root.join(".cargo").join("rocksdb.toml");
    if !dir.join(LIBRARY).is_file() {
        build(workspace, &dir, &config)?;
    }
    let wanted = config_for(&dir);
    if fs::read_to_string(&config).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    fs::write(&config, wanted).map_err(|error| Failure::file(&config, error))
}

fn build(workspace: &Workspace, dir: &Path, config: &Path) -> Result<(), Failure> {
    println!("    RocksDB is compiled, once on this machine: 25 minutes on two cores");
    // It may point to a library that is gone.
    if config.is_file() {
        fs::remove_file(config).map_err(|error| Failure::file(config, error))?;
    }
    let target = dir.join("build");
    let mut cargo = workspace.cargo(&["build", "--release", "--locked", "-p", CRATE]);
    cargo.env("CARGO_TARGET_DIR", &target).env_remove("ROCKSDB_LIB_DIR");
    run("RocksDB", &mut cargo)?;
    let built = built(&target.join("release").join("build"))
        .ok_or_else(|| Failure::new(format!("{CRATE} was built, but there is no {LIBRARY}")))?;
    // Renamed into its place: whoever finds it finds all of it.
    let library = dir.join(LIBRARY);
    fs::rename(&built, &library).map_err(|error| Failure::file(&library, error))?;
    fs::remove_dir_all(&target).map_err(|error| Failure::file(&target, error))
}

/// The library in cargo's build directory.
fn built(builds: &Path) -> Option<PathBuf> {
    let builds = fs::read_dir(builds).ok()?;
    let library = builds.flatten().map(|build| build.path().join("out").join(LIBRARY));
    library.into_iter().find(|library| library.is_file())
}

fn config_for(dir: &Path) -> String {
    let dir = dir.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "# Written by `cargo xtask setup`: where RocksDB's library is on this machine.\n\
         [env]\nROCKSDB_LIB_DIR = \"{dir}\"\nROCKSDB_STATIC = \"1\"\n"
    )
}

/// The version of the crate that the lock file has.
fn version_in(lock: &str) -> Option<&str> {
    let (_before, package) = lock.split_once(&format!("name = \"{CRATE}\"\nversion = \""))?;
    package.split_once('"').map(|(version, _behind)| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_lock_file() {
        let lock = "name = \"librocksdb\"\nversion = \"1\"\n\n\
                    name = \"librocksdb-sys\"\nversion = \"0.19.0+11.8.1\"\n";
        assert_eq!(version_in(lock), Some("0.19.0+11.8.1"));
        assert_eq!(version_in(""), None);
    }

    #[test]
    fn a_directory_is_quoted_as_toml_wants_it() {
        assert!(config_for(Path::new("/a \"b\"")).contains("\"/a \\\"b\\\"\""));
    }
}
