//! The owner of an LU's sessions, *L*: the client LPAR actor's side.
//!
//! ```text
//!            Started               Opened                  repaired
//!  (resting) ──────▶ opening ──────────────▶ repairing ──────────────▶ serving ──┐ all done,
//!              ▲        │ silence, NoPath,       │ failed, Down,        │        │ asked to close
//!              │        ▼ Down                   ▼ silence              │ Down,  ▼
//!              └──── waiting ◀───────────────────┘                      │ silence
//!                       ▲───────────────────────────────────────────────┘     closing ──▶ ended
//!                                       Refused by another owner, Gone: ended
//! ```
//!
//! Invariants:
//! 1. The owner alone makes sessions; their numbers rise, and one open is under way at a time.
//! 2. Requests that collide are carried out in the order of their arrival, over all sessions.
//! 3. Outside of a repair the map's life is the session's. While a repair replays, nothing else is
//!    sent.
//! 4. Each request is answered at most once, by a word of the session that is open.
//! 5. An owner that has ended sends and answers nothing.
//! 6. Requests, their bytes, the map and what is under way stay within [`OwnerLimits`].
//!
//! Source: redirect protocol, rules 1 to 11.

mod holding;
mod home;
mod input;
mod moving;
mod opening;
mod repair;
mod requests;
mod serving;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use super::chance::Chance;
use super::dirty::{DirtyMap, Mark};
use super::hold::{Hold, WriteId};
use super::limits::{LimitError, OwnerLimits};
use super::message::{Call, Why, Word};
use super::moment::Moment;
use super::name::{Epoch, Life, ViosId};
use crate::block::{Extent, Failure, Reply};
use home::Homes;
pub use input::{Attachment, Effect, End, Input, OwnerEvent};
use moving::Errand;
use repair::Repair;
use requests::{Asker, Requests, Ticket};

/// Entries that are looked at; those beyond are not.
pub const ENTRIES_MAX: usize = 64;

/// The owner of an LU's sessions. A pure machine: [`handle`](Self::handle) one input, then
/// [`poll`](Self::poll) until no effect is left, then wait for the next input or for the
/// [`deadline`](Self::deadline).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    limits: OwnerLimits,
    attachment: Attachment,
    chance: Chance,
    phase: Phase,
    /// The number of the last session.
    seq: u64,
    /// Index of the entry that is used.
    at: usize,
    avoid: Option<ViosId>,
    /// The exit of the session, once it is known.
    exit: Option<ViosId>,
    /// When the session, or its open, is given up unless a word comes.
    silent_at: Moment,
    /// Opens in a row that led to nothing.
    failures: u32,
    /// Since when nothing is served.
    lost_since: Moment,
    requests: Requests,
    sent: BTreeMap<u64, Attempt>,
    /// The last number that was sent in the session.
    last_no: u64,
    /// Answers heard in the session.
    answers: u64,
    /// Room in the map that writes under way may take.
    reserved: Room,
    dirty: DirtyMap,
    /// In which life all of the map was acknowledged.
    map_life: Option<Life>,
    /// What an earlier owner left has not been flushed yet.
    is_new: bool,
    /// An earlier owner's writes may be missing, and no client has been told.
    has_loss: bool,
    /// The next flush of a client fails with this.
    owed: Option<Failure>,
    errand: Errand,
    homes: Homes,
    /// What may still land on a storage that cannot fence.
    hold: Hold,
    size: Option<u64>,
    effects: VecDeque<Effect>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    Resting,
    /// Attempts of an earlier owner may still land; `None`: until somebody says that none can.
    Clearing {
        until: Option<Moment>,
    },
    Waiting {
        until: Moment,
    },
    Opening,
    Repairing(Repair),
    Serving,
    Closing,
    Ended(End),
}

