//! The command line: what can be asked, and how the answer becomes an exit code.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use vioduct_certs::UnixTime;
use vioduct_certs::files::{PUBLIC_MODE, write_atomic};
use vioduct_certs::inventory::{Inventory, InventoryNode};
use vioduct_node::config::{CONFIG_FILE, render};
use vioduct_node::daemon::StartError;

mod actor;
mod api;
mod ca;
mod cert;
mod client;
mod cluster;
mod db;
mod event;
mod failure;
mod lu;
mod node;
mod output;
mod path;
mod pool;
mod sight;
mod table;
mod vios;
mod vtd;

use actor::ActorCommand;
use ca::CaCommand;
use cert::CertCommand;
use client::ClientCommand;
use cluster::ClusterCommand;
use db::DbCommand;
use event::EventCommand;
use failure::Failure;
use lu::LuCommand;
use node::NodeCommand;
use output::OutputFormat;
use path::PathCommand;
use pool::PoolCommand;
use vios::ViosCommand;
use vtd::VtdCommand;

/// A node's file or its certificates must be mended. Source: BSD sysexits.h, `EX_CONFIG`.
const EXIT_CONFIG: u8 = 78;

/// Runs a node of a Vioduct cluster, and the cluster's certificates.
#[derive(Debug, Parser)]
#[command(name = "vioduct", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Form of the answer.
    #[arg(long, global = true, value_enum, default_value_t)]
    output: OutputFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make and run the cluster's certificate authority.
    #[command(subcommand)]
    Ca(CaCommand),
    /// Request, install and check this host's certificate.
    #[command(subcommand)]
    Cert(CertCommand),
    /// Run a node on this host.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Ask the nodes of a cluster.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Look at the actors of nodes.
    #[command(subcommand)]
    Actor(ActorCommand),
    /// Use and run the cluster's database.
    #[command(subcommand)]
    Db(DbCommand),
    /// Look at client partitions, make them known and forget them.
    #[command(subcommand)]
    Client(ClientCommand),
    /// Look at what happened in the cluster.
    #[command(subcommand)]
    Event(EventCommand),
    /// Look at logical units, make and delete them, bring their bytes in and out.
    #[command(subcommand)]
    Lu(LuCommand),
    /// Look at the ways of VIOSes to the storage, and take them out of use.
    #[command(subcommand)]
    Path(PathCommand),
    /// Look at pools of storage, make and delete them.
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Look at the cluster's VIOSes, and change which they are.
    #[command(subcommand)]
    Vios(ViosCommand),
    /// Look at virtual target devices, make and delete them.
    #[command(subcommand)]
    Vtd(VtdCommand),
}

/// The whole program.
pub(crate) fn main() -> ExitCode {
    let Cli { command, output } = Cli::parse();
    let done = |result: Result<()>| result.map(|()| ExitCode::SUCCESS);
    let result = match command {
        Command::Ca(command) => done(command.run(UnixTime::now(), output, &mut write_config)),
        Command::Cert(command) => done(command.run(UnixTime::now(), output)),
        Command::Node(command) => command.run(),
        Command::Cluster(command) => command.run(output),
        Command::Actor(command) => command.run(output),
        Command::Db(command) => command.run(output),
        Command::Client(command) => command.run(output),
        Command::Event(command) => command.run(output),
        Command::Lu(command) => command.run(output),
        Command::Path(command) => command.run(output),
        Command::Pool(command) => command.run(output),
        Command::Vios(command) => command.run(output),
        Command::Vtd(command) => command.run(output),
    };
    result.unwrap_or_else(|error| {
        output.fail(&Failure::from(&error));
        let start = error.downcast_ref::<StartError>();
        let is_configuration = start.is_some_and(StartError::is_configuration);
        if is_configuration { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
    })
}

/// Completes a host's directory with the file of its node.
fn write_config(inventory: &Inventory, node: &InventoryNode, dir: &Path) -> io::Result<()> {
    let text = render(node, inventory);
    write_atomic(&dir.join(CONFIG_FILE), text.as_bytes(), PUBLIC_MODE).map_err(io::Error::other)
}
