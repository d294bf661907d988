//! Once the faults are over, every link is up within a bound, and stays up.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use crate::sim::{Event, Kind, RECOVERY_MS, Source};

pub(super) fn check(events: &[Event]) -> Result<(), Violation> {
    let Some(healed) = events.iter().find(|event| event.kind == Kind::Healed) else {
        return Ok(());
    };
    let bound_ms = healed.at_ms + RECOVERY_MS;
    let mut is_up = BTreeMap::new();
    let mut nodes = BTreeSet::new();
    for Event { at_ms, source, kind } in events {
        let Source::Node { node, .. } = *source else { continue };
        nodes.insert(node);
        match kind {
            Kind::Started => is_up.retain(|(owner, _peer), _is_up| *owner != node),
            Kind::Up { peer, .. } if *at_ms <= bound_ms => {
                is_up.insert((node, *peer), true);
            }
            Kind::Down { peer, .. } => {
                is_up.insert((node, *peer), false);
            }
            _other => {}
        }
    }
    for node in &nodes {
        for peer in nodes.iter().filter(|peer| *peer != node) {
            if is_up.get(&(*node, *peer)) != Some(&true) {
                return Err(Violation::NotUp { node: *node, peer: *peer });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scene::{LATEST_MS, ONE, Scene, TWO, breaks, holds};
    use super::*;

    #[test]
    fn a_link_that_is_late_or_falls_again_is_found() {
        let scene = || Scene::new().up(ONE, TWO, 5).healed();
        holds(check, scene().up(TWO, ONE, LATEST_MS));
        let violation = Violation::NotUp { node: TWO, peer: ONE };
        breaks(check, scene(), violation);
        breaks(check, scene().up(TWO, ONE, LATEST_MS + 1), violation);
        let down = Kind::Down { peer: ONE, reason: "silent" };
        breaks(check, scene().up(TWO, ONE, 9000).at(TWO, LATEST_MS + 9, down), violation);
    }
}
