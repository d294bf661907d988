//! The commands that are made of cargo calls.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::Failure;
use crate::steps::{Steps, announce, run, works};
use crate::workspace::{self, Workspace};
use crate::{setup, tidy};

/// Other people's runtimes and clients as peers of a benchmark: a workspace of its own. `check`
/// looks at its formatting only: to compile it takes longer than all the rest.
const PEERS: &str = "bench/peers/Cargo.toml";
/// Its packages, for `cargo fmt`: told to take all, that would take ours, too.
const PEERS_PACKAGES: [&str; 4] = ["-p", "vioduct-bench-peers", "-p", "vioduct-bench-etcd"];
/// For `bench db`: a program that is missing is named, and not installed.
const NO_INSTALL: &str = "--no-install";

/// The gate: reads and builds, never writes to the tree.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let mut steps = Steps::default();
    if !steps.call("setup", || setup::run(workspace)) {
        return steps.finish();
    }
    steps.child("fmt", &mut workspace.cargo(&["fmt", "--all", "--check"]));
    let peers = ["fmt", "--manifest-path", PEERS, "--check"];
    steps.child("peers", workspace.cargo(&peers).args(PEERS_PACKAGES));
    steps.call("tidy", || tidy::run(&workspace.root));
    // Warnings are denied by argument: RUSTFLAGS would rebuild every dependency.
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    steps.child("clippy", &mut workspace.cargo(&clippy));
    let doc = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"];
    steps.child("doc", workspace.cargo(&doc).env("RUSTDOCFLAGS", "-D warnings"));
    if works(&mut workspace.cargo(&["deny", "--version"])) {
        let deny = ["deny", "--locked", "check", "bans", "licenses", "sources"];
        steps.child("deny", &mut workspace.cargo(&deny));
    } else {
        println!("==> deny skipped: to install it, `cargo install cargo-deny --locked`");
    }
    steps.finish()
}

/// Formats, and applies what clippy suggests.
pub(crate) fn fix(workspace: &Workspace) -> Result<(), Failure> {
    let mut steps = Steps::default();
    let clippy = ["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty"];
    steps.child("clippy", workspace.cargo(&clippy).arg("--allow-staged"));
    steps.child("fmt", &mut workspace.cargo(&["fmt", "--all"]));
    let peers = ["fmt", "--manifest-path", PEERS];
    steps.child("peers", workspace.cargo(&peers).args(PEERS_PACKAGES));
    steps.finish()
}

/// All tests of the workspace, or those of the packages that `args` name.
pub(crate) fn test(workspace: &Workspace, args: &[String]) -> Result<(), Failure> {
    let mut steps = Steps::default();
    if !steps.call("setup", || setup::run(workspace)) {
        return steps.finish();
    }
    // Built apart, so that the times tell compiling from testing.
    let for_cargo: Vec<&String> = args.iter().take_while(|arg| *arg != "--").collect();
    let names_package = |arg: &&String| arg.starts_with("-p") || arg.starts_with("--package");
    let scope = if for_cargo.iter().any(names_package) { None } else { Some("--workspace") };
    let test = || {
        let mut command = workspace.cargo(&["test", "--locked"]);
        command.args(scope);
        command
    };
    steps.child("build", test().args(&for_cargo).arg("--no-run"));
    steps.child("test", test().args(args));
    steps.finish()
}

/// A cluster on this machine, from certificates to messages.
pub(crate) fn demo(workspace: &Workspace, args: &[String]) -> Result<(), Failure> {
    announce("setup");
    setup::run(workspace)?;
    announce("build");
    // The whole workspace, so that it is built with the features that the tests' `vioduct` has.
    let bins = ["--bin", "vioduct", "--bin", "vioduct-demo", "--bin", "vioduct-loadtest"];
    run("build", workspace.cargo(&["build", "--workspace", "--locked"]).args(bins))?;
    announce("demo");
    let mut demo = Command::new(workspace.built("debug", "vioduct-demo"));
    demo.env("VIODUCT_BIN", workspace.built("debug", "vioduct")).args(args);
    run("demo", demo.current_dir(&workspace.root))
}

