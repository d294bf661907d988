//! The handshake above TLS, on the first bidirectional stream of a connection.
//!
//! Dialling side: hello ▶, ◀ welcome or rejection, start ▶. No lane is opened before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionError, RecvStream, SendStream, VarInt};
use rustls_pki_types::CertificateDer;
use vioduct_certs::credentials::{Credentials, PeerIdentity};
use vioduct_certs::identity::{Identity, NodeName};
use vioduct_certs::refusal::{Refusal, RefusalSlot};

use super::{CloseCode, Established};
use crate::config::{LANES_MAX, TransportConfig};
use crate::endpoint::EndpointShared;
use crate::error::DialError;
use crate::event::ConnectionInfo;
use crate::quic;
use crate::wire::control::Control;
use crate::wire::handshake::OPENING_BYTES;
use crate::wire::{
    ALPN, Hello, HelloDecoder, LimitName, Rejection, VersionRange, Welcome, WireError,
};

/// Link protocol versions that this build speaks.
pub(crate) const VERSIONS: VersionRange = VersionRange { min: 1, max: 1 };
/// How long a rejected peer may take to read why.
const REJECTION_LINGER: Duration = Duration::from_secs(1);

/// A connection that a peer opened, up to its hello.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) quinn: quinn::Connection,
    pub(crate) control_send: SendStream,
    pub(crate) control_recv: RecvStream,
    pub(crate) hello: Hello,
    pub(crate) peer: PeerIdentity,
    pub(crate) version: u16,
    /// What this side presented.
    pub(crate) own: Arc<Credentials>,
}

/// What a link says of this side's run and connections.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OwnRun {
    pub(crate) instance: u64,
    /// Of the connection being made.
    pub(crate) generation: u64,
    /// Of the connection that carries the link; 0 without one.
    pub(crate) live: u64,
}

/// What this side says of itself.
pub(crate) fn own_hello(endpoint: &EndpointShared, run: OwnRun) -> Hello {
    let OwnRun { instance, generation, live } = run;
    let identity = endpoint.credentials();
    let Identity { cluster, name, .. } = identity.identity();
    let TransportConfig { lanes, head_bytes_max, .. } = endpoint.config;
    Hello {
        versions: VERSIONS,
        capabilities: 0,
        incarnation: endpoint.incarnation,
        instance,
        generation,
        live,
        lanes,
        head_bytes_max,
        inline_body_bytes_max: endpoint.config.inline_body_bytes_max,
        body_bytes_max: endpoint.config.body_bytes_max,
        cluster: cluster.to_string(),
        node: name.to_string(),
    }
}

/// Which side of the handshake speaks.
#[derive(Debug, Clone, Copy)]
enum Side {
    Accepting,
    Dialling,
}

/// Compares what the peer says of itself with its certificate and with our own settings.
fn judge(side: Side, ours: &Hello, theirs: &Hello, peer: &Identity) -> Result<u16, Rejection> {
    if theirs.node != peer.name.as_str() || theirs.cluster != peer.cluster.as_str() {
        return Err(Rejection::Identity {
            said: format!("{}/{}", theirs.cluster, theirs.node),
            certificate: format!("{}/{}", peer.cluster, peer.name),
        });
    }
    let (accepting, dialling) = match side {
        Side::Accepting => (ours, theirs),
        Side::Dialling => (theirs, ours),
    };
    let limits = [
        (LimitName::HeadBytes, accepting.head_bytes_max, dialling.head_bytes_max),
        (
            LimitName::InlineBodyBytes,
            accepting.inline_body_bytes_max,
            dialling.inline_body_bytes_max,
        ),
        (LimitName::BodyBytes, accepting.body_bytes_max, dialling.body_bytes_max),
    ];
    for (limit, accepting, dialling) in limits {
        if accepting != dialling {
            let (accepting, dialling) = (accepting.into(), dialling.into());
            return Err(Rejection::Limit { limit, accepting, dialling });
        }
    }
    if !(1..=LANES_MAX).contains(&theirs.lanes) {
        let (accepting, dialling) = (accepting.lanes.into(), dialling.lanes.into());
        return Err(Rejection::Limit { limit: LimitName::Lanes, accepting, dialling });
    }
    ours.versions
        .common(theirs.versions)
        .ok_or(Rejection::Version { accepting: accepting.versions, dialling: dialling.versions })
}

