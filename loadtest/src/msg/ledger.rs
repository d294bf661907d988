//! Judges the answers of one node.
//!
//! The runtime gives each answer to its question. Here its bytes are compared with those that were
//! sent, and its turn with those of answers that came before the question left: what was asked
//! later must have been handled later.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vioduct_node::system::{Echoed, Turn};
use vioduct_runtime::{AskError, Doubt};

use super::body::Bodies;
use super::counts::Outcome;

#[derive(Debug, Default)]
struct Seen {
    last_number: u64,
    /// The latest turn of all answers so far.
    latest: Turn,
}

/// The questions to one node.
#[derive(Debug)]
pub(crate) struct Ledger {
    bodies: Arc<Bodies>,
    seen: Mutex<Seen>,
}

/// A question, as it was when it left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    /// Its number among all to this node, from 1: its body is made of it.
    pub(crate) number: u64,
    /// Its own turn must be a later one.
    after: Turn,
}

impl Ledger {
    pub(crate) fn new(bodies: Arc<Bodies>) -> Self {
        Self { bodies, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a question that is about to leave.
    pub(crate) fn open(&self) -> Question {
        let mut seen = self.seen();
        seen.last_number += 1;
        Question { number: seen.last_number, after: seen.latest }
    }

    /// What came of a question.
    pub(crate) fn judge(&self, question: Question, answer: &Result<Echoed, AskError>) -> Outcome {
        let Echoed { turn, body } = match answer {
            Ok(echoed) => echoed,
            Err(AskError::NotDelivered(_)) => return Outcome::NotDelivered,
            Err(AskError::MaybeDelivered(Doubt::Late)) => return Outcome::Deadline,
            Err(AskError::MaybeDelivered(_)) => return Outcome::MaybeDelivered,
        };
        let mut seen = self.seen();
        seen.latest = seen.latest.max(*turn);
        drop(seen);
        if !self.bodies.is(question.number, body) {
            Outcome::WrongBody
        } else if *turn > question.after {
            Outcome::Ok
        } else {
            Outcome::WrongOrder
        }
    }
}

#[cfg(test)]
mod tests {
    use vioduct_runtime::NotDelivered;

    use super::*;

    fn ledger() -> Ledger {
        Ledger::new(Arc::new(Bodies::new(16)))
    }

    fn echoed(ledger: &Ledger, question: Question, number: u64) -> Result<Echoed, AskError> {
        let body = ledger.bodies.make(question.number);
        Ok(Echoed { turn: Turn { run: 1, number }, body })
    }

    #[test]
    fn what_was_asked_after_an_answer_came_must_have_been_handled_after_it() {
        let ledger = ledger();
        let [first, second] = [ledger.open(), ledger.open()];
        // Both were under way at once: either may be handled first.
        assert_eq!(ledger.judge(second, &echoed(&ledger, second, 1)), Outcome::Ok);
        assert_eq!(ledger.judge(first, &echoed(&ledger, first, 5)), Outcome::Ok);
        for number in [1, 4, 5] {
            let early = ledger.open();
            assert_eq!(ledger.judge(early, &echoed(&ledger, early, number)), Outcome::WrongOrder);
        }
        let later = ledger.open();
        assert_eq!(ledger.judge(later, &echoed(&ledger, later, 6)), Outcome::Ok);
    }

    #[test]
    fn turns_of_a_new_run_are_later_ones() {
        let ledger = ledger();
        let first = ledger.open();
        assert_eq!(ledger.judge(first, &echoed(&ledger, first, 900)), Outcome::Ok);
        let anew = ledger.open();
        let body = ledger.bodies.make(anew.number);
        let answer = Ok(Echoed { turn: Turn { run: 2, number: 1 }, body });
        assert_eq!(ledger.judge(anew, &answer), Outcome::Ok);
    }

    #[test]
    fn an_answer_with_the_bytes_of_another_question_is_wrong() {
        let ledger = ledger();
        let [first, second] = [ledger.open(), ledger.open()];
        assert_eq!(ledger.judge(first, &echoed(&ledger, second, 1)), Outcome::WrongBody);
    }

    #[test]
    fn errors_say_what_is_known_of_the_message() {
        let ledger = ledger();
        for (error, outcome) in [
            (NotDelivered::Late.into(), Outcome::NotDelivered),
            (Doubt::Late.into(), Outcome::Deadline),
            (Doubt::LinkLost.into(), Outcome::MaybeDelivered),
            (Doubt::Dropped.into(), Outcome::MaybeDelivered),
        ] {
            assert_eq!(ledger.judge(ledger.open(), &Err(error)), outcome);
        }
    }
}
