//! Cluster management: the actor by which a node knows its cluster, and its VIOS is a member of it.
//!
//! Operators ask it how far it is, and have it register again. One task follows the database, and
//! keeps what that answers in the local store; another one registers the node's VIOS: see
//! `keeper` and `registrar`.
//!
//! It ends with its node. Nothing of it is lost with it: it begins again by its local stores.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, MessageResponse};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use vioduct_certs::identity::{NodeName, Role};
use vioduct_db::client::{Db, DbConfig};
use vioduct_db::clock::WallClock;
use vioduct_db::schema::Schema;
use vioduct_runtime::{
    Accepts, Access, ActorName, Node, RemoteMessage, RestartPolicy, StartError, Wire,
};

use super::event::{AskEvents, Events, Heard, Remembered};
use super::herald::Herald;
use super::keeper::{Keeper, store};
use super::known::AskView;
use super::local::{LocalError, LocalStores};
use super::registrar::Registrar;
use super::row::{Registered, UniqueId, ViosRow};
use super::view::View;
use crate::redirect::limits::{LimitError, lasts, within};
use crate::roles::layout::{Layout, Layouts};
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
    /// The node's local stores.
    pub stores: LocalStores,
    /// Its VIOS, if it has one.
    pub vios: Option<OwnVios>,
    /// The database's tables.
    pub schema: Arc<Schema>,
    /// When a registration is given up.
    pub limits: RegisterLimits,
}

/// What the VIOS of a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnVios {
    /// The computing electronic complex that it runs in.
    pub cec: u32,
    /// Its software's version.
    pub software: String,
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

/// Asks how far a node is with its cluster.
#[derive(Debug, Clone, Copy, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Membership")]
#[remote(name = "cm.AskMembership")]
pub struct AskMembership;

/// Has a VIOS register again that failed to. To a member it says nothing. Answers whether there is
/// one.
#[derive(Debug, Clone, Copy, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "bool")]
#[remote(name = "cm.RegisterAgain")]
pub struct RegisterAgain;

/// How far a node is with its cluster.
#[derive(Debug, Clone, PartialEq, Eq, MessageResponse, Wire, Serialize, Deserialize)]
pub struct Membership {
    /// Which VIOS it is, if it has one.
    pub unique: Option<UniqueId>,
    /// The cluster and the number of its VIOS, as the database told them last.
    pub known: Option<(String, Option<u32>)>,
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
    /// It has no VIOS, and follows the database.
    Following {
        /// The revision of what it knows; none before it knows anything.
        revision: Option<u64>,
    },
    /// It is a member.
    Member {
        /// The revision of what it knows.
        revision: u64,
        /// How many registered VIOSes it knows of.
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
    name: NodeName,
    unique: Option<UniqueId>,
    view: watch::Receiver<Option<Arc<View>>>,
    standing: watch::Receiver<Standing>,
    is_primary: watch::Receiver<bool>,
    again: mpsc::Sender<()>,
    pub(super) remembered: Remembered,
}

/// How far the VIOS of a node is with its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// The node has none.
    NoVios,
    Registering {
        attempt: u32,
        why: Option<String>,
    },
    Member {
        /// Of its VIOS.
        number: u32,
    },
    Failed {
        why: String,
    },
}

impl Cm {
    pub(super) fn view(&self) -> Option<Arc<View>> {
        self.view.borrow().clone()
    }
}

impl Actor for Cm {
    type Context = Context<Self>;
}

impl Handler<AskMembership> for Cm {
    type Result = Membership;

    fn handle(&mut self, AskMembership: AskMembership, _ctx: &mut Self::Context) -> Self::Result {
        let view = self.view();
        let revision = view.as_ref().map(|view| view.revision);
        let phase = match self.standing.borrow().clone() {
            Standing::NoVios => CmPhase::Following { revision },
            Standing::Registering { attempt, why } => CmPhase::Registering { attempt, why },
            Standing::Failed { why } => CmPhase::Failed { why },
            Standing::Member { number: _ } => {
                let all = view.iter().flat_map(|view| view.all::<ViosRow>());
                let vioses = all.filter(|(_node, row)| row.registered.is_some()).count();
                let vioses = u32::try_from(vioses).unwrap_or(u32::MAX);
                let is_primary = *self.is_primary.borrow();
                CmPhase::Member { revision: revision.unwrap_or(0), vioses, is_primary }
            }
        };
        let known = view.and_then(|view| known(&self.name, &view));
        Membership { unique: self.unique, known, phase }
    }
}

impl Handler<RegisterAgain> for Cm {
    type Result = bool;

    fn handle(&mut self, RegisterAgain: RegisterAgain, _ctx: &mut Self::Context) -> bool {
        // When there is one already, one is enough.
        self.again.try_send(()).ok();
        !self.again.is_closed()
    }
}

/// What a node knows of its cluster, and the way to know more. A clone sees the same.
#[derive(Debug, Clone)]
pub struct ClusterSight {
    /// The cluster's database.
    pub db: Db,
    /// What the database answered last. As long as it did not answer, nothing, then what the local
    /// store has, if it has anything.
    pub view: watch::Receiver<Option<Arc<View>>>,
    /// The VIOSes, by the same.
    pub layouts: Layouts,
    /// Whether the node's VIOS may serve: it is registered, or nobody could tell it otherwise.
    pub may_serve: watch::Receiver<bool>,
    /// Where what happens to the node is told.
    pub events: Events,
}

