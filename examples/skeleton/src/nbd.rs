//! An NBD server on a Unix socket: fixed newstyle handshake, simple replies, read, write, flush.
//! Source: the NBD project's `doc/proto.md`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

use crate::names::Names;
use crate::storage::{DISK_BYTES, TRANSFER_BYTES_MAX};
use crate::trace::{Mark, Trace};
use crate::wire::{Question, Request, Status};

pub(crate) const HELLO: u64 = u64::from_be_bytes(*b"NBDMAGIC");
pub(crate) const OPTION: u64 = u64::from_be_bytes(*b"IHAVEOPT");
pub(crate) const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
pub(crate) const REQUEST: u32 = 0x2560_9513;
pub(crate) const REPLY: u32 = 0x6744_6698;
pub(crate) const GO: u32 = 7;
/// Fixed newstyle, and no zeroes after the flags.
pub(crate) const HANDSHAKE_FLAGS: u16 = 3;
const EXPORT_NAME: u32 = 1;
const ABORT: u32 = 2;
/// The flags are valid, and flush is served.
const EXPORT_FLAGS: u16 = 1 | 4;
const ACK: u32 = 1;
const INFO: u32 = 3;
const UNSUPPORTED: u32 = (1 << 31) + 1;
const EIO: u32 = 5;
const EINVAL: u32 = 22;
/// Longest option, options at most, requests of one connection at once, and connections at once.
const OPTION_BYTES_MAX: u32 = 4096;
const OPTIONS_MAX: u32 = 32;
const IN_FLIGHT_MAX: usize = 32;
const SESSIONS_MAX: usize = 4;
/// Reads whose traces are kept.
const TRACES_MAX: usize = 50_000;
/// How long a request may take before its client is told EIO.
const REQUEST_MAX: Duration = Duration::from_secs(30);

/// What a session needs.
#[derive(Debug, Clone)]
pub(crate) struct Export {
    pub(crate) names: Arc<Names>,
    /// Name of the LPAR actor.
    pub(crate) lpar: String,
    pub(crate) traces: Arc<Mutex<Vec<Trace>>>,
}

/// Serves clients until dropped.
pub(crate) async fn serve(listener: UnixListener, export: Export) {
    let sessions = Arc::new(Semaphore::new(SESSIONS_MAX));
    while let Ok(place) = Arc::clone(&sessions).acquire_owned().await {
        let Ok((client, _addr)) = listener.accept().await else { return };
        let export = export.clone();
        actix::spawn(async move {
            if let Err(error) = session(client, export).await {
                eprintln!("NBD session: {error:#}");
            }
            drop(place);
        });
    }
}

async fn session(client: UnixStream, export: Export) -> Result<()> {
    let (reader, mut writer) = client.into_split();
    let mut reader = BufReader::new(reader);
    if !greet(&mut reader, &mut writer).await? {
        return Ok(());
    }
    let (writer, room) =
        (Arc::new(AsyncMutex::new(writer)), Arc::new(Semaphore::new(IN_FLIGHT_MAX)));
    loop {
        let place = Arc::clone(&room).acquire_owned().await?;
        ensure!(reader.read_u32().await? == REQUEST, "no request");
        let _flags = reader.read_u16().await?;
        let (kind, cookie) = (reader.read_u16().await?, reader.read_u64().await?);
        let (offset, length) = (reader.read_u64().await?, reader.read_u32().await?);
        ensure!(length <= TRANSFER_BYTES_MAX, "{length} bytes at once");
        let request = match kind {
            0 => Some(Request::Read { offset, length }),
            1 => {
                let mut body = BytesMut::zeroed(length as usize);
                reader.read_exact(&mut body).await?;
                Some(Request::Write { offset, body: body.freeze() })
            }
            2 => return Ok(()),
            3 => Some(Request::Flush),
            _other => None,
        };
        let is_inside = offset.saturating_add(u64::from(length)) <= DISK_BYTES;
        let (writer, export) = (Arc::clone(&writer), export.clone());
        let mut trace = Trace::default();
        trace.mark(Mark::Read);
        actix::spawn(async move {
            let (error, body) = match request {
                Some(request) if is_inside => export.ask(request, trace).await,
                Some(_) | None => (EINVAL, bytes::Bytes::new()),
            };
            let mut reply = BytesMut::with_capacity(16 + body.len());
            reply.put_u32(REPLY);
            reply.put_u32(error);
            reply.put_u64(cookie);
            reply.put(body);
            // Fails only when the client has gone, which ends the reading as well.
            drop(writer.lock().await.write_all(&reply).await);
            drop(place);
        });
    }
}

impl Export {
    async fn ask(&self, request: Request, trace: Trace) -> (u32, bytes::Bytes) {
        let is_read = matches!(request, Request::Read { .. });
        let question = Question { epoch: Default::default(), request, trace };
        match self.names.ask(&self.lpar, question, REQUEST_MAX).await {
            Ok(mut answer) if answer.status == Status::Done => {
                answer.trace.mark(Mark::Replied);
                let mut traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
                if is_read && traces.len() < TRACES_MAX {
                    traces.push(answer.trace);
                }
                (0, answer.body)
            }
            Ok(_) | Err(_) => (EIO, bytes::Bytes::new()),
        }
    }
}

/// The handshake; false when the client left it at that.
async fn greet(reader: &mut BufReader<OwnedReadHalf>, writer: &mut OwnedWriteHalf) -> Result<bool> {
    let mut hello = BytesMut::new();
    hello.put_u64(HELLO);
    hello.put_u64(OPTION);
    hello.put_u16(HANDSHAKE_FLAGS);
    writer.write_all(&hello).await?;
    let client = reader.read_u32().await?;
    for _option in 0..OPTIONS_MAX {
        ensure!(reader.read_u64().await? == OPTION, "no option");
        let (option, length) = (reader.read_u32().await?, reader.read_u32().await?);
        ensure!(length <= OPTION_BYTES_MAX, "an option of {length} bytes");
        reader.read_exact(&mut BytesMut::zeroed(length as usize)).await?;
        let mut reply = BytesMut::new();
        match option {
            EXPORT_NAME => {
                reply.put_u64(DISK_BYTES);
                reply.put_u16(EXPORT_FLAGS);
                let wants_zeroes = client & 2 == 0;
                reply.put_bytes(0, if wants_zeroes { 124 } else { 0 });
            }
            GO => {
                let mut info = BytesMut::new();
                info.put_u16(0);
                info.put_u64(DISK_BYTES);
                info.put_u16(EXPORT_FLAGS);
                put_reply(&mut reply, option, INFO, &info);
                put_reply(&mut reply, option, ACK, &[]);
            }
            ABORT => put_reply(&mut reply, option, ACK, &[]),
            _other => put_reply(&mut reply, option, UNSUPPORTED, &[]),
        }
        writer.write_all(&reply).await?;
        match option {
            EXPORT_NAME | GO => return Ok(true),
            ABORT => return Ok(false),
            _other => {}
        }
    }
    bail!("too many options")
}

fn put_reply(reply: &mut BytesMut, option: u32, kind: u32, payload: &[u8]) {
    reply.put_u64(OPTION_REPLY);
    reply.put_u32(option);
    reply.put_u32(kind);
    reply.put_u32(u32::try_from(payload.len()).unwrap_or(0));
    reply.put_slice(payload);
}
