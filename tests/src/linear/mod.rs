//! Whether what clients saw can have happened: a checker of linearizability.
//!
//! A history is linearizable if each operation can be given one moment between its invocation
//! and its reply such that, all taken at their moments, every client was told the truth. A
//! [`Recorder`] writes the history down while clients run, [`check`] judges it afterwards; both
//! are pure, and a failing history can be kept as JSON.
//!
//! The store is empty in the beginning: what it holds then has to be written by operations of
//! the history. Of an operation that is *unknown*, or still open, it is not assumed that it took
//! place, nor that it did not; it may do so at any later time.
//!
//! Two questions are asked. The first is sound and cheap; the second sees all there is to see:
//! - [`check_keys`] takes each key by itself. A transaction takes part in each of its keys with
//!   the condition and the change that it has there, a scan as a look at each key of its range.
//!   A refused transaction says that at least one of its conditions did not hold: that is exact
//!   if all its conditions are on one key, and says nothing to any key otherwise. A transaction
//!   that took place on one key and not on another, or a scan of two moments, can pass.
//! - [`check_whole`] takes those keys together that some operation takes together; a state is
//!   then the state of them all. It sees torn transactions and scans. For keys that no operation
//!   joins it is the same question, since a history is linearizable if it is so on each of the
//!   parts that share nothing.
//!
//! Either has a bound on its work and says [`Verdict::Undecided`] when it comes to it.
//!
//! The algorithm is Wing and Gong's search with Lowe's memory of configurations, in the form that
//! orders operations only when an end demands it (G. Lowe, "Testing for linearizability", 2017);
//! see `search.rs`. Of the crates at hand, `todc-utils` 0.1.1 walks its whole history at each
//! step, and the tester of `stateright` copies it at each and forgets what it has tried;
//! neither knows operations without an end, bounds its work, or says what is wrong.

mod bits;
mod history;
mod search;
mod step;
mod verdict;
mod window;

pub use history::{
    Cell, End, Entry, History, Key, OPS, Op, OpId, Outcome, RecordError, Recorder, Value,
};
pub use verdict::{Verdict, Violation};

use search::{Answer, search};
use step::{ABSENT, Problem, Values, translate};

/// The work that [`check`] grants to each key, and to each group of keys: some ten seconds of a
/// build without optimisation, where the answer is not found before.
pub const WORK: u64 = 10_000_000;

/// Each key by itself, and then, if all are right, the keys that belong together.
pub fn check(history: &History) -> Verdict {
    match check_keys(history, WORK) {
        Verdict::Linearizable { .. } => check_whole(history, WORK),
        other => other,
    }
}

/// Each key by itself, with so much work for each.
pub fn check_keys(history: &History, work: u64) -> Verdict {
    let (problem, values) = translate(history);
    judge(history, &values, &problem, &problem.by_key(), work)
}

/// The keys that belong together, with so much work for each group.
pub fn check_whole(history: &History, work: u64) -> Verdict {
    let (problem, values) = translate(history);
    judge(history, &values, &problem, &problem.by_group(), work)
}

fn judge(
    history: &History,
    values: &Values,
    whole: &Problem,
    parts: &[Problem],
    work: u64,
) -> Verdict {
    let mut undecided = None;
    for part in parts {
        let mut left = work;
        match search(part, ABSENT, &mut left) {
            Answer::Fits => {}
            Answer::Spent => {
                let (keys, work) = (part.keys.clone(), work - left);
                undecided.get_or_insert(Verdict::Undecided { keys, work });
            }
            Answer::Stuck(stuck) => {
                let found = window::violation(history, values, part, &stuck, work);
                return Verdict::Violation(Box::new(found));
            }
        }
    }
    let unknown = whole.tasks.iter().filter(|task| task.until.is_none()).count();
    let (ops, keys) = (whole.tasks.len() - unknown, whole.keys.len());
    undecided.unwrap_or(Verdict::Linearizable { ops, unknown, keys })
}

#[cfg(test)]
mod tests;
