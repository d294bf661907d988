//! The transmission phase of one connection.
//!
//! Invariants: (1) a request and its bytes are counted from its header until its reply is
//! written, and nothing is read while a bound is reached; (2) nothing is handed to the disk that
//! was read or left lying since the last look at whether the client is still there; (3) every
//! request handed over is waited for, also when the client is gone.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::AsyncReadExt;

use super::config::Config;
use super::connection::SessionEnd;
use crate::block::{Failure, Reply, Request};
use crate::nbd::admission::{Order, Verdict, judge};
use crate::nbd::answer;
use crate::nbd::handshake::Agreed;
use crate::nbd::intake::Intake;
use crate::nbd::outgoing::Outgoing;
use crate::nbd::socket::Socket;
use crate::nbd::wire::request::{HEADER_BYTES, RequestHeader};

/// A request that the disk has ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) order: Order,
    pub(super) result: Result<Reply, Failure>,
}

/// The requests that the disk has.
pub(super) type Running<F> = FuturesUnordered<F>;

/// One client in its transmission phase.
#[derive(Debug)]
pub(super) struct Session<'a, S> {
    socket: &'a mut S,
    agreed: Agreed,
    intake: Intake,
    outgoing: Outgoing,
    open: Open,
    /// A request whose payload is on its way, or to be passed over.
    begun: Option<Begun>,
    /// Whether a request may be handed over without another look at the socket.
    is_client_seen: bool,
    /// Why nothing more is read.
    end: Option<SessionEnd>,
}

#[derive(Debug)]
enum Begun {
    Payload(Order),
    Refusal(Order, u32),
}

/// Requests that are not answered yet, and their bytes.
#[derive(Debug)]
struct Open {
    requests: usize,
    bytes: u64,
    requests_max: usize,
    bytes_max: u64,
    /// Where in the stream of replies each ends, and the bytes of their requests.
    unwritten: VecDeque<(u64, u64)>,
}

impl Open {
    /// Whether there is room for one more, of `bytes` bytes. One alone always has room.
    fn has_room(&self, bytes: u64) -> bool {
        self.requests == 0
            || (self.requests < self.requests_max && self.bytes + bytes <= self.bytes_max)
    }

    fn begin(&mut self, bytes: u64) {
        self.requests += 1;
        self.bytes += bytes;
    }

    fn drop_begun(&mut self, begun: Option<Begun>) {
        let bytes = match begun {
            None => return,
            Some(Begun::Payload(order)) => order.bytes(),
            Some(Begun::Refusal(..)) => 0,
        };
        self.requests -= 1;
        self.bytes -= bytes;
    }

    fn end_written(&mut self, written: u64) {
        while let Some((_end, bytes)) = self.unwritten.pop_front_if(|(end, _)| *end <= written) {
            self.requests -= 1;
            self.bytes -= bytes;
        }
    }
}

impl<'a, S: Socket> Session<'a, S> {
    /// Begins with the bytes that came behind the handshake.
    pub(super) fn new(socket: &'a mut S, agreed: Agreed, first: BytesMut, config: &Config) -> Self {
        let open = Open {
            requests: 0,
            bytes: 0,
            requests_max: config.requests_max,
            bytes_max: config.request_bytes_max,
            unwritten: VecDeque::new(),
        };
        let (intake, outgoing) = (Intake::new(first), Outgoing::new());
        let (begun, end, is_client_seen) = (None, None, false);
        Self { socket, agreed, intake, outgoing, open, begun, is_client_seen, end }
    }

    /// Reads nothing more; what is under way is answered.
    pub(super) fn stop(&mut self) {
        self.end.get_or_insert(SessionEnd::Stopped);
    }

    /// Moves everything that can be moved; ready when the connection is over.
    pub(super) fn poll<F: Future<Output = Finished>>(
        &mut self,
        cx: &mut Context<'_>,
        running: &mut Running<F>,
        start: &impl Fn(Order, Request) -> F,
    ) -> Poll<SessionEnd> {
        loop {
            self.is_client_seen = false;
            let has_read = self.poll_requests(cx, running, start).is_ready();
            let has_finished = self.poll_finished(cx, running).is_ready();
            let has_written = self.poll_write(cx).is_ready();
            if let Some(end) = &self.end {
                self.open.drop_begun(self.begun.take());
                if self.open.requests == 0 {
                    return Poll::Ready(end.clone());
                }
            }
            if !has_read && !has_finished && !has_written {
                return Poll::Pending;
            }
        }
    }

