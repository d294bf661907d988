//! Changes of a shard, as they come.

use std::collections::VecDeque;

use super::error::DbError;
use super::shard::Shard;
use crate::ShardId;
use crate::machine::Event;
use crate::watch::{Filter, Notice, Told};

/// From where on changes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFrom {
    /// All that is committed after the watch has begun.
    Now,
    /// All behind this revision.
    After(u64),
}

/// What one who watches is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// A revision changed rows that are watched: all those that it did, at once. Read them with
    /// [`AtLeast`](super::Freshness::AtLeast) this revision, and they are not older than this.
    Changes {
        /// The revision; they come in order, each once.
        revision: u64,
        /// The changes, in the order in which they were made.
        changes: Vec<Event>,
    },
    /// Nothing changed for a while. Nothing older than this will come, and the shard was no
    /// further when this was said.
    Progress {
        /// The revision.
        revision: u64,
    },
    /// What changed up to this revision is not known any more: read all rows that matter, with
    /// [`AtLeast`](super::Freshness::AtLeast) it. What changes behind it comes next.
    Resync {
        /// The revision.
        revision: u64,
    },
}

impl WatchEvent {
    /// The revision that it tells of.
    #[must_use]
    pub fn revision(&self) -> u64 {
        let (Self::Changes { revision, .. }
        | Self::Progress { revision }
        | Self::Resync { revision }) = self;
        *revision
    }
}

/// Changes of one shard, one revision after the other, whoever leads it.
///
/// What is not asked for is kept nowhere but in the shard's record of changes. Who falls more than
/// 65,536 revisions behind is told to [resync](WatchEvent::Resync).
#[derive(Debug)]
pub struct Watch {
    shard: Shard,
    filter: Filter,
    /// Up to here all has come from the replicas.
    known: u64,
    /// Up to here all was given to the caller.
    given: u64,
    ready: VecDeque<Notice>,
}

impl Watch {
    pub(super) fn new(shard: Shard, filter: Filter, after: u64) -> Self {
        Self { shard, filter, known: after, given: after, ready: VecDeque::new() }
    }

    /// Which shard it is of.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard.id()
    }

    /// Up to which revision all was given: another watch may go on
    /// [after](WatchFrom::After) it.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.given
    }

    /// What has come with what was given last, without asking anybody.
    pub fn ready(&mut self) -> Option<WatchEvent> {
        let Notice { revision, changes } = self.ready.pop_front()?;
        self.given = revision;
        Some(WatchEvent::Changes { revision, changes })
    }

    /// What comes next; half a second without changes is [progress](WatchEvent::Progress).
    ///
    /// Cancel-safe. After an error it may be called again, and goes on where it was.
    ///
    /// # Errors
    ///
    /// [`DbError`]: `Unavailable` if no leader was found for as long as a call may take,
    /// `TooManyWatches` if it has as many as it can have.
    pub async fn next(&mut self) -> Result<WatchEvent, DbError> {
        loop {
            if let Some(event) = self.ready() {
                return Ok(event);
            }
            self.given = self.known;
            match self.shard.changes(&self.filter, self.known).await? {
                Told::Changes { notices, through, is_current } => {
                    if notices.first().is_some_and(|first| first.revision <= self.known) {
                        return Err(DbError::Unexpected);
                    }
                    self.known = self.known.max(through);
                    self.ready = notices.into();
                    if is_current && self.ready.is_empty() {
                        return Ok(WatchEvent::Progress { revision: through });
                    }
                }
                Told::Compacted { revision, .. } => {
                    (self.known, self.given) = (revision, revision);
                    return Ok(WatchEvent::Resync { revision });
                }
            }
        }
    }
}