/// Reads who the peer's certificate says it is; TLS has verified the chain.
fn peer_identity(
    endpoint: &EndpointShared,
    connection: &quinn::Connection,
) -> Result<PeerIdentity, Refusal> {
    let chain = peer_chain(connection).ok_or(Refusal::NoCertificate)?;
    endpoint.credentials().verify_peer(&chain, endpoint.wall_now())
}

/// The chain that the peer presented.
pub(crate) fn peer_chain(connection: &quinn::Connection) -> Option<Vec<CertificateDer<'static>>> {
    connection.peer_identity()?.downcast().ok().map(|chain| *chain)
}

/// Lets the peer open the lanes that it announced.
fn admit(endpoint: &EndpointShared, connection: &quinn::Connection, peer_lanes: u8) {
    connection.set_receive_window(quic::receive_window(&endpoint.config, peer_lanes));
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(quic::streams_max(peer_lanes)));
}

/// Dials a node and says hello. `Ok` when it answered welcome.
pub(crate) async fn dial(
    endpoint: &Arc<EndpointShared>,
    name: &NodeName,
    addr: SocketAddr,
    hello: Hello,
) -> Result<Established, DialError> {
    let slot = RefusalSlot::default();
    let credentials = endpoint.credentials();
    let wall_clock = Arc::clone(&endpoint.wall_clock);
    let client = quic::client(&endpoint.config, &credentials, wall_clock, slot.clone())?;
    let server_name = name.server_name(&credentials.identity().cluster);
    let broken = |error: ConnectionError| dial_error(addr, &error, &slot);
    let connecting = endpoint
        .quinn
        .connect_with(client, addr, &server_name)
        .map_err(|error| DialError::Broken { addr, reason: error.to_string() })?;
    let connection = connecting.await.map_err(broken)?;
    let mut guard = CloseOnDrop::new(&connection);
    let peer = peer_identity(endpoint, &connection)
        .map_err(|refusal| guard.blame(DialError::Refused { addr, refusal }))?;
    let (send, recv) = connection.open_bi().await.map_err(broken)?;
    let mut control = Unsettled { guard, send, recv };
    let greeted = greet(&mut control, &slot, addr, &hello, &peer.identity).await;
    let Welcome { version, hello: theirs } = greeted.map_err(|error| control.guard.blame(error))?;
    admit(endpoint, &connection, theirs.lanes);
    let (control_send, control_recv) = control.settle();
    let info = ConnectionInfo {
        peer,
        incarnation: theirs.incarnation,
        generation: hello.generation,
        version,
        addr,
        dialled: true,
    };
    Ok(Established {
        quinn: connection,
        control_send,
        control_recv,
        info,
        instance: theirs.instance,
        live: theirs.live,
        peer_lanes: theirs.lanes,
        own: credentials,
    })
}

/// Says hello and checks the answer.
async fn greet(
    control: &mut Unsettled,
    slot: &RefusalSlot,
    addr: SocketAddr,
    hello: &Hello,
    peer: &Identity,
) -> Result<Welcome, DialError> {
    let wire = |error| DialError::Wire { addr, error };
    let rejected = |rejection| DialError::Rejected { addr, rejection };
    let written = control.send.write_all(&hello.encode()).await;
    // The peer's refusal of our certificate arrives only now (TLS 1.3).
    written.map_err(|_lost| control.guard.lost(addr, slot))?;
    let message = read_message(&mut control.recv).await.map_err(wire)?;
    let (decoder, fields) = message.ok_or_else(|| control.guard.lost(addr, slot))?;
    let welcome = decoder.answer(&fields).map_err(wire)?.map_err(rejected)?;
    let Welcome { version, hello: theirs } = &welcome;
    let judged = judge(Side::Dialling, hello, theirs, peer).map_err(rejected)?;
    if judged != *version || theirs.generation != hello.generation {
        let (version, generation) = (*version, theirs.generation);
        return Err(wire(WireError::Welcome { version, generation }));
    }
    Ok(welcome)
}

