//! Our transport as a peer, in the shape of the bare one: asking tasks → lane → the asking task by
//! id; the server answers from where messages are handed over.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::sync::oneshot;
use vioduct_bench_harness::correlation::Correlation;
use vioduct_bench_harness::identity::Pair;
use vioduct_bench_harness::peer::{AskPeer, Peer};
use vioduct_certs::credentials::Credentials;
use vioduct_transport::seam::Surroundings;
use vioduct_transport::{BoxFuture, DialError, Endpoint, Flow, Inbound, Link, LinkEvent, Message};

use super::BULK_MESSAGE_BYTES;
use crate::tuning;

const ASK: u8 = 1;
const REPLY: u8 = 2;
const TELL: u8 = 3;
const TALLY: u8 = 4;
/// Bytes of a head: kind, id.
const HEAD_BYTES: usize = 9;
/// Pairs that bulk messages are spread over, all on one lane.
const BULK_PAIRS: u32 = 4;
const MESSAGES: Flow = Flow::Pair(1);

fn head(kind: u8, id: u64) -> [u8; HEAD_BYTES] {
    let [a, b, c, d, e, f, g, h] = id.to_le_bytes();
    [kind, a, b, c, d, e, f, g, h]
}

fn parse(head: &[u8]) -> Option<(u8, u64)> {
    let [kind, a, b, c, d, e, f, g, h] = *head.first_chunk::<HEAD_BYTES>()?;
    Some((kind, u64::from_le_bytes([a, b, c, d, e, f, g, h])))
}

fn endpoint(credentials: &Arc<Credentials>, inbound: Arc<dyn Inbound>) -> Result<Endpoint> {
    let config = tuning::links();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let surroundings = Surroundings::bind(any, config.socket_buffer_bytes)?;
    Ok(Endpoint::new(config, 1, Arc::clone(credentials), surroundings, inbound)?)
}

/// The client's end.
#[derive(Debug)]
pub(crate) struct Vioduct {
    link: Link,
    asks: Arc<Correlation>,
    endpoint: Endpoint,
}

impl Drop for Vioduct {
    fn drop(&mut self) {
        let endpoint = self.endpoint.clone();
        tokio::spawn(async move { endpoint.close().await });
    }
}

impl Vioduct {
    async fn request(&self, kind: u8, flow: Flow, payload: Bytes) -> Result<Bytes> {
        let (id, reply) = self.asks.enter()?;
        self.link.send(flow, &head(kind, id), &payload).await?;
        reply.await.context("the link ended before the reply")
    }
}

impl Peer for Vioduct {
    type Setup = Pair;

    fn prepare(credentials: &Path) -> Result<Pair> {
        Pair::load(credentials)
    }

    async fn serve(setup: Pair, bound: oneshot::Sender<SocketAddr>) -> Result<()> {
        let endpoint = endpoint(&setup.server, Arc::new(Server::default()))?;
        if bound.send(endpoint.local_addr()?).is_ok() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn connect(setup: &Pair, server: SocketAddr) -> Result<Self> {
        let asks = Arc::new(Correlation::default());
        let endpoint = endpoint(&setup.client, Arc::new(Client { asks: Arc::clone(&asks) }))?;
        let name = setup.server.identity().name.clone();
        let link = endpoint.connect(name, server).await?;
        link.up().await?;
        Ok(Self { link, asks, endpoint })
    }

    async fn tell(&self, payload: &Bytes, count: u64) -> Result<()> {
        for _ in 0..count {
            self.link.send(MESSAGES, &head(TELL, 0), payload).await?;
        }
        Ok(())
    }

    async fn tells_received(&self) -> Result<u64> {
        let reply = self.request(TALLY, MESSAGES, Bytes::new()).await?;
        Ok(u64::from_le_bytes(reply.as_ref().try_into().context("a tally of 8 bytes")?))
    }
}

impl AskPeer for Vioduct {
    async fn ask(&self, payload: Bytes) -> Result<Bytes> {
        self.request(ASK, MESSAGES, payload).await
    }

    async fn bulk(&self, len_bytes: u64) -> Result<()> {
        let message = Bytes::from(vec![0xB5; BULK_MESSAGE_BYTES]);
        let mut left = len_bytes;
        let mut pair = 0;
        while left > 0 {
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(message.len());
            // Even numbers: never the lane of the messages.
            let flow = Flow::Pair(2 * (pair % BULK_PAIRS));
            self.link.send(flow, &head(TELL, 0), &message.slice(..len)).await?;
            left -= len as u64;
            pair += 1;
        }
        for pair in 0..BULK_PAIRS {
            self.request(ASK, Flow::Pair(2 * pair), Bytes::new()).await?;
        }
        Ok(())
    }
}

/// Echoes asks, counts tells. A process serves one client.
#[derive(Debug, Default)]
struct Server {
    tells: AtomicU64,
}

impl Inbound for Server {
    fn deliver<'a>(
        &'a self,
        from: &'a Link,
        _lane: u8,
        batch: &'a mut Vec<Message>,
    ) -> BoxFuture<'a> {
        Box::pin(async move {
            for Message { flow, head: received, body } in batch.drain(..) {
                let reply = match parse(&received) {
                    Some((TELL, _id)) => {
                        self.tells.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    Some((ASK, id)) => (id, body),
                    Some((TALLY, id)) => {
                        let tells = self.tells.load(Ordering::Relaxed);
                        (id, Bytes::copy_from_slice(&tells.to_le_bytes()))
                    }
                    Some(_) | None => continue,
                };
                let (id, body) = reply;
                if let Err(error) = from.send(Flow::Pair(flow), &head(REPLY, id), &body).await {
                    eprintln!("vioduct server: {error}");
                }
            }
        })
    }

    fn datagram(&self, _from: &Link, _datagram: Bytes) {}

    fn event(&self, _link: &Link, _event: LinkEvent) {}

    fn refused(&self, addr: SocketAddr, error: DialError) {
        eprintln!("vioduct server: {addr}: {error}");
    }
}

/// Completes asks.
struct Client {
    asks: Arc<Correlation>,
}

impl Inbound for Client {
    fn deliver<'a>(
        &'a self,
        _from: &'a Link,
        _lane: u8,
        batch: &'a mut Vec<Message>,
    ) -> BoxFuture<'a> {
        for Message { head, body, .. } in batch.drain(..) {
            let completed = match parse(&head) {
                Some((REPLY, id)) => self.asks.complete(id, body),
                Some(_) | None => Err(anyhow::anyhow!("not a reply")),
            };
            if let Err(error) = completed {
                eprintln!("vioduct client: {error:#}");
            }
        }
        Box::pin(std::future::ready(()))
    }

    fn datagram(&self, _from: &Link, _datagram: Bytes) {}

    fn event(&self, _link: &Link, event: LinkEvent) {
        match event {
            LinkEvent::Down { .. } | LinkEvent::Unreachable => self.asks.close(),
            LinkEvent::DialFailed { error } => eprintln!("vioduct client: {error}"),
            LinkEvent::Up { .. } | LinkEvent::Undelivered { .. } | LinkEvent::PeerRestarted => {}
        }
    }

    fn refused(&self, _addr: SocketAddr, _error: DialError) {}
}
