//! What a node shows of itself.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;
use std::time::Duration;

use actix::{Actor, Context, Handler, MessageResult};
use bytes::Bytes;
use rustls_pki_types::UnixTime;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::Roles;
use vioduct_runtime::inspect::{
    self, ActorFigures, AskFigures, ExportFigures, Inspect, Inspection, LinkPhase, Mark, Page,
    PeerKind, RefusalFigures,
};
use vioduct_runtime::{
    Access, ActorHandle, ActorRef, AskError, GroupName, Node, NotDelivered, RestartPolicy,
    StartError,
};
use vioduct_transport::{Flow, TransportConfig};

use crate::support::{
    Add, Block, Counter, Gate, Panic, Pass, SOON, WhoAmI, find, name, pair, pair_over,
};

/// Polls it once.
fn is_pending(future: &mut Pin<Box<impl Future>>) -> bool {
    let mut nobody = std::task::Context::from_waker(Waker::noop());
    future.as_mut().poll(&mut nobody).is_pending()
}

async fn counter(on: &Node, gate: &Gate) -> ActorHandle<Counter> {
    let gate = gate.clone();
    let builder = on.actor(move || Counter::new(&gate)).named(name("counter")).capacity(4);
    let builder = builder.in_group(GroupName::new("counters").unwrap());
    let builder = builder.accept::<Add>(Access::nodes()).accept::<Pass>(Access::nodes());
    let quick = RestartPolicy { backoff_min: Duration::from_millis(1), ..RestartPolicy::default() };
    builder.accept::<Panic>(Access::tools()).restart(quick).start().await.unwrap()
}

fn the_counter(node: &Node) -> ActorFigures {
    let is_it = |actor: &ActorFigures| actor.name == Some(name("counter"));
    node.inspect().actors.into_iter().find(is_it).unwrap()
}

#[tokio::test]
async fn an_actor_shows_what_waits_what_was_handled_and_what_was_refused() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let here = counter(&b, &gate).await.now().unwrap();
    let there: ActorRef<Counter> = find(&a, &b, "counter").await;
    for sum in 1..=3 {
        assert_eq!(there.ask(Add(1), SOON).await, Ok(sum));
    }
    there.ask(WhoAmI, SOON).await.unwrap_err();
    assert_eq!(here.ask(Add(1), SOON).await, Ok(4));
    here.tell(Block).await.unwrap();
    Gate::wait(&gate.begun, 5).await;
    // Its asker is gone before it is handled.
    assert!(is_pending(&mut Box::pin(here.ask(Add(1), SOON))));
    for _place in 0..3 {
        here.try_tell(Add(1)).unwrap();
    }
    here.try_tell(Add(1)).unwrap_err();

    let export = |message: &str, access: &str| ExportFigures {
        message: message.to_owned(),
        version: 1,
        access: access.to_owned(),
    };
    let blocked = ActorFigures {
        serial: here.id().serial,
        name: Some(name("counter")),
        type_name: "nodes::support::Counter".to_owned(),
        worker: 0,
        waiting: 4,
        capacity: 4,
        capacity_used: 4,
        window_bytes: 4 << 20,
        handled: 5,
        passed_over: 0,
        answered: 4,
        refused_full: 1,
        refused_access: 1,
        restarts: 0,
        parent: None,
        children: 0,
        groups: vec![GroupName::new("counters").unwrap()],
        exports: vec![
            export("test.Add", "nodes"),
            export("test.Pass", "nodes"),
            export("test.Panic", "tools"),
        ],
    };
    assert_eq!(the_counter(&b), blocked);
    gate.passes.add_permits(1);
    Gate::wait(&gate.begun, 8).await;
    let done = ActorFigures { waiting: 0, capacity_used: 0, handled: 8, passed_over: 1, ..blocked };
    assert_eq!(the_counter(&b), done);
    gate.passes.add_permits(1);
    assert_eq!(there.ask(Pass(1), SOON).await, Ok(1));
    // Its turn is over once the next one is handled.
    here.ask(Add(1), SOON).await.unwrap();
    assert_eq!(the_counter(&b).answered, 6);

    let asks = AskFigures { answered: 4, not_sent: 1, ..AskFigures::default() };
    assert_eq!(a.inspect().peers[0].asks, asks);
    let refused = RefusalFigures { bind_not_exported: 1, ..RefusalFigures::default() };
    assert_eq!(b.inspect().peers[0].refused, refused);
}

