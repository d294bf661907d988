//! Keeps a log from taking more of the disk than it should.
//!
//! The library is told not to: it purges by the number of entries alone, also what a replica that
//! is just being sent the rows needs next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::consensus::logs::ShardLog;
use crate::consensus::rows::ShardRows;
use crate::consensus::{LogId, Types};
use crate::log::LogEngine;
use crate::state::ShardState;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So much more is kept while rows are being sent.
const SENDING_TIMES: u64 = 8;

/// What a log keeps.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Entries behind a flush, for replicas that are a little late.
    pub entries: u64,
    /// Bytes of entries past which rows are flushed and half of them go, however few they are.
    pub bytes: u64,
}

/// How many replicas are being sent the rows. A clone counts the same.
#[derive(Clone, Debug, Default)]
pub struct Sending(Arc<AtomicUsize>);

impl Sending {
    /// One more, until this is dropped.
    pub(crate) fn begin(&self) -> SendingOne {
        self.0.fetch_add(1, Ordering::Relaxed);
        SendingOne(self.clone())
    }

    fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

#[derive(Debug)]
pub(crate) struct SendingOne(Sending);

impl Drop for SendingOne {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Purges the log of what it need not keep, and flushes the rows first where that is in the way.
/// Ends with the library's work.
pub(super) async fn trim<E: LogEngine, S: ShardState>(
    log: ShardLog<E>,
    kept: Kept,
    sending: Sending,
    raft: Raft<Types, ShardRows<S>>,
    mut in_use: watch::Receiver<()>,
) {
    let (mut asked, mut was_sending) = (0, false);
    loop {
        tokio::select! {
            biased;
            _over = in_use.changed() => return,
            () = sleep_until(Instant::now() + LOOK_EVERY) => {}
        }
        let is_sending = sending.is_any();
        let (flushed, purged) = reached(&raft);
        let seen = Seen {
            flushed,
            purged,
            asked,
            leads: raft.is_leader(),
            // Whoever has the rows now asks for entries at once, and holds them by that.
            is_sending: is_sending || was_sending,
        };
        was_sending = is_sending;
        let done = match step(seen, kept, |bytes| log.excess(bytes)) {
            Step::Nothing => Ok(()),
            Step::Flush => raft.trigger().snapshot().await,
            Step::Purge(upto) => {
                asked = upto;
                raft.trigger().purge_log(upto).await
            }
        };
        if done.is_err() {
            return;
        }
    }
}

/// Up to where the rows are flushed, and up to where the log is purged.
fn reached<S: ShardState>(raft: &Raft<Types, ShardRows<S>>) -> (u64, u64) {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let index = |log_id: Option<LogId>| log_id.map_or(0, |log_id| log_id.index);
    (index(metrics.snapshot), index(metrics.purged))
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    flushed: u64,
    purged: u64,
    /// Up to where a purge was asked for last.
    asked: u64,
    leads: bool,
    is_sending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Flush,
    Purge(u64),
}

fn step(seen: Seen, kept: Kept, excess: impl Fn(u64) -> Option<u64>) -> Step {
    let Seen { flushed, purged, asked, leads, is_sending } = seen;
    if purged < asked {
        // A leader's waits until all who are being sent entries are past it, and would wait for
        // ever if it was made a later one. One that leads no longer takes it up with a flush.
        return if leads { Step::Nothing } else { Step::Flush };
    }
    let upto = if is_sending {
        excess(kept.bytes.saturating_mul(SENDING_TIMES))
    } else {
        excess(kept.bytes).max(Some(flushed.saturating_sub(kept.entries)))
    };
    match upto {
        Some(upto) if upto > flushed => Step::Flush,
        Some(upto) if upto > purged => Step::Purge(upto),
        _not_past => Step::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Kept = Kept { entries: 100, bytes: 1000 };
    const SEEN: Seen =
        Seen { flushed: 500, purged: 400, asked: 400, leads: true, is_sending: false };

    #[test]
    fn what_is_past_either_bound_is_purged_once_it_is_flushed() {
        let light = |_bytes| None;
        let heavy = |upto| move |bytes| (bytes == KEPT.bytes).then_some(upto);
        assert_eq!(step(SEEN, KEPT, light), Step::Nothing);
        assert_eq!(step(Seen { flushed: 600, ..SEEN }, KEPT, light), Step::Purge(500));
        assert_eq!(step(SEEN, KEPT, heavy(450)), Step::Purge(450));
        assert_eq!(step(SEEN, KEPT, heavy(501)), Step::Flush);
        assert_eq!(step(Seen { flushed: 501, ..SEEN }, KEPT, heavy(501)), Step::Purge(501));
    }

    #[test]
    fn while_rows_are_sent_more_is_kept_but_not_without_end() {
        let sending = Seen { flushed: 9000, is_sending: true, ..SEEN };
        let of = |limit| move |bytes| (bytes < limit).then_some(8000);
        assert_eq!(step(sending, KEPT, of(8 * KEPT.bytes)), Step::Nothing);
        assert_eq!(step(sending, KEPT, of(8 * KEPT.bytes + 1)), Step::Purge(8000));
    }

    #[test]
    fn a_purge_that_waits_is_not_made_a_later_one() {
        let waiting = Seen { asked: 450, ..SEEN };
        assert_eq!(step(waiting, KEPT, |_bytes| Some(480)), Step::Nothing);
        let follows = Seen { leads: false, ..waiting };
        assert_eq!(step(follows, KEPT, |_bytes| Some(480)), Step::Flush);
        let done = Seen { purged: 450, ..waiting };
        assert_eq!(step(done, KEPT, |_bytes| Some(480)), Step::Purge(480));
    }
}
