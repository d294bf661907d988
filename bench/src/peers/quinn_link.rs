//! What the bare quinn peers share: configuration, the connection, frames on a stream, bulk.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, Incoming, ReadError, RecvStream, SendStream, VarInt};
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use vioduct_bench_harness::identity;

use super::BULK_MESSAGE_BYTES;
use super::frame::{self, Frame, Kind};
use crate::tuning;

/// Messages taken from a queue at once, and so at most in one write.
pub(super) const COALESCED_FRAMES_MAX: usize = 1024;

/// Capacity of each queue between tasks, in messages.
pub(super) const QUEUE_FRAMES_MAX: usize = 4096;

/// Room asked for when the read buffer runs low, in bytes.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Room below which the read buffer is renewed, in bytes.
const READ_ROOM_BYTES_MIN: usize = 16 * 1024;

/// Bulk data given to quinn at once, in bytes: the send window opens again a chunk at a time.
const BULK_CHUNK_BYTES: usize = 64 * 1024;

/// Chunks taken from quinn at once while bulk data is swallowed.
const BULK_CHUNKS_PER_READ: usize = 32;

/// The quinn configurations of one process.
#[derive(Debug)]
pub(crate) struct Setup {
    client: quinn::ClientConfig,
    server: quinn::ServerConfig,
    server_name: String,
}

impl Setup {
    pub(super) fn load(credentials: &Path) -> Result<Self> {
        let (server, client, server_name) = identity::pair(credentials, identity::ALPN)?;
        let mut server =
            quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
        server.transport_config(tuning::transport());
        let mut client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
        client.transport_config(tuning::transport());
        Ok(Self { client, server, server_name })
    }
}

/// A client connection with an endpoint of its own. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Link {
    connection: Connection,
}

impl Link {
    /// Binds, connects, and opens the stream of the messages.
    pub(super) async fn connect(
        setup: &Setup,
        server: SocketAddr,
    ) -> Result<(Self, SendStream, FrameReader)> {
        // quinn's endpoint task outlives this handle until the connection has drained.
        let endpoint = tuning::endpoint(None)?;
        let connecting = endpoint.connect_with(setup.client.clone(), server, &setup.server_name)?;
        let connection = connecting.await.context("connect")?;
        let (send, recv) = connection.open_bi().await.context("open the message stream")?;
        Ok((Self { connection }, send, FrameReader::new(recv)))
    }

    /// Sends `len_bytes` on a stream of their own and waits for the server's count.
    pub(super) async fn bulk(&self, len_bytes: u64) -> Result<()> {
        let (mut send, mut recv) = self.connection.open_bi().await.context("open a bulk stream")?;
        let source = Bytes::from(vec![0xB5; BULK_MESSAGE_BYTES]);
        let (mut left, mut rest) = (len_bytes, source.clone());
        while left != 0 {
            if rest.is_empty() {
                rest = source.clone();
            }
            let len = usize::try_from(left).unwrap_or(usize::MAX);
            let chunk = rest.split_to(len.min(rest.len()).min(BULK_CHUNK_BYTES));
            left -= u64::try_from(chunk.len())?;
            send.write_chunk(chunk).await?;
        }
        send.finish()?;
        let received = recv.read_u64_le().await.context("wait for the bulk count")?;
        anyhow::ensure!(received == len_bytes, "server has {received} of {len_bytes} bulk bytes");
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(0), b"done");
    }
}

/// Frames arriving on a stream.
#[derive(Debug)]
pub(super) struct FrameReader {
    stream: RecvStream,
    buffer: BytesMut,
}

impl FrameReader {
    fn new(stream: RecvStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Waits for more bytes; `false` once the peer has closed.
    pub(super) async fn fill(&mut self) -> Result<bool> {
        if self.buffer.capacity() - self.buffer.len() < READ_ROOM_BYTES_MIN {
            self.buffer.reserve(READ_BUFFER_BYTES);
        }
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(read) => Ok(read != 0),
            Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(ReadError::ConnectionLost(ConnectionError::ApplicationClosed(_))) => Ok(false),
                _ => Err(error).context("read frames"),
            },
        }
    }

    /// The next frame among the bytes that have arrived.
    pub(super) fn next(&mut self) -> Result<Option<Frame>> {
        Frame::decode(&mut self.buffer)
    }

    /// Kind and id of the next frame among the bytes that have arrived; its payload is dropped.
    pub(super) fn skip(&mut self) -> Result<Option<(Kind, u64)>> {
        frame::skip(&mut self.buffer)
    }
}

/// Writes what is queued, as much as there is in one write, until the queue closes.
pub(super) async fn write_queued(
    mut queue: mpsc::Receiver<Frame>,
    mut stream: SendStream,
) -> Result<()> {
    let (mut frames, mut bytes) = (Vec::new(), BytesMut::new());
    while queue.recv_many(&mut frames, COALESCED_FRAMES_MAX).await != 0 {
        for frame in frames.drain(..) {
            frame.encode(&mut bytes)?;
        }
        stream.write_chunk(bytes.split().freeze()).await?;
    }
    Ok(())
}

/// Accepts connections for ever. The first stream of each goes to `messages`, the others are bulk.
pub(super) async fn serve<M, F>(
    setup: Setup,
    bound: oneshot::Sender<SocketAddr>,
    messages: M,
) -> Result<()>
where
    M: Fn(SendStream, FrameReader) -> F + Copy + Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let endpoint = tuning::endpoint(Some(setup.server))?;
    if bound.send(endpoint.local_addr()?).is_err() {
        return Ok(());
    }
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => { connections.spawn(serve_connection(incoming, messages)); }
                None => return Ok(()),
            },
            Some(ended) = connections.join_next() => ended.context("connection task")??,
        }
    }
}

async fn serve_connection<M, F>(incoming: Incoming, messages: M) -> Result<()>
where
    M: Fn(SendStream, FrameReader) -> F,
    F: Future<Output = Result<()>>,
{
    let connection = incoming.await.context("accept")?;
    let (send, recv) = connection.accept_bi().await.context("accept the message stream")?;
    tokio::select! {
        ended = messages(send, FrameReader::new(recv)) => ended,
        ended = accept_bulk(&connection) => ended,
    }
}

async fn accept_bulk(connection: &Connection) -> Result<()> {
    loop {
        match connection.accept_bi().await {
            Ok((send, recv)) => swallow(send, recv).await?,
            Err(ConnectionError::ApplicationClosed(_)) => return Ok(()),
            Err(error) => return Err(error).context("accept a bulk stream"),
        }
    }
}

/// Reads a bulk stream to its end and answers with the number of bytes.
async fn swallow(mut send: SendStream, mut recv: RecvStream) -> Result<()> {
    let mut chunks = [const { Bytes::new() }; BULK_CHUNKS_PER_READ];
    let mut received_bytes: u64 = 0;
    while let Some(count) = recv.read_chunks(&mut chunks).await? {
        for chunk in chunks.iter_mut().take(count) {
            received_bytes += u64::try_from(std::mem::take(chunk).len())?;
        }
    }
    send.write_all(&received_bytes.to_le_bytes()).await?;
    send.finish()?;
    Ok(())
}