/// A request of the present session that has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempt {
    kind: Kind,
    /// What it changes; nothing if it is no write.
    change: Option<(WriteId, Extent)>,
    sent_at: Moment,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    /// A client's, but for flushes.
    Request {
        ticket: Ticket,
        is_kept: bool,
        room: Room,
    },
    /// A range of the map.
    Replay,
    Flush {
        mark: Mark,
        cause: Cause,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Cause {
    Client(Ticket),
    Repair,
    /// To make room in the map, to move or to close, or to settle a loss that was told.
    Own,
}

/// Room in the map.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Room {
    ranges: usize,
    bytes: u64,
}

impl Owner {
    /// An owner that has not begun. All random choices come from `seed`.
    ///
    /// # Errors
    /// [`LimitError`] names the first setting that is out of range.
    pub fn new(
        limits: OwnerLimits,
        mut attachment: Attachment,
        seed: u64,
    ) -> Result<Self, LimitError> {
        limits.validate()?;
        attachment.entries.truncate(ENTRIES_MAX);
        Ok(Self {
            limits,
            attachment,
            chance: Chance::from_seed(seed),
            phase: Phase::Resting,
            seq: 0,
            at: 0,
            avoid: None,
            exit: None,
            silent_at: Moment::START,
            failures: 0,
            lost_since: Moment::START,
            requests: Requests::default(),
            sent: BTreeMap::new(),
            last_no: 0,
            answers: 0,
            reserved: Room::default(),
            dirty: DirtyMap::default(),
            map_life: None,
            is_new: true,
            has_loss: false,
            owed: None,
            errand: Errand::None,
            homes: Homes::new(),
            hold: Hold::default(),
            size: None,
            effects: VecDeque::new(),
        })
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Moment, input: Input) {
        if let Phase::Ended(_) = self.phase {
            return;
        }
        match input {
            Input::Started => self.start(now),
            Input::Asked { client, tag, request } => {
                self.asked(now, Asker { client, tag }, request);
            }
            Input::ClientLeft { client } => self.requests.forget_client(client),
            Input::Heard { entry, word } => self.heard(now, entry, word),
            Input::Spoilt { entry } => self.spoilt(now, entry),
            Input::EntryLost { entry } => self.entry_lost(now, entry),
            Input::EntryFound { entry } => self.entry_found(now, entry),
            Input::EntriesChanged { entries, near } => self.change_entries(now, entries, near),
            Input::Grown { size } => self.size = self.size.map(|known| known.max(size)),
            Input::AttemptsEnded => self.attempts_ended(now),
            Input::CloseAsked => self.ask_to_close(now),
            Input::TimePassed => self.time_passed(now),
        }
        self.go_on(now);
        self.check();
    }

