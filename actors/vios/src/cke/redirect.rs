//! The actor that chooses the way of each session: the hands of [`Relay`].

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, MessageResponse, MessageResult};
use vioduct_runtime::{ActorRef, Terminated};

use super::peers::Peers;
use super::turns::{Carried, Turns};
use super::{FromPeer, PathNews, Peer, Said};
use crate::carry::{CarriedCall, CarriedWord, Checksum};
use crate::clock::Clock;
use crate::fabric::FromFabric;
use crate::outside::FromOutside;
use crate::redirect::Moment;
use crate::redirect::limits::{LimitError, RelayLimits};
use crate::redirect::name::{AdapterId, ConnId, LinkId, LuId, ViosId};
use crate::redirect::relay::{Effect, Input, Leaves, PathState, PeerPath, Port, Relay};
use crate::vsa::{FromVsa, Ordered, ToOwner};
use crate::way::Way;

/// The name of a VIOS's redirect actor among the actors of its node.
pub const REDIRECT_NAME: &str = "vios.redirect";

/// How often other VIOSes are told how this one reaches the storage.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// The CKE of another VIOS was found.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PeerSeen {
    /// Which VIOS.
    pub vios: ViosId,
    /// Its CKE.
    pub cke: ActorRef<Peer>,
}

/// Another VIOS belongs to the cluster no more, or under another number.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PeerGone {
    /// Which VIOS it was.
    pub vios: ViosId,
}

/// The VIOS's VSA is there.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct VsaUp {
    /// How words are sent to owners.
    pub(crate) words: Way<ToOwner>,
}

/// A physical adapter has a connection to the storage.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct AdapterUp {
    pub(crate) adapter: AdapterId,
    pub(crate) conn: ConnId,
    /// How calls are sent by it.
    pub(crate) way: Way<CarriedCall>,
}

/// A physical adapter's connection is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct AdapterDown {
    pub(crate) conn: ConnId,
}

/// How the path of a physical adapter does: told by the DSA when it changes, and from time to time.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct PathReport {
    pub(crate) adapter: AdapterId,
    pub(crate) state: PathState,
    pub(crate) round_trip: Option<Duration>,
}

/// Asks what the DSA does not know of the ways to the storage.
#[derive(Debug, Message)]
#[rtype(result = "Surveyed")]
pub(crate) struct Survey;

/// Sessions by the adapter that they leave by, and what other VIOSes have said.
#[derive(Debug, Default, MessageResponse)]
pub(crate) struct Surveyed {
    pub(crate) sessions: BTreeMap<AdapterId, usize>,
    pub(crate) others: Vec<(ViosId, PeerPath)>,
}

/// Asks where the sessions of these owners of LUs leave, as far as they have any.
#[derive(Debug, Message)]
#[rtype(result = "BTreeMap<(LinkId, LuId), Leaves>")]
pub(crate) struct AskLeaves(pub(crate) Vec<(LinkId, LuId)>);

/// A VIOS's redirect actor.
///
/// It is made once, and not started again after a failure: its end of the fabric hands over to one
/// life. Its node starts anew.
#[derive(Debug)]
pub struct Redirect {
    relay: Relay,
    cec: u32,
    /// Where words for owners go, once the VSA is there.
    vsa: Option<Way<ToOwner>>,
    peers: Peers,
    /// Of what other VIOSes have brought.
    turns: Turns,
    storage: BTreeMap<ConnId, Way<CarriedCall>>,
    own: BTreeMap<AdapterId, PathReport>,
    lost: Vec<Port>,
    clock: Clock,
}

impl Redirect {
    /// Of the VIOS `own` in a CEC.
    ///
    /// # Errors
    /// [`LimitError`] names the first setting that is out of range.
    pub fn new(limits: RelayLimits, own: ViosId, cec: u32) -> Result<Self, LimitError> {
        Ok(Self {
            relay: Relay::new(limits, own)?,
            cec,
            vsa: None,
            peers: Peers::default(),
            turns: Turns::default(),
            storage: BTreeMap::new(),
            own: BTreeMap::new(),
            lost: Vec::new(),
            clock: Clock::new(),
        })
    }

