//! Messages of one flow are handed over in the order they were sent.

use std::collections::BTreeMap;

use super::Violation;
use crate::sim::{Event, Kind, MessageId};

pub(super) fn check(events: &[Event]) -> Result<(), Violation> {
    let mut last = BTreeMap::new();
    for Event { at_ms, kind, .. } in events {
        let Kind::Delivered { message, .. } = kind else { continue };
        let flow = MessageId { number: 0, ..*message };
        let before = last.insert(flow, message.number).unwrap_or(0);
        if message.number < before {
            let (message, at_ms) = (*message, *at_ms);
            return Err(Violation::OutOfOrder { message, after: before, at_ms });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scene::{Scene, breaks, holds, message};
    use super::*;

    #[test]
    fn a_message_after_a_later_one_is_found() {
        holds(check, Scene::new().taken(1..4).delivered(&[1, 3]));
        let violation = Violation::OutOfOrder { message: message(2), after: 3, at_ms: 102 };
        breaks(check, Scene::new().taken(1..4).delivered(&[1, 3, 2]), violation);
    }
}
