//! Events as they come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use vioduct_certs::identity::NodeName;
use vioduct_db::ShardId;
use vioduct_db::client::{Db, Freshness, Watch, WatchFrom};
use vioduct_db::command::Place;
use vioduct_db::query::FoundRow;
use vioduct_db::watch::Filter;

use super::admin::{AdminError, scan};
use super::follow::{Changed, look_up};
use super::row::{EventKey, EventRow, Happened, Key, Row};

/// An event as it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// The node that told of it.
    pub node: NodeName,
    /// What happened, and when.
    pub happened: Happened,
    /// Events of that node before this one which were overwritten too soon.
    pub missed: u64,
}

/// The events of a cluster from the moment when this was made.
#[derive(Debug)]
pub struct EventFeed {
    db: Db,
    watch: Watch,
    changed: Changed,
    seen: Seen,
    ready: VecDeque<Fresh>,
}

impl EventFeed {
    /// Begins with what happens from now on.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn open(db: Db) -> Result<Self, AdminError> {
        let filter = Filter::of([EventRow::TABLE]);
        let watch = db.watch(ShardId(0), filter, WatchFrom::Now).await?;
        let mut seen = Seen::default();
        seen.fresh(events(&db).await?);
        Ok(Self { db, watch, changed: Changed::NOTHING, seen, ready: VecDeque::new() })
    }

    /// The next event. Cancel-safe. After an error it may be called again.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn next(&mut self) -> Result<Fresh, AdminError> {
        loop {
            if let Some(fresh) = self.ready.pop_front() {
                return Ok(fresh);
            }
            if self.changed == Changed::NOTHING {
                self.changed.note(self.watch.next().await?);
                continue;
            }
            let rows = match &self.changed {
                Changed::All => events(&self.db).await?,
                Changed::Some(places) => self.read(places).await?,
            };
            self.ready = self.seen.fresh(rows);
            self.changed = Changed::NOTHING;
        }
    }

    async fn read(
        &self,
        places: &BTreeSet<Place>,
    ) -> Result<Vec<(EventKey, EventRow)>, AdminError> {
        let freshness = Freshness::AtLeast { revision: self.watch.revision() };
        let found = look_up(&self.db, places, freshness).await?;
        Ok(found.iter().filter_map(readable).collect())
    }
}

/// All events that the database has, and that this program can read.
///
/// # Errors
/// [`AdminError`]
pub async fn events(db: &Db) -> Result<Vec<(EventKey, EventRow)>, AdminError> {
    let found = scan(db, &[EventRow::TABLE], Freshness::Linearizable).await?;
    Ok(found.rows.iter().filter_map(readable).collect())
}

fn readable(row: &FoundRow) -> Option<(EventKey, EventRow)> {
    Some((EventKey::read(&row.place.key)?, EventRow::decode(&row.value).ok()?))
}

/// The number of the newest event that was seen of each node.
#[derive(Debug, Default)]
struct Seen(BTreeMap<NodeName, u64>);

impl Seen {
    /// Those that were not seen yet, as their nodes' clocks order them.
    fn fresh(&mut self, mut rows: Vec<(EventKey, EventRow)>) -> VecDeque<Fresh> {
        rows.sort_by_key(|(_key, row)| row.number);
        let mut fresh = Vec::new();
        for (EventKey { node, .. }, EventRow { number, happened }) in rows {
            let last = self.0.get(&node).copied();
            if last.is_some_and(|last| number <= last) {
                continue;
            }
            let missed = last.map_or(0, |last| number - last - 1);
            self.0.insert(node.clone(), number);
            fresh.push(Fresh { node, happened, missed });
        }
        // By the nodes' own clocks.
        fresh.sort_by_key(|fresh| fresh.happened.at_ms);
        fresh.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::row::Event;

    fn row(node: &str, number: u64, at_ms: u64) -> (EventKey, EventRow) {
        let happened = Happened { at_ms, event: Event::Registered { number: 1 } };
        (EventKey::of(node.parse().unwrap(), number), EventRow { number, happened })
    }

    fn shown(fresh: VecDeque<Fresh>) -> Vec<(String, u64, u64)> {
        let shown = |fresh: Fresh| (fresh.node.to_string(), fresh.happened.at_ms, fresh.missed);
        fresh.into_iter().map(shown).collect()
    }

    #[test]
    fn each_event_is_given_once_and_what_is_missing_is_counted() {
        let mut seen = Seen::default();
        let first = seen.fresh(vec![row("v2", 0, 30), row("v1", 7, 20), row("v1", 6, 10)]);
        let named = |node: &str, at_ms, missed| (node.to_owned(), at_ms, missed);
        assert_eq!(shown(first), [named("v1", 10, 0), named("v1", 20, 0), named("v2", 30, 0)]);
        let second = seen.fresh(vec![row("v1", 7, 20), row("v1", 9, 40), row("v2", 1, 35)]);
        assert_eq!(shown(second), [named("v2", 35, 0), named("v1", 40, 1)]);
    }
}
