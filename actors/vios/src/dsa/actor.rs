//! The actor that watches a VIOS's paths: the hands of [`Path`].

use std::collections::BTreeMap;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, AsyncContext, Context, Handler, Message, MessageResult, ResponseFuture};
use tokio::sync::watch;
use tokio::time::Instant;
use vioduct_runtime::LocalRef;
use vioduct_transport::Link;

use super::limits::DsaLimits;
use super::operator::{FailPath, Listing, NotChanged, PathRow, Paths, RestorePath};
use super::path::{Device, Effect, Input, Path};
use super::{Adapter, numbered};
use crate::carry::{Beat, Echo};
use crate::cke::{PathReport, Redirect, Survey, Surveyed};
use crate::clock::Clock;
use crate::cluster::event::Events;
use crate::cluster::row::{Event, ToldPath};
use crate::fabric::send_pulse;
use crate::outside::{Outside, OutsideBeat};
use crate::redirect::Moment;
use crate::redirect::limits::{LimitError, within};
use crate::redirect::name::{AdapterId, ConnId};
use crate::redirect::relay::PathState;

/// How often the redirect actor is told what the paths' heartbeats take.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A path that is not good so long after the VIOS began to tell of them is told of.
const BEGUN_AFTER: Duration = Duration::from_secs(10);
/// The redirect actor answers on the same worker.
const SURVEY_WITHIN: Duration = Duration::from_secs(5);

/// What an adapter has to say of a connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FromAdapter {
    pub(crate) adapter: AdapterId,
    pub(crate) conn: ConnId,
    pub(crate) news: AdapterNews,
}

#[derive(Debug)]
pub(crate) enum AdapterNews {
    Up { line: Line },
    Echoed { echo: Echo, at: Instant },
    Down,
}

/// Has what becomes of the paths told from now on. Gives how they are, whenever that changes.
#[derive(Debug, Message)]
#[rtype(result = "watch::Receiver<Vec<ToldPath>>")]
pub(crate) struct FollowPaths {
    pub(crate) events: Events,
}

/// How heartbeats are sent, and who passes on to the redirect actor what is found.
#[derive(Debug, Clone)]
pub(crate) enum Line {
    Fabric(Link),
    /// It aborts its connections to the storage before it passes on that the path is lost.
    Outside(LocalRef<Outside>),
}

impl Line {
    fn beat(&self, no: u64) {
        match self {
            Self::Fabric(link) => send_pulse(link, &Beat { no }),
            // Without room for it, it is one that is not answered.
            Self::Outside(outside) => drop(outside.try_tell(OutsideBeat { no })),
        }
    }

    fn bytes_heard(&self) -> u64 {
        match self {
            Self::Fabric(link) => link.stats().udp_bytes_received,
            Self::Outside(_) => 0,
        }
    }
}

/// A path, and what is needed to watch it.
#[derive(Debug)]
struct Watched {
    adapter: Adapter,
    path: Path,
    line: Option<Line>,
    /// Bytes that had come by the connection when they were counted last.
    heard_bytes: u64,
}

impl Watched {
    /// How the path does, as the database is told at this moment of both clocks.
    fn told(&self, now: Moment, now_ms: u64) -> ToldPath {
        let (Adapter { name, storage, .. }, status) = (&self.adapter, self.path.status());
        let lasts_ms = u64::try_from(now.since(self.path.since()).as_millis()).unwrap_or(0);
        ToldPath {
            adapter: name.clone(),
            storage: storage.clone(),
            state: status.state.into(),
            reason: status.reason.to_string(),
            since_ms: now_ms.saturating_sub(lasts_ms),
        }
    }

    /// How the path does, as it is told.
    fn event(&self) -> Event {
        let (Adapter { name, storage, .. }, status) = (&self.adapter, self.path.status());
        Event::Path {
            adapter: name.clone(),
            storage: storage.clone(),
            state: status.state.into(),
            reason: status.reason.to_string(),
        }
    }

