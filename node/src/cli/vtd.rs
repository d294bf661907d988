//! `vioduct vtd …`: virtual target devices, by which clients see LUs.

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use vioduct_node::status::SCHEMA;
use vioduct_vios::api::{Object, VioId, VioNew, Vtd};
use vioduct_vios::cluster::row::{ClientKey, VtdKey};

use crate::cli::api::VersionArgs;
use crate::cli::cluster::on_local_set;
use crate::cli::output::{Done, OutputFormat};
use crate::cli::sight::{Sight, Source};
use crate::cli::table::Table;
use crate::cli::vios::DbTargetArgs;

const HEAD: [&str; 5] = ["VTD", "LU", "CLIENT", "SOCKET", "VERSION"];

/// Look at virtual target devices, make and delete them.
#[derive(Debug, Subcommand)]
pub(crate) enum VtdCommand {
    /// List them.
    Ls(DbTargetArgs),
    /// Show an LU to a client: the hypervisor of its CEC attaches it.
    Create(CreateArgs),
    /// Take an LU out of its client's sight: the hypervisor of its CEC detaches it.
    Delete(DeleteArgs),
}

/// Arguments of `vtd create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    db: DbTargetArgs,
    /// Number of the LU.
    #[arg(long)]
    lu: u64,
    /// The client: CEC/NAME, as 1/lpar1.
    #[arg(long)]
    client: ClientKey,
    /// Where the client will find it: unix:/PATH or tcp:ADDR:PORT, on the hypervisor's host. Left
    /// out, it is a Unix socket in the hypervisor's data directory; `vioduct lu ls` shows it.
    #[arg(long)]
    socket: Option<String>,
}

/// Arguments of `vtd delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    db: DbTargetArgs,
    /// Its number.
    vtd: u32,
    #[command(flatten)]
    version: VersionArgs,
}

impl VtdCommand {
    /// Does what was asked.
    pub(crate) fn run(self, out: OutputFormat) -> Result<ExitCode> {
        match self {
            Self::Ls(args) => on_local_set(list(args, out)),
            Self::Create(args) => on_local_set(args.run(out)),
            Self::Delete(args) => on_local_set(args.run(out)),
        }
    }
}

impl CreateArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let Self { db, lu, client, socket } = self;
        let done = |Vtd { vtd, lu, client, .. }| {
            Done::new("vtd", vtd, format!("VTD {} shows LU {lu} to client {client}", vtd.0))
        };
        db.create(VioNew::Vtd { lu, client, socket }, out, done).await
    }
}

impl DeleteArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let Self { db, vtd, version } = self;
        let done = Done::new("vtd", vtd, format!("VTD {vtd} is deleted"));
        db.delete(VioId::Vtd(VtdKey(vtd)), version, out, done).await
    }
}

async fn list(args: DbTargetArgs, out: OutputFormat) -> Result<ExitCode> {
    let session = args.open().await?;
    let Sight { view, source } = args.sight(&session).await?;
    out.print(&List { schema: SCHEMA, source, vtds: Vtd::all(&view).collect() })?;
    session.tool.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Answer of `vtd ls`.
#[derive(Debug, Serialize)]
struct List {
    schema: u32,
    #[serde(flatten)]
    source: Source,
    vtds: Vec<Vtd>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(HEAD);
        for Vtd { vtd, version, lu, client, socket } in &self.vtds {
            let socket = socket.clone().unwrap_or_else(|| "-".to_owned());
            let (vtd, lu, version) = (vtd.0.to_string(), lu.to_string(), version.to_string());
            table.row([vtd, lu, client.to_string(), socket, version]);
        }
        write!(f, "{table}{}", self.source)
    }
}
