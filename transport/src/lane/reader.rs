//! Reads one lane of the peer on one connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::order::{AwaitedBody, LaneOrder, Message, OrderError};
use crate::config::BODIES_IN_FLIGHT;
use crate::connection::{BodyStream, Task};
use crate::error::Violation;
use crate::wire::FrameDecoder;

/// Pieces of a stream taken from QUIC at once: its lock is taken once for all of them.
const CHUNKS: usize = 32;
/// The same after a silence. The messages of these leave before more is read, so that answers to
/// them are on their way meanwhile: else both sides of a busy pair take turns at being idle.
const FIRST_CHUNKS: usize = 2;
/// Fewer messages are not worth it: large ones would only be answered in smaller packets.
const GIVE_WAY_MESSAGES: usize = 8;
/// Bodies announced and not yet read; beyond it the lane waits. Bytes bound them first.
const BODIES_AWAITED_MAX: usize = 1024;

/// A body that has come in whole, and the room it takes until it is handed over.
type ReadBody = (u64, Bytes, OwnedSemaphorePermit);

/// Waits for the lane's turn, then reads it to its end.
pub(crate) async fn run(
    task: &Task,
    lane: u8,
    first: u64,
    stream: RecvStream,
    bodies: mpsc::Receiver<BodyStream>,
) -> Result<(), Violation> {
    let Some(inbound) = task.link.shared.in_lanes.get(usize::from(lane)) else {
        return Err(Violation::Lane { lane });
    };
    let result = tokio::select! {
        biased;
        mut order = inbound.order.lock() => match order.start(task.connection.peer_run, first) {
            Ok(()) => {
                let mut lane = Lane::new(task, lane, bodies);
                let result = lane.read(&mut order, stream).await;
                // What still waits for a body cannot get it on another connection.
                order.give_up_bodies(&mut lane.batch);
                lane.deliver(&order).await;
                result
            }
            Err(error) => Err(Violation::Order(error)),
        },
        _closed = task.connection.quinn.closed() => Ok(()),
    };
    task.connection.lane_ended(lane);
    result
}

struct Lane<'a> {
    task: &'a Task,
    lane: u8,
    /// The streams of bodies, until the first one is announced.
    streams: Option<mpsc::Receiver<BodyStream>>,
    bodies: Option<Bodies>,
    /// Messages to hand over.
    batch: Vec<Message>,
    /// The room that bodies take until every message up to theirs was handed over, by number. Room
    /// is granted in that order, so a body that lacks some waits for earlier ones only.
    permits: Vec<(u64, OwnedSemaphorePermit)>,
}

/// Where bodies are announced, and where they come from. Started for the first one only: most
/// lanes carry none, and a large mesh has many lanes.
struct Bodies {
    awaited: mpsc::Sender<AwaitedBody>,
    read: mpsc::Receiver<ReadBody>,
}

impl Bodies {
    fn start(task: &Task, streams: mpsc::Receiver<BodyStream>) -> Self {
        let (awaited, announced) = mpsc::channel(BODIES_AWAITED_MAX);
        let (done, read) = mpsc::channel(BODIES_IN_FLIGHT);
        task.spawn(read_bodies(task.clone(), announced, streams, done));
        Self { awaited, read }
    }
}

/// The next body that has come in; none before the first was announced. Cancel-safe.
async fn next_body(bodies: &mut Option<Bodies>) -> Option<ReadBody> {
    bodies.as_mut()?.read.recv().await
}

impl<'a> Lane<'a> {
    fn new(task: &'a Task, lane: u8, streams: mpsc::Receiver<BodyStream>) -> Self {
        let (streams, batch, permits) = (Some(streams), Vec::new(), Vec::new());
        Self { task, lane, streams, bodies: None, batch, permits }
    }

