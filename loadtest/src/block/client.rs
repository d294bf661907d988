//! One client: its part of a disk, what it asks, and what is known of its blocks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until, timeout_at};
use vioduct_loadtest::stats::LatencyRecorder;
use vioduct_vios::block::{Extent, Reply, Request};
use vioduct_vios::nbd::client::RequestError;

use super::board::{Board, Done, Example, Fault};
use super::checker::{Change, Checker, Ending, Reading, Span, Writing};
use super::gate::Gate;
use super::link::{Conn, Link};
use super::mix::{Kind, Mix};
use super::stall::Stalls;
use crate::clock::{Clock, nanoseconds};
use crate::schedule::{Halt, Phase, Schedule};

/// Pause before what must be carried out is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) link: Link,
    pub(crate) offset: u64,
    pub(crate) block_bytes: u32,
    pub(crate) blocks: u32,
    /// Blocks of a request that fills the range, or reads it back.
    pub(crate) sweep_blocks: u32,
    pub(crate) deadline: Duration,
    pub(crate) clock: Clock,
    pub(crate) gate: Rc<Gate>,
    pub(crate) board: Rc<RefCell<Board>>,
    pub(crate) state: RefCell<State>,
    /// A request has ended: blocks are free again.
    pub(crate) freed: Notify,
}

/// What changes with each request.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) mix: Mix,
    pub(crate) checker: Checker,
    pub(crate) stalls: Stalls,
    pub(crate) latencies: LatencyRecorder,
    pub(crate) transfers: u64,
    pub(crate) errors: u64,
    pub(crate) violations: u64,
    pub(crate) is_flushing: bool,
}

/// A request that a moment of an open loop has come for.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) phase: Phase,
    pub(crate) planned_ns: u64,
    pub(crate) _place: OwnedSemaphorePermit,
}

/// A request, and what the checker knows of it.
#[derive(Debug)]
struct Asked {
    kind: Kind,
    bytes: u64,
    part: Part,
    request: Request,
}

#[derive(Debug)]
enum Part {
    Reading(Reading),
    Writing(Writing),
    Flush,
}

impl Client {
    /// Closed loop: one request after another, until the end.
    pub(crate) async fn closed(self: Rc<Self>, schedule: Schedule, halt: Halt) {
        while let Some(asked) = self.next(&schedule, &halt).await {
            let now_ns = self.clock.now_ns();
            let Some(phase) = schedule.phase(now_ns) else { return self.take_back(asked) };
            // An error is counted, and the next request is another one.
            let _is_done = self.carry_out(asked, Some(phase), now_ns).await;
        }
    }

