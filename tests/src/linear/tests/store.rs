//! A store that is right, or wrong in a known way, with clients that speak to it in turns.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::*;
use super::brute::{State, perform};

/// What is wrong with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// A get answers with what was there before the last change.
    StaleRead,
    /// A put is acknowledged and forgotten.
    LostWrite,
    /// A put or compare-and-set lands a second time, later.
    DoubleApply,
    /// The changes of a transaction land at two moments, both before its reply.
    TornTransaction,
    /// What was deleted comes back.
    Resurrection,
    /// A put that was never acknowledged can be seen and then is gone.
    Vanishing,
}

/// How much happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) clients: usize,
    pub(super) keys: usize,
    pub(super) ops: usize,
    /// Whether some operations take several keys.
    pub(super) joins: bool,
    /// Of 1000 operations, those whose end stays unknown.
    pub(super) unknown: u32,
}

#[derive(Debug, Clone)]
enum Phase {
    Idle,
    Sent(OpId, Op),
    /// The rest of a torn transaction is still to land.
    Half(OpId, Vec<Cell>),
    Replied(OpId, Outcome),
}

/// Something that reaches the store when nobody waits for it.
#[derive(Debug)]
enum Stray {
    Request(Op),
    /// The key gets its former value if it still has this one.
    Undo(Key, Value),
}

struct Run {
    rng: StdRng,
    size: Size,
    fault: Fault,
    recorder: Recorder,
    state: State,
    former: BTreeMap<Key, Option<Value>>,
    strays: Vec<Stray>,
    serial: u32,
}

/// One seed's history.
pub(super) fn run(seed: u64, size: Size, fault: Fault) -> History {
    let mut run = Run {
        rng: StdRng::seed_from_u64(seed),
        size,
        fault,
        recorder: Recorder::default(),
        state: State::new(),
        former: BTreeMap::new(),
        strays: Vec::new(),
        serial: 0,
    };
    let mut phases = vec![Phase::Idle; size.clients];
    let mut left = size.ops;
    while left > 0 {
        let client = run.rng.random_range(0..size.clients);
        let phase = std::mem::replace(&mut phases[client], Phase::Idle);
        left -= usize::from(matches!(phase, Phase::Idle));
        phases[client] = run.step(client, phase);
        if !run.strays.is_empty() && run.rng.random_ratio(1, 10) {
            let stray = run.rng.random_range(0..run.strays.len());
            let stray = run.strays.swap_remove(stray);
            run.land(stray);
        }
    }
    run.recorder.history()
}

impl Run {
    fn chance(&mut self, fault: Fault) -> bool {
        self.fault == fault && self.rng.random_ratio(1, 4)
    }

    fn step(&mut self, client: usize, phase: Phase) -> Phase {
        let gives_up = self.rng.random_ratio(self.size.unknown, 2000)
            || (matches!(phase, Phase::Replied(..)) && self.chance(Fault::Vanishing));
        match phase {
            Phase::Idle => {
                let op = self.ask();
                let id = self.recorder.invoke(u32::try_from(client).unwrap(), op.clone()).unwrap();
                Phase::Sent(id, op)
            }
            Phase::Sent(id, _) if self.rng.random_ratio(1, 100) => {
                self.recorder.fail(id).unwrap();
                Phase::Idle
            }
            Phase::Sent(id, op) if gives_up => {
                self.recorder.unknown(id).unwrap();
                if self.rng.random_bool(0.7) {
                    self.strays.push(Stray::Request(op));
                }
                Phase::Idle
            }
            Phase::Sent(id, op) => self.serve(id, op),
            Phase::Half(..) if self.rng.random_bool(0.8) => phase,
            Phase::Half(id, rest) => {
                self.apply(&Op::Transaction { conditions: Vec::new(), changes: rest });
                Phase::Replied(id, Outcome::Done)
            }
            Phase::Replied(id, _) if gives_up => {
                self.recorder.unknown(id).unwrap();
                if self.fault == Fault::Vanishing
                    && let Some(Entry { op: Op::Put { key, value }, .. }) =
                        self.recorder.history().entry(id)
                {
                    self.strays.push(Stray::Undo(key.clone(), value.clone()));
                }
                Phase::Idle
            }
            Phase::Replied(id, outcome) => {
                self.recorder.ok(id, outcome).unwrap();
                Phase::Idle
            }
        }
    }

