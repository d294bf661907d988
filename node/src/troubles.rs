//! What went wrong with a node's links lately: for its status, and for its log.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vioduct_certs::UnixTime;
use vioduct_certs::identity::{Kind, NodeName};
use vioduct_certs::moment::text;
use vioduct_runtime::LinkListener;
use vioduct_transport::{DialError, Link, LinkEvent};

use crate::status::RefusedDial;

/// Refused connections that a status tells of.
const REFUSED_SHOWN_MAX: usize = 16;
/// Peers whose last trouble is kept; links have the same bound.
const PEERS_MAX: usize = 4096;

/// Why a link is not up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble {
    pub(crate) down_reason: Option<String>,
    pub(crate) dial_error: Option<String>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By the node's name; an entry goes when its link is up.
    by_peer: HashMap<NodeName, Trouble>,
    refused: VecDeque<RefusedDial>,
    refused_count: u64,
}

/// Listens to a node's links.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    kept: Mutex<Kept>,
}

impl Troubles {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the link to this node is not up.
    pub(crate) fn of(&self, peer: &NodeName) -> Trouble {
        self.kept().by_peer.get(peer).cloned().unwrap_or_default()
    }

    /// Connections from outside that were turned down: the latest, oldest first; and how many.
    pub(crate) fn refused(&self) -> (Vec<RefusedDial>, u64) {
        let kept = self.kept();
        (kept.refused.iter().cloned().collect(), kept.refused_count)
    }

    /// Notes what went wrong with a link to a node; tools' links are not told of when down.
    fn note(&self, link: &Link, note: impl FnOnce(&mut Trouble)) {
        let by_peer = &mut self.kept().by_peer;
        let has_room = by_peer.len() < PEERS_MAX || by_peer.contains_key(link.peer());
        if link.peer_kind() == Kind::Node && has_room {
            note(by_peer.entry(link.peer().clone()).or_default());
        }
    }
}

impl LinkListener for Troubles {
    /// The transport logs connections and dials; this logs what it means for messages.
    fn event(&self, link: &Link, event: &LinkEvent) {
        let (peer, is_node) = (link.peer(), link.peer_kind() == Kind::Node);
        match event {
            LinkEvent::Up { .. } if is_node => drop(self.kept().by_peer.remove(peer)),
            LinkEvent::Up { .. } => {}
            LinkEvent::Down { reason } => {
                self.note(link, |trouble| trouble.down_reason = Some(reason.to_string()));
            }
            LinkEvent::DialFailed { error } => {
                self.note(link, |trouble| trouble.dial_error = Some(error.to_string()));
            }
            LinkEvent::Undelivered { lane, numbers, fate } => {
                let messages = numbers.end - numbers.start;
                if is_node {
                    tracing::warn!(%peer, lane, messages, ?fate, "messages undelivered");
                } else {
                    // A tool leaves as soon as it has its answer.
                    tracing::debug!(%peer, lane, messages, ?fate, "tool gone");
                }
            }
            LinkEvent::Unreachable if is_node => {
                tracing::warn!(%peer, "link unreachable, messages are refused");
            }
            LinkEvent::Unreachable => {}
            LinkEvent::PeerRestarted => tracing::info!(%peer, "peer runs anew"),
        }
    }

    fn refused(&self, addr: SocketAddr, error: &DialError) {
        let refused = RefusedDial {
            addr: addr.to_string(),
            reason: error.label().to_owned(),
            message: error.to_string(),
            at: text(UnixTime::now()),
        };
        let mut kept = self.kept();
        kept.refused_count += 1;
        if kept.refused.len() >= REFUSED_SHOWN_MAX {
            kept.refused.pop_front();
        }
        kept.refused.push_back(refused);
    }
}
