//! `vioduct client …`: client partitions.

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use vioduct_node::status::SCHEMA;
use vioduct_vios::api::{Client, Object, VioId, VioNew};
use vioduct_vios::cluster::row::ClientKey;

use crate::cli::api::VersionArgs;
use crate::cli::cluster::on_local_set;
use crate::cli::output::{Done, OutputFormat};
use crate::cli::sight::{Sight, Source};
use crate::cli::table::Table;
use crate::cli::vios::DbTargetArgs;

const HEAD: [&str; 4] = ["CLIENT", "ID", "VTDS", "VERSION"];

/// Look at client partitions, make them known and forget them.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// List them.
    Ls(DbTargetArgs),
    /// Make a client partition known.
    Add(ClientArgs),
    /// Forget a client partition that has no VTDs.
    Remove(RemoveArgs),
}

/// One client.
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    db: DbTargetArgs,
    /// CEC/NAME, as 1/lpar1.
    client: ClientKey,
}

/// Arguments of `client remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    which: ClientArgs,
    #[command(flatten)]
    version: VersionArgs,
}

impl ClientCommand {
    /// Does what was asked.
    pub(crate) fn run(self, out: OutputFormat) -> Result<ExitCode> {
        match self {
            Self::Ls(args) => on_local_set(list(args, out)),
            Self::Add(args) => on_local_set(args.run(out)),
            Self::Remove(args) => on_local_set(args.run(out)),
        }
    }
}

impl ClientArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let Self { db, client } = self;
        let done = |Client { client, id, .. }| {
            Done::new("client", client.to_string(), format!("client {client} has ClientID {id}"))
        };
        db.create(VioNew::Client { client }, out, done).await
    }
}

impl RemoveArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let Self { which: ClientArgs { db, client }, version } = self;
        let done = format!("client {client} is forgotten");
        let done = Done::new("client", client.to_string(), done);
        db.delete(VioId::Client(client), version, out, done).await
    }
}

async fn list(args: DbTargetArgs, out: OutputFormat) -> Result<ExitCode> {
    let session = args.open().await?;
    let Sight { view, source } = args.sight(&session).await?;
    out.print(&List { schema: SCHEMA, source, clients: Client::all(&view).collect() })?;
    session.tool.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Answer of `client ls`.
#[derive(Debug, Serialize)]
struct List {
    schema: u32,
    #[serde(flatten)]
    source: Source,
    clients: Vec<Client>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(HEAD);
        for Client { client, version, id, vtds } in &self.clients {
            let vtds: Vec<String> = vtds.iter().map(|vtd| vtd.0.to_string()).collect();
            let vtds = vtds.join(" ");
            table.row([client.to_string(), id.to_string(), vtds, version.to_string()]);
        }
        write!(f, "{table}{}", self.source)
    }
}
