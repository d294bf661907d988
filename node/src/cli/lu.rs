//! `vioduct lu …`: logical units, as their storage has them and as clients have them.

mod image;
mod provision;
mod release;
mod resize;

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use futures_util::future::join_all;
use serde::Serialize;
use vioduct_certs::identity::NodeName;
use vioduct_certs::inventory::NodeAddr;
use vioduct_node::status::SCHEMA;
use vioduct_node::tool::{Target, Tool, ToolError};
use vioduct_runtime::{Accepts, RemoteMessage};

use vioduct_vios::api::{Lu, Object};
use vioduct_vios::cluster::row::{ExportRow, LuPhase, LuRow, OwnerRow, Row};
use vioduct_vios::cluster::view::View;
use vioduct_vios::redirect::name::LuId;
use vioduct_vios::repository::desk::{Desk, ListLus, LuState, REPOSITORY_NAME};
use vioduct_vios::roles::phyp::{ClearDisk, DiskPhase, DiskState, ListDisks, PHYP_NAME, PhypDesk};

use self::image::{ExportArgs, ImportArgs};
use self::provision::{CreateArgs, DeleteArgs};
use self::release::ReleaseArgs;
use self::resize::ResizeArgs;
use crate::cli::cluster::{TargetArgs, on_local_set};
use crate::cli::output::OutputFormat;
use crate::cli::sight::{known_by, revision_of};
use crate::cli::table::Table;

const HEAD: [&str; 12] = [
    "LU", "SIZE", "STORAGE", "OWNER", "SESSION", "PHYP", "STATE", "ENTRY", "EXIT", "LOST", "WORST",
    "SOCKET",
];

/// Look at logical units, make and delete them, bring their bytes in and out.
#[derive(Debug, Subcommand)]
pub(crate) enum LuCommand {
    /// List every LU, with the disks that clients see. Exit code 1 when a node does not answer.
    Ls(LsArgs),
    /// Have an LU made in a pool.
    Create(CreateArgs),
    /// Have an LU made larger. Clients see that when they connect anew.
    Resize(ResizeArgs),
    /// Have an LU deleted that no VTD shows. Its number is given to no other one.
    Delete(DeleteArgs),
    /// Say that the hypervisor which owned an LU outside of the cluster is off for good, and that
    /// nothing which it sent can land any more. No VTD may show the LU.
    Release(ReleaseArgs),
    /// Make an LU of a raw image.
    Import(ImportArgs),
    /// Copy an LU that no client uses to a raw image.
    Export(ExportArgs),
    /// Say that nothing which was left without an answer can land any more: the storage was fenced,
    /// or started anew. Only for an LU outside of the cluster whose pool has no --request-life-ms.
    Clear(ClearArgs),
}

/// Arguments of `lu ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// How long to wait for a node.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    timeout_ms: u32,
}

/// A disk of a hypervisor.
#[derive(Debug, Args)]
struct DiskArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The node with the hypervisor; may be left out when `--node` names it.
    #[arg(long)]
    phyp: Option<NodeName>,
    /// Number of the LU.
    #[arg(long)]
    lu: u64,
    /// How long to wait for the node.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    timeout_ms: u32,
}

impl DiskArgs {
    /// Asks the hypervisor, and says which node it is.
    async fn ask<M>(&self, tool: &Tool, message: M) -> Result<(NodeName, M::Result)>
    where
        M: RemoteMessage,
        M::Result: Send,
        PhypDesk: Accepts<M>,
    {
        let within = Duration::from_millis(self.timeout_ms.into());
        let (phyp, addr) = self.target.one(self.phyp.as_ref(), "--phyp")?;
        let target = tool.connect(phyp.clone(), &addr).await?;
        let answer = target.ask_if_there::<PhypDesk, _>(PHYP_NAME, message, within).await?;
        let none = || format!("{phyp} has no hypervisor: no [phyp] in its file");
        Ok((phyp.clone(), answer.with_context(none)?))
    }
}

/// Arguments of `lu clear`.
#[derive(Debug, Args)]
pub(crate) struct ClearArgs {
    #[command(flatten)]
    disk: DiskArgs,
}

impl LuCommand {
    /// Does what was asked.
    pub(crate) fn run(self, out: OutputFormat) -> Result<ExitCode> {
        match self {
            Self::Ls(args) => on_local_set(args.run(out)),
            Self::Create(args) => on_local_set(args.run(out)),
            Self::Resize(args) => on_local_set(args.run(out)),
            Self::Delete(args) => on_local_set(args.run(out)),
            Self::Release(args) => on_local_set(args.run(out)),
            Self::Import(args) => on_local_set(args.run(out)),
            Self::Export(args) => on_local_set(args.run(out)),
            Self::Clear(args) => on_local_set(args.run(out)),
        }
    }
}

