//! `vioduct db …`: the cluster's database.

mod answer;
mod lease;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::{Args, Subcommand};
use vioduct_certs::identity::NodeName;
use vioduct_db::ShardId;
use vioduct_db::client::{Db, DbConfig, Freshness, Members, Outcome, found};
use vioduct_db::command::{Place, TableId};
use vioduct_db::query::Range;
use vioduct_db::schema::Schema;
use vioduct_node::db::schema;
use vioduct_node::tool::Tool;

use self::answer::{CasAnswer, Founded, Listed, Reformed, ReplicaRow, Shown, Written};
use self::lease::LeaseCommand;
use self::watch::WatchArgs;
use crate::cli::cluster::{TargetArgs, on_local_set};
use crate::cli::output::OutputFormat;

/// Use and run the cluster's database.
#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Begin the database on the nodes that have `[db]` in their files. Done once; after a failure
    /// it may be done again with the same nodes.
    Init(InitArgs),
    /// Show a row. Exit code 1 when there is none.
    Get(GetArgs),
    /// Write a row.
    Put(PutArgs),
    /// Take a row away.
    Delete(DeleteArgs),
    /// Write a row if it has a certain value, or is not there. Exit code 1 when it is otherwise.
    Cas(CasArgs),
    /// List rows in order of their keys.
    Scan(ScanArgs),
    /// Print each change of rows as it comes, a line for each, until interrupted.
    Watch(WatchArgs),
    /// List the replicas of every shard. Exit code 1 when a shard has no leader, or a replica does
    /// not answer.
    Status(StatusArgs),
    /// Change which nodes have a replica of a shard, and which one leads.
    #[command(subcommand)]
    Replica(ReplicaCommand),
    /// Rows that go when their holder stops saying that it is there.
    #[command(subcommand)]
    Lease(LeaseCommand),
}

/// Change which nodes have a replica of a shard, and which one leads.
#[derive(Debug, Subcommand)]
pub(crate) enum ReplicaCommand {
    /// Have a node hold a replica: it is sent all rows, then it votes.
    Add(ReplicaArgs),
    /// Take a node's replica from the members. The node may be gone.
    Remove(ReplicaArgs),
    /// Have a node hold a replica in the place of another node, or of its own lost disk.
    Replace(ReplaceArgs),
    /// Have a node's replica lead.
    Lead(ReplicaArgs),
}

/// A replica's place.
#[derive(Debug, Args)]
pub(crate) struct ReplicaArgs {
    #[command(flatten)]
    db: DbArgs,
    /// Which shard.
    #[arg(long, default_value_t = 0)]
    shard: u32,
    /// Which node.
    on: NodeName,
}

/// Arguments of `db replica replace`.
#[derive(Debug, Args)]
pub(crate) struct ReplaceArgs {
    #[command(flatten)]
    place: ReplicaArgs,
    /// The node whose replica goes.
    #[arg(long)]
    old: NodeName,
}

/// What every command of the database needs.
#[derive(Debug, Args)]
struct DbArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Shards beside the system's, as the nodes' files have them.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=64))]
    shards: u32,
    /// How long to try.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    timeout_ms: u32,
}

/// A row's place.
#[derive(Debug, Args)]
struct PlaceArgs {
    /// Which table.
    #[arg(long, default_value = "kv")]
    table: String,
    /// Under which key.
    key: String,
}

/// Arguments of `db init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    db: DbArgs,
    /// The nodes, separated by commas; may be left out: all that the command can reach.
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<NodeName>,
}

/// Arguments of `db get`.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    db: DbArgs,
    #[command(flatten)]
    place: PlaceArgs,
    /// Take what any replica has, however old.
    #[arg(long)]
    stale: bool,
}

/// Arguments of `db put`.
#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    #[command(flatten)]
    db: DbArgs,
    #[command(flatten)]
    place: PlaceArgs,
    /// The lease with whose end the row goes, one of the row's shard.
    #[arg(long)]
    lease: Option<u64>,
    /// The value.
    value: String,
}

/// Arguments of `db delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    db: DbArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Arguments of `db cas`.
#[derive(Debug, Args)]
pub(crate) struct CasArgs {
    #[command(flatten)]
    db: DbArgs,
    #[command(flatten)]
    place: PlaceArgs,
    /// The value that it has to have; left out, there has to be no row.
    #[arg(long)]
    expect: Option<String>,
    /// The value that it gets.
    value: String,
}

/// Arguments of `db scan`.
#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    #[command(flatten)]
    db: DbArgs,
    /// Which table.
    #[arg(long, default_value = "kv")]
    table: String,
    /// The first key.
    #[arg(long, default_value = "")]
    from: String,
    /// The first key that is not listed.
    #[arg(long)]
    to: Option<String>,
    /// Most rows.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    limit: u32,
}

/// Arguments of `db status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    db: DbArgs,
}

impl DbCommand {
    /// Does what was asked.
    pub(crate) fn run(self, out: OutputFormat) -> Result<ExitCode> {
        match self {
            Self::Init(args) => on_local_set(args.run(out)),
            Self::Get(args) => on_local_set(args.run(out)),
            Self::Put(args) => on_local_set(args.run(out)),
            Self::Delete(args) => on_local_set(args.run(out)),
            Self::Cas(args) => on_local_set(args.run(out)),
            Self::Scan(args) => on_local_set(args.run(out)),
            Self::Watch(args) => on_local_set(args.run(out)),
            Self::Status(args) => on_local_set(args.run(out)),
            Self::Replica(command) => on_local_set(command.run(out)),
            Self::Lease(command) => on_local_set(command.run(out)),
        }
    }
}

