//! What clients were promised, byte by byte, and whether it is kept.

use std::collections::{BTreeMap, BTreeSet};

use vioduct_vios::block::{Failure, Reply, Request};
use vioduct_vios::redirect::Epoch;

use super::disk::Disk;

/// Which property does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Broken {
    /// P1: a request of a session below one that was opened changed the storage.
    Ghost,
    /// P2: sessions opened went down.
    TwoOwners,
    /// P3: a read gave what it must not.
    WrongRead,
    /// P4: an acknowledged write is nowhere.
    Lost,
    /// P5: a flush was acknowledged, and not all is durable, or a loss was not told.
    LyingFlush,
    /// P6: a second answer, or a second execution.
    Twice,
    /// P7: older bytes were written over newer ones.
    Resurrected,
    /// P8: an open was passed on twice.
    Hops,
    /// P9: something outgrew its bound.
    Bound,
}

pub(crate) const ALL: [(&str, Broken); 9] = [
    ("P1 no ghost", Broken::Ghost),
    ("P2 one owner", Broken::TwoOwners),
    ("P3 reads", Broken::WrongRead),
    ("P4 nothing lost", Broken::Lost),
    ("P5 honest flush", Broken::LyingFlush),
    ("P6 once", Broken::Twice),
    ("P7 no resurrection", Broken::Resurrected),
    ("P8 hops", Broken::Hops),
    ("P9 bounds", Broken::Bound),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Value {
    Byte(u8),
    /// Trimmed: indeterminate.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fate {
    Unknown,
    Acknowledged,
    /// Of an owner that was replaced before it acknowledged it, and not there when it was.
    Dead,
}

/// When a change counts as made: owners follow one another, and each has its order of arrival.
type Order = (usize, u64);

/// A change that a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Change {
    start: usize,
    end: usize,
    value: Value,
    fate: Fate,
}

