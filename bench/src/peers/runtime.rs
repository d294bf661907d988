//! The actor runtime as a peer: asks and tells to one actor, found by name. Links and actors share
//! the process's one thread.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, MessageResponse};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use vioduct_certs::credentials::Credentials;
use vioduct_runtime::{Access, ActorName, ActorRef, Node, RemoteMessage, Wire};

use super::{AskPeer, Peer};
use crate::identity::Pair;
use crate::tuning;

const ACTOR: &str = "echo";
/// Longer than any row takes.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Payload")]
#[remote(name = "bench.Ask")]
struct Ask {
    #[serde(skip)]
    #[remote(body)]
    payload: Bytes,
}

#[derive(MessageResponse, Wire, Serialize, Deserialize)]
struct Payload {
    #[serde(skip)]
    #[remote(body)]
    payload: Bytes,
}

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "bench.Tell")]
struct Tell {
    #[serde(skip)]
    #[remote(body)]
    payload: Bytes,
}

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "bench.Tally")]
struct Tally;

/// Echoes asks, counts tells. A process serves one client.
#[derive(Default)]
struct Echo {
    tells: u64,
}

impl Actor for Echo {
    type Context = Context<Self>;
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

async fn start(credentials: &Arc<Credentials>) -> Result<Node> {
    let node = Node::builder(Arc::clone(credentials)).on_this_local_set();
    Ok(node.incarnation(1).transport(tuning::links()).start().await?)
}

/// The client's end.
#[derive(Debug)]
pub(crate) struct Runtime {
    actor: ActorRef<Echo>,
    _node: Node,
}

impl Peer for Runtime {
    type Setup = Pair;

    fn prepare(credentials: &Path) -> Result<Pair> {
        Pair::load(credentials)
    }

    async fn serve(setup: Pair, bound: oneshot::Sender<SocketAddr>) -> Result<()> {
        let node = start(&setup.server).await?;
        let echo = node.actor(Echo::default).named(ActorName::new(ACTOR)?);
        let echo = echo.accept::<Ask>(Access::tools()).accept::<Tell>(Access::tools());
        echo.accept::<Tally>(Access::tools()).start().await?;
        if bound.send(node.local_addr()?).is_ok() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn connect(setup: &Pair, server: SocketAddr) -> Result<Self> {
        let node = start(&setup.client).await?;
        let name = setup.server.identity().name.clone();
        node.connect(name.clone(), server).await?;
        let actor = node.lookup(&name, &ActorName::new(ACTOR)?).await?;
        Ok(Self { actor, _node: node })
    }

    async fn tell(&self, payload: &Bytes, count: u64) -> Result<()> {
        for _ in 0..count {
            self.actor.tell(Tell { payload: payload.clone() }).await?;
        }
        Ok(())
    }

    async fn tells_received(&self) -> Result<u64> {
        self.actor.ask(Tally, DEADLINE).await.context("tally")
    }
}

impl AskPeer for Runtime {
    async fn ask(&self, payload: Bytes) -> Result<Bytes> {
        Ok(self.actor.ask(Ask { payload }, DEADLINE).await?.payload)
    }

    async fn bulk(&self, _len_bytes: u64) -> Result<()> {
        anyhow::bail!("the runtime carries no bulk row")
    }
}
