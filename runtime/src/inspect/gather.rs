//! Reads a node's figures while it runs.
//!
//! A lock is held to copy a table's handles, or one entry's numbers; never while anything is
//! written, and never two at once.

use std::sync::Arc;

use serde::Serialize;
use vioduct_certs::identity::Kind;
use vioduct_transport::{Link, LinkState, LinkStats};

use super::figures::{
    Inspection, LinkFigures, LinkPhase, Mark, MemberFigures, Page, PeerFigures, PeerKind, Totals,
    TypeFigures,
};
use crate::codec::Codec;
use crate::membership::{Member, MemberState};
use crate::names::Names;
use crate::node::NodeShared;
use crate::peer::Peer;

/// Actors, peers and members on one page.
const ENTRIES_MAX: u32 = 1024;
/// Types on the first page.
const TYPES_MAX: usize = 64;
/// Stands for the types past that.
const OTHER: &str = "(other)";
/// Longest text of a figure, bytes.
const TEXT_BYTES_MAX: usize = 128;

/// Room for entries on a page.
struct Room {
    entries: usize,
    /// None when the page does not travel.
    bytes: Option<usize>,
    is_empty: bool,
    buffer: Vec<u8>,
}

impl Room {
    /// Whether there is room for this entry. There is for the first, or nobody would get on.
    fn takes<T: Serialize>(&mut self, entry: &T) -> bool {
        let Some(entries) = self.entries.checked_sub(1) else { return false };
        if let Some(bytes) = &mut self.bytes {
            let length = encoded_bytes(entry, &mut self.buffer);
            match bytes.checked_sub(length) {
                Some(left) => *bytes = left,
                None if self.is_empty => *bytes = 0,
                None => return false,
            }
        }
        self.entries = entries;
        self.is_empty = false;
        true
    }
}

/// The length in the codec that makes it longer: the asker chooses which.
fn encoded_bytes<T: Serialize>(value: &T, buffer: &mut Vec<u8>) -> usize {
    let lengths = [Codec::Bincode, Codec::Postcard].map(|codec| {
        buffer.clear();
        // Numbers and texts always encode.
        codec.encode(value, buffer).ok();
        buffer.len()
    });
    lengths.into_iter().max().unwrap_or(0)
}

/// A page that fits the head of an answer.
pub(super) fn page(node: &NodeShared, page: Page) -> Inspection {
    let Page { entries_max, .. } = page;
    let entries = entries_max.clamp(1, ENTRIES_MAX) as usize;
    // A quarter is left for what stands before the entries.
    let bytes = Some(node.head_bytes_max as usize / 4 * 3);
    read(node, page, Room { entries, bytes, is_empty: true, buffer: Vec::new() })
}

/// Everything.
pub(crate) fn whole(node: &NodeShared) -> Inspection {
    let room = Room { entries: usize::MAX, bytes: None, is_empty: true, buffer: Vec::new() };
    read(node, Page::default(), room)
}

fn read(node: &NodeShared, page: Page, mut room: Room) -> Inspection {
    let census = node.actors.census();
    let mut workers = vec![0; node.worker_count];
    for (worker, actors) in census.on_worker {
        if let Some(count) = workers.get_mut(worker) {
            *count = actors;
        }
    }
    let types = if page.after.is_none() { types(node, &mut room) } else { Vec::new() };
    let peers = node.peers.all();
    let totals = Totals {
        actors: census.alive,
        lives: census.lives,
        failures: node.counts.failures.read(),
        restarts: node.counts.restarts.read(),
        given_up: node.counts.given_up.read(),
        listed: node.names.listed(&node.name),
        peers: peers.len() as u64,
        malformed: node.counts.malformed.read(),
    };
    let view = node.cluster.as_ref().map(|cluster| cluster.view());
    let cluster = node.cluster.as_ref().zip(view.as_ref());
    let mut inspection = Inspection {
        node: node.name.clone(),
        incarnation: node.incarnation,
        totals,
        workers,
        types,
        actors: Vec::new(),
        peers: Vec::new(),
        cluster: cluster.map(|(cluster, view)| cluster.figures(view)),
        members: Vec::new(),
        next: None,
    };
    let members = view.map(|view| view.members).unwrap_or_default();
    inspection.next = list(node, &peers, &members, page, room, &mut inspection);
    inspection
}

