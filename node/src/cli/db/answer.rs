//! What the commands of the database print.

use std::fmt;

use serde::Serialize;
use vioduct_certs::identity::NodeName;
use vioduct_db::ShardId;
use vioduct_db::client::{Outcome, Status, WatchEvent};
use vioduct_db::command::{Found, Place};
use vioduct_db::machine::{Event, EventKind};
use vioduct_db::query::FoundRow;
use vioduct_db::schema::Schema;
use vioduct_node::status::SCHEMA;

use crate::cli::table::Table;

/// Bytes as text where they are, else with escapes.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_other) => bytes.escape_ascii().to_string(),
    }
}

/// A database that was begun.
#[derive(Debug, Serialize)]
pub(super) struct Founded {
    schema: u32,
    nodes: Vec<String>,
    shards: u32,
}

impl Founded {
    pub(super) fn on(nodes: &[NodeName], shards: u32) -> Self {
        let nodes = nodes.iter().map(ToString::to_string).collect();
        Self { schema: SCHEMA, nodes, shards }
    }
}

impl fmt::Display for Founded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the database has begun on {}", self.nodes.join(", "))
    }
}

/// A change of who the replicas are, or who leads.
#[derive(Debug, Serialize)]
pub(super) struct Reformed {
    schema: u32,
    shard: u32,
    done: String,
}

impl Reformed {
    pub(super) fn to(shard: u32, done: String) -> Self {
        Self { schema: SCHEMA, shard, done }
    }
}

impl fmt::Display for Reformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "shard {}: {}", self.shard, self.done)
    }
}

/// A row, or that there is none.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    schema: u32,
    found: bool,
    revision: Option<u64>,
    value: Option<String>,
}

impl Shown {
    pub(super) fn of(row: Option<FoundRow>) -> Self {
        let revision = row.as_ref().map(|row| row.revision);
        let value = row.as_ref().map(|row| text(&row.value));
        Self { schema: SCHEMA, found: row.is_some(), revision, value }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => writeln!(f, "{value}"),
            None => writeln!(f, "no such row"),
        }
    }
}

/// A write that was done.
#[derive(Debug, Serialize)]
pub(super) struct Written {
    schema: u32,
    revision: u64,
}

impl Written {
    pub(super) fn at(revision: u64) -> Self {
        Self { schema: SCHEMA, revision }
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "done at revision {}", self.revision)
    }
}

/// What was done to a lease.
#[derive(Debug, Serialize)]
pub(super) struct LeaseAnswer {
    schema: u32,
    shard: u32,
    lease: u64,
    done: &'static str,
}

impl LeaseAnswer {
    pub(super) fn of(shard: u32, lease: u64, done: &'static str) -> Self {
        Self { schema: SCHEMA, shard, lease, done }
    }
}

impl fmt::Display for LeaseAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "shard {}, lease {}: {}", self.shard, self.lease, self.done)
    }
}

/// What a compare-and-set came to.
#[derive(Debug, Serialize)]
pub(super) struct CasAnswer {
    schema: u32,
    done: bool,
    revision: Option<u64>,
    found: Option<String>,
}

impl CasAnswer {
    pub(super) fn of(outcome: Outcome) -> Self {
        let (done, revision, found) = match outcome {
            Outcome::Done { revision } => (true, Some(revision), None),
            Outcome::Refused { found: Some(Found { revision, value }), .. } => {
                (false, Some(revision), Some(text(&value)))
            }
            Outcome::Refused { found: None, .. } => (false, None, None),
        };
        Self { schema: SCHEMA, done, revision, found }
    }
}

impl fmt::Display for CasAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.done, &self.found, self.revision) {
            (true, _, Some(revision)) => writeln!(f, "done at revision {revision}"),
            (_, Some(found), _) => writeln!(f, "not done, the row has: {found}"),
            _none => writeln!(f, "not done, there is no such row"),
        }
    }
}

#[derive(Debug, Serialize)]
struct RowShown {
    key: String,
    revision: u64,
    value: String,
}

/// Rows.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    schema: u32,
    rows: Vec<RowShown>,
    is_cut: bool,
}

impl Listed {
    pub(super) fn of(rows: Vec<FoundRow>, is_cut: bool) -> Self {
        let shown = |row: FoundRow| RowShown {
            key: text(&row.place.key),
            revision: row.revision,
            value: text(&row.value),
        };
        Self { schema: SCHEMA, rows: rows.into_iter().map(shown).collect(), is_cut }
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["KEY", "REVISION", "VALUE"]);
        for row in &self.rows {
            table.row([row.key.clone(), row.revision.to_string(), row.value.clone()]);
        }
        write!(f, "{table}")?;
        if self.is_cut { writeln!(f, "there are more: see --from and --limit") } else { Ok(()) }
    }
}

