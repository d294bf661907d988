//! Where nothing but rotations happens, no link falls and no message is lost: make before break.

use super::Violation;
use super::disturbed::Disturbed;
use crate::sim::{Event, Kind, Source};

pub(super) fn check(events: &[Event]) -> Result<(), Violation> {
    let disturbed = Disturbed::new(events);
    for Event { at_ms, source, kind } in events {
        let peer = match kind {
            Kind::Down { peer, .. } => peer,
            Kind::Unreachable { peer } | Kind::Undelivered { peer, .. } => peer,
            _other => continue,
        };
        let Source::Node { node, .. } = source else { continue };
        if disturbed.touching(*node, *peer, *at_ms..=*at_ms).next().is_none() {
            return Err(Violation::LostInQuiet { node: *node, peer: *peer, at_ms: *at_ms });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use vioduct_transport::Fate;

    use super::super::scene::{ONE, Scene, TWO, breaks, holds};
    use super::*;
    use crate::sim::Fault;

    #[test]
    fn a_loss_that_only_a_rotation_explains_is_found() {
        let lost = |fault| {
            let scene = Scene::new().taken(1..3).world(50, Kind::Fault(fault));
            scene.reported(1..3, Fate::MaybeDelivered)
        };
        holds(check, lost(Fault::Cut(TWO, ONE)));
        let violation = Violation::LostInQuiet { node: ONE, peer: TWO, at_ms: 200 };
        breaks(check, lost(Fault::Rotate(TWO)), violation);
        let down = Kind::Down { peer: ONE, reason: "reset" };
        let violation = Violation::LostInQuiet { node: TWO, peer: ONE, at_ms: 9 };
        breaks(check, Scene::new().at(TWO, 9, down), violation);
    }
}
