//! The commands of the workspace; `cargo xtask` alone lists them.
//!
//! Needs nothing but cargo. What a command runs is printed as it runs, and each command works from
//! any directory of the tree. Exit codes: 0 done, 1 something failed, 2 the command line was wrong;
//! `demo`, `bench` and `sim` pass on the code of the program they ran.
#![expect(clippy::print_stdout, reason = "a command line program talks to its terminal")]

mod command;
mod failure;
mod rocksdb;
mod setup;
mod steps;
mod tidy;
mod workspace;

use std::process::ExitCode;

use failure::Failure;
use workspace::Workspace;

const HELP: &str = "\
usage: cargo xtask COMMAND [ARGS]

  setup   install what the machine lacks (or print the one command that does)
  check   formatting, lints, documentation, tidy, licences; writes nothing
  fix     format, and apply the lints' own suggestions
  test    run all tests; ARGS go to `cargo test`
  demo    build the cluster program and run the demonstration; ARGS go to it
  bench   bench NAME [ARGS]: run one benchmark against its peers, optimised
  sim     run the cluster over a simulated network; ARGS go to the simulator
  tidy    the tree's own rules alone (tidy.toml), the quickest part of check";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(name) = args.next() else {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    };
    let rest: Vec<String> = args.collect();
    match dispatch(&name, &rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(name: &str, rest: &[String]) -> Result<(), Failure> {
    if matches!(name, "help" | "--help" | "-h") {
        println!("{HELP}");
        return Ok(());
    }
    let run: fn(&Workspace, &[String]) -> Result<(), Failure> = match name {
        "setup" => |workspace, _| setup::run(workspace),
        "check" => |workspace, _| command::check(workspace),
        "fix" => |workspace, _| command::fix(workspace),
        "test" => command::test,
        "demo" => command::demo,
        "bench" => command::bench,
        "sim" => command::sim,
        "tidy" => |workspace, _| tidy::run(&workspace.root),
        unknown => {
            return Err(Failure::usage(format!("no command named `{unknown}`\n\n{HELP}")));
        }
    };
    let takes_args = matches!(name, "test" | "demo" | "bench" | "sim");
    if let (false, Some(extra)) = (takes_args, rest.first()) {
        return Err(Failure::usage(format!("`{name}` takes no argument, got `{extra}`\n\n{HELP}")));
    }
    run(&Workspace::find()?, rest)
}
