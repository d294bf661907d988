//! Writes one lane on one connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{SendStream, VarInt, WriteError};
use tokio::sync::{Semaphore, mpsc};

use super::queue::{Batch, Detached, PutBack};
use crate::clock::Timer;
use crate::config::BODIES_IN_FLIGHT;
use crate::connection::{Phase, Task};
use crate::error::Violation;
use crate::wire::StreamOpening;

/// Bodies whose heads are written and that wait for a stream. Bytes bound them first.
const BODIES_WAITING_MAX: usize = 1024;
/// Bytes of a body given to QUIC at once. Each piece counts against the send window until its last
/// byte is acknowledged: a body in one piece would hold the window, and every lane would wait.
const PIECE_BYTES: usize = 32 << 10;
/// A body keeps its turn for this long and two round trips at most.
const TURN_MIN: Duration = Duration::from_millis(10);

/// Waits for the lane's turn, then writes until the connection ends or is retired.
pub(crate) async fn run(task: Task, lane: u8) {
    let Some(out) = task.link.shared.out_lanes.get(usize::from(lane)) else { return };
    tokio::select! {
        biased;
        _turn = out.turn.lock() => {
            let first = out.queue.next_number();
            let PutBack { begun_end, dropped } =
                write_lane(&task, lane, first).await.unwrap_or(PutBack::nothing(first));
            task.connection.record(lane, first..begun_end, dropped);
        }
        _closed = task.connection.quinn.closed() => {}
    }
    task.connection.writer_ended();
}

/// Gives what was written and what was taken in vain; `None` when the lane was never opened.
async fn write_lane(task: &Task, lane: u8, first: u64) -> Option<PutBack> {
    let out = task.link.shared.out_lanes.get(usize::from(lane))?;
    let mut stream = open(task, StreamOpening::Lane { lane, first }, lane_priority(lane)).await?;
    let (mut end, mut bodies) = (first, None);
    loop {
        let batch = tokio::select! {
            biased;
            batch = out.queue.take_wait() => batch,
            phase = task.connection.retirement() => match phase {
                Phase::Flushing => match out.queue.take() {
                    Some(batch) => batch,
                    None => break,
                },
                Phase::Live | Phase::Retiring => break,
            },
            _closed = task.connection.quinn.closed() => break,
        };
        let batch_end = batch.end();
        match write_batch(&mut stream, batch).await {
            Ok(detached) => {
                end = batch_end;
                for body in detached {
                    let bodies = bodies.get_or_insert_with(|| body_writer(task, lane));
                    if bodies.send(body).await.is_err() {
                        return Some(PutBack::nothing(end));
                    }
                }
            }
            Err((batch, written, error)) => {
                if let WriteError::Stopped(_) = error {
                    task.connection.violated(Violation::Cut);
                }
                return Some(out.queue.put_back(batch, written));
            }
        }
        if *task.connection.phase.borrow() == Phase::Retiring {
            break;
        }
    }
    // Fails only when the connection is gone.
    stream.finish().ok();
    Some(PutBack::nothing(end))
}

/// The control lane goes before all others. Lanes and bodies take turns, packet by packet: with
/// lanes first, a busy lane would starve the bodies that its own messages wait for.
fn lane_priority(lane: u8) -> i32 {
    if lane == 0 { 1 } else { 0 }
}

async fn open(task: &Task, opening: StreamOpening, priority: i32) -> Option<SendStream> {
    let mut stream = task.connection.quinn.open_uni().await.ok()?;
    stream.set_priority(priority).ok()?;
    stream.write_all(&opening.encode()).await.ok()?;
    Some(stream)
}

/// Writes a batch whole. On failure gives it back, with how many of its bytes were taken, and why.
async fn write_batch(
    stream: &mut SendStream,
    mut batch: Batch,
) -> Result<VecDeque<Detached>, (Batch, usize, WriteError)> {
    let whole = batch.segments.clone();
    let (mut written, mut done) = (0, 0);
    while let Some(rest) = batch.segments.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match stream.write_chunks(rest).await {
            Ok(progress) => {
                written += progress.bytes;
                done += progress.chunks;
            }
            Err(error) => {
                batch.segments = whole;
                return Err((batch, written, error));
            }
        }
    }
    Ok(batch.detached)
}

/// Started for the first body only: most lanes carry none, and a large mesh has many lanes.
fn body_writer(task: &Task, lane: u8) -> mpsc::Sender<Detached> {
    let (bodies, waiting) = mpsc::channel(BODIES_WAITING_MAX);
    task.connection.writer_opened();
    task.spawn(write_bodies(task.clone(), lane, waiting));
    bodies
}

/// Sends detached bodies in order of their heads, a few at a time.
async fn write_bodies(task: Task, lane: u8, mut waiting: mpsc::Receiver<Detached>) {
    let slots = Arc::new(Semaphore::new(BODIES_IN_FLIGHT));
    while let Some(Detached { number, body }) = waiting.recv().await {
        // The semaphore is never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
        task.connection.writer_opened();
        let sender = task.clone();
        task.spawn(async move {
            let bytes = body.len();
            write_body(&sender, StreamOpening::Body { lane, number }, body).await;
            if let Some(out) = sender.link.shared.out_lanes.get(usize::from(lane)) {
                out.queue.body_done(bytes);
            }
            sender.connection.writer_ended();
            drop(slot);
        });
    }
    task.connection.writer_ended();
}

/// A failure needs no answer here: the connection is lost, and its supervisor reports the message.
async fn write_body(task: &Task, opening: StreamOpening, mut body: Bytes) {
    let Some(mut stream) = open(task, opening, 0).await else { return };
    let mut patience = task.endpoint.clock.timer();
    while !body.is_empty() {
        let piece = body.split_to(body.len().min(PIECE_BYTES));
        if write_piece(task, &mut stream, &mut patience, piece).await.is_err() {
            stream.reset(VarInt::from_u32(0)).ok();
            return;
        }
    }
    stream.finish().ok();
}

/// Writes a piece in this body's turn, but gives the turn up when the stream does not move: its
/// reader may be waiting for another body.
async fn write_piece(
    task: &Task,
    stream: &mut SendStream,
    patience: &mut Timer,
    piece: Bytes,
) -> Result<(), WriteError> {
    let mut rest = [piece];
    let mut turn = Some(task.connection.body_turn.lock().await);
    let bound = TURN_MIN + 2 * task.connection.quinn.rtt();
    patience.arm(Some(task.endpoint.clock.now().after(bound)));
    while rest.iter().any(|rest| !rest.is_empty()) {
        tokio::select! {
            biased;
            written = stream.write_chunks(&mut rest) => drop(written?),
            () = patience.expired(), if turn.is_some() => turn = None,
        }
    }
    Ok(())
}
