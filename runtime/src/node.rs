//! A node: its actors, its links, and the handle that an embedding program holds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use actix::{Actor, Context};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::Span;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::{Kind, NodeName};
use vioduct_transport::seam::{ResetSecret, Surroundings};
use vioduct_transport::{Endpoint, EndpointError, KeptAlive, Link, TransportConfig};

use crate::actor::ActorBuilder;
use crate::actors::Actors;
use crate::cluster::{Cluster, ClusterConfig, Driver};
use crate::codec::Codec;
use crate::error::{NotDelivered, StartError};
use crate::id::{ActorId, ActorName};
use crate::inbox::Order;
use crate::inspect::count::NodeCounts;
use crate::inspect::{Inspection, gather};
use crate::listener::{LinkListener, overheard};
use crate::membership::MembershipConfigError;
use crate::names::Names;
use crate::peer::Peer;
use crate::peer::asks::{Alarm, Asks};
use crate::reference::{ActorRef, LocalRef};
use crate::remote::Remote;
use crate::router::Router;
use crate::trace;
use crate::worker::{Hosting, WORKERS_MAX, Workers};

/// How exactly deadlines of asks to other nodes are kept.
const TICK: Duration = Duration::from_millis(10);
/// How long a look-up waits for the other node.
const LOOKUP_MAX: Duration = Duration::from_secs(10);

/// What all of a node's parts can reach.
pub(crate) struct NodeShared {
    pub(crate) name: NodeName,
    pub(crate) incarnation: u64,
    pub(crate) actors: Actors,
    pub(crate) peers: Peers,
    pub(crate) names: Names,
    /// None for a node that is no member of a cluster.
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) codec: Codec,
    workers: Weak<Workers>,
    pub(crate) worker_count: usize,
    pub(crate) counts: NodeCounts,
    pub(crate) span: Span,
    /// Longest head that its links take.
    pub(crate) head_bytes_max: u32,
    jitter: Mutex<StdRng>,
}

impl NodeShared {
    /// Random bits, for a back-off or an id.
    pub(crate) fn jitter(&self) -> u64 {
        self.jitter.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    /// The workers; none once the node has shut down.
    pub(crate) fn workers(&self) -> Option<Arc<Workers>> {
        self.workers.upgrade()
    }

    /// A reference to that life of an actor; none without a link to its node.
    pub(crate) fn reference<P>(self: &Arc<Self>, id: &ActorId) -> Option<ActorRef<P>> {
        if id.node == self.name {
            let is_here = id.incarnation == self.incarnation;
            return self.actors.get(id.serial).filter(|_| is_here).map(ActorRef::here);
        }
        let peer = self.peers.named(&id.node)?;
        Some(ActorRef::there(Remote::new(self, &peer, id)))
    }
}

/// The nodes and tools that this node has links to.
pub(crate) struct Peers {
    table: Mutex<HashMap<Link, Arc<Peer>>>,
    last_number: AtomicU64,
    alarm: Arc<Alarm>,
    /// Where the numbers of asks begin: elsewhere in each run.
    first_ask: u32,
    /// Where links run.
    handle: Handle,
}

impl Peers {
    fn table(&self) -> MutexGuard<'_, HashMap<Link, Arc<Peer>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of(&self, link: &Link) -> Arc<Peer> {
        match self.table().entry(link.clone()) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(vacant) => {
                let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
                let asks = Asks::new(Arc::clone(&self.alarm), self.first_ask);
                let peer = Peer::new(number, link.clone(), asks, self.handle.clone());
                Arc::clone(vacant.insert(Arc::new(peer)))
            }
        }
    }

    /// The peer of this link; none before its first connection, and after a tool's last.
    pub(crate) fn known(&self, link: &Link) -> Option<Arc<Peer>> {
        self.table().get(link).cloned()
    }

    pub(crate) fn forget(&self, link: &Link) {
        let peer = self.table().remove(link);
        if let Some(peer) = peer {
            peer.close();
        }
    }

    /// Every peer, in the order in which they became known.
    pub(crate) fn all(&self) -> Vec<Arc<Peer>> {
        let mut all: Vec<Arc<Peer>> = self.table().values().cloned().collect();
        all.sort_unstable_by_key(|peer| peer.number);
        all
    }

    /// The peer of this name that is a node.
    pub(crate) fn named(&self, name: &NodeName) -> Option<Arc<Peer>> {
        let table = self.table();
        let is_it = |link: &Link| link.peer() == name && link.peer_kind() == Kind::Node;
        table.iter().find(|(link, _peer)| is_it(link)).map(|(_link, peer)| Arc::clone(peer))
    }

    fn close(&self) {
        for peer in self.all() {
            peer.close();
        }
        self.table().clear();
    }
}

