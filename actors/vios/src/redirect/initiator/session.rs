//! One open session, and its requests.

use std::collections::{BTreeMap, VecDeque};

use super::super::limits::InitiatorLimits;
use super::super::message::Word;
use super::super::moment::Moment;
use super::super::name::{ConnId, Epoch, LuId};
use super::input::Fate;
use super::{Cause, Effect, Ended, Initiator, Last, Line};
use crate::block::{Failure, Reply, Request};
use crate::disk::Device;

/// Words that the owner has not answered. A lease has room for fewer.
const BEATS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Session {
    pub(super) conn: ConnId,
    pub(super) epoch: Epoch,
    can_fua: bool,
    last_no: u64,
    answered: u64,
    sent: BTreeMap<u64, Stage>,
    /// The lease counts from here: the owner has answered what was said then.
    heard_at: Moment,
    last_beat: u64,
    beats: VecDeque<(u64, Moment)>,
    pub(super) alive_at: Moment,
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Plain {
        is_change: bool,
    },
    /// A flush, or a change that the storage makes durable.
    Durable {
        is_change: bool,
    },
    /// A change that is to be durable, before a storage that makes only flushes so: a flush
    /// follows.
    Written,
    /// That flush.
    Flushing,
}

impl Stage {
    fn is_change(self) -> bool {
        match self {
            Self::Plain { is_change } | Self::Durable { is_change } => is_change,
            Self::Written | Self::Flushing => true,
        }
    }
}

impl Session {
    pub(super) fn new(
        now: Moment,
        conn: ConnId,
        epoch: Epoch,
        device: &Device,
        limits: &InitiatorLimits,
    ) -> Self {
        Self {
            conn,
            epoch,
            can_fua: device.abilities.can_fua,
            last_no: 0,
            answered: 0,
            sent: BTreeMap::new(),
            heard_at: now,
            last_beat: 0,
            beats: VecDeque::new(),
            alive_at: now.after(limits.alive_every),
        }
    }

    pub(super) fn lease_until(&self, limits: &InitiatorLimits) -> Moment {
        self.heard_at.after(limits.lease)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.sent.is_empty()
    }

    /// The owner has heard what was said then.
    pub(super) fn stay(&mut self, beat: u64) {
        while let Some((_, said_at)) = self.beats.pop_front_if(|(no, _)| *no <= beat) {
            self.heard_at = said_at;
        }
    }

    fn beat(&mut self, now: Moment) -> u64 {
        self.last_beat += 1;
        if self.beats.len() >= BEATS_MAX {
            self.beats.pop_front();
        }
        self.beats.push_back((self.last_beat, now));
        self.last_beat
    }

    pub(super) fn end(self, last: Last) -> Ended {
        let changes = self.sent.iter().filter(|(_, stage)| stage.is_change());
        let is_done = |stage: Stage| stage == Stage::Flushing;
        let changes = changes.map(|(no, stage)| (*no, is_done(*stage))).collect();
        let Self { conn, epoch, sent, .. } = self;
        Ended { conn, epoch, last, changes, unknown: sent.len(), is_closed: false }
    }
}

impl Initiator {
    /// A request of the open session.
    pub(super) fn take(&mut self, id: LuId, no: u64, request: Request) {
        let Some(Line::Open(session)) = self.lus.get_mut(&id).map(|lu| &mut lu.line) else {
            return;
        };
        if no <= session.last_no {
            return;
        }
        let is_next = no == session.last_no.saturating_add(1);
        if !is_next || session.sent.len() >= self.limits.requests_max {
            self.cut(id, Cause::OutOfStep);
            return;
        }
        session.last_no = no;
        let is_change = request.is_change();
        let (stage, request) = match request {
            Request::Flush => (Stage::Durable { is_change }, Request::Flush),
            request if !request.is_fua() => (Stage::Plain { is_change }, request),
            request if session.can_fua => (Stage::Durable { is_change }, request),
            request => (Stage::Written, request.with_fua(false)),
        };
        session.sent.insert(no, stage);
        let conn = session.conn;
        self.effects.push_back(Effect::Perform { conn, no, request });
    }

    pub(super) fn performed(&mut self, conn: ConnId, no: u64, fate: Fate) {
        let Some(id) = self.by_conn(conn) else { return };
        match self.lus.get_mut(&id).map(|lu| &mut lu.line) {
            Some(Line::Ending { ended, .. }) => {
                ended.unknown = ended.unknown.saturating_sub(1);
                let epoch = ended.epoch;
                let is_done = ended.changes.get(&no).copied();
                // An answer that comes with the end is one: its request has landed, or never will.
                let is_void = is_done == Some(true)
                    || (is_done.is_some() && !matches!(fate, Fate::Unanswered));
                if is_void {
                    self.word(id, Word::Void { epoch, no });
                }
                self.go_on_if_over(id);
            }
            Some(Line::Open(_)) => match fate {
                Fate::Answered(outcome) => self.answered(id, no, outcome),
                Fate::NotSent | Fate::Unanswered => {
                    // The connection has ended; this is heard of it first.
                    self.cut(id, Cause::HungUp);
                    self.performed(conn, no, fate);
                }
            },
            Some(Line::Closed | Line::Connecting { .. }) | None => {}
        }
    }

    fn answered(&mut self, id: LuId, no: u64, outcome: Result<Reply, Failure>) {
        let Some(Line::Open(session)) = self.lus.get_mut(&id).map(|lu| &mut lu.line) else {
            return;
        };
        let (conn, epoch) = (session.conn, session.epoch);
        let Some(stage) = session.sent.get_mut(&no) else { return };
        if *stage == Stage::Written && outcome.is_ok() {
            *stage = Stage::Flushing;
            self.effects.push_back(Effect::Perform { conn, no, request: Request::Flush });
            return;
        }
        let is_sync = match *stage {
            Stage::Durable { is_change: true } => outcome == Err(Failure::Io),
            Stage::Durable { is_change: false } | Stage::Flushing => outcome.is_err(),
            Stage::Plain { .. } | Stage::Written => false,
        };
        session.sent.remove(&no);
        session.answered += 1;
        self.word(id, Word::Answer { epoch, no, outcome });
        if is_sync {
            // A second flush would prove nothing: what was acknowledged is to be written anew.
            self.cut(id, Cause::SyncFailed);
        }
    }

    pub(super) fn say_alive(&mut self, now: Moment) {
        let limits = &self.limits;
        for (id, lu) in &mut self.lus {
            let Line::Open(session) = &mut lu.line else { continue };
            if now < session.alive_at {
                continue;
            }
            session.alive_at = now.after(limits.alive_every);
            let (epoch, beat) = (session.epoch, session.beat(now));
            let alive = Word::Alive { epoch, taken: session.last_no, answered: session.answered };
            for word in [alive, Word::Lease { epoch, beat }] {
                self.effects.push_back(Effect::Word { lu: *id, word });
            }
        }
    }
}
