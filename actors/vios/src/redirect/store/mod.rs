//! The repository server, *S*: one volume and the LUs on it.
//!
//! ```text
//!               Open above the record      record synced, device drained
//!   closed ───────────────────────▶ opening ────────────────────────────▶ open
//!     ▲                              │  ▲                                   │
//!     │   connection lost,           │  └──────── a higher Open ────────────┤
//!     └── fsync failed, deleted ◀────┘◀─── Close, connection lost, … ───────┘
//! ```
//!
//! A store is made only once the I/O of the process before it has left the kernel: its shell first
//! takes the exclusive lock of the volume, which that process's descriptor held, and then reads
//! the records. After each start every LU is closed.
//!
//! A process can die between an fsync that failed and the record of it. So a note that a sync is
//! under way is kept in memory that outlives the process but not the host's boot
//! ([`Effect::Note`]), until the sync has succeeded or the new identity is stored. A start that
//! finds the note counts as an fsync that failed.
//!
//! Invariants:
//! 1. A session is above the stored record when it is opened, and the record is stored before
//!    `Opened` is sent; so sessions opened never go down, over restarts too.
//! 2. A request is given to the device only in the open session, by the connection that opened it,
//!    and its number is the one after the last.
//! 3. When `Opened` is sent, the device holds no request of an earlier session.
//! 4. A trim shares its bytes with no other request in the device.
//! 5. One flush of the volume is under way at a time. After one that failed nothing is
//!    acknowledged until a new identity is stored, and every session is over. Neither is anything
//!    after a start that may follow one.
//! 6. LUs, requests of each and those in the device stay within [`StoreLimits`].
//!
//! Source: redirect protocol, rules 2, 4, 6, 7 and 11.

mod device;
mod input;
mod lu;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use super::chance::Chance;
use super::limits::{LimitError, StoreLimits, within};
use super::message::{Call, Why, Word};
use super::moment::Moment;
use super::name::{ConnId, Epoch, Identity, Life, LuId};
use device::Waiter;
pub use input::{Effect, Input, OpId, Record, Start, StoreEvent, SyncId};
use lu::{Lu, Session, State};

/// One volume and the LUs on it. A pure machine: [`handle`](Self::handle) one input, then
/// [`poll`](Self::poll) until no effect is left, then wait for the next input or for the
/// [`deadline`](Self::deadline).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Store {
    limits: StoreLimits,
    chance: Chance,
    life: Life,
    identity: Identity,
    /// While the identity is being stored: what follows is held back.
    renewing: Option<SyncId>,
    /// The identity could not be stored.
    is_lost: bool,
    lus: BTreeMap<LuId, Lu>,
    /// Whose each operation is in the device.
    ops: BTreeMap<OpId, LuId>,
    /// The flush that is in the device, and who waits for it.
    flush: Option<(OpId, Vec<Waiter>)>,
    /// Who waits for the next flush.
    next_flush: Vec<Waiter>,
    /// Changes with FUA that are in the device.
    fuas: usize,
    /// The note says that a sync is under way.
    is_noted: bool,
    /// What is to be said once the identity is stored.
    held_back: Vec<(ConnId, LuId, Word)>,
    /// Whose each record is that is being stored.
    syncs: BTreeMap<SyncId, LuId>,
    last_id: u64,
    alive_at: Moment,
    effects: VecDeque<Effect>,
}

impl Store {
    /// A store with the records that are on the volume. Drain its effects first.
    ///
    /// # Errors
    /// [`LimitError`] names the first setting that is out of range.
    pub fn new(
        limits: StoreLimits,
        start: Start,
        records: impl IntoIterator<Item = (LuId, Record)>,
    ) -> Result<Self, LimitError> {
        limits.validate()?;
        let mut chance = Chance::from_seed(start.seed);
        let life = Life(chance.draw());
        let records = records.into_iter();
        let lus: BTreeMap<LuId, Lu> = records.map(|(lu, record)| (lu, Lu::new(record))).collect();
        // To leave some out would make them look deleted.
        within("records", lus.len() as u128, 0, limits.lus_max as u128)?;
        let mut store = Self {
            limits,
            chance,
            life,
            identity: start.identity,
            renewing: None,
            is_lost: false,
            lus,
            ops: BTreeMap::new(),
            flush: None,
            next_flush: Vec::new(),
            fuas: 0,
            is_noted: start.was_syncing,
            held_back: Vec::new(),
            syncs: BTreeMap::new(),
            last_id: 0,
            alive_at: Moment::START,
            effects: VecDeque::new(),
        };
        if start.was_syncing {
            store.fsync_failed();
        }
        Ok(store)
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Moment, input: Input) {
        match input {
            Input::Created { lu, record } => self.create(lu, record),
            Input::Grown { lu, size } => self.grow(lu, size),
            Input::Deleted { lu } => self.delete(lu),
            Input::Received { conn, exit, lu, call } => {
                self.received(Session { epoch: call.epoch(), conn, exit }, lu, call);
            }
            Input::Spoilt { conn, lu } => self.spoilt(conn, lu),
            Input::Lost { conn } => self.lost(conn),
            Input::Performed { op, outcome } => self.performed(op, outcome),
            Input::Stored { sync } => self.stored(sync),
            Input::NotStored { sync } => self.not_stored(sync),
            Input::TimePassed => self.time_passed(now),
        }
        self.start_flush();
        self.take_back_note();
        self.check();
    }

