//! One connection through a TCP proxy: two sockets and a line for each direction.
//!
//! Order matters in [`Connection::poll`]: bytes are read first, the faults second, and bytes are
//! written last. So bytes sent after a fault was set always meet it.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::super::{Direction, Instant, PerDirection};
use super::line::{CHUNK_BYTES_MAX, Due, End, Line};
use super::{Control, Shared};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Both sides finished.
    Finished,
    /// Both sides were reset.
    Reset,
}

/// Closes a stream with a reset in place of an orderly end.
pub(super) fn reset(stream: TcpStream) {
    // When the peer's own reset came first there is nothing left to set, nor to tell it.
    drop(stream.set_zero_linger());
}

/// Moves bytes until the connection ends. `resets` is the count of resets before it was taken.
pub(super) async fn run(
    shared: Arc<Shared>,
    client: TcpStream,
    target: TcpStream,
    resets: u64,
) -> Ended {
    let mut wake = shared.control.subscribe();
    let mut connection = Connection::new(client, target, resets);
    let ended = loop {
        tokio::select! {
            biased;
            ended = poll_fn(|cx| connection.poll(cx, &shared)) => break ended,
            changed = wake.changed() => {
                if changed.is_err() {
                    break Ended::Reset;
                }
            }
        }
    };
    if ended == Ended::Reset {
        reset(connection.client);
        reset(connection.target);
    }
    ended
}

/// The sockets of a connection and what is on its way between them.
#[derive(Debug)]
struct Connection {
    client: TcpStream,
    target: TcpStream,
    pipes: PerDirection<Pipe>,
    resets: u64,
    started: tokio::time::Instant,
    timer: Pin<Box<Sleep>>,
    buffer: Box<[u8]>,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Pipe {
    line: Line,
    /// The version of the faults in force.
    version: u64,
    state: PipeState,
}

/// How far a direction has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum PipeState {
    /// Nothing keeps it from writing.
    #[default]
    Open,
    /// The receiver takes no more; the task is woken when it does.
    Blocked,
    /// Its end was passed on, or its receiver is gone.
    Done,
}

/// What came of writing.
enum Flushed {
    /// All that was due has left, or waits for the receiver.
    Settled {
        /// Whether anything left.
        wrote: bool,
    },
    /// The receiver is gone.
    ReceiverGone,
    /// The connection is to be reset.
    Reset,
}

impl Connection {
    fn new(client: TcpStream, target: TcpStream, resets: u64) -> Self {
        let started = tokio::time::Instant::now();
        Self {
            client,
            target,
            pipes: PerDirection::default(),
            resets,
            started,
            timer: Box::pin(tokio::time::sleep_until(started)),
            buffer: vec![0; CHUNK_BYTES_MAX].into_boxed_slice(),
        }
    }

    fn now(&self) -> Instant {
        Instant::START.after(self.started.elapsed())
    }

