//! `vioduct db lease …`: rows that go when their holder stops saying that it is there.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use vioduct_db::ShardId;
use vioduct_db::client::DbError;

use super::DbArgs;
use super::answer::LeaseAnswer;
use crate::cli::output::OutputFormat;

/// Begin, hold and end leases.
#[derive(Debug, Subcommand)]
pub(crate) enum LeaseCommand {
    /// Begin a lease. Rows are put under it by `db put --lease`.
    Grant(GrantArgs),
    /// Let a lease last for its whole time from now on. Exit code 1 when it has ended.
    Keep(LeaseArgs),
    /// End a lease, and take its rows away. Exit code 1 when it has ended.
    Revoke(LeaseArgs),
}

/// Where a lease is.
#[derive(Debug, Args)]
struct LeasePlace {
    #[command(flatten)]
    db: DbArgs,
    /// Which shard.
    #[arg(long, default_value_t = 0)]
    shard: u32,
}

/// Arguments of `db lease grant`.
#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    #[command(flatten)]
    place: LeasePlace,
    /// How long it lasts without being kept alive.
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..))]
    ttl_ms: u32,
}

/// Which lease.
#[derive(Debug, Args)]
pub(crate) struct LeaseArgs {
    #[command(flatten)]
    place: LeasePlace,
    /// Its number, as `db lease grant` said.
    lease: u64,
}

impl LeaseCommand {
    pub(super) async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let (Self::Grant(GrantArgs { place, .. })
        | Self::Keep(LeaseArgs { place, .. })
        | Self::Revoke(LeaseArgs { place, .. })) = &self;
        let session = place.db.open().await?;
        let shard = ShardId(place.shard);
        let lease = |number| session.db.lease(shard, number);
        let (number, done) = match &self {
            Self::Grant(GrantArgs { ttl_ms, .. }) => {
                let ttl = Duration::from_millis((*ttl_ms).into());
                (session.db.grant(shard, ttl).await?.number(), Ok("granted"))
            }
            Self::Keep(LeaseArgs { lease: number, .. }) => {
                (*number, lease(*number)?.keep_alive().await.map(|()| "kept alive"))
            }
            Self::Revoke(LeaseArgs { lease: number, .. }) => {
                (*number, lease(*number)?.revoke().await.map(|()| "revoked"))
            }
        };
        let (done, is_done) = match done {
            Ok(done) => (done, true),
            Err(DbError::NoLease { .. }) => ("ended before", false),
            Err(error) => return Err(error.into()),
        };
        out.print(&LeaseAnswer::of(place.shard, number, done))?;
        session.tool.close().await;
        Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