#[tokio::test]
async fn a_peer_shows_its_link_its_asks_and_what_is_under_way() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let here = counter(&b, &gate).await.now().unwrap();
    let there: ActorRef<Counter> = find(&a, &b, "counter").await;
    {
        let mut asked = std::pin::pin!(there.ask(Pass(1), SOON));
        tokio::select! {
            biased;
            _early = &mut asked => panic!("answered before it may be"),
            () = Gate::wait(&gate.begun, 1) => {}
        }
        let (of_a, of_b) = (a.inspect(), b.inspect());
        let (to_b, to_a) = (&of_a.peers[0], &of_b.peers[0]);
        assert_eq!((to_b.kind, to_b.link.phase), (PeerKind::Node, LinkPhase::Up));
        assert_eq!(to_b.incarnation, Some(b.incarnation()));
        assert_eq!((to_b.asks.in_flight, to_b.outlets, to_b.outlets_with_credit), (1, 1, 1));
        assert!((1..4 << 20).contains(&to_b.credit_bytes), "{to_b:?}");
        assert_eq!((to_a.inlets, to_a.outlets), (1, 0));
        assert!((64..256).contains(&to_a.inlet_bytes), "{to_a:?}");
    }
    Gate::wait(&gate.ended, 1).await;
    let cancelled = AskFigures { cancelled: 1, ..AskFigures::default() };
    assert_eq!(a.inspect().peers[0].asks, cancelled);
    here.tell(Block).await.unwrap();
    Gate::wait(&gate.begun, 2).await;
    there.ask(Pass(2), Duration::ZERO).await.unwrap_err();
    let late = AskFigures { late: 1, ..cancelled };
    assert_eq!(a.inspect().peers[0].asks, late);
}

#[tokio::test]
async fn a_sender_that_waits_for_credit_is_seen() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let blocked = gate.clone();
    let builder = b.actor(move || Counter::new(&blocked)).named(name("counter")).window(4096);
    let handle = builder.accept::<Add>(Access::nodes()).start().await.unwrap();
    handle.now().unwrap().tell(Block).await.unwrap();
    Gate::wait(&gate.begun, 1).await;
    let there: ActorRef<Counter> = find(&a, &b, "counter").await;
    there.tell(Add(1)).await.unwrap();
    let waits = loop {
        let mut tell = Box::pin(there.tell(Add(1)));
        if is_pending(&mut tell) {
            break tell;
        }
    };
    let here = a.inspect();
    assert_eq!((here.peers[0].senders_waiting, here.peers[0].outlets), (1, 1));
    drop(waits);
    assert_eq!(a.inspect().peers[0].senders_waiting, 0);
}

#[tokio::test]
async fn what_is_no_message_is_counted() {
    let (a, b) = pair().await;
    let link = a.endpoint().link(b.name()).unwrap();
    link.send(Flow::Pair(1), &[99], &Bytes::new()).await.unwrap();
    let counted = async {
        while b.inspect().totals.malformed == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, counted).await.unwrap();
    assert_eq!(b.inspect().peers[0].malformed, 1);
}

#[tokio::test]
async fn a_restarted_actor_shows_its_restarts_and_its_type_keeps_the_counts_of_earlier_lives() {
    let (_a, b) = pair().await;
    let gate = Gate::new();
    let handle = counter(&b, &gate).await;
    let first = handle.now().unwrap();
    first.ask(Add(1), SOON).await.unwrap();
    first.ask(Panic, SOON).await.unwrap_err();
    let second = handle.life_after(Some(&first)).await.unwrap();
    second.ask(Add(1), SOON).await.unwrap();
    second.ask(Add(1), SOON).await.unwrap();
    let figures = the_counter(&b);
    assert_eq!((figures.restarts, figures.handled, figures.answered), (1, 2, 2));
    let Inspection { totals, types, workers, .. } = b.inspect();
    assert_eq!((totals.failures, totals.restarts, totals.given_up), (1, 1, 0));
    assert_eq!((totals.actors, totals.lives), (1, 2));
    assert_eq!(workers, [1, 0]);
    let [ref of_type] = types[..] else { panic!("one type: {types:?}") };
    assert_eq!((of_type.actors, of_type.lives), (1, 2));
    assert_eq!((of_type.handled, of_type.answered), (4, 3));
}

