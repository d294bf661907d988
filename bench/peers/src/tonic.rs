//! One bidirectional stream of tonic over mutual TLS: frames with ids each way, echoed where they
//! are read.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt, unfold};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{NamedService, StreamingService};
use tonic::transport::{Endpoint, Server, Uri};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use vioduct_bench_harness::correlation::Correlation;
use vioduct_bench_harness::identity;
use vioduct_bench_harness::peer::{AskPeer, Peer};

const ALPN: &[u8] = b"h2";
const SERVICE: &str = "bench.Echo";
const METHOD: &str = "/bench.Echo/Talk";
/// Frames that wait to be written.
const QUEUE_FRAMES_MAX: usize = 4096;
/// HTTP/2 windows, as large as those of the QUIC peers.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// A message, or its answer.
#[derive(Clone, PartialEq, prost::Message)]
struct Frame {
    #[prost(enumeration = "Kind", tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    id: u64,
    #[prost(bytes = "bytes", tag = "3")]
    payload: Bytes,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, prost::Enumeration)]
#[repr(i32)]
enum Kind {
    Ask = 0,
    Tell = 1,
    Tally = 2,
    Reply = 3,
}

type Frames = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

/// Echoes asks, counts tells, each stream its own.
struct Talk;

impl StreamingService<Frame> for Talk {
    type Response = Frame;
    type ResponseStream = Frames;
    type Future = std::future::Ready<Result<Response<Frames>, Status>>;

    fn call(&mut self, request: Request<Streaming<Frame>>) -> Self::Future {
        let mut tells: u64 = 0;
        let answers = request.into_inner().filter_map(move |frame| {
            let answer = frame.map(|frame| {
                let payload = match frame.kind() {
                    Kind::Tell => {
                        tells += 1;
                        return None;
                    }
                    Kind::Tally => Bytes::copy_from_slice(&tells.to_le_bytes()),
                    Kind::Ask | Kind::Reply => frame.payload,
                };
                Some(Frame { kind: Kind::Reply.into(), id: frame.id, payload })
            });
            std::future::ready(answer.transpose())
        });
        let answers: Frames = Box::pin(answers);
        std::future::ready(Ok(Response::new(answers)))
    }
}

/// What a generated server would be.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Frame, Frame>::default());
            Ok(grpc.streaming(Talk, request).await)
        })
    }
}

/// The TLS ends of one process.
pub(crate) struct Setup {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    server_name: ServerName<'static>,
}

/// The client's end.
#[derive(Debug)]
pub(crate) struct Tonic {
    asks: Arc<Correlation>,
    outbox: mpsc::Sender<Frame>,
}

impl Tonic {
    async fn request(&self, kind: Kind, payload: Bytes) -> Result<Bytes> {
        let (id, reply) = self.asks.enter()?;
        self.send(kind, id, payload).await?;
        reply.await.context("the stream ended before the reply")
    }

    async fn send(&self, kind: Kind, id: u64, payload: Bytes) -> Result<()> {
        let frame = Frame { kind: kind.into(), id, payload };
        self.outbox.send(frame).await.context("the stream has ended")
    }
}

impl Peer for Tonic {
    type Setup = Setup;

    fn prepare(credentials: &Path) -> Result<Setup> {
        let (server, client, server_name) = identity::pair(credentials, ALPN)?;
        Ok(Setup {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
            server_name: ServerName::try_from(server_name)?,
        })
    }

    async fn serve(setup: Setup, bound: oneshot::Sender<SocketAddr>) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        if bound.send(listener.local_addr()?).is_err() {
            return Ok(());
        }
        let incoming = unfold((listener, setup.acceptor), |(listener, acceptor)| async {
            let accepted = async {
                let (stream, _peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                acceptor.accept(stream).await
            };
            Some((accepted.await, (listener, acceptor)))
        });
        let server = Server::builder()
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .add_service(Echo);
        server.serve_with_incoming(incoming).await.context("serve")
    }

    async fn connect(setup: &Setup, server: SocketAddr) -> Result<Self> {
        let (connector, name) = (setup.connector.clone(), setup.server_name.clone());
        let connect = tower::service_fn(move |_uri: Uri| {
            let (connector, name) = (connector.clone(), name.clone());
            async move {
                let stream = TcpStream::connect(server).await?;
                stream.set_nodelay(true)?;
                Ok::<_, io::Error>(TokioIo::new(connector.connect(name, stream).await?))
            }
        });
        let channel = Endpoint::from_shared(format!("http://{server}"))?
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .connect_with_connector(connect)
            .await
            .context("connect")?;
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.context("connect")?;
        let (outbox, queue) = mpsc::channel(QUEUE_FRAMES_MAX);
        let request = Request::new(ReceiverStream::new(queue));
        let codec = ProstCodec::<Frame, Frame>::default();
        let path = PathAndQuery::from_static(METHOD);
        let mut replies = grpc.streaming(request, path, codec).await?.into_inner();
        let asks = Arc::new(Correlation::default());
        let table = Arc::clone(&asks);
        tokio::spawn(async move {
            while let Ok(Some(frame)) = replies.message().await {
                if let Err(error) = table.complete(frame.id, frame.payload) {
                    eprintln!("tonic client: {error:#}");
                }
            }
            table.close();
        });
        Ok(Self { asks, outbox })
    }

    async fn tell(&self, payload: &Bytes, count: u64) -> Result<()> {
        for _ in 0..count {
            self.send(Kind::Tell, 0, payload.clone()).await?;
        }
        Ok(())
    }

    async fn tells_received(&self) -> Result<u64> {
        let reply = self.request(Kind::Tally, Bytes::new()).await?;
        Ok(u64::from_le_bytes(reply.as_ref().try_into().context("a tally of 8 bytes")?))
    }
}

impl AskPeer for Tonic {
    async fn ask(&self, payload: Bytes) -> Result<Bytes> {
        self.request(Kind::Ask, payload).await
    }
}
