//! `vioduct pool …`: pools of storage.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use vioduct_certs::identity::NodeName;
use vioduct_node::status::SCHEMA;
use vioduct_vios::cluster::admin;
use vioduct_vios::cluster::row::{LuRow, ObjectName, PoolRow};

use crate::cli::cluster::on_local_set;
use crate::cli::output::{Done, OutputFormat};
use crate::cli::table::Table;
use crate::cli::vios::DbTargetArgs;

const HEAD: [&str; 4] = ["POOL", "STORAGE", "LUS", "BYTES OF LUS"];

/// Look at pools of storage, make and delete them.
#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// List them.
    Ls(DbTargetArgs),
    /// Make a pool of what a storage node serves.
    Create(CreateArgs),
    /// Forget a pool that has no LUs.
    Delete(DeleteArgs),
}

/// Arguments of `pool create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    db: DbTargetArgs,
    /// Its name.
    name: ObjectName,
    /// The node that serves it.
    #[arg(long)]
    storage: NodeName,
}

/// Arguments of `pool delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    db: DbTargetArgs,
    /// Its name.
    name: ObjectName,
}

impl PoolCommand {
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
        self.db.target.names(&self.storage)?;
        let session = self.db.open().await?;
        admin::create_pool(&session.db, &self.name, &self.storage).await?;
        let done = format!("pool {} is made of what {} serves", self.name, self.storage);
        out.print(&Done::new("pool", self.name.to_string(), done))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

impl DeleteArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let session = self.db.open().await?;
        admin::delete_pool(&session.db, &self.name).await?;
        let done = format!("pool {} is deleted", self.name);
        out.print(&Done::new("pool", self.name.to_string(), done))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(args: DbTargetArgs, out: OutputFormat) -> Result<ExitCode> {
    let session = args.open().await?;
    let (revision, pools) = admin::all::<PoolRow>(&session.db).await?;
    let (_revision, lus) = admin::all::<LuRow>(&session.db).await?;
    let mut bytes: BTreeMap<ObjectName, u64> = BTreeMap::new();
    for (_lu, row) in lus {
        let sum = bytes.entry(row.pool).or_default();
        *sum = sum.saturating_add(row.size);
    }
    let pools = pools.into_iter().map(|(name, PoolRow { storage, lus })| {
        let lu_bytes = bytes.get(&name).copied().unwrap_or(0);
        Pool { name, storage, lus, lu_bytes }
    });
    out.print(&List { schema: SCHEMA, revision, pools: pools.collect() })?;
    session.tool.close().await;
    Ok(ExitCode::SUCCESS)
}

/// A pool as it is listed.
#[derive(Debug, Serialize)]
struct Pool {
    name: ObjectName,
    storage: NodeName,
    lus: u32,
    /// What its LUs may come to hold.
    lu_bytes: u64,
}

/// Answer of `pool ls`.
#[derive(Debug, Serialize)]
struct List {
    schema: u32,
    revision: u64,
    pools: Vec<Pool>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(HEAD);
        for Pool { name, storage, lus, lu_bytes } in &self.pools {
            let numbers = [lus.to_string(), lu_bytes.to_string()];
            let [lus, lu_bytes] = numbers;
            table.row([name.to_string(), storage.to_string(), lus, lu_bytes]);
        }
        write!(f, "{table}")
    }
}
