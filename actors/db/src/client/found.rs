//! Founds a database: makes its replicas and begins its shards.

use std::time::Duration;

use vioduct_certs::identity::NodeName;
use vioduct_runtime::{ActorRef, AskError, Node, NotDelivered};

use crate::replica::client::Member;
use crate::role::{DeskClient, DeskRefusal, Found, Prepare, desk_name, names};
use crate::schema::Schema;

/// How long one node may take for its part.
const WITHIN: Duration = Duration::from_secs(30);

/// Why a database was not founded. It may be tried again with the same nodes.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// A node can't be reached, or is none of the database.
    #[error("{node} can't be reached, or has no role in the database")]
    Away {
        /// Which node.
        node: NodeName,
        /// Why.
        #[source]
        source: NotDelivered,
    },
    /// A node did not answer.
    #[error("{node} did not answer")]
    NoAnswer {
        /// Which node.
        node: NodeName,
        /// Why.
        #[source]
        source: AskError,
    },
    /// A node refused.
    #[error("{node} refused")]
    Refused {
        /// Which node.
        node: NodeName,
        /// Why.
        #[source]
        source: DeskRefusal,
    },
    /// No node was named.
    #[error("a database is founded by one node at least")]
    NoNode,
}

/// Founds a database on these nodes. What was done before is left as it is, so that it can be
/// called again after a failure.
///
/// # Errors
///
/// [`FoundError`].
pub async fn found(node: &Node, founders: &[NodeName], schema: &Schema) -> Result<(), FoundError> {
    let shards: Vec<u32> = (0..=schema.data_shards()).collect();
    let mut desks = Vec::new();
    let mut members = vec![Vec::new(); shards.len()];
    for founder in founders {
        let desk = desk(node, founder).await?;
        let prepare = Prepare { shards: shards.clone(), founders: names(founders) };
        let asked = desk.ask(prepare, WITHIN).await;
        for here in settle(founder, asked)? {
            if let Some(members) = members.get_mut(here.shard as usize) {
                let node = founder.to_string();
                members.push(Member { replica: here.replica, node, is_voter: true });
            }
        }
        desks.push((founder, desk));
    }
    if desks.is_empty() {
        return Err(FoundError::NoNode);
    }
    // Each node begins some of the shards, and leads them at first.
    for ((shard, members), (founder, desk)) in
        shards.into_iter().zip(members).zip(desks.iter().cycle())
    {
        let asked = desk.ask(Found { shard, members }, WITHIN).await;
        match settle(founder, asked) {
            Ok(()) | Err(FoundError::Refused { source: DeskRefusal::Begun, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The actor that makes a node's replicas.
pub(super) async fn desk(node: &Node, on: &NodeName) -> Result<ActorRef<DeskClient>, FoundError> {
    let found = node.lookup(on, &desk_name()).await;
    found.map_err(|source| FoundError::Away { node: on.clone(), source })
}

pub(super) fn settle<T>(
    node: &NodeName,
    asked: Result<Result<T, DeskRefusal>, AskError>,
) -> Result<T, FoundError> {
    let node = || node.clone();
    asked
        .map_err(|source| FoundError::NoAnswer { node: node(), source })?
        .map_err(|source| FoundError::Refused { node: node(), source })
}
