//! Which VIOS does what is done once in a cluster: the primary.
//!
//! ```text
//!             the row is gone                 the row is written
//!  standing by ─────────────▶ campaigning ──────────────────────▶ primary
//!     ▲  ▲                        │ another one was faster           │
//!     │  └────────────────────────┘                                  │
//!     └────── its lease has ended, or was not kept alive in time ────┘
//! ```
//!
//! The primary holds one row of the database under a lease that it keeps alive. A candidate writes
//! the row only if there is none, so the rows are never of two, and all see each in their views. A
//! primary that can't reach the database ceases to be one before its lease can end, by
//! its own clock. The slower the database answers, the longer the lease lasts.
//!
//! Source: US 8,726,274, election of the primary node by a lock on its field in the database.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use vioduct_db::ShardId;
use vioduct_db::client::{Db, DbError, Lease};
use vioduct_runtime::Node;

use super::admin::{AdminError, Looked, Plan};
use super::event::Events;
use super::row::{Event, PrimaryRow, Row, ThePrimary, ViosRow};
use super::steward::Steward;
use super::view::View;
use crate::seek::Task;

/// How long the lease lasts without being kept alive, at least, and at most.
const LEASE_MIN: Duration = Duration::from_millis(800);
const LEASE_MAX: Duration = Duration::from_secs(10);
/// It lasts for so many times as long as the database takes to answer: one that is busy with all
/// the others' work would else have a new primary each second, and so more work.
const LEASE_TIMES: u32 = 16;
/// A lease is kept alive so often while it lasts.
const KEPT: u32 = 4;
/// A primary ceases to be one this part of its lease before that may end.
const MARGIN: u32 = 8;
/// After so many quick answers in a row a lease that was made for slow ones is given back.
const QUICK_MAX: u32 = 16;
/// Candidates that see the row go together do not come together: over that long for each VIOS they
/// are spread, so the first one soon comes however many there are, and few come before it is seen.
const SPREAD_EACH: Duration = Duration::from_millis(5);
const SPREAD_MIN: Duration = Duration::from_millis(50);
/// Twice as long after each election in vain, so many times, and up to this.
const DOUBLED_MAX: u32 = 4;
const SPREAD_MAX: Duration = Duration::from_secs(10);
/// How long it is waited after the database gave no answer.
const PAUSE: Duration = Duration::from_millis(200);

/// Takes part in elections until it is dropped. Says whether this VIOS is the primary.
pub(super) struct Candidate {
    pub(super) db: Db,
    pub(super) node: Node,
    pub(super) view: watch::Receiver<Option<Arc<View>>>,
    pub(super) is_primary: watch::Sender<bool>,
    pub(super) events: Events,
}

/// The row is this VIOS's.
struct Held {
    lease: Lease,
    /// How long it lasts.
    lasts: Duration,
    /// The revision of the row.
    revision: u64,
    /// Until then it can't have ended.
    until: Instant,
}

impl Candidate {
    /// Goes on for ever.
    pub(super) async fn run(mut self) {
        // However this ends, nobody takes it for the primary.
        let _ceasing = Ceasing(self.is_primary.clone());
        let mut in_vain = 0;
        loop {
            in_vain = match self.stand(in_vain).await {
                Ok(Some(held)) => {
                    self.serve(held).await;
                    0
                }
                Ok(None) => in_vain.saturating_add(1),
                Err(error) => {
                    tracing::debug!(%error, "no election");
                    sleep_until(Instant::now() + PAUSE).await;
                    in_vain.saturating_add(1)
                }
            };
        }
    }

    /// Waits until there is no primary, and tries to be the next one, after it has tried in vain so
    /// many times since there was one.
    async fn stand(&mut self, mut in_vain: u32) -> Result<Option<Held>, AdminError> {
        loop {
            if has_primary(&self.view.borrow()) {
                in_vain = 0;
            }
            self.until(|view| !has_primary(view)).await;
            let spread = spread(self.view.borrow().as_deref(), in_vain);
            let wait = spread.mul_f64(rand::rng().random_range(0.0..1.0));
            let is_late = timeout(wait, self.until(has_primary)).await.is_err();
            if is_late {
                break;
            }
        }
        self.campaign().await
    }

    /// Waits until the view is so; for ever when nothing more will be known, as the node ends.
    async fn until(&mut self, is_so: impl FnMut(&Option<Arc<View>>) -> bool) {
        if self.view.wait_for(is_so).await.is_err() {
            std::future::pending().await
        }
    }

