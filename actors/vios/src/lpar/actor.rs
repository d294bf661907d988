//! The actor that owns an LU's sessions: the hands of [`Owner`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, MessageResponse, ResponseFuture};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use vioduct_runtime::Terminated;

use super::entries::{Entries, Entry, EntryFound, Lost, SetEntries};
use crate::block::{Failure, Reply, Request};
use crate::carry::CarriedWord;
use crate::clock::Clock;
use crate::redirect::Moment;
use crate::redirect::limits::{LimitError, OwnerLimits};
use crate::redirect::name::{ClientId, Epoch, LuId, ViosId};
use crate::redirect::owner::{Attachment, Effect, End, Input, Owner, OwnerEvent};

type Outcome = Result<Reply, Failure>;

/// The first session is asked for once the preferred entry was found, or after so long: from then
/// on requests are held within the owner's bounds.
const START_WITHIN: Duration = Duration::from_secs(1);

/// All requests of a disk come by one client: it keeps their order where it matters.
const CLIENT: ClientId = ClientId(1);

/// One request of the client, and the room that it takes.
#[derive(Debug, Message)]
#[rtype(result = "Outcome")]
pub(super) struct Ask(pub(super) Request, pub(super) OwnedSemaphorePermit);

/// What an owner has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, MessageResponse)]
pub struct Figures {
    /// Sessions that were served.
    pub sessions: u64,
    /// Sessions that were lost.
    pub paths_lost: u64,
    /// Ranges that were written again because the storage may have lost them.
    pub replayed: u64,
    /// The longest that requests waited for a session.
    pub longest_wait: Duration,
    /// Bytes of the disk; 0 before the first session.
    pub size: u64,
    /// The VIOS that requests enter by, or that is tried.
    pub entry: Option<ViosId>,
    /// The session's exit, once it is known.
    pub exit: Option<ViosId>,
    /// Requests are carried out now.
    pub is_serving: bool,
    /// Requests that are not answered, or hold their place.
    pub requests: usize,
    /// Writes that were left without an answer and may still land on a storage that cannot fence.
    pub unresolved: usize,
    /// It waits until nothing of an earlier owner can land.
    pub is_clearing: bool,
    /// How it ended.
    pub end: Option<End>,
}

/// Nothing that was left without an answer can land any more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct AttemptsEnded;

/// The disk has so many bytes from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Grown(pub(super) u64);

impl Handler<Grown> for ClientLpar {
    type Result = ();

    fn handle(&mut self, Grown(size): Grown, ctx: &mut Self::Context) {
        Self::handle(self, Input::Grown { size }, ctx);
    }
}

/// Ends the owner in order: it finishes what was asked, flushes, and closes its session. Answered
/// once it has ended, in whatever way.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Close;

/// Answered once the owner has ended, in whatever way.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct AwaitEnd;

/// Asks for an owner's figures.
#[derive(Debug, Message)]
#[rtype(result = "Figures")]
pub struct Look;

/// A request for which there was no room.
#[derive(Debug)]
struct Waiting {
    since: Moment,
    request: Request,
    asker: Asker,
}

/// Who waits for an answer, and the room that its request takes until then, also when nobody waits
/// any more.
#[derive(Debug)]
struct Asker {
    answer: oneshot::Sender<Outcome>,
    _room: OwnedSemaphorePermit,
}

impl Asker {
    fn answer(self, outcome: Outcome) {
        // Fails only when the client has left.
        self.answer.send(outcome).ok();
    }
}

/// A client LPAR's actor.
///
/// It is made once for each [`Attachment`], and not started again after a failure: another life
/// does not know what this one has acknowledged, so it needs an owner's number of its own (redirect
/// protocol, rule 7).
#[derive(Debug)]
pub struct ClientLpar {
    owner: Owner,
    lu: LuId,
    entries: Entries,
    answers: BTreeMap<u64, Asker>,
    last_tag: u64,
    /// Requests that the owner has no room for. The disk lets no more than its bounds in, and
    /// without a session they wait as long as those that have room.
    waiting: VecDeque<Waiting>,
    hold_max: Duration,
    lost: Vec<ViosId>,
    /// Who waits for the end.
    closers: Vec<oneshot::Sender<()>>,
    figures: Figures,
    is_started: bool,
    clock: Clock,
}

