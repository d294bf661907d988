//! The search for an order in which all steps can have taken place.
//!
//! Events are taken in their order, and the search carries all ways in which the store can have
//! come to this point: the state, and which of the open operations have taken place. The end of
//! an operation keeps the ways in which it has, after trying every order of open operations that
//! leads there. When no operation is open, a way is no more than a state, so that what lies
//! before such a moment costs nothing afterwards.
//!
//! What keeps the ways few, and why each loses no order that matters:
//! - *Same ways are one* (Lowe's memory of configurations).
//! - *A look takes place as soon as it can*: it changes nothing, so it can be moved forward.
//! - *Fewer unknowns win*: of two ways that differ only in that one has spent more unknown
//!   operations, the other can do all that the first can, since no unknown operation is owed.
//! - *An unknown change of one key waits for an open operation that needs it*: one that has to
//!   find the new value, or the old one gone. Unless such a one stands between it and the next
//!   change of the key, taking it out disturbs nobody; and if neither follows before the end at
//!   hand, it can as well come after. So one whose value nobody ever saw is hardly ever tried.
//!   One of several keys waits for nobody, but is not tried if nobody will look at its keys
//!   for what it changed.
//! - *Of unknown operations that are alike the oldest goes first.*
//! - *What shares no key with the operation that ends, not even through others, waits*: it
//!   commutes with all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::bits::Bits;
use super::step::{Problem, Slot, Step, Task, ValueId};

/// Ways looked at for the end of one operation: what the search may keep in memory.
const WAYS: usize = 1 << 18;

/// What the search found.
#[derive(Debug)]
pub(super) enum Answer {
    /// There is such an order.
    Fits,
    /// There is none.
    Stuck(Stuck),
    /// The work that was granted is used up, or there are more than [`WAYS`].
    Spent,
}

/// Where no way leads on.
#[derive(Debug)]
pub(super) struct Stuck {
    /// The step that cannot have taken place.
    pub(super) task: Task,
    /// By when it should have.
    pub(super) until: u64,
    /// Every state in which the store can have been at its end.
    pub(super) states: BTreeSet<Vec<ValueId>>,
}

/// One way to have come here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    state: Vec<ValueId>,
    /// Seats of the open operations with a known end that have taken place.
    known: Bits,
    /// Places in [`Search::unknown`] of those without one that have.
    unknown: Bits,
}

/// Ways none of which makes another superfluous.
#[derive(Debug, Default)]
struct Ways(BTreeMap<(Vec<ValueId>, Bits), Vec<Bits>>);

impl Ways {
    /// Whether the way is new.
    fn insert(&mut self, way: &Way) -> bool {
        let others = self.0.entry((way.state.clone(), way.known.clone())).or_default();
        if others.iter().any(|other| other.is_subset(&way.unknown)) {
            return false;
        }
        others.retain(|other| !way.unknown.is_subset(other));
        others.push(way.unknown.clone());
        true
    }

    fn into_ways(self) -> impl Iterator<Item = Way> {
        self.0.into_iter().flat_map(|((state, known), unknowns)| {
            unknowns.into_iter().map(move |unknown| {
                let (state, known) = (state.clone(), known.clone());
                Way { state, known, unknown }
            })
        })
    }
}

/// An operation without a known end.
#[derive(Debug)]
struct Unknown {
    task: usize,
    /// The one before it that is alike.
    twin: Option<usize>,
    /// After this nobody looks at what it changed.
    noticed_until: u64,
}

/// What the open operations with a known end look at, and how many look there.
#[derive(Debug, Default)]
struct Looks {
    /// Values that a key has to hold.
    wanted: BTreeMap<Slot, u32>,
    /// Values that a key has to have lost.
    unwanted: BTreeMap<Slot, u32>,
}

impl Looks {
    fn add(&mut self, step: &Step) {
        for slot in &step.holds {
            *self.wanted.entry(*slot).or_default() += 1;
        }
        for slot in step.fails.iter().flatten() {
            *self.unwanted.entry(*slot).or_default() += 1;
        }
    }

    fn take(&mut self, step: &Step) {
        let less = |looks: &mut BTreeMap<Slot, u32>, slot: &Slot| {
            if let Some(count) = looks.get_mut(slot) {
                *count -= 1;
                if *count == 0 {
                    looks.remove(slot);
                }
            }
        };
        step.holds.iter().for_each(|slot| less(&mut self.wanted, slot));
        step.fails.iter().flatten().for_each(|slot| less(&mut self.unwanted, slot));
    }

    fn is_unwanted_somewhere(&self, key: usize) -> bool {
        self.unwanted.range((key, ValueId::MIN)..=(key, ValueId::MAX)).next().is_some()
    }
}

