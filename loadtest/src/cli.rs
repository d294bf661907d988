//! The command line, and how a result becomes an exit code.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use vioduct_certs::identity::NodeName;
use vioduct_certs::inventory::NodeAddr;

use crate::{block, db, msg};

mod block_args;
mod db_args;

pub(crate) use block_args::BlockArgs;
pub(crate) use db_args::{DbArgs, DbFreshness};

/// Drives load against a running Vioduct cluster.
#[derive(Debug, Parser)]
#[command(name = "vioduct-loadtest", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Messages to nodes and back, or one way. Exit code 0: all came as sent; 1: not so; 98: the
    /// generator did not keep its schedule.
    Msg(Box<MsgArgs>),
    /// Reads and writes of disks, served (NBD) or through their actors, each read checked against
    /// what may be there. Overwrites them. Exit code 0: all was answered, and right; 1: not so; 98:
    /// the generator did not keep its schedule.
    Block(Box<BlockArgs>),
    /// Reads and writes of the cluster's database, each read checked against what may be there. Its
    /// rows are its own, and deleted at the end. Exit code 0: all was done, and right; 1: not so;
    /// 98: the generator did not keep its schedule.
    Db(Box<DbArgs>),
}

/// The form of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// A table for people; may change from release to release.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// What is shown of a run, by every driver.
#[derive(Debug, Args)]
pub(crate) struct Shown {
    /// Form of the result on standard output.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
    /// Writes the result as JSON into this file, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// A line each second on standard error, even when that is no terminal.
    #[arg(long)]
    pub(crate) progress: bool,
}

/// Arguments of `msg`.
#[derive(Debug, Args)]
pub(crate) struct MsgArgs {
    /// Directory of a tool's certificate, made with `vioduct ca issue --tool`.
    #[arg(long, value_name = "DIR")]
    pub(crate) certs: PathBuf,
    /// The inventory file, cluster.toml.
    #[arg(long, value_name = "FILE", required_unless_present = "addr", conflicts_with = "addr")]
    pub(crate) inventory: Option<PathBuf>,
    /// A node to ask; may be given several times with `--inventory`. Default: all of them.
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Vec<NodeName>,
    /// Address of the one node, without an inventory.
    #[arg(long, value_name = "HOST:PORT", requires = "node")]
    pub(crate) addr: Option<NodeAddr>,
    /// Open loop: messages a second over all nodes, whatever the replies do.
    #[arg(long, value_name = "N", conflicts_with = "concurrency",
        value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: Option<u32>,
    /// Tells instead of asks: messages without answers, as fast as the actors take them unless
    /// `--rate` is given. At the end each node says how many came.
    #[arg(long, conflicts_with = "concurrency")]
    pub(crate) tell: bool,
    /// Closed loop: messages that wait for a reply at any time, over all nodes.
    #[arg(long, value_name = "N", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(msg::OUTSTANDING_MAX)))]
    pub(crate) concurrency: u32,
    /// Bytes in each message.
    #[arg(long, value_name = "BYTES", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(0..=1 << 24))]
    pub(crate) size: u32,
    /// Time before the measurement, with the same load.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) warmup: Duration,
    /// Time of the measurement.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = positive)]
    pub(crate) duration: Duration,
    /// How long a reply is waited for.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = positive)]
    pub(crate) deadline: Duration,
    /// Open loop: a message that leaves this long after its planned moment is late.
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = positive)]
    pub(crate) late_after: Duration,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

/// The whole program.
pub(crate) fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Msg(args) => {
            let plan = usable(msg::Plan::new(&args));
            msg::run(&args, plan)
        }
        Command::Block(args) => {
            let plan = usable(block::Plan::new(&args));
            block::run(&args, plan)
        }
        Command::Db(args) => {
            let plan = usable(db::Plan::new(&args));
            db::run(&args, plan)
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// The plan; what cannot be one is wrong usage.
fn usable<T>(plan: Result<T>) -> T {
    match plan {
        Ok(plan) => plan,
        Err(error) => Cli::command().error(ErrorKind::ValueValidation, format!("{error:#}")).exit(),
    }
}

/// Longest time that an argument may name: a day.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// `250ms`, `10s`, `5m`.
fn duration(text: &str) -> Result<Duration, String> {
    let letters = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(letters);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _other => return Err("a time has a unit: 250ms, 10s or 5m".to_owned()),
    };
    let number: u64 = number.parse().map_err(|error| format!("{number:?}: {error}"))?;
    let time = Duration::from_millis(number.saturating_mul(unit_ms));
    if time > DURATION_MAX { Err("it may be a day at most".to_owned()) } else { Ok(time) }
}

/// A time that is not zero.
fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it may not be zero".to_owned()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit_only() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for text in ["", "10", "s", "-1s", "1.5s", "1h", "99999m", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(positive("0ms").is_err());
    }

    #[test]
    fn the_command_line_is_well_formed_and_refuses_contradictions() {
        Cli::command().debug_assert();
        let parse = |text: &str| Cli::try_parse_from(text.split(' ')).map(|_cli| ());
        let exit = |text: &str| parse(text).map_err(|error| error.exit_code());
        assert_eq!(exit("l msg --certs c --inventory i --node n1 --node n2 --rate 5"), Ok(()));
        assert_eq!(exit("l msg --certs c --node n1 --addr h:1 --concurrency 5"), Ok(()));
        assert_eq!(exit("l msg --certs c --inventory i --tell --rate 5"), Ok(()));
        assert_eq!(exit("l db --certs c --inventory i --node n1 --reads 0 --rate 5"), Ok(()));
        assert_eq!(exit("l db --certs c --inventory i --freshness lease --keys 4"), Ok(()));
        for wrong in [
            "l msg --certs c",
            "l db --certs c",
            "l db --certs c --inventory i --rate 5 --concurrency 5",
            "l db --certs c --inventory i --concurrency 0",
            "l db --certs c --inventory i --reads 101",
            "l db --certs c --inventory i --keys 3",
            "l db --certs c --inventory i --size 31",
            "l db --certs c --inventory i --size 524289",
            "l db --certs c --inventory i --freshness stale",
            "l msg --certs c --addr h:1",
            "l msg --certs c --inventory i --node n1 --addr h:1",
            "l msg --certs c --inventory i --rate 5 --concurrency 5",
            "l msg --certs c --inventory i --tell --concurrency 5",
            "l msg --certs c --inventory i --rate 0",
            "l msg --certs c --inventory i --duration 0s",
        ] {
            assert_eq!(exit(wrong), Err(2), "{wrong}");
        }
    }
}
