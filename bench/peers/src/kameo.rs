//! kameo's remote actors over libp2p's QUIC, which authenticates both ends by their keys: an echo
//! actor under a name in kameo's registry.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use kameo::actor::{RemoteActorRef, Spawn};
use kameo::error::RemoteSendError;
use kameo::message::{Context, Message};
use kameo::remote::{Behaviour, messaging};
use kameo::{Actor, RemoteActor, remote_message};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, SwarmBuilder};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval};
use vioduct_bench_harness::peer::{AskPeer, Peer};

use crate::tell_window::TellWindow;

const NAME: &str = "bench";
/// Streams at once: one for each message under way. The defaults, 100 and 256, are below the rows.
const STREAMS_MAX: u32 = 8192;
/// Unconfirmed tells; its queues have no bound.
const TELLS_MAX: u64 = 4_000;
/// Tells travel on streams of their own, so the last may arrive after the question how many did.
const SETTLE_MAX: Duration = Duration::from_secs(10);
/// How often the registry is asked for the actor until it answers.
const LOOKUP_EVERY: Duration = Duration::from_millis(10);
const LOOKUP_MAX: Duration = Duration::from_secs(10);
const IDLE_MAX: Duration = Duration::from_secs(600);

/// Echoes asks, counts tells.
#[derive(Actor, RemoteActor, Default)]
pub(crate) struct Echo {
    tells: u64,
}

#[derive(Serialize, Deserialize)]
struct Ask(ByteBuf);

#[derive(Serialize, Deserialize)]
struct Tell(ByteBuf);

#[derive(Serialize, Deserialize)]
struct Tally;

#[remote_message("bench.Ask")]
impl Message<Ask> for Echo {
    type Reply = Result<ByteBuf, String>;

    async fn handle(
        &mut self,
        Ask(payload): Ask,
        _ctx: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        Ok(payload)
    }
}

#[remote_message("bench.Tell")]
impl Message<Tell> for Echo {
    type Reply = ();

    async fn handle(&mut self, Tell(payload): Tell, _ctx: &mut Context<Self, ()>) {
        drop(payload);
        self.tells += 1;
    }
}

#[remote_message("bench.Tally")]
impl Message<Tally> for Echo {
    type Reply = u64;

    async fn handle(&mut self, Tally: Tally, _ctx: &mut Context<Self, u64>) -> u64 {
        self.tells
    }
}

/// The client's end.
#[derive(Debug)]
pub(crate) struct Kameo {
    echo: RemoteActorRef<Echo>,
    sent: AtomicU64,
    tells: TellWindow,
}

fn swarm() -> Result<Swarm<Behaviour>> {
    let streams = usize::try_from(STREAMS_MAX)?;
    let messaging = messaging::Config::default().with_max_concurrent_streams(streams);
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_quic_config(|mut quic| {
            quic.max_concurrent_stream_limit = STREAMS_MAX;
            quic
        })
        .with_behaviour(|key| Behaviour::new(key.public().to_peer_id(), messaging))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE_MAX))
        .build();
    swarm.behaviour().try_init_global()?;
    Ok(swarm)
}

fn multiaddr(addr: SocketAddr) -> Multiaddr {
    Multiaddr::from(addr.ip()).with(Protocol::Udp(addr.port())).with(Protocol::QuicV1)
}

fn socket_addr(addr: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = addr.iter();
    match (parts.next()?, parts.next()?) {
        (Protocol::Ip4(ip), Protocol::Udp(port)) => Some(SocketAddr::new(IpAddr::V4(ip), port)),
        _other => None,
    }
}

impl Peer for Kameo {
    type Setup = ();

    fn prepare(_credentials: &Path) -> Result<()> {
        // It takes no certificates: the keys that it authenticates are made at the start.
        Ok(())
    }

    async fn serve(_setup: (), bound: oneshot::Sender<SocketAddr>) -> Result<()> {
        let mut swarm = swarm()?;
        swarm.listen_on(multiaddr(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
        let addr = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break socket_addr(&address).context("an address of another kind")?;
            }
        };
        tokio::spawn(drive(swarm));
        let echo = Echo::spawn(Echo::default());
        echo.register(NAME).await.context("register")?;
        if bound.send(addr).is_ok() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn connect(_setup: &(), server: SocketAddr) -> Result<Self> {
        let mut swarm = swarm()?;
        swarm.dial(multiaddr(server)).context("dial")?;
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                    swarm.add_peer_address(peer_id, multiaddr(server));
                    break;
                }
                SwarmEvent::OutgoingConnectionError { error, .. } => {
                    return Err(error).context("dial");
                }
                _other => {}
            }
        }
        tokio::spawn(drive(swarm));
        let echo = tokio::time::timeout(LOOKUP_MAX, lookup()).await.context("look-up")??;
        Ok(Self { echo, sent: AtomicU64::new(0), tells: TellWindow::new(TELLS_MAX) })
    }

    async fn tell(&self, payload: &Bytes, count: u64) -> Result<()> {
        for _ in 0..count {
            self.echo.tell(&Tell(ByteBuf::from(payload.to_vec()))).send().map_err(failed)?;
        }
        self.sent.fetch_add(count, Ordering::Relaxed);
        let echo = self.echo.clone();
        self.tells.sent(count, || async move { tally(&echo).await.map(drop) }).await
    }

    async fn tells_received(&self) -> Result<u64> {
        let (sent, end) = (self.sent.load(Ordering::Relaxed), Instant::now() + SETTLE_MAX);
        loop {
            let received = tally(&self.echo).await?;
            if received >= sent || Instant::now() > end {
                return Ok(received);
            }
        }
    }
}

impl AskPeer for Kameo {
    async fn ask(&self, payload: Bytes) -> Result<Bytes> {
        let ask = Ask(ByteBuf::from(payload.to_vec()));
        let reply = self.echo.ask(&ask).await.map_err(failed)?;
        Ok(Bytes::from(reply.into_vec()))
    }
}

async fn drive(mut swarm: Swarm<Behaviour>) {
    loop {
        swarm.select_next_some().await;
    }
}

async fn lookup() -> Result<RemoteActorRef<Echo>> {
    let mut again = interval(LOOKUP_EVERY);
    loop {
        again.tick().await;
        if let Some(echo) = RemoteActorRef::<Echo>::lookup(NAME).await.context("look-up")? {
            return Ok(echo);
        }
    }
}

async fn tally(echo: &RemoteActorRef<Echo>) -> Result<u64> {
    echo.ask(&Tally).await.map_err(failed)
}

fn failed<E: std::fmt::Debug>(error: RemoteSendError<E>) -> anyhow::Error {
    anyhow::anyhow!("{error:?}")
}
