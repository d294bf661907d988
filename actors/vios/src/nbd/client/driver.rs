//! The one task that owns a connection: it sends requests as they come, many with one call, and
//! hands out replies.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{Notify, mpsc, watch};

use super::{Call, Gate, LinkEnd, RequestError, Waiter};
use crate::nbd::assembly::Assembly;
use crate::nbd::handshake;
use crate::nbd::intake::Intake;
use crate::nbd::outgoing::Outgoing;
use crate::nbd::wire::request::{RequestHeader, command};

/// A connection in its transmission phase.
#[derive(Debug)]
pub(super) struct Driver<S> {
    socket: S,
    assembly: Assembly<Waiter>,
    intake: Intake,
    outgoing: Outgoing,
    requests_max: usize,
    gate: Arc<Gate>,
    /// Nobody will ask for anything more.
    is_closing: bool,
    has_taken_leave: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    pub(super) fn new(
        socket: S,
        agreed: handshake::Remote,
        first: BytesMut,
        requests_max: usize,
        gate: Arc<Gate>,
    ) -> Self {
        Self {
            socket,
            assembly: Assembly::new(agreed),
            intake: Intake::new(first),
            outgoing: Outgoing::new(),
            requests_max,
            gate,
            is_closing: false,
            has_taken_leave: false,
        }
    }

    /// Until the connection ends; every request that was taken is answered by then.
    pub(super) async fn run(
        mut self,
        mut calls: mpsc::Receiver<Call>,
        end: watch::Sender<Option<LinkEnd>>,
        cut: Arc<Notify>,
    ) {
        let why = tokio::select! {
            biased;
            why = std::future::poll_fn(|cx| self.poll(cx, &mut calls)) => why,
            () = cut.notified() => LinkEnd::Closed,
        };
        let Self { socket, mut assembly, outgoing, .. } = self;
        // Closed before anybody hears of it: nothing more of it is sent from then on.
        drop(socket);
        end.send_replace(Some(why.clone()));
        let (_all, written) = outgoing.progress();
        for (waiter, is_sent) in assembly.abandon(written) {
            let error = if is_sent {
                RequestError::Unanswered(why.clone())
            } else {
                RequestError::NotSent(why.clone())
            };
            answer(waiter, Err(error));
        }
        calls.close();
        while let Some(call) = calls.recv().await {
            answer(call.waiter, Err(RequestError::NotSent(why.clone())));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, calls: &mut mpsc::Receiver<Call>) -> Poll<LinkEnd> {
        loop {
            let has_asked = self.poll_calls(cx, calls);
            let has_written = match self.poll_write(cx) {
                Ok(has_written) => has_written,
                Err(end) => {
                    self.read_what_came(cx);
                    return Poll::Ready(end);
                }
            };
            if self.has_taken_leave && self.outgoing.is_empty() {
                return Poll::Ready(LinkEnd::Closed);
            }
            let has_read = match self.poll_read(cx) {
                Ok(has_read) => has_read,
                Err(end) => return Poll::Ready(end),
            };
            if !has_asked && !has_written && !has_read {
                return Poll::Pending;
            }
        }
    }

    /// Takes requests up to the bound.
    fn poll_calls(&mut self, cx: &mut Context<'_>, calls: &mut mpsc::Receiver<Call>) -> bool {
        let mut has_moved = false;
        while !self.is_closing && self.assembly.len() < self.requests_max {
            match calls.poll_recv(cx) {
                Poll::Pending => break,
                // Nobody waits for it, and nothing of it was sent.
                Poll::Ready(Some(call)) if call.waiter.is_closed() => {}
                Poll::Ready(Some(Call { request, waiter })) => {
                    let sent = self.assembly.send(request, waiter, &mut self.outgoing);
                    if let Err(ended) = sent {
                        answer(ended.waiter, ended.result.map_err(RequestError::Device));
                    }
                }
                Poll::Ready(None) => self.is_closing = true,
            }
            has_moved = true;
        }
        if self.is_closing && self.assembly.len() == 0 && !self.has_taken_leave {
            self.has_taken_leave = true;
            self.take_leave();
            has_moved = true;
        }
        has_moved
    }

    fn take_leave(&mut self) {
        let (flags, command) = (0, command::DISC);
        let header = RequestHeader { flags, command, cookie: 0, offset: 0, length: 0 };
        self.outgoing.head(|out| out.extend_from_slice(&header.encode()));
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkEnd> {
        let mut has_moved = false;
        while !self.outgoing.is_empty() {
            if self.gate.is_shut() {
                return Err(LinkEnd::Expired);
            }
            let mut slices = Outgoing::no_slices();
            let count = self.outgoing.slices(&mut slices);
            let (slices, _unused) = slices.split_at(count);
            match Pin::new(&mut self.socket).poll_write_vectored(cx, slices) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(LinkEnd::HungUp),
                Poll::Ready(Ok(written)) => self.outgoing.take(written),
                Poll::Ready(Err(error)) => return Err(LinkEnd::of(&error)),
            }
            has_moved = true;
        }
        Ok(has_moved)
    }

    /// Answers that came before the connection failed are answers.
    fn read_what_came(&mut self, cx: &mut Context<'_>) {
        while let Ok(true) = self.poll_read(cx) {}
    }

    /// Reads once, and hands out what has ended.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkEnd> {
        let mut has_moved = false;
        loop {
            while let Some(ended) =
                self.assembly.receive(&mut self.intake).map_err(LinkEnd::Garbage)?
            {
                answer(ended.waiter, ended.result.map_err(RequestError::Device));
                has_moved = true;
            }
            if has_moved {
                return Ok(true);
            }
            let mut room = self.intake.room();
            match pin!(self.socket.read_buf(&mut room)).poll(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(0)) => return Err(LinkEnd::HungUp),
                Poll::Ready(Ok(_more)) => {}
                Poll::Ready(Err(error)) => return Err(LinkEnd::of(&error)),
            }
        }
    }
}

/// Nobody may be waiting any more.
fn answer(waiter: Waiter, result: Result<crate::block::Reply, RequestError>) {
    drop(waiter.send(result));
}

impl LinkEnd {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof => Self::HungUp,
            kind => Self::Connection(kind),
        }
    }
}
