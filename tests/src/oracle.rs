//! What a link promised about each message, held against what arrived.
//!
//! Pure: both sides write down what they saw, and [`Ledger::verify`] compares.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use vioduct_transport::{Fate, Ticket};

/// A message by its pair and its place among that pair's messages, from 0.
pub type MessageId = (u32, u64);

/// How a history breaks the contract of `docs/wire.md`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// A message of a pair arrived after a later one of the same pair, or twice.
    #[error("pair {pair}: message {later} arrived before {earlier}")]
    Order {
        /// The pair.
        pair: u32,
        /// What should have come first.
        earlier: u64,
        /// What did.
        later: u64,
    },
    /// A message was taken, never arrived, and nobody said so.
    #[error("message {message:?} was taken as {ticket:?}, did not arrive, and was not reported")]
    LostInSilence {
        /// The message.
        message: MessageId,
        /// What the link gave for it.
        ticket: Ticket,
    },
    /// A message that was reported as not delivered arrived.
    #[error("message {message:?} was reported as not delivered, and arrived")]
    ArrivedAfterAll {
        /// The message.
        message: MessageId,
    },
    /// A message arrived that no sender was given a ticket for.
    #[error("message {message:?} arrived and was never taken")]
    FromNowhere {
        /// The message.
        message: MessageId,
    },
}

/// What a history came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that the link took.
    pub taken: u64,
    /// Messages that arrived.
    pub arrived: u64,
    /// Messages that did not arrive, each reported as maybe delivered.
    pub maybe: u64,
    /// Messages that did not arrive, each reported as not delivered.
    pub not: u64,
}

/// The history of one direction of a link.
#[derive(Debug, Default)]
pub struct Ledger {
    taken: BTreeMap<Ticket, MessageId>,
    arrived: BTreeMap<u32, Vec<u64>>,
    maybe: Vec<(u8, Range<u64>)>,
    not: Vec<(u8, Range<u64>)>,
}

impl Ledger {
    /// The link took a message.
    pub fn took(&mut self, ticket: Ticket, message: MessageId) {
        self.taken.insert(ticket, message);
    }

    /// A message arrived.
    pub fn arrived(&mut self, (pair, number): MessageId) {
        self.arrived.entry(pair).or_default().push(number);
    }

    /// The link reported messages.
    pub fn reported(&mut self, lane: u8, numbers: Range<u64>, fate: Fate) {
        match fate {
            Fate::MaybeDelivered => self.maybe.push((lane, numbers)),
            Fate::NotDelivered => self.not.push((lane, numbers)),
        }
    }

    /// Compares promises and arrivals.
    ///
    /// # Errors
    /// The first [`Breach`].
    pub fn verify(&self) -> Result<Tally, Breach> {
        let mut arrived = BTreeSet::new();
        for (pair, numbers) in &self.arrived {
            for (earlier, later) in numbers.iter().zip(numbers.iter().skip(1)) {
                if earlier >= later {
                    let (pair, earlier, later) = (*pair, *later, *earlier);
                    return Err(Breach::Order { pair, earlier, later });
                }
            }
            arrived.extend(numbers.iter().map(|number| (*pair, *number)));
        }
        let mut tally = Tally::default();
        for (ticket, message) in &self.taken {
            tally.taken += 1;
            let has_arrived = arrived.remove(message);
            let is_not = covers(&self.not, *ticket);
            match (has_arrived, is_not) {
                (true, true) => return Err(Breach::ArrivedAfterAll { message: *message }),
                (true, false) => tally.arrived += 1,
                (false, true) => tally.not += 1,
                (false, false) if covers(&self.maybe, *ticket) => tally.maybe += 1,
                (false, false) => {
                    let (message, ticket) = (*message, *ticket);
                    return Err(Breach::LostInSilence { message, ticket });
                }
            }
        }
        match arrived.pop_first() {
            Some(message) => Err(Breach::FromNowhere { message }),
            None => Ok(tally),
        }
    }
}

fn covers(reports: &[(u8, Range<u64>)], ticket: Ticket) -> bool {
    reports.iter().any(|(lane, numbers)| *lane == ticket.lane && numbers.contains(&ticket.number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(number: u64) -> Ticket {
        Ticket { lane: 1, number }
    }

    fn taken(count: u64) -> Ledger {
        let mut ledger = Ledger::default();
        for number in 0..count {
            ledger.took(ticket(number + 1), (7, number));
        }
        ledger
    }

    #[test]
    fn a_history_that_keeps_its_promises_is_counted() {
        let mut ledger = taken(4);
        ledger.arrived((7, 0));
        ledger.arrived((7, 2));
        ledger.reported(1, 2..3, Fate::MaybeDelivered);
        ledger.reported(1, 4..5, Fate::NotDelivered);
        let tally = Tally { taken: 4, arrived: 2, maybe: 1, not: 1 };
        assert_eq!(ledger.verify(), Ok(tally));
    }

    #[test]
    fn each_breach_is_found() {
        let mut twice = taken(2);
        twice.arrived((7, 1));
        twice.arrived((7, 1));
        assert_eq!(twice.verify(), Err(Breach::Order { pair: 7, earlier: 1, later: 1 }));

        let mut swapped = taken(2);
        swapped.arrived((7, 1));
        swapped.arrived((7, 0));
        assert_eq!(swapped.verify(), Err(Breach::Order { pair: 7, earlier: 0, later: 1 }));

        let lost = Breach::LostInSilence { message: (7, 0), ticket: ticket(1) };
        assert_eq!(taken(1).verify(), Err(lost));

        let mut lied = taken(1);
        lied.arrived((7, 0));
        lied.reported(1, 1..2, Fate::NotDelivered);
        assert_eq!(lied.verify(), Err(Breach::ArrivedAfterAll { message: (7, 0) }));

        let mut invented = taken(0);
        invented.arrived((7, 5));
        assert_eq!(invented.verify(), Err(Breach::FromNowhere { message: (7, 5) }));
    }
}
