//! Cluster management: the actor by which a VIOS is a member of its cluster.
//!
//! Operators ask it how far it is, and have it register again. It registers with the database by a
//! task of its own, and keeps what that answers in its local stores.
//!
//! ```text
//!  registering ──accepted──▶ member ──taken out──┐
//!    ▲   └─refused, or no answer so many times──▶ failed
//!    └──────────── asked to register again ◀────────┘
//! ```
//!
//! It ends with its node. Nothing of it is lost with it: it begins again by its local stores.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, MessageResponse};
use rand::Rng;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};
use vioduct_certs::identity::NodeName;
use vioduct_db::client::{Db, DbConfig, Outcome};
use vioduct_db::command::{Condition, Place};
use vioduct_db::schema::Schema;
use vioduct_runtime::{
    Accepts, Access, ActorName, Node, RemoteMessage, RestartPolicy, StartError, Wire,
};

use super::admin::{AdminError, put, read, vioses};
use super::follow::Follower;
use super::local::{LocalError, LocalStores, View};
use super::primary::Candidate;
use super::registration::{Known, Refusal, judge};
use super::row::{
    ClusterRow, Registered, UniqueId, UniqueRow, ViosRow, cluster_place, unique_place, vios_place,
};
use crate::redirect::limits::{LimitError, lasts, within};
use crate::seek::Task;

/// The name of cluster management among the actors of its node.
pub const CM_NAME: &str = "cm";

/// When a registration is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterLimits {
    /// How often registration data is sent, 1..=1000. Default 10.
    pub attempts: u32,
    /// How long an answer is waited for, 10 ms..=1 min. Default 3 s.
    pub answer_within: Duration,
    /// How long it is waited before data is sent again, 0..=1 min; between half of it and all.
    /// Default 1 s.
    pub pause: Duration,
}

impl Default for RegisterLimits {
    fn default() -> Self {
        let (answer_within, pause) = (Duration::from_secs(3), Duration::from_secs(1));
        Self { attempts: 10, answer_within, pause }
    }
}

impl RegisterLimits {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`LimitError`] names the first one that is out of its range.
    pub fn validate(&self) -> Result<(), LimitError> {
        let minute = Duration::from_secs(60);
        within("attempts", self.attempts.into(), 1, 1000)?;
        lasts("answer_within", self.answer_within, Duration::from_millis(10), minute)?;
        lasts("pause", self.pause, Duration::ZERO, minute)
    }
}

/// What cluster management is told.
#[derive(Debug, Clone)]
pub struct CmConfig {
    /// The VIOS's local stores.
    pub stores: LocalStores,
    /// The computing electronic complex that it runs in.
    pub cec: u32,
    /// Its software's version.
    pub software: String,
    /// The database's tables.
    pub schema: Arc<Schema>,
    /// When a registration is given up.
    pub limits: RegisterLimits,
}

/// Why cluster management does not start. Nothing of it runs.
#[derive(Debug, thiserror::Error)]
pub enum CmError {
    /// A setting is out of its range. Fault: the operator.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A local store is not read, or not written.
    #[error("a local store")]
    Local(#[from] LocalError),
    /// The system is short of threads.
    #[error("a local store was not read: {0}")]
    Cancelled(#[from] tokio::task::JoinError),
    /// The actor did not start.
    #[error(transparent)]
    Actor(#[from] StartError),
}

impl CmError {
    /// Whether a file has to be mended first.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::Limit(_) | Self::Local(LocalError::Damaged { .. } | LocalError::Newer { .. }) => {
                true
            }
            Self::Local(LocalError::Read { .. } | LocalError::Write(_))
            | Self::Cancelled(_)
            | Self::Actor(_) => false,
        }
    }
}

/// What others ask of cluster management.
#[derive(Debug)]
pub struct CmDesk;

impl Accepts<AskMembership> for CmDesk {}

impl Accepts<RegisterAgain> for CmDesk {}

/// Asks how far a VIOS is with its cluster.
#[derive(Debug, Clone, Copy, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Membership")]
#[remote(name = "cm.AskMembership")]
pub struct AskMembership;

/// Has a VIOS register again that failed to. To a member it says nothing.
#[derive(Debug, Clone, Copy, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "cm.RegisterAgain")]
pub struct RegisterAgain;

/// How far a VIOS is with its cluster.
#[derive(Debug, Clone, PartialEq, Eq, MessageResponse, Wire, Serialize, Deserialize)]
pub struct Membership {
    /// Which VIOS it is.
    pub unique: UniqueId,
    /// The cluster and its own number, as the database told them last.
    pub known: Option<(String, u32)>,
    /// What it is doing.
    pub phase: CmPhase,
}

/// What cluster management does.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub enum CmPhase {
    /// It sends its registration data.
    Registering {
        /// For which time.
        attempt: u32,
        /// Why the last time was not enough.
        why: Option<String>,
    },
    /// It is a member.
    Member {
        /// The revision of what it knows.
        revision: u64,
        /// How many VIOSes it knows of.
        vioses: u32,
        /// It does what is done once in the cluster.
        is_primary: bool,
    },
    /// It is none, and does nothing about it.
    Failed {
        /// Why.
        why: String,
    },
}

