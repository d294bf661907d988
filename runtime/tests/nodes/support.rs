//! Two nodes of one cluster, and the actors that the tests ask.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, ResponseFuture};
use bytes::Bytes;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::Roles;
use vioduct_runtime::{ActorName, ActorRef, Codec, LinkListener, Node, NodeBuilder, RemoteMessage};
use vioduct_transport::TransportConfig;

pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) fn name(name: &str) -> ActorName {
    ActorName::new(name).unwrap()
}

async fn linked(roles: Roles, a: Setup, b: Setup) -> (Node, Node) {
    let mut ca = DevCa::new("test", UnixTime::now()).unwrap();
    let (one, other) = (ca.node("a", roles).unwrap(), ca.node("b", Roles::none()).unwrap());
    let a = a(Node::builder(Arc::new(one)).workers(2)).start().await.unwrap();
    let b = b(Node::builder(Arc::new(other)).workers(2)).start().await.unwrap();
    a.connect(b.name().clone(), b.local_addr().unwrap()).await.unwrap();
    a.endpoint().link(b.name()).unwrap().up().await.unwrap();
    (a, b)
}

type Setup = Box<dyn FnOnce(NodeBuilder) -> NodeBuilder>;

fn plain() -> Setup {
    Box::new(|builder| builder)
}

/// Nodes `a` and `b`, which are linked.
pub(crate) async fn pair() -> (Node, Node) {
    linked(Roles::none(), plain(), plain()).await
}

/// The same; `a` holds these roles.
pub(crate) async fn pair_with(roles: Roles) -> (Node, Node) {
    linked(roles, plain(), plain()).await
}

/// The same; they encode differently.
pub(crate) async fn pair_of_codecs(one: Codec, other: Codec) -> (Node, Node) {
    let (one, other) =
        (move |it: NodeBuilder| it.codec(one), move |it: NodeBuilder| it.codec(other));
    linked(Roles::none(), Box::new(one), Box::new(other)).await
}

/// The same, with these settings of their links.
pub(crate) async fn pair_over(config: TransportConfig) -> (Node, Node) {
    let same = config.clone();
    let one = move |it: NodeBuilder| it.transport(config);
    let other = move |it: NodeBuilder| it.transport(same);
    linked(Roles::none(), Box::new(one), Box::new(other)).await
}

/// The same; `b`'s links are listened to.
pub(crate) async fn pair_heard_by(listener: Arc<dyn LinkListener>) -> (Node, Node) {
    let other = move |it: NodeBuilder| it.link_listener(listener);
    linked(Roles::none(), plain(), Box::new(other)).await
}

/// Waits for `b`'s actor from `a`.
pub(crate) async fn find<P: 'static>(from: &Node, at: &Node, actor: &str) -> ActorRef<P> {
    from.lookup(at.name(), &name(actor)).await.unwrap()
}

/// Adds up.
#[derive(Debug, Clone, Message, RemoteMessage, Serialize, Deserialize, PartialEq, Eq)]
#[rtype(result = "u64")]
#[remote(name = "test.Add")]
pub(crate) struct Add(pub(crate) u64);

/// Gives its body back.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Echoed")]
#[remote(name = "test.Echo")]
pub(crate) struct Echo {
    #[serde(skip)]
    #[remote(body)]
    pub(crate) body: Bytes,
}

#[derive(Debug, actix::MessageResponse, vioduct_runtime::Wire, Serialize, Deserialize)]
pub(crate) struct Echoed {
    #[serde(skip)]
    #[remote(body)]
    pub(crate) body: Bytes,
}

/// Answers once the gate lets it pass.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "test.Pass")]
pub(crate) struct Pass(pub(crate) u64);

/// Is handled once the gate lets it pass; until then nothing else is.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Block")]
pub(crate) struct Block;

#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Panic")]
pub(crate) struct Panic;

/// What a test sees of an actor.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    /// Lets handlers go on.
    pub(crate) passes: Arc<Semaphore>,
    /// Handlers that were begun, and that went on, and that were dropped.
    pub(crate) begun: watch::Sender<u64>,
    pub(crate) ended: watch::Sender<u64>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let (begun, ended) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { passes: Arc::new(Semaphore::new(0)), begun, ended }
    }

    pub(crate) async fn wait(counter: &watch::Sender<u64>, at_least: u64) {
        let mut counter = counter.subscribe();
        let reached = counter.wait_for(|count| *count >= at_least);
        tokio::time::timeout(SOON, reached).await.unwrap().unwrap();
    }
}

/// Counts up when it is dropped.
struct Ended(watch::Sender<u64>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count += 1);
    }
}

#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) sum: u64,
    pub(crate) gate: Gate,
}

impl Counter {
    pub(crate) fn new(gate: &Gate) -> Self {
        Self { sum: 0, gate: gate.clone() }
    }
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Add> for Counter {
    type Result = u64;

    fn handle(&mut self, Add(more): Add, _ctx: &mut Self::Context) -> u64 {
        self.sum += more;
        self.gate.begun.send_modify(|count| *count += 1);
        self.sum
    }
}

impl Handler<Echo> for Counter {
    type Result = Echoed;

    fn handle(&mut self, Echo { body }: Echo, _ctx: &mut Self::Context) -> Echoed {
        Echoed { body }
    }
}

impl Handler<Pass> for Counter {
    type Result = vioduct_runtime::Cancellable<u64>;

    fn handle(&mut self, Pass(number): Pass, _ctx: &mut Self::Context) -> Self::Result {
        let gate = self.gate.clone();
        gate.begun.send_modify(|count| *count += 1);
        let ended = Ended(gate.ended.clone());
        vioduct_runtime::Cancellable::new(async move {
            let _ended = ended;
            gate.passes.acquire().await.unwrap().forget();
            number
        })
    }
}

impl Handler<Block> for Counter {
    type Result = actix::AtomicResponse<Self, ()>;

    fn handle(&mut self, _block: Block, _ctx: &mut Self::Context) -> Self::Result {
        use actix::fut::WrapFuture;
        let gate = self.gate.clone();
        gate.begun.send_modify(|count| *count += 1);
        let wait = async move { gate.passes.acquire().await.unwrap().forget() };
        actix::AtomicResponse::new(Box::pin(wait.into_actor(self)))
    }
}

impl Handler<Panic> for Counter {
    type Result = ();

    fn handle(&mut self, _panic: Panic, _ctx: &mut Self::Context) {
        panic!("asked to");
    }
}

/// Not used by name: shows that an actix future works as a result.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Option<String>")]
#[remote(name = "test.WhoAmI")]
pub(crate) struct WhoAmI;

impl Handler<WhoAmI> for Counter {
    type Result = ResponseFuture<Option<String>>;

    fn handle(&mut self, _who: WhoAmI, _ctx: &mut Self::Context) -> Self::Result {
        let caller = vioduct_runtime::caller();
        Box::pin(async move { caller.map(|caller| caller.name.to_string()) })
    }
}
