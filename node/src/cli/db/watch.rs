//! `vioduct db watch`: changes as they come.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use futures_util::stream::{StreamExt, select_all, unfold};
use vioduct_db::ShardId;
use vioduct_db::client::{DbError, Watch, WatchEvent, WatchFrom};
use vioduct_db::schema::Class;
use vioduct_db::watch::Filter;

use super::answer::Noticed;
use super::{DbArgs, bytes};
use crate::cli::node::StopSignals;
use crate::cli::output::OutputFormat;

/// Arguments of `db watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    db: DbArgs,
    /// The changes of this shard alone; may be left out: those of all.
    #[arg(long)]
    shard: Option<u32>,
    /// The changes of this table alone.
    #[arg(long)]
    table: Option<String>,
    /// The changes of tables of this class alone.
    #[arg(long)]
    class: Option<ClassArg>,
    /// The changes of keys that begin so alone.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Begin behind this revision, and not with what changes from now on. Revisions are those of
    /// one shard.
    #[arg(long, requires = "shard")]
    after: Option<u64>,
}

/// What a table's changes mean.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ClassArg {
    /// Things come, change and go.
    Lifecycle,
    /// Each one counts.
    Alert,
}

impl WatchArgs {
    /// Prints changes until it is told to stop.
    pub(super) async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let mut stop = StopSignals::listen().context("can't listen for signals")?;
        let session = self.db.open().await?;
        let table = self.table.as_deref().map(|name| session.table(name)).transpose()?;
        let class = self.class.map(|class| match class {
            ClassArg::Lifecycle => Class::Lifecycle,
            ClassArg::Alert => Class::Alert,
        });
        let tables = table.into_iter().collect();
        let filter = Filter { tables, class, prefix: bytes(&self.prefix) };
        let from = self.after.map_or(WatchFrom::Now, WatchFrom::After);
        let shards = self.shard.map_or(0..=self.db.shards, |shard| shard..=shard);
        let mut watches = Vec::new();
        for shard in shards {
            let watch = session.db.watch(ShardId(shard), filter.clone(), from).await?;
            watches.push(Box::pin(unfold(watch, next)));
        }
        let mut events = select_all(watches);
        loop {
            let event = tokio::select! {
                _signal = stop.next() => break,
                event = events.next() => event,
            };
            let (shard, event) = event.context("a watch does not end")?;
            for line in Noticed::of(shard, event?, &session.schema) {
                out.print_line(&line)?;
            }
        }
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

type Next = (ShardId, Result<WatchEvent, DbError>);

async fn next(mut watch: Watch) -> Option<(Next, Watch)> {
    let event = watch.next().await;
    Some(((watch.shard(), event), watch))
}