/// The database, from outside the cluster.
pub(crate) struct Session {
    pub(crate) tool: Tool,
    node: vioduct_runtime::Node,
    hosts: Vec<NodeName>,
    schema: Arc<Schema>,
    pub(crate) db: Db,
}

impl DbArgs {
    async fn open(&self) -> Result<Session> {
        let deadline = Duration::from_millis(self.timeout_ms.into());
        Session::open(&self.target, self.shards, deadline).await
    }
}

impl Session {
    /// A call may take `deadline`.
    pub(crate) async fn open(target: &TargetArgs, shards: u32, deadline: Duration) -> Result<Self> {
        let (nodes, tool) = (target.nodes()?, target.tool()?);
        let mut node = None;
        let mut hosts = Vec::new();
        for (name, addr) in nodes {
            let target = tool.connect(name.clone(), &addr).await?;
            node.get_or_insert_with(|| target.node().clone());
            hosts.push(name);
        }
        let node = node.context("no node is named")?;
        let schema = Arc::new(schema(shards));
        let config = DbConfig { deadline, ..DbConfig::default() };
        let db = Db::on(&node, &hosts, Arc::clone(&schema), config);
        Ok(Self { tool, node, hosts, schema, db })
    }

    /// The name by which the command is known.
    pub(crate) fn name(&self) -> &NodeName {
        self.node.name()
    }

    fn table(&self, name: &str) -> Result<TableId> {
        let Some(table) = self.schema.named(name) else {
            let known = self.schema.names().collect::<Vec<_>>().join(", ");
            bail!("there is no table {name:?}, known are: {known}");
        };
        Ok(table)
    }

    fn place(&self, args: &PlaceArgs) -> Result<Place> {
        Ok(Place { table: self.table(&args.table)?, key: bytes(&args.key) })
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

impl InitArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let session = self.db.open().await?;
        let nodes = if self.nodes.is_empty() { session.hosts.clone() } else { self.nodes };
        found(&session.node, &nodes, &session.schema).await?;
        out.print(&Founded::on(&nodes, self.db.shards + 1))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

impl GetArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let session = self.db.open().await?;
        let freshness = if self.stale { Freshness::Stale } else { Freshness::Linearizable };
        let row = session.db.get(session.place(&self.place)?, freshness).await?;
        let is_there = row.is_some();
        out.print(&Shown::of(row))?;
        session.tool.close().await;
        Ok(if is_there { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl PutArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let session = self.db.open().await?;
        let place = session.place(&self.place)?;
        let value = bytes(&self.value);
        let revision = match self.lease {
            None => session.db.put(place, value).await?,
            Some(number) => {
                let lease = session.db.lease(session.schema.shard_of(&place), number)?;
                session.db.put_leased(place, value, &lease).await?
            }
        };
        out.print(&Written::at(revision))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

impl DeleteArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let session = self.db.open().await?;
        let revision = session.db.delete(session.place(&self.place)?).await?;
        out.print(&Written::at(revision))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

impl CasArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let session = self.db.open().await?;
        let place = session.place(&self.place)?;
        let expected = self.expect.as_deref().map(bytes);
        let outcome = session.db.compare_and_set(place, expected, bytes(&self.value)).await?;
        let is_done = matches!(outcome, Outcome::Done { .. });
        out.print(&CasAnswer::of(outcome))?;
        session.tool.close().await;
        Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl ScanArgs {
    /// Rows of all shards, merged.
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let session = self.db.open().await?;
        let table = session.table(&self.table)?;
        let mut rows = Vec::new();
        let mut is_cut = false;
        for shard in 0..=self.db.shards {
            let (from, to) = (bytes(&self.from), self.to.as_deref().map(bytes));
            let range = vec![Range { table, from, to }];
            let fresh = Freshness::Linearizable;
            let found = session.db.scan(ShardId(shard), range, self.limit, fresh).await?;
            is_cut |= found.is_cut;
            rows.extend(found.rows);
        }
        rows.sort_by(|one, other| one.place.key.cmp(&other.place.key));
        is_cut |= rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        out.print(&Listed::of(rows, is_cut))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

impl StatusArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let session = self.db.open().await?;
        let mut listed = answer::Replicas::default();
        for shard in 0..=self.db.shards {
            let statuses = session.db.status(ShardId(shard)).await?;
            listed.add(shard, ReplicaRow::all(shard, statuses));
        }
        out.print(&listed)?;
        session.tool.close().await;
        Ok(if listed.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl ReplicaCommand {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let place = match &self {
            Self::Add(place) | Self::Remove(place) | Self::Lead(place) => place,
            Self::Replace(args) => &args.place,
        };
        let session = place.db.open().await?;
        let within = Duration::from_millis(place.db.timeout_ms.into());
        let members = Members::of(&session.db, &session.node, ShardId(place.shard), within);
        let said = match &self {
            Self::Add(place) => {
                members.add(&place.on).await?;
                format!("{} has a replica", place.on)
            }
            Self::Remove(place) => {
                members.remove(&place.on).await?;
                format!("{} has no replica any more", place.on)
            }
            Self::Replace(ReplaceArgs { place, old }) => {
                members.replace(old, &place.on).await?;
                format!("{} has a replica in the place of {old}", place.on)
            }
            Self::Lead(place) => {
                members.lead(&place.on).await?;
                format!("{} leads", place.on)
            }
        };
        out.print(&Reformed::to(place.shard, said))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}
