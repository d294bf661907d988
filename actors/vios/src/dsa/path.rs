//! How one path does: the way from one physical adapter to one storage.
//!
//! ```text
//!            first answer                    trouble
//!   Lost ───────────────────────▶ Good ──────────────────▶ Degraded
//!    │ ▲                           │ ▲                       ▲ │ │
//!    │ └──── silence, cut, hand ───┘ └── sound for a while ──┼─┘ │
//!    └──────────────── any later answer ─────────────────────┘   │
//!    ▲─────────────────────── silence, cut, hand ────────────────┘
//! ```
//!
//! Only the answer to a heartbeat shows that a path works both ways. A path that is lost is of use
//! again with the first one, but degraded, so that nothing that works is left for it; it is good
//! once it has been sound for a while, longer each time that it ceases to be good.
//!
//! Silence is counted only while the machine is run on time. By how much it is run late is not
//! counted, since answers may lie unread for as long: after a pause of the process the machine
//! waits for those anew. Run late by as much as its period, it takes twice as long to notice.
//!
//! Invariants:
//! 1. No path is good or degraded without a connection whose heartbeats are answered in time.
//! 2. What a connection that was replaced or lost had to say changes nothing.
//! 3. A path that was failed by hand is lost until it is restored by hand.
//! 4. The deadline is always in the future of the last input.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::limits::{BEATS_MAX, DsaLimits};
use crate::redirect::Moment;
use crate::redirect::limits::LimitError;
use crate::redirect::name::ConnId;
use crate::redirect::relay::PathState;

/// Why a path is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Lost: there was no connection yet.
    NotConnected,
    /// Lost: its connection is gone.
    ConnectionLost,
    /// Lost: no heartbeat was answered in time, and nothing else was heard.
    Silent,
    /// Lost: the storage was heard, but it answered no heartbeat. It may not hear this side.
    Unanswered,
    /// Lost: an operator failed it.
    ByHand,
    /// Degraded: it was lost until shortly.
    Unproven,
    /// Degraded: heartbeats take long.
    Slow,
    /// Degraded: the storage's device takes long.
    DeviceSlow,
    /// Degraded: the storage's device has failed operations.
    DeviceErrors,
    /// Good: its first heartbeat was answered.
    Answered,
    /// Good: it has been sound for long enough.
    Steady,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConnected => "not connected yet",
            Self::ConnectionLost => "the connection is gone",
            Self::Silent => "the storage is silent",
            Self::Unanswered => "the storage is heard, but answers no heartbeat",
            Self::ByHand => "failed by hand",
            Self::Unproven => "back since shortly",
            Self::Slow => "heartbeats take long",
            Self::DeviceSlow => "the storage's device takes long",
            Self::DeviceErrors => "the storage's device has failed operations",
            Self::Answered => "heartbeats are answered",
            Self::Steady => "sound for long enough",
        })
    }
}

/// How a path does, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status {
    /// Its state.
    pub state: PathState,
    /// Why.
    pub reason: Reason,
}

impl Status {
    /// What sessions are routed by. A device in trouble is no reason to go elsewhere: all paths
    /// lead to it.
    #[must_use]
    pub fn for_routing(self) -> PathState {
        match self.reason {
            Reason::DeviceSlow | Reason::DeviceErrors => PathState::Good,
            Reason::NotConnected
            | Reason::ConnectionLost
            | Reason::Silent
            | Reason::Unanswered
            | Reason::ByHand
            | Reason::Unproven
            | Reason::Slow
            | Reason::Answered
            | Reason::Steady => self.state,
        }
    }
}

/// What a storage says of its device with each answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Device {
    /// How long its oldest operation has been under way.
    pub oldest: Duration,
    /// Operations that have failed since the storage was started.
    pub failures: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// There is a new connection.
    Connected {
        /// Which; each has a higher number than those before.
        conn: ConnId,
    },
    /// A connection is gone.
    Lost {
        /// Which.
        conn: ConnId,
    },
    /// A heartbeat was answered.
    Answered {
        /// By which connection the answer came.
        conn: ConnId,
        /// Which heartbeat.
        no: u64,
        /// When the answer came, which may be before it is told.
        at: Moment,
        /// How the storage's device does.
        device: Device,
    },
    /// Something came from the storage: it speaks, whether it hears or not.
    Heard,
    /// An operator takes the path out of use.
    FailedByHand,
    /// An operator gives the path back.
    RestoredByHand,
    /// The deadline has come.
    TimePassed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Send a heartbeat. If that cannot be done, it counts as one that was not answered.
    Beat {
        /// By which connection.
        conn: ConnId,
        /// Which.
        no: u64,
    },
    /// The path does otherwise than before.
    Changed {
        /// How it did.
        from: Status,
        /// How it does.
        to: Status,
    },
}

