//! Changes, told to those who wait for them.
//!
//! Nothing is kept for one who is slow: each asks for what is behind the revision up to which it
//! knows all, and waits here only if there is nothing yet.

mod hub;
mod record;

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Handler};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use self::hub::{Hub, Telling, Waiting};
use super::actor::Replica;
use super::client::{AskChanges, Encoded, Freshness, Refusal};
use super::gate::Gate;
use crate::consensus::recent::Recent;
use crate::log::LogEngine;
use crate::schema::Schema;
use crate::state::ShardState;
use crate::watch::Filter;

/// Waits end on these: one round to the other replicas serves all that end on the same.
const TICK: Duration = Duration::from_millis(100);
/// How long one may wait for changes.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

type Answer = Result<Encoded, Refusal>;
type To = OneshotSender<Answer>;

/// Those who wait for changes at a replica.
#[derive(Debug)]
pub(super) struct Watches<S: ShardState> {
    inner: Rc<Inner<S>>,
}

impl<S: ShardState> Clone for Watches<S> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

#[derive(Debug)]
struct Inner<S: ShardState> {
    schema: Arc<Schema>,
    rows: S,
    recent: Recent,
    gate: Gate<S>,
    begun: Instant,
    /// None once the replica is over.
    hub: RefCell<Option<Hub<To>>>,
    /// Somebody waits less long than those before.
    sooner: Notify,
}

impl<S: ShardState> Watches<S> {
    /// Begins to tell them, until no more is applied.
    pub(super) fn begin(
        schema: Arc<Schema>,
        rows: S,
        (recent, progress): (Recent, watch::Receiver<u64>),
        gate: Gate<S>,
    ) -> Self {
        let hub = Hub::new(Arc::clone(&schema), *progress.borrow());
        let (hub, sooner) = (RefCell::new(Some(hub)), Notify::new());
        let inner = Inner { schema, rows, recent, gate, begun: Instant::now(), hub, sooner };
        let watches = Self { inner: Rc::new(inner) };
        tokio::task::spawn_local(tell(watches.clone(), progress));
        watches
    }

    fn hub(&self) -> RefMut<'_, Option<Hub<To>>> {
        self.inner.hub.borrow_mut()
    }

    /// Somebody asks for changes.
    fn ask(&self, filter: Filter, watch: &AskChanges, to: To) {
        self.tell_new();
        let mut hub = self.hub();
        let Some(hub) = hub.as_mut() else { return answer((to, Err(Refusal::Stopped))) };
        let Some((revised, through)) = self.inner.recent.since(watch.after) else {
            let Inner { rows, schema, .. } = &*self.inner;
            let told = record::read(rows, schema, &filter, watch.after).map_err(|error| {
                tracing::error!(%error, "the record of changes can't be read");
                Refusal::Stopped
            });
            return answer((to, told));
        };
        if hub.is_full() {
            hub.forget(OneshotSender::is_closed);
        }
        let wait = Duration::from_millis(watch.wait_ms.into()).min(WAIT_MAX);
        let until = self.tick(Instant::now() + wait) + 1;
        let is_sooner = hub.next_round().is_none_or(|next| until < next);
        let waiting = Waiting { to, filter, after: watch.after, until, is_ending: false };
        match hub.admit(waiting, &revised, through) {
            Some(telling) => answer(telling),
            None if is_sooner => self.inner.sooner.notify_one(),
            None => {}
        }
    }

    /// Tells what changed.
    fn tell_new(&self) {
        let told = {
            let mut hub = self.hub();
            let Some(hub) = hub.as_mut() else { return };
            match self.inner.recent.since(hub.seen()) {
                Some((revised, through)) => hub.changed(&revised, through),
                None => {
                    let (_none, through) = self.inner.recent.since(u64::MAX).unwrap_or_default();
                    hub.lost(through)
                }
            }
        };
        told.into_iter().for_each(answer);
    }

    fn tick(&self, at: Instant) -> u64 {
        let ticks = (at - self.inner.begun).as_millis() / TICK.as_millis();
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// When a round is to begin.
    fn next_round(&self) -> Option<Instant> {
        let tick = self.hub().as_ref()?.next_round()?;
        let ticks = u32::try_from(tick).unwrap_or(u32::MAX);
        Some(self.inner.begun + TICK * ticks)
    }

    /// Makes sure that the replica leads, for those who have waited long enough.
    fn begin_round(&self) {
        let now = self.tick(Instant::now());
        let begins = self.hub().as_mut().is_some_and(|hub| {
            hub.forget(OneshotSender::is_closed);
            hub.begins_round(now)
        });
        if begins {
            let watches = self.clone();
            tokio::task::spawn_local(async move {
                let led = watches.inner.gate.pass(Freshness::Linearizable).await;
                watches.tell_new();
                let told = watches.hub().as_mut().map(|hub| hub.round_ended(&led));
                told.unwrap_or_default().into_iter().for_each(answer);
                watches.inner.sooner.notify_one();
            });
        }
    }

    /// Nothing more is applied here.
    fn end(&self) {
        let hub = self.hub().take();
        let told = hub.map(|mut hub| hub.refuse_all(&Refusal::Stopped)).unwrap_or_default();
        told.into_iter().for_each(answer);
    }
}

fn answer((to, told): Telling<To>) {
    // Fails only when nobody waits any more.
    drop(to.send(told.map(|told| Encoded { body: told.encode() })));
}

async fn tell<S: ShardState>(watches: Watches<S>, mut progress: watch::Receiver<u64>) {
    loop {
        let next_round = watches.next_round();
        let round = async {
            match next_round {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = progress.changed() => match changed {
                Ok(()) => watches.tell_new(),
                Err(_over) => return watches.end(),
            },
            () = watches.inner.sooner.notified() => {}
            () = round => watches.begin_round(),
        }
    }
}

/// The answer to [`AskChanges`], which comes when there is one. The hub has the way back: for those
/// who wait there is no future of the actor's each.
#[derive(Debug)]
pub struct Later<S: ShardState>(Result<(Watches<S>, Filter, AskChanges), Refusal>);

impl<E: LogEngine, S: ShardState> MessageResponse<Replica<E, S>, AskChanges> for Later<S> {
    fn handle(self, _ctx: &mut <Replica<E, S> as Actor>::Context, to: Option<To>) {
        let Some(to) = to else { return };
        match self.0 {
            Ok((watches, filter, watch)) => watches.ask(filter, &watch, to),
            Err(refusal) => answer((to, Err(refusal))),
        }
    }
}

impl<E: LogEngine, S: ShardState> Handler<AskChanges> for Replica<E, S> {
    type Result = Later<S>;

    fn handle(&mut self, watch: AskChanges, _ctx: &mut Self::Context) -> Self::Result {
        let filter = self.filter(&watch);
        Later(filter.and_then(|filter| Ok((self.watches()?, filter, watch))))
    }
}
