//! Arguments of `db`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use vioduct_certs::identity::NodeName;
use vioduct_db::command::VALUE_BYTES_MAX;
use vioduct_node::db::DATA_SHARDS_MAX;

use super::{Shown, duration, positive};
use crate::db::{KEYS_MAX, VALUE_BYTES_MIN};

const VALUE_BYTES: RangeInclusive<i64> = VALUE_BYTES_MIN as i64..=VALUE_BYTES_MAX as i64;

/// How fresh what is read has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DbFreshness {
    /// The leader makes sure that it leads.
    #[default]
    Linearizable,
    /// The leader relies on having been heard lately: the same while clocks run alike.
    Lease,
}

/// Load against the cluster's database. Its rows are its own, and deleted at the end.
#[derive(Args, Debug)]
pub(crate) struct DbArgs {
    /// Directory of a tool's certificate, made with `vioduct ca issue --tool`.
    #[arg(long, value_name = "DIR")]
    pub(crate) certs: PathBuf,
    /// The inventory file, cluster.toml.
    #[arg(long, value_name = "FILE")]
    pub(crate) inventory: PathBuf,
    /// A node to ask; may be given several times. Default: all of the inventory.
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Vec<NodeName>,
    /// Shards beside the system's, as the nodes' files have them.
    #[arg(long, value_name = "N", default_value_t = 0,
        value_parser = clap::value_parser!(u32).range(0..=i64::from(DATA_SHARDS_MAX)))]
    pub(crate) shards: u32,
    /// Share of reads, in per cent of the operations.
    #[arg(long, value_name = "PERCENT", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) reads: u32,
    /// Keys that are written and read.
    #[arg(long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(4..=i64::from(KEYS_MAX)))]
    pub(crate) keys: u32,
    /// Bytes of a value, up to 512 KiB.
    #[arg(long, value_name = "BYTES", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(VALUE_BYTES))]
    pub(crate) size: u32,
    /// Open loop: operations a second, whatever the answers do.
    #[arg(long, value_name = "N", conflicts_with = "concurrency",
        value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: Option<u32>,
    /// Closed loop: operations under way at any time.
    #[arg(long, value_name = "N", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrency: u32,
    /// How fresh what is read has to be.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) freshness: DbFreshness,
    /// Time before the measurement, with the same load.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) warmup: Duration,
    /// Time of the measurement.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = positive)]
    pub(crate) duration: Duration,
    /// How long an operation may take, with all attempts.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = positive)]
    pub(crate) deadline: Duration,
    /// Open loop: an operation that leaves this long after its planned moment is late.
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = positive)]
    pub(crate) late_after: Duration,
    #[command(flatten)]
    pub(crate) shown: Shown,
}
