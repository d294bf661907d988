//! Keeps a node's view of the cluster as the database is.
//!
//! Notices say which rows changed; those are read, or all of them when they are many. After the
//! first notice it is waited, for longer the longer a read takes, and the replica is not asked
//! meanwhile: what changes then comes in one answer. So a thousand VIOSes which register at once
//! are not a thousand answers and reads for each of them. Now and then all rows are read whatever
//! came, for what a notice should have told and did not.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep_until};
use vioduct_db::ShardId;
use vioduct_db::client::{Db, DbError, Freshness, Watch, WatchEvent, WatchFrom};
use vioduct_db::command::{PARTS_MAX, Place};
use vioduct_db::query::FoundRow;
use vioduct_db::watch::Filter;

use super::admin::AdminError;
use super::row::followed;
use super::view::View;

/// How long notices are gathered after the first one at least, and at most: for each row that is
/// known, since as many nodes may read when one changes.
const GATHER: Duration = Duration::from_millis(20);
const GATHER_EACH: Duration = Duration::from_millis(5);
const GATHER_MAX: Duration = Duration::from_secs(5);
/// Notices are gathered for so many times as long as the last read took.
const GATHER_TIMES: u32 = 8;
/// What changes after nothing was read for so long is read at once, whatever the last read took.
const QUIET: Duration = Duration::from_secs(5);
/// Rows that are read by their keys, at once; more are read with all others.
const SINGLES_MAX: usize = PARTS_MAX;
/// How often all rows are read whatever came; between half of it and all.
const COMPARE_EVERY: Duration = Duration::from_secs(60);
/// How long it is waited after the database gave no answer.
const PAUSE: Duration = Duration::from_secs(1);

/// What has changed since the view was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Changed {
    /// These rows.
    Some(BTreeSet<Place>),
    /// Whatever it may be.
    All,
}

impl Changed {
    pub(super) const NOTHING: Self = Self::Some(BTreeSet::new());

    pub(super) fn note(&mut self, event: WatchEvent) {
        let changes = match event {
            WatchEvent::Progress { .. } => return,
            WatchEvent::Resync { .. } => {
                *self = Self::All;
                return;
            }
            WatchEvent::Changes { changes, .. } => changes,
        };
        let Self::Some(places) = self else { return };
        places.extend(changes.into_iter().map(|change| change.place));
        if places.len() > SINGLES_MAX {
            *self = Self::All;
        }
    }
}

/// Follows the database from a view on.
pub(super) struct Follower {
    db: Db,
    view: View,
    watch: Watch,
    changed: Changed,
    compare_at: Instant,
    /// What the last read took, and when it ended.
    took: Duration,
    read_at: Instant,
}

impl Follower {
    /// Begins with all rows as the database has them now. Which revision that is the leader says;
    /// the rows may be any replica's that has come so far.
    pub(super) async fn begin(db: Db) -> Result<Self, AdminError> {
        let watch = db.watch(ShardId(0), Filter::of(followed()), WatchFrom::Now).await?;
        let (begun, revision) = (Instant::now(), watch.revision());
        let view = View::read(&db, Freshness::AtLeast { revision }).await?;
        let (changed, compare_at) = (Changed::NOTHING, next_comparison());
        let (took, read_at) = (begun.elapsed(), Instant::now());
        Ok(Self { db, view, watch, changed, compare_at, took, read_at })
    }

    /// What it knows.
    pub(super) const fn view(&self) -> &View {
        &self.view
    }

    /// The next view that differs from the one before. Cancel-safe. An error of the database is
    /// waited out.
    pub(super) async fn next(&mut self) -> Result<View, AdminError> {
        loop {
            if let Err(error) = self.gather().await {
                tracing::debug!(%error, "the database tells no changes");
                sleep_until(Instant::now() + PAUSE).await;
                if self.changed == Changed::NOTHING && Instant::now() < self.compare_at {
                    continue;
                }
            }
            let begun = Instant::now();
            let looked = self.look().await;
            if looked.is_ok() {
                (self.took, self.read_at) = (begun.elapsed(), Instant::now());
            }
            match looked {
                Ok(view) if view.is_as(&self.view) => self.has_read(view),
                Ok(view) => {
                    self.has_read(view.clone());
                    return Ok(view);
                }
                Err(AdminError::Db(error)) => {
                    tracing::debug!(%error, "changed rows are not read yet");
                    sleep_until(Instant::now() + PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn has_read(&mut self, view: View) {
        if self.changed == Changed::All {
            self.compare_at = next_comparison();
        }
        (self.view, self.changed) = (view, Changed::NOTHING);
    }

    /// Waits until something has changed, and a little longer for what comes with it.
    async fn gather(&mut self) -> Result<(), DbError> {
        while self.changed == Changed::NOTHING {
            self.hear().await?;
        }
        let gather = if self.read_at.elapsed() > QUIET {
            GATHER
        } else {
            let rows = u32::try_from(self.view.len()).unwrap_or(u32::MAX);
            let most = GATHER_EACH.saturating_mul(rows).clamp(GATHER, GATHER_MAX);
            (self.took * GATHER_TIMES).clamp(GATHER, most)
        };
        let gather = gather.mul_f64(rand::rng().random_range(0.5..=1.0));
        sleep_until(Instant::now() + gather).await;
        Ok(())
    }

    /// Takes note of the next answer, or that it is time to compare.
    async fn hear(&mut self) -> Result<(), DbError> {
        tokio::select! {
            event = self.watch.next() => self.changed.note(event?),
            () = sleep_until(self.compare_at) => self.changed = Changed::All,
        }
        while let Some(event) = self.watch.ready() {
            self.changed.note(event);
        }
        Ok(())
    }

    /// The view with what has changed. Any replica that is no older than the notices may tell.
    async fn look(&self) -> Result<View, AdminError> {
        let told = self.watch.revision().max(self.view.revision);
        let freshness = Freshness::AtLeast { revision: told };
        let Changed::Some(places) = &self.changed else {
            return View::read(&self.db, freshness).await;
        };
        let mut view = self.view.clone();
        places.iter().for_each(|place| view.remove(place.clone()));
        look_up(&self.db, places, freshness).await?.into_iter().for_each(|row| view.set(row));
        view.revision = told;
        Ok(view)
    }
}

/// Those of these rows that are there.
pub(super) async fn look_up(
    db: &Db,
    places: &BTreeSet<Place>,
    freshness: Freshness,
) -> Result<Vec<FoundRow>, DbError> {
    let places: Vec<Place> = places.iter().cloned().collect();
    let mut rows = Vec::new();
    for some in places.chunks(PARTS_MAX) {
        rows.extend(db.get_many(some.to_vec(), freshness).await?.rows);
    }
    Ok(rows)
}

fn next_comparison() -> Instant {
    Instant::now() + COMPARE_EVERY.mul_f64(rand::rng().random_range(0.5..=1.0))
}