/// The control stream of a connection in its handshake.
///
/// Dropped, the connection is closed before its stream: the stream's end could reach the peer
/// alone, and would be taken for a message cut short.
struct Unsettled {
    guard: CloseOnDrop,
    send: SendStream,
    recv: RecvStream,
}

impl Unsettled {
    fn settle(self) -> (SendStream, RecvStream) {
        self.guard.keep();
        (self.send, self.recv)
    }
}

/// Closes a connection whose handshake came to nothing.
struct CloseOnDrop {
    connection: Option<quinn::Connection>,
    /// What the peer is told.
    words: String,
}

impl CloseOnDrop {
    fn new(connection: &quinn::Connection) -> Self {
        let words = "handshake given up".to_owned();
        Self { connection: Some(connection.clone()), words }
    }

    fn keep(mut self) {
        self.connection = None;
    }

    /// Has the peer told of an error that it made; of others it knows, or need not know.
    fn blame(&mut self, error: DialError) -> DialError {
        match &error {
            DialError::Refused { refusal, .. } => self.words = refusal.to_string(),
            DialError::Rejected { rejection, .. } => self.words = rejection.to_string(),
            DialError::Wire { error, .. } => self.words = error.to_string(),
            DialError::RefusedByPeer { .. }
            | DialError::Alpn { .. }
            | DialError::TimedOut { .. }
            | DialError::Superseded
            | DialError::Broken { .. }
            | DialError::Tls(_) => {}
        }
        error
    }

    /// Why a stream of the handshake could not be used to its end.
    fn lost(&self, addr: SocketAddr, slot: &RefusalSlot) -> DialError {
        match self.connection.as_ref().and_then(quinn::Connection::close_reason) {
            Some(error) => dial_error(addr, &error, slot),
            None => DialError::Broken { addr, reason: "the peer took its stream back".to_owned() },
        }
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            CloseCode::Superseded.close(connection, &self.words);
        }
    }
}
fn dial_error(addr: SocketAddr, error: &ConnectionError, slot: &RefusalSlot) -> DialError {
    if let Some(refusal) = slot.get() {
        return DialError::Refused { addr, refusal };
    }
    let alert = |code: u64| u8::try_from(code & 0xff).ok().filter(|_| code & !0xff == 0x100);
    match error {
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code.into()) {
            Some(120) => alpn_error(addr),
            Some(alert) => DialError::RefusedByPeer { addr, alert },
            None => DialError::Broken { addr, reason: error.to_string() },
        },
        ConnectionError::TransportError(local) => match alert(local.code.into()) {
            Some(116) => DialError::Refused { addr, refusal: Refusal::NoCertificate },
            Some(120) => alpn_error(addr),
            Some(_) | None => DialError::Broken { addr, reason: error.to_string() },
        },
        ConnectionError::TimedOut => DialError::TimedOut { addr },
        ConnectionError::VersionMismatch
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => DialError::Broken { addr, reason: error.to_string() },
    }
}

fn alpn_error(addr: SocketAddr) -> DialError {
    DialError::Alpn { addr, ours: String::from_utf8_lossy(ALPN).into_owned() }
}