/// One benchmark, optimised.
pub(crate) fn bench(workspace: &Workspace, args: &[String]) -> Result<(), Failure> {
    let Some(name) = args.first() else {
        return Err(Failure::usage("bench needs a name: cargo xtask bench NAME [ARGS]"));
    };
    match name.as_str() {
        "stalls" => return bench_processes(workspace, "vioduct-stalls", args),
        "register" => return bench_processes(workspace, "vioduct-register", args),
        "db" => return bench_db(workspace, args),
        _other => announce("build (optimised)"),
    }
    let build = ["build", "--release", "-p", "vioduct-bench", "--locked"];
    run("build", &mut workspace.cargo(&build))?;
    let mut bench = Command::new(workspace.built("release", "vioduct-bench"));
    bench.args(args).current_dir(&workspace.root);
    if name == "runtime" {
        announce(
            "build the other runtimes (optimised; the first time some 440 crates: about ten \
             minutes on two cores, afterwards seconds)",
        );
        bench.arg("--peers-program").arg(build_peer(workspace, "vioduct-bench-peers")?);
    }
    announce("bench");
    run("bench", &mut bench)
}

/// A benchmark that is a program of the tests, beside the node's and the load driver.
fn bench_processes(workspace: &Workspace, name: &str, args: &[String]) -> Result<(), Failure> {
    announce("build (optimised)");
    let bins = ["--bin", "vioduct", "--bin", "vioduct-loadtest", "--bin", name];
    let build = ["build", "--release", "--workspace", "--locked"];
    run("build", workspace.cargo(&build).args(bins))?;
    let mut bench = Command::new(workspace.built("release", name));
    bench.env("VIODUCT_BIN", workspace.built("release", "vioduct"));
    bench.env("VIODUCT_LOADTEST_BIN", workspace.built("release", "vioduct-loadtest"));
    announce("bench");
    run("bench", bench.args(args.iter().skip(1)).current_dir(&workspace.root))
}

/// Our database beside etcd.
fn bench_db(workspace: &Workspace, args: &[String]) -> Result<(), Failure> {
    let (given, args): (Vec<_>, Vec<_>) = args.iter().partition(|arg| *arg == NO_INSTALL);
    announce("etcd");
    let find = if given.is_empty() { setup::install } else { setup::require };
    find(&[setup::ETCD])?;
    announce("build (optimised)");
    let bins = ["--bin", "vioduct", "--bin", "vioduct-bench"];
    let build = ["build", "--release", "--workspace", "--locked"];
    run("build", workspace.cargo(&build).args(bins))?;
    announce("build the client of etcd (optimised)");
    let mut bench = Command::new(workspace.built("release", "vioduct-bench"));
    bench.args(args).arg("--vioduct").arg(workspace.built("release", "vioduct"));
    bench.arg("--etcd-client").arg(build_peer(workspace, "vioduct-bench-etcd")?);
    announce("bench");
    run("bench", bench.current_dir(&workspace.root))
}

/// Builds a program of other people's code; gives where it is.
fn build_peer(workspace: &Workspace, name: &str) -> Result<PathBuf, Failure> {
    // A directory of its own: the long build does not hold the lock of the others.
    let target_dir = workspace.target_dir.join("bench-peers");
    let mut build = workspace.cargo(&["build", "--release", "--locked", "--manifest-path", PEERS]);
    build.args(["-p", name]);
    build.env("CARGO_TARGET_DIR", &target_dir);
    // What `cargo xtask` tells us of our own package is not the peers': ring's build script
    // watches it, and would have half of them built again after a build by hand.
    for (name, _value) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|own| starts_with(&name, own)) {
            build.env_remove(name);
        }
    }
    run("build", &mut build)?;
    Ok(workspace::program(&target_dir, "release", name))
}

fn starts_with(name: &OsStr, prefix: &str) -> bool {
    name.as_encoded_bytes().starts_with(prefix.as_bytes())
}

/// The cluster over a simulated network.
pub(crate) fn sim(workspace: &Workspace, args: &[String]) -> Result<(), Failure> {
    announce("sim");
    let sim = ["run", "--locked", "-p", "vioduct-tests", "--bin", "vioduct-sim", "--"];
    run("sim", workspace.cargo(&sim).args(args))
}
