//! Operations as the search sees them: what has to hold, and what changes.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Cell, End, Entry, History, Key, Op, OpId, Outcome, Value};

/// A value by its number.
pub(super) type ValueId = u32;
/// The key is not there.
pub(super) const ABSENT: ValueId = 0;
/// What a key holds before a window of which only the inside is known: anything.
pub(super) const ANY: ValueId = u32::MAX;
/// What no key ever holds.
const NEVER: ValueId = u32::MAX - 1;

/// A key, by its place in [`Problem::keys`], with a value.
pub(super) type Slot = (usize, ValueId);

/// An operation together with what its client was told.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Step {
    /// All of these hold beforehand.
    pub(super) holds: Vec<Slot>,
    /// At least one of these does not hold beforehand.
    pub(super) fails: Option<Vec<Slot>>,
    /// These hold afterwards.
    pub(super) change: Vec<Slot>,
}

impl Step {
    /// The state after this step, if it can take place.
    pub(super) fn apply(&self, state: &[ValueId]) -> Option<Vec<ValueId>> {
        let mut after = state.to_vec();
        for (key, value) in &self.holds {
            let cell = after.get_mut(*key)?;
            if *value == NEVER || (*cell != *value && *cell != ANY) {
                return None;
            }
            *cell = *value;
        }
        if let Some(fails) = &self.fails
            && fails.iter().all(|(key, value)| after.get(*key) == Some(value))
        {
            return None;
        }
        for (key, value) in &self.change {
            *after.get_mut(*key)? = *value;
        }
        Some(after)
    }

    /// Whether it leaves the store as it was, wherever it takes place.
    pub(super) fn is_look(&self) -> bool {
        self.change.is_empty()
    }

    /// The keys that it looks at or changes.
    pub(super) fn keys(&self) -> impl Iterator<Item = usize> {
        let fails = self.fails.iter().flatten();
        self.holds.iter().chain(fails).chain(&self.change).map(|(key, _)| *key)
    }

    /// Whether what this step finds depends on one of these changes.
    pub(super) fn heeds(&self, change: &[Slot]) -> bool {
        change.iter().any(|slot| {
            let fails = self.fails.iter().flatten();
            self.holds.contains(slot) || fails.into_iter().any(|(key, _)| *key == slot.0)
        })
    }

    /// The part of it on the keys of one group, whose places there `place` gives.
    fn project(&self, place: impl Fn(usize) -> Option<usize>) -> Self {
        let slots = |slots: &[Slot]| -> Vec<Slot> {
            slots.iter().filter_map(|(key, value)| Some((place(*key)?, *value))).collect()
        };
        // A refusal may be due to a condition elsewhere: with one such it says nothing here.
        let fails = self.fails.as_ref().and_then(|fails| {
            let here = slots(fails);
            (here.len() == fails.len()).then_some(here)
        });
        Self { holds: slots(&self.holds), fails, change: slots(&self.change) }
    }
}

/// A step with the time that it has.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) id: OpId,
    pub(super) step: Step,
    pub(super) invoked: u64,
    /// It took place before; without it, at any time after its invocation or never.
    pub(super) until: Option<u64>,
}

/// The steps on some keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Problem {
    /// In order.
    pub(super) keys: Vec<Key>,
    /// In the order of their invocations.
    pub(super) tasks: Vec<Task>,
}

/// The values of a history by number; number 0 is none.
#[derive(Debug, Default)]
pub(super) struct Values {
    ids: BTreeMap<Value, ValueId>,
    values: Vec<Value>,
}

impl Values {
    fn id(&mut self, value: Option<&Value>) -> ValueId {
        let Some(value) = value else { return ABSENT };
        if let Some(id) = self.ids.get(value) {
            return *id;
        }
        self.values.push(value.clone());
        let id = ValueId::try_from(self.values.len()).unwrap_or(NEVER);
        self.ids.insert(value.clone(), id);
        id
    }

    /// The value of a number that is not [`ANY`].
    pub(super) fn value(&self, id: ValueId) -> Option<&Value> {
        self.values.get((id as usize).checked_sub(1)?)
    }
}

/// The steps of a history: without those that did not take place, and without those of which
/// nobody knows and that would have changed nothing.
pub(super) fn translate(history: &History) -> (Problem, Values) {
    let keys = keys_of(history);
    let mut values = Values::default();
    let mut tasks = Vec::new();
    for (id, entry) in history.entries() {
        let (step, until) = match &entry.end {
            End::Failed { .. } => continue,
            End::Ok { at, outcome } => (step(entry, Some(outcome), &keys, &mut values), Some(*at)),
            End::Open | End::Unknown { .. } => (step(entry, None, &keys, &mut values), None),
        };
        if until.is_some() || !step.is_look() {
            tasks.push(Task { id, step, invoked: entry.invoked, until });
        }
    }
    tasks.sort_by_key(|task| task.invoked);
    (Problem { keys, tasks }, values)
}

fn keys_of(history: &History) -> Vec<Key> {
    let mut keys = BTreeSet::new();
    for (_, entry) in history.entries() {
        match &entry.op {
            Op::Cas { key, .. } | Op::Delete { key } | Op::Get { key } | Op::Put { key, .. } => {
                keys.insert(key);
            }
            Op::Scan { .. } => {}
            Op::Transaction { conditions, changes } => {
                keys.extend(conditions.iter().chain(changes).map(|cell| &cell.key));
            }
        }
        if let End::Ok { outcome: Outcome::Rows(rows), .. } = &entry.end {
            keys.extend(rows.iter().map(|(key, _)| key));
        }
    }
    keys.into_iter().cloned().collect()
}