/// A change that was noticed, or that some were missed.
#[derive(Debug, Serialize)]
pub(super) struct Noticed {
    schema: u32,
    shard: u32,
    revision: u64,
    kind: &'static str,
    table: Option<String>,
    key: Option<String>,
}

impl Noticed {
    /// A line for each change; none for progress.
    pub(super) fn of(shard: ShardId, event: WatchEvent, tables: &Schema) -> Vec<Self> {
        let noticed = |revision, kind, place: Option<&Place>| {
            let name = |place: &Place| {
                let number = || place.table.0.to_string();
                tables.name(place.table).map_or_else(number, ToOwned::to_owned)
            };
            let (table, key) = (place.map(name), place.map(|place| text(&place.key)));
            Self { schema: SCHEMA, shard: shard.0, revision, kind, table, key }
        };
        match event {
            WatchEvent::Changes { revision, changes } => {
                let line = |event: &Event| {
                    let kind = match event.kind {
                        EventKind::Put => "put",
                        EventKind::Delete => "delete",
                        EventKind::Expired => "expired",
                    };
                    noticed(revision, kind, Some(&event.place))
                };
                changes.iter().map(line).collect()
            }
            WatchEvent::Progress { .. } => Vec::new(),
            WatchEvent::Resync { revision } => vec![noticed(revision, "resync", None)],
        }
    }
}

impl fmt::Display for Noticed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, revision, kind, .. } = self;
        write!(f, "shard {shard}, revision {revision}: {kind}")?;
        match (&self.table, &self.key) {
            (Some(table), Some(key)) => write!(f, " {table} {key}"),
            _missed => write!(f, ", what changed before is not known any more: read it all"),
        }
    }
}

/// A replica, as it was seen.
#[derive(Debug, Serialize)]
pub(super) struct ReplicaRow {
    shard: u32,
    node: String,
    replica: String,
    state: &'static str,
    term: Option<u64>,
    last: Option<u64>,
    applied: Option<u64>,
}

impl ReplicaRow {
    /// The replicas that a shard has, with those that do not answer.
    pub(super) fn all(shard: u32, statuses: Vec<(String, Status)>) -> Vec<Self> {
        let newest = statuses.iter().max_by_key(|(_node, status)| (status.term, status.applied));
        let members = newest.map(|(_node, status)| status.members.clone()).unwrap_or_default();
        let row = |member: vioduct_db::replica::client::Member| {
            let seen = statuses.iter().find(|(_node, status)| status.replica == member.replica);
            let status = seen.map(|(_node, status)| status);
            let state = match status {
                None => "no answer",
                Some(status) if status.leader == Some(status.replica) => "leads",
                Some(_follower) if member.is_voter => "follows",
                Some(_learner) => "catches up",
            };
            Self {
                shard,
                node: member.node,
                replica: format!("{:016x}", member.replica),
                state,
                term: status.map(|status| status.term),
                last: status.map(|status| status.last),
                applied: status.map(|status| status.applied),
            }
        };
        members.into_iter().map(row).collect()
    }
}

/// The replicas of all shards.
#[derive(Debug, Serialize)]
pub(super) struct Replicas {
    schema: u32,
    replicas: Vec<ReplicaRow>,
    without_leader: Vec<u32>,
}

impl Default for Replicas {
    fn default() -> Self {
        Self { schema: SCHEMA, replicas: Vec::new(), without_leader: Vec::new() }
    }
}

impl Replicas {
    pub(super) fn add(&mut self, shard: u32, rows: Vec<ReplicaRow>) {
        if !rows.iter().any(|row| row.state == "leads") {
            self.without_leader.push(shard);
        }
        self.replicas.extend(rows);
    }

    /// Whether every shard has a leader and every replica answers.
    pub(super) fn is_well(&self) -> bool {
        let answers = |row: &ReplicaRow| row.state != "no answer";
        self.without_leader.is_empty() && self.replicas.iter().all(answers)
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["SHARD", "NODE", "REPLICA", "STATE", "TERM", "LAST", "APPLIED"];
        let mut table = Table::new(head);
        let number = |number: Option<u64>| number.map_or_else(|| "-".into(), |it| it.to_string());
        for row in &self.replicas {
            table.row([
                row.shard.to_string(),
                row.node.clone(),
                row.replica.clone(),
                row.state.to_owned(),
                number(row.term),
                number(row.last),
                number(row.applied),
            ]);
        }
        write!(f, "{table}")?;
        let missing = |shard| writeln!(f, "shard {shard} has no leader, or is not begun");
        self.without_leader.iter().try_for_each(missing)
    }
}