impl ClientLpar {
    /// The owner of an LU that is reached by these VIOSes; those of its own CEC first.
    ///
    /// # Errors
    /// [`LimitError`] names the first setting that is out of range.
    pub fn new(
        limits: OwnerLimits,
        attachment: Attachment,
        entries: Vec<Entry>,
        seed: u64,
    ) -> Result<Self, LimitError> {
        let (lu, hold_max) = (attachment.lu, limits.hold_max);
        Ok(Self {
            owner: Owner::new(limits, attachment, seed)?,
            lu,
            entries: Entries::new(entries),
            answers: BTreeMap::new(),
            last_tag: 0,
            waiting: VecDeque::new(),
            hold_max,
            lost: Vec::new(),
            closers: Vec::new(),
            figures: Figures::default(),
            is_started: false,
            clock: Clock::new(),
        })
    }

    fn handle(&mut self, input: Input, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        self.owner.handle(now, input);
        self.go_on(now, ctx);
    }

    fn start(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.is_started, true) {
            self.handle(Input::Started, ctx);
        }
    }

    fn go_on(&mut self, now: Moment, ctx: &mut Context<Self>) {
        self.carry_out(now);
        while let Some(entry) = self.lost.pop() {
            self.lose(now, entry);
        }
        if self.owner.end().is_some() {
            // Whoever waits hears of it when this is dropped.
            self.closers.clear();
        }
        self.give_up(now);
        let deadline = [self.owner.deadline(), self.hold_until()].into_iter().flatten().min();
        self.clock.set(deadline, ctx, |act: &mut Self, ctx| {
            act.clock.rung();
            act.handle(Input::TimePassed, ctx);
        });
    }

    /// A way to an entry is lost; its VIOS may be there all the same.
    fn lose(&mut self, now: Moment, entry: ViosId) {
        self.owner.handle(now, Input::EntryLost { entry });
        self.carry_out(now);
        if self.entries.is_there(entry) {
            self.owner.handle(now, Input::EntryFound { entry });
            self.carry_out(now);
        }
    }

    /// When the first of those that wait for room has waited for too long.
    fn hold_until(&self) -> Option<Moment> {
        let first = self.waiting.front().filter(|_first| !self.owner.is_serving())?;
        Some(first.since.after(self.hold_max))
    }

    /// What waits for room was never sent: it is answered and dropped.
    fn give_up(&mut self, now: Moment) {
        while self.hold_until().is_some_and(|until| until <= now) {
            if let Some(late) = self.waiting.pop_front() {
                late.asker.answer(Err(Failure::Io));
            }
        }
    }

    fn carry_out(&mut self, now: Moment) {
        loop {
            while let Some(effect) = self.owner.poll() {
                match effect {
                    Effect::Send { entry, call } => {
                        if !self.entries.send(entry, self.lu, call) {
                            self.lost.push(entry);
                        }
                    }
                    Effect::Answer { tag, outcome, .. } => {
                        if let Some(asker) = self.answers.remove(&tag) {
                            asker.answer(outcome);
                        }
                    }
                    Effect::HangUp => self.hang_up(),
                    Effect::Tell(event) => self.note(event),
                }
            }
            let has_room = |first: &Waiting| self.owner.has_room(first.request.payload());
            if !self.waiting.front().is_some_and(has_room) {
                return;
            }
            if let Some(Waiting { request, asker, .. }) = self.waiting.pop_front() {
                self.ask(now, request, asker);
            }
        }
    }

    fn ask(&mut self, now: Moment, request: Request, asker: Asker) {
        self.last_tag += 1;
        let tag = self.last_tag;
        self.answers.insert(tag, asker);
        self.owner.handle(now, Input::Asked { client: CLIENT, tag, request });
    }

    fn ended(&mut self) -> ResponseFuture<()> {
        let (closer, ended) = oneshot::channel();
        if self.owner.end().is_none() {
            self.closers.push(closer);
        }
        Box::pin(async move { drop(ended.await) })
    }

    fn hang_up(&mut self) {
        for waiting in self.waiting.drain(..) {
            waiting.asker.answer(Err(Failure::ShuttingDown));
        }
        self.answers.clear();
    }

    fn note(&mut self, event: OwnerEvent) {
        let lu = self.lu.0;
        match event {
            OwnerEvent::PathLost { epoch: Epoch { seq, .. }, why } => {
                self.figures.paths_lost += 1;
                tracing::warn!(lu, session = seq, %why, "path lost");
            }
            OwnerEvent::PathBack { epoch: Epoch { seq, .. }, waited } => {
                self.figures.sessions += 1;
                self.figures.longest_wait = self.figures.longest_wait.max(waited);
                tracing::info!(lu, session = seq, ?waited, "path back");
            }
            OwnerEvent::Replayed { ranges, .. } => {
                self.figures.replayed += u64::try_from(ranges).unwrap_or(u64::MAX);
                tracing::warn!(lu, ranges, "acknowledged writes were written again");
            }
            other => tracing::warn!(lu, event = ?other, "disk"),
        }
    }
}