/// Lists what there is room for; gives where the rest begins.
fn list(
    node: &NodeShared,
    peers: &[Arc<Peer>],
    members: &[(Member, MemberState)],
    page: Page,
    mut room: Room,
    to: &mut Inspection,
) -> Option<Page> {
    let Page { mut after, entries_max } = page;
    let serial = match &after {
        None => 0,
        Some(Mark::Actor(serial)) => *serial,
        Some(Mark::Peer(_) | Mark::Member(_)) => u64::MAX,
    };
    for actor in node.actors.after(serial, room.entries.saturating_add(1)) {
        let figures = actor.figures();
        if !room.takes(&figures) {
            return Some(Page { after, entries_max });
        }
        after = Some(Mark::Actor(figures.serial));
        to.actors.push(figures);
    }
    for peer in peers {
        let mark = Some(Mark::Peer(peer.number));
        if mark <= after {
            continue;
        }
        let figures = peer.figures(&node.names);
        if !room.takes(&figures) {
            return Some(Page { after, entries_max });
        }
        after = mark;
        to.peers.push(figures);
    }
    for (member, state) in members {
        let mark = Some(Mark::Member(member.node.clone()));
        if mark <= after {
            continue;
        }
        let figures = MemberFigures { member: member.clone(), state: *state };
        if !room.takes(&figures) {
            return Some(Page { after, entries_max });
        }
        after = mark;
        to.members.push(figures);
    }
    None
}

/// Figures by type, in the order of their names; what is too many as one.
fn types(node: &NodeShared, room: &mut Room) -> Vec<TypeFigures> {
    let mut types: Vec<TypeFigures> = Vec::new();
    for (type_name, figures) in node.actors.types() {
        let (type_name, count) = (text(type_name), types.len());
        match types.last_mut() {
            // The cut off ends differ.
            Some(last) if last.type_name == type_name => last.take_in(&figures),
            Some(last) if count == TYPES_MAX => {
                OTHER.clone_into(&mut last.type_name);
                last.take_in(&figures);
            }
            _none_or_room => types.push(TypeFigures { type_name, ..figures }),
        }
    }
    if let Some(bytes) = &mut room.bytes {
        *bytes = bytes.saturating_sub(encoded_bytes(&types, &mut room.buffer));
    }
    types
}

impl TypeFigures {
    fn take_in(&mut self, other: &Self) {
        self.actors += other.actors;
        self.lives += other.lives;
        self.waiting += other.waiting;
        self.handled += other.handled;
        self.passed_over += other.passed_over;
        self.answered += other.answered;
        self.refused_full += other.refused_full;
        self.refused_access += other.refused_access;
    }
}

/// A text within the bound of one figure.
pub(crate) fn text(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

impl Peer {
    fn figures(&self, names: &Names) -> PeerFigures {
        let outlets = self.alive_outlets();
        let credits: Vec<u64> = outlets.iter().map(|outlet| outlet.credit_bytes()).collect();
        let inlets = self.alive_inlets();
        PeerFigures {
            number: self.number,
            name: self.name().clone(),
            kind: match self.link.peer_kind() {
                Kind::Node => PeerKind::Node,
                Kind::Tool => PeerKind::Tool,
            },
            incarnation: self.incarnation(),
            link: link(&self.link),
            listed: names.listed(self.name()),
            asks: self.asks.figures(),
            outlets: outlets.len() as u64,
            outlets_with_credit: credits.iter().filter(|bytes| **bytes > 0).count() as u64,
            credit_bytes: credits.iter().sum(),
            senders_waiting: outlets.iter().map(|outlet| outlet.senders_waiting()).sum(),
            inlets: inlets.len() as u64,
            inlet_bytes: inlets.iter().map(|inlet| inlet.held_bytes()).sum(),
            answers_dropped: self.answers_dropped(),
            answers_lost: self.counts.answers_lost.read(),
            refused: self.counts.figures(),
            malformed: self.counts.malformed.read(),
        }
    }
}

fn link(link: &Link) -> LinkFigures {
    let LinkStats {
        messages_sent,
        messages_settled,
        messages_received,
        queued_messages,
        queued_bytes,
        connections,
        packets_lost,
        udp_bytes_sent,
        udp_bytes_received,
        rtt,
        mtu,
    } = link.stats();
    LinkFigures {
        phase: match link.state() {
            LinkState::Connecting => LinkPhase::Connecting,
            LinkState::Up(_) => LinkPhase::Up,
            LinkState::Unreachable => LinkPhase::Unreachable,
            LinkState::Closed => LinkPhase::Closed,
        },
        addr: link.addr(),
        messages_sent,
        messages_settled,
        messages_received,
        queued_messages,
        queued_bytes,
        connections,
        packets_lost,
        udp_bytes_sent,
        udp_bytes_received,
        rtt,
        mtu,
    }
}
