//! An inspection in the text format that Prometheus reads.
//!
//! Series are bounded: there is one for each worker (256 at most), each type of actors (64 at most)
//! and each node linked ([`PEERS_MAX`] at most). Single actors and tools have none: they come and
//! go. `docs/inspection.md` has every name.

use std::fmt::{self, Display, Write};

use super::figures::{ClusterFigures, Inspection, LinkPhase, PeerFigures, PeerKind, TypeFigures};
use crate::cluster::Standing;

/// Peers with series of their own.
const PEERS_MAX: usize = 1024;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        })
    }
}

/// A figure that every peer, or every type of actors, has.
struct Figure<T> {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    read: fn(&T) -> u64,
}

const fn counter<T>(name: &'static str, help: &'static str, read: fn(&T) -> u64) -> Figure<T> {
    Figure { name, kind: Kind::Counter, help, read }
}

const fn gauge<T>(name: &'static str, help: &'static str, read: fn(&T) -> u64) -> Figure<T> {
    Figure { name, kind: Kind::Gauge, help, read }
}

const OF_NODE: &[Figure<Inspection>] = &[
    gauge("node_incarnation", "Number of the node's run.", |it| it.incarnation),
    gauge("actors", "Actors that live now.", |it| it.totals.actors),
    counter("actor_lives_total", "Lives of actors begun.", |it| it.totals.lives),
    counter("actor_failures_total", "Lives ended by a failure.", |it| it.totals.failures),
    counter("actor_restarts_total", "Failures answered by a new life.", |it| it.totals.restarts),
    counter("actors_given_up_total", "Actors that failed too often.", |it| it.totals.given_up),
    gauge("listed_actors", "Actors that other nodes can find.", |it| it.totals.listed),
    gauge("peers", "Nodes and tools linked.", |it| it.totals.peers),
    counter("malformed_messages_total", "Messages of peers that were no messages.", |it| {
        it.totals.malformed
    }),
];

const OF_TYPE: &[Figure<TypeFigures>] = &[
    gauge("type_actors", "Actors of the type that live now.", |it| it.actors),
    counter("type_lives_total", "Lives of the type begun.", |it| it.lives),
    gauge("type_waiting_messages", "Messages that wait to be handled.", |it| it.waiting),
    counter("type_handled_messages_total", "Messages handled.", |it| it.handled),
    counter("type_passed_over_messages_total", "Messages that no handler saw.", |it| {
        it.passed_over
    }),
    counter("type_answered_asks_total", "Asks answered with a result.", |it| it.answered),
    counter("type_refused_full_total", "Messages refused for want of room.", |it| it.refused_full),
    counter("type_refused_access_total", "Leave to send denied to peers.", |it| it.refused_access),
];

const OF_PEER: &[Figure<PeerFigures>] = &[
    gauge("link_up", "Whether a connection carries the link: 1 or 0.", |it| {
        u64::from(it.link.phase == LinkPhase::Up)
    }),
    counter("link_sent_messages_total", "Messages taken from senders.", |it| it.link.messages_sent),
    counter("link_settled_messages_total", "Messages acknowledged or reported.", |it| {
        it.link.messages_settled
    }),
    counter("link_received_messages_total", "Messages received.", |it| it.link.messages_received),
    gauge("link_queued_messages", "Messages queued.", |it| it.link.queued_messages),
    gauge("link_queued_bytes", "Bytes queued.", |it| it.link.queued_bytes),
    counter("link_connections_total", "Connections that carried the link.", |it| {
        it.link.connections
    }),
    counter("link_lost_packets_total", "UDP datagrams lost on this connection.", |it| {
        it.link.packets_lost
    }),
    counter("link_sent_bytes_total", "UDP bytes sent on this connection.", |it| {
        it.link.udp_bytes_sent
    }),
    counter("link_received_bytes_total", "UDP bytes received on this connection.", |it| {
        it.link.udp_bytes_received
    }),
    gauge("link_mtu_bytes", "Largest UDP payload of this connection's path.", |it| {
        it.link.mtu.into()
    }),
    gauge("peer_listed_actors", "Actors of the peer that can be found here.", |it| it.listed),
    gauge("asks_in_flight", "Asks that wait for the peer.", |it| it.asks.in_flight),
    gauge("outlets", "Actors of the peer that are referred to.", |it| it.outlets),
    gauge("outlets_with_credit", "Of those, the ones to which there is credit.", |it| {
        it.outlets_with_credit
    }),
    gauge("credit_bytes", "Credit towards the peer's actors.", |it| it.credit_bytes),
    gauge("waiting_senders", "Senders that wait for credit or for leave.", |it| it.senders_waiting),
    gauge("inlets", "Actors that the peer sends to.", |it| it.inlets),
    gauge("inlet_bytes", "Bytes of the peer's messages under way to them.", |it| it.inlet_bytes),
    counter("answers_dropped_total", "Answers dropped for want of room.", |it| it.answers_dropped),
    counter("answers_lost_total", "Answers that could not be sent.", |it| it.answers_lost),
    counter("peer_malformed_messages_total", "Messages that were no messages.", |it| it.malformed),
];

