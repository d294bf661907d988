//! When a link that is silent by itself is asked for a sign of life, and when it is found dead.
//!
//! ```text
//!            somebody waits              no sign for `keep_alive`
//!   resting ────────────────▶ watching ──────────────────────────▶ asking ──▶ found silent
//!      ▲                       │    ▲                               │  ▲  │
//!      └─ at a look: nobody ───┘    └──────────── a sign ───────────┘  └──┘ every `keep_alive`
//! ```
//!
//! Invariants:
//! 1. While resting nothing is sent, and no look is due.
//! 2. Nobody is found silent who was not asked, and given `idle_timeout − keep_alive` to answer.
//! 3. A peer that gives no sign any more is found silent `idle_timeout` after the wait began, or
//!    `idle_timeout + keep_alive` after its last sign, at the latest.

use std::time::Duration;

use crate::clock::Instant;

/// What the driver is to do after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Send something that the peer acknowledges.
    Ask,
    /// Close the connection: the peer is silent.
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Resting,
    Watching { look_at: Instant },
    Asking { look_at: Instant, until: Instant },
}

/// Watches one connection while somebody waits on it.
#[derive(Debug)]
pub(crate) struct Vigil {
    keep_alive: Duration,
    idle_timeout: Duration,
    state: State,
    /// Signs of life that the connection had counted at the last look.
    signs: u64,
}

impl Vigil {
    pub(crate) fn new(keep_alive: Duration, idle_timeout: Duration) -> Self {
        Self { keep_alive, idle_timeout, state: State::Resting, signs: 0 }
    }

    /// When the next look is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Resting => None,
            State::Watching { look_at } | State::Asking { look_at, .. } => Some(look_at),
        }
    }

    /// Nothing is to be watched any more.
    pub(crate) fn rest(&mut self) {
        self.state = State::Resting;
    }

    /// Watches from now on, for one `keep_alive` at least: somebody waits, or may soon.
    pub(crate) fn watch(&mut self, now: Instant, signs: u64) {
        self.signs = signs;
        self.state = State::Watching { look_at: now.after(self.keep_alive) };
    }

    /// Looks whether somebody still waits, and whether there were signs of life.
    pub(crate) fn look(&mut self, now: Instant, is_awaited: bool, signs: u64) -> Option<Effect> {
        if self.deadline().is_none_or(|due| now < due) {
            return None;
        }
        if !is_awaited {
            self.rest();
            return None;
        }
        if signs != self.signs {
            self.watch(now, signs);
            return None;
        }
        let until = match self.state {
            State::Resting => return None,
            State::Watching { .. } => now.after(self.idle_timeout.saturating_sub(self.keep_alive)),
            State::Asking { until, .. } => until,
        };
        if until <= now {
            self.rest();
            return Some(Effect::Cut);
        }
        self.state = State::Asking { look_at: now.after(self.keep_alive).min(until), until };
        Some(Effect::Ask)
    }
}

#[cfg(test)]
#[path = "vigil_tests.rs"]
mod tests;