    async fn read(
        &mut self,
        order: &mut LaneOrder,
        mut stream: RecvStream,
    ) -> Result<(), Violation> {
        let held_bytes_max = self.task.endpoint.config.held_bytes_max as usize;
        let mut decoder = FrameDecoder::new(self.task.endpoint.config.frame_limits());
        let mut chunks: [Bytes; CHUNKS] = Default::default();
        let (mut is_open, mut is_lost) = (true, false);
        let mut is_first = true;
        while is_open || order.is_waiting() {
            let room = chunks.split_at_mut(if is_first { FIRST_CHUNKS } else { CHUNKS }).0;
            let mut gives_way = false;
            tokio::select! {
                biased;
                Some((number, body, permit)) = next_body(&mut self.bodies),
                    if order.is_waiting() =>
                {
                    self.permits.push((number, permit));
                    order.body_arrived(number, body, &mut self.batch)?;
                }
                read = stream.read_chunks(room),
                    if is_open && (is_lost || order.held_bytes() <= held_bytes_max) =>
                {
                    match read {
                        Ok(Some(count)) => {
                            let is_full = count == room.len();
                            self.take(order, &mut decoder, &mut chunks, count).await?;
                            let is_worth_it = self.batch.len() >= GIVE_WAY_MESSAGES;
                            gives_way = is_first && is_full && is_worth_it;
                            is_first = !is_full;
                        }
                        Ok(None) if decoder.is_mid_message() => return Err(Violation::Cut),
                        Ok(None) => is_open = false,
                        Err(ReadError::Reset(_)) => return Err(Violation::Cut),
                        Err(_lost) => return Ok(()),
                    }
                }
                // What QUIC has received is still read: less is lost.
                _closed = self.task.connection.quinn.closed(), if !is_lost => is_lost = true,
            }
            if is_lost {
                order.give_up_bodies(&mut self.batch);
            }
            self.deliver(order).await;
            if gives_way {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn take(
        &mut self,
        order: &mut LaneOrder,
        decoder: &mut FrameDecoder,
        chunks: &mut [Bytes; CHUNKS],
        count: usize,
    ) -> Result<(), Violation> {
        for chunk in chunks.iter_mut().take(count) {
            decoder.push(std::mem::take(chunk));
            while let Some(incoming) = decoder.next()? {
                if let Some(awaited) = order.accept(incoming, &mut self.batch) {
                    self.announce(awaited).await;
                }
            }
        }
        Ok(())
    }

    async fn announce(&mut self, awaited: AwaitedBody) {
        if let Some(streams) = self.streams.take() {
            self.bodies = Some(Bodies::start(self.task, streams));
        }
        if let Some(bodies) = &self.bodies {
            // Fails only when the connection is lost, which ends the lane as well.
            bodies.awaited.send(awaited).await.ok();
        }
    }

    async fn deliver(&mut self, order: &LaneOrder) {
        if self.batch.is_empty() {
            return;
        }
        let link = &self.task.link;
        link.shared.received.fetch_add(self.batch.len() as u64, Ordering::Relaxed);
        self.task.endpoint.inbound.deliver(link, self.lane, &mut self.batch).await;
        self.batch.clear();
        let through = order.delivered_through();
        self.permits.retain(|(number, _permit)| *number > through);
        self.task.connection.handed_over(self.lane, through);
    }
}

/// Reads bodies as they were announced: room is granted in that order, so that a body never waits
/// for room which only its own delivery would free.
async fn read_bodies(
    task: Task,
    mut announced: mpsc::Receiver<AwaitedBody>,
    mut streams: mpsc::Receiver<BodyStream>,
    done: mpsc::Sender<ReadBody>,
) {
    let room = Arc::new(Semaphore::new(task.endpoint.config.detached_bytes_max as usize));
    let mut early = BTreeMap::new();
    while let Some(awaited) = announced.recv().await {
        if let Some((&number, _)) = early.range(..awaited.number).next() {
            return stray(&task, number);
        }
        let stream = loop {
            if let Some(stream) = early.remove(&awaited.number) {
                break stream;
            }
            tokio::select! {
                biased;
                next = streams.recv() => match next {
                    // Heads come in the order of their numbers: nothing below is announced later.
                    Some((number, _)) if number < awaited.number || early.contains_key(&number) => {
                        return stray(&task, number);
                    }
                    Some((number, stream)) => drop(early.insert(number, stream)),
                    None => return,
                },
                _closed = task.connection.quinn.closed() => return,
            }
        };
        let permit = tokio::select! {
            biased;
            granted = Arc::clone(&room).acquire_many_owned(awaited.bytes) => granted,
            _closed = task.connection.quinn.closed() => return,
        };
        // The semaphore is never closed.
        let Ok(permit) = permit else { return };
        let (reader, done) = (task.clone(), done.clone());
        task.spawn(async move {
            match read_body(stream, awaited).await {
                // Fails only when the lane has ended.
                Ok(Some(body)) => drop(done.send((awaited.number, body, permit)).await),
                Ok(None) => {}
                Err(violation) => reader.connection.violated(violation),
            }
        });
    }
}

fn stray(task: &Task, number: u64) {
    task.connection.violated(Violation::Order(OrderError::StrayBody { number }));
}

/// `None` when the connection was lost.
async fn read_body(
    mut stream: RecvStream,
    AwaitedBody { number, bytes }: AwaitedBody,
) -> Result<Option<Bytes>, Violation> {
    let wrong_length = Violation::BodyLength { number, bytes };
    let length = bytes as usize;
    let mut body = BytesMut::with_capacity(length);
    let mut chunks: [Bytes; CHUNKS] = Default::default();
    loop {
        match stream.read_chunks(&mut chunks).await {
            Ok(Some(count)) => {
                for chunk in chunks.iter_mut().take(count).map(std::mem::take) {
                    if body.len() + chunk.len() > length {
                        return Err(wrong_length);
                    }
                    body.extend_from_slice(&chunk);
                }
            }
            Ok(None) if body.len() == length => return Ok(Some(body.freeze())),
            Ok(None) => return Err(wrong_length),
            Err(ReadError::Reset(_)) => return Err(Violation::Cut),
            Err(_lost) => return Ok(None),
        }
    }
}
