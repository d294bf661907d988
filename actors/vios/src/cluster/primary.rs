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
//! its own clock.
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

use super::admin::{AdminError, Plan, read};
use super::event::Events;
use super::row::{Event, PrimaryRow, ThePrimary, ViosRow};
use super::steward::Steward;
use super::view::View;
use crate::seek::Task;

/// How long the lease lasts without being kept alive.
const LEASE: Duration = Duration::from_millis(800);
/// How often it is kept alive.
const KEEP_EVERY: Duration = Duration::from_millis(200);
/// A primary ceases to be one so long before its lease may end.
const MARGIN: Duration = Duration::from_millis(100);
/// Candidates that see the row go together do not come together.
const SPREAD: Duration = Duration::from_millis(50);
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
        loop {
            match self.stand().await {
                Ok(Some(held)) => self.serve(held).await,
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%error, "no election");
                    sleep_until(Instant::now() + PAUSE).await;
                }
            }
        }
    }

    /// Waits until there is no primary, and tries to be the next one.
    async fn stand(&mut self) -> Result<Option<Held>, AdminError> {
        let has_none = |view: &Option<Arc<View>>| {
            view.as_ref().is_some_and(|view| view.get::<PrimaryRow>(&ThePrimary).is_none())
        };
        if self.view.wait_for(has_none).await.is_err() {
            // Nothing more will be known: the node ends.
            return std::future::pending().await;
        }
        let wait = SPREAD.mul_f64(rand::rng().random_range(0.0..1.0));
        sleep_until(Instant::now() + wait).await;
        if read::<PrimaryRow>(&self.db, &ThePrimary).await?.is_some() {
            // The view is about to show it.
            drop(timeout(PAUSE, self.view.changed()).await);
            return Ok(None);
        }
        self.campaign().await
    }

    async fn campaign(&self) -> Result<Option<Held>, AdminError> {
        let Some((revision, row)) = read::<ViosRow>(&self.db, self.node.name()).await? else {
            return Err(AdminError::NotAdmitted(self.node.name().clone()));
        };
        let until = Instant::now() + LEASE;
        let lease = self.db.grant(ShardId(0), LEASE).await?;
        let mut plan = Plan::default();
        plan.expect::<PrimaryRow>(&ThePrimary, 0);
        plan.expect::<ViosRow>(self.node.name(), revision);
        let primary = PrimaryRow { node: self.node.name().to_string(), number: row.number };
        plan.put_leased(&ThePrimary, &primary, &lease);
        match plan.commit(&self.db).await {
            // It may have ended by now: another one is elected.
            Ok(_revision) if until.checked_sub(MARGIN).is_none_or(|at| at <= Instant::now()) => {
                lease.revoke().await.ok();
                Ok(None)
            }
            Ok(revision) => {
                tracing::info!(revision, "this VIOS is the primary");
                Ok(Some(Held { lease, revision, until }))
            }
            Err(AdminError::Changed) => {
                // Else it ends by time.
                lease.revoke().await.ok();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Is the primary for as long as it is sure to be.
    async fn serve(&self, mut held: Held) {
        self.is_primary.send_replace(true);
        self.events.tell(Event::Primary { is_primary: true });
        let (db, node, events) = (self.db.clone(), self.node.clone(), self.events.clone());
        let stewarding = Task::spawn(Steward { db, node, events }.run(held.revision));
        loop {
            let ceases_at = held.until.checked_sub(MARGIN).unwrap_or(held.until);
            match timeout_at(ceases_at, keep(&held.lease)).await {
                Ok(Ok(until)) => held.until = until,
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
        drop(stewarding);
        self.is_primary.send_replace(false);
        self.events.tell(Event::Primary { is_primary: false });
        // Another one need not wait for its end, if the database hears this.
        drop(timeout_at(held.until, held.lease.revoke()).await);
    }
}

/// Keeps a lease alive once, after a while; gives until when it can't have ended. Fails only when
/// it has.
async fn keep(lease: &Lease) -> Result<Instant, DbError> {
    sleep_until(Instant::now() + KEEP_EVERY).await;
    loop {
        let until = Instant::now() + LEASE;
        match lease.keep_alive().await {
            Ok(()) => return Ok(until),
            Err(error @ DbError::NoLease { .. }) => return Err(error),
            Err(_away) => sleep_until(Instant::now() + PAUSE).await,
        }
    }
}

struct Ceasing(watch::Sender<bool>);

impl Drop for Ceasing {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}