    /// The next effect; `None` when all are taken. Those of one input are at most a few for each
    /// LU, and one for each request that has arrived.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::TimePassed`] is due; `None` for never.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let is_anyone_open = self.lus.values().any(|lu| lu.session().is_some());
        is_anyone_open.then_some(self.alive_at)
    }

    /// The session that is open on an LU.
    #[must_use]
    pub fn open_epoch(&self, lu: LuId) -> Option<Epoch> {
        self.lus.get(&lu).and_then(|lu| match &lu.state {
            State::Open(open) => Some(open.session.epoch),
            State::Closed | State::Opening(_) | State::Closing { .. } => None,
        })
    }

    /// What is stored, or being stored, of an LU's sessions.
    #[must_use]
    pub fn record(&self, lu: LuId) -> Option<Record> {
        self.lus.get(&lu).map(|lu| lu.record)
    }

    /// Bytes of an LU, as its stored record has them.
    #[must_use]
    pub fn size(&self, lu: LuId) -> Option<u64> {
        self.lus.get(&lu).map(|lu| lu.size)
    }

    /// The records of all LUs, in order of their numbers.
    pub fn records(&self) -> impl Iterator<Item = (LuId, Record)> + '_ {
        self.lus.iter().map(|(id, lu)| (*id, lu.record))
    }

    /// Requests of an LU that have arrived in the open session and are not answered.
    #[must_use]
    pub fn requests(&self, lu: LuId) -> u64 {
        self.lus.get(&lu).map_or(0, Lu::load)
    }

    /// What its cache depends on now.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether one more LU may be created.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.lus.len() < self.limits.lus_max
    }

    fn send(&mut self, conn: ConnId, lu: LuId, word: Word) {
        self.effects.push_back(Effect::Send { conn, lu, word });
    }

    fn received(&mut self, from: Session, lu: LuId, call: Call) {
        let epoch = from.epoch;
        if self.is_lost {
            self.send(from.conn, lu, Word::NoPath { epoch });
            return;
        }
        match call {
            Call::Open { holder, .. } => self.open(from, lu, holder),
            Call::Request { no, request, .. } => self.take(from, lu, no, request, false),
            Call::Flush { no, settle, .. } => {
                self.take(from, lu, no, crate::block::Request::Flush, settle);
            }
            Call::Close { .. } => self.close(from, lu),
            // A store refuses what is late, so that it leases nothing.
            Call::Stay { .. } => {}
        }
    }

    fn spoilt(&mut self, conn: ConnId, lu: LuId) {
        let is_its = |lu: &Lu| lu.session().is_some_and(|session| session.conn == conn);
        if self.lus.get(&lu).is_some_and(is_its) {
            self.end(lu, Why::Spoilt);
        }
    }

    /// A session is bound to its connection.
    fn lost(&mut self, conn: ConnId) {
        let of_conn = |lu: &Lu| lu.session().is_some_and(|session| session.conn == conn);
        let lost = self.lus.iter().filter(|(_, lu)| of_conn(lu)).map(|(id, _)| *id);
        for id in lost.collect::<Vec<_>>() {
            self.drop_session(id);
        }
    }

    /// Ends the session of an LU, and tells its exit.
    fn end(&mut self, lu: LuId, why: Why) {
        if let Some(session) = self.drop_session(lu) {
            self.send(session.conn, lu, Word::Down { epoch: session.epoch, why });
        }
    }

    /// Nothing that arrived in the session is given to the device any more.
    fn drop_session(&mut self, id: LuId) -> Option<Session> {
        let lu = self.lus.get_mut(&id)?;
        let session = lu.session();
        lu.state = State::Closed;
        self.next_flush.retain(|waiter| waiter.lu != id);
        if let Some((_, waiters)) = &mut self.flush {
            waiters.retain(|waiter| waiter.lu != id);
        }
        session
    }

    fn time_passed(&mut self, now: Moment) {
        if now < self.alive_at {
            return;
        }
        self.alive_at = now.after(self.limits.alive_every);
        let alive = self.lus.iter().filter_map(|(id, lu)| Some((*id, lu.alive()?)));
        let sends = alive.map(|(lu, (conn, word))| Effect::Send { conn, lu, word });
        self.effects.extend(sends);
    }

    fn check(&self) {
        debug_assert!(self.lus.len() <= self.limits.lus_max);
        for lu in self.lus.values() {
            let requests_max = u64::try_from(self.limits.requests_max).unwrap_or(u64::MAX);
            debug_assert!(lu.load() <= requests_max);
            debug_assert!(lu.device.len() <= self.limits.device_depth);
            lu.check();
        }
    }
}

/// The next name for an operation. One a nanosecond would last for 584 years.
fn draw(last_id: &mut u64) -> u64 {
    *last_id = last_id.saturating_add(1);
    *last_id
}
