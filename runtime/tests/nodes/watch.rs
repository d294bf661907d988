//! Death notices, and references that travel in messages.

use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, WrapFuture};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;
use vioduct_runtime::{
    Access, ActorHandle, ActorRef, EndReason, LocalRef, Node, RemoteMessage, Terminated, myself,
};
use vioduct_transport::TransportConfig;

use crate::support::{Counter, Gate, Panic, SOON, find, name, pair, pair_over};

const FLOOD: u64 = 5000;

#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Drop")]
struct Raindrop(u64);

/// Sends many messages to an actor that it is told of, and ends.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Flood")]
struct Flood {
    whom: ActorRef<Collector>,
}

struct Cloud;

impl Actor for Cloud {
    type Context = Context<Self>;
}

impl Handler<Flood> for Cloud {
    type Result = ();

    fn handle(&mut self, Flood { whom }: Flood, ctx: &mut Self::Context) {
        let rain = async move {
            for number in 0..FLOOD {
                whom.tell(Raindrop(number)).await.unwrap();
            }
        };
        let rain = actix::fut::ActorFutureExt::map(rain.into_actor(self), |(), _cloud, ctx| {
            Context::stop(ctx);
        });
        ctx.spawn(rain);
    }
}

/// Watches an actor, and notes what comes before the notice and after.
struct Collector {
    drops: u64,
    notes: watch::Sender<Vec<(u64, EndReason)>>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Observe(ActorRef<Cloud>);

impl Actor for Collector {
    type Context = Context<Self>;
}

impl Handler<Observe> for Collector {
    type Result = ();

    fn handle(&mut self, Observe(cloud): Observe, _ctx: &mut Self::Context) {
        myself::<Self>().unwrap().watch(&cloud);
    }
}

impl Handler<Raindrop> for Collector {
    type Result = ();

    fn handle(&mut self, Raindrop(number): Raindrop, _ctx: &mut Self::Context) {
        assert_eq!(number, self.drops, "in order");
        self.drops += 1;
    }
}

impl Handler<Terminated> for Collector {
    type Result = ();

    fn handle(&mut self, Terminated { reason, .. }: Terminated, _ctx: &mut Self::Context) {
        self.notes.send_modify(|notes| notes.push((self.drops, reason)));
    }
}

async fn collector(node: &Node) -> (LocalRef<Collector>, watch::Receiver<Vec<(u64, EndReason)>>) {
    let (notes, seen) = watch::channel(Vec::new());
    let builder = node.actor(move || Collector { drops: 0, notes: notes.clone() });
    let handle = builder.accept::<Raindrop>(Access::nodes()).start().await.unwrap();
    (handle.now().unwrap(), seen)
}

async fn cloud(node: &Node) -> ActorHandle<Cloud> {
    let builder = node.actor(|| Cloud).named(name("cloud"));
    builder.accept::<Flood>(Access::nodes()).start().await.unwrap()
}

#[tokio::test]
async fn a_notice_comes_after_all_that_the_ended_actor_had_sent_from_here_and_from_there() {
    let (a, b) = pair().await;
    for node in [&a, &b] {
        let handle = cloud(&b).await;
        let (collector, mut notes) = collector(node).await;
        let cloud: ActorRef<Cloud> = find(node, &b, "cloud").await;
        collector.ask(Observe(cloud.clone()), SOON).await.unwrap();
        cloud.tell(Flood { whom: collector.actor_ref() }).await.unwrap();
        let told = timeout(SOON, notes.wait_for(|notes| !notes.is_empty())).await.unwrap();
        assert_eq!(*told.unwrap(), [(FLOOD, EndReason::Stopped)]);
        handle.stop().await;
    }
}

async fn fragile(node: &Node) {
    let gate = Gate::new();
    let builder = node.actor(move || Counter::new(&gate)).named(name("fragile"));
    builder.accept::<Panic>(Access::nodes()).start().await.unwrap();
}

#[tokio::test]
async fn who_waits_for_the_end_of_an_actor_is_told_why_and_at_once_when_it_is_over() {
    let (a, b) = pair().await;
    fragile(&b).await;
    let fragile: ActorRef<Counter> = find(&a, &b, "fragile").await;
    let waiting = {
        let fragile = fragile.clone();
        tokio::spawn(async move { fragile.ended().await })
    };
    fragile.tell(Panic).await.unwrap();
    let end = timeout(SOON, waiting).await.unwrap().unwrap();
    assert_eq!(end, EndReason::Panicked("asked to".to_owned()));
    assert_eq!(timeout(SOON, fragile.ended()).await, Ok(EndReason::Gone));
}

#[tokio::test]
async fn watchers_are_told_of_a_node_that_is_gone() {
    let quick = TransportConfig {
        keep_alive: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(800),
        unreachable_after: Duration::from_millis(500),
        ..TransportConfig::default()
    };
    let (a, b) = pair_over(quick).await;
    fragile(&b).await;
    let fragile: ActorRef<Counter> = find(&a, &b, "fragile").await;
    let waiting = tokio::spawn(async move { fragile.ended().await });
    tokio::task::yield_now().await;
    // Its threads end where they stand: nothing is closed in order.
    drop(b);
    assert_eq!(timeout(SOON, waiting).await.unwrap().unwrap(), EndReason::NodeDown);
}
