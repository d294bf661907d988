//! Nodes that run the same code never find each other breaking the protocol.

use super::Violation;
use crate::sim::{Event, Kind, Source};

/// The label of [`DownReason::Violation`](vioduct_transport::DownReason::Violation).
const LABEL: &str = "violation";

pub(super) fn check(events: &[Event]) -> Result<(), Violation> {
    for Event { at_ms, source, kind } in events {
        if let (Kind::Down { peer, reason: LABEL }, Source::Node { node, .. }) = (kind, source) {
            return Err(Violation::Accused { node: *node, peer: *peer, at_ms: *at_ms });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use vioduct_transport::{DownReason, OrderError, Violation as Breach};

    use super::super::scene::{ONE, Scene, TWO, breaks, holds};
    use super::*;

    #[test]
    fn an_honest_node_that_is_accused_is_found() {
        let down = |reason: DownReason| Kind::Down { peer: TWO, reason: reason.label() };
        holds(check, Scene::new().at(ONE, 4, down(DownReason::Silent)));
        let replay = OrderError::Replay { first: 1, next: 2 };
        let accusation = down(DownReason::Violation(Breach::Order(replay)));
        let violation = Violation::Accused { node: ONE, peer: TWO, at_ms: 4 };
        breaks(check, Scene::new().at(ONE, 4, accusation), violation);
    }
}
