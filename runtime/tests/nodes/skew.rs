//! Two builds that mean different things by one message.

use actix::Message;
use serde::{Deserialize, Serialize};
use vioduct_runtime::message::MessageType;
use vioduct_runtime::{Accepts, Access, ActorRef, AskError, NotDelivered, RemoteMessage, Skew};

use crate::support::{Add, Counter, Echo, Gate, SOON, find, name, pair};

/// What another build calls [`Add`].
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "test.Add")]
struct AddSigned(i64);

/// What the other build knows of the actor.
struct Protocol;

impl Accepts<AddSigned> for Protocol {}

impl Accepts<Echo> for Protocol {}

#[tokio::test]
async fn a_changed_message_is_refused_with_both_fingerprints_and_the_others_go_on() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let builder = b.actor(move || Counter::new(&gate)).named(name("counter"));
    let builder = builder.accept::<Add>(Access::nodes()).accept::<Echo>(Access::nodes());
    let handle = builder.start().await.unwrap();
    let counter: ActorRef<Protocol> = find(&a, &b, "counter").await;
    let skew = Skew {
        message: "test.Add",
        version: 1,
        here: MessageType::of::<AddSigned>().fingerprint,
        there: MessageType::of::<Add>().fingerprint,
        node: b.name().clone(),
    };
    assert_ne!(skew.here, skew.there);
    let refused = NotDelivered::Skew(Box::new(skew));
    for _again in 0..2 {
        let asked = counter.ask(AddSigned(-1), SOON).await;
        assert_eq!(asked, Err(AskError::NotDelivered(refused.clone())));
    }
    counter.ask(Echo { body: "as before".into() }, SOON).await.unwrap();
    assert_eq!(handle.now().unwrap().ask(Add(0), SOON).await, Ok(0), "nothing was added");
}