/// Ends asks whose deadline has passed. Runs as long as the node.
async fn keep_deadlines(node: Arc<NodeShared>) {
    loop {
        node.peers.alarm.rung().await;
        let mut is_any_left = true;
        while is_any_left {
            sleep_until(Instant::now() + TICK).await;
            node.peers.alarm.clear();
            let now = Instant::now();
            is_any_left = false;
            for peer in node.peers.all() {
                is_any_left |= peer.asks.expire(now);
            }
        }
    }
}

/// Tells peers of actors that can be found, as these come and go. Runs as long as the node.
async fn tell_names(node: Arc<NodeShared>) {
    loop {
        node.names.written().await;
        for peer in node.peers.all() {
            peer.tell_names(&node.names, node.incarnation);
        }
    }
}

/// Settings of a node that is about to start.
#[derive(Debug)]
pub struct NodeBuilder {
    credentials: Arc<Credentials>,
    listen: SocketAddr,
    incarnation: Option<u64>,
    transport: TransportConfig,
    surroundings: Option<Surroundings>,
    reset_secret: Option<ResetSecret>,
    hosting: Hosting,
    codec: Codec,
    cluster: Option<ClusterConfig>,
    listener: Option<Arc<dyn LinkListener>>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The links.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No socket there. Fault: the caller, or another process that has it.
    #[error("can't listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// No thread for a worker. Fault: the system.
    #[error("can't start a worker: {0}")]
    Thread(#[source] std::io::Error),
    /// More or fewer workers than there can be. Fault: the caller.
    #[error("{0} workers; it must be 1 to {WORKERS_MAX}")]
    Workers(usize),
    /// The membership.
    #[error(transparent)]
    Membership(#[from] MembershipConfigError),
    /// Others cannot dial it where it listens. Fault: the caller.
    #[error("it listens on {0}, which others cannot dial: give the address to advertise")]
    Advertise(SocketAddr),
    /// Only nodes are members; this certificate is a tool's. Fault: the caller.
    #[error("a tool is no member of a cluster: leave `cluster` out, or use a node's certificate")]
    ToolAsMember,
    /// A worker ended while the node was starting.
    #[error("a worker ended while the node was starting")]
    WorkerEnded,
}

impl NodeBuilder {
    /// Where it listens for links. Default: any port of 127.0.0.1.
    #[must_use]
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.listen = addr;
        self
    }

    /// Number of this run. It must rise with each start of the node. Default: microseconds of the
    /// machine's clock, which is enough where that is never set back.
    #[must_use]
    pub fn incarnation(mut self, incarnation: u64) -> Self {
        self.incarnation = Some(incarnation);
        self
    }

    /// Threads that actors run on, 1 to 256. Default: one for each core. The first one carries the
    /// links as well.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.hosting = Hosting::Threads(count);
        self
    }

    /// Runs links and actors on the local set of the task that calls [`start`](Self::start),
    /// without threads of its own.
    #[must_use]
    pub fn on_this_local_set(mut self) -> Self {
        self.hosting = Hosting::Here;
        self
    }

    /// Settings of the links.
    #[must_use]
    pub fn transport(mut self, config: TransportConfig) -> Self {
        self.transport = config;
        self
    }

    /// Socket, clocks and randomness other than the machine's own: a simulation's.
    #[must_use]
    pub fn surroundings(mut self, surroundings: Surroundings) -> Self {
        self.surroundings = Some(surroundings);
        self
    }

    /// A secret that is the same in each run, so that peers know at once when this one was killed
    /// and the next is there. Default: a random one, and they know once they hear nothing.
    #[must_use]
    pub fn reset_secret(mut self, secret: ResetSecret) -> Self {
        self.reset_secret = Some(secret);
        self
    }

    /// How this node encodes what it sends. It reads both. Default: bincode.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Makes it a member of its certificate's cluster: it finds the other members, keeps links to
    /// them, is told who is gone, and names and groups reach all of it. Its links are kept alive
    /// [when awaited](KeptAlive::WhenAwaited), whatever their settings say. Without this it is
    /// linked to whom it [connects](Node::connect), and to whoever connects to it.
    #[must_use]
    pub fn cluster(mut self, config: ClusterConfig) -> Self {
        self.cluster = Some(config);
        self
    }