    /// The next effect; `None` when all are taken. Those of one input are at most an answer for
    /// each request, as many calls as may be under way, and a few events.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::TimePassed`] is due; `None` for never.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let next = match self.phase {
            Phase::Resting | Phase::Ended(_) => return None,
            Phase::Clearing { until } => until,
            Phase::Waiting { until } => Some(until),
            Phase::Opening | Phase::Repairing(_) | Phase::Serving | Phase::Closing => {
                Some(self.silent_at)
            }
        };
        let others = [self.hold_until(), self.hold.deadline(), self.home_at()];
        others.into_iter().chain([next]).flatten().min()
    }

    /// Whether one more request with so many bytes of data may be asked for. If not, the sockets of
    /// clients are not read until it may.
    #[must_use]
    pub fn has_room(&self, payload: usize) -> bool {
        let bytes = u64::try_from(payload).unwrap_or(u64::MAX);
        self.requests.len() < self.limits.requests_max
            && self.requests.bytes().saturating_add(bytes) <= self.limits.request_bytes_max
    }

    /// The session that is open, being opened, or was last; its number is 0 before the first.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch { owner: self.attachment.owner, seq: self.seq }
    }

    /// Whether requests are carried out now.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving)
    }

    /// Whether acknowledged writes are being replayed or settled now.
    #[must_use]
    pub fn is_repairing(&self) -> bool {
        matches!(self.phase, Phase::Repairing(_))
    }

    /// Whether it waits for the time to open again.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. } | Phase::Clearing { .. })
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        match self.phase {
            Phase::Ended(end) => Some(end),
            Phase::Resting
            | Phase::Clearing { .. }
            | Phase::Waiting { .. }
            | Phase::Opening
            | Phase::Repairing(_)
            | Phase::Serving
            | Phase::Closing => None,
        }
    }

    /// Acknowledged writes that no flush has covered yet.
    #[must_use]
    pub fn dirty(&self) -> &DirtyMap {
        &self.dirty
    }

    /// Requests that are not answered or still hold their place.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    /// Requests under way in the session.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.sent.len()
    }

    /// Whether it waits until nothing of an earlier owner can land.
    #[must_use]
    pub fn is_clearing(&self) -> bool {
        matches!(self.phase, Phase::Clearing { .. })
    }

    /// Attempts of sessions that are over which may still land.
    #[must_use]
    pub fn unresolved(&self) -> usize {
        self.hold.len()
    }

    /// Bytes of the disk, once it was opened.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The exit of the session, as far as its entry has told.
    #[must_use]
    pub fn exit(&self) -> Option<ViosId> {
        self.exit
    }

    /// The VIOS that requests enter by, or that is tried.
    #[must_use]
    pub fn entry(&self) -> Option<ViosId> {
        self.attachment.entries.get(self.at).copied()
    }

    /// What may be under way now: a session begins with little, for others begin at the same time.
    fn under_way_max(&self) -> usize {
        let answers = usize::try_from(self.answers).unwrap_or(usize::MAX);
        self.limits.under_way_first.saturating_add(answers).min(self.limits.under_way_max)
    }

    fn send(&mut self, call: Call) {
        if let Some(entry) = self.entry() {
            self.effects.push_back(Effect::Send { entry, call });
        }
    }

    fn tell(&mut self, event: OwnerEvent) {
        self.effects.push_back(Effect::Tell(event));
    }

    fn answer(&mut self, asker: Asker, outcome: Result<Reply, Failure>) {
        let Asker { client, tag } = asker;
        self.effects.push_back(Effect::Answer { client, tag, outcome });
    }

    /// Sends whatever may be sent now.
    fn go_on(&mut self, now: Moment) {
        match self.phase {
            Phase::Repairing(_) => self.repair(now),
            Phase::Serving => self.serve(now),
            Phase::Resting
            | Phase::Clearing { .. }
            | Phase::Waiting { .. }
            | Phase::Opening
            | Phase::Closing
            | Phase::Ended(_) => {}
        }
    }

    fn end_with(&mut self, end: End) {
        self.phase = Phase::Ended(end);
        self.sent.clear();
        self.dirty = DirtyMap::default();
        let askers = self.requests.take_askers();
        if end == End::Gone {
            for asker in askers {
                self.answer(asker, Err(Failure::Io));
            }
        }
        self.effects.push_back(Effect::HangUp);
        self.tell(OwnerEvent::Ended(end));
    }

    fn time_passed(&mut self, now: Moment) {
        if self.hold_until().is_some_and(|until| until <= now) {
            self.give_up(now);
        }
        self.hold.expire(now);
        self.go_home(now);
        match self.phase {
            Phase::Waiting { until } | Phase::Clearing { until: Some(until) } if until <= now => {
                self.open(now);
            }
            Phase::Opening | Phase::Repairing(_) | Phase::Serving | Phase::Closing
                if self.silent_at <= now =>
            {
                self.fell_silent(now);
            }
            Phase::Resting
            | Phase::Clearing { .. }
            | Phase::Waiting { .. }
            | Phase::Opening
            | Phase::Repairing(_)
            | Phase::Serving
            | Phase::Closing
            | Phase::Ended(_) => {}
        }
    }

    /// When the next request is answered EIO, unless a session is served before.
    fn hold_until(&self) -> Option<Moment> {
        match self.phase {
            Phase::Clearing { .. }
            | Phase::Waiting { .. }
            | Phase::Opening
            | Phase::Repairing(_) => {
                let since = self.requests.oldest()?.max(self.lost_since);
                Some(since.after(self.limits.hold_max))
            }
            Phase::Resting | Phase::Serving | Phase::Closing | Phase::Ended(_) => None,
        }
    }

    /// Answers EIO to all requests that have waited for too long (rule 10).
    fn give_up(&mut self, now: Moment) {
        let age = now.since(Moment::START).saturating_sub(self.limits.hold_max);
        let askers = self.requests.give_up(Moment::START.after(age));
        let requests = askers.len();
        for asker in askers {
            self.answer(asker, Err(Failure::Io));
        }
        if requests > 0 {
            self.tell(OwnerEvent::HoldExpired { requests });
        }
    }

    fn check(&self) {
        let serves = matches!(self.phase, Phase::Serving | Phase::Closing);
        let is_open = serves || matches!(self.phase, Phase::Repairing(_));
        debug_assert!(is_open || self.sent.is_empty(), "something is under way without a session");
        debug_assert!(self.requests.len() <= self.limits.requests_max);
        debug_assert!(self.requests.bytes() <= self.limits.request_bytes_max);
        debug_assert!(self.sent.len() <= self.limits.under_way_max);
        debug_assert!(self.hold.len() <= self.limits.unresolved_max);
        let bytes = self.dirty.bytes() + self.reserved.bytes;
        debug_assert!(bytes <= self.limits.dirty_bytes_max);
        let ranges = self.dirty.ranges() + self.reserved.ranges;
        debug_assert!(ranges <= self.limits.dirty_ranges_max);
        #[cfg(debug_assertions)]
        self.requests.check(is_open);
    }

    /// What an entry says, if it belongs to the session that is open or being opened.
    fn heard(&mut self, now: Moment, entry: ViosId, word: Word) {
        let is_ours = self.entry() == Some(entry) && word.epoch() == self.epoch();
        let is_open =
            !matches!(self.phase, Phase::Resting | Phase::Clearing { .. } | Phase::Waiting { .. });
        if !is_ours || !is_open {
            return;
        }
        match word {
            Word::Via { exit, .. } => self.exit = Some(exit),
            Word::Opened { life, identity, settled, size, .. } => {
                self.opened(now, life, identity == settled, size);
            }
            Word::Draining { .. } => self.wait_on(now),
            Word::Refused { highest, holder, .. } => self.refused(now, highest, holder),
            Word::Gone { .. } => self.end_with(End::Gone),
            Word::NoPath { .. } => self.no_path(now),
            Word::Answer { no, outcome, .. } => self.answered(now, no, outcome),
            Word::Alive { taken, answered, .. } => self.alive(now, taken, answered),
            Word::Down { why, .. } => self.down(now, why),
            Word::Better { .. } => self.better(),
            Word::Closed { .. } => self.closed(),
            Word::Lease { beat, .. } => self.stay(beat),
            Word::Void { no, .. } => self.void(no),
        }
    }

    /// A word of the storage's came: it lives.
    fn wait_on(&mut self, now: Moment) {
        let wait = match self.phase {
            Phase::Opening => self.limits.open_max,
            Phase::Resting
            | Phase::Clearing { .. }
            | Phase::Waiting { .. }
            | Phase::Repairing(_)
            | Phase::Serving
            | Phase::Closing
            | Phase::Ended(_) => self.limits.silence_max,
        };
        self.silent_at = now.after(wait);
    }

    fn spoilt(&mut self, now: Moment, entry: ViosId) {
        if self.entry() == Some(entry) {
            self.down(now, Why::Spoilt);
        }
    }
}
