//! What was reported as not delivered is never handed over, neither before nor after.

use std::collections::BTreeSet;

use vioduct_transport::Fate;

use super::Violation;
use super::accounted::{covers, reports};
use crate::sim::{Event, Kind};

pub(super) fn check(events: &[Event]) -> Result<(), Violation> {
    let reports = reports(events, |fate| fate == Fate::NotDelivered);
    let mut not_delivered = BTreeSet::new();
    for Event { kind, .. } in events {
        if let Kind::Taken { message, ticket } = kind
            && covers(&reports, message, *ticket)
        {
            not_delivered.insert(*message);
        }
    }
    for Event { kind, .. } in events {
        if let Kind::Delivered { message, .. } = kind
            && not_delivered.contains(message)
        {
            return Err(Violation::ArrivedAfterAll { message: *message });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scene::{Scene, breaks, holds, message};
    use super::*;

    #[test]
    fn a_message_that_came_although_it_was_reported_is_found() {
        let scene = || Scene::new().taken(1..3).delivered(&[1, 2]);
        holds(check, scene());
        holds(check, scene().reported(1..3, Fate::MaybeDelivered));
        holds(check, scene().reported(3..9, Fate::NotDelivered));
        let violation = Violation::ArrivedAfterAll { message: message(2) };
        breaks(check, scene().reported(2..3, Fate::NotDelivered), violation);
        let early = Scene::new().taken(1..3).reported(2..3, Fate::NotDelivered).delivered(&[2]);
        breaks(check, early, violation);
    }
}
