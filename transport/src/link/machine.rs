//! Which connection carries the link to one peer.
//!
//! ```text
//!            want                welcomed (we dialled)
//!   idle ──────────▶ dialling ─────────────────────────┐
//!    ▲  ▲               │ failed                       ▼
//!    │  └── back-off ◀──┘                             up ──▶ retiring the one before
//!    │                                                 ▲
//!    └── lost ◀── up       offered ──▶ welcoming ──────┘ started (they dialled)
//! ```
//!
//! Both sides may dial at once, dial again while a link is up (to replace it), lose a connection
//! at different moments, and restart. A *generation* orders the connections of a pair: the
//! dialling side proposes one above the last it knows, and the accepting side turns down what is
//! not above its own.
//!
//! Invariants:
//! 1. At most one connection is current, and its generation is above every earlier one's.
//! 2. A side sends messages on a connection only after the other has agreed to it: the dialling
//!    side after `Welcomed`, the accepting side after `Started`.
//! 3. Of two simultaneous dials the one of the lower-named node lives.
//! 4. A dial and an offer of this pair are never both under way.
//! 5. An older incarnation of the peer never displaces a newer one.
//! 6. Once a run of the peer was dismissed, nothing is dialled until the link is wanted anew.
//! 7. While a connection is wanted and none is current, under way or offered, a retry is timed.

use std::collections::VecDeque;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::backoff::Backoff;
use crate::clock::Instant;
use crate::wire::Rejection;

/// A connection of this link, dialled or offered. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnId(pub(crate) u64);

/// Which run of the peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerRun {
    pub(crate) incarnation: u64,
    pub(crate) instance: u64,
}

/// Times of one link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) backoff_min: Duration,
    pub(crate) backoff_max: Duration,
    /// How long a welcomed connection may take to start.
    pub(crate) start_timeout: Duration,
    /// How long messages wait for a connection before they are given up.
    pub(crate) unreachable_after: Duration,
}

#[derive(Debug)]
pub(crate) enum Input {
    /// The peer's address is known and a link is wanted.
    Wanted,
    /// As wanted, and reached elsewhere from now on: a dial under way is given up for one to there.
    /// A connection that is up is replaced, make before break, however long that takes.
    Redial,
    /// The peer's address is not to be dialled any more.
    Unwanted,
    /// No link is wanted with this run of the peer, nor with an earlier one.
    Dismissed(Dismissal),
    /// The answer to our dial: it may live.
    Welcomed { conn: ConnId, run: PeerRun, live: u64 },
    /// Our dial ended without a welcome.
    DialFailed { conn: ConnId, rejection: Option<Rejection> },
    /// The peer dialled and said hello.
    Offered { conn: ConnId, run: PeerRun, generation: u64, live: u64 },
    /// The peer has adopted the connection that it offered.
    Started { conn: ConnId },
    /// A connection is gone.
    Lost { conn: ConnId },
    /// The peer has closed a connection because it wants no link with this run of ours.
    LostForGood { conn: ConnId },
    /// Replace the connection, make before break. An attempt under way is one already: if it began
    /// with old credentials, say so again once it is adopted.
    Replace,
    /// The peer may not be talked to any more: cut at once.
    Evict,
    /// This side shuts down.
    Close,
    /// The timer ran out.
    Tick,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// `live` is the generation of the connection that carries the link; 0 without one.
    Dial { conn: ConnId, generation: u64, live: u64 },
    /// Give up a dial that is still under way.
    AbandonDial { conn: ConnId },
    /// Answer an offer: it may live.
    Welcome { conn: ConnId, generation: u64, live: u64 },
    /// Answer an offer: it may not.
    Reject { conn: ConnId, rejection: Rejection },
    /// This connection now carries the link; if we dialled it, the peer is told.
    Adopt { conn: ConnId, generation: u64 },
    /// Finish what was begun on this connection, then close it.
    Retire { conn: ConnId },
    /// Close this connection at once.
    Drop { conn: ConnId },
    /// Close this connection at once, and tell the peer that its run is dismissed.
    Dismiss { conn: ConnId, reason: String },
    /// A dismissed link is wanted anew: take messages again.
    Reopen,
    /// The peer runs anew: what was queued for its old run is not for it.
    PeerRestarted,
    /// Nothing reached the peer for too long: give up what is queued.
    GiveUp,
}

