//! An exit's end of sessions before a storage that cannot fence, an outside NBD server: to the
//! relay it speaks as a store does.
//!
//! ```text
//!            Open above the last          connected, fit
//!   closed ────────────────────▶ connecting ─────────────▶ open
//!     ▲  ▲                            │                     │
//!     │  └──── not reached: NoPath ───┘                     │ path or lease lost, an error,
//!     │                                                     ▼ asked to close
//!     └─────── its connection is closed: Down, Closed ── ending
//! ```
//!
//! A session has a connection of its own, and is over with it. The storage carries out what reaches
//! it, whoever sent it and whenever; so the owner holds writes back that share bytes with those
//! that were left without an answer ([`Hold`](super::hold)). What the exit does for that:
//!
//! Invariants:
//! 1. `Down` with [`Why::Aborted`] is said once the session's connection is closed, and nothing
//!    that was not in the kernel by then is ever sent.
//! 2. A session is cut when its owner was not heard for the lease, counted from when the word was
//!    sent that the owner has answered last. So an owner that has given its session up, by whatever
//!    way, knows when the exit has as well.
//! 3. Within this process a session is above all before it, and begins once the connection of the
//!    one before is closed.
//! 4. A storage whose connections may differ in what they show has one exit.
//!
//! Source: redirect protocol, rule 12.

mod input;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use super::chance::Chance;
use super::limits::{InitiatorLimits, LimitError};
use super::message::{Call, Why, Word};
use super::moment::Moment;
use super::name::{ConnId, Epoch, Holder, Identity, Life, LuId};
use crate::disk::Device;
pub use input::{Cause, Effect, Fate, InitiatorEvent, Input, Unfit};
use session::Session;

/// Longest request that owners send, bytes: a storage must take as much at once.
pub const PAYLOAD_MIN: u32 = 1 << 20;

/// An exit's sessions before storage that cannot fence. A pure machine: [`handle`](Self::handle)
/// one input, then [`poll`](Self::poll) until no effect is left, then wait for the next input or
/// for the [`deadline`](Self::deadline).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Initiator {
    limits: InitiatorLimits,
    chance: Chance,
    lus: BTreeMap<LuId, Lu>,
    last_conn: u64,
    effects: VecDeque<Effect>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Lu {
    /// No other exit uses it.
    is_sole: bool,
    /// The exit reaches it. Of one that is withdrawn the highest session is kept.
    is_reached: bool,
    /// The highest session of this process, and whose it is.
    highest: Epoch,
    holder: Holder,
    line: Line,
}

/// The connection of an LU.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Line {
    Closed,
    Connecting {
        conn: ConnId,
        epoch: Epoch,
    },
    Open(Session),
    /// It ends. The session that is to begin then, if there is one.
    Ending {
        ended: Ended,
        next: Option<Epoch>,
    },
}

/// A session whose connection ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Ended {
    conn: ConnId,
    epoch: Epoch,
    /// What is said once it has.
    last: Last,
    /// Changes without an answer; whether the storage had answered them already.
    changes: BTreeMap<u64, bool>,
    /// Requests whose fate was not told yet.
    unknown: usize,
    is_closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Last {
    NoPath,
    Aborted,
    Closed,
}

impl Lu {
    const fn new(is_sole: bool) -> Self {
        let (highest, holder, line) = (Epoch::NONE, Holder(0), Line::Closed);
        Self { is_sole, is_reached: true, highest, holder, line }
    }
}

impl Initiator {
    /// Of an exit that reaches these LUs; whether it is the only one that does. All random choices
    /// come from `seed`.
    ///
    /// # Errors
    /// [`LimitError`] names the first setting that is out of range.
    pub fn new(
        limits: InitiatorLimits,
        lus: impl IntoIterator<Item = (LuId, bool)>,
        seed: u64,
    ) -> Result<Self, LimitError> {
        limits.validate()?;
        Ok(Self {
            limits,
            chance: Chance::from_seed(seed),
            lus: lus.into_iter().map(|(lu, is_sole)| (lu, Lu::new(is_sole))).collect(),
            last_conn: 0,
            effects: VecDeque::new(),
        })
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Moment, input: Input) {
        self.end_leases(now);
        match input {
            Input::Reaches { lus } => self.reaches(&lus),
            Input::Called { lu, call } => self.called(lu, call),
            Input::Connected { conn, device } => self.connected(now, conn, &device),
            Input::NotConnected { conn } => self.not_connected(conn),
            Input::Performed { conn, no, fate } => self.performed(conn, no, fate),
            Input::ConnClosed { conn } => self.conn_closed(conn),
            Input::Spoilt { lu } => self.cut(lu, Cause::Spoilt),
            Input::PathLost => {
                for lu in self.lus.keys().copied().collect::<Vec<_>>() {
                    self.cut(lu, Cause::PathLost);
                }
            }
            Input::TimePassed => self.say_alive(now),
        }
    }