    /// Open loop: a request for each moment that comes.
    pub(crate) async fn open(
        self: Rc<Self>,
        mut moments: mpsc::Receiver<Due>,
        schedule: Schedule,
        halt: Halt,
    ) {
        let mut requests = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                due = moments.recv() => match due {
                    None => break,
                    Some(due) => {
                        let (client, schedule, halt) =
                            (Rc::clone(&self), schedule.clone(), halt.clone());
                        requests.spawn_local(client.one(due, schedule, halt));
                    }
                },
                Some(_ended) = requests.join_next() => {}
            }
        }
        while requests.join_next().await.is_some() {}
    }

    async fn one(self: Rc<Self>, due: Due, schedule: Schedule, halt: Halt) {
        if let Some(asked) = self.next(&schedule, &halt).await {
            let _is_done = self.carry_out(asked, Some(due.phase), due.planned_ns).await;
        }
    }

    /// The next request, once there are free blocks for one; none at the end.
    async fn next(&self, schedule: &Schedule, halt: &Halt) -> Option<Asked> {
        let end = self.clock.at(schedule.end_ns());
        let next = async {
            loop {
                self.gate.opened().await;
                let freed = self.freed.notified();
                if let Some(asked) = self.choose() {
                    return asked;
                }
                freed.await;
            }
        };
        if self.clock.now_ns() >= schedule.end_ns() || halt.is_told() {
            return None;
        }
        timeout_at(end, halt.unless(1, next)).await.ok()?
    }

    fn choose(&self) -> Option<Asked> {
        let state = &mut *self.state.borrow_mut();
        let kind = state.mix.kind(!state.is_flushing);
        let span = match kind {
            Kind::Flush => Span { first: 0, count: 0 },
            Kind::Read => state.mix.place(|span| state.checker.may_read(span))?,
            Kind::Write | Kind::WriteFua | Kind::WriteZeroes | Kind::Trim => {
                state.mix.place(|span| state.checker.may_write(span))?
            }
        };
        state.mix.begun(kind);
        Some(self.ask(state, kind, span))
    }

    fn ask(&self, state: &mut State, kind: Kind, span: Span) -> Asked {
        let length = span.count.saturating_mul(self.block_bytes);
        let offset = self.offset + u64::from(span.first) * u64::from(self.block_bytes);
        let extent = Extent { offset, length };
        let checker = &mut state.checker;
        let (part, request) = match kind {
            Kind::Read => (Part::Reading(checker.begin_read(span)), Request::Read { extent }),
            Kind::Write | Kind::WriteFua => {
                let fua = kind == Kind::WriteFua;
                let writing = checker.begin_write(span, Change::Data, fua);
                let mut data = vec![0; length as usize];
                checker.fill(&writing, &mut data);
                let data = Bytes::from(data);
                (Part::Writing(writing), Request::Write { offset, data, fua })
            }
            Kind::WriteZeroes => {
                let writing = checker.begin_write(span, Change::Zeroes, false);
                let (fua, may_punch, only_fast) = (false, true, false);
                let request = Request::WriteZeroes { extent, fua, may_punch, only_fast };
                (Part::Writing(writing), request)
            }
            Kind::Trim => {
                let writing = checker.begin_write(span, Change::Trim, false);
                (Part::Writing(writing), Request::Trim { extent, fua: false })
            }
            Kind::Flush => {
                checker.begin_flush();
                state.is_flushing = true;
                (Part::Flush, Request::Flush)
            }
        };
        Asked { kind, bytes: length.into(), part, request }
    }

    /// Sends a request and judges its answer; true if it was carried out.
    async fn carry_out(&self, asked: Asked, phase: Option<Phase>, planned_ns: u64) -> bool {
        let Asked { kind, bytes, part, request } = asked;
        let sent_ns = self.clock.now_ns();
        self.state.borrow_mut().stalls.begin(sent_ns);
        self.gate.enter();
        let used = Cell::new(None);
        let end = self.clock.at(sent_ns.saturating_add(nanoseconds(self.deadline)));
        let result = timeout_at(end, async {
            let conn = self.link.conn().await;
            used.set(Some(Rc::clone(&conn)));
            conn.execute(request).await
        });
        let result = result.await;
        let done_ns = self.clock.now_ns();
        let done = Done { phase, kind, bytes, planned_ns, sent_ns, done_ns };
        let fault = match &result {
            Ok(Ok(_reply)) => None,
            Ok(Err(error)) => Some(Fault::of(error)),
            Err(_elapsed) => Some(Fault::Deadline),
        };
        match fault {
            None => self.note_done(done),
            Some(fault) => self.note_fault(&done, fault, result.as_ref().ok()),
        }
        let answer = match (&result, fault) {
            (Ok(Ok(reply)), _) => Ok(reply),
            (_, fault) => Err(fault.unwrap_or(Fault::Deadline)),
        };
        self.judge(part, answer, done_ns);
        self.gate.leave();
        self.freed.notify_waiters();
        let error = result.as_ref().ok().and_then(|result| result.as_ref().err());
        if let (Some(fault), Some(conn)) = (fault, used.take())
            && conn.is_over(fault, error)
        {
            self.give_up(&conn).await;
        }
        fault.is_none()
    }

    fn note_done(&self, done: Done) {
        let state = &mut *self.state.borrow_mut();
        state.stalls.answer(done.planned_ns, done.done_ns);
        if done.phase == Some(Phase::Measured) && done.kind != Kind::Flush {
            state.latencies.record(done.planned_ns, done.sent_ns, done.done_ns);
            state.transfers += 1;
        }
        self.board.borrow_mut().done(done);
    }

    fn note_fault(&self, done: &Done, fault: Fault, result: Option<&Result<Reply, RequestError>>) {
        let state = &mut *self.state.borrow_mut();
        state.stalls.fail(done.planned_ns, done.done_ns);
        state.errors += 1;
        let text = match result {
            Some(Err(error)) => error.to_string(),
            Some(Ok(_)) | None => "no answer in time".to_owned(),
        };
        let example = Example { at_ns: done.done_ns, client: self.number, text };
        self.board.borrow_mut().failed(done.kind, fault, example);
    }

    fn judge(&self, part: Part, answer: Result<&Reply, Fault>, now_ns: u64) {
        let state = &mut *self.state.borrow_mut();
        match part {
            Part::Writing(writing) => {
                let ending = answer.map_or_else(Fault::ending, |_reply| Ending::Acknowledged);
                state.checker.end_write(&writing, ending);
            }
            Part::Flush => {
                state.is_flushing = false;
                state.checker.end_flush(answer.is_ok());
            }
            Part::Reading(reading) => {
                let bytes: Option<&[u8]> = match answer {
                    Ok(Reply::Data(bytes)) => Some(bytes),
                    // It is told apart from all that can be true.
                    Ok(Reply::Done | Reply::Status(_)) => Some(&[]),
                    Err(_fault) => None,
                };
                let mut board = self.board.borrow_mut();
                state.checker.end_read(reading, bytes, |violation| {
                    state.violations += 1;
                    board.violated(self.number, now_ns, violation);
                });
            }
        }
    }

    /// The connection is cut, so that nothing more comes of what was sent, as far as this end goes.
    async fn give_up(&self, conn: &Rc<Conn>) {
        if self.link.lose(conn).await {
            self.board.borrow_mut().reconnects += 1;
            conn.cut().await;
        }
    }

    /// Nothing was sent.
    fn take_back(&self, asked: Asked) {
        self.judge(asked.part, Err(Fault::NotSent), self.clock.now_ns());
        self.freed.notify_waiters();
    }

    /// What was not flushed may be gone, and so is the connection.
    pub(crate) async fn power_cut(&self) {
        self.state.borrow_mut().checker.power_cut();
        self.link.reset().await;
    }

    /// Writes, or reads, every block once, `depth` requests at a time. False if some could not be
    /// within the deadline.
    pub(crate) async fn sweep(self: &Rc<Self>, kind: Kind, depth: u32, halt: &Halt) -> bool {
        let next = Rc::new(Cell::new(0));
        let mut workers = tokio::task::JoinSet::new();
        for _worker in 0..depth {
            let (client, next, halt) = (Rc::clone(self), Rc::clone(&next), halt.clone());
            workers.spawn_local(async move {
                while next.get() < client.blocks {
                    let first = next.get();
                    let count = client.sweep_blocks.min(client.blocks - first);
                    next.set(first + count);
                    let all = client.insist(kind, Span { first, count });
                    if halt.unless(2, all).await != Some(true) {
                        return false;
                    }
                }
                true
            });
        }
        let mut is_whole = true;
        while let Some(worker) = workers.join_next().await {
            is_whole &= worker.unwrap_or(false);
        }
        is_whole
    }

    /// Asks until it is carried out, or the deadline has passed.
    async fn insist(&self, kind: Kind, span: Span) -> bool {
        let last_ns = self.clock.now_ns().saturating_add(nanoseconds(self.deadline));
        loop {
            let asked = self.ask(&mut self.state.borrow_mut(), kind, span);
            let now_ns = self.clock.now_ns();
            if self.carry_out(asked, None, now_ns).await {
                return true;
            }
            if self.clock.now_ns() >= last_ns {
                return false;
            }
            sleep_until(Instant::now() + RETRY_PAUSE).await;
        }
    }

    /// Writes everything once, so that every block has content of this run, and flushes.
    pub(crate) async fn prepare(self: &Rc<Self>, depth: u32, halt: &Halt) -> bool {
        let can_flush = self.link.conn().await.device().abilities.can_flush;
        let is_filled = self.sweep(Kind::Write, depth, halt).await;
        let nothing = Span { first: 0, count: 0 };
        is_filled && (!can_flush || self.insist(Kind::Flush, nothing).await)
    }
}
