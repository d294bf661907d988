//! Short histories to show that each invariant can fail.

use std::ops::Range;

use vioduct_transport::{Fate, Ticket};

use super::Violation;
use crate::sim::{Event, FAULTS_END_MS, Kind, MessageId, NodeId, RECOVERY_MS, Source};

pub(super) const ONE: NodeId = NodeId(1);
pub(super) const TWO: NodeId = NodeId(2);

/// Message `number` from the first node's first run to the second node, on flow 5 and lane 1.
pub(super) fn message(number: u64) -> MessageId {
    MessageId { from: ONE, run: 1, to: TWO, flow: 5, number }
}

/// Events of two nodes, both in their first run.
#[derive(Debug)]
pub(super) struct Scene(pub(super) Vec<Event>);

impl Scene {
    pub(super) fn new() -> Self {
        Self(Vec::new()).at(ONE, 0, Kind::Started).at(TWO, 0, Kind::Started)
    }

    pub(super) fn at(mut self, node: NodeId, at_ms: u64, kind: Kind) -> Self {
        let source = Source::Node { node, run: 1 };
        self.0.push(Event { at_ms, source, kind });
        self
    }

    pub(super) fn taken(self, numbers: Range<u64>) -> Self {
        numbers.fold(self, |scene, number| {
            let (message, ticket) = (message(number), Ticket { lane: 1, number });
            scene.at(ONE, number, Kind::Taken { message, ticket })
        })
    }

    pub(super) fn delivered(self, numbers: &[u64]) -> Self {
        numbers.iter().fold(self, |scene, number| {
            let kind = Kind::Delivered { message: message(*number), is_intact: true };
            scene.at(TWO, 100 + *number, kind)
        })
    }

    pub(super) fn reported(self, numbers: Range<u64>, fate: Fate) -> Self {
        self.at(ONE, 200, Kind::Undelivered { peer: TWO, lane: 1, numbers, fate })
    }

    pub(super) fn world(mut self, at_ms: u64, kind: Kind) -> Self {
        self.0.push(Event { at_ms, source: Source::World, kind });
        self
    }

    pub(super) fn healed(self) -> Self {
        self.world(FAULTS_END_MS, Kind::Healed)
    }

    pub(super) fn up(self, node: NodeId, peer: NodeId, at_ms: u64) -> Self {
        self.at(
            node,
            at_ms,
            Kind::Up { peer, generation: 1, dialled: true, replaced: false, leaf: 1 },
        )
    }
}

/// The last moment at which a link may come up.
pub(super) const LATEST_MS: u64 = FAULTS_END_MS + RECOVERY_MS;

pub(super) type Check = fn(&[Event]) -> Result<(), Violation>;

pub(super) fn holds(check: Check, scene: Scene) {
    assert_eq!(check(&scene.0), Ok(()));
}

pub(super) fn breaks(check: Check, scene: Scene, violation: Violation) {
    assert_eq!(check(&scene.0), Err(violation));
}
