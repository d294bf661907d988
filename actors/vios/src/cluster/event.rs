//! What happens to a node, on its way to the cluster.
//!
//! ```text
//!  DSA, registrar, primary, ──▶ Events ──▶ Herald ── the database is there ──▶ its row
//!  provisioner                               │ ╰──── and while it is away ───▶ the other CMs
//!                                            ▼                                    │
//!                                  what the node remembers ◀──────────────────────╯
//! ```

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{Handler, Message};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use vioduct_certs::identity::NodeName;
use vioduct_db::clock::WallClock;
use vioduct_db::schema::Class;
use vioduct_runtime::{Accepts, RemoteMessage, Wire, caller};

use super::cm::{Cm, CmDesk};
use super::row::{Event, Happened};

/// Events that wait for the herald; one that comes when so many do is lost, and counted.
const WAITING_MAX: usize = 256;
/// Events that a node remembers, its own and those that others told it.
pub const REMEMBERED_MAX: usize = 256;

/// The way by which a node's parts tell what happens. A clone is the same way.
#[derive(Debug, Clone)]
pub struct Events {
    to: mpsc::Sender<Happened>,
    clock: WallClock,
    lost: Arc<AtomicU64>,
}

impl Events {
    pub(super) fn new(clock: WallClock) -> (Self, mpsc::Receiver<Happened>) {
        let (to, events) = mpsc::channel(WAITING_MAX);
        (Self { to, clock, lost: Arc::default() }, events)
    }

    /// The node's clock: milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Tells of an event that happens now. It waits for nobody.
    pub fn tell(&self, event: Event) {
        let happened = Happened { at_ms: self.now_ms(), event };
        if self.to.try_send(happened).is_err() {
            let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(lost, "events come faster than they can be told");
        }
    }
}

/// The newest events that a node knows of, whether the database is there or not. A clone is the
/// same.
#[derive(Debug, Clone, Default)]
pub(super) struct Remembered(Arc<Mutex<VecDeque<(NodeName, Happened)>>>);

impl Remembered {
    pub(super) fn add(&self, node: &NodeName, happened: Happened) {
        let mut all = self.lock();
        if all.len() >= REMEMBERED_MAX {
            all.pop_front();
        }
        all.push_back((node.clone(), happened));
    }

    pub(super) fn all(&self) -> Vec<(NodeName, Happened)> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(NodeName, Happened)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accepts<Heard> for CmDesk {}

impl Accepts<AskEvents> for CmDesk {}

/// What happened to the node that sends it, while the database is away.
#[derive(Debug, Clone, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "cm.Heard")]
pub(super) struct Heard {
    pub(super) events: Vec<Happened>,
}

/// Asks for the newest events that a node remembers, [`REMEMBERED_MAX`] at most: its own, and what
/// others told it while the database was away.
#[derive(Debug, Clone, Copy, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Vec<KnownEvent>")]
#[remote(name = "cm.AskEvents")]
pub struct AskEvents;

/// An event that a node remembers.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct KnownEvent {
    /// The node to which it happened, or that saw it.
    pub node: String,
    /// What happened, and when.
    pub happened: Happened,
}

impl Handler<Heard> for Cm {
    type Result = ();

    fn handle(&mut self, Heard { events }: Heard, _ctx: &mut Self::Context) {
        // Its own it remembers already.
        let Some(identity) = caller() else { return };
        for happened in events.into_iter().take(REMEMBERED_MAX) {
            if happened.event.class() == Class::Alert {
                tracing::warn!(node = %identity.name, event = %happened.event, "alert");
            }
            self.remembered.add(&identity.name, happened);
        }
    }
}

impl Handler<AskEvents> for Cm {
    type Result = Vec<KnownEvent>;

    fn handle(&mut self, AskEvents: AskEvents, _ctx: &mut Self::Context) -> Self::Result {
        let known =
            |(node, happened): (NodeName, _)| KnownEvent { node: node.to_string(), happened };
        self.remembered.all().into_iter().map(known).collect()
    }
}
