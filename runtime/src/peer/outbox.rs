//! Answers and control messages that a full lane did not take at once.
//!
//! What posts them cannot wait: an actor that did would keep others from being served. How many
//! there are is bounded by the peer's credit, for each ask keeps its own until its answer is here;
//! how long they are, by [`BYTES_MAX`]. Beyond it answers are dropped, and their askers' deadlines
//! tell.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use vioduct_transport::{Flow, SendError};

use super::{Peer, lock};

/// Bytes that wait for one peer.
const BYTES_MAX: usize = 16 << 20;

/// What keeping one costs besides.
const OVERHEAD_BYTES: usize = 128;

struct Parcel {
    flow: Flow,
    head: Vec<u8>,
    body: Bytes,
}

#[derive(Default)]
struct Spool {
    parcels: VecDeque<Parcel>,
    bytes: usize,
    is_draining: bool,
    dropped: u64,
}

#[derive(Default)]
pub(crate) struct Outbox {
    spool: Mutex<Spool>,
}

impl Outbox {
    /// Sends, or keeps what is to be sent. `which` finds this outbox again.
    pub(crate) fn post(
        &self,
        peer: &Arc<Peer>,
        which: fn(&Peer) -> &Self,
        flow: Flow,
        head: &[u8],
        body: &Bytes,
    ) -> Result<(), SendError> {
        let mut spool = lock(&self.spool);
        if !spool.is_draining {
            match peer.link.try_send(flow, head, body) {
                Err(SendError::Full { .. }) => {}
                other => return other.map(|_ticket| ()),
            }
        }
        let bytes = OVERHEAD_BYTES + head.len() + body.len();
        if spool.bytes + bytes > BYTES_MAX {
            spool.dropped += 1;
            tracing::warn!(peer = %peer.name(), bytes, "no room for an answer: it is dropped");
            return Ok(());
        }
        spool.bytes += bytes;
        spool.parcels.push_back(Parcel { flow, head: head.to_vec(), body: body.clone() });
        if !std::mem::replace(&mut spool.is_draining, true) {
            peer.handle.spawn(drain(Arc::clone(peer), which));
        }
        Ok(())
    }

    /// How many there was no room for.
    pub(crate) fn dropped(&self) -> u64 {
        lock(&self.spool).dropped
    }

    fn next(&self) -> Option<Parcel> {
        let mut spool = lock(&self.spool);
        match spool.parcels.pop_front() {
            Some(parcel) => {
                spool.bytes -= OVERHEAD_BYTES + parcel.head.len() + parcel.body.len();
                Some(parcel)
            }
            None => {
                spool.is_draining = false;
                None
            }
        }
    }
}

async fn drain(peer: Arc<Peer>, which: fn(&Peer) -> &Outbox) {
    while let Some(Parcel { flow, head, body }) = which(&peer).next() {
        // Without a link, the asker has been told by its own.
        peer.link.send(flow, &head, &body).await.ok();
    }
}
