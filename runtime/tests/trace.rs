//! One request through three nodes, as a subscriber sees it.
#![expect(clippy::unwrap_used, reason = "its actors and nodes belong to the tests")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, ResponseFuture};
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context as LayerContext, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::Roles;
use vioduct_runtime::trace::{self, RequestId};
use vioduct_runtime::{
    Access, ActorName, ActorRef, AskError, Cancellable, Node, NotDelivered, RemoteMessage,
};
use vioduct_transport::TransportConfig;

const SOON: Duration = Duration::from_secs(10);

/// Fields of the spans around an event, by span and field.
type Scope = BTreeMap<String, String>;

/// What was logged by handlers: the text, and in which spans.
type Seen = Arc<Mutex<Vec<(String, Scope)>>>;

static SEEN: LazyLock<Seen> = LazyLock::new(|| {
    let seen: Arc<Mutex<Vec<_>>> = Arc::default();
    let subscriber = tracing_subscriber::registry().with(Recorder(Arc::clone(&seen)));
    tracing::subscriber::set_global_default(subscriber).unwrap();
    seen
});

struct Recorder(Arc<Mutex<Vec<(String, Scope)>>>);

struct Fields(Vec<(&'static str, String)>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}").trim_matches('"').to_owned()));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: LayerContext<'_, S>) {
        let mut fields = Fields(Vec::new());
        attrs.record(&mut fields);
        ctx.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_event(&self, event: &Event<'_>, ctx: LayerContext<'_, S>) {
        if event.metadata().target() != module_path!() {
            return;
        }
        let mut scope = Scope::new();
        for span in ctx.event_scope(event).into_iter().flatten() {
            for (field, value) in &span.extensions().get::<Fields>().unwrap().0 {
                scope.insert(format!("{}.{field}", span.name()), value.clone());
            }
        }
        let mut fields = Fields(Vec::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push((fields.0.remove(0).1, scope));
    }
}

/// Goes on to the next one; gives for which request it was handled at each.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Vec<String>")]
#[remote(name = "test.Hop")]
struct Hop;

/// The same, with actix's own future.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Vec<String>")]
#[remote(name = "test.Carry")]
struct Carry;

#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Long")]
struct Long(Vec<u8>);

struct Relay {
    next: Option<ActorRef<Self>>,
}

impl Actor for Relay {
    type Context = Context<Self>;
}

fn request() -> String {
    trace::current().map_or_else(|| "none".to_owned(), |id| id.to_string())
}

impl Relay {
    fn hop<M>(&self, message: M) -> impl Future<Output = Vec<String>> + use<M>
    where
        Self: Handler<M>,
        M: RemoteMessage<Result = Vec<String>>,
    {
        tracing::info!("begun");
        let (next, here) = (self.next.clone(), request());
        async move {
            let mut requests = vec![here];
            if let Some(next) = next {
                requests.extend(next.ask(message, SOON).await.unwrap());
            }
            tracing::info!("done");
            requests
        }
    }
}

impl Handler<Hop> for Relay {
    type Result = Cancellable<Vec<String>>;

    fn handle(&mut self, hop: Hop, _ctx: &mut Self::Context) -> Self::Result {
        Cancellable::new(self.hop(hop))
    }
}

impl Handler<Carry> for Relay {
    type Result = ResponseFuture<Vec<String>>;

    fn handle(&mut self, carry: Carry, _ctx: &mut Self::Context) -> Self::Result {
        Box::pin(trace::carry(self.hop(carry)))
    }
}

impl Handler<Long> for Relay {
    type Result = ();

    fn handle(&mut self, Long(bytes): Long, _ctx: &mut Self::Context) {
        drop(bytes);
    }
}

async fn node(ca: &mut DevCa, name: &str, head_bytes_max: u32) -> Node {
    let credentials = Arc::new(ca.node(name, Roles::none()).unwrap());
    let config = TransportConfig { head_bytes_max, ..TransportConfig::default() };
    Node::builder(credentials).workers(1).transport(config).start().await.unwrap()
}

/// Starts the node's relay, which goes on to the one that is named.
async fn relay(on: &Node, next: Option<&Node>) -> ActorRef<Relay> {
    let name = ActorName::new("relay").unwrap();
    let next: Option<ActorRef<Relay>> = match next {
        Some(next) => {
            on.connect(next.name().clone(), next.local_addr().unwrap()).await.unwrap();
            Some(on.lookup(next.name(), &name).await.unwrap())
        }
        None => None,
    };
    let builder = on.actor(move || Relay { next: next.clone() }).named(name.clone());
    let builder = builder.accept::<Hop>(Access::nodes()).accept::<Carry>(Access::nodes());
    builder.accept::<Long>(Access::nodes()).start().await.unwrap();
    on.lookup(on.name(), &name).await.unwrap()
}

/// What was seen of one request: text, node, actor, message and its sender.
fn of_request(id: RequestId) -> Vec<[String; 5]> {
    let seen = SEEN.lock().unwrap();
    let of_it =
        seen.iter().filter(|(_text, scope)| scope.get("message.request") == Some(&id.to_string()));
    let field = |scope: &Scope, field: &str| scope.get(field).cloned().unwrap_or_default();
    of_it
        .map(|(text, scope)| {
            let [node, actor] = ["node.name", "actor.name"].map(|it| field(scope, it));
            let [name, from] = ["message.name", "message.from"].map(|it| field(scope, it));
            [text.clone(), node, actor, name, from]
        })
        .collect()
}

#[tokio::test]
async fn a_request_through_three_nodes_has_one_id_in_all_of_them() {
    LazyLock::force(&SEEN);
    let mut ca = DevCa::new("test", UnixTime::now()).unwrap();
    let a = node(&mut ca, "a", 64 << 10).await;
    let b = node(&mut ca, "b", 64 << 10).await;
    let c = node(&mut ca, "c", 64 << 10).await;
    relay(&c, None).await;
    relay(&b, Some(&c)).await;
    let first = relay(&a, Some(&b)).await;
    let (one, other) = (RequestId::random(), RequestId::random());
    // Both at once: neither takes the other's.
    let hop = trace::with_id(one, first.ask(Hop, SOON));
    let carry = trace::with_id(other, first.ask(Carry, SOON));
    let (hop, carry) = tokio::join!(hop, carry);
    assert_eq!(hop.unwrap(), vec![one.to_string(); 3]);
    assert_eq!(carry.unwrap(), vec![other.to_string(); 3]);
    for (id, name) in [(one, "test.Hop"), (other, "test.Carry")] {
        let local = format!("trace::{}", name.trim_start_matches("test."));
        let line = |text: &str, node: &str, name: &str, from: &str| {
            [text, node, "relay", name, from].map(ToOwned::to_owned)
        };
        let there_and_back = [
            line("begun", "a", &local, ""),
            line("begun", "b", name, "a"),
            line("begun", "c", name, "b"),
            line("done", "c", name, "b"),
            line("done", "b", name, "a"),
            line("done", "a", &local, ""),
        ];
        assert_eq!(of_request(id), there_and_back);
    }
}

#[tokio::test]
async fn what_no_request_asked_for_has_no_id() {
    LazyLock::force(&SEEN);
    let mut ca = DevCa::new("test", UnixTime::now()).unwrap();
    let (a, b) = (node(&mut ca, "d", 64 << 10).await, node(&mut ca, "e", 64 << 10).await);
    relay(&b, None).await;
    let first = relay(&a, Some(&b)).await;
    let with_id = trace::with_id(RequestId::random(), first.ask(Hop, SOON));
    let (_with, without) = tokio::join!(with_id, first.ask(Hop, SOON));
    assert_eq!(without.unwrap(), ["none", "none"]);
    assert_eq!(trace::current(), None);
}

#[tokio::test]
async fn an_id_never_makes_a_message_too_long() {
    let mut ca = DevCa::new("test", UnixTime::now()).unwrap();
    let (a, b) = (node(&mut ca, "f", 1024).await, node(&mut ca, "g", 1024).await);
    relay(&b, None).await;
    a.connect(b.name().clone(), b.local_addr().unwrap()).await.unwrap();
    let there: ActorRef<Relay> =
        a.lookup(b.name(), &ActorName::new("relay").unwrap()).await.unwrap();
    let mut fit = 0;
    for bytes in 980..1030 {
        let long = || Long(vec![7; bytes]);
        let without = there.ask(long(), SOON).await;
        let with = trace::with_id(RequestId::random(), there.ask(long(), SOON)).await;
        let too_large = |asked: &Result<(), AskError>| {
            matches!(asked, Err(AskError::NotDelivered(NotDelivered::TooLarge { .. })))
        };
        assert!(without == Ok(()) || too_large(&without), "{without:?}");
        assert_eq!((with == Ok(()), too_large(&with)), (without == Ok(()), too_large(&without)));
        fit += usize::from(with == Ok(()));
    }
    assert!((10..40).contains(&fit), "{fit}");
}