/// Which runs of the peer are not wanted any more, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dismissal {
    /// The last of them.
    pub(crate) incarnation: u64,
    /// In the embedder's words, of a bounded length.
    pub(crate) reason: String,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    conn: ConnId,
    generation: u64,
}

/// The connection that carries the link.
#[derive(Debug, Clone, Copy)]
struct Current {
    conn: ConnId,
    generation: u64,
}

#[derive(Debug, Clone, Copy)]
enum Attempt {
    None,
    Dial(Pending),
    /// `live` is what carries the link in the peer's eyes.
    Offer {
        pending: Pending,
        live: u64,
        until: Instant,
    },
}

#[derive(Debug)]
pub(crate) struct LinkMachine {
    /// Our name sorts before the peer's.
    is_lower: bool,
    timing: Timing,
    backoff: Backoff,
    rng: StdRng,
    run: Option<PeerRun>,
    is_dismissed: bool,
    generation: u64,
    current: Option<Current>,
    attempt: Attempt,
    wanted: bool,
    closing: bool,
    retry_at: Option<Instant>,
    give_up_at: Option<Instant>,
    next_conn: u64,
    effects: VecDeque<Effect>,
}

impl LinkMachine {
    pub(crate) fn new(is_lower: bool, timing: Timing, seed: u64) -> Self {
        Self {
            is_lower,
            timing,
            backoff: Backoff::new(timing.backoff_min, timing.backoff_max),
            rng: StdRng::seed_from_u64(seed),
            run: None,
            is_dismissed: false,
            generation: 0,
            current: None,
            attempt: Attempt::None,
            wanted: false,
            closing: false,
            retry_at: None,
            give_up_at: None,
            next_conn: 0,
            effects: VecDeque::new(),
        }
    }

    /// Names a connection that the peer opened, before it is offered.
    pub(crate) fn name_connection(&mut self) -> ConnId {
        self.next_conn += 1;
        ConnId(self.next_conn)
    }

