//! `vioduct actor …`: the actors that run on nodes.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use futures_util::future::join_all;
use serde::Serialize;
use vioduct_certs::identity::NodeName;
use vioduct_certs::inventory::NodeAddr;
use vioduct_node::status::SCHEMA;
use vioduct_node::tool::{Tool, ToolError};
use vioduct_runtime::inspect::{ActorFigures, Inspection};

use crate::cli::cluster::{TargetArgs, on_local_set};
use crate::cli::output::OutputFormat;
use crate::cli::table::Table;

const HEAD: [&str; 9] =
    ["NODE", "ACTOR", "NAME", "TYPE", "WORKER", "WAITING", "HANDLED", "RESTARTS", "GROUPS"];

/// Look at the actors of nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum ActorCommand {
    /// List the actors of every node. Exit code 1 when a node does not answer.
    Ls(LsArgs),
}

/// Arguments of `actor ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// How long to wait for a node.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    timeout_ms: u32,
}

impl ActorCommand {
    /// Does what was asked.
    pub(crate) fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let Self::Ls(args) = self;
        on_local_set(args.run(out))
    }
}

impl LsArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let (nodes, tool) = (self.target.nodes()?, self.target.tool()?);
        let within = Duration::from_millis(self.timeout_ms.into());
        let asked = nodes.into_iter().map(async |(node, addr)| {
            let answer = ask(&tool, node.clone(), &addr, within).await;
            NodeActors::new(node, answer.map_err(anyhow::Error::new))
        });
        let list = List { schema: SCHEMA, nodes: join_all(asked).await };
        out.print(&list)?;
        tool.close().await;
        let is_whole = list.nodes.iter().all(|node| node.error.is_none());
        Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

async fn ask(
    tool: &Tool,
    node: NodeName,
    addr: &NodeAddr,
    within: Duration,
) -> Result<Inspection, ToolError> {
    tool.connect(node, addr).await?.inspection(within).await
}

/// One node's actors, or why they are not known.
#[derive(Debug, Serialize)]
struct NodeActors {
    node: NodeName,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inspection: Option<Inspection>,
}

impl NodeActors {
    fn new(node: NodeName, answer: Result<Inspection>) -> Self {
        match answer {
            Ok(inspection) => Self { node, error: None, inspection: Some(inspection) },
            Err(error) => Self { node, error: Some(format!("{error:#}")), inspection: None },
        }
    }
}

/// What `actor ls` answers.
#[derive(Debug, Serialize)]
struct List {
    schema: u32,
    nodes: Vec<NodeActors>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(HEAD);
        for NodeActors { node, inspection, .. } in &self.nodes {
            for actor in inspection.iter().flat_map(|inspection| &inspection.actors) {
                table.row(row(node, actor));
            }
        }
        write!(f, "{table}")?;
        for NodeActors { node, error, .. } in &self.nodes {
            if let Some(error) = error {
                writeln!(f, "{node}: {error}")?;
            }
        }
        Ok(())
    }
}

fn row(node: &NodeName, actor: &ActorFigures) -> [String; 9] {
    let groups: Vec<&str> = actor.groups.iter().map(|group| group.as_str()).collect();
    [
        node.to_string(),
        actor.serial.to_string(),
        actor.name.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        // Where a type is defined says little in a table; JSON has the whole path.
        actor.type_name.rsplit("::").next().unwrap_or_default().to_owned(),
        actor.worker.to_string(),
        actor.waiting.to_string(),
        actor.handled.to_string(),
        actor.restarts.to_string(),
        if groups.is_empty() { "-".to_owned() } else { groups.join(",") },
    ]
}