/// One operation; without an outcome nobody knows whether it took place.
fn step(entry: &Entry, outcome: Option<&Outcome>, keys: &[Key], values: &mut Values) -> Step {
    let mut slot = |key: &Key, value: Option<&Value>| -> Vec<Slot> {
        let value = values.id(value);
        keys.binary_search(key).into_iter().map(|key| (key, value)).collect()
    };
    match (&entry.op, outcome) {
        (Op::Get { key }, Some(Outcome::Value(value))) => {
            Step { holds: slot(key, value.as_ref()), ..Step::default() }
        }
        (Op::Get { .. } | Op::Scan { .. }, _) => scan(entry, outcome, keys, values),
        (Op::Put { key, value }, _) => Step { change: slot(key, Some(value)), ..Step::default() },
        (Op::Delete { key }, _) => Step { change: slot(key, None), ..Step::default() },
        (Op::Cas { key, expect, .. }, Some(Outcome::Refused)) => {
            Step { fails: Some(slot(key, expect.as_ref())), ..Step::default() }
        }
        (Op::Cas { key, expect, .. }, Some(Outcome::RefusedAt(seen))) => Step {
            holds: slot(key, seen.as_ref()),
            fails: Some(slot(key, expect.as_ref())),
            ..Step::default()
        },
        (Op::Cas { key, expect, new }, _) => Step {
            holds: slot(key, expect.as_ref()),
            change: slot(key, Some(new)),
            ..Step::default()
        },
        (Op::Transaction { conditions, changes }, _) => {
            let mut slots = |cells: &[Cell]| -> Vec<Slot> {
                cells.iter().flat_map(|cell| slot(&cell.key, cell.value.as_ref())).collect()
            };
            let (conditions, changes) = (slots(conditions), slots(changes));
            match outcome {
                Some(Outcome::Refused) => Step { fails: Some(conditions), ..Step::default() },
                _ => {
                    let last: BTreeMap<usize, ValueId> = changes.into_iter().collect();
                    let change = last.into_iter().collect();
                    Step { holds: conditions, fails: None, change }
                }
            }
        }
    }
}

/// A range as a look at each of its keys. A row beside the range and a key with two rows cannot
/// be, whatever the state.
fn scan(entry: &Entry, outcome: Option<&Outcome>, keys: &[Key], values: &mut Values) -> Step {
    let (Op::Scan { from, to }, Some(Outcome::Rows(rows))) = (&entry.op, outcome) else {
        return Step::default();
    };
    let mut seen: BTreeMap<&Key, ValueId> = BTreeMap::new();
    for (key, value) in rows {
        let is_in_range = from <= key && key < to;
        let value = values.id(Some(value));
        let is_first = seen.insert(key, value).is_none();
        if !is_in_range || !is_first {
            seen.insert(key, NEVER);
        }
    }
    let value_of = |(place, key): (usize, &Key)| match seen.get(key) {
        Some(value) => Some((place, *value)),
        None => (from <= key && key < to).then_some((place, ABSENT)),
    };
    let holds = keys.iter().enumerate().filter_map(value_of).collect();
    Step { holds, ..Step::default() }
}

impl Problem {
    /// Each key by itself.
    pub(super) fn by_key(&self) -> Vec<Self> {
        let group: Vec<usize> = (0..self.keys.len()).collect();
        self.split(&group)
    }

    /// Keys that some step takes together stay together; groups have nothing to do with each
    /// other, so that a history is linearizable if each of them is.
    pub(super) fn by_group(&self) -> Vec<Self> {
        let mut group: Vec<usize> = (0..self.keys.len()).collect();
        let root = |group: &[usize], mut key: usize| {
            while let Some(up) = group.get(key).filter(|up| **up != key) {
                key = *up;
            }
            key
        };
        for task in &self.tasks {
            let mut keys = task.step.keys();
            let Some(first) = keys.next() else { continue };
            for key in keys {
                let (a, b) = (root(&group, first), root(&group, key));
                if let Some(up) = group.get_mut(a.max(b)) {
                    *up = a.min(b);
                }
            }
        }
        let roots: Vec<usize> = (0..group.len()).map(|key| root(&group, key)).collect();
        self.split(&roots)
    }

    fn split(&self, group_of: &[usize]) -> Vec<Self> {
        let mut groups: BTreeMap<usize, Self> = BTreeMap::new();
        let mut places = Vec::new();
        for (key, group) in self.keys.iter().zip(group_of) {
            let part = groups.entry(*group).or_default();
            places.push(part.keys.len());
            part.keys.push(key.clone());
        }
        for task in &self.tasks {
            let touched: BTreeSet<usize> =
                task.step.keys().filter_map(|key| group_of.get(key).copied()).collect();
            for group in touched {
                let step = task.step.project(|key| {
                    group_of.get(key).filter(|of| **of == group)?;
                    places.get(key).copied()
                });
                let says_nothing =
                    step == Step::default() || (step.is_look() && task.until.is_none());
                if let Some(part) = groups.get_mut(&group).filter(|_| !says_nothing) {
                    part.tasks.push(Task { step, ..task.clone() });
                }
            }
        }
        groups.into_values().collect()
    }
}
