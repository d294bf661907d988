//! A snapshot that comes from the leader, part by part.

use bytes::Bytes;
use openraft::storage::Snapshot;

use super::message::{PeerRefusal, SnapshotPart, split};
use crate::StoreError;
use crate::consensus::entry::{decode_log_id, decode_members};
use crate::consensus::rows::{SnapshotMeta, SnapshotOf, SnapshotRows};
use crate::offload::Offload;
use crate::state::{Replacement, ShardState};

/// The parts that came so far.
#[derive(Debug)]
pub(super) struct Arriving<S: ShardState> {
    snapshot: u64,
    next: u32,
    rows: S::Replacement,
}

/// What the next part makes of it.
pub(super) enum Arrived<S: ShardState> {
    /// More is to come.
    Partly(Arriving<S>),
    /// All of it is here.
    Wholly(SnapshotOf<S>),
}

impl<S: ShardState> Arriving<S> {
    /// Takes a part: the first begins a new one, all others go on with the one that was begun.
    pub(super) async fn take(
        before: Option<Self>,
        shard: S,
        offload: Offload,
        part: SnapshotPart,
    ) -> Result<Arrived<S>, PeerRefusal> {
        let mut arriving = match before {
            Some(begun) if begun.snapshot == part.snapshot && begun.next == part.number => begun,
            begun if part.number == 0 => {
                tracing::info!(snapshot = part.snapshot, "the rows of a shard begin to arrive");
                let begin = move || {
                    drop(begun);
                    shard.replacement()
                };
                let rows = offload.run(begin).await.and_then(|begun| begun).map_err(store)?;
                Self { snapshot: part.snapshot, next: 0, rows }
            }
            _other => return Err(PeerRefusal::Gap),
        };
        arriving.next += 1;
        let parts = split(part.body).map_err(|_unreadable| PeerRefusal::Unreadable)?;
        if part.is_last {
            let meta = meta(parts).ok_or(PeerRefusal::Unreadable)?;
            let (snapshot, parts) = (part.snapshot, part.number);
            tracing::info!(snapshot, parts, "the rows of a shard are here");
            let snapshot = SnapshotRows::Arrived(arriving.rows);
            return Ok(Arrived::Wholly(Snapshot { meta, snapshot }));
        }
        let mut parts = parts.into_iter();
        let mut rows = Vec::new();
        while let Some(key) = parts.next() {
            rows.push((key, parts.next().ok_or(PeerRefusal::Unreadable)?));
        }
        let put = move || arriving.rows.put(rows).map(|()| arriving);
        let arriving = offload.run(put).await.and_then(|put| put).map_err(store)?;
        Ok(Arrived::Partly(arriving))
    }
}

fn meta(parts: Vec<Bytes>) -> Option<SnapshotMeta> {
    let [last, members]: [Bytes; 2] = parts.try_into().ok()?;
    let last_log_id = decode_log_id(last).ok()?;
    Some(SnapshotMeta { last_log_id, last_membership: decode_members(members).ok()? })
}

fn store(error: StoreError) -> PeerRefusal {
    tracing::error!(%error, "a snapshot was not taken");
    PeerRefusal::Store
}
