//! Puts together how a node is.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::time::Instant;
use vioduct_certs::UnixTime;
use vioduct_certs::identity::Kind;
use vioduct_certs::moment::between;
use vioduct_runtime::membership::{Member, MemberState};
use vioduct_runtime::{ClusterView, Node, Standing};
use vioduct_transport::{ConnectionInfo, Endpoint, Link, LinkState};

use crate::reload::{TrustState, locked};
use crate::status::{
    ConnectionStatus, LinkCondition, LinkStatus, MemberCondition, MemberStatus, MembershipStatus,
    NodeStatus, SCHEMA, StandingLabel,
};
use crate::system::Counts;
use crate::troubles::{Trouble, Troubles};

/// What a status is made of.
#[derive(Debug)]
pub(crate) struct Reporter {
    endpoint: Endpoint,
    incarnation: u64,
    cluster: Option<watch::Receiver<ClusterView>>,
    started: Instant,
    trust: Arc<Mutex<TrustState>>,
    troubles: Arc<Troubles>,
    counts: Arc<Counts>,
}

impl Reporter {
    /// Keeps no hold on the node itself, which keeps this.
    pub(crate) fn new(node: &Node, trust: Arc<Mutex<TrustState>>, troubles: Arc<Troubles>) -> Self {
        Self {
            endpoint: node.endpoint().clone(),
            incarnation: node.incarnation(),
            cluster: node.watch_cluster(),
            started: Instant::now(),
            trust,
            troubles,
            counts: Arc::default(),
        }
    }

    /// What the system actors count.
    pub(crate) const fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// How the node is.
    pub(crate) fn status(&self, now: UnixTime) -> NodeStatus {
        let credentials = self.endpoint.credentials();
        let identity = credentials.identity();
        // A tool that has gone does not come back on its link.
        let is_shown =
            |link: &LinkStatus| link.kind == Kind::Node || link.state == LinkCondition::Up;
        let links = self.endpoint.links();
        let links = links.iter().map(|link| self.link_status(link, now)).filter(is_shown).collect();
        let (refused_dials, refused_dials_count) = self.troubles.refused();
        let uptime_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let listen = self.endpoint.local_addr().map_or_else(|_| String::new(), |it| it.to_string());
        NodeStatus {
            schema: SCHEMA,
            cluster: identity.cluster.clone(),
            node: identity.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: self.incarnation,
            uptime_ms,
            listen,
            roles: identity.roles,
            trust: locked(&self.trust).status(&credentials, now),
            service: self.counts.read(),
            membership: self
                .cluster
                .as_ref()
                .map(|view| membership(&view.borrow()))
                .unwrap_or_default(),
            links,
            refused_dials,
            refused_dials_count,
        }
    }

    fn link_status(&self, link: &Link, now: UnixTime) -> LinkStatus {
        let stats = link.stats();
        let rtt_us = u64::try_from(stats.rtt.as_micros()).unwrap_or(u64::MAX);
        let connection = |info: &ConnectionInfo| ConnectionStatus {
            generation: info.generation,
            incarnation: info.incarnation,
            serial: info.peer.serial,
            expires_in_s: between(now, info.peer.not_after).as_secs(),
            roles: info.peer.identity.roles,
            addr: info.addr.to_string(),
            dialled: info.dialled,
            rtt_us,
            packets_lost: stats.packets_lost,
        };
        let (state, connection) = match link.state() {
            LinkState::Connecting => (LinkCondition::Connecting, None),
            LinkState::Up(info) => (LinkCondition::Up, Some(connection(&info))),
            LinkState::Unreachable => (LinkCondition::Unreachable, None),
            LinkState::Closed => (LinkCondition::Closed, None),
        };
        let Trouble { down_reason, dial_error } = self.troubles.of(link.peer());
        LinkStatus {
            peer: link.peer().clone(),
            kind: link.peer_kind(),
            state,
            connection,
            down_reason,
            dial_error,
            queued_messages: stats.queued_messages,
            queued_bytes: stats.queued_bytes,
            messages_sent: stats.messages_sent,
            messages_received: stats.messages_received,
            connections: stats.connections,
        }
    }
}

fn membership(view: &ClusterView) -> MembershipStatus {
    let member = |(member, state): &(Member, MemberState)| MemberStatus {
        node: member.node.clone(),
        state: match state {
            MemberState::Alive => MemberCondition::Alive,
            MemberState::Suspect => MemberCondition::Suspect,
            MemberState::Down => MemberCondition::Down,
        },
        incarnation: member.incarnation,
        addr: member.addr.to_string(),
        roles: member.roles,
    };
    MembershipStatus {
        standing: match view.standing {
            Standing::Member => StandingLabel::Member,
            Standing::Left => StandingLabel::Left,
            Standing::Expelled(_) => StandingLabel::Expelled,
        },
        members: view.members.iter().map(member).collect(),
    }
}
