//! An actor for processes that are to be killed.

use std::time::Duration;

use actix::fut::WrapFuture;
use actix::{Actor, AtomicResponse, Context, Handler, Message, ResponseFuture};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};
use vioduct_runtime::membership::{MembershipConfig, Seed};
use vioduct_runtime::{ClusterConfig, RemoteMessage};

/// A cluster that notices a death soon: within seven periods of 200 ms, and a second.
#[must_use]
pub fn joined_through(seeds: Vec<Seed>) -> ClusterConfig {
    let membership = MembershipConfig {
        probe_period: Duration::from_millis(200),
        probe_rtt: Duration::from_millis(90),
        ..MembershipConfig::default()
    };
    ClusterConfig { seeds, membership, ..ClusterConfig::default() }
}

/// How many of these has this run answered?
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "sleeper.Count")]
pub struct Count;

/// Is never answered.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "sleeper.Sleep")]
pub struct Sleep;

/// Is handled for ten milliseconds; nothing else is handled meanwhile.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "sleeper.Nap")]
pub struct Nap {
    /// Fills the actor's window.
    pub ballast: Vec<u8>,
}

/// Counts, and sleeps.
#[derive(Debug, Default)]
pub struct Sleeper {
    count: u64,
}

impl Actor for Sleeper {
    type Context = Context<Self>;
}

impl Handler<Count> for Sleeper {
    type Result = u64;

    fn handle(&mut self, _count: Count, _ctx: &mut Self::Context) -> u64 {
        self.count += 1;
        self.count
    }
}

impl Handler<Nap> for Sleeper {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _nap: Nap, _ctx: &mut Self::Context) -> Self::Result {
        let over = sleep_until(Instant::now() + Duration::from_millis(10));
        AtomicResponse::new(Box::pin(over.into_actor(self)))
    }
}

impl Handler<Sleep> for Sleeper {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _sleep: Sleep, _ctx: &mut Self::Context) -> Self::Result {
        Box::pin(std::future::pending())
    }
}
