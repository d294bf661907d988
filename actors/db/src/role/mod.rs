//! What a node of the cluster does for the database: it opens the stores, starts the replicas that
//! are on its disk, and makes new ones when it is asked to.

mod config;
mod desk;
#[cfg(feature = "rocksdb")]
mod disk;
mod ends;
mod heal;
mod origin;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use vioduct_certs::identity::{NodeName, Role};
use vioduct_runtime::{Access, ActorHandle, ActorName, Node, RestartPolicy, StartError};

pub use self::config::{ConfigError, DbRoleConfig, Timing};
use self::desk::RetireAll;
pub use self::desk::{Desk, DeskClient, DeskRefusal, Found, HereReplica, Prepare};
#[cfg(feature = "rocksdb")]
pub use self::disk::{DiskConfig, DiskRole, start_on_disk};
pub use self::ends::DbEnd;
use self::ends::Told;
use self::heal::Healer;
pub use self::origin::Origin;
pub use self::stores::Stores;
use crate::StoreError;
use crate::log::{LogDamage, LogEngine, LogWriter, WatchedLog};
use crate::state::StateEngine;

/// Why a node does nothing for the database. Nothing of it runs.
#[derive(Debug, thiserror::Error)]
pub enum DbRoleError {
    /// A setting is out of its range. Fault: the operator.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The stores can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The actors did not start, since the node is ending, or does this already.
    #[error("an actor of the database")]
    Actor(#[from] StartError),
}

const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// The name of the actor that makes a node's replicas.
#[must_use]
pub fn desk_name() -> ActorName {
    ActorName::new("db").expect("short and plain")
}

/// What a node does for the database. It ends with the node.
#[derive(Debug)]
pub struct DbRole<E: LogEngine, T: StateEngine> {
    desk: ActorHandle<Desk<E, T>>,
    writer: LogWriter,
    damage: LogDamage,
    told: Told,
    healing: JoinHandle<()>,
}

impl<E: LogEngine, T: StateEngine> DbRole<E, T> {
    /// Starts the replicas that these stores hold, and has those made anew that they have lost.
    ///
    /// # Errors
    ///
    /// [`DbRoleError`].
    pub async fn start(
        node: &Node,
        stores: Stores<E, T>,
        config: DbRoleConfig,
    ) -> Result<Self, DbRoleError> {
        config.check()?;
        let Stores { log, writer, state, has_room } = stores;
        let log = WatchedLog::new(log);
        let (damage, told) = (log.damage().clone(), Told::default());
        let stores = Stores { log, writer: writer.clone(), state, has_room };
        let healer = Healer::new(node, Arc::clone(&config.schema), told.here.subscribe());
        let (of_node, tells) = (node.clone(), told.clone());
        let make =
            move || Desk::new(of_node.clone(), stores.clone(), config.clone(), tells.clone());
        let desk = node.actor(make).named(desk_name()).restart(RestartPolicy::never());
        let asked_by = || Access::tools().or(Access::roles([Role::Db]));
        let desk = desk.accept::<Prepare>(asked_by()).accept::<Found>(asked_by());
        let desk = desk.start().await?;
        let healing = tokio::spawn(healer.run());
        Ok(Self { desk, writer, damage, told, healing })
    }

    /// Waits until the node can do nothing more for the database, and says why: it is to be
    /// stopped. Cancel-safe.
    pub async fn ended(&self) -> DbEnd {
        let writer = async {
            match self.writer.ended().await {
                Err(source) => DbEnd::Log { source },
                Ok(()) => std::future::pending().await,
            }
        };
        let damage = async { DbEnd::LogDamaged { source: self.damage.found().await } };
        tokio::select! {
            biased;
            end = damage => end,
            end = writer => end,
            end = self.told.ended() => end,
        }
    }

    /// Has other nodes lead what this one leads, for two seconds at most. Then the node may end,
    /// and nobody waits for an election.
    pub async fn close(&self) {
        self.healing.abort();
        if let Some(desk) = self.desk.now() {
            // The node may be past answering; then there is nothing to hand over.
            drop(desk.ask(RetireAll, CLOSE_WITHIN).await);
        }
    }
}

impl<E: LogEngine, T: StateEngine> Drop for DbRole<E, T> {
    fn drop(&mut self) {
        self.healing.abort();
    }
}

/// The names of nodes, as an origin has them.
pub(crate) fn names(nodes: &[NodeName]) -> Vec<String> {
    let mut names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names.dedup();
    names
}
