//! The actor of the runtime and of bare actix: echoes asks, counts tells.

use actix::{Actor, Context, Handler, Message, MessageResponse};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vioduct_runtime::{RemoteMessage, Wire};

/// Messages that wait for it: as many as wait for an actor of the runtime.
const CAPACITY: usize = 1024;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Payload")]
#[remote(name = "bench.Ask")]
pub(super) struct Ask {
    #[serde(skip)]
    #[remote(body)]
    pub(super) payload: Bytes,
}

#[derive(MessageResponse, Wire, Serialize, Deserialize)]
pub(super) struct Payload {
    #[serde(skip)]
    #[remote(body)]
    pub(super) payload: Bytes,
}

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "bench.Tell")]
pub(super) struct Tell {
    #[serde(skip)]
    #[remote(body)]
    pub(super) payload: Bytes,
}

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "bench.Tally")]
pub(super) struct Tally;

/// Echoes asks, counts tells. A process serves one client.
#[derive(Default)]
pub(super) struct Echo {
    tells: u64,
}

impl Actor for Echo {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(CAPACITY);
    }
}

impl Handler<Ask> for Echo {
    type Result = Payload;

    fn handle(&mut self, Ask { payload }: Ask, _ctx: &mut Self::Context) -> Payload {
        Payload { payload }
    }
}

impl Handler<Tell> for Echo {
    type Result = ();

    fn handle(&mut self, Tell { payload }: Tell, _ctx: &mut Self::Context) {
        drop(payload);
        self.tells += 1;
    }
}

impl Handler<Tally> for Echo {
    type Result = u64;

    fn handle(&mut self, Tally: Tally, _ctx: &mut Self::Context) -> u64 {
        self.tells
    }
}
