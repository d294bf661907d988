//! Members that can't reach each other, and reach each other by a third one.

mod door;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, interval, sleep_until, timeout};
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::Roles;
use vioduct_runtime::membership::{MemberEvent, MemberState, MembershipConfig, Seed};
use vioduct_runtime::relay::{self, OpenRelay, Relay, RelayConfig, RelayError, RelayRefusal};
use vioduct_runtime::{
    Access, ActorRef, AskError, ClusterConfig, Node, NotDelivered, RemoteMessage, StartError,
};
use vioduct_transport::TransportConfig;

use self::door::Door;
use crate::support::{SOON, find};

/// Slow enough for a busy machine that a link is lost only when its way is cut.
const LONG: Duration = Duration::from_secs(40);

/// The next number, of numbers in a row.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Note")]
struct Note(u64);

/// How many notes there were, and how many were not the next one.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "(u64, u64)")]
#[remote(name = "test.Noted")]
struct Noted;

#[derive(Debug, Default)]
struct Notes {
    last: u64,
    out_of_order: u64,
    count: u64,
}

impl Actor for Notes {
    type Context = Context<Self>;
}

impl Handler<Note> for Notes {
    type Result = ();

    fn handle(&mut self, Note(number): Note, _ctx: &mut Self::Context) {
        self.count += 1;
        self.out_of_order += u64::from(number != self.last + 1);
        self.last = number;
    }
}

impl Handler<Noted> for Notes {
    type Result = actix::MessageResult<Noted>;

    fn handle(&mut self, _noted: Noted, _ctx: &mut Self::Context) -> Self::Result {
        actix::MessageResult((self.count, self.out_of_order))
    }
}

/// Nodes of one cluster, each behind a door of its own.
struct Site {
    ca: DevCa,
    seeds: Vec<Seed>,
}

/// The link to a member that has just come may be dialled more than once on a busy machine.
async fn are_linked(node: &Node, other: &Node) {
    let mut looks = interval(Duration::from_millis(20));
    let notes = crate::support::name("notes");
    while node.lookup::<Notes>(other.name(), &notes).await.is_err() {
        looks.tick().await;
    }
}

fn config(after: Option<u64>, carried_max: u16) -> RelayConfig {
    RelayConfig { after: after.map(Duration::from_millis), carried_max }
}

impl Site {
    fn new() -> Self {
        Self { ca: DevCa::new("test", UnixTime::now()).unwrap(), seeds: Vec::new() }
    }

    async fn node(&mut self, name: &str) -> (Node, Door) {
        let ms = Duration::from_millis;
        let membership = MembershipConfig {
            probe_period: ms(400),
            probe_rtt: ms(150),
            gossip_period: ms(50),
            join_period: ms(100),
            ..MembershipConfig::default()
        };
        let transport = TransportConfig {
            keep_alive: ms(400),
            idle_timeout: ms(1500),
            handshake_timeout: ms(2500),
            backoff_max: ms(500),
            ..TransportConfig::default()
        };
        let door = Door::new().await;
        let (seeds, advertise) = (self.seeds.clone(), Some(door.addr));
        let cluster = ClusterConfig { seeds, advertise, membership };
        let credentials = Arc::new(self.ca.node(name, Roles::none()).unwrap());
        let builder = Node::builder(credentials).workers(1).transport(transport).cluster(cluster);
        let node = builder.start().await.unwrap();
        door.leads_to(node.local_addr().unwrap());
        self.seeds.push(Seed { node: node.name().clone(), addr: door.addr });
        let notes = node.actor(Notes::default).named(crate::support::name("notes"));
        let notes = notes.accept::<Note>(Access::nodes()).accept::<Noted>(Access::nodes());
        notes.start().await.unwrap();
        (node, door)
    }

    /// Nodes that all know each other, in the order of `names`.
    async fn nodes<const N: usize>(&mut self, names: [&str; N]) -> [(Node, Door); N] {
        let mut nodes = Vec::new();
        for name in names {
            nodes.push(self.node(name).await);
        }
        for (node, _door) in &nodes {
            let others = node.cluster_is(|view| view.members.len() == N - 1);
            timeout(SOON, others).await.unwrap();
            for (other, _door) in nodes.iter().filter(|(other, _)| other.name() != node.name()) {
                timeout(SOON, are_linked(node, other)).await.unwrap();
            }
        }
        nodes.try_into().unwrap()
    }
}

/// Cuts the way between two nodes, or heals it.
fn part((one, its_door): &(Node, Door), (other, others_door): &(Node, Door), is_cut: bool) {
    others_door.shut(one.local_addr().unwrap(), is_cut);
    its_door.shut(other.local_addr().unwrap(), is_cut);
}

