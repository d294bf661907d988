//! `vioduct path …`: the ways of VIOSes to the storage.

mod adapters;
mod redundancy;

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use futures_util::future::join_all;
use serde::Serialize;
use vioduct_certs::identity::NodeName;
use vioduct_node::status::SCHEMA;
use vioduct_node::tool::{Tool, ToolError};
use vioduct_vios::dsa::DSA_NAME;
use vioduct_vios::dsa::operator::{FailPath, Operated, PathRow, Paths, RestorePath, State};

use self::adapters::ShownAdapter;
use crate::cli::cluster::{TargetArgs, on_local_set};
use crate::cli::output::OutputFormat;
use crate::cli::table::{Table, span};
use crate::cli::vios::DbTargetArgs;

const HEAD: [&str; 8] =
    ["VIOS", "ADAPTER", "STORAGE", "STATE", "FOR", "ROUND TRIP", "SESSIONS", "REASON"];

/// Look at the ways of clients and VIOSes to the storage, and take them out of use.
#[derive(Debug, Subcommand)]
pub(crate) enum PathCommand {
    /// List every way of VIOSes, and clients' virtual adapters. Exit code 1 when a way is not good,
    /// or a node does not answer.
    Ls(LsArgs),
    /// List how VIOSes reach the storage as the database has it, also of those that are down, and
    /// which others may take over for each.
    Redundancy(DbTargetArgs),
    /// Take a way out of use until it is restored. Sessions move; clients notice nothing.
    Fail(ChangeArgs),
    /// Give a way back that was taken out of use.
    Restore(ChangeArgs),
}

/// Arguments of `path ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// How long to wait for a node.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    timeout_ms: u32,
}

/// Arguments of `path fail` and `path restore`.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The VIOS's node; may be left out when `--node` names it.
    #[arg(long)]
    vios: Option<NodeName>,
    /// The physical adapter; may be left out when the VIOS has a single one.
    #[arg(long)]
    adapter: Option<String>,
    /// How long to wait for the node.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    timeout_ms: u32,
}

impl PathCommand {
    /// Does what was asked.
    pub(crate) fn run(self, out: OutputFormat) -> Result<ExitCode> {
        match self {
            Self::Ls(args) => on_local_set(args.run(out)),
            Self::Redundancy(args) => on_local_set(redundancy::list(args, out)),
            Self::Fail(args) => on_local_set(args.run(Change::Fail, out)),
            Self::Restore(args) => on_local_set(args.run(Change::Restore, out)),
        }
    }
}

/// What is done to a way.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Fail,
    Restore,
}

impl LsArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let (nodes, tool) = (self.target.nodes()?, self.target.tool()?);
        let within = Duration::from_millis(self.timeout_ms.into());
        let asked = nodes.into_iter().map(async |(node, addr)| {
            let answer = async {
                let target = tool.connect(node.clone(), &addr).await?;
                let paths = target.ask_if_there::<Operated, _>(DSA_NAME, Paths, within).await?;
                Ok((paths, adapters::of(&target, within).await?))
            };
            let answer: Result<_, ToolError> = answer.await;
            answer
                .map(|found| (node.clone(), found))
                .map_err(|error| format!("{node}: {:#}", anyhow::Error::new(error)))
        });
        let mut list = List { schema: SCHEMA, ..List::default() };
        for answer in join_all(asked).await {
            match answer {
                Ok((node, (found, used))) => {
                    let used = used.into_iter();
                    list.adapters.extend(used.map(|one| ShownAdapter::new(node.clone(), one)));
                    let rows = found.into_iter().flat_map(|listing| listing.paths);
                    list.paths.extend(rows.map(|row| ShownPath::new(node.clone(), row)));
                }
                Err(error) => list.errors.push(error),
            }
        }
        out.print(&list)?;
        tool.close().await;
        let is_well = list.errors.is_empty() && list.paths.iter().all(|path| path.state == "good");
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl ChangeArgs {
    async fn run(self, change: Change, out: OutputFormat) -> Result<ExitCode> {
        let tool = self.target.tool()?;
        let done = self.change(&tool, change).await;
        tool.close().await;
        out.print(&done?)?;
        Ok(ExitCode::SUCCESS)
    }

    async fn change(self, tool: &Tool, change: Change) -> Result<Changed> {
        let within = Duration::from_millis(self.timeout_ms.into());
        let (vios, addr) = self.target.one(self.vios.as_ref(), "--vios")?;
        let target = tool.connect(vios.clone(), &addr).await?;
        let listing = target.ask_if_there::<Operated, _>(DSA_NAME, Paths, within).await?;
        let listing =
            listing.with_context(|| format!("{vios} is no VIOS: its file has no [[adapter]]"))?;
        let names: Vec<&str> = listing.paths.iter().map(|path| path.adapter.as_str()).collect();
        let adapter = match (self.adapter, names.as_slice()) {
            (Some(adapter), _) => adapter,
            (None, [adapter]) => (*adapter).to_owned(),
            (None, _several) => bail!("name one with --adapter: {}", names.join(", ")),
        };
        let known = || format!("{vios} has {}", names.join(", "));
        let found = target.actor::<Operated>(DSA_NAME);
        let name = adapter.clone();
        match change {
            Change::Fail => found.ask(FailPath { adapter: name }, within).await?,
            Change::Restore => found.ask(RestorePath { adapter: name }, within).await?,
        }
        .with_context(known)?;
        Ok(Changed { schema: SCHEMA, vios, adapter, change })
    }
}

/// A way and whose it is.
#[derive(Debug, Serialize)]
struct ShownPath {
    vios: NodeName,
    adapter: String,
    storage: String,
    state: &'static str,
    reason: String,
    for_s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_us: Option<u128>,
    sessions: u64,
}

impl ShownPath {
    fn new(vios: NodeName, row: PathRow) -> Self {
        let PathRow { adapter, storage, state, reason, for_how_long, round_trip, sessions } = row;
        let state = state_label(state);
        let round_trip_us = round_trip.map(|round_trip| round_trip.as_micros());
        let for_s = for_how_long.as_secs();
        Self { vios, adapter, storage, state, reason, for_s, round_trip_us, sessions }
    }
}

const fn state_label(state: State) -> &'static str {
    match state {
        State::Good => "good",
        State::Degraded => "degraded",
        State::Lost => "lost",
    }
}

/// What `path ls` answers.
#[derive(Debug, Default, Serialize)]
struct List {
    schema: u32,
    paths: Vec<ShownPath>,
    /// Of clients, one for each LU.
    adapters: Vec<ShownAdapter>,
    errors: Vec<String>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(HEAD);
        for path in &self.paths {
            table.row([
                path.vios.to_string(),
                path.adapter.clone(),
                path.storage.clone(),
                path.state.to_owned(),
                span(path.for_s),
                path.round_trip_us.map_or_else(|| "-".to_owned(), |us| format!("{us} us")),
                path.sessions.to_string(),
                path.reason.clone(),
            ]);
        }
        write!(f, "{table}")?;
        adapters::write(&self.adapters, f)?;
        self.errors.iter().try_for_each(|error| writeln!(f, "{error}"))
    }
}

/// What `path fail` and `path restore` answer.
#[derive(Debug, Serialize)]
struct Changed {
    schema: u32,
    vios: NodeName,
    adapter: String,
    change: Change,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vios, adapter, .. } = self;
        match self.change {
            Change::Fail => writeln!(f, "{adapter} of {vios} is out of use"),
            Change::Restore => writeln!(f, "{adapter} of {vios} is given back"),
        }
    }
}
