//! Heartbeats to an NBD server: options of the handshake, which a server answers whatever its
//! device does.
//!
//! A connection that never leaves the handshake carries them. Servers limit how many options they
//! answer (nbdkit 32) and how long a handshake may take (QEMU 10 s), so that a connection is
//! replaced by a new one before that. An answer is an answer, also one that refuses.
//!
//! Source: NBD proto.md, "Fixed newstyle negotiation".

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use vioduct_runtime::LocalRef;

use super::actor::{Outside, ProbeNews};
use crate::nbd::client::Address;
use crate::nbd::wire::option::{OptionReply, REPLY_BYTES, code, put_option};
use crate::nbd::wire::{self, handshake_flag};

/// Heartbeats that one connection carries, and how long it is kept.
const BEATS_MAX: u32 = 20;
const KEPT_FOR: Duration = Duration::from_secs(4);
/// Until a connection, or an answer, is there. Only then another connection is tried.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// Longest data of an answer, bytes: servers explain what they refuse.
const DATA_MAX: u32 = 4096;

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// A connection in its handshake.
struct Line {
    socket: Box<dyn Socket>,
    beats: u32,
    until: Instant,
}

impl Line {
    async fn connect(address: &Address) -> io::Result<Self> {
        let socket: Box<dyn Socket> = match address {
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Address::Tcp(addr) => {
                let socket = TcpStream::connect(addr).await?;
                socket.set_nodelay(true)?;
                Box::new(socket)
            }
        };
        let mut line = Self { socket, beats: 0, until: Instant::now() + KEPT_FOR };
        let mut greeting = [0; wire::GREETING_BYTES];
        line.socket.read_exact(&mut greeting).await?;
        let flags = wire::read_greeting(&greeting).map_err(io::Error::other)?;
        let own = flags & (handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
        line.socket.write_all(&u32::from(own).to_be_bytes()).await?;
        Ok(line)
    }

    fn is_used_up(&self, now: Instant) -> bool {
        self.beats >= BEATS_MAX || self.until <= now
    }

    async fn beat(&mut self) -> io::Result<()> {
        self.beats += 1;
        let mut option = BytesMut::new();
        put_option(&mut option, code::STRUCTURED_REPLY, &[]);
        self.socket.write_all(&option).await?;
        let mut reply = [0; REPLY_BYTES];
        self.socket.read_exact(&mut reply).await?;
        let OptionReply { length, .. } = OptionReply::decode(&reply).map_err(io::Error::other)?;
        if length > DATA_MAX {
            return Err(io::Error::other("the answer to a heartbeat is too long"));
        }
        let mut data = (&mut self.socket).take(length.into());
        let read = tokio::io::copy(&mut data, &mut tokio::io::sink()).await?;
        if read < length.into() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(ANSWER_WITHIN, work).await.unwrap_or_else(|late| Err(late.into()))
}

/// Keeps a connection to the server, carries heartbeats, and tells of both. Ends with the actor.
pub(super) async fn run(
    address: Address,
    mut beats: mpsc::Receiver<u64>,
    outside: LocalRef<Outside>,
) {
    let mut last = String::new();
    loop {
        match in_time(Line::connect(&address)).await {
            Ok(line) => {
                last.clear();
                if outside.tell(ProbeNews::Up).await.is_err() {
                    return;
                }
                let Some(error) = carry(line, &address, &mut beats, &outside).await else { return };
                tracing::info!(%error, "the outside storage is not reached any more");
                if outside.tell(ProbeNews::Down).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let error = error.to_string();
                if error != last {
                    tracing::warn!(error, "the outside storage is not reached");
                    last = error;
                }
            }
        }
        sleep_until(Instant::now() + AGAIN_AFTER).await;
    }
}

/// Until the server is not reached any more; `None` when the actor has ended.
async fn carry(
    mut line: Line,
    address: &Address,
    beats: &mut mpsc::Receiver<u64>,
    outside: &LocalRef<Outside>,
) -> Option<io::Error> {
    loop {
        let no = match timeout_at(line.until, beats.recv()).await {
            Ok(no) => Some(no?),
            Err(_used_up) => None,
        };
        if line.is_used_up(Instant::now()) {
            line = match in_time(Line::connect(address)).await {
                Ok(line) => line,
                Err(error) => return Some(error),
            };
        }
        let Some(no) = no else { continue };
        if let Err(error) = in_time(line.beat()).await {
            return Some(error);
        }
        let at = Instant::now();
        outside.tell(ProbeNews::Answered { no, at }).await.ok()?;
    }
}