/// Whether the link between the two, as who dialled it sees it, goes by the other's door.
fn is_direct((one, its_door): &(Node, Door), (other, others_door): &(Node, Door)) -> bool {
    let addr = |node: &Node, of: &Node| node.endpoint().link(of.name()).and_then(|it| it.addr());
    addr(one, other) == Some(others_door.addr) || addr(other, one) == Some(its_door.addr)
}

async fn becomes(what: impl Fn() -> bool) {
    let become_so = async {
        while !what() {
            sleep_until(Instant::now() + Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, become_so).await.unwrap();
}

/// Asks until an answer comes; how long it took.
async fn answered(notes: &ActorRef<Notes>) -> Duration {
    let began = Instant::now();
    let answered = async {
        while let Err(error) = notes.ask(Noted, SOON).await {
            let is_of_the_link = matches!(
                error,
                AskError::MaybeDelivered(_)
                    | AskError::NotDelivered(
                        NotDelivered::Unreachable { .. } | NotDelivered::Lost { .. }
                    )
            );
            assert!(is_of_the_link, "{error}");
        }
    };
    timeout(LONG, answered).await.unwrap();
    began.elapsed()
}

/// Tells and asks without an end; stops at the first that fails.
async fn talk(notes: ActorRef<Notes>, told: Arc<AtomicU64>, is_over: Arc<AtomicBool>) {
    while !is_over.load(Ordering::Relaxed) {
        let next = told.fetch_add(1, Ordering::Relaxed) + 1;
        notes.tell(Note(next)).await.unwrap();
        if next.is_multiple_of(16) {
            assert_eq!(notes.ask(Noted, SOON).await, Ok((next, 0)));
            sleep_until(Instant::now() + Duration::from_millis(2)).await;
        }
    }
}

fn stay_members(nodes: &[&Node]) {
    for node in nodes {
        let view = node.cluster().unwrap();
        let are_alive = view.members.iter().all(|(_, state)| *state != MemberState::Down);
        assert!(are_alive && view.members.len() == nodes.len() - 1, "{node:?} sees {view:?}");
    }
}

/// `names` are the two that are cut off from each other; the first one asks.
async fn goes_by_a_third(names: [&str; 2]) {
    let [x, y] = names;
    let mut site = Site::new();
    let [b, x, y] = site.nodes(["b", x, y]).await;
    for (node, _door) in [&b, &x, &y] {
        relay::start(node, config(Some(300), 64)).await.unwrap();
    }
    let mut events = x.0.member_events().unwrap();
    let notes: ActorRef<Notes> = find(&x.0, &y.0, "notes").await;
    assert_eq!(notes.ask(Noted, SOON).await, Ok((0, 0)));
    assert!(is_direct(&x, &y));

    part(&x, &y, true);
    let took = answered(&notes).await;
    assert!(took < SOON, "it took {took:?}");
    assert!(!is_direct(&x, &y));

    let (told, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let talking = tokio::spawn(talk(notes.clone(), Arc::clone(&told), Arc::clone(&is_over)));
    let quiet = Instant::now() + Duration::from_secs(3);
    becomes(|| Instant::now() > quiet && told.load(Ordering::Relaxed) > 1000).await;
    assert!(!is_direct(&x, &y));

    part(&x, &y, false);
    becomes(|| is_direct(&x, &y)).await;
    let so_far = told.load(Ordering::Relaxed);
    becomes(|| told.load(Ordering::Relaxed) > so_far + 500).await;
    is_over.store(true, Ordering::Relaxed);
    timeout(LONG, talking).await.unwrap().unwrap();
    let told = told.load(Ordering::Relaxed);
    assert_eq!(notes.ask(Noted, SOON).await, Ok((told, 0)));
    stay_members(&[&b.0, &x.0, &y.0]);
    while let Ok(event) = timeout(Duration::ZERO, events.next()).await {
        let event = event.unwrap();
        let is_end = matches!(event, MemberEvent::Down { .. } | MemberEvent::Returned { .. });
        assert!(!is_end, "{event:?}");
    }
}

#[tokio::test]
async fn who_dials_in_vain_goes_by_a_third_and_directly_again_and_loses_nothing_by_it() {
    goes_by_a_third(["a", "d"]).await;
}

#[tokio::test]
async fn who_waits_to_be_dialled_in_vain_goes_by_a_third_too() {
    goes_by_a_third(["d", "a"]).await;
}

#[tokio::test]
async fn when_who_relays_dies_another_one_does() {
    let mut site = Site::new();
    let [a, b, c, d] = site.nodes(["a", "b", "c", "d"]).await;
    for (node, _door) in [&a, &b, &d] {
        relay::start(node, config(Some(300), 64)).await.unwrap();
    }
    let notes: ActorRef<Notes> = find(&a.0, &d.0, "notes").await;
    part(&a, &d, true);
    answered(&notes).await;
    // Nobody but b could.
    relay::start(&c.0, config(Some(300), 64)).await.unwrap();
    assert!(!is_direct(&a, &d));
    drop(b);
    let first = || a.0.endpoint().link(d.0.name()).and_then(|link| link.addr());
    let by_b = first();
    becomes(|| first().is_some_and(|addr| Some(addr) != by_b)).await;
    let took = answered(&notes).await;
    assert!(took < SOON, "it took {took:?}");
    assert!(!is_direct(&a, &d));
}

#[tokio::test]
async fn a_relay_is_for_nodes_alone_for_members_that_are_linked_and_for_so_many() {
    let mut site = Site::new();
    let [a, b, c, d] = site.nodes(["a", "b", "c", "d"]).await;
    relay::start(&b.0, config(None, 1)).await.unwrap();
    let [of_a, of_c]: [ActorRef<Relay>; 2] =
        [find(&a.0, &b.0, relay::NAME).await, find(&c.0, &b.0, relay::NAME).await];
    let open = async |relay: &ActorRef<Relay>, to: &str| {
        relay.ask(OpenRelay { to: to.parse().unwrap() }, SOON).await.unwrap()
    };
    let node = |name: &str| name.parse().unwrap();
    assert_eq!(open(&of_a, "a").await, Err(RelayRefusal::NotAThird { to: node("a") }));
    assert_eq!(open(&of_a, "b").await, Err(RelayRefusal::NotAThird { to: node("b") }));
    assert_eq!(open(&of_a, "x").await, Err(RelayRefusal::NoMember { node: node("x") }));
    let first = open(&of_a, "d").await.unwrap();
    let second = open(&of_a, "d").await.unwrap();
    assert_ne!(first, second, "it takes the place of the first one");
    for (relay, to) in [(&of_a, "c"), (&of_c, "d")] {
        assert_eq!(open(relay, to).await, Err(RelayRefusal::Full { limit: 1 }));
    }

    let by_b: ActorRef<Notes> = find(&b.0, &d.0, "notes").await;
    part(&b, &d, true);
    by_b.ask(Noted, SOON).await.unwrap_err();
    assert_eq!(open(&of_a, "d").await, Err(RelayRefusal::NoWay { node: node("d") }));
    stay_members(&[&a.0, &b.0, &c.0, &d.0]);

    let tool = Arc::new(site.ca.tool("admin").unwrap());
    let tool = Node::builder(tool).workers(1).start().await.unwrap();
    let outsider = Arc::new(site.ca.node("outsider", Roles::none()).unwrap());
    let outsider = Node::builder(outsider).workers(1).start().await.unwrap();
    for node in [&tool, &outsider] {
        node.connect(b.0.name().clone(), b.0.local_addr().unwrap()).await.unwrap();
    }
    let refused = find::<Relay>(&tool, &b.0, relay::NAME).await;
    let refused = refused.ask(OpenRelay { to: node("c") }, SOON).await;
    let denied = |error: &AskError| {
        matches!(error, AskError::NotDelivered(NotDelivered::AccessDenied { .. }))
    };
    assert!(refused.as_ref().is_err_and(denied), "{refused:?}");
    let refused = open(&find(&outsider, &b.0, relay::NAME).await, "c").await;
    assert_eq!(refused, Err(RelayRefusal::NoMember { node: node("outsider") }));
}

#[tokio::test]
async fn who_cannot_relay_is_told_why() {
    let mut site = Site::new();
    let (a, _door) = site.node("a").await;
    let soon = relay::start(&a, config(Some(99), 64)).await.unwrap_err();
    assert_eq!(soon.to_string(), "relay setting `after` is 99ms; it must be 100ms to 3600s");
    let many = relay::start(&a, config(None, 1025)).await.unwrap_err();
    assert_eq!(many.to_string(), "relay setting `carried_max` is 1025; it must be 0 to 1024");
    relay::start(&a, config(None, 0)).await.unwrap();
    let twice = relay::start(&a, config(None, 0)).await;
    assert!(matches!(twice, Err(RelayError::Start(StartError::NameTaken { .. }))));
    let alone = Arc::new(site.ca.node("alone", Roles::none()).unwrap());
    let alone = Node::builder(alone).workers(1).start().await.unwrap();
    let refused = relay::start(&alone, RelayConfig::default()).await;
    assert!(matches!(refused, Err(RelayError::NoMember)));
}
