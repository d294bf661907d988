//! An endpoint that is closed writes and confirms what it took, and nothing of it runs afterwards.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::disturbed::{Disturbed, Place};
use crate::sim::node::DRAIN_MS;
use crate::sim::{Event, Fault, Kind, NodeId, Source};

/// An orderly close of one run.
#[derive(Debug, Default)]
struct Close {
    /// When the world asked for it.
    asked_ms: u64,
    /// When the node began.
    began_ms: u64,
    /// Peers whose link was up then.
    up: BTreeSet<NodeId>,
    /// To which peers something was reported undelivered, and when.
    reported: Vec<(NodeId, u64)>,
    /// When the links ended.
    down_ms: BTreeMap<NodeId, u64>,
}

impl Close {
    /// Whether nothing stood in the way of what `node` had taken for `peer`.
    fn is_free(&self, disturbed: &Disturbed, node: NodeId, peer: NodeId) -> bool {
        let Some(down_ms) = self.down_ms.get(&peer) else { return false };
        let when = self.asked_ms..=*down_ms;
        let mut others = disturbed.touching(node, peer, when).filter(|span| {
            let is_own = span.place == Place::Down(node) && span.from_ms == self.asked_ms;
            !is_own
        });
        let is_in_time = *down_ms < self.began_ms + DRAIN_MS;
        self.up.contains(&peer) && is_in_time && others.next().is_none()
    }
}

pub(super) fn check(events: &[Event]) -> Result<(), Violation> {
    nothing_runs_on(events)?;
    let disturbed = Disturbed::new(events);
    let mut asked = BTreeMap::new();
    let mut up: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
    let mut closing: BTreeMap<NodeId, Close> = BTreeMap::new();
    for Event { at_ms, source, kind } in events {
        if let Kind::Fault(Fault::Close(node)) = kind {
            asked.insert(*node, *at_ms);
        }
        let Source::Node { node, .. } = *source else { continue };
        match kind {
            Kind::Started => {
                up.remove(&node);
                closing.remove(&node);
            }
            Kind::Up { peer, .. } => {
                up.entry(node).or_default().insert(*peer);
            }
            Kind::Closing => {
                let asked_ms = asked.get(&node).copied().unwrap_or(*at_ms);
                let up = up.remove(&node).unwrap_or_default();
                let close = Close { asked_ms, began_ms: *at_ms, up, ..Close::default() };
                closing.insert(node, close);
            }
            Kind::Undelivered { peer, .. } => {
                if let Some(close) = closing.get_mut(&node) {
                    close.reported.push((*peer, *at_ms));
                }
            }
            Kind::Down { peer, .. } => match closing.get_mut(&node) {
                Some(close) => drop(close.down_ms.insert(*peer, *at_ms)),
                None => drop(up.entry(node).or_default().remove(peer)),
            },
            Kind::Closed => {
                let Some(close) = closing.remove(&node) else { continue };
                let mut lost = close.reported.iter();
                if let Some((peer, at_ms)) =
                    lost.find(|(peer, _at_ms)| close.is_free(&disturbed, node, *peer))
                {
                    return Err(Violation::NotFlushed { node, peer: *peer, at_ms: *at_ms });
                }
            }
            _other => {}
        }
    }
    Ok(())
}

fn nothing_runs_on(events: &[Event]) -> Result<(), Violation> {
    let mut closed = BTreeSet::new();
    for Event { at_ms, source, kind } in events {
        let Source::Node { node, run } = *source else { continue };
        let runs_on = match kind {
            Kind::Closed => !closed.insert((node, run)),
            Kind::Ended { tasks } => *tasks > 0,
            // A sender that asked too late; nothing of the endpoint.
            Kind::Refused { .. } => false,
            _other => closed.contains(&(node, run)),
        };
        if runs_on {
            return Err(Violation::RunsOn { node, at_ms: *at_ms });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use vioduct_transport::Fate;

    use super::super::scene::{ONE, Scene, TWO, breaks, holds};
    use super::*;

    fn down() -> Kind {
        Kind::Down { peer: TWO, reason: "closed" }
    }

    /// The first node closes from 190 to 400 ms and reports a message lost at 200 ms.
    fn closed(scene: Scene) -> Scene {
        scene
            .world(180, Kind::Fault(Fault::Close(ONE)))
            .at(ONE, 190, Kind::Closing)
            .reported(2..3, Fate::MaybeDelivered)
            .at(ONE, 210, down())
            .at(ONE, 400, Kind::Closed)
    }

    #[test]
    fn a_message_that_a_close_without_hindrance_loses_is_found() {
        let scene = || Scene::new().up(ONE, TWO, 0).taken(1..3);
        let violation = Violation::NotFlushed { node: ONE, peer: TWO, at_ms: 200 };
        breaks(check, closed(scene()), violation);
        let cut = Kind::Fault(Fault::Cut(ONE, TWO));
        holds(check, closed(scene().world(150, cut)));
        holds(check, closed(scene().at(ONE, 160, down())));
        holds(check, closed(scene().world(150, Kind::Fault(Fault::Close(TWO)))));
        let earlier = scene().reported(1..3, Fate::MaybeDelivered).at(ONE, 210, Kind::Closing);
        holds(check, earlier.at(ONE, 215, down()).at(ONE, 220, Kind::Closed));
    }

    #[test]
    fn an_endpoint_that_runs_on_is_found() {
        let late = closed(Scene::new()).at(ONE, 500, Kind::Unreachable { peer: TWO });
        breaks(check, late, Violation::RunsOn { node: ONE, at_ms: 500 });
        let left = Scene::new().at(ONE, 400, Kind::Closed).at(ONE, 500, Kind::Ended { tasks: 1 });
        breaks(check, left, Violation::RunsOn { node: ONE, at_ms: 500 });
        let ended = Scene::new().at(ONE, 400, Kind::Closed).at(ONE, 500, Kind::Ended { tasks: 0 });
        holds(check, ended);
    }
}
