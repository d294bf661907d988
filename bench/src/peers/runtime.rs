//! The actor runtime as a peer: asks and tells to one actor, found by name. Links and actors share
//! the process's one thread.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::sync::oneshot;
use vioduct_bench_harness::identity::Pair;
use vioduct_bench_harness::peer::{AskPeer, Peer};
use vioduct_certs::credentials::Credentials;
use vioduct_runtime::{Access, ActorName, ActorRef, Node};

use super::echo::{Ask, Echo, Tally, Tell};
use crate::local::LocalPeer;
use crate::tuning;

const ACTOR: &str = "echo";
/// Longer than any row takes.
const DEADLINE: Duration = Duration::from_secs(60);

async fn node(credentials: &Arc<Credentials>) -> Result<Node> {
    let node = Node::builder(Arc::clone(credentials)).on_this_local_set();
    Ok(node.incarnation(1).transport(tuning::links()).start().await?)
}

async fn echo(node: &Node) -> Result<ActorRef<Echo>> {
    let echo = node.actor(Echo::default).named(ActorName::new(ACTOR)?);
    let echo = echo.accept::<Ask>(Access::tools()).accept::<Tell>(Access::tools());
    let echo = echo.accept::<Tally>(Access::tools()).start().await?;
    Ok(echo.now().context("the actor has ended")?.actor_ref())
}

async fn tell(actor: &ActorRef<Echo>, payload: &Bytes, count: u64) -> Result<()> {
    for _ in 0..count {
        actor.tell(Tell { payload: payload.clone() }).await?;
    }
    Ok(())
}

async fn tally(actor: &ActorRef<Echo>) -> Result<u64> {
    actor.ask(Tally, DEADLINE).await.context("tally")
}

async fn ask(actor: &ActorRef<Echo>, payload: Bytes) -> Result<Bytes> {
    Ok(actor.ask(Ask { payload }, DEADLINE).await?.payload)
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
        let node = node(&setup.server).await?;
        echo(&node).await?;
        if bound.send(node.local_addr()?).is_ok() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn connect(setup: &Pair, server: SocketAddr) -> Result<Self> {
        let node = node(&setup.client).await?;
        let name = setup.server.identity().name.clone();
        node.connect(name.clone(), server).await?;
        let actor = node.lookup(&name, &ActorName::new(ACTOR)?).await?;
        Ok(Self { actor, _node: node })
    }

    async fn tell(&self, payload: &Bytes, count: u64) -> Result<()> {
        tell(&self.actor, payload, count).await
    }

    async fn tells_received(&self) -> Result<u64> {
        tally(&self.actor).await
    }
}

impl AskPeer for Runtime {
    async fn ask(&self, payload: Bytes) -> Result<Bytes> {
        ask(&self.actor, payload).await
    }
}

/// The same reference to an actor of the same node, on the thread of whoever asks.
#[derive(Debug)]
pub(crate) struct LocalRuntime {
    actor: ActorRef<Echo>,
    _node: Node,
}

impl LocalPeer for LocalRuntime {
    async fn start(credentials: &Path) -> Result<Self> {
        let node = node(&Pair::load(credentials)?.server).await?;
        let actor = echo(&node).await?;
        Ok(Self { actor, _node: node })
    }

    async fn ask(&self, payload: Bytes) -> Result<Bytes> {
        ask(&self.actor, payload).await
    }

    async fn tell(&self, payload: &Bytes, count: u64) -> Result<()> {
        tell(&self.actor, payload, count).await
    }

    async fn tells_received(&self) -> Result<u64> {
        tally(&self.actor).await
    }
}
