//! What the peer opens on a connection: lanes, bodies, datagrams.

use std::sync::Mutex;
use std::sync::{Arc, PoisonError};

use quinn::{ReadError, ReadExactError, RecvStream};
use tokio::sync::mpsc;

use super::{Connection, Task};
use crate::config::BODIES_IN_FLIGHT;
use crate::error::Violation;
use crate::lane::reader;
use crate::wire::{STREAM_OPENING_BYTES, StreamOpening};

/// A body's stream and the message that it belongs to.
pub(crate) type BodyStream = (u64, RecvStream);

/// Where the streams of one lane go. The lane's reader takes the receiving end, once.
#[derive(Debug)]
struct LaneSlot {
    bodies: mpsc::Sender<BodyStream>,
    reader: Mutex<Option<mpsc::Receiver<BodyStream>>>,
}

impl LaneSlot {
    fn new() -> Self {
        let (bodies, reader) = mpsc::channel(BODIES_IN_FLIGHT);
        Self { bodies, reader: Mutex::new(Some(reader)) }
    }

    fn take_reader(&self) -> Option<mpsc::Receiver<BodyStream>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Accepts the peer's streams until the connection ends. QUIC bounds how many are open.
///
/// Each lane waits for the end of the same lane on the connection that carried the link before.
pub(super) async fn accept(task: Task, peer_lanes: u8, predecessor: Option<Arc<Connection>>) {
    let slots: Arc<[LaneSlot]> = (0..=peer_lanes).map(|_lane| LaneSlot::new()).collect();
    while let Ok(stream) = task.connection.quinn.accept_uni().await {
        let (opened, slots) = (task.clone(), Arc::clone(&slots));
        let predecessor = predecessor.clone();
        task.spawn(async move {
            if let Err(violation) = serve(&opened, &slots, predecessor, stream).await {
                opened.connection.violated(violation);
            }
        });
    }
}

async fn serve(
    task: &Task,
    slots: &[LaneSlot],
    predecessor: Option<Arc<Connection>>,
    mut stream: RecvStream,
) -> Result<(), Violation> {
    let mut opening = [0; STREAM_OPENING_BYTES];
    match stream.read_exact(&mut opening).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(_) | ReadExactError::ReadError(ReadError::Reset(_))) => {
            return Err(Violation::Cut);
        }
        Err(ReadExactError::ReadError(_lost)) => return Ok(()),
    }
    match StreamOpening::decode(opening)? {
        StreamOpening::Lane { lane, first } => {
            let slot = slots.get(usize::from(lane)).ok_or(Violation::Lane { lane })?;
            let bodies = slot.take_reader().ok_or(Violation::Lane { lane })?;
            if let Some(predecessor) = predecessor {
                predecessor.lane_over(lane).await;
            }
            reader::run(task, lane, first, stream, bodies).await
        }
        StreamOpening::Body { lane, number } => {
            let slot = slots.get(usize::from(lane)).ok_or(Violation::Lane { lane })?;
            // A lane whose reader has ended needs no more bodies.
            tokio::select! {
                biased;
                _sent = slot.bodies.send((number, stream)) => {}
                _closed = task.connection.quinn.closed() => {}
            }
            Ok(())
        }
    }
}

/// Hands datagrams over until the connection ends.
pub(super) async fn datagrams(task: Task) {
    while let Ok(datagram) = task.connection.quinn.read_datagram().await {
        // An empty one only asks for the acknowledgement that QUIC has sent.
        if !datagram.is_empty() {
            task.endpoint.inbound.datagram(&task.link, datagram);
        }
    }
}