#[tokio::test]
async fn another_node_reads_all_of_it_in_pages_that_fit_a_head() {
    let config = TransportConfig { head_bytes_max: 8 << 10, ..TransportConfig::default() };
    let (a, b) = pair_over(config).await;
    let gate = Gate::new();
    for number in 0..100 {
        let gate = gate.clone();
        let long = name(&format!("{number:0>100}"));
        let builder = b.actor(move || Counter::new(&gate)).named(long);
        builder.accept::<Add>(Access::nodes()).start().await.unwrap();
    }
    inspect::start(&b, Access::nodes()).await.unwrap();
    let first = inspect::ask(&a, b.name(), Page::default(), SOON).await.unwrap();
    assert!((5..60).contains(&first.actors.len()), "{}", first.actors.len());
    assert!(first.next.is_some());
    let whole = inspect::ask_all(&a, b.name(), SOON).await.unwrap();
    let here = b.inspect();
    let serials = |of: &Inspection| of.actors.iter().map(|it| it.serial).collect::<Vec<_>>();
    assert_eq!(serials(&whole), serials(&here));
    assert_eq!((whole.actors.len(), whole.peers.len(), whole.next), (101, 1, None));
    assert_eq!(whole.types.iter().map(|it| it.actors).sum::<u64>(), 101);
    let few = Page { entries_max: 2, ..Page::default() };
    let few = inspect::ask(&a, b.name(), few, SOON).await.unwrap();
    assert_eq!(serials(&few), serials(&here)[..2]);
}

#[tokio::test]
async fn only_those_that_the_node_lets_are_told() {
    let mut ca = DevCa::new("test", UnixTime::now()).unwrap();
    let seen = Node::builder(Arc::new(ca.node("seen", Roles::none()).unwrap())).workers(1);
    let seen = seen.start().await.unwrap();
    let mut askers = Vec::new();
    for credentials in [ca.node("other", Roles::none()).unwrap(), ca.tool("tool").unwrap()] {
        let asker = Node::builder(Arc::new(credentials)).workers(1).start().await.unwrap();
        asker.connect(seen.name().clone(), seen.local_addr().unwrap()).await.unwrap();
        askers.push(asker);
    }
    let [other, tool] = &askers[..] else { unreachable!() };
    let ask = |from| inspect::ask(from, seen.name(), Page::default(), SOON);
    let nobody =
        |asked| matches!(asked, Err(AskError::NotDelivered(NotDelivered::NoSuchActor { .. })));
    assert!(nobody(ask(tool).await));
    inspect::start(&seen, Access::tools()).await.unwrap();
    let twice = inspect::start(&seen, Access::nodes()).await.unwrap_err();
    assert_eq!(twice, StartError::NameTaken(name(inspect::NAME)));
    let denied =
        |asked| matches!(asked, Err(AskError::NotDelivered(NotDelivered::AccessDenied { .. })));
    assert!(denied(ask(other).await));
    let told = ask(tool).await.unwrap();
    assert_eq!(told.actors[0].exports[0].access, "tools");
    let kinds: Vec<_> = told.peers.iter().map(|peer| peer.kind).collect();
    assert!(kinds.contains(&PeerKind::Tool) && kinds.contains(&PeerKind::Node), "{kinds:?}");
}

/// Says that there is always one page more, and from the third on the same.
struct Endless {
    inspection: Inspection,
    asked: Arc<AtomicU32>,
}

impl Actor for Endless {
    type Context = Context<Self>;
}

impl Handler<Inspect> for Endless {
    type Result = MessageResult<Inspect>;

    fn handle(&mut self, Inspect { page }: Inspect, _ctx: &mut Self::Context) -> Self::Result {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let after = match page.after {
            Some(Mark::Actor(serial)) => (serial + 1).min(3),
            _first => 1,
        };
        let next = Some(Page { after: Some(Mark::Actor(after)), ..page });
        MessageResult(Inspection { next, ..self.inspection.clone() })
    }
}

#[tokio::test]
async fn a_node_that_gives_the_same_page_for_ever_is_not_asked_for_ever() {
    let (a, b) = pair().await;
    let (inspection, asked) = (b.inspect(), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&asked);
    let make = move || Endless { inspection: inspection.clone(), asked: Arc::clone(&counted) };
    let endless = b.actor(make).named(name(inspect::NAME));
    endless.accept::<Inspect>(Access::nodes()).start().await.unwrap();
    inspect::ask_all(&a, b.name(), SOON).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}
