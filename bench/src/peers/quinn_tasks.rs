//! Bare quinn in the shape of a minimal actor runtime.
//!
//! Client: asking tasks → queue → writer task → one long-lived stream; reader task → the asking
//! task by id. Server: reader task → queue → actor task → queue → writer task. Each writer drains
//! what is queued into one write.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use quinn::SendStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use vioduct_bench_harness::correlation::Correlation;
use vioduct_bench_harness::peer::{AskPeer, Peer};

use super::frame::{Frame, Kind};
use super::quinn_link::{self, COALESCED_FRAMES_MAX, FrameReader, Link, QUEUE_FRAMES_MAX, Setup};

/// The client's end.
#[derive(Debug)]
pub(crate) struct QuinnTasks {
    link: Link,
    asks: Arc<Correlation>,
    outbox: mpsc::Sender<Frame>,
    /// The reader and the writer; they end with this value.
    _tasks: JoinSet<()>,
}

impl QuinnTasks {
    async fn request(&self, kind: Kind, payload: Bytes) -> Result<Bytes> {
        let (id, reply) = self.asks.enter()?;
        self.send(Frame { kind, id, payload }).await?;
        reply.await.context("the connection ended before the reply")
    }

    async fn send(&self, frame: Frame) -> Result<()> {
        self.outbox.send(frame).await.context("the writer has ended")
    }
}

impl Peer for QuinnTasks {
    type Setup = Setup;

    fn prepare(credentials: &Path) -> Result<Setup> {
        Setup::load(credentials)
    }

    async fn serve(setup: Setup, bound: oneshot::Sender<SocketAddr>) -> Result<()> {
        quinn_link::serve(setup, bound, serve_messages).await
    }

    async fn connect(setup: &Setup, server: SocketAddr) -> Result<Self> {
        let (link, send, reader) = Link::connect(setup, server).await?;
        let asks = Arc::new(Correlation::default());
        let (outbox, queue) = mpsc::channel(QUEUE_FRAMES_MAX);
        let mut tasks = JoinSet::new();
        let table = Arc::clone(&asks);
        tasks.spawn(async move {
            if let Err(error) = quinn_link::write_queued(queue, send).await {
                eprintln!("quinn writer: {error:#}");
                table.close();
            }
        });
        let table = Arc::clone(&asks);
        tasks.spawn(async move {
            if let Err(error) = read_replies(reader, &table).await {
                eprintln!("quinn reader: {error:#}");
            }
            table.close();
        });
        Ok(Self { link, asks, outbox, _tasks: tasks })
    }

    async fn tell(&self, payload: &Bytes, count: u64) -> Result<()> {
        for _ in 0..count {
            self.send(Frame { kind: Kind::Tell, id: 0, payload: payload.clone() }).await?;
        }
        Ok(())
    }

    async fn tells_received(&self) -> Result<u64> {
        let reply = self.request(Kind::Tally, Bytes::new()).await?;
        Ok(u64::from_le_bytes(reply.as_ref().try_into().context("a tally of 8 bytes")?))
    }
}

impl AskPeer for QuinnTasks {
    async fn ask(&self, payload: Bytes) -> Result<Bytes> {
        self.request(Kind::Ask, payload).await
    }

    async fn bulk(&self, len_bytes: u64) -> Result<()> {
        self.link.bulk(len_bytes).await
    }
}

async fn read_replies(mut reader: FrameReader, asks: &Correlation) -> Result<()> {
    while reader.fill().await? {
        while let Some(frame) = reader.next()? {
            asks.complete(frame.id, frame.payload)?;
        }
    }
    Ok(())
}

async fn serve_messages(send: SendStream, mut reader: FrameReader) -> Result<()> {
    let (inbox, requests) = mpsc::channel(QUEUE_FRAMES_MAX);
    let (outbox, queue) = mpsc::channel(QUEUE_FRAMES_MAX);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while reader.fill().await? {
            while let Some(frame) = reader.next()? {
                inbox.send(frame).await.context("the actor has ended")?;
            }
        }
        Ok(())
    });
    tasks.spawn(act(requests, outbox));
    tasks.spawn(quinn_link::write_queued(queue, send));
    match tasks.join_next().await {
        Some(ended) => ended.context("message task")?,
        None => Ok(()),
    }
}

/// The actor: echoes asks, counts tells.
async fn act(mut requests: mpsc::Receiver<Frame>, outbox: mpsc::Sender<Frame>) -> Result<()> {
    let (mut batch, mut tells) = (Vec::new(), 0_u64);
    while requests.recv_many(&mut batch, COALESCED_FRAMES_MAX).await != 0 {
        for Frame { kind, id, payload } in batch.drain(..) {
            let payload = match kind {
                Kind::Ask => payload,
                Kind::Tally => Bytes::copy_from_slice(&tells.to_le_bytes()),
                Kind::Tell => {
                    tells += 1;
                    continue;
                }
                Kind::Reply => bail!("a client sent a reply"),
            };
            let reply = Frame { kind: Kind::Reply, id, payload };
            outbox.send(reply).await.context("the writer has ended")?;
        }
    }
    Ok(())
}