impl ClusterSight {
    /// Waits until something else is known, or so long. `false` when nothing else will be.
    /// Cancel-safe.
    pub async fn changed(&mut self, at_most: Option<Duration>) -> bool {
        let changed = self.view.changed();
        match at_most {
            Some(time) => !matches!(timeout(time, changed).await, Ok(Err(_ended))),
            None => changed.await.is_ok(),
        }
    }

    /// Waits until `find` finds what it looks for in what is known; `None` when nothing more will
    /// be. Cancel-safe.
    pub async fn until<T>(&mut self, mut find: impl FnMut(&View) -> Option<T>) -> Option<T> {
        loop {
            let found = self.view.borrow_and_update().as_deref().and_then(&mut find);
            if found.is_some() {
                return found;
            }
            self.view.changed().await.ok()?;
        }
    }
}

/// A node's cluster management. Dropped it sends nothing more.
#[derive(Debug)]
pub struct CmRole {
    sight: ClusterSight,
    _tasks: [Task; 3],
    _registering: Option<Task>,
}

impl CmRole {
    /// Begins to register the VIOS of this node, or only to follow the database if it has none.
    ///
    /// # Errors
    /// [`CmError`]
    pub async fn start(node: &Node, config: CmConfig) -> Result<Self, CmError> {
        let CmConfig { stores, vios, schema, limits } = config;
        limits.validate()?;
        let (unique, stored, stores) = recall(stores, vios.is_some()).await?;
        let deadline = limits.answer_within;
        let db = Db::new(node, schema, DbConfig { deadline, ..DbConfig::default() });
        let (tell_view, view) = watch::channel(None);
        let (tell_layout, layouts) = watch::channel(Layout::default());
        let registering = |_unique| Standing::Registering { attempt: 1, why: None };
        let begin = unique.map_or(Standing::NoVios, registering);
        let (tell_standing, standing) = watch::channel(begin);
        let (may_serve, permitted) = watch::channel(false);
        let (tell_primary, is_primary) = watch::channel(false);
        let (again, orders) = mpsc::channel(1);
        let remembered = Remembered::default();
        let actor = Cm {
            name: node.name().clone(),
            unique,
            view: view.clone(),
            standing: standing.clone(),
            is_primary,
            again,
            remembered: remembered.clone(),
        };
        start_actor(node, actor).await?;
        let (events, told) = Events::new(WallClock::system());
        let herald = Herald { node: node.clone(), db: db.clone(), events: told, remembered };
        let sight = ClusterSight {
            db: db.clone(),
            view: view.clone(),
            layouts: Layouts::new(layouts),
            may_serve: permitted,
            events: events.clone(),
        };
        let keeper = Keeper {
            name: node.name().clone(),
            db: db.clone(),
            stored,
            view: tell_view,
            layout: tell_layout,
            standing: standing.clone(),
        };
        let registering = match (vios, unique) {
            (Some(OwnVios { cec, software }), Some(unique)) => {
                let told = Registered { unique, cec, software, incarnation: node.incarnation() };
                let registrar = Registrar {
                    node: node.clone(),
                    db,
                    told,
                    limits,
                    view: view.clone(),
                    standing: tell_standing,
                    primary: tell_primary,
                    may_serve,
                    events,
                };
                Some(Task::spawn(registrar.run(orders)))
            }
            _no_vios => None,
        };
        let tasks = [
            Task::spawn(herald.run()),
            Task::spawn(keeper.run()),
            Task::spawn(store(stores, view)),
        ];
        Ok(Self { sight, _tasks: tasks, _registering: registering })
    }

    /// What is known of the cluster.
    #[must_use]
    pub const fn sight(&self) -> &ClusterSight {
        &self.sight
    }
}

async fn start_actor(node: &Node, cm: Cm) -> Result<(), StartError> {
    let mut cm = Some(cm);
    let actor = node.actor(move || cm.take().expect("it is made once"));
    let actor = actor.restart(RestartPolicy::never());
    let actor = actor.named(ActorName::new(CM_NAME).expect("a plain name"));
    let actor = actor.accept::<AskMembership>(Access::nodes().or(Access::tools()));
    let actor = actor.accept::<AskView>(Access::nodes().or(Access::tools()));
    let actor = actor.accept::<AskEvents>(Access::nodes().or(Access::tools()));
    let tellers = Access::roles([Role::Phyp, Role::Storage, Role::Vios]);
    let actor = actor.accept::<Heard>(tellers);
    actor.accept::<RegisterAgain>(Access::tools()).start().await.map(drop)
}

/// What the local stores have: which VIOS this is, if it is one, and what the database said last.
async fn recall(
    stores: LocalStores,
    is_vios: bool,
) -> Result<(Option<UniqueId>, Option<View>, LocalStores), CmError> {
    let recalled = spawn_blocking(move || {
        let draw = || stores.odm(|| UniqueId::draw(&mut rand::rng()));
        let odm = is_vios.then(draw).transpose()?;
        Ok::<_, LocalError>((odm.map(|odm| odm.unique), last_view(&stores), stores))
    });
    Ok(recalled.await??)
}

/// One that is not read is as good as none: the database has all of it.
fn last_view(stores: &LocalStores) -> Option<View> {
    stores.view().unwrap_or_else(|error| {
        tracing::warn!(%error, "the cluster view is asked for anew");
        None
    })
}

/// The cluster, and the number of this node's VIOS.
fn known(node: &NodeName, view: &View) -> Option<(String, Option<u32>)> {
    let number = view.get::<ViosRow>(node).map(|row| row.number);
    Some((view.cluster()?.name, number))
}