/// Takes a connection up to its hello and checks it. An `Err` has been answered to the peer.
pub(crate) async fn accept(
    endpoint: &Arc<EndpointShared>,
    incoming: quinn::Incoming,
) -> Result<Offer, DialError> {
    let addr = incoming.remote_address();
    let slot = RefusalSlot::default();
    let wall_clock = Arc::clone(&endpoint.wall_clock);
    let credentials = endpoint.credentials();
    let server = quic::server(&endpoint.config, &credentials, wall_clock, slot.clone())?;
    let broken = |error: ConnectionError| dial_error(addr, &error, &slot);
    let connection = incoming.accept_with(Arc::new(server)).map_err(broken)?.await;
    let connection = connection.map_err(broken)?;
    let mut guard = CloseOnDrop::new(&connection);
    let peer = peer_identity(endpoint, &connection)
        .map_err(|refusal| guard.blame(DialError::Refused { addr, refusal }))?;
    let (send, recv) = connection.accept_bi().await.map_err(broken)?;
    let mut control = Unsettled { guard, send, recv };
    let heard = hear(&mut control, &slot, addr).await;
    let hello = heard.map_err(|error| control.guard.blame(error))?;
    let ours = own_hello(endpoint, OwnRun::default());
    let (control_send, control_recv) = control.settle();
    let judged = judge(Side::Accepting, &ours, &hello, &peer.identity);
    let version = judged.clone().unwrap_or_default();
    let own = credentials;
    let offer = Offer { quinn: connection, control_send, control_recv, hello, peer, version, own };
    match judged {
        Ok(_version) => Ok(offer),
        Err(rejection) => {
            endpoint.spawn(reject(Arc::clone(endpoint), offer, rejection.clone()));
            Err(DialError::Rejected { addr, rejection })
        }
    }
}

/// Reads a hello.
async fn hear(
    control: &mut Unsettled,
    slot: &RefusalSlot,
    addr: SocketAddr,
) -> Result<Hello, DialError> {
    let wire = |error| DialError::Wire { addr, error };
    let message = read_message(&mut control.recv).await.map_err(wire)?;
    let (decoder, fields) = message.ok_or_else(|| control.guard.lost(addr, slot))?;
    decoder.hello(&fields).map_err(wire)
}

/// Reads one handshake message; `None` when the connection was lost before it.
async fn read_message(
    stream: &mut RecvStream,
) -> Result<Option<(HelloDecoder, Vec<u8>)>, WireError> {
    let mut opening = [0; OPENING_BYTES];
    match stream.read_exact(&mut opening).await {
        Ok(()) => {}
        Err(quinn::ReadExactError::FinishedEarly(_)) => return Err(WireError::Truncated),
        Err(quinn::ReadExactError::ReadError(_)) => return Ok(None),
    }
    let decoder = HelloDecoder::open(opening)?;
    let mut fields = vec![0; decoder.fields_bytes];
    match stream.read_exact(&mut fields).await {
        Ok(()) => Ok(Some((decoder, fields))),
        Err(quinn::ReadExactError::FinishedEarly(_)) => Err(WireError::Truncated),
        Err(quinn::ReadExactError::ReadError(_)) => Ok(None),
    }
}

/// Says why an offer is turned down, and closes it.
pub(crate) async fn reject(endpoint: Arc<EndpointShared>, mut offer: Offer, rejection: Rejection) {
    let connection = offer.quinn;
    if offer.control_send.write_all(&rejection.encode()).await.is_ok() {
        offer.control_send.finish().ok();
        // The dialling side closes once it has read the answer.
        endpoint.clock.within(REJECTION_LINGER, connection.closed()).await;
    }
    CloseCode::Rejected.close(&connection, &rejection.to_string());
}

/// Welcomes an offer and waits until the peer has adopted it.
pub(crate) async fn welcome(
    endpoint: &EndpointShared,
    mut offer: Offer,
    run: OwnRun,
) -> Option<Established> {
    let guard = CloseOnDrop::new(&offer.quinn);
    let generation = run.generation;
    admit(endpoint, &offer.quinn, offer.hello.lanes);
    let hello = own_hello(endpoint, run);
    let welcome = Welcome { version: offer.version, hello };
    offer.control_send.write_all(&welcome.encode()).await.ok()?;
    let mut start = [0];
    offer.control_recv.read_exact(&mut start).await.ok()?;
    if !matches!(Control::decode(&start), Ok(Some((Control::Start, _)))) {
        return None;
    }
    guard.keep();
    let info = ConnectionInfo {
        peer: offer.peer,
        incarnation: offer.hello.incarnation,
        generation,
        version: offer.version,
        addr: offer.quinn.remote_address(),
        dialled: false,
    };
    Some(Established {
        quinn: offer.quinn,
        control_send: offer.control_send,
        control_recv: offer.control_recv,
        info,
        instance: offer.hello.instance,
        live: offer.hello.live,
        peer_lanes: offer.hello.lanes,
        own: offer.own,
    })
}