impl LsArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let (nodes, tool) = (self.target.nodes()?, self.target.tool()?);
        let within = Duration::from_millis(self.timeout_ms.into());
        let asked = nodes.into_iter().map(async |(node, addr)| {
            let answer = look(&tool, node.clone(), &addr, within).await;
            answer.map_err(|error| format!("{node}: {:#}", anyhow::Error::new(error)))
        });
        let mut list = List { schema: SCHEMA, ..List::default() };
        let mut newest: Option<(u64, Target)> = None;
        for answer in join_all(asked).await {
            match answer {
                Ok(Seen { lus, disks, known }) => {
                    list.lus.extend(lus);
                    list.disks.extend(disks);
                    newest = newest.into_iter().chain(known).max_by_key(|known| known.0);
                }
                Err(error) => list.errors.push(error),
            }
        }
        if let Some((_revision, target)) = newest {
            match known_by(&target, &[LuRow::TABLE, OwnerRow::TABLE], within).await {
                Ok(view) => {
                    let view = view.unwrap_or_default();
                    let known = |lu: Lu| KnownLu { owner: owner(&view, lu.lu), ..lu.into() };
                    list.rows = Lu::all(&view).map(known).collect();
                }
                Err(error) => list.errors.push(format!("{}: {error}", target.name())),
            }
        }
        out.print(&list)?;
        tool.close().await;
        Ok(if list.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What a node has of LUs, and of disks.
struct Seen {
    lus: Vec<StoredLu>,
    disks: Vec<Disk>,
    /// LUs as the node knows them from the database.
    known: Option<(u64, Target)>,
}

async fn look(
    tool: &Tool,
    node: NodeName,
    addr: &NodeAddr,
    within: Duration,
) -> Result<Seen, ToolError> {
    let target = tool.connect(node.clone(), addr).await?;
    let stored = target.ask_if_there::<Desk, _>(REPOSITORY_NAME, ListLus, within).await?;
    let carried = target.ask_if_there::<PhypDesk, _>(PHYP_NAME, ListDisks, within).await?;
    // A node of another build may not tell.
    let known = revision_of(&target, within).await.ok().flatten();
    let known = known.map(|revision| (revision, target));
    let lus = stored.map(|stored| stored.lus).unwrap_or_default();
    let lus = lus.into_iter().map(|lu| StoredLu { storage: node.clone(), lu });
    let disks = carried.map(|carried| carried.disks).unwrap_or_default();
    let disks = disks.into_iter().map(|disk| Disk::new(node.clone(), disk));
    Ok(Seen { lus: lus.collect(), disks: disks.collect(), known })
}

impl ClearArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let lu = self.disk.lu;
        let tool = self.disk.target.tool()?;
        let asked = self.disk.ask(&tool, ClearDisk { lu }).await;
        tool.close().await;
        let (phyp, answer) = asked?;
        answer.with_context(|| format!("LU {lu} is not cleared"))?;
        out.print(&Cleared { schema: SCHEMA, lu, phyp })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// An LU and where it is stored.
#[derive(Debug, Serialize)]
struct StoredLu {
    storage: NodeName,
    #[serde(flatten)]
    lu: LuState,
}

/// A client's disk and who carries it.
#[derive(Debug, Serialize)]
struct Disk {
    phyp: NodeName,
    state: &'static str,
    lu: u64,
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<u32>,
    sessions: u64,
    paths_lost: u64,
    longest_wait_us: u64,
    requests: u64,
    /// Writes that may still land on a storage that cannot fence.
    unresolved: u64,
}

impl Disk {
    fn new(phyp: NodeName, disk: DiskState) -> Self {
        let DiskState { lu, front, phase, error, size, entry, exit, .. } = disk;
        let DiskState { sessions, paths_lost, longest_wait_us, requests, unresolved, .. } = disk;
        let state = label(phase);
        Self {
            phyp,
            state,
            lu,
            uri: front,
            error,
            size,
            entry,
            exit,
            sessions,
            paths_lost,
            longest_wait_us,
            requests,
            unresolved,
        }
    }
}

/// An LU as the database has it.
#[derive(Debug, Serialize)]
struct KnownLu {
    lu: u64,
    version: u64,
    pool: String,
    size: u64,
    phase: &'static str,
    /// Why it is not made.
    why: Option<String>,
    /// What it is on a storage outside of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    export: Option<ExportRow>,
    /// The node of the hypervisor that has not let it go, of such a one.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<NodeName>,
}

fn owner(view: &View, lu: u64) -> Option<NodeName> {
    let row = view.get::<OwnerRow>(&LuId(lu));
    row.filter(|row| !row.is_clean).map(|row| row.node)
}

impl From<Lu> for KnownLu {
    fn from(Lu { lu, version, pool, size, phase, export, .. }: Lu) -> Self {
        let (phase, why) = match phase {
            LuPhase::Making => ("making", None),
            LuPhase::Ready => ("ready", None),
            LuPhase::Failed(why) => ("failed", Some(why)),
            LuPhase::Deleting => ("deleting", None),
        };
        Self { lu, version, pool: pool.to_string(), size, phase, why, export, owner: None }
    }
}

/// What `lu clear` answers.
#[derive(Debug, Serialize)]
struct Cleared {
    schema: u32,
    lu: u64,
    phyp: NodeName,
}

impl fmt::Display for Cleared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "LU {} cleared on {}", self.lu, self.phyp)
    }
}

