//! A large body delays nothing but what its own sender sends to the same target afterwards.

use std::net::SocketAddr;
use std::sync::Arc;

use actix::fut::WrapFuture;
use actix::{Actor, Context, Handler, Message, ResponseActFuture};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use vioduct_certs::UnixTime;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::Roles;
use vioduct_runtime::{Access, ActorRef, AskError, LocalRef, Node, RemoteMessage};
use vioduct_tests::fault::{Faults, UdpProxy, UdpProxyConfig};

use crate::support::{BOUND, name};

/// Four seconds at the rate of the path.
const BODY_BYTES: usize = 4 << 20;
const RATE_BYTES_PER_S: u64 = 1 << 20;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "pairs.Store")]
struct Store {
    #[serde(skip)]
    #[remote(body)]
    body: Bytes,
}

/// How many bodies have arrived?
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "pairs.Stored")]
struct Stored;

/// Counts bodies.
#[derive(Default)]
struct Shelf(u64);

impl Actor for Shelf {
    type Context = Context<Self>;
}

impl Handler<Store> for Shelf {
    type Result = ();

    fn handle(&mut self, Store { body }: Store, _ctx: &mut Self::Context) {
        assert_eq!(body.len(), BODY_BYTES);
        self.0 += 1;
    }
}

impl Handler<Stored> for Shelf {
    type Result = u64;

    fn handle(&mut self, _stored: Stored, _ctx: &mut Self::Context) -> u64 {
        self.0
    }
}

/// Sends to a shelf of another node, as itself.
struct Clerk(ActorRef<Shelf>);

impl Actor for Clerk {
    type Context = Context<Self>;
}

/// Send a body, and do not wait for it to arrive.
#[derive(Message)]
#[rtype(result = "()")]
struct SendBody;

/// Ask how many bodies there are.
#[derive(Message)]
#[rtype(result = "Result<u64, AskError>")]
struct Count;

impl Handler<SendBody> for Clerk {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _send: SendBody, _ctx: &mut Self::Context) -> Self::Result {
        let shelf = self.0.clone();
        let send = async move {
            let body = Bytes::from(vec![7; BODY_BYTES]);
            shelf.tell(Store { body }).await.unwrap();
        };
        Box::pin(send.into_actor(self))
    }
}

impl Handler<Count> for Clerk {
    type Result = ResponseActFuture<Self, Result<u64, AskError>>;

    fn handle(&mut self, _count: Count, _ctx: &mut Self::Context) -> Self::Result {
        let shelf = self.0.clone();
        let count = async move { shelf.ask(Stored, BOUND).await };
        Box::pin(count.into_actor(self))
    }
}

async fn clerk(node: &Node, shelf: &ActorRef<Shelf>) -> LocalRef<Clerk> {
    let shelf = shelf.clone();
    let clerk = node.actor(move || Clerk(shelf.clone())).start().await.unwrap();
    clerk.now().unwrap()
}

#[tokio::test]
async fn a_large_body_delays_only_what_its_own_sender_sends_to_the_same_actor() {
    let mut ca = DevCa::new("pairs", UnixTime::now()).unwrap();
    let mut node = |name| Node::builder(Arc::new(ca.node(name, Roles::none()).unwrap())).workers(1);
    let one = node("one").start().await.unwrap();
    let two = node("two").start().await.unwrap();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let target = two.local_addr().unwrap();
    let proxy = UdpProxy::start(UdpProxyConfig { listen, target, seed: 1 }).unwrap();
    one.connect(two.name().clone(), proxy.addr()).await.unwrap();
    let shelf = two.actor(Shelf::default).named(name("shelf")).window(64 << 20);
    let shelf = shelf.accept::<Store>(Access::nodes()).accept::<Stored>(Access::nodes());
    shelf.start().await.unwrap();
    let shelf: ActorRef<Shelf> = one.lookup(two.name(), &name("shelf")).await.unwrap();
    let (sender, other) = (clerk(&one, &shelf).await, clerk(&one, &shelf).await);
    // Leave to send is there, and the path is known.
    assert_eq!(sender.ask(Count, BOUND).await, Ok(Ok(0)));
    proxy.set_both(Faults::none().with_rate(Some(RATE_BYTES_PER_S)).unwrap());

    sender.ask(SendBody, BOUND).await.unwrap();
    let (before, own, behind) = tokio::join!(
        timeout(BOUND, other.ask(Count, BOUND)),
        timeout(BOUND, sender.ask(Count, BOUND)),
        // Not by an actor, but by the node.
        timeout(BOUND, shelf.ask(Stored, BOUND)),
    );
    assert_eq!(before.unwrap(), Ok(Ok(0)), "another actor's ask waited for the body");
    assert_eq!(behind.unwrap(), Ok(0), "the node's own ask waited for the body");
    assert_eq!(own.unwrap(), Ok(Ok(1)), "the sender's own ask overtook its body");
}