    /// Moves what can be moved; ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<Ended> {
        // Tokio's budget ends this loop: once it is spent, every socket answers "pending".
        loop {
            let mut moved = false;
            for direction in Direction::BOTH {
                moved |= self.fill(cx, shared, direction);
            }
            let now = self.now();
            let control = *shared.control.borrow();
            if control.resets != self.resets {
                return Poll::Ready(Ended::Reset);
            }
            self.set(now, &control);
            for direction in Direction::BOTH {
                match self.flush(cx, shared, direction, now) {
                    Flushed::Settled { wrote } => moved |= wrote, // There is room to read into.
                    Flushed::ReceiverGone => {
                        self.receiver_gone(now, direction);
                        moved = true; // The other direction may have ended by it.
                    }
                    Flushed::Reset => return Poll::Ready(Ended::Reset),
                }
            }
            if Direction::BOTH.iter().all(|at| self.pipes.at(*at).state == PipeState::Done) {
                return Poll::Ready(Ended::Finished);
            }
            if !moved && self.poll_timer(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Puts changed faults in force.
    fn set(&mut self, now: Instant, control: &Control) {
        for direction in Direction::BOTH {
            let setting = control.faults.at(direction);
            let pipe = self.pipes.at_mut(direction);
            if pipe.version != setting.version {
                pipe.version = setting.version;
                pipe.line.set(now, setting.faults);
            }
        }
    }

    /// Reads one chunk of a direction, if there is room; whether it is worth trying again.
    fn fill(&mut self, cx: &mut Context<'_>, shared: &Shared, direction: Direction) -> bool {
        let now = self.now();
        let from = match direction {
            Direction::ToTarget => &self.client,
            Direction::ToClient => &self.target,
        };
        let pipe = self.pipes.at_mut(direction);
        let room = if pipe.state == PipeState::Done { 0 } else { pipe.line.room() };
        let Some(buffer) = self.buffer.get_mut(..room).filter(|buffer| !buffer.is_empty()) else {
            return false;
        };
        let read = match from.poll_read_ready(cx) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) => from.try_read(buffer),
            Poll::Ready(Err(error)) => Err(error),
        };
        match read {
            Ok(0) => pipe.line.push_end(now, End::Finished),
            Ok(count) => {
                let chunk = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
                pipe.line.push(now, chunk);
                shared.count_bytes(direction, |stats| stats.received += as_u64(count));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_broken) => pipe.line.push_end(now, End::Broken),
        }
        true
    }

    /// Writes what is due in a direction.
    fn flush(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared,
        direction: Direction,
        now: Instant,
    ) -> Flushed {
        let to = match direction {
            Direction::ToTarget => &self.target,
            Direction::ToClient => &self.client,
        };
        let pipe = self.pipes.at_mut(direction);
        if pipe.state == PipeState::Done {
            return Flushed::Settled { wrote: false };
        }
        pipe.state = PipeState::Open;
        let mut wrote = false;
        loop {
            let bytes = match pipe.line.due(now) {
                Due::Nothing => return Flushed::Settled { wrote },
                Due::Spent | Due::End(End::Broken) => return Flushed::Reset,
                Due::End(End::Finished) => {
                    pipe.state = PipeState::Done;
                    let closed = SockRef::from(to).shutdown(Shutdown::Write);
                    return if closed.is_ok() {
                        Flushed::Settled { wrote: true }
                    } else {
                        Flushed::ReceiverGone
                    };
                }
                Due::Bytes(bytes) => bytes,
            };
            let written = match to.poll_write_ready(cx) {
                Poll::Pending => {
                    pipe.state = PipeState::Blocked;
                    return Flushed::Settled { wrote };
                }
                Poll::Ready(Ok(())) => to.try_write(bytes),
                Poll::Ready(Err(error)) => Err(error),
            };
            match written {
                Ok(count) => {
                    pipe.line.sent(count);
                    wrote = true;
                    shared.count_bytes(direction, |stats| stats.forwarded += as_u64(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_broken) => return Flushed::ReceiverGone,
            }
        }
    }

    /// The receiver of a direction is gone: the other direction, of which it is the sender, breaks
    /// in its turn, behind the bytes that it still holds.
    fn receiver_gone(&mut self, now: Instant, direction: Direction) {
        let (pipe, other) = match direction {
            Direction::ToTarget => (&mut self.pipes.to_target, &mut self.pipes.to_client),
            Direction::ToClient => (&mut self.pipes.to_client, &mut self.pipes.to_target),
        };
        *pipe = Pipe { state: PipeState::Done, ..Pipe::default() };
        other.line.push_end(now, End::Broken);
    }

    /// Waits for the next departure; ready when it has come.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let next = Direction::BOTH
            .iter()
            .map(|direction| self.pipes.at(*direction))
            .filter(|pipe| pipe.state == PipeState::Open)
            .filter_map(|pipe| pipe.line.next_departure())
            .min();
        let Some(next) = next else {
            return Poll::Pending;
        };
        self.timer.as_mut().reset(self.started + next.since(Instant::START));
        self.timer.as_mut().poll(cx)
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