    /// `checksum` is that of the call or word in `input`, which goes on under it.
    fn handle(&mut self, input: Input, checksum: Option<Checksum>, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        self.step(now, input, checksum);
        self.take_turns(now, ctx);
    }

    /// Passes on what other VIOSes have brought, as far as it is its turn.
    fn take_turns(&mut self, now: Moment, ctx: &mut Context<Self>) {
        while let Some(Carried { vios, lu, call, checksum }) = self.turns.next(now) {
            let input = Input::Called { from: Port::Peer(vios), lu, call };
            self.step(now, input, Some(checksum));
        }
        let deadlines = [self.relay.deadline(), self.turns.deadline()];
        let deadline = deadlines.into_iter().flatten().min();
        self.clock.set(deadline, ctx, |act: &mut Self, ctx| {
            act.clock.rung();
            act.handle(Input::TimePassed, None, ctx);
        });
    }

    fn step(&mut self, now: Moment, input: Input, checksum: Option<Checksum>) {
        // A word that says why a call does not go on is another message, with no data.
        let (of_call, of_word) = match &input {
            Input::Called { .. } => (checksum, None),
            _heard => (None, checksum),
        };
        self.relay.handle(now, input);
        self.carry_out(of_call, of_word);
        while let Some(port) = self.lost.pop() {
            self.forget(port);
            self.relay.handle(now, Input::PortLost { port });
            self.carry_out(None, None);
        }
    }

    fn carry_out(&mut self, of_call: Option<Checksum>, of_word: Option<Checksum>) {
        while let Some(effect) = self.relay.poll() {
            let (to, is_sent) = match effect {
                Effect::Call { to, lu, call } => {
                    let carried = match of_call {
                        Some(checksum) => CarriedCall::pass(lu, call, checksum),
                        None => CarriedCall::seal(lu, call),
                    };
                    (to, self.send_call(to, lu, carried))
                }
                Effect::Word { to, lu, word } => {
                    if let Port::Peer(vios) = to {
                        self.turns.said(vios, lu, &word);
                    }
                    let carried = match of_word {
                        Some(checksum) => CarriedWord::pass(lu, word, checksum),
                        None => CarriedWord::seal(lu, word),
                    };
                    (to, self.send_word(to, lu, carried))
                }
            };
            if !is_sent {
                self.lost.push(to);
            }
        }
    }

    fn send_call(&self, to: Port, lu: LuId, carried: CarriedCall) -> bool {
        match to {
            Port::Storage(conn) => {
                self.storage.get(&conn).is_some_and(|way| way.send(lu, carried).is_ok())
            }
            Port::Peer(vios) => self.peers.send_call(vios, lu, carried),
            Port::Owner(_) => false,
        }
    }

    fn send_word(&self, to: Port, lu: LuId, carried: CarriedWord) -> bool {
        match to {
            Port::Owner(link) => {
                let word = ToOwner { link, word: carried };
                self.vsa.as_ref().is_some_and(|vsa| vsa.send(lu, word).is_ok())
            }
            Port::Peer(vios) => self.peers.send_word(vios, lu, carried),
            Port::Storage(_) => false,
        }
    }

    fn forget(&mut self, port: Port) {
        match port {
            Port::Storage(conn) => drop(self.storage.remove(&conn)),
            Port::Peer(vios) => {
                self.peers.lose(vios);
                self.turns.lost(vios);
            }
            // The VSA forgets it.
            Port::Owner(_) => {}
        }
    }

    fn publish(&mut self) {
        self.peers.publish(self.news());
    }

