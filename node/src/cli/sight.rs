//! What a command knows of the cluster: as the database has it, or as a node remembers it while
//! that is away.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use serde::Serialize;
use vioduct_certs::identity::NodeName;
use vioduct_db::client::{DbError, Freshness};
use vioduct_db::command::TableId;
use vioduct_node::tool::{Target, ToolError};
use vioduct_vios::cluster::admin::AdminError;
use vioduct_vios::cluster::cm::{CM_NAME, CmDesk};
use vioduct_vios::cluster::known::AskView;
use vioduct_vios::cluster::row::followed;
use vioduct_vios::cluster::view::View;

use crate::cli::cluster::TargetArgs;
use crate::cli::db::Session;

/// How long one node is asked.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// Answers that all of a node's view comes in; each has some 32 KiB.
const PARTS_MAX: usize = 8192;

/// What is known of the cluster, and who says so.
pub(crate) struct Sight {
    pub(crate) view: View,
    pub(crate) source: Source,
}

/// Who tells what a list has.
#[derive(Debug, Serialize)]
pub(crate) struct Source {
    /// The revision of the database that it is of.
    revision: u64,
    /// The node that remembers it, as the database gives no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    told_by: Option<NodeName>,
    /// Why rows are passed over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

impl Sight {
    /// Asks the database, and if that gives no answer each node.
    pub(crate) async fn of(session: &Session, nodes: &TargetArgs) -> Result<Self> {
        let error = match View::read(&session.db, Freshness::Linearizable).await {
            Ok(view) => return Ok(Self::told(view, None)),
            Err(error @ AdminError::Db(DbError::Unavailable { .. })) => error,
            Err(error) => return Err(error.into()),
        };
        let asked = nodes.nodes()?.into_iter().map(async |(node, addr)| {
            let target = session.tool.connect(node, &addr).await?;
            let revision = revision_of(&target, ASK_WITHIN).await?;
            Ok::<_, ToolError>(revision.map(|revision| (revision, target)))
        });
        let known = join_all(asked).await.into_iter().filter_map(|answer| answer.ok().flatten());
        let newest = known.max_by_key(|(revision, _target)| *revision);
        let none = || anyhow::Error::new(error).context("no node remembers the cluster");
        let (_revision, target) = newest.ok_or_else(none)?;
        let view = known_by(&target, &followed(), ASK_WITHIN).await?;
        let forgot = || format!("{} has forgotten the cluster meanwhile", target.name());
        Ok(Self::told(view.with_context(forgot)?, Some(target.name().clone())))
    }

    fn told(view: View, told_by: Option<NodeName>) -> Self {
        let unreadable = view.unreadable().map(|error| error.to_string()).collect();
        let source = Source { revision: view.revision, told_by, unreadable };
        Self { view, source }
    }
}

/// The revision of what a node knows; none if it follows no database, or none has answered it.
pub(crate) async fn revision_of(
    target: &Target,
    within: Duration,
) -> Result<Option<u64>, ToolError> {
    let told = target.ask_if_there::<CmDesk, _>(CM_NAME, AskView::default(), within).await?;
    Ok(told.and_then(|told| told.revision))
}

/// What a node knows of these tables; nothing if it follows no database, or none has answered it.
pub(crate) async fn known_by(
    target: &Target,
    tables: &[TableId],
    within: Duration,
) -> Result<Option<View>, ToolError> {
    let tables: Vec<u16> = tables.iter().map(|table| table.0).collect();
    let mut view = None;
    let mut ask = Some(AskView { tables: tables.clone(), behind: None });
    for _part in 0..PARTS_MAX {
        let Some(asked) = ask else { break };
        let told = target.ask_if_there::<CmDesk, _>(CM_NAME, asked, within).await?;
        let Some(told) = told.filter(|told| told.revision.is_some()) else { return Ok(None) };
        ask = told.next(&tables);
        view.get_or_insert_with(View::default).take(told);
    }
    Ok(view)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.told_by {
            let revision = self.revision;
            writeln!(
                f,
                "the database gives no answer; this is what {node} remembers, revision {revision}"
            )?;
        }
        self.unreadable.iter().try_for_each(|why| writeln!(f, "passed over: {why}"))
    }
}
