//! The task by which a VIOS registers with the database.
//!
//! ```text
//!  registering ──accepted──▶ member ──taken out──┐
//!    ▲ ▲ └─refused, or no answer so many times──▶ failed
//!    │ └──────── the database has no such row ───┘  │
//!    └─ asked to register again, or after a minute ◀┘ of silence
//! ```
//!
//! Source: US 8,726,274, registration of a VIOS, its time-out and its resending.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use vioduct_db::client::{Db, DbError};
use vioduct_runtime::Node;

use super::admin::{AdminError, Looked, Plan};
use super::cm::{RegisterLimits, Standing};
use super::event::Events;
use super::explain;
use super::primary::Candidate;
use super::registration::{Known, Refusal, judge};
use super::row::{ClusterRow, Event, Registered, Row, TheCluster, UniqueRow, ViosRow};
use super::view::View;
use crate::seek::Task;

/// When a VIOS tries again whose registration nobody answered.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// How often a registration is put whose rows others change meanwhile; each time somebody has got
/// on.
const LOOKS: usize = 16;

/// Why the database did not take the registration.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What it read or did not get.
    #[error(transparent)]
    Db(#[from] AdminError),
    #[error("its rows changed each time")]
    Changing,
}

impl NotTaken {
    /// Whether the same data may be taken later.
    fn is_passing(&self) -> bool {
        !self.is_refused() && matches!(self, Self::Changing | Self::Db(AdminError::Db(_)))
    }

    /// Whether the rows, or who may write them, are against it.
    fn is_refused(&self) -> bool {
        let lacks_role =
            |error: &AdminError| matches!(error, AdminError::Db(DbError::NotItsTable { .. }));
        match self {
            Self::Refused(_) => true,
            Self::Db(error) => lacks_role(error),
            Self::Changing => false,
        }
    }
}

/// A registration that the database took.
struct Taken {
    /// From which revision on it is there.
    revision: u64,
    /// The number of the VIOS.
    number: u32,
}

/// A registration that came to nothing.
struct Failed {
    why: String,
    /// Nobody refused it: the same data may be taken later.
    is_passing: bool,
    /// The database's rows refuse it.
    is_refused: bool,
}

/// Registers a VIOS.
pub(super) struct Registrar {
    pub(super) node: Node,
    pub(super) db: Db,
    pub(super) told: Registered,
    pub(super) limits: RegisterLimits,
    pub(super) view: watch::Receiver<Option<Arc<View>>>,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) primary: watch::Sender<bool>,
    pub(super) may_serve: watch::Sender<bool>,
    pub(super) events: Events,
}

