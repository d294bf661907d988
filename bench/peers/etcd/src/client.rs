//! The calls that are measured, as a client that is made from etcd's interface would make them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::time::{interval, timeout};
use tokio_stream::StreamExt;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;
use vioduct_bench_harness::store::{Store, Watcher};

use crate::message::{
    PutRequest, PutResponse, RangeRequest, RangeResponse, StatusRequest, StatusResponse,
    WatchCreateRequest, WatchRequest, WatchResponse,
};

/// Connections to the leader, over which the calls are spread.
const CONNECTIONS: usize = 8;
/// Longest until a member leads, and until it is connected.
const CONNECT_MAX: Duration = Duration::from_secs(20);
/// How often it is looked whether one does.
const LOOK_EVERY: Duration = Duration::from_millis(50);

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";

/// Connections to the member that leads.
#[derive(Debug)]
pub(crate) struct Etcd {
    channels: Vec<Channel>,
    next: AtomicUsize,
}

impl Etcd {
    /// Finds out which of these leads, once they serve and one does, and connects.
    pub(crate) async fn connect(servers: &[SocketAddr]) -> Result<Self> {
        let finding = async {
            let mut looks = interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                for server in servers {
                    // One that does not serve yet is asked again.
                    if leads(*server).await.unwrap_or(false) {
                        return *server;
                    }
                }
            }
        };
        let leader = timeout(CONNECT_MAX, finding).await.context("no member of etcd leads")?;
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(dial(leader).await?);
        }
        Ok(Self { channels, next: AtomicUsize::new(0) })
    }

    /// One after the other.
    fn channel(&self) -> Result<Channel> {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.channels.len();
        self.channels.get(next).cloned().context("there are connections")
    }
}

/// Who watches, on a stream of its own, and the keys that it was told of at once.
#[derive(Debug)]
pub(crate) struct Watching {
    answers: Streaming<WatchResponse>,
    told: VecDeque<Bytes>,
}

impl Watching {
    /// Begins to watch; returns once it has begun.
    async fn begin(channel: Channel, prefix: Bytes) -> Result<Self> {
        let mut behind = prefix.to_vec();
        *behind.last_mut().context("a prefix")? += 1;
        let create = WatchCreateRequest { key: prefix, range_end: behind.into() };
        let first = tokio_stream::once(WatchRequest { create: Some(create) });
        // Whose requests end ends to watch.
        let asked = Request::new(first.chain(tokio_stream::pending()));
        let mut client = Grpc::new(channel);
        client.ready().await.context("a connection to etcd")?;
        let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
        let answers = client.streaming(asked, PathAndQuery::from_static(WATCH), codec).await?;
        let mut answers = answers.into_inner();
        let answer = answers.message().await?.context("etcd ended a watch")?;
        ensure!(answer.created && !answer.canceled, "etcd lets nobody watch");
        Ok(Self { answers, told: VecDeque::new() })
    }
}

impl Watcher for Watching {
    async fn next(&mut self) -> Result<Bytes> {
        loop {
            if let Some(key) = self.told.pop_front() {
                return Ok(key);
            }
            let answer = self.answers.message().await?.context("etcd ended a watch")?;
            ensure!(!answer.canceled, "etcd ended a watch");
            let rows = answer.events.into_iter().filter_map(|event| event.kv);
            self.told.extend(rows.map(|row| row.key));
        }
    }
}

impl Store for Etcd {
    type Watcher = Watching;

    async fn put(&self, key: Bytes, value: Bytes) -> Result<()> {
        let PutResponse {} = call(self.channel()?, PUT, PutRequest { key, value }).await?;
        Ok(())
    }

    async fn get(&self, key: Bytes) -> Result<Option<Bytes>> {
        let found: RangeResponse = call(self.channel()?, RANGE, RangeRequest { key }).await?;
        Ok(found.kvs.into_iter().next().map(|row| row.value))
    }

    async fn watch(&self, prefix: Bytes) -> Result<Watching> {
        Watching::begin(self.channel()?, prefix).await
    }
}

async fn leads(server: SocketAddr) -> Result<bool> {
    let status: StatusResponse = call(dial(server).await?, STATUS, StatusRequest {}).await?;
    let member = status.header.context("a status without a header")?.member_id;
    Ok(status.leader == member)
}

async fn dial(server: SocketAddr) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{server}"))?;
    let endpoint = endpoint.tcp_nodelay(true).connect_timeout(CONNECT_MAX);
    endpoint.connect().await.with_context(|| format!("connect to etcd at {server}"))
}

async fn call<Asked, Answer>(channel: Channel, path: &'static str, asked: Asked) -> Result<Answer>
where
    Asked: Message + Send + Sync + 'static,
    Answer: Message + Default + Send + Sync + 'static,
{
    let mut client = Grpc::new(channel);
    client.ready().await.context("a connection to etcd")?;
    let codec = ProstCodec::<Asked, Answer>::default();
    let answer = client.unary(Request::new(asked), PathAndQuery::from_static(path), codec).await;
    Ok(answer.with_context(|| format!("etcd's answer to {path}"))?.into_inner())
}
