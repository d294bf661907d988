//! Where the tree stands, and where its build output goes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;

/// One checkout of the repository.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Build output of every command: outside the tree, so that `cargo clean` and a fresh clone
    /// do not throw away the expensive C and C++ parts.
    pub(crate) target_dir: PathBuf,
    /// What is kept on this machine for every checkout.
    pub(crate) cache_dir: PathBuf,
}

/// A program that cargo built into `target_dir`; `profile` is the name of its directory.
pub(crate) fn program(target_dir: &Path, profile: &str, name: &str) -> PathBuf {
    target_dir.join(profile).join(name).with_extension(std::env::consts::EXE_EXTENSION)
}

impl Workspace {
    /// Finds the checkout around the current directory.
    pub(crate) fn find() -> Result<Self, Failure> {
        let here = std::env::current_dir()
            .map_err(|error| Failure::new(format!("no current directory: {error}")))?;
        let root = root_above(&here)
            .ok_or_else(|| Failure::file(&here, "not inside a vioduct checkout"))?;
        let root = root.to_path_buf();
        let target_dir = target_dir(|name| std::env::var_os(name));
        let cache_dir = cache_dir(|name| std::env::var_os(name));
        Ok(Self { root, target_dir, cache_dir })
    }

    /// A cargo command at the root of the tree.
    pub(crate) fn cargo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target_dir).args(args);
        command
    }

    /// A program of this workspace that cargo built; `profile` is the name of its directory.
    pub(crate) fn built(&self, profile: &str, name: &str) -> PathBuf {
        program(&self.target_dir, profile, name)
    }
}

fn root_above(here: &Path) -> Option<&Path> {
    here.ancestors().find(|dir| dir.join("tidy.toml").is_file() && dir.join("xtask").is_dir())
}

/// `CARGO_TARGET_DIR` if the user set it, else a directory in the user's cache.
fn target_dir(var: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let chosen = var("CARGO_TARGET_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(chosen) = chosen {
        return std::path::absolute(&chosen).unwrap_or(chosen);
    }
    cache_dir(var).join("target")
}

/// Ours in the user's cache.
fn cache_dir(var: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let set = |name| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("vioduct")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(vars: &[(&str, &str)], expected: &str) {
        let found = target_dir(|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        });
        assert_eq!(found, Path::new(expected));
    }

    #[test]
    fn build_output_goes_where_the_user_says_else_to_the_cache() {
        check(&[("HOME", "/h")], "/h/.cache/vioduct/target");
        check(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")], "/c/vioduct/target");
        check(&[("HOME", "/h"), ("XDG_CACHE_HOME", "")], "/h/.cache/vioduct/target");
        check(&[("HOME", "/h"), ("CARGO_TARGET_DIR", "/t")], "/t");
    }

    #[test]
    fn the_root_is_found_from_a_directory_below_it() {
        // Read when the test runs: checkouts share what is built.
        let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
        let manifest_dir = Path::new(&manifest_dir);
        assert_eq!(root_above(&manifest_dir.join("src")), manifest_dir.parent());
        assert_eq!(root_above(Path::new("/")), None);
    }
}