/// A connection, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Line {
    conn: ConnId,
    beat_at: Moment,
    /// Heartbeats that are not answered, oldest first.
    sent: VecDeque<(u64, Moment)>,
    /// Silence counts from here.
    answered_at: Moment,
    heard_at: Moment,
    is_silent: bool,
    round_trip: Option<Duration>,
    failures: Option<u64>,
    /// Since when heartbeats have taken long.
    slow_since: Option<Moment>,
}

impl Line {
    fn new(now: Moment, conn: ConnId) -> Self {
        Self {
            conn,
            beat_at: now,
            sent: VecDeque::new(),
            answered_at: now,
            heard_at: now,
            is_silent: false,
            round_trip: None,
            failures: None,
            slow_since: None,
        }
    }

    fn deadline(&self, limits: &DsaLimits) -> Moment {
        let silent_at = self.answered_at.after(limits.silence_max);
        if self.is_silent { self.beat_at } else { self.beat_at.min(silent_at) }
    }

    /// When a heartbeat was sent that is answered now, and with it those before.
    fn settle(&mut self, no: u64) -> Option<Moment> {
        let at = self.sent.iter().position(|(sent, _at)| *sent == no)?;
        self.sent.drain(..=at).next_back().map(|(_no, at)| at)
    }

    /// Why it is as good as lost. Heard means well after the last answer.
    fn silence(&self, limits: &DsaLimits) -> Reason {
        let is_heard = self.heard_at.since(self.answered_at) > limits.silence_max / 2;
        if is_heard { Reason::Unanswered } else { Reason::Silent }
    }
}

/// A path. A pure machine: [`handle`](Self::handle) one input, then [`poll`](Self::poll) until no
/// effect is left, then wait for the next input or for the [`deadline`](Self::deadline).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    limits: DsaLimits,
    status: Status,
    since: Moment,
    line: Option<Line>,
    /// The highest connection that was heard of.
    last_conn: Option<ConnId>,
    last_no: u64,
    is_failed: bool,
    has_been_good: bool,
    /// Since when nothing was wrong.
    sound_since: Option<Moment>,
    /// How often it ceased to be good, lately.
    flaps: u32,
    effects: VecDeque<Effect>,
}

impl Path {
    /// A path without a connection.
    ///
    /// # Errors
    /// [`LimitError`] names the first setting that is out of range.
    pub fn new(limits: DsaLimits, now: Moment) -> Result<Self, LimitError> {
        limits.validate()?;
        Ok(Self {
            limits,
            status: Status { state: PathState::Lost, reason: Reason::NotConnected },
            since: now,
            line: None,
            last_conn: None,
            last_no: 0,
            is_failed: false,
            has_been_good: false,
            sound_since: None,
            flaps: 0,
            effects: VecDeque::new(),
        })
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Moment, input: Input) {
        self.excuse(now);
        match input {
            Input::Connected { conn } => self.connected(now, conn),
            Input::Lost { conn } => self.lost(now, conn),
            Input::Answered { conn, no, at, device } => self.answered(now, conn, no, at, device),
            Input::Heard => {
                if let Some(line) = &mut self.line {
                    line.heard_at = now;
                }
            }
            Input::FailedByHand => {
                self.is_failed = true;
                self.change(now, PathState::Lost, Reason::ByHand);
            }
            Input::RestoredByHand => self.restored(now),
            Input::TimePassed => {}
        }
        self.beat(now);
        debug_assert!(self.deadline().is_none_or(|deadline| deadline > now));
    }

