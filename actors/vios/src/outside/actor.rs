//! The adapter that leads to an outside storage: the hands of [`Initiator`].

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture, SpawnHandle,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use vioduct_runtime::LocalRef;

use super::{Export, FromOutside, OutsideBeat, OutsideConfig, probe};
use crate::block::Request;
use crate::carry::{CarriedCall, CarriedWord, Echo};
use crate::cke::{AdapterDown, AdapterUp, PathReport, Redirect};
use crate::clock::Clock;
use crate::disk::{Device, Disk};
use crate::dsa::{AdapterNews, Dsa, FromAdapter, Line as PathLine};
use crate::nbd::client::{Config, ConnectError, Remote, RequestError};
use crate::redirect::initiator::{Effect, Fate, Initiator, InitiatorEvent, Input};
use crate::redirect::limits::LimitError;
use crate::redirect::name::{AdapterId, ConnId, LuId};
use crate::seek::Task;
use crate::way::{Broken, Way};

/// The only adapter of its VIOS.
const ADAPTER: AdapterId = AdapterId(0);
/// How long a connection may take: less than an owner waits for a session.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// Words, and what is said of the path, that wait for the redirect actor. With one more the
/// sessions are given up.
const SAYINGS_MAX: usize = 65_536;

/// A physical adapter that leads to an outside storage. Made once, like the redirect actor.
#[derive(Debug)]
pub struct Outside {
    initiator: Initiator,
    config: OutsideConfig,
    redirect: LocalRef<Redirect>,
    dsa: LocalRef<Dsa>,
    lines: BTreeMap<ConnId, Line>,
    /// What the redirect actor knows the path by, as long as the storage is reached.
    path: Option<ConnId>,
    last_path: u64,
    sayings: Option<mpsc::Sender<Saying>>,
    /// What is said of the path once every session that ends has been told of.
    held: VecDeque<Saying>,
    beats: Option<mpsc::Sender<u64>>,
    tasks: Vec<Task>,
    clock: Clock,
}

/// A session's connection.
#[derive(Debug)]
enum Line {
    Connecting(SpawnHandle),
    Open(Arc<Remote>),
}

/// What is said to the VIOS's other actors, in order.
#[derive(Debug)]
enum Saying {
    Word(FromOutside),
    Up(AdapterUp),
    Down(AdapterDown),
    Report(PathReport),
    News(FromAdapter),
}

/// Asks what an LU is, of the storage itself; `None` without an export for it.
#[derive(Debug, Message)]
#[rtype(result = "Result<Option<Device>, String>")]
pub(crate) struct Describe {
    pub(crate) lu: LuId,
}

/// These are its exports from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct SetExports(pub(crate) BTreeMap<LuId, Export>);

/// What the probe has found.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum ProbeNews {
    Up,
    Answered { no: u64, at: Instant },
    Down,
}

/// A call for the storage.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct ToOutside {
    path: ConnId,
    carried: CarriedCall,
}

impl Outside {
    pub(super) fn new(
        config: OutsideConfig,
        redirect: LocalRef<Redirect>,
        dsa: LocalRef<Dsa>,
        seed: u64,
    ) -> Result<Self, LimitError> {
        let lus = config.exports.iter().map(|(lu, export)| (*lu, export.is_sole));
        Ok(Self {
            initiator: Initiator::new(config.limits.clone(), lus, seed)?,
            config,
            redirect,
            dsa,
            lines: BTreeMap::new(),
            path: None,
            last_path: 0,
            sayings: None,
            held: VecDeque::new(),
            beats: None,
            tasks: Vec::new(),
            clock: Clock::new(),
        })
    }

    fn handle(&mut self, input: Input, ctx: &mut Context<Self>) {
        self.initiator.handle(self.clock.now(), input);
        self.carry_out(ctx);
        if !self.initiator.is_ending() {
            while let Some(saying) = self.held.pop_front() {
                self.say(saying);
            }
        }
        self.clock.set(self.initiator.deadline(), ctx, |act: &mut Self, ctx| {
            act.clock.rung();
            act.handle(Input::TimePassed, ctx);
        });
    }

    fn carry_out(&mut self, ctx: &mut Context<Self>) {
        while let Some(effect) = self.initiator.poll() {
            match effect {
                Effect::Word { lu, word } => {
                    if let Some(conn) = self.path {
                        let came = CarriedWord::seal(lu, word);
                        self.say(Saying::Word(FromOutside { conn, came }));
                    }
                }
                Effect::Connect { lu, conn } => self.begin(lu, conn, ctx),
                Effect::Allow { conn, until } => {
                    if let Some(Line::Open(remote)) = self.lines.get(&conn) {
                        remote.allow_until(self.clock.instant(until));
                    }
                }
                Effect::Perform { conn, no, request } => self.perform(conn, no, request, ctx),
                Effect::Cut { conn } => self.cut(conn, ctx),
                Effect::Tell(event) => self.tell(event),
            }
        }
    }

