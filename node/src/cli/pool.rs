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
use vioduct_vios::api::{Lu, Object, Pool as KnownPool, VioId, VioNew};
use vioduct_vios::cluster::row::ObjectName;
use vioduct_vios::repository::desk::{Desk, REPOSITORY_NAME};
use vioduct_vios::repository::room::{ASKED_MAX, AskRoom, Room as RepositoryRoom};

use crate::cli::api::VersionArgs;
use crate::cli::cluster::{TargetArgs, on_local_set};
use crate::cli::output::{Done, OutputFormat};
use crate::cli::sight::{Sight, Source};
use crate::cli::table::Table;
use crate::cli::vios::DbTargetArgs;

const HEAD: [&str; 8] =
    ["POOL", "STORAGE", "LUS", "BYTES OF LUS", "ALLOCATED", "FREE", "CAPACITY", "VERSION"];
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
    #[command(flatten)]
    storage: StorageArgs,
    /// Within what time a storage outside of the cluster carries a request out, or never. Left out,
    /// nobody knows: then what was left without an answer waits for `vioduct lu clear`.
    #[arg(long, value_name = "MS", requires = "outside",
        value_parser = clap::value_parser!(u32).range(1..))]
    request_life_ms: Option<u32>,
}

/// What a pool is made of.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct StorageArgs {
    /// The node that serves it.
    #[arg(long, value_name = "NODE")]
    storage: Option<NodeName>,
    /// It is a storage outside of the cluster: an NBD server, to which `[outside]` in the files of
    /// VIOSes leads.
    #[arg(long)]
    outside: bool,
}

/// Arguments of `pool delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    db: DbTargetArgs,
    /// Its name.
    name: ObjectName,
    #[command(flatten)]
    version: VersionArgs,
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
        let Self { db, name, storage: StorageArgs { storage, .. }, request_life_ms } = self;
        let object = match storage {
            Some(storage) => {
                db.target.names(&storage)?;
                VioNew::Pool { name, storage }
            }
            None => VioNew::OutsidePool { name, request_life_ms },
        };
        let done = |KnownPool { name, storage, .. }| {
            let done = match storage {
                Some(storage) => format!("pool {name} is made of what {storage} serves"),
                None => format!("pool {name} is the storage outside of the cluster"),
            };
            Done::new("pool", name, done)
        };
        db.create(object, out, done).await
    }
}

impl DeleteArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let Self { db, name, version } = self;
        let done = Done::new("pool", name.clone(), format!("pool {name} is deleted"));
        db.delete(VioId::Pool(name), version, out, done).await
    }
}

async fn list(args: DbTargetArgs, out: OutputFormat) -> Result<ExitCode> {
    let session = args.open().await?;
    let Sight { view, source } = args.sight(&session).await?;
    let mut of_pool: BTreeMap<ObjectName, (Vec<u64>, u64)> = BTreeMap::new();
    for Lu { lu, pool, size, .. } in Lu::all(&view) {
        let (numbers, bytes) = of_pool.entry(pool).or_default();
        numbers.push(lu);
        *bytes = bytes.saturating_add(size);
    }
    let (target, tool) = (&args.target, &session.tool);
    let asked = KnownPool::all(&view).map(|pool| {
        let (numbers, lu_bytes) = of_pool.remove(&pool.name).unwrap_or_default();
        async move {
            let room = match &pool.storage {
                Some(storage) => room(tool, target, storage, &numbers).await.map(Some),
                None => Ok(None),
            };
            let (room, error) = match room {
                Ok(room) => (room, None),
                Err(error) => (None, Some(format!("{error:#}"))),
            };
            Pool { pool, lu_bytes, room: room.map(Into::into), error }
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
    #[serde(flatten)]
    pool: KnownPool,
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
        for Pool { pool, lu_bytes, room, .. } in &self.pools {
            let of = |pick: fn(&Room) -> u64| {
                room.as_ref().map_or_else(|| "-".to_owned(), |room| pick(room).to_string())
            };
            table.row([
                pool.name.to_string(),
                pool.storage.as_ref().map_or("outside", NodeName::as_str).to_owned(),
                pool.lus.to_string(),
                lu_bytes.to_string(),
                of(|room| room.allocated),
                of(|room| room.free),
                of(|room| room.capacity),
                pool.version.to_string(),
            ]);
        }
        write!(f, "{table}{}", self.source)?;
        for Pool { pool: KnownPool { name, storage, .. }, error, .. } in &self.pools {
            if let (Some(storage), Some(error)) = (storage, error) {
                writeln!(f, "pool {name}: {storage} does not tell its room: {error}")?;
            }
        }
        Ok(())
    }
}
