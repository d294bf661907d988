//! The actor that owns an LU's sessions: the hands of [`Owner`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, MessageResponse, ResponseFuture};
use tokio::sync::oneshot;
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{ActorId, ActorRef, LocalRef, Terminated};

use crate::block::{Failure, Reply, Request};
use crate::carry::{CarriedCall, CarriedWord};
use crate::cke::Vios;
use crate::clock::Clock;
use crate::redirect::Moment;
use crate::redirect::limits::{LimitError, OwnerLimits};
use crate::redirect::message::Call;
use crate::redirect::name::{ClientId, Epoch, LuId, ViosId};
use crate::redirect::owner::{Attachment, Effect, Input, Owner, OwnerEvent};
use crate::way::Way;

type Outcome = Result<Reply, Failure>;

/// The first session is asked for after so long at the latest, also while no entry was found:
/// from then on requests are held within the owner's bounds.
const START_WITHIN: Duration = Duration::from_secs(1);

/// All requests of a disk come by one client: it keeps their order where it matters.
const CLIENT: ClientId = ClientId(1);

/// A VIOS that the client's requests may enter by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which VIOS.
    pub vios: ViosId,
    /// The node that it runs on.
    pub node: NodeName,
}

/// The VIOS of an entry was found.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct EntryFound {
    /// Which VIOS.
    pub vios: ViosId,
    /// It.
    pub actor: ActorRef<Vios>,
}

/// One request of the client.
#[derive(Debug, Message)]
#[rtype(result = "Outcome")]
pub(super) struct Ask(pub(super) Request);

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
    /// The session's exit, once it is known.
    pub exit: Option<ViosId>,
}

/// Asks for an owner's figures.
#[derive(Debug, Message)]
#[rtype(result = "Figures")]
pub struct Look;

#[derive(Debug)]
struct EntrySeen {
    actor: ActorId,
    way: Way<CarriedCall>,
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
    entries: Vec<Entry>,
    seen: BTreeMap<ViosId, EntrySeen>,
    answers: BTreeMap<u64, oneshot::Sender<Outcome>>,
    last_tag: u64,
    /// Requests that the owner has no room for. The disk lets no more than its bounds in.
    waiting: VecDeque<(Request, oneshot::Sender<Outcome>)>,
    lost: Vec<ViosId>,
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
        let lu = attachment.lu;
        Ok(Self {
            owner: Owner::new(limits, attachment, seed)?,
            lu,
            entries,
            seen: BTreeMap::new(),
            answers: BTreeMap::new(),
            last_tag: 0,
            waiting: VecDeque::new(),
            lost: Vec::new(),
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
            self.seen.remove(&entry);
            self.owner.handle(now, Input::EntryLost { entry });
            self.carry_out(now);
        }
        self.clock.set(self.owner.deadline(), ctx, |act: &mut Self, ctx| {
            act.clock.rung();
            act.handle(Input::TimePassed, ctx);
        });
    }

    fn carry_out(&mut self, now: Moment) {
        loop {
            while let Some(effect) = self.owner.poll() {
                match effect {
                    Effect::Send { entry, call } => {
                        if !self.send(entry, call) {
                            self.lost.push(entry);
                        }
                    }
                    Effect::Answer { tag, outcome, .. } => {
                        if let Some(answer) = self.answers.remove(&tag) {
                            // Fails only when the client has left.
                            answer.send(outcome).ok();
                        }
                    }
                    Effect::HangUp => self.hang_up(),
                    Effect::Tell(event) => self.note(event),
                }
            }
            let has_room =
                |(request, _answer): &(Request, _)| self.owner.has_room(request.payload());
            if !self.waiting.front().is_some_and(has_room) {
                return;
            }
            if let Some((request, answer)) = self.waiting.pop_front() {
                self.ask(now, request, answer);
            }
        }
    }

    fn ask(&mut self, now: Moment, request: Request, answer: oneshot::Sender<Outcome>) {
        self.last_tag += 1;
        let tag = self.last_tag;
        self.answers.insert(tag, answer);
        self.owner.handle(now, Input::Asked { client: CLIENT, tag, request });
    }

    fn send(&self, entry: ViosId, call: Call) -> bool {
        let Some(seen) = self.seen.get(&entry) else { return false };
        let is_open = matches!(call, Call::Open { .. });
        let mut carried = CarriedCall::seal(self.lu, call);
        if let Some(me) = vioduct_runtime::myself::<Self>().filter(|_me| is_open) {
            carried = carried.answered_to(words_of(&me));
        }
        seen.way.send(self.lu, carried).is_ok()
    }

    fn hang_up(&mut self) {
        for (_request, answer) in self.waiting.drain(..) {
            answer.send(Err(Failure::ShuttingDown)).ok();
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

    fn entry_of(&self, node: &NodeName) -> Option<ViosId> {
        self.entries.iter().find(|entry| entry.node == *node).map(|entry| entry.vios)
    }
}

/// The same actor, to those who send it words.
fn words_of(me: &LocalRef<ClientLpar>) -> ActorRef<crate::carry::WordTaker> {
    me.actor_ref().as_protocol()
}

/// Nothing more can be sent by this entry.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Lost {
    vios: ViosId,
}

impl Actor for ClientLpar {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_later(START_WITHIN, Self::start);
    }
}

impl Handler<EntryFound> for ClientLpar {
    type Result = ();

    fn handle(&mut self, EntryFound { vios, actor }: EntryFound, ctx: &mut Self::Context) {
        let me = vioduct_runtime::myself::<Self>();
        if let Some(me) = &me {
            me.watch(&actor);
        }
        let id = actor.id().clone();
        let way = Way::to(actor, move || {
            if let Some(me) = me {
                // Without room for it, the next message finds out.
                me.try_tell(Lost { vios }).ok();
            }
        });
        self.seen.insert(vios, EntrySeen { actor: id, way });
        self.start(ctx);
    }
}

impl Handler<Lost> for ClientLpar {
    type Result = ();

    fn handle(&mut self, Lost { vios: entry }: Lost, ctx: &mut Self::Context) {
        self.seen.remove(&entry);
        Self::handle(self, Input::EntryLost { entry }, ctx);
    }
}

impl Handler<Terminated> for ClientLpar {
    type Result = ();

    fn handle(&mut self, Terminated { actor, .. }: Terminated, ctx: &mut Self::Context) {
        let mut seen = self.seen.iter();
        let Some(entry) = seen.find(|(_vios, seen)| seen.actor == actor).map(|(vios, _)| *vios)
        else {
            return;
        };
        self.seen.remove(&entry);
        Self::handle(self, Input::EntryLost { entry }, ctx);
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
        let Some(entry) = self.entry_of(&node) else { return };
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

    fn handle(&mut self, Ask(request): Ask, ctx: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        if self.owner.end().is_some() {
            return Box::pin(std::future::ready(Err(Failure::ShuttingDown)));
        }
        let now = self.clock.now();
        self.waiting.push_back((request, answer));
        self.go_on(now, ctx);
        Box::pin(async move { answered.await.unwrap_or(Err(Failure::ShuttingDown)) })
    }
}

impl Handler<Look> for ClientLpar {
    type Result = Figures;

    fn handle(&mut self, Look: Look, _ctx: &mut Self::Context) -> Figures {
        let size = self.owner.size().unwrap_or(0);
        Figures { size, exit: self.owner.exit(), ..self.figures }
    }
}
