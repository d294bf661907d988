//! The sessions of one LU: its record, and what is under way. Source: redirect protocol, rule 4.

use std::collections::{BTreeMap, VecDeque};

use super::super::message::{Why, Word};
use super::super::name::{ConnId, Epoch, Holder, LuId, ViosId};
use super::device::{Op, Queued};
use super::{Effect, OpId, Record, Store, StoreEvent, SyncId, draw};

/// A session, bound to the exit that opened it and to its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Session {
    pub(super) epoch: Epoch,
    pub(super) conn: ConnId,
    pub(super) exit: ViosId,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum State {
    Closed,
    Opening(Opening),
    Open(Open),
    /// The record is being stored as clean, in this version.
    Closing {
        session: Session,
        needs: u64,
    },
}

/// A session whose record is being stored, or which waits for the device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Opening {
    session: Session,
    /// The version of the record that must be stored.
    needs: u64,
    /// `Draining` was sent.
    is_told: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Open {
    pub(super) session: Session,
    /// The last number that arrived.
    pub(super) taken: u64,
    pub(super) answered: u64,
    /// What has arrived and is not in the device yet.
    pub(super) queue: VecDeque<Queued>,
    /// Flushes that are answered once this version of the record is stored.
    pub(super) settling: Vec<(u64, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Lu {
    pub(super) record: Record,
    /// Counts the changes of `record`.
    version: u64,
    /// The last version that is stored.
    stored: u64,
    syncing: Option<(SyncId, u64, u64)>,
    /// Bytes of the disk, as the record that is stored has them: what is written there is found
    /// after any crash.
    pub(super) size: u64,
    /// The record could not be stored.
    is_lost: bool,
    is_freed: bool,
    pub(super) state: State,
    /// What is in the device, of whatever session.
    pub(super) device: BTreeMap<OpId, Op>,
}

impl Lu {
    pub(super) fn new(record: Record) -> Self {
        Self {
            record,
            version: 0,
            stored: 0,
            syncing: None,
            size: record.size,
            is_lost: false,
            is_freed: false,
            state: State::Closed,
            device: BTreeMap::new(),
        }
    }

    pub(super) fn session(&self) -> Option<Session> {
        match &self.state {
            State::Closed => None,
            State::Opening(opening) => Some(opening.session),
            State::Open(open) => Some(open.session),
            State::Closing { session, .. } => Some(*session),
        }
    }

    /// Requests that have arrived in the open session and are not answered.
    pub(super) fn load(&self) -> u64 {
        match &self.state {
            State::Open(open) => open.taken.saturating_sub(open.answered),
            State::Closed | State::Opening(_) | State::Closing { .. } => 0,
        }
    }

    /// What its exit is told from time to time.
    pub(super) fn alive(&self) -> Option<(ConnId, Word)> {
        let Session { epoch, conn, .. } = self.session()?;
        match &self.state {
            State::Opening(_) => Some((conn, Word::Draining { epoch })),
            State::Open(Open { taken, answered, .. }) => {
                Some((conn, Word::Alive { epoch, taken: *taken, answered: *answered }))
            }
            State::Closed | State::Closing { .. } => None,
        }
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut Record)) -> u64 {
        change(&mut self.record);
        self.version += 1;
        self.version
    }

    pub(super) fn stored_version(&self) -> u64 {
        self.stored
    }

    pub(super) fn check(&self) {
        let is_opening = matches!(self.state, State::Opening(_));
        let session = self.session().map(|session| session.epoch);
        debug_assert!(session.is_none_or(|epoch| epoch == self.record.highest));
        debug_assert!(
            is_opening
                || session.is_none_or(|epoch| { self.device.values().all(|op| op.epoch == epoch) })
        );
    }
}

impl Store {
    pub(super) fn create(&mut self, lu: LuId, record: Record) {
        if self.has_room() {
            self.lus.entry(lu).or_insert_with(|| Lu::new(record));
        }
    }

    pub(super) fn grow(&mut self, id: LuId, size: u64) {
        let is_smaller = |record: &Record| !record.is_deleted && record.size < size;
        if let Some(lu) = self.lus.get_mut(&id).filter(|lu| is_smaller(&lu.record)) {
            lu.change(|record| record.size = size);
            self.step(id);
        }
    }

    pub(super) fn delete(&mut self, id: LuId) {
        self.end(id, Why::NotOpen);
        if let Some(lu) = self.lus.get_mut(&id) {
            lu.change(|record| record.is_deleted = true);
            self.step(id);
        }
    }

    /// An open (rules 3 and 4).
    pub(super) fn open(&mut self, from: Session, id: LuId, holder: Holder) {
        let epoch = from.epoch;
        let verdict = match self.lus.get(&id) {
            None => Some(Word::NoPath { epoch }),
            Some(lu) if lu.is_lost => Some(Word::NoPath { epoch }),
            Some(lu) if lu.record.is_deleted => Some(Word::Gone { epoch }),
            Some(lu) => refusal(&lu.record, epoch, holder),
        };
        if let Some(word) = verdict {
            self.send(from.conn, id, word);
            return;
        }
        self.end(id, Why::Superseded);
        let identity = self.identity;
        let Some(lu) = self.lus.get_mut(&id) else { return };
        let needs = lu.change(|record| {
            record.highest = epoch;
            record.holder = holder;
            if std::mem::take(&mut record.is_clean) {
                record.settled = identity;
            }
        });
        lu.state = State::Opening(Opening { session: from, needs, is_told: false });
        self.step(id);
    }

    /// The owner leaves in order (rule 7).
    pub(super) fn close(&mut self, from: Session, id: LuId) {
        let Some(open) = self.open_by(from, id) else { return };
        if open.taken != open.answered {
            self.end(id, Why::OutOfStep);
            return;
        }
        if let Some(lu) = self.lus.get_mut(&id) {
            let needs = lu.change(|record| record.is_clean = true);
            lu.state = State::Closing { session: from, needs };
            self.step(id);
        }
    }

    /// The open session of an LU, if it is the sender's; else the sender is told.
    pub(super) fn open_by(&mut self, from: Session, id: LuId) -> Option<&mut Open> {
        let is_open = self.lus.get(&id).is_some_and(|lu| match &lu.state {
            State::Open(open) => open.session == from,
            State::Closed | State::Opening(_) | State::Closing { .. } => false,
        });
        if !is_open {
            let word = self.not_open(from.epoch, id);
            self.send(from.conn, id, word);
            return None;
        }
        match &mut self.lus.get_mut(&id)?.state {
            State::Open(open) => Some(open),
            State::Closed | State::Opening(_) | State::Closing { .. } => None,
        }
    }

    /// An owner that another one has replaced is told so.
    fn not_open(&self, epoch: Epoch, id: LuId) -> Word {
        match self.lus.get(&id).map(|lu| &lu.record) {
            Some(record) if record.highest.owner > epoch.owner => {
                Word::Refused { epoch, highest: record.highest, holder: record.holder }
            }
            Some(_) | None => Word::Down { epoch, why: Why::NotOpen },
        }
    }

    /// Does for an LU whatever can be done now.
    pub(super) fn step(&mut self, id: LuId) {
        self.store_record(id);
        let is_renewing = self.renewing.is_some();
        let Some(lu) = self.lus.get_mut(&id) else { return };
        match &mut lu.state {
            State::Closed => {}
            State::Opening(opening) => {
                let epoch = opening.session.epoch;
                let conn = opening.session.conn;
                if !lu.device.is_empty() {
                    if !std::mem::replace(&mut opening.is_told, true) {
                        self.send(conn, id, Word::Draining { epoch });
                    }
                } else if lu.stored >= opening.needs && !is_renewing {
                    self.begin(id);
                }
            }
            State::Open(_) => self.hand_over(id),
            State::Closing { session, needs } => {
                let Session { epoch, conn, .. } = *session;
                if lu.stored >= *needs {
                    lu.state = State::Closed;
                    self.send(conn, id, Word::Closed { epoch });
                }
            }
        }
        self.free(id);
    }

    fn begin(&mut self, id: LuId) {
        let (life, identity) = (self.life, self.identity);
        let Some(lu) = self.lus.get_mut(&id) else { return };
        let Some(session) = lu.session() else { return };
        lu.state = State::Open(Open {
            session,
            taken: 0,
            answered: 0,
            queue: VecDeque::new(),
            settling: Vec::new(),
        });
        let (Record { settled, .. }, size) = (lu.record, lu.size);
        let word = Word::Opened { epoch: session.epoch, life, identity, settled, size };
        self.send(session.conn, id, word);
    }

    fn store_record(&mut self, id: LuId) {
        let Some(lu) = self.lus.get_mut(&id) else { return };
        if lu.stored == lu.version || lu.syncing.is_some() || lu.is_lost {
            return;
        }
        let sync = SyncId(draw(&mut self.last_id));
        let record = lu.record;
        lu.syncing = Some((sync, lu.version, record.size));
        self.syncs.insert(sync, id);
        self.effects.push_back(Effect::StoreRecord { sync, lu: id, record });
    }

    pub(super) fn stored(&mut self, sync: SyncId) {
        if self.renewing == Some(sync) {
            self.renewed();
            return;
        }
        let Some(id) = self.syncs.remove(&sync) else { return };
        if let Some(lu) = self.lus.get_mut(&id)
            && let Some((_, version, size)) = lu.syncing.take()
        {
            (lu.stored, lu.size) = (version, size);
        }
        self.answer_settled(id);
        self.step(id);
    }

    pub(super) fn not_stored(&mut self, sync: SyncId) {
        if self.renewing == Some(sync) {
            self.lose_identity();
            return;
        }
        let Some(id) = self.syncs.remove(&sync) else { return };
        if let Some(session) = self.drop_session(id) {
            self.send(session.conn, id, Word::NoPath { epoch: session.epoch });
            self.send(session.conn, id, Word::Down { epoch: session.epoch, why: Why::NotOpen });
        }
        if let Some(lu) = self.lus.get_mut(&id) {
            lu.syncing = None;
            lu.is_lost = true;
        }
        self.effects.push_back(Effect::Tell(StoreEvent::RecordLost { lu: id }));
    }

    fn free(&mut self, id: LuId) {
        let Some(lu) = self.lus.get_mut(&id) else { return };
        let is_gone = lu.record.is_deleted && lu.stored == lu.version && lu.device.is_empty();
        if is_gone && !std::mem::replace(&mut lu.is_freed, true) {
            self.effects.push_back(Effect::Free { lu: id });
        }
    }
}

/// Why a session may not be opened: it is not above the record, or its owner has two lives.
fn refusal(record: &Record, epoch: Epoch, holder: Holder) -> Option<Word> {
    let Record { highest, holder: held_by, .. } = *record;
    let is_double = epoch.owner == highest.owner && holder != held_by;
    (epoch <= highest || is_double).then_some(Word::Refused { epoch, highest, holder: held_by })
}
