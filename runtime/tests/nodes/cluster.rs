//! Nodes that find each other, and tell who is gone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls_pki_types::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::{NodeName, Roles};
use vioduct_runtime::inspect::{self, ClusterFigures, Mark, MemberFigures, Page};
use vioduct_runtime::membership::{
    DownReason, ExpelReason, Member, MemberEvent, MemberState, MembershipConfig, Seed,
};
use vioduct_runtime::{
    Access, ActorHandle, ActorRef, AskError, ClusterConfig, ClusterView, EndReason, GroupName,
    MemberEvents, Node, NodeError, NotDelivered, Standing,
};

use crate::support::{Add, Counter, Gate, SOON, name};

/// A cluster's certificates, and nodes that join through the first.
struct Site {
    ca: DevCa,
    first: Option<Seed>,
}

/// Quick enough for a test, and slow enough for a busy machine.
fn quick() -> MembershipConfig {
    let ms = Duration::from_millis;
    MembershipConfig {
        probe_period: ms(200),
        probe_rtt: ms(90),
        gossip_period: ms(50),
        join_period: ms(100),
        ..MembershipConfig::default()
    }
}

impl Site {
    fn new() -> Self {
        Self { ca: DevCa::new("test", UnixTime::now()).unwrap(), first: None }
    }

    fn credentials(&mut self, node: &str) -> Arc<Credentials> {
        Arc::new(self.ca.node(node, Roles::none()).unwrap())
    }