    /// Takes requests up to a bound, and what one read brings; ready if something was moved.
    ///
    /// One read at a time: what it brought is begun before more is read.
    fn poll_requests<F: Future<Output = Finished>>(
        &mut self,
        cx: &mut Context<'_>,
        running: &mut Running<F>,
        start: &impl Fn(Order, Request) -> F,
    ) -> Poll<()> {
        if self.end.is_some() || matches!(self.take_requests(running, start), Taken::Full) {
            return Poll::Pending;
        }
        if self.end.is_none() {
            match ready!(self.poll_read(cx)) {
                Ok(0) => self.end = Some(SessionEnd::HungUp),
                Ok(_more) => {
                    self.take_requests(running, start);
                }
                Err(error) => self.end = Some(SessionEnd::of(&error)),
            }
        }
        Poll::Ready(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.is_client_seen = false;
        let mut room = self.intake.room();
        pin!(self.socket.read_buf(&mut room)).poll(cx)
    }

    /// Takes every whole request that there is and is room for.
    fn take_requests<F: Future<Output = Finished>>(
        &mut self,
        running: &mut Running<F>,
        start: &impl Fn(Order, Request) -> F,
    ) -> Taken {
        loop {
            if let Some(begun) = self.begun.take() {
                match begun {
                    Begun::Payload(order) => match self.intake.payload() {
                        Some(data) => self.hand_over(order, order.write(data), running, start),
                        None => {
                            self.begun = Some(Begun::Payload(order));
                            return Taken::All;
                        }
                    },
                    Begun::Refusal(order, error) => {
                        if !self.intake.has_passed() {
                            self.begun = Some(Begun::Refusal(order, error));
                            return Taken::All;
                        }
                        answer::refuse(&mut self.outgoing, &self.agreed, order, error);
                        self.note_reply(0);
                    }
                }
            }
            if self.end.is_some() {
                return Taken::All;
            }
            let Some(header) = self.intake.header().first_chunk::<HEADER_BYTES>() else {
                return Taken::All;
            };
            match RequestHeader::decode(header).map(|header| judge(&self.agreed, header)) {
                Err(error) => self.end = Some(SessionEnd::Garbage(error)),
                Ok(verdict) => {
                    if !self.begin(verdict, running, start) {
                        return Taken::Full;
                    }
                }
            }
        }
    }

    /// Begins with a request whose header is next; false if there is no room for it.
    fn begin<F: Future<Output = Finished>>(
        &mut self,
        verdict: Verdict,
        running: &mut Running<F>,
        start: &impl Fn(Order, Request) -> F,
    ) -> bool {
        let (order, bytes) = match &verdict {
            Verdict::Disconnect => {
                self.end = Some(SessionEnd::Disconnected);
                return true;
            }
            Verdict::CarryOut(order, _) | Verdict::AwaitPayload(order) => (*order, order.bytes()),
            Verdict::Empty(order) | Verdict::Refuse { order, .. } => (*order, 0),
        };
        if !self.open.has_room(bytes) {
            return false;
        }
        self.open.begin(bytes);
        self.intake.take_header(HEADER_BYTES);
        match verdict {
            Verdict::Disconnect => {}
            Verdict::CarryOut(order, request) => self.hand_over(order, request, running, start),
            Verdict::AwaitPayload(order) => {
                let align = usize::try_from(self.agreed.device.memory_align).unwrap_or(1);
                let length = usize::try_from(order.extent.length).unwrap_or(usize::MAX);
                self.intake.expect_payload(length, align);
                self.begun = Some(Begun::Payload(order));
            }
            Verdict::Empty(_) => {
                answer::empty(&mut self.outgoing, &self.agreed, order);
                self.note_reply(0);
            }
            Verdict::Refuse { error, passing, .. } => {
                self.intake.pass_over(passing);
                self.begun = Some(Begun::Refusal(order, error));
            }
        }
        true
    }

    /// Gives a request to the disk, if its client is still there.
    fn hand_over<F: Future<Output = Finished>>(
        &mut self,
        order: Order,
        request: Request,
        running: &mut Running<F>,
        start: &impl Fn(Order, Request) -> F,
    ) {
        if !self.is_client_seen && self.socket.has_hung_up() {
            self.end = Some(SessionEnd::HungUp);
            self.open.drop_begun(Some(Begun::Payload(order)));
            return;
        }
        self.is_client_seen = true;
        running.push(start(order, request));
    }

    fn poll_finished<F: Future<Output = Finished>>(
        &mut self,
        cx: &mut Context<'_>,
        running: &mut Running<F>,
    ) -> Poll<()> {
        let mut has_moved = Poll::Pending;
        while let Poll::Ready(Some(finished)) = running.poll_next_unpin(cx) {
            let Finished { order, result } = finished;
            answer::finish(&mut self.outgoing, &self.agreed, order, result);
            self.note_reply(order.bytes());
            has_moved = Poll::Ready(());
        }
        has_moved
    }

    /// Frees a request's room once what is to be written now is written.
    fn note_reply(&mut self, bytes: u64) {
        let (end, _written) = self.outgoing.progress();
        self.open.unwritten.push_back((end, bytes));
    }

    /// Writes what there is; ready if something was moved.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut has_moved = Poll::Pending;
        while !self.outgoing.is_empty() {
            let mut slices = Outgoing::no_slices();
            let count = self.outgoing.slices(&mut slices);
            let (slices, _unused) = slices.split_at(count);
            let written = match Pin::new(&mut *self.socket).poll_write_vectored(cx, slices) {
                Poll::Pending => break,
                Poll::Ready(Ok(written)) if written > 0 => written,
                Poll::Ready(failed) => {
                    self.lose_client(failed.map(|_none| ()));
                    return Poll::Ready(());
                }
            };
            self.outgoing.take(written);
            let (_end, written) = self.outgoing.progress();
            self.open.end_written(written);
            has_moved = Poll::Ready(());
        }
        has_moved
    }

    /// Nobody reads replies any more.
    fn lose_client(&mut self, failed: io::Result<()>) {
        let end = failed.map_or_else(|error| SessionEnd::of(&error), |()| SessionEnd::HungUp);
        self.end.get_or_insert(end);
        let (all, written) = self.outgoing.progress();
        self.outgoing.take(usize::try_from(all - written).unwrap_or(usize::MAX));
        self.open.end_written(all);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// More bytes are needed.
    All,
    /// A bound is reached.
    Full,
}
