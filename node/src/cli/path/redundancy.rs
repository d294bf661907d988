//! `vioduct path redundancy`: who may take over for whom, as VIOSes have told the database.

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use vioduct_certs::UnixTime;
use vioduct_certs::identity::NodeName;
use vioduct_node::status::SCHEMA;
use vioduct_vios::cluster::admin;
use vioduct_vios::cluster::row::{RedundancyRow, ToldPath};

use super::state_label;
use crate::cli::output::OutputFormat;
use crate::cli::table::{Table, span};
use crate::cli::vios::DbTargetArgs;

const HEAD: [&str; 7] =
    ["VIOS", "ADAPTER", "STORAGE", "STATE", "FOR", "REASON", "MAY BE HELPED BY"];

/// Lists them.
pub(super) async fn list(args: DbTargetArgs, out: OutputFormat) -> Result<ExitCode> {
    let session = args.open().await?;
    let rows = admin::redundancy(&session.db).await?;
    out.print(&List {
        schema: SCHEMA,
        vioses: rows.iter().map(|row| Shown::of(row, &rows)).collect(),
    })?;
    session.tool.close().await;
    Ok(ExitCode::SUCCESS)
}

/// A VIOS, as it told last.
#[derive(Debug, Serialize)]
struct Shown {
    vios: NodeName,
    number: u32,
    paths: Vec<ShownPath>,
    /// VIOSes with a good way to a storage that this one leads to.
    may_be_helped_by: Vec<NodeName>,
}

#[derive(Debug, Serialize)]
struct ShownPath {
    adapter: String,
    storage: String,
    state: &'static str,
    reason: String,
    since_ms: u64,
}

impl Shown {
    fn of((node, row): &(NodeName, RedundancyRow), all: &[(NodeName, RedundancyRow)]) -> Self {
        let helps = all.iter().filter(|(other, its)| other != node && its.may_help(row));
        let path = |path: &ToldPath| {
            let ToldPath { adapter, storage, state, reason, since_ms } = path.clone();
            ShownPath { adapter, storage, state: state_label(state), reason, since_ms }
        };
        Self {
            vios: node.clone(),
            number: row.vios,
            paths: row.paths.iter().map(path).collect(),
            may_be_helped_by: helps.map(|(other, _its)| other.clone()).collect(),
        }
    }
}

/// What `path redundancy` answers.
#[derive(Debug, Serialize)]
struct List {
    schema: u32,
    vioses: Vec<Shown>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(HEAD);
        let now_s = UnixTime::now().as_secs();
        for Shown { vios, paths, may_be_helped_by, .. } in &self.vioses {
            let helpers: Vec<_> = may_be_helped_by.iter().map(NodeName::as_str).collect();
            for ShownPath { adapter, storage, state, reason, since_ms } in paths {
                let lasts_s = now_s.saturating_sub(since_ms / 1000);
                table.row([
                    vios.to_string(),
                    adapter.clone(),
                    storage.clone(),
                    (*state).to_owned(),
                    span(lasts_s),
                    reason.clone(),
                    helpers.join(" "),
                ]);
            }
        }
        write!(f, "{table}")
    }
}
