use std::time::Duration;

use super::*;
use crate::inspect::{AskFigures, LinkFigures, RefusalFigures, Totals};
use crate::membership::Dropped;

fn peer(name: &str, kind: PeerKind) -> PeerFigures {
    let link = LinkFigures {
        phase: LinkPhase::Up,
        addr: None,
        messages_sent: 101,
        messages_settled: 102,
        messages_received: 103,
        queued_messages: 104,
        queued_bytes: 105,
        connections: 106,
        packets_lost: 107,
        udp_bytes_sent: 108,
        udp_bytes_received: 109,
        rtt: Duration::from_micros(250),
        mtu: 1452,
    };
    let asks = AskFigures {
        in_flight: 201,
        answered: 202,
        refused: 203,
        late: 204,
        lost: 205,
        cancelled: 206,
        not_sent: 207,
    };
    let refused = RefusalFigures {
        gone: 301,
        late: 302,
        unreadable: 303,
        denied: 304,
        overrun: 305,
        bind_restarted: 306,
        bind_gone: 307,
        bind_not_exported: 308,
        bind_denied: 309,
        bind_skew: 310,
    };
    PeerFigures {
        number: 1,
        name: name.parse().unwrap(),
        kind,
        incarnation: Some(5),
        link,
        listed: 400,
        asks,
        outlets: 401,
        outlets_with_credit: 402,
        credit_bytes: 403,
        senders_waiting: 404,
        inlets: 405,
        inlet_bytes: 406,
        answers_dropped: 407,
        answers_lost: 408,
        refused,
        malformed: 409,
    }
}

fn inspection() -> Inspection {
    let totals = Totals {
        actors: 1,
        lives: 2,
        failures: 3,
        restarts: 4,
        given_up: 5,
        listed: 8,
        peers: 6,
        malformed: 7,
    };
    let of_type = TypeFigures {
        type_name: "shop::Till<\"x\\y\">".to_owned(),
        actors: 11,
        lives: 12,
        waiting: 13,
        handled: 14,
        passed_over: 15,
        answered: 16,
        refused_full: 17,
        refused_access: 18,
    };
    let dropped = Dropped {
        forged: 501,
        malformed: 502,
        misaddressed: 503,
        untimely: 504,
        refused: 505,
        crowded: 506,
        unknown_target: 507,
        rejected: 508,
    };
    let cluster = ClusterFigures {
        standing: Standing::Member,
        alive: 509,
        suspect: 510,
        down: 511,
        dropped,
        overflowed: 512,
    };
    Inspection {
        node: "a".parse().unwrap(),
        incarnation: 1_700_000_000_000_000,
        totals,
        workers: vec![8, 9],
        types: vec![of_type],
        actors: Vec::new(),
        peers: vec![peer("b", PeerKind::Node), peer("admin", PeerKind::Tool)],
        cluster: Some(cluster),
        members: Vec::new(),
        next: None,
    }
}

#[test]
fn every_figure_is_written_with_its_name_unit_and_labels() {
    assert_eq!(prometheus(&inspection()), include_str!("golden.prom"));
}

#[test]
fn no_series_is_written_twice_and_their_number_is_bounded() {
    let nodes = (0..3000).map(|number| peer(&format!("node-{number}"), PeerKind::Node));
    let tools = (0..3000).map(|_run| peer("admin", PeerKind::Tool));
    let peers = nodes.chain(tools).collect();
    let text = prometheus(&Inspection { peers, ..inspection() });
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let series: Vec<&str> =
        series.filter_map(|line| line.rsplit_once(' ')).map(|it| it.0).collect();
    let distinct: std::collections::BTreeSet<_> = series.iter().collect();
    assert_eq!(distinct.len(), series.len());
    assert!(series.len() < 40 * PEERS_MAX, "{}", series.len());
}
