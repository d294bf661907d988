//! The command line of a client process, and what it tells the parent.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::rows::StoreRow;
use super::sample::StoreSample;
use crate::child::{say, seconds};

/// Options of a client process.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Which row; without it, the rows that gets ask for are written.
    #[arg(long)]
    pub row: Option<StoreRow>,
    /// In which round, from 0.
    #[arg(long)]
    pub round: u32,
    /// Where the servers listen for clients.
    #[arg(long, value_delimiter = ',', required = true)]
    pub servers: Vec<SocketAddr>,
    /// Their processes.
    #[arg(long, value_delimiter = ',', required = true)]
    pub pids: Vec<u32>,
    /// Where the credentials are, for a store that asks for some.
    #[arg(long)]
    pub credentials: Option<PathBuf>,
    /// How long to measure.
    #[arg(long, value_parser = seconds)]
    pub seconds: Duration,
    /// How long to put load on it before.
    #[arg(long, value_parser = seconds)]
    pub warmup: Duration,
}

/// Gives the parent what was measured, if anything was to be.
///
/// # Errors
/// The parent does not listen.
pub fn report(sample: Option<&StoreSample>) -> Result<()> {
    say(&serde_json::to_string(&sample)?)
}
