//! What a simulation came to.

use vioduct_transport::Fate;

use super::history::{Event, Kind, hash};
use super::invariants::{Violation, check};
use super::schedule::Fault;

/// The label of [`DownReason::Evicted`](vioduct_transport::DownReason::Evicted).
const EVICTED: &str = "evicted";

/// How often things happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that links took.
    pub taken: u64,
    /// Messages that links refused.
    pub refused: u64,
    /// Messages handed over.
    pub delivered: u64,
    /// Messages reported as maybe delivered.
    pub maybe: u64,
    /// Messages reported as not delivered.
    pub not: u64,
    /// Connections that came to carry a link, counted on both sides.
    pub ups: u64,
    /// Connections that took over from another one, counted on both sides.
    pub replaced: u64,
    /// Links cut because of the peer's certificate.
    pub evicted: u64,
    /// Endpoints that were closed in order.
    pub closed: u64,
    /// Restarts of nodes.
    pub restarts: u64,
}

/// What a simulation came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed it ran from.
    pub seed: u64,
    /// Virtual time it took, milliseconds.
    pub simulated_ms: u64,
    /// Hash of all events with their times: the same for the same seed.
    pub trace_hash: u64,
    /// From the end of the faults until the last link came up, milliseconds; 0 if none was down.
    pub recovery_ms: u64,
    /// How often things happened.
    pub counts: Counts,
    /// What is broken; empty when all is well.
    pub violations: Vec<Violation>,
    /// Everything that happened.
    pub events: Vec<Event>,
}

impl Report {
    pub(super) fn new(seed: u64, simulated_ms: u64, events: Vec<Event>) -> Self {
        Self {
            seed,
            simulated_ms,
            trace_hash: hash(&events),
            recovery_ms: recovery_ms(&events),
            counts: count(&events),
            violations: check(&events),
            events,
        }
    }
}

fn recovery_ms(events: &[Event]) -> u64 {
    let healed = events.iter().find(|event| event.kind == Kind::Healed);
    let healed_ms = healed.map_or(0, |event| event.at_ms);
    let ups = events.iter().filter(|event| matches!(event.kind, Kind::Up { .. }));
    let last_ms = ups.map(|event| event.at_ms).max().unwrap_or(0);
    last_ms.saturating_sub(healed_ms)
}

fn count(events: &[Event]) -> Counts {
    let mut counts = Counts::default();
    for event in events {
        match &event.kind {
            Kind::Taken { .. } => counts.taken += 1,
            Kind::Refused { .. } => counts.refused += 1,
            Kind::Delivered { .. } => counts.delivered += 1,
            Kind::Undelivered { numbers, fate, .. } => {
                let messages = numbers.end.saturating_sub(numbers.start);
                match fate {
                    Fate::MaybeDelivered => counts.maybe += messages,
                    Fate::NotDelivered => counts.not += messages,
                }
            }
            Kind::Up { replaced, .. } => {
                counts.ups += 1;
                counts.replaced += u64::from(*replaced);
            }
            Kind::Down { reason: EVICTED, .. } => counts.evicted += 1,
            Kind::Closed => counts.closed += 1,
            Kind::Fault(Fault::Restart(_)) => counts.restarts += 1,
            Kind::Started
            | Kind::Fault(_)
            | Kind::Issued { .. }
            | Kind::Revoked { .. }
            | Kind::Loaded { .. }
            | Kind::Closing
            | Kind::Ended { .. }
            | Kind::Healed
            | Kind::Unreadable
            | Kind::Down { .. }
            | Kind::Unreachable { .. }
            | Kind::DialFailed { .. }
            | Kind::PeerRestarted { .. }
            | Kind::TurnedDown { .. }
            | Kind::Panicked
            | Kind::Finished => {}
        }
    }
    counts
}