/// The actor.
#[derive(Debug)]
pub struct Cm {
    membership: watch::Receiver<Membership>,
    is_primary: watch::Receiver<bool>,
    again: mpsc::Sender<()>,
}

impl Actor for Cm {
    type Context = Context<Self>;
}

impl Handler<AskMembership> for Cm {
    type Result = Membership;

    fn handle(&mut self, AskMembership: AskMembership, _ctx: &mut Self::Context) -> Self::Result {
        let mut told = self.membership.borrow().clone();
        if let CmPhase::Member { is_primary, .. } = &mut told.phase {
            *is_primary = *self.is_primary.borrow();
        }
        told
    }
}

impl Handler<RegisterAgain> for Cm {
    type Result = ();

    fn handle(&mut self, RegisterAgain: RegisterAgain, _ctx: &mut Self::Context) {
        // When there is one already, one is enough.
        self.again.try_send(()).ok();
    }
}

/// A node's cluster management. Dropped it sends nothing more.
#[derive(Debug)]
pub struct CmRole {
    _registering: Task,
}

impl CmRole {
    /// Begins to register the VIOS of this node.
    ///
    /// # Errors
    /// [`CmError`]
    pub async fn start(node: &Node, config: CmConfig) -> Result<Self, CmError> {
        let CmConfig { stores, cec, software, schema, limits } = config;
        limits.validate()?;
        let (odm, view, stores) = spawn_blocking(move || {
            let odm = stores.odm(|| UniqueId::draw(&mut rand::rng()))?;
            Ok::<_, LocalError>((odm, last_view(&stores), stores))
        })
        .await??;
        let name = node.name().clone();
        let known = view.as_ref().and_then(|view| known(&name, view));
        let phase = CmPhase::Registering { attempt: 1, why: None };
        let (tell, membership) = watch::channel(Membership { unique: odm.unique, known, phase });
        let (again, orders) = mpsc::channel(1);
        let (primary, is_primary) = watch::channel(false);
        let actor = Cm { membership, is_primary, again };
        let mut actor = Some(actor);
        let actor = node.actor(move || actor.take().expect("it is made once"));
        let actor = actor.restart(RestartPolicy::never());
        let actor = actor.named(ActorName::new(CM_NAME).expect("a plain name"));
        let actor = actor.accept::<AskMembership>(Access::nodes().or(Access::tools()));
        actor.accept::<RegisterAgain>(Access::tools()).start().await?;
        let deadline = limits.answer_within;
        let db = Db::new(node, schema, DbConfig { deadline, ..DbConfig::default() });
        let told =
            Registered { unique: odm.unique, cec, software, incarnation: node.incarnation() };
        let registrar = Registrar { db, name, told, stores, limits, tell, primary };
        Ok(Self { _registering: Task::spawn(registrar.run(orders)) })
    }
}

/// One that is not read is as good as none: the database has all of it.
fn last_view(stores: &LocalStores) -> Option<View> {
    stores.view().unwrap_or_else(|error| {
        tracing::warn!(%error, "the cluster view is asked for anew");
        None
    })
}

fn known(node: &NodeName, view: &View) -> Option<(String, u32)> {
    let row = view.vios(node.as_str())?;
    Some((view.cluster.name.clone(), row.number))
}

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
        matches!(self, Self::Changing | Self::Db(AdminError::Db(_)))
    }
}

struct Registrar {
    db: Db,
    name: NodeName,
    told: Registered,
    stores: LocalStores,
    limits: RegisterLimits,
    tell: watch::Sender<Membership>,
    primary: watch::Sender<bool>,
}

/// Why a member follows its cluster no more.
enum Ended {
    /// The database has another row for it, or none.
    Unknown,
    Failed(String),
}

impl Registrar {
    async fn run(self, mut orders: mpsc::Receiver<()>) {
        loop {
            if let Some(view) = self.register().await {
                let ended = self.follow(view).await;
                // Who was a member had no need of them.
                while orders.try_recv().is_ok() {}
                match ended {
                    Ended::Unknown => {
                        tracing::warn!("the database knows this VIOS no more: it registers again");
                        continue;
                    }
                    Ended::Failed(why) => self.has_failed(why),
                }
            }
            if orders.recv().await.is_none() {
                return;
            }
        }
    }

    fn is_known_in(&self, view: &View) -> bool {
        let row = view.vios(self.name.as_str()).and_then(|row| row.registered.as_ref());
        row.is_some_and(|registered| registered.unique == self.told.unique)
    }

