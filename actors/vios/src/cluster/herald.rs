//! The task that passes a node's events on: to the database, and while that is away directly to the
//! other nodes.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use vioduct_certs::identity::NodeName;
use vioduct_db::ShardId;
use vioduct_db::client::{Db, Freshness};
use vioduct_db::query::Range;
use vioduct_runtime::{ActorName, Node};

use super::admin::{AdminError, Plan};
use super::cm::{CM_NAME, CmDesk};
use super::event::{Heard, Remembered};
use super::row::{EVENTS_KEPT, EventKey, EventRow, Happened, Row};

/// How long it is waited after the database gave no answer.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a node that is told directly may have no room.
const TELL_WITHIN: Duration = Duration::from_millis(200);

/// Passes events on.
pub(super) struct Herald {
    pub(super) node: Node,
    pub(super) db: Db,
    pub(super) events: mpsc::Receiver<Happened>,
    pub(super) remembered: Remembered,
}

impl Herald {
    /// Ends when nobody tells events any more.
    pub(super) async fn run(mut self) {
        let mut journal = Journal::default();
        loop {
            if journal.waiting.is_empty() {
                let Some(happened) = self.events.recv().await else { return };
                self.take(&mut journal, happened);
            }
            while let Ok(happened) = self.events.try_recv() {
                self.take(&mut journal, happened);
            }
            if let Err(error) = self.write(&mut journal).await {
                tracing::debug!(%error, "events are not written yet");
                self.tell_others(journal.untold()).await;
                let until = Instant::now() + PAUSE;
                while let Some(happened) = self.before(until).await {
                    self.take(&mut journal, happened);
                }
            }
        }
    }

    fn take(&self, journal: &mut Journal, happened: Happened) {
        self.remembered.add(self.node.name(), happened.clone());
        journal.push(happened);
    }

    async fn before(&mut self, until: Instant) -> Option<Happened> {
        tokio::select! {
            () = sleep_until(until) => None,
            Some(happened) = self.events.recv() => Some(happened),
        }
    }

    /// Writes all that wait.
    async fn write(&self, journal: &mut Journal) -> Result<(), AdminError> {
        let node = self.node.name();
        let next = match journal.next {
            Some(next) => next,
            None => next_number(&self.db, node).await?,
        };
        journal.next = Some(next);
        let rows = journal.rows(next);
        let mut plan = Plan::default();
        for row in &rows {
            plan.put(&EventKey::of(node.clone(), row.number), row);
        }
        plan.commit(&self.db).await?;
        journal.written(&rows);
        Ok(())
    }

    /// Who does not hear it finds it in the database, once that is there.
    async fn tell_others(&self, events: Vec<Happened>) {
        if events.is_empty() {
            return;
        }
        let name = ActorName::new(CM_NAME).expect("a plain name");
        let others = self.node.find_all::<CmDesk>(&name);
        let others = others.iter().filter(|cm| cm.id().node != *self.node.name());
        let heard = Heard { events };
        join_all(others.map(|cm| timeout(TELL_WITHIN, cm.tell(heard.clone())))).await;
    }
}

/// The number behind the newest event that the database has of a node.
async fn next_number(db: &Db, node: &NodeName) -> Result<u64, AdminError> {
    let (from, to) = (EventKey::prefix(node), Some(EventKey::behind(node)));
    let (table, limit) = (EventRow::TABLE, u32::from(EVENTS_KEPT) * 2);
    let range = vec![Range { table, from, to }];
    let found = db.scan(ShardId(0), range, limit, Freshness::Linearizable).await?;
    let numbers = found.rows.iter().filter_map(|row| EventRow::decode(&row.value).ok());
    Ok(numbers.map(|row| row.number.saturating_add(1)).max().unwrap_or(0))
}

/// Events that the database does not have yet: the newest, no more than it would keep.
#[derive(Debug, Default)]
struct Journal {
    waiting: VecDeque<Waiting>,
    /// The number of the next event, once it is known.
    next: Option<u64>,
    /// Events that are numbered but were given up, before those that wait.
    dropped: u64,
}

#[derive(Debug)]
struct Waiting {
    happened: Happened,
    is_told: bool,
}

impl Journal {
    fn push(&mut self, happened: Happened) {
        if self.waiting.len() >= EVENTS_KEPT.into() {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(Waiting { happened, is_told: false });
    }

    /// Those that were not told directly yet, and count as told now.
    fn untold(&mut self) -> Vec<Happened> {
        let untold = self.waiting.iter_mut().filter(|waiting| !waiting.is_told);
        untold
            .map(|waiting| {
                waiting.is_told = true;
                waiting.happened.clone()
            })
            .collect()
    }

    fn rows(&self, next: u64) -> Vec<EventRow> {
        let numbers = next.saturating_add(self.dropped)..;
        let waiting = self.waiting.iter().map(|waiting| waiting.happened.clone());
        numbers.zip(waiting).map(|(number, happened)| EventRow { number, happened }).collect()
    }

    fn written(&mut self, rows: &[EventRow]) {
        self.waiting.drain(..rows.len().min(self.waiting.len()));
        self.next = rows.last().map(|row| row.number.saturating_add(1)).or(self.next);
        self.dropped = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::row::Event;

    fn happened(at_ms: u64) -> Happened {
        Happened { at_ms, event: Event::Primary { is_primary: true } }
    }

    fn numbers(rows: &[EventRow]) -> Vec<(u64, u64)> {
        rows.iter().map(|row| (row.number, row.happened.at_ms)).collect()
    }

    #[test]
    fn events_are_numbered_and_told_once() {
        let mut journal = Journal::default();
        journal.push(happened(1));
        journal.push(happened(2));
        assert_eq!(journal.untold().len(), 2);
        journal.push(happened(3));
        assert_eq!(journal.untold(), [happened(3)]);
        let rows = journal.rows(7);
        assert_eq!(numbers(&rows), [(7, 1), (8, 2), (9, 3)]);
        journal.written(&rows);
        assert_eq!((journal.next, journal.waiting.len()), (Some(10), 0));
    }

    #[test]
    fn of_too_many_the_newest_are_kept_and_the_gap_is_seen() {
        let mut journal = Journal::default();
        let kept = u64::from(EVENTS_KEPT);
        (0..kept + 5).for_each(|at_ms| journal.push(happened(at_ms)));
        let rows = journal.rows(0);
        assert_eq!(numbers(&rows).first(), Some(&(5, 5)));
        assert_eq!(numbers(&rows).last(), Some(&(kept + 4, kept + 4)));
        // No two of them are in one slot.
        let mut slots: Vec<_> =
            rows.iter().map(|row| EventKey::of("v1".parse().unwrap(), row.number).slot).collect();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), usize::from(EVENTS_KEPT));
        journal.written(&rows);
        journal.push(happened(9));
        assert_eq!(numbers(&journal.rows(journal.next.unwrap())), [(kept + 5, 9)]);
    }
}