    async fn campaign(&self) -> Result<Option<Held>, AdminError> {
        let (looked, took) = self.look().await?;
        if looked.get::<PrimaryRow>(&ThePrimary)?.is_some() {
            // The view is about to show it.
            return Ok(None);
        }
        let Some((revision, row)) = looked.get::<ViosRow>(self.node.name())? else {
            return Err(AdminError::NotAdmitted(self.node.name().clone()));
        };
        let (lease, lasts, until) = self.grant(lease_for(took)).await?;
        let mut plan = Plan::default();
        plan.expect::<PrimaryRow>(&ThePrimary, 0);
        plan.expect::<ViosRow>(self.node.name(), revision);
        let primary = PrimaryRow { node: self.node.name().to_string(), number: row.number };
        plan.put_leased(&ThePrimary, &primary, &lease);
        match plan.commit(&self.db).await {
            // It may have ended by now: another one is elected.
            Ok(_revision) if until <= Instant::now() + lasts / MARGIN => {
                lease.revoke().await.ok();
                Ok(None)
            }
            Ok(revision) => {
                tracing::info!(revision, "this VIOS is the primary");
                Ok(Some(Held { lease, lasts, revision, until }))
            }
            Err(AdminError::Changed) => {
                // Else it ends by time.
                lease.revoke().await.ok();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A lease, how long it lasts, and until when it can't have ended. It lasts for longer than was
    /// asked for where writes take longer than reads.
    async fn grant(&self, lasts: Duration) -> Result<(Lease, Duration, Instant), AdminError> {
        let grant = async |lasts: Duration| {
            let begun = Instant::now();
            let lease = self.db.grant(ShardId(0), lasts).await?;
            Ok::<_, AdminError>((lease, lasts, begun))
        };
        let (lease, lasts, begun) = grant(lasts).await?;
        let needed = lease_for(begun.elapsed());
        if needed <= lasts {
            return Ok((lease, lasts, begun + lasts));
        }
        lease.revoke().await.ok();
        let (lease, lasts, begun) = grant(needed).await?;
        Ok((lease, lasts, begun + lasts))
    }

    /// The primary's row and this VIOS's own, and how long an answer takes.
    async fn look(&self) -> Result<(Looked, Duration), AdminError> {
        let look = async || {
            let places = vec![PrimaryRow::place(&ThePrimary), ViosRow::place(self.node.name())];
            let begun = Instant::now();
            let looked = Looked::at(&self.db, places).await?;
            Ok::<_, AdminError>((looked, begun.elapsed()))
        };
        let first = look().await?;
        if lease_for(first.1) == LEASE_MIN {
            return Ok(first);
        }
        // The database may have had no leader, which says nothing of how quick it is now.
        let (looked, took) = look().await?;
        Ok((looked, took.min(first.1)))
    }

    /// Is the primary for as long as it is sure to be.
    async fn serve(&self, mut held: Held) {
        self.is_primary.send_replace(true);
        self.events.tell(Event::Primary { is_primary: true });
        let (db, node, events) = (self.db.clone(), self.node.clone(), self.events.clone());
        let stewarding = Task::spawn(Steward { db, node, events }.run(held.revision));
        let mut quick = 0;
        while quick < QUICK_MAX {
            let ceases_at = held.until.checked_sub(held.lasts / MARGIN).unwrap_or(held.until);
            match timeout_at(ceases_at, held.keep()).await {
                Ok(Ok(took)) if lease_for(took) < held.lasts / 2 => quick += 1,
                Ok(Ok(_took)) => quick = 0,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "this VIOS is the primary no more: its lease has ended");
                    break;
                }
                Err(_late) => {
                    tracing::warn!("this VIOS is the primary no more: its lease was not renewed");
                    break;
                }
            }
        }
        if quick == QUICK_MAX {
            tracing::info!("the database is quick again: a lease is asked for that ends sooner");
        }
        drop(stewarding);
        self.is_primary.send_replace(false);
        self.events.tell(Event::Primary { is_primary: false });
        // Another one need not wait for its end, if the database hears this.
        drop(timeout_at(held.until, held.lease.revoke()).await);
    }
}

/// Nobody says there is none before something is known.
fn has_primary(view: &Option<Arc<View>>) -> bool {
    view.as_ref().is_none_or(|view| view.get::<PrimaryRow>(&ThePrimary).is_some())
}

/// Over which time candidates are spread.
fn spread(view: Option<&View>, in_vain: u32) -> Duration {
    let vioses = view.map_or(0, |view| view.all::<ViosRow>().count());
    let each = SPREAD_EACH.saturating_mul(u32::try_from(vioses).unwrap_or(u32::MAX));
    each.max(SPREAD_MIN).saturating_mul(1 << in_vain.min(DOUBLED_MAX)).min(SPREAD_MAX)
}

/// How long a lease has to last where an answer takes that long.
fn lease_for(answer: Duration) -> Duration {
    answer.saturating_mul(LEASE_TIMES).clamp(LEASE_MIN, LEASE_MAX)
}

impl Held {
    /// Keeps the lease alive once, after a while; gives how long that took. Fails only when it has
    /// ended.
    async fn keep(&mut self) -> Result<Duration, DbError> {
        sleep_until(Instant::now() + self.lasts / KEPT).await;
        loop {
            let begun = Instant::now();
            match self.lease.keep_alive().await {
                Ok(()) => {
                    self.until = begun + self.lasts;
                    return Ok(begun.elapsed());
                }
                Err(error @ DbError::NoLease { .. }) => return Err(error),
                Err(_away) => sleep_until(Instant::now() + PAUSE).await,
            }
        }
    }
}

struct Ceasing(watch::Sender<bool>);

impl Drop for Ceasing {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

#[cfg(test)]
mod tests {
    use vioduct_db::query::FoundRow;

    use super::*;

    #[test]
    fn a_lease_outlasts_a_slow_database_and_is_short_before_a_quick_one() {
        let lasts = |answer_ms| lease_for(Duration::from_millis(answer_ms)).as_millis();
        assert_eq!([0, 50, 100, 625, 60_000].map(lasts), [800, 800, 1600, 10_000, 10_000]);
    }

    #[test]
    fn the_more_candidates_and_the_oftener_in_vain_the_wider_they_are_spread() {
        let mut view = View::default();
        let spread_ms = |view: &View, in_vain| spread(Some(view), in_vain).as_millis();
        assert_eq!([0, 1, 4, 99].map(|in_vain| spread_ms(&view, in_vain)), [50, 100, 800, 800]);
        for number in 0..1000 {
            let node = format!("v{number}").parse().unwrap();
            let row = ViosRow { number, registered: None };
            let (place, value) = (ViosRow::place(&node), row.encode());
            view.set(FoundRow { place, revision: 1, value });
        }
        assert_eq!(
            [0, 1, 2, 99].map(|in_vain| spread_ms(&view, in_vain)),
            [5000, 10_000, 10_000, 10_000]
        );
    }
}
