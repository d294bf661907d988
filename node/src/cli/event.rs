//! `vioduct event …`: what happened in the cluster.

use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use futures_util::future::join_all;
use serde::Serialize;
use vioduct_certs::moment;
use vioduct_db::schema::Class;
use vioduct_node::status::SCHEMA;
use vioduct_vios::cluster::admin::AdminError;
use vioduct_vios::cluster::cm::{CM_NAME, CmDesk};
use vioduct_vios::cluster::event::AskEvents;
use vioduct_vios::cluster::feed::{EventFeed, events};
use vioduct_vios::cluster::row::{EventKey, EventRow, Happened};

use crate::cli::cluster::on_local_set;
use crate::cli::db::Session;
use crate::cli::node::StopSignals;
use crate::cli::output::OutputFormat;
use crate::cli::table::Table;
use crate::cli::vios::DbTargetArgs;

const HEAD: [&str; 4] = ["AT", "NODE", "CLASS", "EVENT"];
/// How long one node is asked for what it remembers.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// Look at what happened in the cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// List the newest, oldest first. While the database is away, those that nodes remember; exit
    /// code 1 then.
    Ls(LsArgs),
    /// Print each as it comes, a line for each, until interrupted.
    Follow(DbTargetArgs),
}

/// Arguments of `event ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    db: DbTargetArgs,
    /// How many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    last: u32,
}

impl EventCommand {
    /// Does what was asked.
    pub(crate) fn run(self, out: OutputFormat) -> Result<ExitCode> {
        match self {
            Self::Ls(args) => on_local_set(args.run(out)),
            Self::Follow(args) => on_local_set(follow(args, out)),
        }
    }
}

impl LsArgs {
    async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let session = self.db.open().await?;
        let (mut events, away) = match events(&session.db).await {
            Ok(rows) => {
                let shown = |(key, row): (EventKey, EventRow)| {
                    Shown::of(key.node.to_string(), row.happened)
                };
                (rows.into_iter().map(shown).collect::<Vec<_>>(), None)
            }
            Err(error @ AdminError::Db(_)) => {
                let away = format!("{:#}", anyhow::Error::new(error));
                (self.remembered(&session).await?, Some(away))
            }
            Err(error) => return Err(error.into()),
        };
        events.sort_by_key(|event| event.at_ms);
        let too_many = events.len().saturating_sub(usize::try_from(self.last)?);
        events.drain(..too_many);
        let is_whole = away.is_none();
        out.print(&List { schema: SCHEMA, away, events })?;
        session.tool.close().await;
        Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// What those nodes remember that answer.
    async fn remembered(&self, session: &Session) -> Result<Vec<Shown>> {
        let nodes = self.db.target.nodes()?;
        let asked = nodes.into_iter().map(async |(node, addr)| {
            let target = session.tool.connect(node, &addr).await.ok()?;
            target.ask_if_there::<CmDesk, _>(CM_NAME, AskEvents, ASK_WITHIN).await.ok()?
        });
        let answers = join_all(asked).await.into_iter().flatten().flatten();
        // Several may have heard of the same.
        let shown: BTreeSet<Shown> =
            answers.map(|known| Shown::of(known.node, known.happened)).collect();
        Ok(shown.into_iter().collect())
    }
}

async fn follow(args: DbTargetArgs, out: OutputFormat) -> Result<ExitCode> {
    let mut stop = StopSignals::listen().context("can't listen for signals")?;
    let session = args.open().await?;
    let mut feed = EventFeed::open(session.db.clone()).await?;
    loop {
        let fresh = tokio::select! {
            _signal = stop.next() => break,
            fresh = feed.next() => fresh,
        };
        let fresh = match fresh {
            Err(error @ AdminError::Db(_)) => {
                eprintln!("{:#}; it goes on", anyhow::Error::new(error));
                continue;
            }
            fresh => fresh?,
        };
        let shown = Shown::of(fresh.node.to_string(), fresh.happened);
        out.print_line(&Shown { missed: fresh.missed, ..shown })?;
    }
    session.tool.close().await;
    Ok(ExitCode::SUCCESS)
}

/// An event as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Shown {
    at_ms: u64,
    node: String,
    class: &'static str,
    event: String,
    /// Events of the node before it that were overwritten before they could be printed.
    #[serde(skip_serializing_if = "is_zero")]
    missed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Shown {
    fn of(node: String, Happened { at_ms, event }: Happened) -> Self {
        let class = match event.class() {
            Class::Lifecycle => "lifecycle",
            Class::Alert => "alert",
        };
        Self { at_ms, node, class, event: event.to_string(), missed: 0 }
    }

    fn at(&self) -> String {
        moment::text(moment::at(self.at_ms / 1000))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, class, event, missed, .. } = self;
        if *missed > 0 {
            writeln!(f, "{missed} events of {node} are missing here")?;
        }
        write!(f, "{} {node} {class}: {event}", self.at())
    }
}

/// Answer of `event ls`.
#[derive(Debug, Serialize)]
struct List {
    schema: u32,
    /// Why these are what nodes remember, and not what the database has.
    away: Option<String>,
    events: Vec<Shown>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(away) = &self.away {
            writeln!(f, "what nodes remember, for the database does not answer: {away}")?;
        }
        let mut table = Table::new(HEAD);
        for event in &self.events {
            let Shown { node, class, event: what, .. } = event.clone();
            table.row([event.at(), node, class.to_owned(), what]);
        }
        write!(f, "{table}")
    }
}
