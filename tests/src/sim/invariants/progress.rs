//! Once every link has recovered, every message comes, and every node finishes.

use std::collections::BTreeSet;

use super::Violation;
use crate::sim::{Event, Kind, RECOVERY_MS, Source};

pub(super) fn check(events: &[Event]) -> Result<(), Violation> {
    let Some(healed) = events.iter().find(|event| event.kind == Kind::Healed) else {
        return Ok(());
    };
    let from_ms = healed.at_ms + RECOVERY_MS;
    let (mut delivered, mut unfinished) = (BTreeSet::new(), BTreeSet::new());
    for Event { source, kind, .. } in events {
        let Source::Node { node, .. } = *source else { continue };
        match kind {
            Kind::Started => unfinished.insert(node),
            Kind::Finished => unfinished.remove(&node),
            Kind::Delivered { message, .. } => delivered.insert(*message),
            _other => continue,
        };
    }
    for Event { at_ms, kind, .. } in events {
        if let Kind::Taken { message, .. } | Kind::Refused { message } = kind
            && *at_ms >= from_ms
            && !delivered.contains(message)
        {
            return Err(Violation::NoProgress { message: *message });
        }
    }
    match unfinished.first() {
        Some(node) => Err(Violation::NotFinished { node: *node }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::{LATEST_MS, ONE, Scene, TWO, breaks, holds, message};
    use super::*;

    #[test]
    fn a_message_or_a_node_that_does_not_get_on_is_found() {
        let refused = Kind::Refused { message: message(9) };
        let done = |scene: Scene| {
            let at_ms = LATEST_MS + 100;
            scene.at(ONE, at_ms, Kind::Finished).at(TWO, at_ms, Kind::Finished)
        };
        let early = Scene::new().healed().at(ONE, LATEST_MS - 1, refused.clone());
        holds(check, done(early));
        let late = Scene::new().healed().at(ONE, LATEST_MS, refused);
        breaks(check, done(late), Violation::NoProgress { message: message(9) });
        let stuck = Scene::new().healed().at(ONE, LATEST_MS, Kind::Finished);
        breaks(check, stuck, Violation::NotFinished { node: TWO });
    }
}
