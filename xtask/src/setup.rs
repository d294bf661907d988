//! Finds what the machine lacks and installs it, or prints the one command that does.
//!
//! The lists are short on purpose: cargo brings everything else.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::rocksdb;
use crate::steps::{self, works};
use crate::workspace::Workspace;

/// A program, or a file by its whole path with one `*` in it, and the package with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    program: &'static str,
    package: &'static str,
}

/// The first four build the cryptography (aws-lc); openssl cross-checks our chains in a test;
/// libclang reads RocksDB's headers.
/// The rest are NBD clients and servers that ours is tested with.
const TOOLS: [Tool; 12] = [
    Tool { program: "gcc", package: "gcc" },
    Tool { program: "g++", package: "g++" },
    Tool { program: "make", package: "make" },
    Tool { program: "perl", package: "perl" },
    Tool { program: "openssl", package: "openssl" },
    Tool { program: "/usr/lib/llvm-*/include/clang-c/Index.h", package: "libclang-dev" },
    Tool { program: "fio", package: "fio" },
    Tool { program: "nbdcopy", package: "libnbd-bin" },
    Tool { program: "nbdkit", package: "nbdkit" },
    Tool { program: "qemu-nbd", package: "qemu-utils" },
    Tool { program: "/usr/bin/python3", package: "python3" },
    Tool { program: "/usr/lib/python3/dist-packages/nbd.py", package: "python3-libnbd" },
];

/// What `bench db` compares with. Nothing else needs it.
pub(crate) const ETCD: Tool = Tool { program: "etcd", package: "etcd-server" };

/// Parts of the Rust toolchain that a minimal rustup profile leaves out.
const COMPONENTS: [&str; 2] = ["rustfmt", "clippy"];

/// Installs what is missing. Quick and silent but for one line when nothing is.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    install_components()?;
    install(&TOOLS)?;
    rocksdb::run_setup(workspace)
}

/// Installs those that are missing.
pub(crate) fn install(tools: &[Tool]) -> Result<(), Failure> {
    let lacking = lacking(tools);
    if lacking.is_empty() {
        println!("    nothing is missing");
        return Ok(());
    }
    let packages: Vec<&str> = lacking.iter().map(|tool| tool.package).collect();
    println!("    missing: {}", packages.join(" "));
    if !works(Command::new("apt-get").arg("--version")) {
        let programs: Vec<&str> = lacking.iter().map(|tool| tool.program).collect();
        let programs = programs.join(", ");
        return Err(Failure::new(format!("no apt-get here; install these yourself: {programs}")));
    }
    if !is_root() {
        return Err(Failure::new(format!(
            "run this, then try again:\n\n    {}\n",
            by_hand(&packages)
        )));
    }
    apt_get(&["update"])?;
    let install = ["install", "--yes", "--no-install-recommends"];
    apt_get(&[&install[..], &packages].concat())?;
    match self::lacking(tools).first() {
        None => Ok(()),
        Some(tool) => Err(Failure::new(format!(
            "package {} is installed, but there is no `{}`",
            tool.package, tool.program
        ))),
    }
}

fn install_components() -> Result<(), Failure> {
    // Run without an argument that needs a project: both print their version anywhere.
    let lacking: Vec<&str> = COMPONENTS
        .into_iter()
        .filter(|name| {
            let program = if *name == "clippy" { "cargo-clippy" } else { name };
            !works(Command::new(program).arg("--version"))
        })
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let wanted = lacking.join(" ");
    if !works(Command::new("rustup").arg("--version")) {
        return Err(Failure::new(format!(
            "the Rust toolchain lacks: {wanted}; install it from where cargo came from"
        )));
    }
    println!("    rustup component add {wanted}");
    run_unattended("rustup", Command::new("rustup").args(["component", "add"]).args(&lacking))
}

/// Says how to install those that are missing.
pub(crate) fn require(tools: &[Tool]) -> Result<(), Failure> {
    let lacking = lacking(tools);
    let packages: Vec<&str> = lacking.iter().map(|tool| tool.package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "missing, and not to be installed: {}; run this, then try again:\n\n    {}\n",
        packages.join(" "),
        by_hand(&packages)
    )))
}

fn lacking(tools: &[Tool]) -> Vec<Tool> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    tools.iter().copied().filter(|tool| !is_here(&path, tool.program)).collect()
}

fn is_here(path: &OsStr, program: &str) -> bool {
    match program.split_once('*') {
        Some((before, behind)) => is_in_some(before, behind),
        None if program.starts_with('/') => Path::new(program).is_file(),
        None => is_on(path, program),
    }
}

/// Whether there is such a file, with anything between the two within one directory's name.
fn is_in_some(before: &str, behind: &str) -> bool {
    let (parent, start) = before.rsplit_once('/').unwrap_or(("", before));
    let Ok(entries) = Path::new(parent).read_dir() else { return false };
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with(start))
        .any(|name| Path::new(&format!("{parent}/{name}{behind}")).is_file())
}

fn is_on(path: &OsStr, program: &str) -> bool {
    std::env::split_paths(path).any(|dir| is_executable(&dir.join(program)))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The owner of our own entry in /proc is our effective user.
fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|meta| meta.uid() == 0)
}

fn by_hand(packages: &[&str]) -> String {
    let packages = packages.join(" ");
    format!("sudo apt-get update && sudo apt-get install --yes --no-install-recommends {packages}")
}

fn apt_get(args: &[&str]) -> Result<(), Failure> {
    println!("    apt-get {}", args.join(" "));
    // Another apt may hold the lock on a machine that has just started.
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "DPkg::Lock::Timeout=120"]).args(args);
    run_unattended("apt-get", command.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// A child that must never wait for an answer.
fn run_unattended(name: &str, command: &mut Command) -> Result<(), Failure> {
    steps::run(name, command.stdin(Stdio::null()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_counts_only_where_the_path_leads_to_an_executable() {
        assert!(is_on(OsStr::new("/nowhere:/bin:/usr/bin"), "sh"));
        assert!(!is_on(OsStr::new("/nowhere"), "sh"));
        assert!(!is_on(OsStr::new("/etc"), "passwd"));
        assert!(is_here(OsStr::new("/nowhere"), "/etc/passwd"));
        assert!(!is_here(OsStr::new("/etc"), "/nowhere"));
    }

    #[test]
    fn what_must_not_be_installed_is_named_with_the_command_that_does() {
        let tool = Tool { program: "no-such-program", package: "its-package" };
        let refused = require(&[tool]).unwrap_err().message;
        assert!(refused.contains("--no-install-recommends its-package\n"), "{refused}");
        assert!(require(&[Tool { program: "/etc/passwd", ..tool }]).is_ok());
    }

    #[test]
    fn the_command_to_run_by_hand_is_one_line() {
        let command = by_hand(&["g++", "make"]);
        assert!(command.ends_with("--no-install-recommends g++ make"), "{command}");
        assert!(command.starts_with("sudo apt-get update && "), "{command}");
    }
}