/// What `lu ls` answers.
#[derive(Debug, Default, Serialize)]
struct List {
    schema: u32,
    /// As storages have them.
    lus: Vec<StoredLu>,
    /// As the database has them, by the node that knows most of it.
    rows: Vec<KnownLu>,
    disks: Vec<Disk>,
    errors: Vec<String>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(HEAD);
        for StoredLu { storage, lu } in &self.lus {
            let of_lu = |disk: &&Disk| disk.lu == lu.lu;
            let mut disks = self.disks.iter().filter(of_lu).peekable();
            if disks.peek().is_none() {
                table.row(row(&stored_cells(storage, lu), None));
            }
            for disk in disks {
                table.row(row(&stored_cells(storage, lu), Some(disk)));
            }
        }
        for disk in &self.disks {
            if !self.lus.iter().any(|lu| lu.lu.lu == disk.lu) {
                let dash = || "-".to_owned();
                let unknown = [disk.lu.to_string(), dash(), dash(), dash(), dash()];
                table.row(row(&unknown, Some(disk)));
            }
        }
        write!(f, "{table}")?;
        for KnownLu { lu, pool, phase, why, export, owner, .. } in &self.rows {
            if let Some(ExportRow { name, only }) = export {
                let only = only.iter().map(|node| format!(" by {node} alone")).collect::<String>();
                let owner = owner.iter().map(|node| format!(", owned by {node}"));
                let owner = owner.collect::<String>();
                writeln!(f, "LU {lu} of pool {pool} is export {name:?}{only}{owner}")?;
            } else if !self.lus.iter().any(|stored| stored.lu.lu == *lu) {
                let why = why.iter().map(|why| format!(": {why}")).collect::<String>();
                writeln!(f, "LU {lu} of pool {pool} is {phase}{why}")?;
            }
        }
        for disk in &self.disks {
            if let Some(error) = &disk.error {
                writeln!(f, "LU {} on {}: {error}", disk.lu, disk.phyp)?;
            }
        }
        self.errors.iter().try_for_each(|error| writeln!(f, "{error}"))
    }
}

fn stored_cells(storage: &NodeName, lu: &LuState) -> [String; 5] {
    let session = if lu.is_open { lu.session.to_string() } else { "closed".to_owned() };
    let owner = if lu.owner == 0 { "-".to_owned() } else { lu.owner.to_string() };
    [lu.lu.to_string(), bytes(lu.size), storage.to_string(), owner, session]
}

fn row(stored: &[String; 5], disk: Option<&Disk>) -> [String; 12] {
    let dash = || "-".to_owned();
    let [lu, size, storage, owner, session] = stored.clone();
    let seen = match disk {
        None => [dash(), dash(), dash(), dash(), dash(), dash(), dash()],
        Some(disk) => [
            disk.phyp.to_string(),
            disk.state.to_owned(),
            disk.entry.map_or_else(dash, |vios| vios.to_string()),
            disk.exit.map_or_else(dash, |vios| vios.to_string()),
            disk.paths_lost.to_string(),
            format!("{} ms", disk.longest_wait_us / 1000),
            disk.uri.clone(),
        ],
    };
    let [phyp, state, entry, exit, lost, worst, socket] = seen;
    [lu, size, storage, owner, session, phyp, state, entry, exit, lost, worst, socket]
}

const fn label(phase: DiskPhase) -> &'static str {
    match phase {
        DiskPhase::Attaching => "attaching",
        DiskPhase::Waiting => "waiting",
        DiskPhase::Serving => "serving",
        DiskPhase::Over => "over",
    }
}

/// The largest unit that leaves no rest.
fn bytes(count: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = units.into_iter().find(|(_, shift)| count > 0 && count.trailing_zeros() >= *shift);
    whole.map_or_else(|| count.to_string(), |(unit, shift)| format!("{}{unit}", count >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_largest_unit_that_leaves_no_rest() {
        let shown = [0, 1, 1024, 1536, 3 << 20, 10 << 30, 2 << 40, u64::MAX].map(bytes);
        let whole = ["0", "1", "1KiB", "1536", "3MiB", "10GiB", "2TiB", "18446744073709551615"];
        assert_eq!(shown, whole);
    }
}