    /// Keeps what is known of the cluster as the database has it.
    async fn follow(&self, view: View) -> Ended {
        if !self.is_known_in(&view) {
            return Ended::Unknown;
        }
        let mut follower = match Follower::after(self.db.clone(), view).await {
            Ok(follower) => follower,
            Err(error) => return Ended::Failed(explain(&AdminError::Db(error).into())),
        };
        let candidate = Candidate::new(self.db.clone(), self.name.clone(), self.primary.clone());
        let _electing = Task::spawn(candidate.run());
        loop {
            let view = match follower.next().await {
                Ok(view) => view,
                Err(error) => return Ended::Failed(explain(&error.into())),
            };
            self.keep(&view).await;
            if !self.is_known_in(&view) {
                return Ended::Unknown;
            }
            self.has_view(&view);
        }
    }

    /// Keeps a view for the time when the database is away. It may be lost.
    async fn keep(&self, view: &View) {
        let (stores, view) = (self.stores.clone(), view.clone());
        // Fails only when the process ends.
        let kept = spawn_blocking(move || stores.keep_view(&view)).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!(%error, "the cluster view is not kept");
        }
    }

    /// Sends registration data until the database answers, or it was sent often enough.
    async fn register(&self) -> Option<View> {
        let RegisterLimits { attempts, answer_within, pause } = self.limits;
        let mut why = None;
        for attempt in 1..=attempts {
            self.is(CmPhase::Registering { attempt, why: why.take() });
            let failed = match timeout(answer_within, self.attempt()).await {
                Ok(Ok(view)) => {
                    self.keep(&view).await;
                    self.is_member(&view);
                    return Some(view);
                }
                Ok(Err(error)) if !error.is_passing() => {
                    self.has_failed(explain(&error));
                    return None;
                }
                Ok(Err(error)) => explain(&error),
                Err(_late) => format!("no answer within {} ms", answer_within.as_millis()),
            };
            tracing::warn!(attempt, attempts, why = failed, "the VIOS is not registered");
            why = Some(failed);
            let pause = pause.mul_f64(rand::rng().random_range(0.5..=1.0));
            if attempt < attempts {
                sleep_until(Instant::now() + pause).await;
            }
        }
        let why = why.unwrap_or_default();
        self.has_failed(format!("not registered after {attempts} attempts; at last: {why}"));
        None
    }

    fn is_member(&self, view: &View) {
        if let Some((cluster, number)) = known(&self.name, view) {
            tracing::info!(cluster, number, revision = view.revision, "the VIOS is registered");
        }
        self.has_view(view);
    }

    fn has_view(&self, view: &View) {
        let (known, revision) = (known(&self.name, view), view.revision);
        let vioses = u32::try_from(view.vioses.len()).unwrap_or(u32::MAX);
        self.tell.send_modify(|membership| {
            membership.known = known;
            membership.phase = CmPhase::Member { revision, vioses, is_primary: false };
        });
    }

    fn has_failed(&self, why: String) {
        tracing::error!(why, "the VIOS is no member of its cluster, and tries no more");
        self.is(CmPhase::Failed { why });
    }

    fn is(&self, phase: CmPhase) {
        self.tell.send_modify(|membership| membership.phase = phase);
    }

    /// Registers; gives the database's answer.
    async fn attempt(&self) -> Result<View, NotTaken> {
        // What others change meanwhile is looked at again; each time somebody has got on.
        for _look in 0..16 {
            let Some((revision, cluster)) = self.put().await? else { continue };
            let (_read_at, vioses) = vioses(&self.db).await?;
            return Ok(View { revision, cluster, vioses });
        }
        Err(NotTaken::Changing)
    }

    /// Puts what the VIOS says of itself; gives from which revision on it is there. `None` when
    /// rows were changed meanwhile.
    async fn put(&self) -> Result<Option<(u64, ClusterRow)>, NotTaken> {
        let own = vios_place(&self.name);
        let unique = unique_place(self.told.unique);
        let cluster = read::<ClusterRow>(&self.db, cluster_place()).await?;
        let vios = read::<ViosRow>(&self.db, own.clone()).await?;
        let holder = read::<UniqueRow>(&self.db, unique.clone()).await?;
        let known = Known {
            cluster: cluster.as_ref().map(|(_revision, row)| row),
            vios: vios.as_ref().map(|(_revision, row)| row),
            holder: holder.as_ref().map(|(_revision, UniqueRow(node))| node),
        };
        let (cluster_row, row) = judge(known, &self.name, &self.told)?;
        let conditions = vec![
            as_read(cluster_place(), cluster.as_ref()),
            as_read(own.clone(), vios.as_ref()),
            as_read(unique.clone(), holder.as_ref()),
        ];
        let changes = vec![put(own, &row), put(unique, &UniqueRow(self.name.clone()))];
        let done = self.db.transact(conditions, changes).await.map_err(AdminError::Db)?;
        Ok(match done {
            Outcome::Done { revision } => Some((revision, cluster_row.clone())),
            Outcome::Refused { .. } => None,
        })
    }
}

/// The row is as it was read, or still not there.
fn as_read<R>(place: Place, found: Option<&(u64, R)>) -> Condition {
    Condition::Revision { place, revision: found.map_or(0, |(revision, _row)| *revision) }
}

/// An error and what it comes from, in one line.
fn explain(error: &NotTaken) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
