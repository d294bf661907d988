//! The smallest piece of a history that shows what is wrong with it.

use super::history::{Cell, Entry, History, OpId};
use super::search::{Answer, Stuck, search};
use super::step::{ABSENT, ANY, Problem, Step, Task, ValueId, Values};
use super::verdict::Violation;

/// States that a violation lists.
const STATES: usize = 8;
/// Windows with more operations are shown without asking of each whether it is needed.
const SMALL: usize = 100;

/// What to show of a problem that came to be stuck.
pub(super) fn violation(
    history: &History,
    values: &Values,
    problem: &Problem,
    stuck: &Stuck,
    work: u64,
) -> Violation {
    let (last, end) = (&stuck.task, stuck.until);
    let mut moments: Vec<u64> = problem.tasks.iter().map(|task| task.invoked).collect();
    moments.extend(problem.tasks.iter().filter_map(|task| task.until));
    moments.retain(|moment| *moment <= end);
    moments.sort_unstable();
    // A later cut forbids less, so that windows contradict themselves up to some cut only.
    let contradicts = |problem: &Problem, before| is_stuck_at(problem, before, last.id, work);
    let cuts = moments.partition_point(|moment| contradicts(&cut(problem, *moment, end), ANY));
    let from = cuts.checked_sub(1).and_then(|cut| moments.get(cut)).copied();
    let before = if from.is_some() { ANY } else { ABSENT };
    let mut window = cut(problem, from.unwrap_or(0), end);
    if window.tasks.len() <= SMALL {
        // Only looks: without a change others may be wrong that were right.
        for place in (0..window.tasks.len()).rev() {
            let mut less = window.clone();
            let task = less.tasks.remove(place);
            if task.id != last.id && task.step.is_look() && contradicts(&less, before) {
                window = less;
            }
        }
    }
    let matters = |task: &&Task| {
        task.until.is_some() || window.tasks.iter().any(|other| other.step.heeds(&task.step.change))
    };
    let shown = window.tasks.iter().filter(matters).map(|task| task.id);
    let writers = problem.tasks.iter().filter(|task| task.id != last.id);
    let writers = writers.filter(|task| writes_for(&task.step, &last.step)).map(|task| task.id);
    Violation {
        keys: problem.keys.clone(),
        stuck: last.id,
        window: shown.filter_map(|id| entry(history, id)).collect(),
        from,
        states: stuck
            .states
            .iter()
            .take(STATES)
            .map(|state| cells(problem, values, state))
            .collect(),
        writers: writers.take(STATES).filter_map(|id| entry(history, id)).collect(),
    }
}

/// What took place from one moment to another. Operations that were open at either edge may have
/// taken place inside.
fn cut(problem: &Problem, from: u64, end: u64) -> Problem {
    let inside = |task: &&Task| task.invoked <= end && task.until.is_none_or(|until| until >= from);
    let tasks = problem.tasks.iter().filter(inside).cloned().map(|mut task| {
        task.until = task.until.filter(|until| task.invoked >= from && *until <= end);
        task
    });
    let tasks = tasks.filter(|task| task.until.is_some() || !task.step.is_look()).collect();
    Problem { keys: problem.keys.clone(), tasks }
}

fn is_stuck_at(problem: &Problem, before: ValueId, last: OpId, mut work: u64) -> bool {
    match search(problem, before, &mut work) {
        Answer::Stuck(stuck) => stuck.task.id == last,
        Answer::Fits | Answer::Spent => false,
    }
}

fn writes_for(writer: &Step, reader: &Step) -> bool {
    writer.change.iter().any(|slot| reader.holds.contains(slot) && slot.1 != ABSENT)
}

fn entry(history: &History, id: OpId) -> Option<(OpId, Entry)> {
    Some((id, history.entry(id)?.clone()))
}

fn cells(problem: &Problem, values: &Values, state: &[ValueId]) -> Vec<Cell> {
    let cells = problem.keys.iter().zip(state);
    cells
        .map(|(key, value)| Cell { key: key.clone(), value: values.value(*value).cloned() })
        .collect()
}