    /// Is told what happens to links. Default: nobody.
    #[must_use]
    pub fn link_listener(mut self, listener: Arc<dyn LinkListener>) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Starts the node: when this returns, it listens.
    ///
    /// Not cancel-safe: a start that is dropped may leave a node that listens until its workers are
    /// gone, which is soon after.
    ///
    /// # Errors
    /// [`NodeError`]
    pub async fn start(self) -> Result<Node, NodeError> {
        if let Hosting::Threads(count) = self.hosting
            && !(1..=WORKERS_MAX).contains(&count)
        {
            return Err(NodeError::Workers(count));
        }
        let name = self.credentials.identity().name.clone();
        let workers = Workers::start(self.hosting, name.as_str()).map_err(NodeError::Thread)?;
        let workers = Arc::new(workers);
        let placing = Arc::downgrade(&workers);
        let (started, outcome) = oneshot::channel();
        // Fails only when the starter is gone, and the workers with it.
        let job = Box::new(move || drop(started.send(self.start_links(name, placing))));
        if !workers.place(0, job).await {
            return Err(NodeError::WorkerEnded);
        }
        let links = outcome.await.map_err(|_gone| NodeError::WorkerEnded)??;
        let owner = Owner { links, workers: Mutex::new(Some(workers)) };
        Ok(Node { owner: Arc::new(owner) })
    }

    /// Runs on the first worker: what is spawned here stays there.
    fn start_links(mut self, name: NodeName, workers: Weak<Workers>) -> Result<Links, NodeError> {
        let incarnation = self.incarnation.unwrap_or_else(incarnation_now);
        let mut surroundings = match self.surroundings {
            Some(surroundings) => surroundings,
            None => {
                let addr = self.listen;
                Surroundings::bind(addr, self.transport.socket_buffer_bytes)
                    .map_err(|source| NodeError::Listen { addr, source })?
            }
        };
        if let Some(secret) = self.reset_secret {
            surroundings.reset_secret = secret;
        }
        if self.cluster.is_some() {
            self.transport.kept_alive = KeptAlive::WhenAwaited;
        }
        let seed = surroundings.seed;
        let identity = self.credentials.identity();
        let addr = surroundings.socket.local_addr();
        let addr = addr.map_err(|source| NodeError::Listen { addr: self.listen, source })?;
        let joining = self.cluster.map(|config| config.begin(identity, incarnation, addr, seed));
        let (cluster, joining) = joining.transpose()?.unzip();
        let peers = Peers {
            table: Mutex::default(),
            last_number: AtomicU64::new(0),
            alarm: Arc::default(),
            first_ask: spread(incarnation),
            handle: Handle::current(),
        };
        let names = Names::new(name.clone(), incarnation);
        let span = trace::of_node(&name, incarnation);
        let shared = Arc::new(NodeShared {
            name,
            incarnation,
            actors: Actors::default(),
            peers,
            names,
            cluster,
            codec: self.codec,
            workers,
            worker_count: self.hosting.workers(),
            counts: NodeCounts::default(),
            span,
            head_bytes_max: self.transport.head_bytes_max,
            jitter: Mutex::new(StdRng::from_seed(seed)),
        });
        let router = Router { node: Arc::clone(&shared) };
        let inbound = overheard(router, self.listener);
        let endpoint =
            Endpoint::new(self.transport, incarnation, self.credentials, surroundings, inbound)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_deadlines(Arc::clone(&shared)));
        tasks.spawn(tell_names(Arc::clone(&shared)));
        if let Some(joining) = joining {
            tasks.spawn(Driver::new(joining, &shared, &endpoint).run());
        }
        Ok(Links { shared, endpoint, tasks: Mutex::new(tasks) })
    }
}