/// The operations worth trying before one that ends.
#[derive(Debug, Default)]
struct Near {
    seats: Vec<usize>,
    unknown: Vec<usize>,
    /// Of these, those that are worth it only where the one key that they change holds what an
    /// open operation has to find gone.
    to_be_rid: BTreeSet<usize>,
}

type Found = Result<Vec<Way>, BTreeSet<Vec<ValueId>>>;

#[derive(Debug)]
struct Search<'a> {
    tasks: &'a [Task],
    /// The open operations with a known end; a seat is given again after the end.
    seats: Vec<Option<usize>>,
    unknown: Vec<Unknown>,
    youngest: BTreeMap<&'a Step, usize>,
    looks: Looks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    // Of events at one moment, which no recorder writes, beginnings come first: that forbids
    // least.
    Begin,
    End,
}

/// Looks for an order, starting with every key at `before`. One unit of work is an operation
/// tried in one way.
pub(super) fn search(problem: &Problem, before: ValueId, work: &mut u64) -> Answer {
    let mut events = Vec::new();
    for (place, task) in problem.tasks.iter().enumerate() {
        events.push((task.invoked, Event::Begin, place));
        events.extend(task.until.map(|until| (until, Event::End, place)));
    }
    events.sort_unstable();
    let state = vec![before; problem.keys.len()];
    let mut ways = vec![Way { state, known: Bits::default(), unknown: Bits::default() }];
    let mut search = Search {
        tasks: &problem.tasks,
        seats: Vec::new(),
        unknown: Vec::new(),
        youngest: BTreeMap::new(),
        looks: Looks::default(),
    };
    for (at, event, place) in events {
        let Some(task) = problem.tasks.get(place) else { continue };
        match event {
            Event::Begin => search.begin(place, task),
            Event::End => match search.end(place, at, ways, work) {
                Some(Ok(left)) => {
                    search.looks.take(&task.step);
                    ways = left;
                }
                Some(Err(states)) => {
                    return Answer::Stuck(Stuck { task: task.clone(), until: at, states });
                }
                None => return Answer::Spent,
            },
        }
    }
    Answer::Fits
}

impl<'a> Search<'a> {
    fn begin(&mut self, place: usize, task: &'a Task) {
        self.looks.add(&task.step);
        if task.until.is_none() {
            let twin = self.youngest.insert(&task.step, self.unknown.len());
            let notices = |other: &&Task| other.step.heeds(&task.step.change);
            let last =
                self.tasks.iter().filter(notices).map(|other| other.until.unwrap_or(u64::MAX));
            let noticed_until = last.max().unwrap_or(0);
            self.unknown.push(Unknown { task: place, twin, noticed_until });
        } else if let Some(seat) = self.seats.iter_mut().find(|seat| seat.is_none()) {
            *seat = Some(place);
        } else {
            self.seats.push(Some(place));
        }
    }

    /// The ways in which the operation has taken place by its end, or all states met on the way
    /// if there are none; `None` if the work is used up or there are too many.
    fn end(&mut self, place: usize, at: u64, ways: Vec<Way>, work: &mut u64) -> Option<Found> {
        let seat = self.seats.iter().position(|taken| *taken == Some(place))?;
        let near = self.near(place, at);
        let (mut met, mut met_count) = (Ways::default(), 0);
        let mut arrived = Ways::default();
        // By the number of unknown operations spent, so that the best of rivals comes first.
        let mut waiting: BTreeMap<u32, Vec<Way>> = BTreeMap::new();
        let mut next = ways;
        loop {
            for mut way in next.drain(..) {
                self.look(&mut way);
                if way.known.has(seat) {
                    way.known.clear(seat);
                    arrived.insert(&way);
                } else if met.insert(&way) {
                    met_count += 1;
                    waiting.entry(way.unknown.count()).or_default().push(way);
                }
            }
            if met_count > WAYS {
                return None;
            }
            let Some(mut least) = waiting.first_entry() else { break };
            match least.get_mut().pop() {
                Some(way) => next = self.onward(&way, &near, work)?,
                None => drop(least.remove()),
            }
        }
        self.seats.get_mut(seat).map(Option::take);
        let left: Vec<Way> = arrived.into_ways().collect();
        let states = || met.0.into_keys().map(|(state, _)| state).collect();
        Some(if left.is_empty() { Err(states()) } else { Ok(left) })
    }

    /// Every open look that the state allows takes place.
    fn look(&self, way: &mut Way) {
        for (seat, place) in self.seats.iter().enumerate() {
            let Some(task) = place.and_then(|place| self.tasks.get(place)) else { continue };
            let is_due = task.step.is_look() && !way.known.has(seat);
            if is_due && task.step.apply(&way.state).as_ref() == Some(&way.state) {
                way.known.set(seat);
            }
        }
    }