    /// Whether anything came from the storage since it was asked last.
    fn has_heard(&mut self) -> bool {
        let bytes = self.line.as_ref().map_or(0, Line::bytes_heard);
        std::mem::replace(&mut self.heard_bytes, bytes) != bytes
    }
}

/// The DSA of a VIOS. Made once, as its redirect actor is.
#[derive(Debug)]
pub struct Dsa {
    redirect: LocalRef<Redirect>,
    paths: BTreeMap<AdapterId, Watched>,
    clock: Clock,
    events: Option<Events>,
    told: watch::Sender<Vec<ToldPath>>,
}

impl Dsa {
    pub(super) fn new(
        limits: DsaLimits,
        redirect: LocalRef<Redirect>,
        adapters: &[Adapter],
    ) -> Result<Self, LimitError> {
        limits.validate()?;
        within("adapters", adapters.len() as u128, 0, 256)?;
        let clock = Clock::new();
        let mut paths = BTreeMap::new();
        for (id, adapter) in numbered(adapters) {
            let path = Path::new(limits.clone(), clock.now())?;
            let adapter = adapter.clone();
            paths.insert(id, Watched { adapter, path, line: None, heard_bytes: 0 });
        }
        Ok(Self { redirect, paths, clock, events: None, told: watch::Sender::default() })
    }

    fn handle(&mut self, adapter: AdapterId, input: Input, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        if let Some(watched) = self.paths.get_mut(&adapter) {
            watched.path.handle(now, input);
        }
        self.go_on(ctx);
    }

    fn time_passed(&mut self, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        for watched in self.paths.values_mut() {
            if watched.path.deadline().is_some_and(|deadline| deadline <= now) {
                let input = if watched.has_heard() { Input::Heard } else { Input::TimePassed };
                watched.path.handle(now, input);
            }
        }
        self.go_on(ctx);
    }

    fn go_on(&mut self, ctx: &mut Context<Self>) {
        let mut changed = Vec::new();
        for (id, watched) in &mut self.paths {
            while let Some(effect) = watched.path.poll() {
                match effect {
                    Effect::Beat { no, .. } => {
                        if let Some(line) = &watched.line {
                            line.beat(no);
                        }
                    }
                    Effect::Changed { from, to } => {
                        let Adapter { name, storage, .. } = &watched.adapter;
                        tracing::info!(
                            adapter = name, storage, from = ?from.state, to = ?to.state,
                            reason = %to.reason, "path"
                        );
                        if let Some(events) = &self.events {
                            events.tell(watched.event());
                        }
                        changed.push(*id);
                    }
                }
            }
        }
        if !changed.is_empty() {
            self.tell_all();
        }
        for id in changed {
            self.report(id, ctx);
        }
        let due = self.paths.values().filter_map(|watched| watched.path.deadline()).min();
        self.clock.set(due, ctx, |act: &mut Self, ctx| {
            act.clock.rung();
            act.time_passed(ctx);
        });
    }

    fn tell_all(&self) {
        let Some(events) = &self.events else { return };
        let (now, now_ms) = (self.clock.now(), events.now_ms());
        self.told.send_replace(self.paths.values().map(|path| path.told(now, now_ms)).collect());
    }

    fn tell_what_is_not_good(&self) {
        let Some(events) = &self.events else { return };
        for watched in self.paths.values() {
            if watched.path.status().state != PathState::Good {
                events.tell(watched.event());
            }
        }
    }

    /// What comes next waits until the redirect actor has room: states keep their order.
    fn report(&self, adapter: AdapterId, ctx: &mut Context<Self>) {
        let Some(Watched { path, line, .. }) = self.paths.get(&adapter) else { return };
        let (state, round_trip) = (path.status().for_routing(), path.round_trip());
        let report = PathReport { adapter, state, round_trip };
        let (redirect, line) = (self.redirect.clone(), line.clone());
        ctx.wait(wrap_future(async move {
            // Each fails only when the actor has ended.
            match line {
                Some(Line::Outside(outside)) => drop(outside.tell(report).await),
                Some(Line::Fabric(_)) | None => drop(redirect.tell(report).await),
            }
        }));
    }

