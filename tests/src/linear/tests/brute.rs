//! The same question asked by trying every order; for histories of a few operations.

use std::collections::BTreeMap;

use super::super::*;

/// What the store holds.
pub(super) type State = BTreeMap<Key, Value>;

fn meets(state: &State, cells: &[Cell]) -> bool {
    cells.iter().all(|cell| state.get(&cell.key) == cell.value.as_ref())
}

fn write(state: &mut State, key: &Key, value: Option<&Value>) {
    match value {
        Some(value) => state.insert(key.clone(), value.clone()),
        None => state.remove(key),
    };
}

/// What a store does and says.
pub(super) fn perform(state: &mut State, op: &Op) -> Outcome {
    match op {
        Op::Get { key } => return Outcome::Value(state.get(key).cloned()),
        Op::Scan { from, to } => {
            let rows = state.range(from.clone()..to.clone());
            return Outcome::Rows(rows.map(|(k, v)| (k.clone(), v.clone())).collect());
        }
        Op::Put { key, value } => write(state, key, Some(value)),
        Op::Delete { key } => write(state, key, None),
        Op::Cas { key, expect, .. } if state.get(key) != expect.as_ref() => {
            return Outcome::RefusedAt(state.get(key).cloned());
        }
        Op::Cas { key, new, .. } => write(state, key, Some(new)),
        Op::Transaction { conditions, .. } if !meets(state, conditions) => {
            return Outcome::Refused;
        }
        Op::Transaction { changes, .. } => {
            for cell in changes {
                write(state, &cell.key, cell.value.as_ref());
            }
        }
    }
    Outcome::Done
}

fn agrees(said: &Outcome, is: &Outcome) -> bool {
    said == is || (*said == Outcome::Refused && matches!(is, Outcome::RefusedAt(_)))
}

/// An operation with its interval; without an end it may have taken place or not.
pub(super) type Timed = (Op, u64, Option<(u64, Outcome)>);

pub(super) fn timed(history: &History) -> Vec<Timed> {
    let timed = |(_, entry): (OpId, &Entry)| match &entry.end {
        End::Failed { .. } => None,
        End::Ok { at, outcome } => {
            Some((entry.op.clone(), entry.invoked, Some((*at, outcome.clone()))))
        }
        End::Open | End::Unknown { .. } => Some((entry.op.clone(), entry.invoked, None)),
    };
    history.entries().filter_map(timed).collect()
}

/// Whether some order of the rest explains it.
pub(super) fn has_order(state: &State, rest: &[Timed]) -> bool {
    let ends = rest.iter().filter_map(|(_, _, end)| end.as_ref().map(|(at, _)| *at));
    let Some(first_end) = ends.min() else { return true };
    (0..rest.len()).filter(|next| rest[*next].1 < first_end).any(|next| {
        let mut after = state.clone();
        let is = perform(&mut after, &rest[next].0);
        let fits = rest[next].2.as_ref().is_none_or(|(_, said)| agrees(said, &is));
        let mut others = rest.to_vec();
        others.remove(next);
        fits && has_order(&after, &others)
    })
}
