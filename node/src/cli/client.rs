//! `vioduct client …`: client partitions.

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use vioduct_node::status::SCHEMA;
use vioduct_vios::cluster::admin;
use vioduct_vios::cluster::row::{ClientKey, ClientRow, VtdKey};

use crate::cli::cluster::on_local_set;
use crate::cli::output::{Done, OutputFormat};
use crate::cli::sight::{Sight, Source};
use crate::cli::table::Table;
use crate::cli::vios::DbTargetArgs;

const HEAD: [&str; 3] = ["CLIENT", "ID", "VTDS"];

/// Look at client partitions, make them known and forget them.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// List them.
    Ls(DbTargetArgs),
    /// Make a client partition known.
    Add(ClientArgs),
    /// Forget a client partition that has no VTDs.
    Remove(ClientArgs),
}

/// One client.
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    db: DbTargetArgs,
    /// CEC/NAME, as 1/lpar1.
    client: ClientKey,
}

impl ClientCommand {
    /// Does what was asked.
    pub(crate) fn run(self, out: OutputFormat) -> Result<ExitCode> {
        match self {
            Self::Ls(args) => on_local_set(list(args, out)),
            Self::Add(args) => on_local_set(args.add(out)),
            Self::Remove(args) => on_local_set(args.remove(out)),
        }
    }
}

impl ClientArgs {
    async fn add(self, out: OutputFormat) -> Result<ExitCode> {
        let session = self.db.open().await?;
        let number = admin::add_client(&session.db, &self.client).await?;
        let done = format!("client {} has ClientID {number}", self.client);
        out.print(&Done::new("client", self.client.to_string(), done))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }

    async fn remove(self, out: OutputFormat) -> Result<ExitCode> {
        let session = self.db.open().await?;
        admin::remove_client(&session.db, &self.client).await?;
        let done = format!("client {} is forgotten", self.client);
        out.print(&Done::new("client", self.client.to_string(), done))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(args: DbTargetArgs, out: OutputFormat) -> Result<ExitCode> {
    let session = args.open().await?;
    let Sight { view, source } = args.sight(&session).await?;
    let clients = view.all::<ClientRow>().map(|(client, ClientRow { number, vtds })| Client {
        client: client.to_string(),
        id: number,
        vtds,
    });
    out.print(&List { schema: SCHEMA, source, clients: clients.collect() })?;
    session.tool.close().await;
    Ok(ExitCode::SUCCESS)
}

/// A client as it is listed.
#[derive(Debug, Serialize)]
struct Client {
    client: String,
    id: u32,
    vtds: Vec<VtdKey>,
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
        for Client { client, id, vtds } in &self.clients {
            let vtds: Vec<String> = vtds.iter().map(|vtd| vtd.0.to_string()).collect();
            table.row([client.clone(), id.to_string(), vtds.join(" ")]);
        }
        write!(f, "{table}{}", self.source)
    }
}