/// Far apart for runs that follow each other.
fn spread(incarnation: u64) -> u32 {
    (incarnation.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

#[expect(clippy::disallowed_methods, reason = "the one place that needs a number which rises")]
fn incarnation_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// A node's links, and what runs beside them on the first worker.
struct Links {
    shared: Arc<NodeShared>,
    endpoint: Endpoint,
    /// Dropping them ends them.
    tasks: Mutex<JoinSet<()>>,
}

impl Links {
    fn take_tasks(&self) -> JoinSet<()> {
        std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What ends when the last [`Node`] handle does.
struct Owner {
    links: Links,
    workers: Mutex<Option<Arc<Workers>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        drop(self.links.shared.actors.close());
        self.links.shared.peers.close();
    }
}

/// A running node. Cheap to clone.
///
/// When the last clone is dropped, its actors and links end where they stand;
/// [`shutdown`](Self::shutdown) does it in order.
#[derive(Clone)]
pub struct Node {
    owner: Arc<Owner>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let NodeShared { name, incarnation, .. } = &*self.owner.links.shared;
        f.debug_struct("Node").field("name", name).field("incarnation", incarnation).finish()
    }
}

impl Node {
    /// A node that presents these credentials to its peers.
    #[must_use]
    pub fn builder(credentials: Arc<Credentials>) -> NodeBuilder {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        NodeBuilder {
            credentials,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            incarnation: None,
            transport: TransportConfig::default(),
            surroundings: None,
            reset_secret: None,
            hosting: Hosting::Threads(cores.min(WORKERS_MAX)),
            codec: Codec::default(),
            cluster: None,
            listener: None,
        }
    }

    /// Its name, as its certificate has it.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.owner.links.shared.name
    }

    /// Number of this run.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.owner.links.shared.incarnation
    }

    /// Its links, for certificates and figures.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.owner.links.endpoint
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the socket cannot say.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.owner.links.endpoint.local_addr()
    }

    /// Keeps a link to this node from now on. Cancel-safe.
    ///
    /// # Errors
    /// [`EndpointError`] when there are too many, or this node is shutting down.
    pub async fn connect(&self, node: NodeName, addr: SocketAddr) -> Result<(), EndpointError> {
        let link = self.owner.links.endpoint.connect(node, addr).await?;
        self.owner.links.shared.peers.of(&link);
        Ok(())
    }

    /// An actor that is made by `factory`, and made again when it fails.
    pub fn actor<A>(&self, factory: impl FnMut() -> A + Send + 'static) -> ActorBuilder<A>
    where
        A: Actor<Context = Context<A>>,
    {
        ActorBuilder::new(Arc::downgrade(self.shared()), factory)
    }

    /// Begins a task on the worker of an actor of this node, so that what goes between the two
    /// crosses no threads. The task is no part of the actor: it ends by itself, or with the node.
    /// Cancel-safe: once the future is dropped, the task was begun or is never.
    ///
    /// # Errors
    /// [`StartError::Closing`]: the task was not begun.
    pub async fn spawn_beside<A, F>(
        &self,
        actor: &LocalRef<A>,
        task: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(), StartError>
    where
        A: Actor<Context = Context<A>>,
        F: Future<Output = ()> + 'static,
    {
        let workers = self.shared().workers().ok_or(StartError::Closing)?;
        let begin = move || drop(tokio::task::spawn_local(task()));
        let is_begun = workers.place(actor.worker(), Box::new(begin)).await;
        is_begun.then_some(()).ok_or(StartError::Closing)
    }

    /// The actor that has this name on that node now, on this one too. Waits for a link at most as
    /// long as links do, and then ten seconds at most for the answer. Cancel-safe.
    ///
    /// # Errors
    /// [`NotDelivered::NoSuchActor`], and why the other node could not be asked.
    pub async fn lookup<P: 'static>(
        &self,
        node: &NodeName,
        name: &ActorName,
    ) -> Result<ActorRef<P>, NotDelivered> {
        let shared = &self.owner.links.shared;
        let no_such = || NotDelivered::NoSuchActor { node: node.clone(), name: name.clone() };
        if *node == shared.name {
            return shared.actors.find(name).map(ActorRef::here).ok_or_else(no_such);
        }
        let not_connected = || NotDelivered::NotConnected { node: node.clone() };
        let peer = shared.peers.named(node).ok_or_else(not_connected)?;
        let asked = async {
            loop {
                // Lost with a connection: it is asked again.
                let Ok(found) = peer.find(name.clone())?.await else { continue };
                let id = found.ok_or_else(no_such)?;
                return Ok(ActorRef::there(Remote::new(shared, &peer, &id)));
            }
        };
        let late = || NotDelivered::Unreachable { node: node.clone() };
        timeout(LOOKUP_MAX, asked).await.unwrap_or_else(|_late| Err(late()))
    }

    /// What this node has under way now, whole.
    #[must_use]
    pub fn inspect(&self) -> Inspection {
        gather::whole(self.shared())
    }

    pub(crate) fn shared(&self) -> &Arc<NodeShared> {
        &self.owner.links.shared
    }

    /// Ends the node in order: its actors are found no more, take no more and finish what they
    /// have, for `drain` at most; it leaves its cluster; links are closed, after what was sent is
    /// acknowledged; then threads end. Nothing is left running afterwards, and the socket goes with
    /// the last handle. A second call waits for nothing. Not cancel-safe.
    pub async fn shutdown(&self, drain: Duration) {
        let deadline = Instant::now() + drain;
        let actors = self.owner.links.shared.actors.close();
        self.owner.links.shared.names.unlist_all();
        actors.iter().for_each(|actor| actor.order(Order::Drain));
        for actor in actors {
            let mut ended = actor.ended();
            let late = timeout_at(deadline, ended.wait_for(Option::is_some)).await;
            if late.is_err() {
                tracing::warn!(actor = %actor.id(), "not drained in time: stopped");
                actor.order(Order::Stop);
            }
        }
        if let Some(cluster) = &self.owner.links.shared.cluster {
            cluster.leave().await;
        }
        self.owner.links.endpoint.close().await;
        self.owner.links.shared.peers.close();
        let mut tasks = self.owner.links.take_tasks();
        tasks.shutdown().await;
        let workers = self.owner.workers.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(workers) = workers.and_then(Arc::into_inner) {
            workers.stop().await;
        }
    }
}