    fn news(&self) -> PathNews {
        let best = self.relay.own_state();
        let state = match best {
            PathState::Good => 0,
            PathState::Degraded => 1,
            PathState::Lost => 2,
        };
        let round_trip = self.own.values().filter(|path| path.state == best);
        let round_trip = round_trip.filter_map(|path| path.round_trip).min().unwrap_or_default();
        let round_trip_us = u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX);
        let load = u32::try_from(self.relay.routes()).unwrap_or(u32::MAX);
        PathNews { cec: self.cec, state, round_trip_us, load }
    }

    /// Takes what may change how this VIOS reaches the storage; if it does, others are told.
    fn own_changed(&mut self, input: Input, ctx: &mut Context<Self>) {
        let before = self.relay.own_state();
        self.handle(input, None, ctx);
        if self.relay.own_state() != before {
            self.publish();
        }
    }
}

/// Tells the actor that runs of a port that is lost.
pub(super) fn lost(port: Port) -> impl FnOnce() + Send + 'static {
    let me = vioduct_runtime::myself::<Redirect>();
    move || {
        if let Some(me) = me {
            // Without room for it, the next message finds out.
            me.try_tell(Lost { port }).ok();
        }
    }
}

/// Nothing more can be sent there.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Lost {
    port: Port,
}

impl Actor for Redirect {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(PUBLISH_EVERY, |act, _ctx| act.publish());
    }
}

impl Handler<Lost> for Redirect {
    type Result = ();

    fn handle(&mut self, Lost { port }: Lost, ctx: &mut Self::Context) {
        self.forget(port);
        Self::handle(self, Input::PortLost { port }, None, ctx);
    }
}

impl Handler<VsaUp> for Redirect {
    type Result = ();

    fn handle(&mut self, VsaUp { words }: VsaUp, _ctx: &mut Self::Context) {
        self.vsa = Some(words);
    }
}

/// From an owner.
impl Handler<FromVsa> for Redirect {
    type Result = ();

    fn handle(&mut self, FromVsa { link, what }: FromVsa, ctx: &mut Self::Context) {
        let from = Port::Owner(link);
        let carried = match what {
            Ordered::Call(carried) => carried,
            Ordered::Lost => {
                return Self::handle(self, Input::PortLost { port: from }, None, ctx);
            }
        };
        let (lu, checksum) = (carried.lu(), carried.checksum());
        match carried.open() {
            Ok(call) => Self::handle(self, Input::Called { from, lu, call }, Some(checksum), ctx),
            Err(error) => tracing::warn!(lu = lu.0, %error, "a call is dropped"),
        }
    }
}

impl Handler<FromPeer> for Redirect {
    type Result = ();

    fn handle(&mut self, FromPeer { vios, what }: FromPeer, ctx: &mut Self::Context) {
        let from = Port::Peer(vios);
        let (input, checksum) = match what {
            Said::Path(news) => (Ok(Input::PeerChanged { vios, path: news.path(self.cec) }), None),
            Said::Call(carried) => {
                let (lu, checksum) = (carried.lu(), carried.checksum());
                (carried.open().map(|call| Input::Called { from, lu, call }), Some(checksum))
            }
            Said::Word(carried) => {
                let (lu, checksum) = (carried.lu(), carried.checksum());
                (carried.open().map(|word| Input::Heard { from, lu, word }), Some(checksum))
            }
        };
        match (input, checksum) {
            (Ok(Input::Called { lu, call, .. }), Some(checksum)) if Turns::concern(&call) => {
                let now = self.clock.now();
                self.turns.came(now, Carried { vios, lu, call, checksum });
                self.take_turns(now, ctx);
            }
            (Ok(input), checksum) => Self::handle(self, input, checksum, ctx),
            (Err(error), _) => tracing::warn!(vios = vios.0, %error, "a message is dropped"),
        }
    }
}

impl Handler<PeerSeen> for Redirect {
    type Result = ();

