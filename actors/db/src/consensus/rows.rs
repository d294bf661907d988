//! The rows of one shard, as the consensus library wants them.
//!
//! Committed commands are [applied](crate::machine) a batch at a time, with one write that also
//! says how far they are. That write is not synced: what a crash takes back is applied again from
//! the log, which is purged only up to what a flush has made safe. So the flush is what a
//! "snapshot" is here; the rows themselves are read when one is sent.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::type_config::alias::SnapshotMetaOf;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use super::entry::{Proposal, decode_log_id, decode_members, encode_log_id, encode_members};
use super::recent::Recent;
use super::{LogId, StoredMembership, Types};
use crate::StoreError;
use crate::command::{Answer, Command};
use crate::machine::{Event, Overlay, apply, damaged, forget_events, system_key};
use crate::offload::Offload;
use crate::state::{Replacement, ShardState, View};

const APPLIED: &str = "applied";
const MEMBERS: &str = "members";
/// Bytes of rows that are copied at once.
const COPY_BYTES: usize = 1 << 20;

/// How far a set of rows is, and whose they are.
pub type SnapshotMeta = SnapshotMetaOf<Types>;

/// All rows of a shard, to be sent or just come.
#[derive(Debug)]
pub enum SnapshotRows<S: ShardState> {
    /// Those of this replica: read when they are sent, and then as far as they are.
    Here(S),
    /// Those of another one, that are to take the place of ours.
    Arrived(S::Replacement),
}

/// The rows of one shard.
#[derive(Debug)]
pub struct ShardRows<S> {
    rows: S,
    offload: Offload,
    applied: Option<LogId>,
    members: StoredMembership,
    progress: watch::Sender<u64>,
    recent: Recent,
    /// Never written.
    in_use: watch::Sender<()>,
    /// How far the last flush reaches.
    flushed: Arc<Mutex<Option<SnapshotMeta>>>,
}

impl<S: ShardState> ShardRows<S> {
    /// Of a shard whose rows are these.
    ///
    /// # Errors
    ///
    /// As the store says.
    pub fn open(rows: S, offload: Offload) -> Result<Self, StoreError> {
        let meta = read_meta(|key| rows.get(key))?;
        let applied = index_of(meta.last_log_id.as_ref());
        let (progress, _) = watch::channel(applied);
        Ok(Self {
            rows,
            offload,
            applied: meta.last_log_id,
            members: meta.last_membership,
            progress,
            recent: Recent::new(applied),
            in_use: watch::Sender::new(()),
            flushed: Arc::default(),
        })
    }

    /// Up to which index commands are applied, as it grows.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// Changes when the library has no use for them any more: its work has ended, or panicked.
    pub(crate) fn in_use(&self) -> watch::Receiver<()> {
        self.in_use.subscribe()
    }

    /// What the last revisions changed: as far as [`progress`](Self::progress) says, or further.
    #[must_use]
    pub fn recent(&self) -> Recent {
        self.recent.clone()
    }

    fn apply_one(
        &mut self,
        rows: &mut Overlay<S>,
        log_id: LogId,
        payload: EntryPayload<Proposal, u64, super::entry::Host>,
    ) -> Result<(Answer, Vec<Event>), StoreError> {
        self.applied = Some(log_id);
        match payload {
            EntryPayload::Blank => forget_events(rows, log_id.index),
            EntryPayload::Membership(membership) => {
                forget_events(rows, log_id.index);
                self.members = StoredMembership::new(Some(log_id), membership);
                rows.put(system_key(MEMBERS), encode_members(&self.members));
            }
            EntryPayload::Normal(Proposal { now_ms, command }) => {
                let command = Command::decode(command);
                let command = command.map_err(|why| damaged("a committed command", why))?;
                return apply(rows, log_id.index, now_ms, command);
            }
        }
        Ok((Answer::Done { revision: log_id.index }, Vec::new()))
    }
}

fn index_of(log_id: Option<&LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index)
}

/// How far rows are, from the rows themselves.
///
/// # Errors
///
/// As the store says.
pub fn read_meta(
    mut get: impl FnMut(&[u8]) -> Result<Option<Bytes>, StoreError>,
) -> Result<SnapshotMeta, StoreError> {
    let applied = get(&system_key(APPLIED))?.map(decode_log_id).transpose();
    let members = get(&system_key(MEMBERS))?.map(decode_members).transpose();
    Ok(SnapshotMeta {
        last_log_id: applied.map_err(|why| damaged(APPLIED, why))?.flatten(),
        last_membership: members.map_err(|why| damaged(MEMBERS, why))?.unwrap_or_default(),
    })
}

