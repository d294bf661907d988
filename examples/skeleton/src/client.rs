//! An NBD client, as small as the run needs.

use std::path::Path;

use anyhow::{Result, ensure};
use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::nbd::{GO, HANDSHAKE_FLAGS, HELLO, OPTION, OPTION_REPLY, REPLY, REQUEST};

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    pub(crate) size: u64,
}

impl Client {
    pub(crate) async fn connect(socket: &Path) -> Result<Self> {
        let mut stream = BufReader::new(UnixStream::connect(socket).await?);
        ensure!(stream.read_u64().await? == HELLO && stream.read_u64().await? == OPTION, "hello");
        ensure!(stream.read_u16().await? == HANDSHAKE_FLAGS, "flags");
        let mut go = BytesMut::new();
        go.put_u32(HANDSHAKE_FLAGS.into());
        go.put_u64(OPTION);
        go.put_u32(GO);
        go.put_u32(6); // An empty name and no wishes.
        go.put_bytes(0, 6);
        stream.write_all(&go).await?;
        let mut size = 0;
        loop {
            ensure!(stream.read_u64().await? == OPTION_REPLY, "no reply to the option");
            let (option, kind) = (stream.read_u32().await?, stream.read_u32().await?);
            let length = stream.read_u32().await?;
            match (option, kind, length) {
                (GO, 1, 0) => return Ok(Self { stream, size }),
                (GO, 3, 12) => {
                    let _kind = stream.read_u16().await?;
                    size = stream.read_u64().await?;
                    let _flags = stream.read_u16().await?;
                }
                other => anyhow::bail!("reply {other:?}"),
            }
        }
    }

    async fn request(
        &mut self,
        kind: u16,
        cookie: u64,
        range: (u64, u32),
        body: &[u8],
    ) -> Result<()> {
        let mut request = BytesMut::with_capacity(28 + body.len());
        request.put_u32(REQUEST);
        request.put_u16(0);
        request.put_u16(kind);
        request.put_u64(cookie);
        request.put_u64(range.0);
        request.put_u32(range.1);
        request.put_slice(body);
        Ok(self.stream.write_all(&request).await?)
    }

    /// The cookie of the next reply, which has to say that all went well.
    async fn reply(&mut self) -> Result<u64> {
        ensure!(self.stream.read_u32().await? == REPLY, "no reply");
        let (error, cookie) = (self.stream.read_u32().await?, self.stream.read_u64().await?);
        ensure!(error == 0, "request {cookie} failed with {error}");
        Ok(cookie)
    }

    pub(crate) async fn read(&mut self, offset: u64, length: u32) -> Result<Vec<u8>> {
        self.request(READ, 0, (offset, length), &[]).await?;
        self.reply().await?;
        let mut body = vec![0; length as usize];
        self.stream.read_exact(&mut body).await?;
        Ok(body)
    }

    /// Sends all writes, then waits for all answers, in whatever order they come.
    pub(crate) async fn write_all(&mut self, writes: &[(u64, Vec<u8>)]) -> Result<()> {
        for (cookie, (offset, body)) in (1..).zip(writes) {
            let length = u32::try_from(body.len())?;
            self.request(WRITE, cookie, (*offset, length), body).await?;
        }
        let mut cookies = std::collections::BTreeSet::new();
        for _write in writes {
            cookies.insert(self.reply().await?);
        }
        ensure!(cookies.len() == writes.len(), "answered twice");
        Ok(())
    }

    pub(crate) async fn flush(&mut self) -> Result<()> {
        self.request(FLUSH, 0, (0, 0), &[]).await?;
        self.reply().await?;
        Ok(())
    }

    pub(crate) async fn disconnect(mut self) -> Result<()> {
        self.request(DISCONNECT, 0, (0, 0), &[]).await
    }
}
