//! Sessions: a command that arrives again is answered again and not done again.
//!
//! Source: D. Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 6.3.

use bytes::{BufMut, Bytes};

use super::count::{number, read_number};
use super::damaged;
use super::keys::{answer_key, session_key, session_of, session_range, system_key};
use super::overlay::Overlay;
use crate::StoreError;
use crate::command::{Answer, Attempt, WINDOW};
use crate::encoding::{DecodeError, Reader};
use crate::state::ShardState;

/// Sessions that a shard can have.
pub const SESSIONS_MAX: u64 = 65_536;
/// How long a session may be unused before a new one may take its place, milliseconds.
pub const SESSION_IDLE_MS: u64 = 60 * 60 * 1000;
/// How often it is written down that a session is used, milliseconds.
const USED_EVERY_MS: u64 = 60 * 1000;
/// Sessions that are looked at for their age whenever one is opened.
const AGED_AT_ONCE: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Session {
    answered_below: u64,
    used_ms: u64,
    /// No attempt from this sequence on was done.
    done_below: u64,
}

impl Session {
    fn encode(self) -> Bytes {
        let mut out = Vec::with_capacity(24);
        out.put_u64_le(self.answered_below);
        out.put_u64_le(self.used_ms);
        out.put_u64_le(self.done_below);
        out.into()
    }

    fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let (answered_below, used_ms) = (from.u64()?, from.u64()?);
        // Format 1 has no such number.
        let done_below = if from.is_empty() { u64::MAX } else { from.u64()? };
        from.end()?;
        Ok(Self { answered_below, used_ms, done_below })
    }
}

/// What an attempt is to be met with, if it is not to be done; forgets what the client has.
pub(super) fn begin<S: ShardState>(
    rows: &mut Overlay<S>,
    attempt: Attempt,
    now_ms: u64,
) -> Result<Option<Answer>, StoreError> {
    let Some(session) = read(rows, attempt.session)? else {
        return Ok(Some(Answer::NoSession));
    };
    let answered_below = session.answered_below.max(attempt.answered_below);
    if attempt.sequence < answered_below {
        return Ok(Some(Answer::StaleSequence));
    }
    if attempt.sequence - answered_below >= WINDOW
        || answered_below - session.answered_below > WINDOW
    {
        return Ok(Some(Answer::TooFarAhead));
    }
    if attempt.sequence < session.done_below
        && let Some(given) = rows.get(&answer_key(attempt.session, attempt.sequence))?
    {
        return Answer::decode(given).map(Some).map_err(|why| damaged("an answer", why));
    }
    for sequence in session.answered_below..answered_below {
        rows.delete(answer_key(attempt.session, sequence));
    }
    let is_aged = now_ms.saturating_sub(session.used_ms) >= USED_EVERY_MS;
    let used_ms = if is_aged { now_ms } else { session.used_ms };
    let done_below = session.done_below.max(attempt.sequence.saturating_add(1));
    let session = Session { answered_below, used_ms, done_below };
    rows.put(session_key(attempt.session), session.encode());
    Ok(None)
}

/// Keeps what an attempt came to, until its client has it.
pub(super) fn end<S: ShardState>(rows: &mut Overlay<S>, attempt: Attempt, answer: &Answer) {
    let mut out = Vec::new();
    answer.encode(&mut out);
    rows.put(answer_key(attempt.session, attempt.sequence), out.into());
}

/// Begins a session. A few of the others are looked at, and those long unused go.
pub(super) fn open<S: ShardState>(
    rows: &mut Overlay<S>,
    session: u64,
    now_ms: u64,
) -> Result<Answer, StoreError> {
    let mut count = age(rows, now_ms)?;
    if count >= SESSIONS_MAX {
        return Ok(Answer::TooManySessions);
    }
    count += 1;
    rows.put(system_key("sessions"), number(count));
    let opened = Session { answered_below: 0, used_ms: now_ms, done_below: 0 };
    rows.put(session_key(session), opened.encode());
    Ok(Answer::Opened { session })
}

/// Ends a session and forgets its answers.
pub(super) fn close<S: ShardState>(
    rows: &mut Overlay<S>,
    session: u64,
) -> Result<Option<()>, StoreError> {
    let Some(found) = read(rows, session)? else { return Ok(None) };
    rows.delete(session_key(session));
    let from = answer_key(session, found.answered_below);
    let to = answer_key(session, found.answered_below.saturating_add(WINDOW));
    for (key, _answer) in rows.scan(&from, &to, usize::MAX)? {
        rows.delete(key);
    }
    let count = read_number(rows, "sessions")?;
    rows.put(system_key("sessions"), number(count.saturating_sub(1)));
    Ok(Some(()))
}

/// Looks at the next few sessions, ends those long unused; gives how many there are.
fn age<S: ShardState>(rows: &mut Overlay<S>, now_ms: u64) -> Result<u64, StoreError> {
    let (from, to) = session_range(read_number(rows, "aged")?);
    let looked_at = rows.scan(&from, &to, AGED_AT_ONCE)?;
    let mut next = 0;
    for (key, value) in &looked_at {
        let id = session_of(key).ok_or_else(|| damaged("a session", "its key"))?;
        let session = decode(value.clone())?;
        if now_ms.saturating_sub(session.used_ms) >= SESSION_IDLE_MS {
            let _gone = close(rows, id)?;
        }
        next = id.saturating_add(1);
    }
    let is_end = looked_at.len() < AGED_AT_ONCE;
    rows.put(system_key("aged"), number(if is_end { 0 } else { next }));
    read_number(rows, "sessions")
}

fn read<S: ShardState>(rows: &mut Overlay<S>, session: u64) -> Result<Option<Session>, StoreError> {
    rows.get_and_keep(session_key(session))?.map(decode).transpose()
}

fn decode(bytes: Bytes) -> Result<Session, StoreError> {
    Session::decode(bytes).map_err(|why| damaged("a session", why))
}