impl Registrar {
    /// Registers, and is a member of the cluster for as long as that has it.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<()>) {
        let mut told = None;
        loop {
            let failed = match self.register().await {
                Ok(Taken { revision, number }) => {
                    self.events.tell(Event::Registered { number });
                    told = None;
                    let goes_on = self.be_member(revision, number).await;
                    // Who was a member had no need of them.
                    while orders.try_recv().is_ok() {}
                    if !goes_on {
                        return;
                    }
                    tracing::warn!("the database knows this VIOS no more: it registers again");
                    continue;
                }
                Err(failed) => failed,
            };
            tracing::error!(why = failed.why, "the VIOS is no member of its cluster");
            if told.as_ref() != Some(&failed.why) {
                self.events.tell(Event::NotRegistered { why: failed.why.clone() });
                told = Some(failed.why.clone());
            }
            self.standing.send_replace(Standing::Failed { why: failed.why });
            self.may_serve.send_replace(!failed.is_refused);
            // Silence may end without anybody seeing to it, as after a loss of power.
            let patience = if failed.is_passing { RETRY_AFTER } else { Duration::MAX };
            if let Ok(None) = timeout(patience, orders.recv()).await {
                return;
            }
        }
    }

    /// Until the database, at this revision or a later one, has another row for this VIOS, or
    /// none. `false` when nothing more will be known.
    async fn be_member(&mut self, revision: u64, number: u32) -> bool {
        self.standing.send_replace(Standing::Member { number });
        self.may_serve.send_replace(true);
        let candidate = Candidate {
            db: self.db.clone(),
            node: self.node.clone(),
            view: self.view.clone(),
            is_primary: self.primary.clone(),
            events: self.events.clone(),
        };
        let _electing = Task::spawn(candidate.run());
        let (name, unique) = (self.node.name(), self.told.unique);
        let is_out = |view: &Option<Arc<View>>| {
            let Some(view) = view.as_ref().filter(|view| view.revision >= revision) else {
                return false;
            };
            let row = view.get::<ViosRow>(name).and_then(|row| row.registered);
            let is_own = row.is_some_and(|registered| registered.unique == unique);
            !is_own && !view.is_unreadable::<ViosRow>(name)
        };
        self.view.wait_for(is_out).await.is_ok()
    }

    /// Sends registration data until the database answers, or it was sent often enough.
    async fn register(&self) -> Result<Taken, Failed> {
        let RegisterLimits { attempts, answer_within, .. } = self.limits;
        let mut why = None;
        for attempt in 1..=attempts {
            self.standing.send_replace(Standing::Registering { attempt, why: why.take() });
            let failed = match timeout(answer_within, self.attempt()).await {
                Ok(Ok(taken)) => {
                    tracing::info!(revision = taken.revision, "the VIOS is registered");
                    return Ok(taken);
                }
                Ok(Err(error)) if !error.is_passing() => {
                    let is_refused = error.is_refused();
                    return Err(Failed { why: explain(&error), is_passing: false, is_refused });
                }
                Ok(Err(error)) => explain(&error),
                Err(_late) => format!("no answer within {} ms", answer_within.as_millis()),
            };
            tracing::warn!(attempt, attempts, why = failed, "the VIOS is not registered");
            why = Some(failed);
            self.may_serve.send_replace(true);
            if attempt < attempts {
                let pause = self.limits.pause.mul_f64(rand::rng().random_range(0.5..=1.0));
                sleep_until(Instant::now() + pause).await;
            }
        }
        let why = why.unwrap_or_default();
        let why = format!("not registered after {attempts} attempts; at last: {why}");
        Err(Failed { why, is_passing: true, is_refused: false })
    }

    async fn attempt(&self) -> Result<Taken, NotTaken> {
        for _look in 0..LOOKS {
            match self.put().await {
                Err(NotTaken::Db(AdminError::Changed)) => {}
                done => return done,
            }
        }
        Err(NotTaken::Changing)
    }

    /// Puts what the VIOS says of itself.
    async fn put(&self) -> Result<Taken, NotTaken> {
        let told = &self.told;
        let places = vec![
            ClusterRow::place(&TheCluster),
            ViosRow::place(self.node.name()),
            UniqueRow::place(&told.unique),
        ];
        let looked = Looked::at(&self.db, places).await?;
        let cluster = looked.get::<ClusterRow>(&TheCluster)?;
        let vios = looked.get::<ViosRow>(self.node.name())?;
        let holder = looked.get::<UniqueRow>(&told.unique)?;
        let known = Known {
            cluster: cluster.as_ref().map(|(_revision, row)| row),
            vios: vios.as_ref().map(|(_revision, row)| row),
            holder: holder.as_ref().map(|(_revision, UniqueRow(node))| node),
        };
        let row = judge(known, self.node.name(), told)?;
        let mut plan = Plan::default();
        plan.expect::<ClusterRow>(&TheCluster, revision(cluster.as_ref()));
        plan.replace(self.node.name(), revision(vios.as_ref()), &row);
        plan.replace(&told.unique, revision(holder.as_ref()), &UniqueRow(self.node.name().clone()));
        let revision = plan.commit(&self.db).await?;
        Ok(Taken { revision, number: row.number })
    }
}

/// At which revision a row was written last; 0 if it is not there.
fn revision<R>(found: Option<&(u64, R)>) -> u64 {
    found.map_or(0, |(revision, _row)| *revision)
}
