//! Asks and tells between nodes, and what their errors say.

use std::future::Future;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use vioduct_runtime::{
    Access, ActorRef, AskError, Cancellable, Codec, Doubt, Node, NotDelivered, RemoteMessage,
};

use crate::support::{
    Add, Block, Counter, Echo, Gate, Panic, Pass, SOON, WhoAmI, find, name, pair,
};

async fn counter(node: &Node, gate: &Gate) -> vioduct_runtime::ActorHandle<Counter> {
    let gate = gate.clone();
    let builder = node.actor(move || Counter::new(&gate)).named(name("counter"));
    let builder = builder
        .accept::<Add>(Access::nodes())
        .accept::<Echo>(Access::nodes())
        .accept::<Pass>(Access::nodes())
        .accept::<Block>(Access::nodes())
        .accept::<Panic>(Access::nodes())
        .accept::<WhoAmI>(Access::nodes());
    builder.start().await.unwrap()
}

#[tokio::test]
async fn an_actor_of_another_node_is_found_asked_and_told_as_one_of_this() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    counter(&b, &gate).await;
    for node in [&a, &b] {
        let counter: ActorRef<Counter> = find(node, &b, "counter").await;
        counter.tell(Add(1)).await.unwrap();
        assert_eq!(counter.ask(Add(1), SOON).await.unwrap() % 2, 0);
    }
    let from_a: ActorRef<Counter> = find(&a, &b, "counter").await;
    assert_eq!(from_a.ask(Add(0), SOON).await, Ok(4));
    assert_eq!(from_a.ask(WhoAmI, SOON).await, Ok(Some("a".to_owned())));
    let from_b: ActorRef<Counter> = find(&b, &b, "counter").await;
    assert_eq!(from_b.ask(WhoAmI, SOON).await, Ok(None));
    assert_eq!(from_a.id(), from_b.id());
}

#[tokio::test]
async fn a_body_comes_back_whole_inline_and_on_a_stream_of_its_own() {
    let (a, b) = pair().await;
    counter(&b, &Gate::new()).await;
    let counter: ActorRef<Counter> = find(&a, &b, "counter").await;
    for bytes in [0, 1, 4096, 300 << 10, 5 << 20] {
        let body = Bytes::from(vec![7; bytes]);
        let echoed = counter.ask(Echo { body: body.clone() }, SOON).await.unwrap();
        assert_eq!(echoed.body, body, "{bytes} bytes");
    }
    let body = Bytes::from(vec![7; 17 << 20]);
    let too_large = NotDelivered::TooLarge { bytes: 17 << 20, limit: 16 << 20 };
    let refused = counter.ask(Echo { body }, SOON).await.unwrap_err();
    assert_eq!(refused, AskError::NotDelivered(too_large));
}

#[tokio::test]
async fn two_nodes_that_encode_differently_understand_each_other() {
    let (a, b) = crate::support::pair_of_codecs(Codec::Bincode, Codec::Postcard).await;
    counter(&a, &Gate::new()).await;
    counter(&b, &Gate::new()).await;
    let (at_b, at_a): (ActorRef<Counter>, ActorRef<Counter>) =
        (find(&a, &b, "counter").await, find(&b, &a, "counter").await);
    assert_eq!(at_b.ask(Add(3), SOON).await, Ok(3));
    assert_eq!(at_a.ask(Add(4), SOON).await, Ok(4));
}

#[tokio::test]
async fn a_name_that_nobody_has_is_said_to_be_unknown() {
    let (a, b) = pair().await;
    let found = a.lookup::<Counter>(b.name(), &name("nobody")).await.unwrap_err();
    let expected = NotDelivered::NoSuchActor { node: b.name().clone(), name: name("nobody") };
    assert_eq!(found, expected);
    let here = a.lookup::<Counter>(a.name(), &name("nobody")).await.unwrap_err();
    let expected = NotDelivered::NoSuchActor { node: a.name().clone(), name: name("nobody") };
    assert_eq!(here, expected);
}

#[tokio::test]
async fn past_its_deadline_an_ask_ends_here_and_its_work_over_there() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    counter(&b, &gate).await;
    let counter: ActorRef<Counter> = find(&a, &b, "counter").await;
    let late = counter.ask(Pass(1), Duration::from_millis(200)).await;
    assert_eq!(late, Err(AskError::MaybeDelivered(Doubt::Late)));
    Gate::wait(&gate.ended, 1).await;
}

