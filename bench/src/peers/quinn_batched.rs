//! Bare quinn's ceiling for one-way messages: no queues, no actors, one task at each end.
//!
//! The client encodes [`BATCH_FRAMES`] messages into each write on one stream; the server decodes
//! and counts them where it reads.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use quinn::SendStream;
use tokio::sync::{Mutex, oneshot};
use vioduct_bench_harness::peer::Peer;

use super::frame::{self, Kind};
use super::quinn_link::{self, FrameReader, Link, Setup};

/// Messages in one write.
const BATCH_FRAMES: u64 = 64;

/// The client's end.
#[derive(Debug)]
pub(crate) struct QuinnBatched {
    _link: Link,
    stream: Mutex<Stream>,
}

#[derive(Debug)]
struct Stream {
    send: SendStream,
    reader: FrameReader,
    batch: BytesMut,
}

impl Stream {
    async fn flush(&mut self) -> Result<()> {
        Ok(self.send.write_chunk(self.batch.split().freeze()).await?)
    }
}

impl Peer for QuinnBatched {
    type Setup = Setup;

    fn prepare(credentials: &Path) -> Result<Setup> {
        Setup::load(credentials)
    }

    async fn serve(setup: Setup, bound: oneshot::Sender<SocketAddr>) -> Result<()> {
        quinn_link::serve(setup, bound, count_messages).await
    }

    async fn connect(setup: &Setup, server: SocketAddr) -> Result<Self> {
        let (link, send, reader) = Link::connect(setup, server).await?;
        let stream = Mutex::new(Stream { send, reader, batch: BytesMut::new() });
        Ok(Self { _link: link, stream })
    }

    async fn tell(&self, payload: &Bytes, count: u64) -> Result<()> {
        let mut stream = self.stream.lock().await;
        let mut left = count;
        while left != 0 {
            let batch = left.min(BATCH_FRAMES);
            for _ in 0..batch {
                frame::encode(Kind::Tell, 0, payload, &mut stream.batch)?;
            }
            stream.flush().await?;
            left -= batch;
        }
        Ok(())
    }

    async fn tells_received(&self) -> Result<u64> {
        let mut stream = self.stream.lock().await;
        frame::encode(Kind::Tally, 0, &[], &mut stream.batch)?;
        stream.flush().await?;
        loop {
            if let Some(reply) = stream.reader.next()? {
                let tally = reply.payload.as_ref().try_into().context("a tally of 8 bytes")?;
                return Ok(u64::from_le_bytes(tally));
            }
            anyhow::ensure!(stream.reader.fill().await?, "the connection ended before the tally");
        }
    }
}

async fn count_messages(mut send: SendStream, mut reader: FrameReader) -> Result<()> {
    let mut tells: u64 = 0;
    let mut reply = BytesMut::new();
    while reader.fill().await? {
        while let Some((kind, id)) = reader.skip()? {
            match kind {
                Kind::Tell => tells += 1,
                Kind::Tally => {
                    frame::encode(Kind::Reply, id, &tells.to_le_bytes(), &mut reply)?;
                    send.write_chunk(reply.split().freeze()).await?;
                }
                Kind::Ask | Kind::Reply => bail!("the batched peer carries one-way messages only"),
            }
        }
    }
    Ok(())
}