/// Up to which index the rows are, from the rows themselves.
///
/// # Errors
///
/// As the store says.
pub(crate) fn read_applied<S: ShardState>(rows: &S) -> Result<u64, StoreError> {
    Ok(index_of(read_meta(|key| rows.get(key))?.last_log_id.as_ref()))
}

/// All rows as they are now, and how far that is.
pub(crate) fn view_with_meta<S: ShardState>(
    rows: &S,
) -> Result<(SnapshotMeta, S::View), StoreError> {
    let mut view = rows.view()?;
    let meta = read_meta(|key| view.get(key))?;
    Ok((meta, view))
}

/// All rows of one store, about to take the place of those of another.
fn copy<S: ShardState>(from: &S, to: &S) -> Result<S::Replacement, StoreError> {
    let (mut view, mut replacement) = (from.view()?, to.replacement()?);
    loop {
        let rows = view.next(COPY_BYTES)?;
        if rows.is_empty() {
            return Ok(replacement);
        }
        replacement.put(rows)?;
    }
}

/// Makes the rows safe up to where they are.
#[derive(Debug)]
pub struct Flush<S> {
    rows: S,
    offload: Offload,
    meta: SnapshotMeta,
    flushed: Arc<Mutex<Option<SnapshotMeta>>>,
}

impl<S: ShardState> RaftSnapshotBuilder<Types> for Flush<S> {
    type SnapshotData = SnapshotRows<S>;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<S>, io::Error> {
        let rows = self.rows.clone();
        let flushed = self.offload.run(move || rows.flush()).await;
        flushed.and_then(|result| result).map_err(io::Error::other)?;
        let mut last = self.flushed.lock().expect("nothing panics while it holds this");
        *last = Some(self.meta.clone());
        Ok(Snapshot { meta: self.meta.clone(), snapshot: SnapshotRows::Here(self.rows.clone()) })
    }
}

/// A snapshot, as the library has them.
pub type SnapshotOf<S> = openraft::type_config::alias::SnapshotOf<Types, SnapshotRows<S>>;

impl<S: ShardState> RaftStateMachine<Types> for ShardRows<S> {
    type SnapshotData = SnapshotRows<S>;
    type SnapshotBuilder = Flush<S>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.members.clone()))
    }

    async fn apply<I>(&mut self, mut entries: I) -> Result<(), io::Error>
    where
        I: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut rows = Overlay::new(self.rows.clone());
        let (mut answers, mut revised) = (Vec::new(), Vec::new());
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            let log_id = entry.log_id();
            let applied = self.apply_one(&mut rows, log_id, entry.payload);
            let (answer, events) = applied.map_err(io::Error::other)?;
            answers.push((responder, answer));
            if !events.is_empty() {
                revised.push((log_id.index, events));
            }
        }
        rows.put(system_key(APPLIED), encode_log_id(self.applied.as_ref()));
        self.rows.write(rows.into_changes()).map_err(io::Error::other)?;
        let applied = index_of(self.applied.as_ref());
        self.recent.publish(revised, applied);
        self.progress.send_replace(applied);
        for (responder, answer) in answers {
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        let meta =
            SnapshotMeta { last_log_id: self.applied, last_membership: self.members.clone() };
        let (rows, flushed) = (self.rows.clone(), Arc::clone(&self.flushed));
        Flush { rows, offload: self.offload, meta, flushed }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotRows<S>,
    ) -> Result<(), io::Error> {
        let rows = self.rows.clone();
        let install = move || match snapshot {
            SnapshotRows::Arrived(replacement) => replacement.commit(),
            SnapshotRows::Here(other) => copy(&other, &rows)?.commit(),
        };
        let committed = self.offload.run(install).await;
        committed.and_then(|result| result).map_err(io::Error::other)?;
        let found = read_meta(|key| self.rows.get(key)).map_err(io::Error::other)?;
        if found != *meta {
            let what = "the rows that came: they are not as far as was said".to_owned();
            return Err(io::Error::other(StoreError::Damaged { what }));
        }
        self.applied = found.last_log_id;
        self.members = found.last_membership;
        *self.flushed.lock().expect("nothing panics while it holds this") = Some(meta.clone());
        let applied = index_of(self.applied.as_ref());
        self.recent.restart(applied);
        self.progress.send_replace(applied);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<S>>, io::Error> {
        let flushed = self.flushed.lock().expect("nothing panics while it holds this").clone();
        let rows = self.rows.clone();
        Ok(flushed.map(|meta| Snapshot { meta, snapshot: SnapshotRows::Here(rows) }))
    }
}