    fn by_hand(
        &mut self,
        name: &str,
        input: Input,
        ctx: &mut Context<Self>,
    ) -> Result<(), NotChanged> {
        let mut paths = self.paths.iter();
        let named = paths.find(|(_id, watched)| watched.adapter.name == name);
        let id = named.map(|(id, _watched)| *id).ok_or(NotChanged::NoSuchAdapter)?;
        tracing::info!(adapter = name, ?input, "path by hand");
        self.handle(id, input, ctx);
        Ok(())
    }

    fn rows(&self) -> Vec<(AdapterId, PathRow)> {
        let now = self.clock.now();
        let row = |(id, watched): (&AdapterId, &Watched)| {
            let (Watched { adapter, path, .. }, status) = (watched, watched.path.status());
            let row = PathRow {
                adapter: adapter.name.clone(),
                storage: adapter.storage.clone(),
                state: status.state.into(),
                reason: status.reason.to_string(),
                for_how_long: now.since(path.since()),
                round_trip: path.round_trip(),
                sessions: 0,
            };
            (*id, row)
        };
        self.paths.iter().map(row).collect()
    }
}

impl Actor for Dsa {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(REPORT_EVERY, |act, ctx| {
            for id in act.paths.keys().copied().collect::<Vec<_>>() {
                act.report(id, ctx);
            }
        });
    }
}

impl Handler<FromAdapter> for Dsa {
    type Result = ();

    fn handle(&mut self, from: FromAdapter, ctx: &mut Self::Context) {
        let FromAdapter { adapter, conn, news } = from;
        let input = match news {
            AdapterNews::Up { line } => {
                if let Some(watched) = self.paths.get_mut(&adapter) {
                    watched.line = Some(line);
                }
                Input::Connected { conn }
            }
            AdapterNews::Down => Input::Lost { conn },
            AdapterNews::Echoed { echo: Echo { no, oldest_us, failures }, at } => {
                let device = Device { oldest: Duration::from_micros(oldest_us), failures };
                Input::Answered { conn, no, at: self.clock.moment(at), device }
            }
        };
        Self::handle(self, adapter, input, ctx);
    }
}

impl Handler<FollowPaths> for Dsa {
    type Result = MessageResult<FollowPaths>;

    fn handle(
        &mut self,
        FollowPaths { events }: FollowPaths,
        ctx: &mut Self::Context,
    ) -> Self::Result {
        self.events = Some(events);
        // What was so from the beginning is no change.
        ctx.run_later(BEGUN_AFTER, |act, _ctx| act.tell_what_is_not_good());
        self.tell_all();
        MessageResult(self.told.subscribe())
    }
}

impl Handler<FailPath> for Dsa {
    type Result = Result<(), NotChanged>;

    fn handle(&mut self, FailPath { adapter }: FailPath, ctx: &mut Self::Context) -> Self::Result {
        self.by_hand(&adapter, Input::FailedByHand, ctx)
    }
}

impl Handler<RestorePath> for Dsa {
    type Result = Result<(), NotChanged>;

    fn handle(&mut self, restore: RestorePath, ctx: &mut Self::Context) -> Self::Result {
        self.by_hand(&restore.adapter, Input::RestoredByHand, ctx)
    }
}

impl Handler<Paths> for Dsa {
    type Result = ResponseFuture<Listing>;

    fn handle(&mut self, Paths: Paths, _ctx: &mut Self::Context) -> Self::Result {
        let rows = self.rows();
        let redirect = self.redirect.clone();
        Box::pin(async move {
            let surveyed = redirect.ask(Survey, SURVEY_WITHIN).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "sessions and other VIOSes are not listed");
                Surveyed::default()
            });
            Listing::of(rows, surveyed)
        })
    }
}
