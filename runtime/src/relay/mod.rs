//! Links between two members that can't reach each other, by a third one that reaches both.
//!
//! ```text
//!   a ──QUIC──▶ port of b's [`Relay`] ──the same packets──▶ d
//! ```
//!
//! A node that was [`start`]ed to relay has two sides. The cluster's driver finds the live members
//! that this node has no link to, asks a member that it has one to for a relay ([`OpenRelay`]), and
//! dials by that (`seeker`). And an actor, found as [`NAME`], gives ports to nodes that ask
//! ([`Relay`]). A connection by a relay is one like any other, from end to end: the one between
//! sees packets, and neither what they say nor whose they are but by their addresses.

mod actor;
mod carry;
pub(crate) mod seeker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use vioduct_certs::identity::NodeName;

pub use self::actor::{OpenRelay, Relay, RelayRefusal};
use crate::access::Access;
use crate::actor::ActorHandle;
use crate::error::StartError;
use crate::id::ActorName;
use crate::node::{Node, NodeShared};
use crate::reference::ActorRef;

/// Under which name a node's [`Relay`] is found.
pub const NAME: &str = "vioduct.relay";
/// How long a member may take to answer an [`OpenRelay`].
const ANSWER_MAX: Duration = Duration::from_secs(2);
const AFTER_MIN: Duration = Duration::from_millis(100);
const AFTER_MAX: Duration = Duration::from_secs(3600);
const CARRIED_MAX: u16 = 1024;

/// How a node relays, and has itself relayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// A live member that this node has not been linked to for so long is reached by a third one,
    /// 100 ms..=1 h; three times as long where the member is the one that dials. None: never.
    /// Default 6 s,
    /// longer than a handshake.
    pub after: Option<Duration>,
    /// Pairs of other nodes that this one carries packets for at once, 0..=1024. Each takes a
    /// socket and 64 KiB. Default 64.
    pub carried_max: u16,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self { after: Some(Duration::from_secs(6)), carried_max: 64 }
    }
}

/// Why a node does not relay. Fault: the caller. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// `after` is out of its range.
    #[error("relay setting `after` is {0:?}; it must be {AFTER_MIN:?} to {AFTER_MAX:?}")]
    After(Duration),
    /// `carried_max` is out of its range.
    #[error("relay setting `carried_max` is {0}; it must be 0 to {CARRIED_MAX}")]
    CarriedMax(u16),
    /// It knows of no members to relay for.
    #[error("the node is no member of a cluster: start it with `cluster`, or do not relay")]
    NoMember,
    /// The actor; [`StartError::NameTaken`] when it was started before.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The node's own socket.
    #[error("the node's own address: {0}")]
    Io(#[from] std::io::Error),
}

impl RelayConfig {
    fn validate(&self) -> Result<(), RelayError> {
        if let Some(after) = self.after
            && !(AFTER_MIN..=AFTER_MAX).contains(&after)
        {
            return Err(RelayError::After(after));
        }
        (self.carried_max <= CARRIED_MAX)
            .then_some(())
            .ok_or(RelayError::CarriedMax(self.carried_max))
    }
}

/// Lets the members of this node's cluster reach each other by it, and this node reach them by each
/// other, as long as the node lives. Ports are opened on the address that the node listens on.
///
/// # Errors
/// [`RelayError`]
pub async fn start(node: &Node, config: RelayConfig) -> Result<ActorHandle<Relay>, RelayError> {
    config.validate()?;
    let shared = Arc::clone(node.shared());
    let cluster = shared.cluster.clone().ok_or(RelayError::NoMember)?;
    let (ip, carried_max) = (node.local_addr()?.ip(), config.carried_max);
    let relay = node.actor(move || Relay::new(&shared, ip, carried_max.into()));
    let relay = relay.named(ActorName::known(NAME)).accept::<OpenRelay>(Access::nodes());
    let handle = relay.start().await?;
    if let Some(after) = config.after {
        cluster.reach_by_others(after);
    }
    Ok(handle)
}

/// Asks a member for a way to another one. Gives where to dial that; none without a way.
pub(crate) async fn ask(node: Arc<NodeShared>, by: NodeName, to: NodeName) -> Option<SocketAddr> {
    let until = Instant::now() + ANSWER_MAX;
    let asked = async {
        let peer = node.peers.named(&by)?;
        let found = peer.find(ActorName::known(NAME)).ok()?.await.ok()??;
        let relay: ActorRef<Relay> = node.reference(&found)?;
        match relay.ask(OpenRelay { to: to.clone() }, ANSWER_MAX).await {
            Ok(Ok(port)) => Some(SocketAddr::new(peer.link.addr()?.ip(), port)),
            Ok(Err(refusal)) => {
                tracing::debug!(peer = %to, %by, %refusal, "no relay");
                None
            }
            Err(error) => {
                tracing::debug!(peer = %to, %by, %error, "no relay");
                None
            }
        }
    };
    timeout_at(until, asked).await.ok().flatten()
}
