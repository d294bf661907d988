//! `vioduct pool …`: pools of storage.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use futures_util::future::join_all;
use serde::Serialize;
use vioduct_certs::identity::NodeName;
use vioduct_node::status::SCHEMA;
use vioduct_node::tool::Tool;
use vioduct_vios::cluster::admin;
use vioduct_vios::cluster::row::{LuRow, ObjectName, PoolRow};
use vioduct_vios::repository::desk::{Desk, REPOSITORY_NAME};
use vioduct_vios::repository::room::{ASKED_MAX, AskRoom, Room as RepositoryRoom};

use crate::cli::cluster::{TargetArgs, on_local_set};
use crate::cli::output::{Done, OutputFormat};
use crate::cli::sight::{Sight, Source};
use crate::cli::table::Table;
use crate::cli::vios::DbTargetArgs;

const HEAD: [&str; 7] = ["POOL", "STORAGE", "LUS", "BYTES OF LUS", "ALLOCATED", "FREE", "CAPACITY"];
/// How long a storage is waited for.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// Look at pools of storage, make and delete them.
#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// List them, with the room of their storages. Exit code 1 when one does not answer.
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
    let Sight { view, source } = args.sight(&session).await?;
    let mut of_pool: BTreeMap<ObjectName, (Vec<u64>, u64)> = BTreeMap::new();
    for (lu, row) in view.all::<LuRow>() {
        let (numbers, bytes) = of_pool.entry(row.pool).or_default();
        numbers.push(lu.0);
        *bytes = bytes.saturating_add(row.size);
    }
    let (target, tool) = (&args.target, &session.tool);
    let asked = view.all::<PoolRow>().map(|(name, PoolRow { storage, lus })| {
        let (numbers, lu_bytes) = of_pool.remove(&name).unwrap_or_default();
        async move {
            let (room, error) = match room(tool, target, &storage, &numbers).await {
                Ok(room) => (Some(room), None),
                Err(error) => (None, Some(format!("{error:#}"))),
            };
            Pool { name, storage, lus, lu_bytes, room: room.map(Into::into), error }
        }
    });
    let pools = join_all(asked).await;
    let are_known = pools.iter().all(|pool| pool.error.is_none());
    out.print(&List { schema: SCHEMA, source, pools })?;
    session.tool.close().await;
    Ok(if are_known { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a storage says of its room, and of what these LUs take of it.
async fn room(
    tool: &Tool,
    whom: &TargetArgs,
    storage: &NodeName,
    lus: &[u64],
) -> Result<RepositoryRoom> {
    let (name, addr) = whom.one(Some(storage), "--cluster")?;
    let target = tool.connect(name, &addr).await?;
    let mut allocated: u64 = 0;
    let mut rest = lus;
    loop {
        let (some, others) = rest.split_at(rest.len().min(ASKED_MAX));
        let ask = AskRoom { lus: some.to_vec() };
        let told = target.ask_if_there::<Desk, _>(REPOSITORY_NAME, ask, ASK_WITHIN).await?;
        let room = told.context("no volume is served there: no [storage] in its file")??;
        allocated = allocated.saturating_add(room.allocated);
        if others.is_empty() {
            return Ok(RepositoryRoom { allocated, ..room });
        }
        rest = others;
    }
}

/// A pool as it is listed.
#[derive(Debug, Serialize)]
struct Pool {
    name: ObjectName,
    storage: NodeName,
    lus: u32,
    /// What its LUs may come to hold.
    lu_bytes: u64,
    #[serde(flatten)]
    room: Option<Room>,
    /// Why the room is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Bytes of a pool's storage.
#[derive(Debug, Clone, Copy, Serialize)]
struct Room {
    /// What the pool's LUs take now.
    allocated: u64,
    /// What is left, for all pools and whatever else lies there.
    free: u64,
    capacity: u64,
}

impl From<RepositoryRoom> for Room {
    fn from(RepositoryRoom { capacity, free, allocated }: RepositoryRoom) -> Self {
        Self { allocated, free, capacity }
    }
}

/// Answer of `pool ls`.
#[derive(Debug, Serialize)]
struct List {
    schema: u32,
    #[serde(flatten)]
    source: Source,
    pools: Vec<Pool>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(HEAD);
        for Pool { name, storage, lus, lu_bytes, room, .. } in &self.pools {
            let of = |pick: fn(&Room) -> u64| {
                room.as_ref().map_or_else(|| "-".to_owned(), |room| pick(room).to_string())
            };
            table.row([
                name.to_string(),
                storage.to_string(),
                lus.to_string(),
                lu_bytes.to_string(),
                of(|room| room.allocated),
                of(|room| room.free),
                of(|room| room.capacity),
            ]);
        }
        write!(f, "{table}{}", self.source)?;
        for Pool { name, storage, error, .. } in &self.pools {
            if let Some(error) = error {
                writeln!(f, "pool {name}: {storage} does not tell its room: {error}")?;
            }
        }
        Ok(())
    }
}