    async fn node(&mut self, name: &str) -> Node {
        let credentials = self.credentials(name);
        self.start(credentials, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    async fn start(&mut self, credentials: Arc<Credentials>, addr: SocketAddr) -> Node {
        let seeds = self.first.iter().cloned().collect();
        let config = ClusterConfig { seeds, membership: quick(), ..ClusterConfig::default() };
        let builder = Node::builder(credentials).workers(1).listen(addr).cluster(config);
        let node = builder.start().await.unwrap();
        let seed = || Seed { node: node.name().clone(), addr: node.local_addr().unwrap() };
        self.first.get_or_insert_with(seed);
        node
    }
}

fn states(view: &ClusterView) -> Vec<(String, MemberState)> {
    view.members.iter().map(|(member, state)| (member.node.to_string(), *state)).collect()
}

fn alive(names: &[&str]) -> Vec<(String, MemberState)> {
    names.iter().map(|name| ((*name).to_owned(), MemberState::Alive)).collect()
}

async fn sees(node: &Node, members: &[&str]) {
    let wanted = alive(members);
    let seen = node.cluster_is(|view| states(view) == wanted);
    tokio::time::timeout(SOON, seen).await.unwrap_or_else(|_late| {
        panic!("{node:?} sees {:?}, not {wanted:?}", node.cluster().map(|view| states(&view)))
    });
}

async fn counter(node: &Node, named: &str, group: Option<&str>) -> ActorHandle<Counter> {
    let gate = Gate::new();
    let mut builder = node.actor(move || Counter::new(&gate)).named(name(named));
    if let Some(group) = group {
        builder = builder.in_group(GroupName::new(group).unwrap());
    }
    builder.accept::<Add>(Access::nodes()).start().await.unwrap()
}

/// Waits for an event that fits, among others.
async fn told<T>(events: &mut MemberEvents, fits: impl Fn(MemberEvent) -> Option<T>) -> T {
    let fitting = async {
        loop {
            if let Some(fitting) = fits(events.next().await.unwrap()) {
                return fitting;
            }
        }
    };
    tokio::time::timeout(SOON, fitting).await.unwrap()
}

async fn told_of_the_end(events: &mut MemberEvents, of: &NodeName) -> (u64, DownReason) {
    told(events, |event| match event {
        MemberEvent::Down { node, incarnation, reason } if node == *of => {
            Some((incarnation, reason))
        }
        _other => None,
    })
    .await
}

#[tokio::test]
async fn nodes_find_each_other_through_one_seed_and_names_reach_all_of_them() {
    let mut site = Site::new();
    let (a, b, c) = (site.node("a").await, site.node("b").await, site.node("c").await);
    sees(&a, &["b", "c"]).await;
    sees(&b, &["a", "c"]).await;
    sees(&c, &["a", "b"]).await;
    let handle = counter(&b, "bank", None).await;
    for node in [&a, &b, &c] {
        let bank: ActorRef<Counter> = node.find_within(&name("bank"), SOON).await.unwrap();
        assert_eq!(bank.id(), handle.now().unwrap().id());
        assert!(bank.ask(Add(1), SOON).await.is_ok());
    }
    let found = c.find_within::<Counter>(&name("clerk"), Duration::from_millis(1)).await;
    assert_eq!(found, Err(NotDelivered::NoSuchName { name: name("clerk") }));
}

#[tokio::test]
async fn a_name_goes_with_its_actor_and_comes_back_with_its_next_life() {
    let mut site = Site::new();
    let (a, b) = (site.node("a").await, site.node("b").await);
    let handle = counter(&b, "bank", None).await;
    let first: ActorRef<Counter> = a.find_within(&name("bank"), SOON).await.unwrap();
    handle.now().unwrap().fail("asked to");
    let second = async {
        loop {
            let found: ActorRef<Counter> = a.find_within(&name("bank"), SOON).await.unwrap();
            if found != first {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    let second = tokio::time::timeout(SOON, second).await.unwrap();
    assert_eq!(second.ask(Add(5), SOON).await, Ok(5));
    handle.stop().await;
    let gone = async {
        while a.find::<Counter>(&name("bank")).is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, gone).await.unwrap();
}

#[tokio::test]
async fn a_node_that_dies_is_declared_down_and_what_it_held_is_gone_everywhere() {
    let mut site = Site::new();
    let (a, b, c) = (site.node("a").await, site.node("b").await, site.node("c").await);
    sees(&a, &["b", "c"]).await;
    sees(&b, &["a", "c"]).await;
    let mut events = a.member_events().unwrap();
    counter(&c, "bank", Some("banks")).await;
    let bank: ActorRef<Counter> = a.find_within(&name("bank"), SOON).await.unwrap();
    assert_eq!(bank.ask(Add(1), SOON).await, Ok(1));
    let (dead, incarnation) = (c.name().clone(), c.incarnation());
    let watched = bank.clone();
    let ended = tokio::spawn(async move { watched.ended().await });
    drop(c);
    assert_eq!(told_of_the_end(&mut events, &dead).await, (incarnation, DownReason::Failed));
    assert_eq!(tokio::time::timeout(SOON, ended).await.unwrap().unwrap(), EndReason::NodeDown);
    assert_eq!(a.find::<Counter>(&name("bank")), None);
    let group = a.group::<Counter>(GroupName::new("banks").unwrap());
    assert!(group.members().is_empty() && group.next().is_none());
    let refused = bank.ask(Add(1), SOON).await;
    // Its link is given up at the same time.
    let Err(AskError::NotDelivered(reason)) = refused else { panic!("{refused:?}") };
    let is_off = matches!(reason, NotDelivered::Unreachable { .. } | NotDelivered::Lost { .. });
    assert!(is_off, "{reason}");
    let down = |view: &ClusterView| {
        states(view) == [("a".to_owned(), MemberState::Alive), ("c".to_owned(), MemberState::Down)]
    };
    tokio::time::timeout(SOON, b.cluster_is(down)).await.unwrap();
}

#[tokio::test]
async fn a_node_that_returns_is_a_new_incarnation_and_old_references_say_so() {
    let mut site = Site::new();
    let (a, b) = (site.node("a").await, site.node("b").await);
    counter(&b, "bank", None).await;
    let old: ActorRef<Counter> = a.find_within(&name("bank"), SOON).await.unwrap();
    let mut events = a.member_events().unwrap();
    let (was, addr, credentials) =
        (b.incarnation(), b.local_addr().unwrap(), b.endpoint().credentials());
    b.shutdown(SOON).await;
    drop(b);
    assert_eq!(told_of_the_end(&mut events, &old.id().node).await, (was, DownReason::Left));
    let b = site.start(credentials, addr).await;
    let returned = told(&mut events, |event| match event {
        MemberEvent::Returned { member, old } => Some((member.incarnation, old)),
        _other => None,
    });
    assert_eq!(returned.await, (b.incarnation(), was));
    counter(&b, "bank", None).await;
    let new: ActorRef<Counter> = a.find_within(&name("bank"), SOON).await.unwrap();
    assert_eq!(new.ask(Add(9), SOON).await, Ok(9));
    let anew = NotDelivered::Restarted { node: b.name().clone(), was };
    assert_eq!(old.ask(Add(1), SOON).await, Err(AskError::NotDelivered(anew)));
    assert_eq!(old.ended().await, EndReason::NodeDown);
}

fn figures(node: &Node) -> ClusterFigures {
    node.inspect().cluster.unwrap()
}

#[tokio::test]
async fn an_inspection_shows_the_cluster_with_those_that_are_down() {
    let mut site = Site::new();
    let (a, b, c) = (site.node("a").await, site.node("b").await, site.node("c").await);
    sees(&a, &["b", "c"]).await;
    sees(&b, &["a", "c"]).await;
    counter(&c, "bank", Some("banks")).await;
    a.find_within::<Counter>(&name("bank"), SOON).await.unwrap();
    inspect::start(&a, Access::nodes()).await.unwrap();
    let here = a.inspect();
    let of_peers = here.peers.iter().map(|peer| (peer.name.as_str(), peer.listed));
    assert_eq!(of_peers.collect::<std::collections::BTreeMap<_, _>>(), [("b", 0), ("c", 1)].into());
    assert_eq!(here.totals.listed, 1);
    let ClusterFigures { standing, alive, suspect, down, .. } = figures(&a);
    assert_eq!((standing, alive, suspect, down), (Standing::Member, 2, 0, 0));
    let [_b, of_c] = &here.members[..] else { panic!("two others: {here:?}") };
    let addr = c.local_addr().unwrap();
    let member =
        Member { node: c.name().clone(), incarnation: c.incarnation(), addr, roles: Roles::none() };
    assert_eq!(*of_c, MemberFigures { member, state: MemberState::Alive });

    let one = |after| Page { after, entries_max: 1 };
    let (mut page, mut marks) = (one(None), Vec::new());
    while let Some(next) = inspect::ask(&b, a.name(), page, SOON).await.unwrap().next {
        marks.push(next.after.clone().unwrap());
        page = one(next.after);
    }
    let actor = Mark::Actor(here.actors[0].serial);
    let [one, other] = [0, 1].map(|at| Mark::Peer(here.peers[at].number));
    assert_eq!(marks, [actor, one, other, Mark::Member(b.name().clone())]);
    assert_eq!(inspect::ask_all(&b, a.name(), SOON).await.unwrap().members, here.members);

    b.endpoint().link(a.name()).unwrap().send_datagram(Bytes::from_static(b"?")).unwrap();
    drop(c);
    let seen = async {
        while figures(&a).dropped.malformed == 0 || figures(&a).down == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, seen).await.unwrap();
    assert_eq!((figures(&a).alive, a.inspect().members[1].state), (1, MemberState::Down));
}

#[tokio::test]
async fn a_run_that_was_replaced_by_a_later_one_is_expelled() {
    let mut site = Site::new();
    let (a, b) = (site.node("a").await, site.node("b").await);
    sees(&a, &["b"]).await;
    let later = site.start(b.endpoint().credentials(), SocketAddr::from(([127, 0, 0, 1], 0))).await;
    let by = later.incarnation();
    let expelled = b.cluster_is(|view| view.standing != Standing::Member);
    let view = tokio::time::timeout(SOON, expelled).await.unwrap();
    let superseded = Standing::Expelled(ExpelReason::Superseded { by });
    let declared_down = Standing::Expelled(ExpelReason::DeclaredDown);
    assert!(view.standing == superseded || view.standing == declared_down, "{view:?}");
    sees(&a, &["b"]).await;
    assert_eq!(a.cluster().unwrap().members[0].0.incarnation, by);
}

#[tokio::test]
async fn who_cannot_be_a_member_is_told_why() {
    let mut site = Site::new();
    let tool = Arc::new(site.ca.tool("admin").unwrap());
    let refused = Node::builder(tool).cluster(ClusterConfig::default()).start().await;
    assert!(matches!(refused, Err(NodeError::ToolAsMember)));
    let anywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let node = Node::builder(site.credentials("a")).listen(anywhere);
    let refused = node.cluster(ClusterConfig::default()).start().await;
    assert!(matches!(refused, Err(NodeError::Advertise(addr)) if addr.ip().is_unspecified()));
    let membership = MembershipConfig { members_max: 1, ..MembershipConfig::default() };
    let config = ClusterConfig { membership, ..ClusterConfig::default() };
    let refused = Node::builder(site.credentials("a")).cluster(config).start().await;
    assert!(matches!(refused, Err(NodeError::Membership(error)) if error.field == "members_max"));
}

#[tokio::test]
async fn a_group_takes_turns_tells_all_and_gives_each_key_to_one_member() {
    let mut site = Site::new();
    let (a, b, c) = (site.node("a").await, site.node("b").await, site.node("c").await);
    for (node, actor) in [(&a, "one"), (&b, "two"), (&c, "three")] {
        counter(node, actor, Some("banks")).await;
    }
    let group_of = |node: &Node| node.group::<Counter>(GroupName::new("banks").unwrap());
    let (at_a, at_b, at_c) = (group_of(&a), group_of(&b), group_of(&c));
    let all = async { tokio::join!(at_a.grown_to(3), at_b.grown_to(3), at_c.grown_to(3)) };
    tokio::time::timeout(SOON, all).await.unwrap();

    let group = at_a;
    let turns: Vec<_> = (0..6).map(|_turn| group.next().unwrap().id().node.to_string()).collect();
    assert_eq!(turns, ["a", "b", "c", "a", "b", "c"]);

    let told = group.broadcast(Add(3)).await;
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|(_actor, told)| told.is_ok()), "{told:?}");
    let sums = group.ask_all(Add(0), SOON).await;
    assert!(sums.iter().all(|(_actor, sum)| *sum == Ok(3)), "{sums:?}");

    let owners = |group: &vioduct_runtime::Group<Counter>| -> Vec<String> {
        let owner = |key: u32| group.owner_of(&key.to_le_bytes()).unwrap().id().node.to_string();
        (0..300).map(owner).collect()
    };
    let before = owners(&group);
    assert_eq!(before, owners(&at_b));
    for node in ["a", "b", "c"] {
        let share = before.iter().filter(|owner| *owner == node).count();
        assert!((60..140).contains(&share), "{node} has {share} of 300 keys");
    }
    c.shutdown(SOON).await;
    let shrunk = async {
        while group.members().len() > 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, shrunk).await.unwrap();
    let after = owners(&group);
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
    assert!(moved.map(|(before, _after)| before).all(|owner| owner == "c"));
}