#[tokio::test]
async fn an_ask_that_nobody_waits_for_any_more_ends_its_work_over_there() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    counter(&b, &gate).await;
    let counter: ActorRef<Counter> = find(&a, &b, "counter").await;
    let asked = {
        let counter = counter.clone();
        tokio::spawn(async move { counter.ask(Pass(1), Duration::from_secs(3600)).await })
    };
    Gate::wait(&gate.begun, 1).await;
    asked.abort();
    Gate::wait(&gate.ended, 1).await;
    assert_eq!(counter.ask(Add(1), SOON).await, Ok(1), "the actor goes on");
}

#[tokio::test]
async fn an_ask_past_its_deadline_before_it_is_handled_is_not_handled() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    counter(&b, &gate).await;
    let counter: ActorRef<Counter> = find(&a, &b, "counter").await;
    counter.tell(Block).await.unwrap();
    Gate::wait(&gate.begun, 1).await;
    let late = counter.ask(Add(5), Duration::from_millis(100)).await;
    assert_eq!(late, Err(AskError::MaybeDelivered(Doubt::Late)));
    gate.passes.add_permits(1);
    assert_eq!(counter.ask(Add(1), SOON).await, Ok(1));
}

#[tokio::test]
async fn a_panic_leaves_its_own_ask_in_doubt_and_those_behind_it_not_delivered() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    counter(&b, &gate).await;
    for node in [&a, &b] {
        let counter: ActorRef<Counter> = find(node, &b, "counter").await;
        counter.tell(Block).await.unwrap();
        let (panics, behind) = (counter.ask(Panic, SOON), counter.ask(Add(1), SOON));
        let both = async { tokio::join!(biased; panics, behind) };
        let pass = async {
            Gate::wait(&gate.begun, 1).await;
            gate.begun.send_replace(0);
            gate.passes.add_permits(1);
        };
        let ((panicked, behind), ()) = tokio::join!(both, pass);
        assert_eq!(panicked, Err(AskError::MaybeDelivered(Doubt::Dropped)));
        let gone = NotDelivered::Gone { actor: counter.id().clone() };
        assert_eq!(behind, Err(AskError::NotDelivered(gone.clone())));
        assert_eq!(counter.ask(Add(1), SOON).await, Err(AskError::NotDelivered(gone)));
        // The next life has the name.
        while a.lookup::<Counter>(b.name(), &name("counter")).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}

/// Its work notes the number; that of an odd one does not end.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Note")]
struct Note(u64);

#[derive(Debug, Default)]
struct Notes {
    seen: watch::Sender<Vec<u64>>,
}

impl Actor for Notes {
    type Context = Context<Self>;
}

impl Handler<Note> for Notes {
    type Result = Cancellable<()>;

    fn handle(&mut self, Note(number): Note, _ctx: &mut Self::Context) -> Self::Result {
        let seen = self.seen.clone();
        Cancellable::new(async move {
            seen.send_modify(|seen| seen.push(number));
            if number % 2 == 1 {
                std::future::pending().await
            }
        })
    }
}

#[tokio::test]
async fn works_begin_in_the_order_of_their_messages_though_others_end_between() {
    let (a, b) = pair().await;
    let seen = watch::Sender::<Vec<u64>>::default();
    let theirs = seen.clone();
    let actor = b.actor(move || Notes { seen: theirs.clone() }).named(name("notes"));
    let actor = actor.accept::<Note>(Access::nodes()).start().await.unwrap();
    let (local, remote) = (actor.now().unwrap(), find::<Notes>(&a, &b, "notes").await);
    let order = [0, 2, 1, 4, 3, 5, 6, 8, 7, 9, 10];
    let asked = join_all(order.map(|number| local.ask(Note(number), SOON)));
    let asked_from_afar = join_all(order.map(|number| remote.ask(Note(number), SOON)));
    let mut watched = seen.subscribe();
    let mut all_of = async |asked: &mut (dyn Future<Output = ()> + Unpin)| {
        let done = watched.wait_for(|seen| seen.len() == order.len());
        tokio::select! {
            () = asked => panic!("odd ones do not end"),
            done = tokio::time::timeout(SOON, done) => drop(done.unwrap().unwrap()),
        }
        seen.send_replace(Vec::new())
    };
    assert_eq!(all_of(&mut Box::pin(asked.map(drop))).await, order);
    assert_eq!(all_of(&mut Box::pin(asked_from_afar.map(drop))).await, order);
}
