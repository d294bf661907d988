//! The actor that gives other nodes a port by which they reach a third one.
//!
//! It owns a task and a socket for each pair of nodes that it carries packets for. All of them end
//! with its life; who went by them finds another way.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use actix::{Actor, Context, Handler, Message, MessageResult};
use serde::{Deserialize, Serialize};
use tokio::task::{AbortHandle, JoinSet};
use vioduct_certs::identity::NodeName;
use vioduct_transport::LinkState;
use vioduct_transport::seam::Surroundings;

use super::carry::{Ends, carry};
use crate::current::caller;
use crate::membership::MemberState;
use crate::node::NodeShared;
use crate::{RemoteMessage, Wire};

/// Asked of the kernel for a relay's socket, each way.
const SOCKET_BUFFER_BYTES: u32 = 1 << 20;

/// Asks for a port of the receiver's host at which UDP packets are carried to a member's advertised
/// address, and back. Nodes only.
///
/// The port is for the asker alone: the first packet from the address that its link comes from
/// decides which port of its own. It ends when no packet has passed for 30 s, when either node is
/// no member any more, and when the asker asks for the same member again.
#[derive(Debug, Clone, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "vioduct.OpenRelay")]
pub struct OpenRelay {
    /// The member to be reached.
    pub to: NodeName,
}

impl Message for OpenRelay {
    type Result = Result<u16, RelayRefusal>;
}

/// Why a node does not relay. Nothing was opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Wire, Serialize, Deserialize)]
pub enum RelayRefusal {
    /// Only another node is asked for a relay. Fault: the caller.
    #[error("only another node can be asked for a relay")]
    NotAnother,
    /// There is nothing between the asker and the member asked for. Fault: the caller.
    #[error("{to} is not a third node: dial it directly")]
    NotAThird {
        /// The member asked for.
        to: NodeName,
    },
    /// The asker, or whom it asked for, is no live member as the refusing node sees it.
    #[error("{node} is no live member")]
    NoMember {
        /// Which of them.
        node: NodeName,
    },
    /// The refusing node is not linked to it, or by another one itself: ask another member.
    #[error("no direct link to {node}")]
    NoWay {
        /// The member asked for, or the asker.
        node: NodeName,
    },
    /// It carries as many pairs as it may: ask another member.
    #[error("{limit} pairs of nodes are relayed, the limit")]
    Full {
        /// The limit.
        limit: u64,
    },
    /// It has no socket. Fault: its system; its log has the reason.
    #[error("no socket to relay with")]
    NoSocket,
}

/// Answers [`OpenRelay`], and carries the packets.
pub struct Relay {
    node: Arc<NodeShared>,
    /// Where ports are opened.
    ip: IpAddr,
    carried_max: usize,
    /// By asker, and whom it asked for.
    carried: BTreeMap<(NodeName, NodeName), AbortHandle>,
    tasks: JoinSet<()>,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("node", &self.node.name).finish_non_exhaustive()
    }
}

impl Relay {
    pub(super) fn new(node: &Arc<NodeShared>, ip: IpAddr, carried_max: usize) -> Self {
        let (node, carried, tasks) = (Arc::clone(node), BTreeMap::new(), JoinSet::new());
        Self { node, ip, carried_max, carried, tasks }
    }

    fn open(&mut self, to: NodeName) -> Result<u16, RelayRefusal> {
        let asker = caller().ok_or(RelayRefusal::NotAnother)?.name;
        if to == self.node.name || to == asker {
            return Err(RelayRefusal::NotAThird { to });
        }
        member(&self.node, &asker)?;
        let target = member(&self.node, &to)?;
        let asker_ip = self.linked(&asker)?.ip();
        self.linked(&to)?;

        let pair = (asker, to);
        if let Some(before) = self.carried.remove(&pair) {
            before.abort();
        }
        while self.tasks.try_join_next().is_some() {}
        self.carried.retain(|_pair, task| !task.is_finished());
        if self.carried.len() >= self.carried_max {
            return Err(RelayRefusal::Full { limit: self.carried_max as u64 });
        }
        let (port, task) = self.begin(&pair, asker_ip, target).map_err(|error| {
            tracing::warn!(%error, "no socket to relay with");
            RelayRefusal::NoSocket
        })?;
        tracing::info!(asker = %pair.0, to = %pair.1, port, "relays");
        self.carried.insert(pair, task);
        Ok(port)
    }

    /// The address of this member on its link, which is up and direct.
    fn linked(&self, node: &NodeName) -> Result<SocketAddr, RelayRefusal> {
        let carried = self.node.cluster.as_ref().is_some_and(|it| it.is_reached_by_another(node));
        let peer = self.node.peers.named(node).filter(|_| !carried);
        match peer.map(|peer| peer.link.state()) {
            Some(LinkState::Up(info)) => Ok(info.addr),
            Some(LinkState::Connecting | LinkState::Unreachable | LinkState::Closed) | None => {
                Err(RelayRefusal::NoWay { node: node.clone() })
            }
        }
    }

    fn begin(
        &mut self,
        (asker, to): &(NodeName, NodeName),
        asker_ip: IpAddr,
        target: SocketAddr,
    ) -> io::Result<(u16, AbortHandle)> {
        let addr = SocketAddr::new(self.ip, 0);
        let socket = Surroundings::bind(addr, SOCKET_BUFFER_BYTES)?.socket;
        let port = socket.local_addr()?.port();
        let (node, pair) = (Arc::clone(&self.node), [asker.clone(), to.clone()]);
        let ends = Ends::new(asker_ip, target, self.ip);
        let task = self.tasks.spawn(async move {
            let are_members = || pair.iter().all(|it| member(&node, it).is_ok());
            let passed = carry(&*socket, ends, are_members).await;
            let [asker, to] = &pair;
            tracing::info!(%asker, %to, port, ?passed, "relays no more");
        });
        Ok((port, task))
    }
}

/// Where a live member says that it is.
fn member(node: &NodeShared, wanted: &NodeName) -> Result<SocketAddr, RelayRefusal> {
    let view = node.cluster.as_ref().map(|cluster| cluster.view()).unwrap_or_default();
    let mut members = view.members.iter();
    let known = members.find(|(member, state)| {
        member.node == *wanted && matches!(state, MemberState::Alive | MemberState::Suspect)
    });
    let no_member = || RelayRefusal::NoMember { node: wanted.clone() };
    known.map(|(member, _state)| member.addr).ok_or_else(no_member)
}

impl Actor for Relay {
    type Context = Context<Self>;
}

impl Handler<OpenRelay> for Relay {
    type Result = MessageResult<OpenRelay>;

    fn handle(&mut self, OpenRelay { to }: OpenRelay, _ctx: &mut Self::Context) -> Self::Result {
        MessageResult(self.open(to))
    }
}