    /// A connection to an LU's export, if it has one.
    fn connect(
        &self,
        lu: LuId,
    ) -> Option<impl Future<Output = Result<Remote, ConnectError>> + use<>> {
        let export = self.config.exports.get(&lu)?.name.clone();
        let address = self.config.server.0.clone();
        let requests_max = self.config.limits.requests_max;
        let connect_timeout = CONNECT_WITHIN;
        let config = Config { export, requests_max, connect_timeout, ..Config::default() };
        Some(async move { Remote::connect(&address, &config).await })
    }

    fn begin(&mut self, lu: LuId, conn: ConnId, ctx: &mut Context<Self>) {
        let Some(connecting) = self.connect(lu) else {
            return self.handle(Input::NotConnected { conn }, ctx);
        };
        let connected =
            wrap_future(connecting).map(move |connected, act: &mut Self, ctx| match connected {
                Ok(remote) => act.connected(conn, remote, ctx),
                Err(error) => {
                    tracing::warn!(lu = lu.0, server = %act.config.server, %error, "not connected");
                    act.lines.remove(&conn);
                    act.handle(Input::NotConnected { conn }, ctx);
                }
            });
        self.lines.insert(conn, Line::Connecting(ctx.spawn(connected)));
    }

    fn connected(&mut self, conn: ConnId, remote: Remote, ctx: &mut Context<Self>) {
        let (device, remote) = (remote.device(), Arc::new(remote));
        let watched = Arc::clone(&remote);
        let ended = wrap_future(async move { watched.ended().await });
        ctx.spawn(ended.map(move |why, act: &mut Self, ctx| {
            tracing::debug!(conn = conn.0, %why, "a connection to the outside storage has ended");
            act.lines.remove(&conn);
            act.handle(Input::ConnClosed { conn }, ctx);
        }));
        self.lines.insert(conn, Line::Open(remote));
        self.handle(Input::Connected { conn, device }, ctx);
    }

    fn perform(&mut self, conn: ConnId, no: u64, request: Request, ctx: &mut Context<Self>) {
        let remote = match self.lines.get(&conn) {
            Some(Line::Open(remote)) => Some(Arc::clone(remote)),
            Some(Line::Connecting(_)) | None => None,
        };
        let performed = wrap_future(async move {
            match remote {
                Some(remote) => fate(remote.execute(request).await),
                None => Fate::NotSent,
            }
        });
        ctx.spawn(performed.map(move |fate, act: &mut Self, ctx| {
            act.handle(Input::Performed { conn, no, fate }, ctx);
        }));
    }

    fn cut(&mut self, conn: ConnId, ctx: &mut Context<Self>) {
        match self.lines.remove(&conn) {
            Some(Line::Connecting(connecting)) => {
                ctx.cancel_future(connecting);
                self.handle(Input::NotConnected { conn }, ctx);
            }
            Some(Line::Open(remote)) => {
                // Its end is heard of where it is awaited.
                ctx.spawn(wrap_future(async move {
                    remote.cut().await;
                }));
            }
            None => {}
        }
    }

    fn tell(&self, event: InitiatorEvent) {
        let server = &self.config.server;
        match event {
            InitiatorEvent::Unfit { lu, unfit } => {
                tracing::error!(lu = lu.0, %server, %unfit, "an outside storage is not used");
            }
            InitiatorEvent::Cut { lu, cause } => {
                tracing::info!(lu = lu.0, %server, reason = %cause, "session ended");
            }
        }
    }

    fn say(&mut self, saying: Saying) {
        let Some(sayings) = &self.sayings else { return };
        if let Ok(room) = sayings.try_reserve() {
            room.send(saying);
        } else {
            // The leases of their owners are not renewed any more.
            tracing::error!("the redirect actor takes nothing: sessions are given up");
            self.sayings = None;
        }
    }

    fn news(&mut self, news: AdapterNews) {
        if let Some(conn) = self.path {
            self.say(Saying::News(FromAdapter { adapter: ADAPTER, conn, news }));
        }
    }

    #[expect(clippy::result_large_err, reason = "a call that finds no room comes back")]
    fn up(&mut self, me: LocalRef<Self>) {
        self.last_path += 1;
        let path = ConnId(self.last_path);
        self.path = Some(path);
        let (at_once, outside) = (me.clone(), me.clone());
        let now = move |_lu, carried| {
            let told = at_once.try_tell(ToOutside { path, carried });
            told.map_err(|full| full.message.carried)
        };
        let way = Way::<CarriedCall>::start(
            || (),
            now,
            move |_lu, carried| {
                let (outside, call) = (outside.clone(), ToOutside { path, carried });
                async move { outside.tell(call).await.map_err(|_ended| Broken) }
            },
        );
        self.held.push_back(Saying::Up(AdapterUp { adapter: ADAPTER, conn: path, way }));
        let (conn, news) = (path, AdapterNews::Up { line: PathLine::Outside(me) });
        self.held.push_back(Saying::News(FromAdapter { adapter: ADAPTER, conn, news }));
    }