    /// The next effect; `None` when all are taken. Those of one input are at most three.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::TimePassed`] is due; `None` for never.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.line.as_ref().map(|line| line.deadline(&self.limits))
    }

    /// How it does.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Since when.
    #[must_use]
    pub fn since(&self) -> Moment {
        self.since
    }

    /// What a heartbeat takes, smoothed; `None` before the first answer of its connection.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.line.as_ref().and_then(|line| line.round_trip)
    }

    /// The time by which the machine is run late is no silence of the storage.
    fn excuse(&mut self, now: Moment) {
        let Some(line) = &mut self.line else { return };
        let late = now.since(line.deadline(&self.limits));
        line.answered_at = line.answered_at.after(late).min(now);
    }

    fn connected(&mut self, now: Moment, conn: ConnId) {
        if self.last_conn.is_some_and(|last| conn <= last) {
            return;
        }
        self.last_conn = Some(conn);
        if self.line.is_some() {
            self.lose(now, Reason::ConnectionLost);
        }
        self.line = Some(Line::new(now, conn));
    }

    fn lost(&mut self, now: Moment, conn: ConnId) {
        self.last_conn = self.last_conn.max(Some(conn));
        if self.line.as_ref().is_some_and(|line| line.conn == conn) {
            self.line = None;
            self.lose(now, Reason::ConnectionLost);
        }
    }

    fn lose(&mut self, now: Moment, reason: Reason) {
        self.sound_since = None;
        if !self.is_failed {
            self.change(now, PathState::Lost, reason);
        }
    }

    fn answered(&mut self, now: Moment, conn: ConnId, no: u64, at: Moment, device: Device) {
        let limits = &self.limits;
        let Some(line) = self.line.as_mut().filter(|line| line.conn == conn) else { return };
        let Some(sent_at) = line.settle(no) else { return };
        let took = at.min(now).since(sent_at);
        line.heard_at = now;
        if took >= limits.silence_max {
            // It may have lain on the way since before the path broke.
            return;
        }
        line.is_silent = false;
        line.answered_at = line.answered_at.max(at.min(now));
        let smoothed = line.round_trip.map_or(took, |before| (before * 7 + took) / 8);
        line.round_trip = Some(smoothed);
        let is_slow = smoothed > limits.slow_round_trip;
        line.slow_since = is_slow.then(|| line.slow_since.unwrap_or(now));
        // A storage that was started anew counts from nothing.
        let has_failed = line.failures.is_some_and(|before| device.failures > before);
        line.failures = Some(device.failures);
        let slow_enough = |since: Moment| now.since(since) >= limits.slow_for;
        let trouble = if line.slow_since.is_some_and(slow_enough) {
            Some(Reason::Slow)
        } else if has_failed {
            Some(Reason::DeviceErrors)
        } else {
            (device.oldest > limits.slow_device).then_some(Reason::DeviceSlow)
        };
        let is_sound = trouble.is_none() && line.slow_since.is_none();
        self.sound_since = is_sound.then(|| self.sound_since.unwrap_or(now));
        self.judge(now, trouble);
    }

    /// What an answer in time, with this trouble, makes of the path.
    fn judge(&mut self, now: Moment, trouble: Option<Reason>) {
        if self.is_failed {
            return;
        }
        let is_steady = self.sound_since.is_some_and(|since| now.since(since) >= self.wait());
        match (self.status.state, trouble) {
            (_, Some(reason)) => self.change(now, PathState::Degraded, reason),
            (PathState::Lost, None) if !self.has_been_good => {
                self.change(now, PathState::Good, Reason::Answered);
            }
            (PathState::Lost, None) => self.change(now, PathState::Degraded, Reason::Unproven),
            (PathState::Degraded, None) if is_steady => {
                self.change(now, PathState::Good, Reason::Steady);
            }
            (PathState::Degraded | PathState::Good, None) => {}
        }
    }

    fn restored(&mut self, now: Moment) {
        if !std::mem::take(&mut self.is_failed) {
            return;
        }
        self.sound_since = None;
        match &self.line {
            None => self.change(now, PathState::Lost, Reason::ConnectionLost),
            Some(line) if line.is_silent || line.round_trip.is_none() => {
                self.change(now, PathState::Lost, line.silence(&self.limits));
            }
            Some(_) => self.change(now, PathState::Degraded, Reason::Unproven),
        }
    }

    fn beat(&mut self, now: Moment) {
        let Some(line) = &mut self.line else { return };
        if now >= line.beat_at {
            self.last_no += 1;
            let no = self.last_no;
            self.effects.push_back(Effect::Beat { conn: line.conn, no });
            if line.sent.len() >= BEATS_MAX as usize {
                line.sent.pop_front();
            }
            line.sent.push_back((no, now));
            line.beat_at = now.after(self.limits.beat_every);
        }
        if !line.is_silent && now >= line.answered_at.after(self.limits.silence_max) {
            line.is_silent = true;
            line.slow_since = None;
            let reason = line.silence(&self.limits);
            self.lose(now, reason);
        }
    }

    /// How long it must be sound before it is good.
    fn wait(&self) -> Duration {
        let doublings = self.flaps.saturating_sub(1);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.limits.steady_for.saturating_mul(factor).min(self.limits.steady_max)
    }

    fn change(&mut self, now: Moment, state: PathState, reason: Reason) {
        let (from, to) = (self.status, Status { state, reason });
        if from == to {
            return;
        }
        if from.state == PathState::Good && !self.is_failed {
            let is_trusted = now.since(self.since) >= self.limits.steady_max;
            self.flaps = if is_trusted { 1 } else { self.flaps.saturating_add(1) };
        }
        self.has_been_good |= state == PathState::Good;
        self.status = to;
        self.since = now;
        self.effects.push_back(Effect::Changed { from, to });
    }
}

#[cfg(test)]
mod tests;
