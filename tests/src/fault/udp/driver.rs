//! The one task of a UDP proxy.
//!
//! A turn: release what is due, then read each socket for a bounded batch, until nothing is left
//! to read. When the kernel takes no more, the turn ends and the rest stays in its sockets.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::time::Sleep;

use super::super::plan::Verdict;
use super::super::{Direction, Instant, PacketStats};
use super::flows::{Flow, FlowTable};
use super::{Parcel, State, Switch};

/// Datagrams read from one socket before another has its turn.
const BATCH_MAX: usize = 64;

/// Room for the largest UDP datagram.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// Moves the datagrams of one proxy; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Driver {
    listen: UdpSocket,
    flows: FlowTable,
    switch: Arc<Switch>,
    started: tokio::time::Instant,
    timer: Pin<Box<Sleep>>,
    buffer: Box<[u8]>,
}

/// How a batch ended.
#[derive(Debug, PartialEq, Eq)]
enum Batch {
    /// There was nothing to read.
    Empty,
    /// Something was read; there may be more.
    Moved,
    /// The kernel takes no more; the task is woken when it does.
    Blocked,
}

impl Driver {
    pub(super) fn new(listen: UdpSocket, target: SocketAddr, switch: Arc<Switch>) -> Self {
        let started = tokio::time::Instant::now();
        Self {
            listen,
            flows: FlowTable::new(target),
            switch,
            started,
            timer: Box::pin(tokio::time::sleep_until(started)),
            buffer: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
        }
    }

    fn now(&self) -> Instant {
        Instant::START.after(self.started.elapsed())
    }

    /// Sends what is due.
    fn release(&mut self, cx: &mut Context<'_>, now: Instant) -> Batch {
        let mut state = self.switch.lock();
        while let Some(held) = state.held.pop_due(now) {
            let direction = held.direction();
            let parcel = &held.item;
            let Some(flow) = self.flows.get_mut(parcel.client) else {
                state.stats_mut(direction).dropped_by_bound += 1;
                continue;
            };
            let mut exit = Exit { listen: &self.listen, client: parcel.client, flow, direction };
            match exit.send(cx, parcel.arrival, &parcel.payload, state.stats_mut(direction)) {
                Poll::Ready(()) => {}
                Poll::Pending => {
                    state.held.put_back(held);
                    return Batch::Blocked;
                }
            }
        }
        Batch::Empty
    }

    /// Reads a batch of the clients' datagrams.
    fn read_clients(&mut self, cx: &mut Context<'_>) -> Batch {
        let now = self.now();
        let direction = Direction::ToTarget;
        let mut batch = Batch::Empty;
        let mut state = self.switch.lock();
        for _turn in 0..BATCH_MAX {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            let Poll::Ready(received) = self.listen.poll_recv_from(cx, &mut buffer) else {
                break;
            };
            batch = Batch::Moved;
            let Ok(client) = received else {
                continue; // Left behind by some earlier send; reading goes on.
            };
            let payload = buffer.filled();
            let (arrival, verdict) = state.arrived(now, direction, payload.len());
            if matches!(verdict, Verdict::Lost(_)) {
                continue;
            }
            let Some(flow) = self.flows.admit(client, now) else {
                let copies = u64::from(matches!(verdict, Verdict::Twice(_, _)));
                state.stats_mut(direction).dropped_by_bound += 1 + copies;
                continue;
            };
            let mut exit = Exit { listen: &self.listen, client, flow, direction };
            if exit.dispatch(cx, now, &mut state, arrival, verdict, payload).is_pending() {
                batch = Batch::Blocked;
                break;
            }
        }
        state.stats.flows = self.flows.len();
        batch
    }

