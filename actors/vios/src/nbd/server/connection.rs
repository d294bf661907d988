//! One client from its first byte to its last.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use super::config::Config;
use super::exports::{Exports, Shown};
use super::session::{Finished, Session};
use crate::block::Request;
use crate::disk::Disk;
use crate::nbd::admission::Order;
use crate::nbd::handshake::{Agreed, HandshakeError, ServerHandshake, ServerStep};
use crate::nbd::socket::Socket;
use crate::nbd::wire::WireError;

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionEnd {
    /// The client took its leave.
    #[error("the client took its leave")]
    Disconnected,
    /// The client was gone. What it had not been heard of was not begun.
    #[error("the client hung up")]
    HungUp,
    /// The handshake came to nothing.
    #[error("handshake: {0}")]
    Handshake(#[from] HandshakeError),
    /// The handshake took too long.
    #[error("the handshake took too long")]
    Slow,
    /// The client's bytes were no requests.
    #[error("no request: {0}")]
    Garbage(WireError),
    /// The connection failed.
    #[error("connection: {0}")]
    Connection(io::ErrorKind),
    /// The server was stopped, and what was under way is answered.
    #[error("the server stopped")]
    Stopped,
    /// The server was stopped, and some requests were not answered in time.
    #[error("the server stopped before all was answered")]
    Overdue,
}

impl SessionEnd {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof => Self::HungUp,
            kind => Self::Connection(kind),
        }
    }
}

/// What every connection of a server has in common.
#[derive(Debug)]
pub(super) struct Common<E> {
    pub(super) exports: E,
    pub(super) config: Config,
}

/// Serves one client until it leaves or the server stops.
pub(super) async fn serve<E: Exports>(
    mut socket: impl Socket,
    common: Arc<Common<E>>,
    mut stop: watch::Receiver<bool>,
) -> SessionEnd {
    let mut input = BytesMut::new();
    let request_bytes_max = common.config.request_bytes_max;
    let shown = Shown { exports: &common.exports, request_bytes_max };
    let hands = greet(&mut socket, &mut input, &shown);
    let greeted = tokio::select! {
        biased;
        greeted = timeout(common.config.handshake_timeout, hands) => greeted,
        _stop = stop.wait_for(|is_stopped| *is_stopped) => return SessionEnd::Stopped,
    };
    let (disk, agreed) = match greeted {
        Err(_elapsed) => return SessionEnd::Slow,
        Ok(Err(end)) => return end,
        Ok(Ok(begun)) => begun,
    };
    let disk: &E::Disk = &disk;
    let mut running = FuturesUnordered::new();
    let start = |order, request| carry_out(disk, order, request);
    let mut session = Session::new(&mut socket, agreed, input, &common.config);
    tokio::select! {
        biased;
        end = std::future::poll_fn(|cx| session.poll(cx, &mut running, &start)) => return end,
        _stop = stop.wait_for(|is_stopped| *is_stopped) => session.stop(),
    }
    let rest = std::future::poll_fn(|cx| session.poll(cx, &mut running, &start));
    timeout(common.config.drain_timeout, rest).await.unwrap_or(SessionEnd::Overdue)
}

async fn carry_out<D: Disk>(disk: &D, order: Order, request: Request) -> Finished {
    let result = disk.execute(request).await.map_err(Into::into);
    Finished { order, result }
}

/// The handshake; what is left in `input` belongs to the transmission phase.
async fn greet<E: Exports>(
    socket: &mut impl Socket,
    input: &mut BytesMut,
    shown: &Shown<'_, E>,
) -> Result<(Arc<E::Disk>, Agreed), SessionEnd> {
    let mut replies = BytesMut::new();
    let mut handshake = ServerHandshake::new(&mut replies);
    loop {
        let step = handshake.step(input, shown, &mut replies);
        let sent = socket.write_all_buf(&mut replies).await;
        match step? {
            ServerStep::Go(disk, agreed) => {
                sent.map_err(|error| SessionEnd::of(&error))?;
                return Ok((disk, agreed));
            }
            ServerStep::End => return Err(SessionEnd::Disconnected),
            ServerStep::More => sent.map_err(|error| SessionEnd::of(&error))?,
        }
        input.reserve(READ_BYTES);
        match socket.read_buf(input).await {
            Ok(0) => return Err(SessionEnd::HungUp),
            Ok(_more) => {}
            Err(error) => return Err(SessionEnd::of(&error)),
        }
    }
}

/// Bytes that one read of a handshake may bring.
const READ_BYTES: usize = 4096;
