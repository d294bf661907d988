//! `vioduct vtd …`: virtual target devices, by which clients see LUs.

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use vioduct_node::status::SCHEMA;
use vioduct_vios::cluster::admin;
use vioduct_vios::cluster::row::{ClientKey, VtdKey, VtdRow};
use vioduct_vios::redirect::name::LuId;

use crate::cli::cluster::on_local_set;
use crate::cli::output::{Done, OutputFormat};
use crate::cli::sight::{Sight, Source};
use crate::cli::table::Table;
use crate::cli::vios::DbTargetArgs;

const HEAD: [&str; 4] = ["VTD", "LU", "CLIENT", "SOCKET"];

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
        let (session, lu) = (self.db.open().await?, LuId(self.lu));
        let socket = self.socket.as_deref();
        let vtd = admin::create_vtd(&session.db, lu, &self.client, socket).await?;
        let done = format!("VTD {} shows LU {} to client {}", vtd.0, lu.0, self.client);
        out.print(&Done::new("vtd", vtd.0, done))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

impl DeleteArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let session = self.db.open().await?;
        admin::delete_vtd(&session.db, VtdKey(self.vtd)).await?;
        out.print(&Done::new("vtd", self.vtd, format!("VTD {} is deleted", self.vtd)))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(args: DbTargetArgs, out: OutputFormat) -> Result<ExitCode> {
    let session = args.open().await?;
    let Sight { view, source } = args.sight(&session).await?;
    let vtds = view.all::<VtdRow>().map(|(vtd, VtdRow { lu, client, front })| Vtd {
        vtd,
        lu,
        client: client.to_string(),
        socket: front,
    });
    out.print(&List { schema: SCHEMA, source, vtds: vtds.collect() })?;
    session.tool.close().await;
    Ok(ExitCode::SUCCESS)
}

/// A VTD as it is listed.
#[derive(Debug, Serialize)]
struct Vtd {
    vtd: VtdKey,
    lu: u64,
    client: String,
    /// Where its client finds it, if an operator has said so.
    socket: Option<String>,
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
        for Vtd { vtd, lu, client, socket } in &self.vtds {
            let socket = socket.clone().unwrap_or_else(|| "-".to_owned());
            table.row([vtd.0.to_string(), lu.to_string(), client.clone(), socket]);
        }
        write!(f, "{table}{}", self.source)
    }
}