impl Change {
    fn can_leave(&self, cell: usize, value: u8) -> bool {
        let covers = (self.start..self.end).contains(&cell);
        covers && (self.value == Value::Any || self.value == Value::Byte(value))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    request: Request,
    /// What each byte had to be at least when it was asked.
    floors: Vec<Order>,
    change: Option<Order>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Oracle {
    changes: BTreeMap<Order, Change>,
    /// For each byte the change that it must show, or a later one.
    floors: Vec<Order>,
    asked: BTreeMap<(usize, u64), Asked>,
    executed: BTreeSet<(Epoch, u64)>,
    opened: Option<Epoch>,
    /// Owners of seats before this one were replaced: nobody listens to them any more.
    replaced: usize,
    /// Acknowledged writes were lost with their owner and the storage's cache; no flush has failed
    /// since.
    pub(crate) has_loss: bool,
    pub(crate) broken: Option<Broken>,
    pub(crate) answers: Aside<u32>,
    /// Changes that were answered with an error.
    refused: BTreeSet<Order>,
}

/// What tells of the past only: states that differ in nothing else are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aside<T>(pub(crate) T);

impl<T> PartialEq for Aside<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Aside<T> {}

impl<T> std::hash::Hash for Aside<T> {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl Oracle {
    pub(crate) fn new(cells: usize) -> Self {
        let blank =
            Change { start: 0, end: cells, value: Value::Byte(0), fate: Fate::Acknowledged };
        Self {
            changes: BTreeMap::from([((0, 0), blank)]),
            floors: vec![(0, 0); cells],
            asked: BTreeMap::new(),
            executed: BTreeSet::new(),
            opened: None,
            replaced: 0,
            has_loss: false,
            broken: None,
            answers: Aside(0),
            refused: BTreeSet::new(),
        }
    }

    pub(crate) fn breaks(&mut self, broken: Broken) {
        self.broken.get_or_insert(broken);
    }

    /// The byte that the next write consists of.
    pub(crate) fn next_value(&self) -> u8 {
        u8::try_from(self.changes.len()).unwrap()
    }

    pub(crate) fn unanswered(&self, seat: usize) -> usize {
        self.asked.range((seat, 0)..=(seat, u64::MAX)).count()
    }

    pub(crate) fn floors(&self) -> &[Order] {
        &self.floors
    }

    pub(crate) fn ask(&mut self, seat: usize, tag: u64, request: &Request) {
        let change = request.is_change().then(|| {
            let extent = request.extent().unwrap();
            let start = usize::try_from(extent.offset).unwrap();
            let value = match request {
                Request::Write { data, .. } => Value::Byte(data.first().copied().unwrap_or(0)),
                Request::Trim { .. } => Value::Any,
                _ => Value::Byte(0),
            };
            let end = start + extent.length as usize;
            let order = (seat, self.changes.len() as u64);
            self.changes.insert(order, Change { start, end, value, fate: Fate::Unknown });
            order
        });
        let asked = Asked { request: request.clone(), floors: self.floors.clone(), change };
        self.asked.insert((seat, tag), asked);
    }

    /// The first change from `floor` on that can have left this value in the cell.
    fn shown(&self, cell: usize, floor: Order, value: u8) -> Option<Order> {
        // Owners later than the one that counts have not had anything carried out.
        let last = (self.replaced, u64::MAX).max(floor);
        let mut can = self.changes.range(floor..=last).filter(|(order, change)| {
            let lives = **order == floor || change.fate != Fate::Dead;
            lives && change.can_leave(cell, value)
        });
        can.next().map(|(order, _)| *order)
    }

    pub(crate) fn may_show(&self, cell: usize, value: u8) -> bool {
        self.shown(cell, self.floors[cell], value).is_some()
    }

    pub(crate) fn answer(
        &mut self,
        seat: usize,
        tag: u64,
        outcome: &Result<Reply, Failure>,
        disk: &Disk,
    ) {
        let Some(asked) = self.asked.remove(&(seat, tag)) else {
            self.breaks(Broken::Twice);
            return;
        };
        self.answers.0 += 1;
        if let (Err(_), Some(change)) = (outcome, asked.change) {
            self.refused.insert(change);
        }
        if seat < self.replaced {
            return;
        }
        match (&asked.request, outcome) {
            (Request::Flush, Err(_)) => self.has_loss = false,
            (Request::Flush, Ok(_)) => self.flushed(&asked.floors, disk),
            (Request::Read { extent }, Ok(Reply::Data(data))) => {
                self.saw(usize::try_from(extent.offset).unwrap(), data, &asked.floors);
            }
            (request, Ok(_)) => {
                if let Some(change) = asked.change {
                    self.acknowledged(change, request.is_fua(), disk);
                }
            }
            (_, Err(_)) => {}
        }
    }

    fn acknowledged(&mut self, order: Order, is_fua: bool, disk: &Disk) {
        let Some(change) = self.changes.get_mut(&order) else { return };
        change.fate = Fate::Acknowledged;
        for cell in change.start..change.end {
            self.floors[cell] = self.floors[cell].max(order);
            if is_fua && !self.may_show(cell, disk.cells[cell].durable) {
                self.breaks(Broken::LyingFlush);
            }
        }
    }

    fn saw(&mut self, start: usize, data: &[u8], floors: &[Order]) {
        for (cell, value) in (start..).zip(data) {
            match self.shown(cell, floors[cell].min(self.floors[cell]), *value) {
                Some(index) => self.floors[cell] = self.floors[cell].max(index),
                None => self.breaks(Broken::WrongRead),
            }
        }
    }

    fn flushed(&mut self, floors: &[Order], disk: &Disk) {
        for (cell, floor) in floors.iter().enumerate() {
            let floor = (*floor).min(self.floors[cell]);
            if self.shown(cell, floor, disk.cells[cell].durable).is_none() {
                self.breaks(Broken::LyingFlush);
            }
        }
        if self.has_loss {
            self.breaks(Broken::LyingFlush);
        }
    }

    /// Whether a client's write was answered with an error.
    pub(crate) fn was_refused(&self, request: &Request) -> bool {
        let Request::Write { data, .. } = request else { return false };
        let value = data.first().map(|byte| Value::Byte(*byte));
        let is_it = |order: &Order| self.changes.get(order).map(|change| change.value) == value;
        self.refused.iter().any(is_it)
    }

    /// The device carries out a request.
    pub(crate) fn execute(&mut self, epoch: Epoch, no: u64, request: &Request) {
        if self.opened.is_some_and(|opened| epoch < opened) && request.is_change() {
            self.breaks(Broken::Ghost);
        }
        if !self.executed.insert((epoch, no)) {
            self.breaks(Broken::Twice);
        }
        if let Request::Write { offset, data, .. } = request {
            for (cell, value) in (usize::try_from(*offset).unwrap()..).zip(data) {
                if !self.may_show(cell, *value) {
                    self.breaks(Broken::Resurrected);
                }
            }
        }
    }

    /// The storage says that a session has begun.
    pub(crate) fn open(&mut self, epoch: Epoch) {
        if self.opened.is_some_and(|opened| epoch <= opened) {
            self.breaks(Broken::TwoOwners);
        }
        self.opened = Some(epoch);
    }

    /// The owners before this seat's answer for nothing any more: what they have not acknowledged
    /// is as the storage has it now, and what they had to write again is gone.
    pub(crate) fn replace_owners(&mut self, seat: usize, disk: &mut Disk) {
        self.lose_owner(disk);
        for cell in 0..self.floors.len() {
            if let Some(index) = self.shown(cell, self.floors[cell], disk.cells[cell].cache) {
                self.floors[cell] = index;
            }
        }
        self.replaced = seat;
        for (order, change) in &mut self.changes {
            let is_there = self.floors.contains(order);
            if order.0 < seat && change.fate == Fate::Unknown && !is_there {
                change.fate = Fate::Dead;
            }
        }
    }

    /// The owner is lost, and with it what it would have written again.
    pub(crate) fn lose_owner(&mut self, disk: &mut Disk) {
        disk.evict();
        for cell in 0..self.floors.len() {
            let value = disk.cells[cell].cache;
            if !self.may_show(cell, value) {
                self.lower(cell, value);
            }
        }
    }

    /// A cell has fallen back, and nobody is left to write it again.
    pub(crate) fn lower(&mut self, cell: usize, value: u8) {
        self.has_loss = true;
        // With nobody left who knows better, what was never acknowledged may surface too.
        let (floor, last) = (self.floors[cell], (self.replaced, u64::MAX));
        let earlier = self.changes.range(..floor).rev();
        let mut all = earlier.chain(self.changes.range(floor..=last.max(floor)));
        let found = all.find(|(_, change)| change.can_leave(cell, value));
        match found {
            Some((order, _)) => self.floors[cell] = *order,
            None => self.breaks(Broken::Lost),
        }
    }

    /// The owner has closed in order: all that it acknowledged is durable.
    pub(crate) fn close(&mut self, disk: &Disk) {
        for cell in 0..self.floors.len() {
            if !self.may_show(cell, disk.cells[cell].durable) {
                self.breaks(Broken::LyingFlush);
            }
        }
    }

    /// Whether the change that a cell must show was acknowledged by this seat's owner.
    pub(crate) fn is_promised_by(&self, cell: usize, seat: usize) -> bool {
        let order = self.floors[cell];
        let fate = self.changes.get(&order).map(|change| change.fate);
        order.0 == seat && order.1 > 0 && fate == Some(Fate::Acknowledged)
    }
}
