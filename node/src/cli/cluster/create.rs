//! `vioduct cluster create`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use futures_util::future::join_all;
use serde::Serialize;
use vioduct_certs::identity::NodeName;
use vioduct_node::status::SCHEMA;
use vioduct_vios::api::{Cluster, VioNew};

use crate::cli::output::OutputFormat;
use crate::cli::vios::{DbTargetArgs, tell, write_not_told};

/// Arguments of `cluster create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    db: DbTargetArgs,
    /// The cluster's name.
    #[arg(long)]
    name: String,
    /// The nodes whose VIOSes it begins with; their files have `[cm]`.
    #[arg(required = true)]
    vioses: Vec<NodeName>,
}

impl CreateArgs {
    pub(super) async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let vioses: BTreeSet<NodeName> = self.vioses.into_iter().collect();
        vioses.iter().try_for_each(|node| self.db.target.names(node))?;
        let session = self.db.open().await?;
        let object = VioNew::Cluster { name: self.name, vioses: vioses.clone() };
        let cluster: Cluster = session.create(object).await?;
        let told = vioses.iter().map(|node| tell(&session.tool, &self.db.target, node));
        let told = vioses.iter().zip(join_all(told).await);
        let not_told =
            told.filter_map(|(node, told)| Some((node.clone(), format!("{:#}", told.err()?))));
        out.print(&Created {
            schema: SCHEMA,
            cluster: cluster.name,
            id: cluster.id,
            not_told: not_told.collect(),
        })?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// Answer of `cluster create`.
#[derive(Debug, Serialize)]
struct Created {
    schema: u32,
    cluster: String,
    id: String,
    /// VIOSes that could not be told to register, and why.
    not_told: BTreeMap<NodeName, String>,
}

impl fmt::Display for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cluster {} ({}) is made", self.cluster, self.id)?;
        self.not_told.iter().try_for_each(|(node, error)| write_not_told(f, node, error))
    }
}
