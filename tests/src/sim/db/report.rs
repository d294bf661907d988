//! What a simulation came to.

use std::collections::BTreeMap;
use std::fmt;

use super::super::message::NodeId;
use super::Setup;
use super::board::{Entry, What};
use super::schedule::Fault;
use crate::linear::{End, History, Verdict, check};

/// What a simulation is worth nothing below: simulated time, answered operations, faults.
const LEAST: (u64, u64, usize) = (30_000, 200, 3);

/// The rows of a replica, by their hash, and how far they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) node: NodeId,
    pub(super) applied: u64,
    pub(super) hash: u64,
}

/// What a simulation came to.
#[derive(Debug)]
pub struct Report {
    /// What was run.
    pub setup: Setup,
    /// Virtual time it took, milliseconds.
    pub simulated_ms: u64,
    /// Hash of all that happened with its times: the same for the same setup.
    pub trace_hash: u64,
    /// Operations that were answered.
    pub answered: u64,
    /// Operations of which clients do not know whether they were done.
    pub unknown: u64,
    /// Faults that hit.
    pub faults: usize,
    /// Changes of who leads.
    pub leaders: usize,
    /// How often the lead was handed over.
    pub moved: usize,
    /// What is wrong; empty when all is well.
    pub violations: Vec<String>,
    /// All that happened but the operations.
    pub entries: Vec<Entry>,
    /// The operations.
    pub history: History,
}

/// What is judged.
pub(super) struct Outcome {
    pub(super) simulated_ms: u64,
    pub(super) entries: Vec<Entry>,
    pub(super) history: History,
    pub(super) violations: Vec<String>,
}

/// FNV-1a, 64 bits.
pub(super) fn hash(mut hash: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    for byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

/// Where [`hash`] begins.
pub(super) const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

impl Report {
    pub(super) fn new(setup: Setup, outcome: Outcome) -> Self {
        let Outcome { simulated_ms, entries, history, mut violations } = outcome;
        let is_answer = |end: &End| matches!(end, End::Ok { .. });
        let is_unknown = |end: &End| matches!(end, End::Unknown { .. } | End::Open);
        let count = |is: fn(&End) -> bool| history.entries().filter(|(_, op)| is(&op.end)).count();
        let (answered, unknown) = (count(is_answer) as u64, count(is_unknown) as u64);
        let faults = entries.iter().filter(|entry| is_fault(&entry.what)).count();
        if (simulated_ms, answered) < (LEAST.0, LEAST.1) || answered < LEAST.1 || faults < LEAST.2 {
            violations.push(format!("too little: {answered} answers and {faults} faults"));
        }
        match check(&history) {
            Verdict::Linearizable { .. } => {}
            verdict => violations.push(verdict.to_string()),
        }
        let mut trace_hash = HASH_START;
        for entry in &entries {
            trace_hash = hash(trace_hash, format!("{entry:?}").bytes());
        }
        for (_id, entry) in history.entries() {
            trace_hash = hash(trace_hash, entry.to_string().bytes());
        }
        let moved = entries.iter().filter(|entry| entry.what == What::Moved(None)).count();
        let leaders = leaders(&entries);
        Self {
            setup,
            simulated_ms,
            trace_hash,
            answered,
            unknown,
            faults,
            leaders,
            moved,
            violations,
            entries,
            history,
        }
    }
}

impl Report {
    /// Everything that happened, a line each: the events of nodes and world by time, and the
    /// operations.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let entries =
            self.entries.iter().map(|entry| format!("{:>6} {:?}", entry.at_ms, entry.what));
        entries.chain(self.history.entries().map(|(id, entry)| format!("{id} {entry}")))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {} {:016x} {} ms: {} operations answered, {} unknown, {} faults, {} leaders, \
             handed over {} times",
            self.setup.seed,
            self.trace_hash,
            self.simulated_ms,
            self.answered,
            self.unknown,
            self.faults,
            self.leaders,
            self.moved,
        )?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}

fn is_fault(what: &What) -> bool {
    match what {
        What::Fault(Fault::Lead(_), _) => false,
        What::Fault(Fault::CrashAll | Fault::Cut(..), _) => true,
        What::Fault(_, node) => node.is_some(),
        _other => false,
    }
}

/// How many different terms had a leader.
fn leaders(entries: &[Entry]) -> usize {
    let leads = entries.iter().filter_map(|entry| match &entry.what {
        What::Replica { node, term, leads: true, .. } => Some((*term, *node)),
        _other => None,
    });
    leads.collect::<BTreeMap<_, _>>().len()
}
