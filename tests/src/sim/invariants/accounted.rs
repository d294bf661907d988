//! Every message that was taken came, or was reported to its sender.
//!
//! A run that was crashed is told nothing: it is not asked. One that was closed in order is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use vioduct_transport::{Fate, Ticket};

use super::Violation;
use crate::sim::{Event, Kind, MessageId, NodeId, Source};

/// Ranges of numbers by sender, its run, receiver and lane.
pub(super) type Reports = BTreeMap<(NodeId, u64, NodeId, u8), Vec<Range<u64>>>;

/// What was reported with a fate that `counts`.
pub(super) fn reports(events: &[Event], counts: impl Fn(Fate) -> bool) -> Reports {
    let mut reports = Reports::new();
    for Event { source, kind, .. } in events {
        if let Kind::Undelivered { peer, lane, numbers, fate } = kind
            && let Source::Node { node, run } = source
            && counts(*fate)
        {
            reports.entry((*node, *run, *peer, *lane)).or_default().push(numbers.clone());
        }
    }
    reports
}

/// Whether a message is among what was reported.
pub(super) fn covers(reports: &Reports, message: &MessageId, ticket: Ticket) -> bool {
    let key = (message.from, message.run, message.to, ticket.lane);
    let ranges = reports.get(&key);
    ranges.is_some_and(|ranges| ranges.iter().any(|range| range.contains(&ticket.number)))
}

pub(super) fn check(events: &[Event]) -> Result<(), Violation> {
    let reports = reports(events, |_fate| true);
    let mut last_run = BTreeMap::new();
    let mut closed = BTreeSet::new();
    let mut delivered = BTreeSet::new();
    for Event { source, kind, .. } in events {
        match (source, kind) {
            (Source::Node { node, run }, Kind::Started) => {
                last_run.insert(*node, *run);
            }
            (Source::Node { node, run }, Kind::Closed) => {
                closed.insert((*node, *run));
            }
            (_, Kind::Delivered { message, .. }) => {
                delivered.insert(*message);
            }
            _other => {}
        }
    }
    for Event { kind, .. } in events {
        let Kind::Taken { message, ticket } = kind else { continue };
        let is_asked = last_run.get(&message.from) == Some(&message.run)
            || closed.contains(&(message.from, message.run));
        if is_asked && !delivered.contains(message) && !covers(&reports, message, *ticket) {
            return Err(Violation::LostInSilence { message: *message, ticket: *ticket });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scene::{ONE, Scene, breaks, holds, message};
    use super::*;

    #[test]
    fn a_message_that_is_gone_without_a_report_is_found() {
        let scene = || Scene::new().taken(1..4).delivered(&[1]);
        holds(check, scene().reported(2..4, Fate::MaybeDelivered));
        holds(
            check,
            scene().reported(2..3, Fate::MaybeDelivered).reported(3..4, Fate::NotDelivered),
        );
        let ticket = Ticket { lane: 1, number: 3 };
        let violation = Violation::LostInSilence { message: message(3), ticket };
        breaks(check, scene().reported(2..3, Fate::MaybeDelivered), violation);
        let mut elsewhere = scene().reported(2..4, Fate::MaybeDelivered);
        for event in &mut elsewhere.0 {
            if let Kind::Undelivered { lane, .. } = &mut event.kind {
                *lane = 2;
            }
        }
        let ticket = Ticket { lane: 1, number: 2 };
        breaks(check, elsewhere, Violation::LostInSilence { message: message(2), ticket });
    }

    #[test]
    fn a_run_that_was_crashed_is_not_asked_and_one_that_was_closed_is() {
        let restarted = |mut scene: Scene| {
            let source = Source::Node { node: ONE, run: 2 };
            scene.0.push(Event { at_ms: 300, source, kind: Kind::Started });
            scene
        };
        let taken = || Scene::new().taken(1..4);
        holds(check, restarted(taken()));
        let ticket = Ticket { lane: 1, number: 1 };
        let violation = Violation::LostInSilence { message: message(1), ticket };
        let closed = taken().at(ONE, 250, Kind::Closed);
        breaks(check, restarted(closed), violation);
    }
}
