//! ractor_cluster over mutual TLS: an echo actor in a process group, found by the client there.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, pg};
use ractor_cluster::node::NodeServerSessionInformation;
use ractor_cluster::{
    NetworkStream, NodeEventSubscription, NodeServer, NodeServerMessage, RactorClusterMessage,
};
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use vioduct_bench_harness::identity;
use vioduct_bench_harness::peer::{AskPeer, Peer};

use crate::tell_window::TellWindow;

const ALPN: &[u8] = b"ractor";
const GROUP: &str = "bench";
/// Both sides prove that they know it, under TLS.
const COOKIE: &str = "bench";
/// Unconfirmed tells; its queues have no bound.
const TELLS_MAX: u64 = 16_000;

#[derive(RactorClusterMessage)]
enum Message {
    #[rpc]
    Ask(Vec<u8>, RpcReplyPort<Vec<u8>>),
    Tell(Vec<u8>),
    #[rpc]
    Tally(RpcReplyPort<u64>),
}

/// Echoes asks, counts tells.
struct Echo;

impl Actor for Echo {
    type Msg = Message;
    type State = u64;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        _arguments: (),
    ) -> Result<u64, ActorProcessingErr> {
        pg::join(GROUP.to_owned(), vec![myself.get_cell()]);
        Ok(0)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Message>,
        message: Message,
        tells: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Ask(payload, reply) => reply.send(payload)?,
            Message::Tell(payload) => {
                drop(payload);
                *tells += 1;
            }
            Message::Tally(reply) => reply.send(*tells)?,
        }
        Ok(())
    }
}

/// Says when the state of the peer, its groups among it, has arrived.
struct Ready(Mutex<Option<oneshot::Sender<()>>>);

impl NodeEventSubscription for Ready {
    fn node_session_opened(&self, _session: NodeServerSessionInformation) {}

    fn node_session_disconnected(&self, _session: NodeServerSessionInformation) {}

    fn node_session_authenticated(&self, _session: NodeServerSessionInformation) {}

    fn node_session_ready(&self, _session: NodeServerSessionInformation) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waiting) = waiting {
            // Fails only when nobody waits any more.
            waiting.send(()).ok();
        }
    }
}

/// The TLS ends of one process.
pub(crate) struct Setup {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    server_name: ServerName<'static>,
}

/// The client's end.
#[derive(Debug)]
pub(crate) struct Ractor {
    echo: ActorRef<Message>,
    tells: TellWindow,
}

async fn node(name: &str) -> Result<ActorRef<NodeServerMessage>> {
    // Connections come from our own listener, whose port we learn; its own is not used.
    let server =
        NodeServer::new(0, COOKIE.to_owned(), name.to_owned(), "localhost".to_owned(), None, None)
            .with_listen_addr(Ipv4Addr::LOCALHOST.into());
    let (node, _task) = Actor::spawn(None, server, ()).await.context("start the node")?;
    Ok(node)
}

impl Peer for Ractor {
    type Setup = Setup;

    fn prepare(credentials: &Path) -> Result<Setup> {
        let (server, client, server_name) = identity::pair(credentials, ALPN)?;
        Ok(Setup {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
            server_name: ServerName::try_from(server_name)?,
        })
    }

    async fn serve(setup: Setup, bound: oneshot::Sender<SocketAddr>) -> Result<()> {
        let node = node("server").await?;
        let (_echo, _task) = Actor::spawn(None, Echo, ()).await.context("start the actor")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let local_addr = listener.local_addr()?;
        if bound.send(local_addr).is_err() {
            return Ok(());
        }
        loop {
            let (stream, peer_addr) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let stream = setup.acceptor.accept(stream).await.context("accept")?;
            let stream = NetworkStream::TlsServer { peer_addr, local_addr, stream };
            let opened =
                NodeServerMessage::ConnectionOpened { stream: Box::new(stream), is_server: true };
            node.cast(opened).map_err(|_ended| anyhow::anyhow!("the node has ended"))?;
        }
    }

    async fn connect(setup: &Setup, server: SocketAddr) -> Result<Self> {
        let node = node("client").await?;
        let (told, ready) = oneshot::channel();
        let subscribe = NodeServerMessage::SubscribeToEvents {
            id: "bench".to_owned(),
            subscription: Box::new(Ready(Mutex::new(Some(told)))),
        };
        node.cast(subscribe).map_err(|_ended| anyhow::anyhow!("the node has ended"))?;
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let local_addr = stream.local_addr()?;
        let stream = setup.connector.connect(setup.server_name.clone(), stream).await?;
        let stream = NetworkStream::TlsClient { peer_addr: server, local_addr, stream };
        let opened =
            NodeServerMessage::ConnectionOpened { stream: Box::new(stream), is_server: false };
        node.cast(opened).map_err(|_ended| anyhow::anyhow!("the node has ended"))?;
        ready.await.context("the session ended before it was ready")?;
        let members = pg::get_members(&GROUP.to_owned());
        let echo = members.into_iter().next().context("no actor in the group")?;
        Ok(Self { echo: echo.into(), tells: TellWindow::new(TELLS_MAX) })
    }

    async fn tell(&self, payload: &Bytes, count: u64) -> Result<()> {
        for _ in 0..count {
            let told = self.echo.cast(Message::Tell(payload.to_vec()));
            told.map_err(|_ended| anyhow::anyhow!("the session has ended"))?;
        }
        let echo = self.echo.clone();
        self.tells.sent(count, || async move { tally(&echo).await.map(drop) }).await
    }

    async fn tells_received(&self) -> Result<u64> {
        tally(&self.echo).await
    }
}

impl AskPeer for Ractor {
    async fn ask(&self, payload: Bytes) -> Result<Bytes> {
        let payload = payload.to_vec();
        let called = self.echo.call(|reply| Message::Ask(payload, reply), None).await;
        Ok(Bytes::from(answer(called.map_err(|_ended| anyhow::anyhow!("the session has ended"))?)?))
    }
}

async fn tally(echo: &ActorRef<Message>) -> Result<u64> {
    let called = echo.call(Message::Tally, None).await;
    answer(called.map_err(|_ended| anyhow::anyhow!("the session has ended"))?)
}

fn answer<T>(called: CallResult<T>) -> Result<T> {
    match called {
        CallResult::Success(answer) => Ok(answer),
        CallResult::Timeout => anyhow::bail!("a call timed out"),
        CallResult::SenderError => anyhow::bail!("a call was dropped"),
    }
}
