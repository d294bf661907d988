//! What a node of the cluster does for the database: it opens the stores, starts the replicas that
//! are on its disk, and makes new ones when it is asked to.

mod config;
mod desk;
mod origin;
mod stores;

use std::time::Duration;

use vioduct_certs::identity::{NodeName, Role};
use vioduct_runtime::{Access, ActorHandle, ActorName, Node, RestartPolicy, StartError};

pub use self::config::{ConfigError, DbRoleConfig, Timing};
use self::desk::RetireAll;
pub use self::desk::{Desk, DeskClient, DeskRefusal, Found, HereReplica, Prepare};
pub use self::origin::Origin;
pub use self::stores::Stores;
use crate::StoreError;
use crate::log::LogEngine;
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
}

impl<E: LogEngine, T: StateEngine> DbRole<E, T> {
    /// Starts the replicas that these stores hold.
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
        let of_node = node.clone();
        let make = move || Desk::new(of_node.clone(), stores.clone(), config.clone());
        let desk = node.actor(make).named(desk_name()).restart(RestartPolicy::never());
        let asked_by = || Access::tools().or(Access::roles([Role::Db]));
        let desk = desk.accept::<Prepare>(asked_by()).accept::<Found>(asked_by());
        Ok(Self { desk: desk.start().await? })
    }

    /// Has other nodes lead what this one leads, for two seconds at most. Then the node may end,
    /// and nobody waits for an election.
    pub async fn close(&self) {
        if let Some(desk) = self.desk.now() {
            // The node may be past answering; then there is nothing to hand over.
            drop(desk.ask(RetireAll, CLOSE_WITHIN).await);
        }
    }
}

/// The names of nodes, as an origin has them.
pub(crate) fn names(nodes: &[NodeName]) -> Vec<String> {
    let mut names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names.dedup();
    names
}