    fn down(&mut self) {
        if let Some(conn) = self.path {
            self.held.push_back(Saying::Down(AdapterDown { conn }));
            let news = AdapterNews::Down;
            self.held.push_back(Saying::News(FromAdapter { adapter: ADAPTER, conn, news }));
        }
    }
}

fn fate(performed: Result<crate::block::Reply, RequestError>) -> Fate {
    match performed {
        Ok(reply) => Fate::Answered(Ok(reply)),
        Err(RequestError::Device(failure)) => Fate::Answered(Err(failure)),
        Err(RequestError::NotSent(_)) => Fate::NotSent,
        Err(RequestError::Unanswered(_)) => Fate::Unanswered,
    }
}

/// Says what is to be said, each once there is room for it.
async fn speak(
    mut sayings: mpsc::Receiver<Saying>,
    redirect: LocalRef<Redirect>,
    dsa: LocalRef<Dsa>,
) {
    while let Some(saying) = sayings.recv().await {
        let is_heard = match saying {
            Saying::Word(word) => redirect.tell(word).await.is_ok(),
            Saying::Up(up) => redirect.tell(up).await.is_ok(),
            Saying::Down(down) => redirect.tell(down).await.is_ok(),
            Saying::Report(report) => redirect.tell(report).await.is_ok(),
            Saying::News(news) => dsa.tell(news).await.is_ok(),
        };
        if !is_heard {
            return;
        }
    }
}

impl Actor for Outside {
    type Context = Context<Self>;

    fn started(&mut self, _ctx: &mut Self::Context) {
        let Some(me) = vioduct_runtime::myself::<Self>() else { return };
        let (sayings, said) = mpsc::channel(SAYINGS_MAX);
        self.sayings = Some(sayings);
        self.tasks.push(Task::spawn(speak(said, self.redirect.clone(), self.dsa.clone())));
        // One that finds no room is late already.
        let (beats, beaten) = mpsc::channel(1);
        self.beats = Some(beats);
        self.tasks.push(Task::spawn(probe::run(self.config.server.0.clone(), beaten, me)));
    }
}

impl Handler<ToOutside> for Outside {
    type Result = ();

    fn handle(&mut self, ToOutside { path, carried }: ToOutside, ctx: &mut Self::Context) {
        if self.path != Some(path) {
            return;
        }
        let lu = carried.lu();
        if !carried.is_whole() {
            tracing::warn!(lu = lu.0, "a checksum does not match");
            return Self::handle(self, Input::Spoilt { lu }, ctx);
        }
        match carried.open() {
            Ok(call) => Self::handle(self, Input::Called { lu, call }, ctx),
            Err(error) => tracing::warn!(lu = lu.0, %error, "a call is dropped"),
        }
    }
}

impl Handler<ProbeNews> for Outside {
    type Result = ();

    fn handle(&mut self, news: ProbeNews, ctx: &mut Self::Context) {
        match news {
            ProbeNews::Up => {
                if let Some(me) = vioduct_runtime::myself::<Self>() {
                    self.up(me);
                }
                // Says what is held.
                Self::handle(self, Input::TimePassed, ctx);
            }
            ProbeNews::Answered { no, at } => {
                let echo = Echo { no, oldest_us: 0, failures: 0 };
                self.news(AdapterNews::Echoed { echo, at });
            }
            ProbeNews::Down => {
                self.down();
                Self::handle(self, Input::PathLost, ctx);
            }
        }
    }
}

impl Handler<OutsideBeat> for Outside {
    type Result = ();

    fn handle(&mut self, OutsideBeat { no }: OutsideBeat, _ctx: &mut Self::Context) {
        if let Some(beats) = &self.beats {
            beats.try_send(no).ok();
        }
    }
}

impl Handler<SetExports> for Outside {
    type Result = ();

    fn handle(&mut self, SetExports(exports): SetExports, ctx: &mut Self::Context) {
        let lus = exports.iter().map(|(lu, export)| (*lu, export.is_sole)).collect();
        self.config.exports = exports;
        Self::handle(self, Input::Reaches { lus }, ctx);
    }
}

impl Handler<Describe> for Outside {
    type Result = ResponseFuture<Result<Option<Device>, String>>;

    fn handle(&mut self, Describe { lu }: Describe, _ctx: &mut Self::Context) -> Self::Result {
        let connecting = self.connect(lu);
        Box::pin(async move {
            let Some(connecting) = connecting else { return Ok(None) };
            let connected = connecting.await.map_err(|error| error.to_string())?;
            Ok(Some(connected.device()))
        })
    }
}

/// A path that is lost is told of once its sessions have been cut.
impl Handler<PathReport> for Outside {
    type Result = ();

    fn handle(&mut self, report: PathReport, ctx: &mut Self::Context) {
        let is_lost = report.state == crate::redirect::relay::PathState::Lost;
        self.held.push_back(Saying::Report(report));
        Self::handle(self, if is_lost { Input::PathLost } else { Input::TimePassed }, ctx);
    }
}