    /// Reads a batch of the target's datagrams to each client.
    fn read_target(&mut self, cx: &mut Context<'_>) -> Batch {
        let now = self.now();
        let direction = Direction::ToClient;
        let mut batch = Batch::Empty;
        let mut state = self.switch.lock();
        for (client, flow) in self.flows.iter_mut() {
            for _turn in 0..BATCH_MAX {
                let mut buffer = ReadBuf::new(&mut self.buffer);
                let Poll::Ready(received) = flow.upstream.poll_recv(cx, &mut buffer) else {
                    break;
                };
                batch = Batch::Moved;
                if received.is_err() {
                    continue; // The target is away; it may return.
                }
                flow.last_used = now;
                let payload = buffer.filled();
                let (arrival, verdict) = state.arrived(now, direction, payload.len());
                let mut exit = Exit { listen: &self.listen, client, flow, direction };
                if exit.dispatch(cx, now, &mut state, arrival, verdict, payload).is_pending() {
                    return Batch::Blocked;
                }
            }
        }
        batch
    }

    /// Moves all that can be moved now. Each way out of it has left a waker behind.
    fn turn(&mut self, cx: &mut Context<'_>) {
        // Tokio's budget ends this loop: once it is spent, every socket answers "pending".
        loop {
            let now = self.now();
            if self.release(cx, now) == Batch::Blocked {
                return;
            }
            match (self.read_clients(cx), self.read_target(cx)) {
                (Batch::Blocked, _) | (_, Batch::Blocked) => return,
                (Batch::Moved, _) | (_, Batch::Moved) => continue,
                (Batch::Empty, Batch::Empty) => {}
            }
            let next = self.switch.lock().held.next_departure();
            let Some(next) = next else {
                return;
            };
            self.timer.as_mut().reset(self.started + next.since(Instant::START));
            if self.timer.as_mut().poll(cx).is_pending() {
                return;
            }
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.turn(cx);
        self.switch.progress.notify_waiters();
        Poll::Pending
    }
}

/// Where the datagrams of one flow and direction leave.
#[derive(Debug)]
struct Exit<'a> {
    listen: &'a UdpSocket,
    client: SocketAddr,
    flow: &'a mut Flow,
    direction: Direction,
}

impl Exit<'_> {
    /// Does what the verdict on a datagram says. Pending when the kernel takes no more; the
    /// datagram is held then, so nothing is lost.
    fn dispatch(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        state: &mut State,
        arrival: u64,
        verdict: Verdict,
        payload: &[u8],
    ) -> Poll<()> {
        let mut sent = Poll::Ready(());
        for at in verdict.departures() {
            // One that is held but due by then goes first.
            let first = state.held.next_departure().is_none_or(|next| next > at);
            if first && at <= now && sent.is_ready() {
                sent = self.send(cx, arrival, payload, state.stats_mut(self.direction));
                if sent.is_ready() {
                    continue;
                }
            }
            let parcel = Parcel { client: self.client, arrival, payload: payload.into() };
            state.hold(at, self.direction, parcel);
        }
        sent
    }

    /// Hands one datagram to the kernel.
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        arrival: u64,
        payload: &[u8],
        stats: &mut PacketStats,
    ) -> Poll<()> {
        let mut outcome = self.poll_send(cx, payload);
        if matches!(outcome, Poll::Ready(Err(_))) {
            // The error may be an earlier datagram's, and reporting it has cleared it.
            outcome = self.poll_send(cx, payload);
        }
        match outcome {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_refused)) => stats.failed += 1,
            Poll::Ready(Ok(sent_bytes)) => {
                stats.forwarded += 1;
                stats.bytes += u64::try_from(sent_bytes).unwrap_or(u64::MAX);
                let newest = self.flow.newest.at_mut(self.direction);
                stats.reordered += u64::from(arrival < *newest);
                *newest = arrival.max(*newest);
            }
        }
        Poll::Ready(())
    }

    fn poll_send(&self, cx: &mut Context<'_>, payload: &[u8]) -> Poll<io::Result<usize>> {
        match self.direction {
            Direction::ToTarget => self.flow.upstream.poll_send(cx, payload),
            Direction::ToClient => self.listen.poll_send_to(cx, payload, self.client),
        }
    }
}