    fn handle(&mut self, PeerSeen { vios, cke }: PeerSeen, _ctx: &mut Self::Context) {
        if let Some(me) = vioduct_runtime::myself::<Self>() {
            me.watch(&cke);
        }
        self.peers.found(vios, cke, self.news());
    }
}

impl Handler<PeerGone> for Redirect {
    type Result = ();

    fn handle(&mut self, PeerGone { vios }: PeerGone, ctx: &mut Self::Context) {
        if self.peers.forget(vios) {
            let port = Port::Peer(vios);
            self.forget(port);
            Self::handle(self, Input::PortLost { port }, None, ctx);
        }
    }
}

impl Handler<Terminated> for Redirect {
    type Result = ();

    fn handle(&mut self, Terminated { actor, .. }: Terminated, ctx: &mut Self::Context) {
        if let Some(port) = self.peers.end(&actor).map(Port::Peer) {
            self.forget(port);
            Self::handle(self, Input::PortLost { port }, None, ctx);
        }
    }
}

/// From the storage.
impl Handler<FromFabric<CarriedWord>> for Redirect {
    type Result = ();

    fn handle(&mut self, from: FromFabric<CarriedWord>, ctx: &mut Self::Context) {
        let FromFabric { conn, came, .. } = from;
        self.heard_of_storage(conn, came, ctx);
    }
}

/// From a storage outside of the cluster.
impl Handler<FromOutside> for Redirect {
    type Result = ();

    fn handle(&mut self, FromOutside { conn, came }: FromOutside, ctx: &mut Self::Context) {
        self.heard_of_storage(conn, came, ctx);
    }
}

impl Redirect {
    fn heard_of_storage(&mut self, conn: ConnId, came: CarriedWord, ctx: &mut Context<Self>) {
        let (lu, checksum) = (came.lu(), came.checksum());
        match came.open() {
            Ok(word) => {
                let heard = Input::Heard { from: Port::Storage(conn), lu, word };
                Self::handle(self, heard, Some(checksum), ctx);
            }
            Err(error) => tracing::warn!(lu = lu.0, %error, "a word is dropped"),
        }
    }
}

impl Handler<AdapterUp> for Redirect {
    type Result = ();

    fn handle(&mut self, up: AdapterUp, ctx: &mut Self::Context) {
        let AdapterUp { adapter, conn, way } = up;
        self.storage.insert(conn, way);
        self.own_changed(Input::Connected { adapter, conn }, ctx);
    }
}

impl Handler<AdapterDown> for Redirect {
    type Result = ();

    fn handle(&mut self, AdapterDown { conn }: AdapterDown, ctx: &mut Self::Context) {
        let port = Port::Storage(conn);
        self.forget(port);
        self.own_changed(Input::PortLost { port }, ctx);
    }
}

impl Handler<PathReport> for Redirect {
    type Result = ();

    fn handle(&mut self, report: PathReport, ctx: &mut Self::Context) {
        let PathReport { adapter, state, .. } = report;
        let before = self.own.insert(adapter, report);
        if before.is_none_or(|before| before.state != state) {
            self.own_changed(Input::FabricChanged { adapter, state }, ctx);
        }
    }
}

impl Handler<Survey> for Redirect {
    type Result = Surveyed;

    fn handle(&mut self, Survey: Survey, _ctx: &mut Self::Context) -> Surveyed {
        let sessions = |adapter: &AdapterId| (*adapter, self.relay.routes_by(*adapter));
        let sessions = self.own.keys().map(sessions).collect();
        Surveyed { sessions, others: self.relay.peers().collect() }
    }
}

impl Handler<AskLeaves> for Redirect {
    type Result = MessageResult<AskLeaves>;

    fn handle(&mut self, AskLeaves(owners): AskLeaves, _ctx: &mut Self::Context) -> Self::Result {
        let leaves = |(link, lu)| Some(((link, lu), self.relay.leaves(link, lu)?));
        MessageResult(owners.into_iter().filter_map(leaves).collect())
    }
}
