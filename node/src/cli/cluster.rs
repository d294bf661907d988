//! `vioduct cluster …`: makes the cluster of VIOSes; asks every node of an inventory at once.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::NodeName;
use vioduct_certs::inventory::{Inventory, NodeAddr};
use vioduct_node::tool::Tool;

use crate::cli::failure::Usage;
use crate::cli::output::OutputFormat;

mod create;
mod ping;
mod status;

use create::CreateArgs;
use ping::PingArgs;
use status::StatusArgs;

/// Make a cluster, and ask its nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Make the cluster of VIOSes in the database, which `vioduct db init` began. Done once.
    Create(CreateArgs),
    /// Show every node with its links and certificates. Exit code 1 when something is down.
    Status(StatusArgs),
    /// Send messages to every node and get them back; one line a second tells how it went.
    Ping(PingArgs),
}

/// Whom to ask, and as whom.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).args(["cluster", "node"]))]
pub(crate) struct TargetArgs {
    /// Directory of a tool's certificate, made with `vioduct ca issue --tool`.
    #[arg(long)]
    certs: PathBuf,
    /// The inventory file, cluster.toml.
    #[arg(long)]
    cluster: Option<PathBuf>,
    /// One node's name.
    #[arg(long, requires = "addr")]
    node: Option<NodeName>,
    /// One node's address.
    #[arg(long, requires = "node")]
    addr: Option<NodeAddr>,
}

impl ClusterCommand {
    /// Does what was asked.
    pub(crate) fn run(self, out: OutputFormat) -> Result<ExitCode> {
        match self {
            Self::Create(args) => on_local_set(args.run(out)),
            Self::Status(args) => on_local_set(args.run(out)),
            Self::Ping(args) => on_local_set(args.run(out)),
        }
    }
}

/// Runs what a tool does: its end of the links needs a local set.
pub(crate) fn on_local_set(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("can't start the runtime")?;
    let exit = LocalSet::new().block_on(&runtime, work);
    runtime.shutdown_background();
    exit
}

impl TargetArgs {
    /// The nodes to ask.
    pub(crate) fn nodes(&self) -> Result<Vec<(NodeName, NodeAddr)>> {
        match (&self.cluster, &self.node, &self.addr) {
            (Some(path), _, _) => {
                let inventory = Inventory::load(path)
                    .with_context(|| format!("inventory {}", path.display()))?;
                Ok(inventory.nodes.into_iter().map(|node| (node.name, node.addr)).collect())
            }
            (None, Some(node), Some(addr)) => Ok(vec![(node.clone(), addr.clone())]),
            (None, _, _) => {
                let mend = "name whom to ask: --cluster FILE, or --node NAME --addr ADDR";
                Err(Usage(mend.to_owned()).into())
            }
        }
    }

    /// Whether the inventory, if there is one, names this node.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn names(&self, node: &NodeName) -> Result<()> {
        match &self.cluster {
            Some(_inventory) => self.one(Some(node), "NODE").map(drop),
            None => Ok(()),
        }
    }

    /// The one node that is meant: `name`, which the option `option` gave, or the only one.
    pub(crate) fn one(
        &self,
        name: Option<&NodeName>,
        option: &str,
    ) -> Result<(NodeName, NodeAddr)> {
        let mut nodes = self.nodes()?;
        let known: Vec<_> = nodes.iter().map(|(node, _addr)| node.as_str()).collect();
        let known = known.join(", ");
        match (name, nodes.as_slice()) {
            (None, [node]) => return Ok(node.clone()),
            (None, _several) => {
                return Err(Usage(format!("name the node with {option}; there are {known}")).into());
            }
            (Some(name), _) => nodes.retain(|(node, _addr)| node == name),
        }
        let missing = || {
            Usage(format!(
                "there is no node {}; there are {known}",
                name.map_or("", NodeName::as_str)
            ))
        };
        nodes.into_iter().next().ok_or_else(|| missing().into())
    }

    /// A tool with this certificate.
    pub(crate) fn tool(&self) -> Result<Tool> {
        let credentials = Credentials::load(&self.certs, UnixTime::now())
            .with_context(|| format!("certificates in {}", self.certs.display()))?;
        Ok(Tool::new(credentials)?)
    }
}
