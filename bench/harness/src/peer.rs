//! The peers of a benchmark, and what a peer must do.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use tokio::sync::oneshot;

/// Which implementation a process runs.
#[derive(
    Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum PeerKind {
    /// Our transport.
    Vioduct,
    /// Our actor runtime.
    Runtime,
    /// Bare quinn with a writer task, a correlation table and a server actor.
    Quinn,
    /// Bare quinn, one task writing batches: the ceiling of the one-way row.
    QuinnBatched,
    /// Bare actix, in one process.
    Actix,
    /// `ractor_cluster` over mutual TLS.
    Ractor,
    /// kameo's remote actors over libp2p's QUIC.
    Kameo,
    /// One bidirectional stream of tonic over mutual TLS.
    Tonic,
}

/// Which program runs a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Home {
    /// `vioduct-bench` itself.
    Bench,
    /// `vioduct-bench-peers`, the workspace of its own.
    Peers,
}

impl PeerKind {
    /// Which program runs it.
    #[must_use]
    pub fn home(self) -> Home {
        match self {
            Self::Vioduct | Self::Runtime | Self::Quinn | Self::QuinnBatched | Self::Actix => {
                Home::Bench
            }
            Self::Ractor | Self::Kameo | Self::Tonic => Home::Peers,
        }
    }
}

impl fmt::Display for PeerKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Vioduct => "vioduct",
            Self::Runtime => "runtime",
            Self::Quinn => "quinn",
            Self::QuinnBatched => "quinn-batched",
            Self::Actix => "actix",
            Self::Ractor => "ractor",
            Self::Kameo => "kameo",
            Self::Tonic => "tonic",
        })
    }
}

/// A connection from the client process to the server process.
///
/// Dropping it closes it; nothing may be outstanding then.
pub trait Peer: Send + Sized + Sync + 'static {
    /// What is read and built once per process, so that no row times it.
    type Setup: Send + Sync + 'static;

    /// Reads the credentials of this process (see [`crate::identity`]).
    ///
    /// # Errors
    /// They cannot be read.
    fn prepare(credentials: &Path) -> Result<Self::Setup>;

    /// Serves until dropped: echoes asks, counts tells per connection, swallows bulk.
    ///
    /// Sends the bound loopback address to `bound` as soon as clients may connect.
    fn serve(
        setup: Self::Setup,
        bound: oneshot::Sender<SocketAddr>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Opens a connection from nothing: socket, endpoint, handshake.
    fn connect(
        setup: &Self::Setup,
        server: SocketAddr,
    ) -> impl Future<Output = Result<Self>> + Send;

    /// Sends `count` one-way messages from one task. Waits only for room to queue them.
    fn tell(&self, payload: &Bytes, count: u64) -> impl Future<Output = Result<()>> + Send;

    /// The number of tells the server has received on this connection, counting all sent before.
    fn tells_received(&self) -> impl Future<Output = Result<u64>> + Send;
}

/// A [`Peer`] that also carries round trips.
pub trait AskPeer: Peer {
    /// One round trip; the reply repeats the payload.
    fn ask(&self, payload: Bytes) -> impl Future<Output = Result<Bytes>> + Send;

    /// Moves `len_bytes` to the server, beside the messages. Returns once the server has them all.
    fn bulk(&self, _len_bytes: u64) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Err(anyhow::anyhow!("this peer carries no bulk row")))
    }
}