    /// One more operation takes place; `None` if the work is used up.
    fn onward(&self, way: &Way, near: &Near, work: &mut u64) -> Option<Vec<Way>> {
        *work = work.checked_sub(1)?;
        let mut next = Vec::new();
        for seat in near.seats.iter().filter(|seat| !way.known.has(**seat)) {
            let task = self.seats.get(*seat).copied().flatten();
            *work = work.checked_sub(1)?;
            if let Some(state) = self.after(task, way) {
                let mut onward = Way { state, ..way.clone() };
                onward.known.set(*seat);
                next.push(onward);
            }
        }
        for number in near.unknown.iter().filter(|number| !way.unknown.has(**number)) {
            let Some(unknown) = self.unknown.get(*number) else { continue };
            let has_turn = unknown.twin.is_none_or(|twin| way.unknown.has(twin));
            if !has_turn || (near.to_be_rid.contains(number) && !self.is_riddance(unknown, way)) {
                continue;
            }
            *work = work.checked_sub(1)?;
            if let Some(state) = self.after(Some(unknown.task), way)
                && state != way.state
            {
                let mut onward = Way { state, ..way.clone() };
                onward.unknown.set(*number);
                next.push(onward);
            }
        }
        Some(next)
    }

    fn after(&self, task: Option<usize>, way: &Way) -> Option<Vec<ValueId>> {
        self.tasks.get(task?)?.step.apply(&way.state)
    }

    /// Whether a key that the operation changes holds what some open one has to find gone.
    fn is_riddance(&self, unknown: &Unknown, way: &Way) -> bool {
        let change = self.tasks.get(unknown.task).map(|task| &task.step.change);
        change.into_iter().flatten().any(|(key, _)| {
            let held = way.state.get(*key);
            held.is_some_and(|held| self.looks.unwanted.contains_key(&(*key, *held)))
        })
    }

    /// What can matter before the end of an operation.
    fn near(&self, place: usize, at: u64) -> Near {
        let step = |place: usize| self.tasks.get(place).map(|task| &task.step);
        let mut keys: BTreeSet<usize> = step(place).into_iter().flat_map(Step::keys).collect();
        let seats = self.seats.iter().enumerate();
        let mut seats: Vec<(usize, &Step)> =
            seats.filter_map(|(seat, place)| Some((seat, step((*place)?)?))).collect();
        let mut near = Near::default();
        let mut unknown = self.worthwhile(at, &mut near.to_be_rid);
        loop {
            let (seats_before, unknown_before) = (near.seats.len(), near.unknown.len());
            gather(&mut seats, &mut keys, &mut near.seats);
            gather(&mut unknown, &mut keys, &mut near.unknown);
            if (near.seats.len(), near.unknown.len()) == (seats_before, unknown_before) {
                return near;
            }
        }
    }

    /// The unknown operations that an open one would notice, or another such; and those of
    /// several keys that anyone will notice, since what overwrites them on one key leaves them
    /// visible on another.
    fn worthwhile(&self, at: u64, to_be_rid: &mut BTreeSet<usize>) -> Vec<(usize, &'a Step)> {
        let step = |unknown: &Unknown| self.tasks.get(unknown.task).map(|task| &task.step);
        let all = self.unknown.iter().enumerate();
        let all = all.filter(|(_, unknown)| unknown.noticed_until >= at);
        let mut rest: Vec<(usize, &Step)> =
            all.filter_map(|(number, unknown)| Some((number, step(unknown)?))).collect();
        let mut wanted: BTreeSet<Slot> = self.looks.wanted.keys().copied().collect();
        let mut worth = Vec::new();
        loop {
            let before = (worth.len(), to_be_rid.len());
            rest.retain(|(number, step)| {
                let change = &step.change;
                let is_wanted = change.len() > 1 || change.iter().any(|slot| wanted.contains(slot));
                let rids = || change.iter().any(|(key, _)| self.looks.is_unwanted_somewhere(*key));
                if is_wanted {
                    worth.push((*number, *step));
                    to_be_rid.remove(number);
                } else if !rids() || !to_be_rid.insert(*number) {
                    return true;
                }
                wanted.extend(&step.holds);
                !is_wanted
            });
            if (worth.len(), to_be_rid.len()) == before {
                worth.extend(rest.into_iter().filter(|(number, _)| to_be_rid.contains(number)));
                return worth;
            }
        }
    }
}

/// Moves what touches the keys to `near`, and adds the other keys that it touches.
fn gather(from: &mut Vec<(usize, &Step)>, keys: &mut BTreeSet<usize>, near: &mut Vec<usize>) {
    from.retain(|(number, step)| {
        let touches = step.keys().any(|key| keys.contains(&key));
        if touches {
            near.push(*number);
            keys.extend(step.keys());
        }
        !touches
    });
}
