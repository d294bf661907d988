//! A slow actor slows its senders, and nobody else.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use vioduct_runtime::{Access, ActorRef, NotDelivered};

use crate::support::{Add, Block, Counter, Echo, Gate, SOON, find, name, pair};

const WINDOW: u32 = 64 << 10;
const BODY: usize = 8 << 10;

#[tokio::test]
async fn a_blocked_actor_takes_a_window_from_a_node_and_its_neighbour_goes_on() {
    let (a, b) = pair().await;
    let gates = [Gate::new(), Gate::new()];
    for (actor, gate) in ["slow", "quick"].into_iter().zip(&gates) {
        let gate = gate.clone();
        let builder = b.actor(move || Counter::new(&gate)).named(name(actor)).on_worker(0);
        let builder = builder.window(WINDOW).accept::<Block>(Access::nodes());
        builder
            .accept::<Add>(Access::nodes())
            .accept::<Echo>(Access::nodes())
            .start()
            .await
            .unwrap();
    }
    let slow: ActorRef<Counter> = find(&a, &b, "slow").await;
    let quick: ActorRef<Counter> = find(&a, &b, "quick").await;
    slow.tell(Block).await.unwrap();
    Gate::wait(&gates[0].begun, 1).await;
    let body = Bytes::from(vec![0; BODY]);
    let mut taken = 0;
    let pause = Duration::from_millis(300);
    while timeout(pause, slow.tell(Echo { body: body.clone() })).await.is_ok() {
        taken += 1;
    }
    assert_eq!(taken, WINDOW as usize / (BODY + 128), "what the window has room for");
    let full = slow.try_tell(Echo { body }).unwrap_err();
    assert_eq!(full.reason, NotDelivered::Full { actor: slow.id().clone() });
    for number in 1..=100 {
        assert_eq!(quick.ask(Add(1), SOON).await, Ok(number));
    }
    gates[0].passes.add_permits(1);
    assert_eq!(slow.ask(Add(1), SOON).await, Ok(1));
    for _more in 0..100 {
        slow.tell(Echo { body: Bytes::from(vec![0; BODY]) }).await.unwrap();
    }
}

#[tokio::test]
async fn a_blocked_actor_takes_its_capacity_from_its_own_node() {
    let (_a, b) = pair().await;
    let gate = Gate::new();
    let seen = gate.clone();
    let builder = b.actor(move || Counter::new(&gate)).capacity(3);
    let handle = builder.start().await.unwrap();
    let counter = handle.now().unwrap();
    counter.tell(Block).await.unwrap();
    Gate::wait(&seen.begun, 1).await;
    for _place in 0..3 {
        counter.try_tell(Add(1)).unwrap();
    }
    let full = counter.try_tell(Add(1)).unwrap_err();
    assert_eq!(full.reason, NotDelivered::Full { actor: counter.id().clone() });
    assert_eq!(full.message, Add(1));
    seen.passes.add_permits(1);
    assert_eq!(counter.ask(Add(1), SOON).await, Ok(4));
}