impl Actor for ClientLpar {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_later(START_WITHIN, Self::start);
    }
}

impl Handler<EntryFound> for ClientLpar {
    type Result = ();

    fn handle(&mut self, found: EntryFound, ctx: &mut Self::Context) {
        if let Some(me) = vioduct_runtime::myself::<Self>() {
            me.watch(&found.actor);
        }
        let entry = found.vios;
        self.entries.found(found);
        Self::handle(self, Input::EntryFound { entry }, ctx);
        if self.entries.is_first(entry) {
            self.start(ctx);
        }
    }
}

impl Handler<Lost> for ClientLpar {
    type Result = ();

    fn handle(&mut self, lost: Lost, ctx: &mut Self::Context) {
        if self.entries.lose(&lost) {
            self.lost.push(lost.vios);
            self.go_on(self.clock.now(), ctx);
        }
    }
}

impl Handler<SetEntries> for ClientLpar {
    type Result = ();

    fn handle(&mut self, SetEntries(list): SetEntries, ctx: &mut Self::Context) {
        let entries = list.iter().map(|entry| entry.vios).collect();
        let near = list.iter().take_while(|entry| entry.is_near).count();
        let there = self.entries.replace(list);
        Self::handle(self, Input::EntriesChanged { entries, near }, ctx);
        for entry in there {
            Self::handle(self, Input::EntryFound { entry }, ctx);
        }
    }
}

impl Handler<Terminated> for ClientLpar {
    type Result = ();

    fn handle(&mut self, Terminated { actor, .. }: Terminated, ctx: &mut Self::Context) {
        if let Some(entry) = self.entries.end(&actor) {
            Self::handle(self, Input::EntryLost { entry }, ctx);
        }
    }
}

impl Handler<CarriedWord> for ClientLpar {
    type Result = ();

    fn handle(&mut self, carried: CarriedWord, ctx: &mut Self::Context) {
        let Some(node) = vioduct_runtime::caller()
            .map(|identity| identity.name)
            .or_else(|| vioduct_runtime::myself::<Self>().map(|me| me.id().node.clone()))
        else {
            return;
        };
        let Some(entry) = self.entries.on(&node) else { return };
        if carried.lu() != self.lu {
            return;
        }
        let is_whole = carried.is_whole();
        let input = match carried.open() {
            Ok(word) if is_whole => Input::Heard { entry, word },
            Ok(_) | Err(_) => Input::Spoilt { entry },
        };
        Self::handle(self, input, ctx);
    }
}

impl Handler<Ask> for ClientLpar {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, Ask(request, room): Ask, ctx: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        if self.owner.end().is_some() {
            return Box::pin(std::future::ready(Err(Failure::ShuttingDown)));
        }
        let now = self.clock.now();
        let asker = Asker { answer, _room: room };
        self.waiting.push_back(Waiting { since: now, request, asker });
        self.go_on(now, ctx);
        Box::pin(async move { answered.await.unwrap_or(Err(Failure::ShuttingDown)) })
    }
}

impl Handler<Close> for ClientLpar {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Close: Close, ctx: &mut Self::Context) -> Self::Result {
        let ended = self.ended();
        Self::handle(self, Input::CloseAsked, ctx);
        ended
    }
}

impl Handler<AwaitEnd> for ClientLpar {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, AwaitEnd: AwaitEnd, _ctx: &mut Self::Context) -> Self::Result {
        self.ended()
    }
}

impl Handler<Look> for ClientLpar {
    type Result = Figures;

    fn handle(&mut self, Look: Look, _ctx: &mut Self::Context) -> Figures {
        Figures {
            size: self.owner.size().unwrap_or(0),
            entry: self.owner.entry(),
            exit: self.owner.exit(),
            is_serving: self.owner.is_serving(),
            requests: self.owner.requests() + self.waiting.len(),
            unresolved: self.owner.unresolved(),
            is_clearing: self.owner.is_clearing(),
            end: self.owner.end(),
            ..self.figures
        }
    }
}

impl Handler<AttemptsEnded> for ClientLpar {
    type Result = ();

    fn handle(&mut self, AttemptsEnded: AttemptsEnded, ctx: &mut Self::Context) {
        tracing::info!(lu = self.lu.0, "nothing that was left without an answer can land any more");
        Self::handle(self, Input::AttemptsEnded, ctx);
    }
}