    fn serve(&mut self, id: OpId, op: Op) -> Phase {
        match &op {
            Op::Get { key } if self.chance(Fault::StaleRead) => {
                let old = self.former.get(key).cloned().flatten();
                return Phase::Replied(id, Outcome::Value(old));
            }
            Op::Put { .. } if self.chance(Fault::LostWrite) => {
                return Phase::Replied(id, Outcome::Done);
            }
            Op::Put { key, value } | Op::Cas { key, new: value, .. }
                if self.chance(Fault::DoubleApply) =>
            {
                let again = Op::Put { key: key.clone(), value: value.clone() };
                let outcome = self.apply(&op);
                if outcome == Outcome::Done {
                    self.strays.push(Stray::Request(again));
                }
                return Phase::Replied(id, outcome);
            }
            Op::Delete { key } if self.chance(Fault::Resurrection) => {
                if let Some(value) = self.state.get(key).cloned() {
                    self.strays.push(Stray::Request(Op::Put { key: key.clone(), value }));
                }
            }
            Op::Transaction { conditions, changes } if self.chance(Fault::TornTransaction) => {
                let (first, rest) = changes.split_at(changes.len() / 2);
                let first =
                    Op::Transaction { conditions: conditions.clone(), changes: first.to_vec() };
                return match self.apply(&first) {
                    Outcome::Done => Phase::Half(id, rest.to_vec()),
                    outcome => Phase::Replied(id, outcome),
                };
            }
            _ => {}
        }
        let outcome = self.apply(&op);
        match outcome {
            Outcome::RefusedAt(_) if self.rng.random_bool(0.5) => {
                Phase::Replied(id, Outcome::Refused)
            }
            outcome => Phase::Replied(id, outcome),
        }
    }

    fn apply(&mut self, op: &Op) -> Outcome {
        let before = self.state.clone();
        let outcome = perform(&mut self.state, op);
        for key in before.keys().chain(self.state.keys()) {
            if before.get(key) != self.state.get(key) {
                self.former.insert(key.clone(), before.get(key).cloned());
            }
        }
        outcome
    }

    fn land(&mut self, stray: Stray) {
        match stray {
            Stray::Request(op) => {
                self.apply(&op);
            }
            Stray::Undo(key, value) => {
                if self.state.get(&key) == Some(&value) {
                    match self.former.get(&key).cloned().flatten() {
                        Some(former) => self.state.insert(key, former),
                        None => self.state.remove(&key),
                    };
                }
            }
        }
    }

    fn key(&mut self) -> Key {
        format!("k{:02}", self.rng.random_range(0..self.size.keys)).into()
    }

    fn value(&mut self) -> Value {
        self.serial += 1;
        format!("v{}", self.serial).into()
    }

    fn ask(&mut self) -> Op {
        let key = self.key();
        // A client with a good memory: mostly it expects what is there.
        let expect = self.state.get(&key).cloned().filter(|_| self.rng.random_bool(0.8));
        match self.rng.random_range(0..100) {
            0..40 => Op::Get { key },
            40..62 => Op::Put { key, value: self.value() },
            62..72 => Op::Delete { key },
            72..84 => Op::Cas { key, expect, new: self.value() },
            84..94 if self.size.joins => {
                let (other, value) = (self.key(), self.value());
                let second = if self.rng.random_bool(0.8) { Some(self.value()) } else { None };
                let condition = Cell { key: key.clone(), value: expect };
                let wants = self.rng.random_bool(0.5);
                let changes = vec![Cell::holds(key.0, value), Cell { key: other, value: second }];
                Op::Transaction { conditions: vec![condition; usize::from(wants)], changes }
            }
            94..100 if self.size.joins => Op::Scan { from: "k".into(), to: "l".into() },
            _ => Op::Get { key },
        }
    }
}