    /// The next effect; `None` when all are taken. Those of one input are at most a few for each
    /// LU.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::TimePassed`] is due; `None` for never.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let open = self.lus.values().filter_map(|lu| match &lu.line {
            Line::Open(session) => Some(session),
            Line::Closed | Line::Connecting { .. } | Line::Ending { .. } => None,
        });
        open.map(|session| session.alive_at.min(session.lease_until(&self.limits))).min()
    }

    /// Whether a session is ending, and its end is still to be told.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.lus.values().any(|lu| matches!(lu.line, Line::Ending { .. }))
    }

    fn word(&mut self, lu: LuId, word: Word) {
        self.effects.push_back(Effect::Word { lu, word });
    }

    fn reaches(&mut self, lus: &BTreeMap<LuId, bool>) {
        for (id, is_sole) in lus {
            let lu = self.lus.entry(*id).or_insert_with(|| Lu::new(*is_sole));
            (lu.is_sole, lu.is_reached) = (*is_sole, true);
        }
        let withdrawn: Vec<_> =
            self.lus.keys().filter(|id| !lus.contains_key(id)).copied().collect();
        for id in withdrawn {
            self.cut(id, Cause::Withdrawn);
            if let Some(lu) = self.lus.get_mut(&id) {
                lu.is_reached = false;
                if let Line::Ending { next, .. } = &mut lu.line
                    && let Some(epoch) = next.take()
                {
                    self.word(id, Word::NoPath { epoch });
                }
            }
        }
        self.lus.retain(|_id, lu| lu.is_reached || lu.highest != Epoch::NONE);
    }

    fn called(&mut self, id: LuId, call: Call) {
        let epoch = call.epoch();
        if let Call::Open { holder, .. } = call {
            self.open(id, epoch, holder);
            return;
        }
        let lu = self.lus.get_mut(&id);
        let session = lu.and_then(|lu| match &mut lu.line {
            Line::Open(session) if session.epoch == epoch => Some(session),
            Line::Open(_) | Line::Closed | Line::Connecting { .. } | Line::Ending { .. } => None,
        });
        let Some(session) = session else {
            if !matches!(call, Call::Stay { .. } | Call::Close { .. }) {
                self.word(id, Word::Down { epoch, why: Why::NotOpen });
            }
            return;
        };
        match call {
            Call::Stay { beat, .. } => {
                session.stay(beat);
                let (conn, until) = (session.conn, session.lease_until(&self.limits));
                self.effects.push_back(Effect::Allow { conn, until });
            }
            Call::Close { .. } if session.is_idle() => {
                let conn = session.conn;
                self.end(id, conn, Last::Closed);
            }
            Call::Request { no, request, .. } => self.take(id, no, request),
            Call::Flush { no, .. } => self.take(id, no, crate::block::Request::Flush),
            Call::Open { .. } | Call::Close { .. } => self.cut(id, Cause::OutOfStep),
        }
    }

    fn open(&mut self, id: LuId, epoch: Epoch, holder: Holder) {
        let Some(lu) = self.lus.get_mut(&id).filter(|lu| lu.is_reached) else {
            self.word(id, Word::NoPath { epoch });
            return;
        };
        let is_others = epoch.owner == lu.highest.owner && holder != lu.holder;
        if epoch <= lu.highest || is_others {
            let (highest, holder) = (lu.highest, lu.holder);
            self.word(id, Word::Refused { epoch, highest, holder });
            return;
        }
        (lu.highest, lu.holder) = (epoch, holder);
        self.cut(id, Cause::Superseded);
        let Some(lu) = self.lus.get_mut(&id) else { return };
        match &mut lu.line {
            Line::Ending { next, .. } => *next = Some(epoch),
            Line::Closed | Line::Connecting { .. } | Line::Open(_) => self.connect(id, epoch),
        }
    }

    fn connect(&mut self, id: LuId, epoch: Epoch) {
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        if let Some(lu) = self.lus.get_mut(&id) {
            lu.line = Line::Connecting { conn, epoch };
            self.effects.push_back(Effect::Connect { lu: id, conn });
        }
    }

    /// The LU whose connection it is.
    fn by_conn(&self, conn: ConnId) -> Option<LuId> {
        let has_it = |lu: &Lu| match &lu.line {
            Line::Closed => false,
            Line::Connecting { conn: own, .. } => *own == conn,
            Line::Open(session) => session.conn == conn,
            Line::Ending { ended, .. } => ended.conn == conn,
        };
        self.lus.iter().find(|(_, lu)| has_it(lu)).map(|(id, _)| *id)
    }

    fn connected(&mut self, now: Moment, conn: ConnId, device: &Device) {
        let Some(id) = self.by_conn(conn) else { return };
        let Some(lu) = self.lus.get_mut(&id) else { return };
        let Line::Connecting { epoch, .. } = lu.line else { return };
        if let Some(unfit) = unfit(device, lu.is_sole) {
            self.effects.push_back(Effect::Tell(InitiatorEvent::Unfit { lu: id, unfit }));
            self.end(id, conn, Last::NoPath);
            return;
        }
        let session = Session::new(now, conn, epoch, device, &self.limits);
        let until = session.lease_until(&self.limits);
        lu.line = Line::Open(session);
        let (life, identity) = (Life(self.chance.draw()), identity_of(id));
        self.effects.push_back(Effect::Allow { conn, until });
        let opened = Word::Opened { epoch, life, identity, settled: identity, size: device.size };
        self.word(id, opened);
    }

    fn not_connected(&mut self, conn: ConnId) {
        let Some(id) = self.by_conn(conn) else { return };
        let Some(lu) = self.lus.get_mut(&id) else { return };
        match std::mem::replace(&mut lu.line, Line::Closed) {
            Line::Connecting { epoch, .. } => self.word(id, Word::NoPath { epoch }),
            // It was to be cut before it was there.
            Line::Ending { next: Some(next), .. } => self.connect(id, next),
            Line::Ending { ended, .. } => self.say_last(id, &ended),
            Line::Closed | Line::Open(_) => {}
        }
    }

    /// Ends the session of an LU, and tells the owner once its connection is closed.
    fn cut(&mut self, id: LuId, cause: Cause) {
        let Some(lu) = self.lus.get(&id) else { return };
        let (conn, last) = match &lu.line {
            Line::Closed | Line::Ending { .. } => return,
            Line::Connecting { conn, .. } => (*conn, Last::NoPath),
            Line::Open(session) => (session.conn, Last::Aborted),
        };
        self.effects.push_back(Effect::Tell(InitiatorEvent::Cut { lu: id, cause }));
        self.end(id, conn, last);
    }

    fn end(&mut self, id: LuId, conn: ConnId, last: Last) {
        let Some(lu) = self.lus.get_mut(&id) else { return };
        let ended = match std::mem::replace(&mut lu.line, Line::Closed) {
            Line::Connecting { conn, epoch } => {
                let changes = BTreeMap::new();
                Ended { conn, epoch, last, changes, unknown: 0, is_closed: false }
            }
            Line::Open(session) => session.end(last),
            line @ (Line::Closed | Line::Ending { .. }) => {
                lu.line = line;
                return;
            }
        };
        lu.line = Line::Ending { ended, next: None };
        self.effects.push_back(Effect::Cut { conn });
    }

    fn conn_closed(&mut self, conn: ConnId) {
        let Some(id) = self.by_conn(conn) else { return };
        if !self.lus.get(&id).is_some_and(|lu| matches!(lu.line, Line::Ending { .. })) {
            self.cut(id, Cause::HungUp);
        }
        let Some(lu) = self.lus.get_mut(&id) else { return };
        if let Line::Ending { ended, .. } = &mut lu.line {
            ended.is_closed = true;
        }
        self.go_on_if_over(id);
    }

    /// Once its connection is closed and the fate of every request was told, a session is over.
    fn go_on_if_over(&mut self, id: LuId) {
        let Some(lu) = self.lus.get_mut(&id) else { return };
        let Line::Ending { ended, next } = &lu.line else { return };
        if !ended.is_closed || ended.unknown > 0 {
            return;
        }
        let (ended, next) = (ended.clone(), *next);
        lu.line = Line::Closed;
        self.say_last(id, &ended);
        if let Some(next) = next {
            self.connect(id, next);
        }
    }

    fn say_last(&mut self, id: LuId, ended: &Ended) {
        let epoch = ended.epoch;
        self.word(
            id,
            match ended.last {
                Last::NoPath => Word::NoPath { epoch },
                Last::Aborted => Word::Down { epoch, why: Why::Aborted },
                Last::Closed => Word::Closed { epoch },
            },
        );
    }

    fn end_leases(&mut self, now: Moment) {
        let limits = &self.limits;
        let is_over = |lu: &Lu| match &lu.line {
            Line::Open(session) => session.lease_until(limits) <= now,
            Line::Closed | Line::Connecting { .. } | Line::Ending { .. } => false,
        };
        let over = self.lus.iter().filter(|(_, lu)| is_over(lu)).map(|(id, _)| *id);
        for id in over.collect::<Vec<_>>() {
            self.cut(id, Cause::LeaseOver);
        }
    }
}

/// Every connection counts as another life, so nothing is lost with a cache. What an owner and the
/// cache lose together cannot be seen.
fn identity_of(LuId(lu): LuId) -> Identity {
    Identity { volume: lu.into(), boot: 0, losses: 0 }
}

fn unfit(device: &Device, is_sole: bool) -> Option<Unfit> {
    if !device.abilities.is_shared && !is_sole {
        Some(Unfit::NotShared)
    } else if !device.abilities.can_flush {
        Some(Unfit::NoFlush)
    } else if device.payload_max < PAYLOAD_MIN {
        Some(Unfit::ShortPayload { payload_max: device.payload_max })
    } else {
        None
    }
}
