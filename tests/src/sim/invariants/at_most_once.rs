//! A message is handed over once, or not at all.

use std::collections::BTreeSet;

use super::Violation;
use crate::sim::{Event, Kind};

pub(super) fn check(events: &[Event]) -> Result<(), Violation> {
    let mut delivered = BTreeSet::new();
    for Event { at_ms, kind, .. } in events {
        let Kind::Delivered { message, .. } = kind else { continue };
        if !delivered.insert(*message) {
            return Err(Violation::Twice { message: *message, at_ms: *at_ms });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scene::{Scene, breaks, holds, message};
    use super::*;

    #[test]
    fn a_second_delivery_is_found() {
        holds(check, Scene::new().taken(1..3).delivered(&[1, 2]));
        let violation = Violation::Twice { message: message(2), at_ms: 102 };
        breaks(check, Scene::new().taken(1..3).delivered(&[1, 2, 2]), violation);
    }
}