    /// The next thing to do; drain to `None` after each [`handle`](Self::handle).
    pub(crate) fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let offer = match self.attempt {
            Attempt::Offer { until, .. } => Some(until),
            Attempt::None | Attempt::Dial(_) => None,
        };
        [self.retry_at, self.give_up_at, offer].into_iter().flatten().min()
    }

    #[cfg(test)]
    pub(crate) fn current(&self) -> Option<ConnId> {
        self.current.map(|current| current.conn)
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Wanted => self.wanted(now),
            Input::Redial => self.redial(now),
            Input::Unwanted => self.unwanted(),
            Input::Dismissed(dismissal) => self.dismissed(dismissal),
            Input::Welcomed { conn, run, live } => self.welcomed(now, conn, run, live),
            Input::DialFailed { conn, rejection } => self.dial_failed(now, conn, rejection),
            Input::Offered { conn, run, generation, live } => {
                self.offered(now, Pending { conn, generation }, run, live);
            }
            Input::Started { conn } => self.started(conn),
            Input::Lost { conn } => self.lost(now, conn),
            Input::LostForGood { conn } => {
                self.backoff.exhaust();
                self.lost(now, conn);
            }
            Input::Replace => self.replace(),
            Input::Evict => self.evict(now),
            Input::Close => self.close(),
            Input::Tick => self.tick(now),
        }
        self.check();
    }

    fn check(&self) {
        let resting = self.current.is_none() && matches!(self.attempt, Attempt::None);
        debug_assert!(
            !(resting && self.wanted && !self.closing) || self.retry_at.is_some(),
            "a wanted link rests without a retry"
        );
        debug_assert!(self.current.is_none() || self.give_up_at.is_none());
        let dials = self.wanted || self.retry_at.is_some();
        debug_assert!(!(self.is_dismissed && dials), "a peer that was dismissed is dialled");
    }

    fn wanted(&mut self, now: Instant) {
        if self.wanted || self.closing {
            return;
        }
        self.wanted = true;
        if std::mem::take(&mut self.is_dismissed) {
            self.effects.push_back(Effect::Reopen);
        }
        if self.current.is_none() {
            self.give_up_at.get_or_insert(now.after(self.timing.unreachable_after));
            self.dial();
        }
    }

    fn redial(&mut self, now: Instant) {
        if let Attempt::Dial(_) = self.attempt
            && !self.closing
        {
            self.abandon_attempt();
        }
        self.wanted(now);
        self.dial();
    }

    fn unwanted(&mut self) {
        self.wanted = false;
        self.retry_at = None;
        if let Attempt::Dial(dial) = self.attempt {
            self.attempt = Attempt::None;
            self.effects.push_back(Effect::AbandonDial { conn: dial.conn });
        }
    }

    fn dismissed(&mut self, dismissal: Dismissal) {
        let is_later = |run: PeerRun| run.incarnation > dismissal.incarnation;
        if self.closing || self.run.is_some_and(is_later) {
            return;
        }
        self.wanted = false;
        self.retry_at = None;
        self.give_up_at = None;
        self.abandon_attempt();
        if let Some(Current { conn, .. }) = self.current.take() {
            let reason = dismissal.reason;
            self.effects.push_back(Effect::Dismiss { conn, reason });
        }
        if !std::mem::replace(&mut self.is_dismissed, true) {
            self.effects.push_back(Effect::GiveUp);
        }
    }

    /// Dials unless an attempt is under way.
    fn dial(&mut self) {
        if !matches!(self.attempt, Attempt::None) || self.closing {
            return;
        }
        self.retry_at = None;
        let conn = self.name_connection();
        // A peer may have claimed the last one; its next run starts anew.
        let generation = self.generation.saturating_add(1);
        self.attempt = Attempt::Dial(Pending { conn, generation });
        let live = self.live();
        self.effects.push_back(Effect::Dial { conn, generation, live });
    }

    fn abandon_attempt(&mut self) {
        match std::mem::replace(&mut self.attempt, Attempt::None) {
            Attempt::None => {}
            Attempt::Dial(dial) => self.effects.push_back(Effect::AbandonDial { conn: dial.conn }),
            Attempt::Offer { pending, .. } => {
                self.effects.push_back(Effect::Drop { conn: pending.conn });
            }
        }
    }

    /// Times the next dial: of a wanted link, or of one whose connection is to be replaced.
    fn retry_later(&mut self, now: Instant) {
        if (self.wanted || self.current.is_some()) && !self.closing {
            let wait = self.backoff.after_failure(&mut self.rng);
            self.retry_at = Some(now.after(wait));
        }
    }

    fn welcomed(&mut self, now: Instant, conn: ConnId, run: PeerRun, live: u64) {
        let dial = match self.attempt {
            Attempt::Dial(dial) if dial.conn == conn => dial,
            Attempt::None | Attempt::Dial(_) | Attempt::Offer { .. } => {
                self.effects.push_back(Effect::Drop { conn });
                return;
            }
        };
        self.attempt = Attempt::None;
        let fits = dial.generation > self.generation && self.admit_run(run).is_ok();
        if fits {
            self.adopt(dial, live);
        } else {
            self.effects.push_back(Effect::Drop { conn });
            self.retry_later(now);
        }
    }

    fn dial_failed(&mut self, now: Instant, conn: ConnId, rejection: Option<Rejection>) {
        match self.attempt {
            Attempt::Dial(dial) if dial.conn == conn => self.attempt = Attempt::None,
            Attempt::None | Attempt::Dial(_) | Attempt::Offer { .. } => return,
        }
        if let Some(Rejection::StaleGeneration { known, .. }) = rejection {
            self.generation = self.generation.max(known);
        }
        self.retry_later(now);
    }

    fn offered(&mut self, now: Instant, pending: Pending, run: PeerRun, live: u64) {
        let Pending { conn, generation } = pending;
        if let Err(rejection) = self.judge_offer(run, generation) {
            self.effects.push_back(Effect::Reject { conn, rejection });
            return;
        }
        self.abandon_attempt();
        let until = now.after(self.timing.start_timeout);
        self.attempt = Attempt::Offer { pending, live, until };
        self.retry_at = None;
        let own_live = self.live();
        self.effects.push_back(Effect::Welcome { conn, generation, live: own_live });
    }

    fn judge_offer(&mut self, run: PeerRun, generation: u64) -> Result<(), Rejection> {
        if self.closing {
            return Err(Rejection::Closing);
        }
        self.admit_run(run)?;
        if generation <= self.generation {
            let known = self.generation;
            return Err(Rejection::StaleGeneration { dialling: generation, known });
        }
        match self.attempt {
            Attempt::Dial(_) if self.is_lower => Err(Rejection::Duplicate),
            // The peer may already send on the one that it has not started yet.
            Attempt::Offer { .. } => Err(Rejection::Duplicate),
            Attempt::None | Attempt::Dial(_) => Ok(()),
        }
    }

    /// Takes note of the run that the peer says it is.
    fn admit_run(&mut self, run: PeerRun) -> Result<(), Rejection> {
        let Some(known) = self.run else {
            self.run = Some(run);
            return Ok(());
        };
        if run.incarnation < known.incarnation {
            return Err(Rejection::StaleIncarnation {
                dialling: run.incarnation,
                known: known.incarnation,
            });
        }
        if run == known {
            return Ok(());
        }
        if run.incarnation == known.incarnation && self.current.is_some() {
            return Err(Rejection::IdentityConflict { incarnation: run.incarnation });
        }
        self.run = Some(run);
        self.generation = 0;
        if let Attempt::Offer { .. } = self.attempt {
            self.abandon_attempt();
        }
        if let Some(Current { conn, .. }) = self.current.take() {
            self.effects.push_back(Effect::Drop { conn });
        }
        self.effects.push_back(Effect::PeerRestarted);
        Ok(())
    }

    fn started(&mut self, conn: ConnId) {
        match self.attempt {
            Attempt::Offer { pending, live, .. } if pending.conn == conn => {
                self.attempt = Attempt::None;
                self.adopt(pending, live);
            }
            // A late start of an offer that was given up.
            Attempt::None | Attempt::Dial(_) | Attempt::Offer { .. } => {}
        }
    }

    fn live(&self) -> u64 {
        self.current.map_or(0, |current| current.generation)
    }

    /// `live` is what carried the link in the peer's eyes: if that is not our connection, the peer
    /// has lost it, and nothing more comes on it.
    fn adopt(&mut self, Pending { conn, generation }: Pending, live: u64) {
        debug_assert!(generation > self.generation, "generations rise");
        self.generation = generation;
        self.is_dismissed = false;
        if let Some(old) = self.current.replace(Current { conn, generation }) {
            let conn = old.conn;
            let is_shared = old.generation == live;
            self.effects.push_back(if is_shared {
                Effect::Retire { conn }
            } else {
                Effect::Drop { conn }
            });
        }
        self.effects.push_back(Effect::Adopt { conn, generation });
        self.backoff.reset();
        self.retry_at = None;
        self.give_up_at = None;
    }

    fn lost(&mut self, now: Instant, conn: ConnId) {
        if self.current.is_some_and(|current| current.conn == conn) {
            self.current = None;
            self.give_up_at = Some(now.after(self.timing.unreachable_after));
            if matches!(self.attempt, Attempt::None) {
                self.retry_later(now);
            }
            return;
        }
        match self.attempt {
            Attempt::Offer { pending, .. } if pending.conn == conn => {
                self.attempt = Attempt::None;
                self.retry_later(now);
            }
            Attempt::None | Attempt::Dial(_) | Attempt::Offer { .. } => {}
        }
    }

    fn replace(&mut self) {
        if self.current.is_some() {
            self.dial();
        }
    }

    fn evict(&mut self, now: Instant) {
        self.abandon_attempt();
        if let Some(Current { conn, .. }) = self.current.take() {
            self.effects.push_back(Effect::Drop { conn });
        }
        self.give_up_at = None;
        self.effects.push_back(Effect::GiveUp);
        self.retry_later(now);
    }

    fn close(&mut self) {
        self.closing = true;
        self.retry_at = None;
        self.give_up_at = None;
        self.abandon_attempt();
        if let Some(Current { conn, .. }) = self.current {
            self.effects.push_back(Effect::Retire { conn });
        } else {
            self.effects.push_back(Effect::GiveUp);
        }
    }

    fn tick(&mut self, now: Instant) {
        if let Attempt::Offer { pending, until, .. } = self.attempt
            && until <= now
        {
            self.attempt = Attempt::None;
            self.effects.push_back(Effect::Drop { conn: pending.conn });
            self.retry_later(now);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.dial();
        }
        if self.give_up_at.is_some_and(|at| at <= now) {
            self.give_up_at = None;
            self.effects.push_back(Effect::GiveUp);
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
