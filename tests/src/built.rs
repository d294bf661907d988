//! The programs of this tree.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

/// The `vioduct` program: `VIODUCT_BIN`, else built now from this tree, beside the running test.
///
/// # Errors
/// It can't be built.
pub fn vioduct() -> Result<PathBuf> {
    env::var_os("VIODUCT_BIN").map_or_else(|| built("vioduct"), |given| Ok(given.into()))
}

/// The `vioduct-loadtest` program: `VIODUCT_LOADTEST_BIN`, else as [`vioduct`].
///
/// # Errors
/// It can't be built.
pub fn loadtest() -> Result<PathBuf> {
    let given = env::var_os("VIODUCT_LOADTEST_BIN");
    given.map_or_else(|| built("vioduct-loadtest"), |given| Ok(given.into()))
}

fn built(program: &str) -> Result<PathBuf> {
    static PROFILE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let profile = PROFILE.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    Ok(profile.clone().map_err(anyhow::Error::msg)?.join(program))
}

/// Builds both; gives the directory of the profile.
fn build() -> Result<PathBuf> {
    let test = env::current_exe()?;
    // target/debug/deps/node-0123456789abcdef
    let profile = test.ancestors().nth(2).context("a test lies in target/PROFILE/deps")?;
    let target = profile.parent().context("a profile lies in the target directory")?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // The whole workspace, so that the features are the same whoever builds.
    command.args(["build", "--quiet", "--workspace"]);
    command.args(["--bin", "vioduct", "--bin", "vioduct-loadtest"]);
    command.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().context("can't run cargo")?;
    ensure!(status.success(), "the programs were not built: {status}");
    Ok(profile.to_owned())
}