/// The parts of a figure, told apart by a label.
type Parts<T> = [(&'static str, fn(&T) -> u64)];

/// How the other nodes of the cluster fare: the label `state`.
const STATES: &Parts<ClusterFigures> =
    &[("alive", |it| it.alive), ("suspect", |it| it.suspect), ("down", |it| it.down)];

/// Why datagrams and news of the membership were thrown away: the label `reason`.
const DROPPED: &Parts<ClusterFigures> = &[
    ("forged", |it| it.dropped.forged),
    ("malformed", |it| it.dropped.malformed),
    ("misaddressed", |it| it.dropped.misaddressed),
    ("untimely", |it| it.dropped.untimely),
    ("refused", |it| it.dropped.refused),
    ("crowded", |it| it.dropped.crowded),
    ("unknown_target", |it| it.dropped.unknown_target),
    ("rejected", |it| it.dropped.rejected),
    ("overflowed", |it| it.overflowed),
];

/// How asks to a peer ended: the label `outcome`.
const OUTCOMES: &Parts<PeerFigures> = &[
    ("answered", |it| it.asks.answered),
    ("refused", |it| it.asks.refused),
    ("late", |it| it.asks.late),
    ("lost", |it| it.asks.lost),
    ("cancelled", |it| it.asks.cancelled),
    ("not_sent", |it| it.asks.not_sent),
];

/// Why a peer's messages were refused: the label `reason`.
const REASONS: &Parts<PeerFigures> = &[
    ("gone", |it| it.refused.gone),
    ("late", |it| it.refused.late),
    ("unreadable", |it| it.refused.unreadable),
    ("denied", |it| it.refused.denied),
    ("overrun", |it| it.refused.overrun),
    ("bind_restarted", |it| it.refused.bind_restarted),
    ("bind_gone", |it| it.refused.bind_gone),
    ("bind_not_exported", |it| it.refused.bind_not_exported),
    ("bind_denied", |it| it.refused.bind_denied),
    ("bind_skew", |it| it.refused.bind_skew),
];

/// The figures of a whole inspection as Prometheus scrapes them, to be served as
/// `text/plain; version=0.0.4`. Names begin with `vioduct_`.
#[must_use]
pub fn prometheus(inspection: &Inspection) -> String {
    let mut text = Text(String::new());
    for figure in OF_NODE {
        text.family(figure.name, figure.kind, figure.help);
        text.sample(figure.name, &[], (figure.read)(inspection));
    }
    text.family("worker_actors", Kind::Gauge, "Actors that live on the worker.");
    for (worker, actors) in inspection.workers.iter().enumerate() {
        text.sample("worker_actors", &[("worker", worker.to_string().as_str())], actors);
    }
    if let Some(cluster) = &inspection.cluster {
        text.family("cluster_member", Kind::Gauge, "Whether the node takes part: 1 or 0.");
        text.sample("cluster_member", &[], u8::from(cluster.standing == Standing::Member));
        text.family("cluster_nodes", Kind::Gauge, "Other nodes of the cluster.");
        text.parts("cluster_nodes", &[], "state", cluster, STATES);
        let help = "Datagrams and news of the membership thrown away.";
        text.family("cluster_dropped_total", Kind::Counter, help);
        text.parts("cluster_dropped_total", &[], "reason", cluster, DROPPED);
    }
    for figure in OF_TYPE {
        text.family(figure.name, figure.kind, figure.help);
        for of_type in &inspection.types {
            let labels = [("type", of_type.type_name.as_str())];
            text.sample(figure.name, &labels, (figure.read)(of_type));
        }
    }
    let nodes = inspection.peers.iter().filter(|peer| peer.kind == PeerKind::Node);
    let nodes: Vec<&PeerFigures> = nodes.take(PEERS_MAX).collect();
    for figure in OF_PEER {
        text.family(figure.name, figure.kind, figure.help);
        for peer in &nodes {
            text.sample(figure.name, &[("peer", peer.name.as_str())], (figure.read)(peer));
        }
    }
    text.family("link_rtt_seconds", Kind::Gauge, "Smoothed round-trip time.");
    for peer in &nodes {
        let seconds = peer.link.rtt.as_secs_f64();
        text.sample("link_rtt_seconds", &[("peer", peer.name.as_str())], seconds);
    }
    text.family("asks_ended_total", Kind::Counter, "Asks that ended.");
    for &peer in &nodes {
        let labels = [("peer", peer.name.as_str())];
        text.parts("asks_ended_total", &labels, "outcome", peer, OUTCOMES);
    }
    let help = "Messages of the peer that no handler saw, and leave that it was refused.";
    text.family("refused_total", Kind::Counter, help);
    for &peer in &nodes {
        let labels = [("peer", peer.name.as_str())];
        text.parts("refused_total", &labels, "reason", peer, REASONS);
    }
    text.0
}

struct Text(String);

impl Text {
    fn line(&mut self, line: fmt::Arguments<'_>) {
        // A string takes everything.
        writeln!(self.0, "{line}").ok();
    }

    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        self.line(format_args!("# HELP vioduct_{name} {help}"));
        self.line(format_args!("# TYPE vioduct_{name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
        let labels = labels.collect::<Vec<_>>().join(",");
        if labels.is_empty() {
            self.line(format_args!("vioduct_{name} {value}"));
        } else {
            self.line(format_args!("vioduct_{name}{{{labels}}} {value}"));
        }
    }

    /// One sample for each part, with a label more.
    fn parts<T>(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        label: &str,
        of: &T,
        parts: &Parts<T>,
    ) {
        for (part, read) in parts {
            self.sample(name, &[labels, &[(label, *part)]].concat(), read(of));
        }
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
#[path = "exposition_tests.rs"]
mod tests;
