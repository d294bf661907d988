//! What is handed over was taken, is for the node that gets it, and has the body it was sent with.

use std::collections::BTreeSet;

use super::Violation;
use crate::sim::{Event, Kind, Source};

pub(super) fn check(events: &[Event]) -> Result<(), Violation> {
    let mut taken = BTreeSet::new();
    for Event { at_ms, source, kind } in events {
        let Source::Node { node, .. } = *source else { continue };
        match kind {
            Kind::Taken { message, .. } => {
                taken.insert(*message);
            }
            Kind::Delivered { message, is_intact }
                if !is_intact || message.to != node || !taken.contains(message) =>
            {
                return Err(Violation::NotAsSent { message: *message, at_ms: *at_ms });
            }
            Kind::Unreadable => return Err(Violation::Unreadable { node, at_ms: *at_ms }),
            _other => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scene::{ONE, Scene, TWO, breaks, holds, message};
    use super::*;

    #[test]
    fn a_message_that_nobody_sent_or_that_is_changed_or_astray_is_found() {
        holds(check, Scene::new().taken(1..2).delivered(&[1]));
        let violation = Violation::NotAsSent { message: message(1), at_ms: 101 };
        breaks(check, Scene::new().delivered(&[1]), violation);
        let changed = Kind::Delivered { message: message(1), is_intact: false };
        breaks(check, Scene::new().taken(1..2).at(TWO, 101, changed), violation);
        let astray = Kind::Delivered { message: message(1), is_intact: true };
        breaks(check, Scene::new().taken(1..2).at(ONE, 101, astray), violation);
        let violation = Violation::Unreadable { node: TWO, at_ms: 7 };
        breaks(check, Scene::new().at(TWO, 7, Kind::Unreadable), violation);
    }
}
