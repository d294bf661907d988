//! Fifty nodes in one process, over real sockets: they find each other, one dies, all are told.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use vioduct_certs::UnixTime;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::Roles;
use vioduct_runtime::membership::{MemberState, MembershipConfig, Seed};
use vioduct_runtime::{Access, ActorRef, ClusterConfig, ClusterView, Node};
use vioduct_tests::sleeper::{Count, Sleeper};

use crate::support::{BOUND, name};

const NODES: usize = 50;
const PERIOD: Duration = Duration::from_secs(1);
/// From a kill until everybody knows, as issue 3 asks of the simulated cluster.
const PERIODS_MAX: u32 = 25;

async fn start_all() -> Vec<Node> {
    let mut ca = DevCa::new("mesh", UnixTime::now()).unwrap();
    let (mut nodes, mut seeds) = (Vec::new(), Vec::new());
    for number in 0..NODES {
        let credentials = Arc::new(ca.node(&format!("n{number:02}"), Roles::none()).unwrap());
        let membership = MembershipConfig { probe_period: PERIOD, ..MembershipConfig::default() };
        let config = ClusterConfig { seeds: seeds.clone(), membership, ..ClusterConfig::default() };
        let node = Node::builder(credentials).workers(1).cluster(config).start().await.unwrap();
        if seeds.len() < 3 {
            seeds.push(Seed { node: node.name().clone(), addr: node.local_addr().unwrap() });
        }
        nodes.push(node);
    }
    nodes
}

fn count(view: &ClusterView, wanted: MemberState) -> usize {
    view.members.iter().filter(|(_member, state)| *state == wanted).count()
}

async fn all_see(nodes: &[Node], alive: usize, down: usize) {
    for node in nodes {
        let so = |view: &ClusterView| {
            (count(view, MemberState::Alive), count(view, MemberState::Down)) == (alive, down)
        };
        timeout(BOUND, node.cluster_is(so)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_nodes_find_each_other_and_all_learn_of_a_death() {
    let began = Instant::now();
    let mut nodes = start_all().await;
    all_see(&nodes, NODES - 1, 0).await;
    let joined = began.elapsed();

    let last = nodes.last().unwrap();
    let sleeper = last.actor(Sleeper::default).named(name("sleeper"));
    sleeper.accept::<Count>(Access::nodes()).start().await.unwrap();
    for (count, node) in (1..).zip(&nodes) {
        let found: ActorRef<Sleeper> = node.find_within(&name("sleeper"), BOUND).await.unwrap();
        assert_eq!(found.ask(Count, BOUND).await, Ok(count));
    }

    let killed = Instant::now();
    drop(nodes.pop());
    all_see(&nodes, NODES - 2, 1).await;
    let known = killed.elapsed();
    eprintln!("all know all after {joined:?}, and of a death after {known:?}");
    assert!(known < PERIODS_MAX * PERIOD, "{known:?}");
    assert!(nodes.iter().all(|node| node.find::<Sleeper>(&name("sleeper")).is_none()));

    let left = nodes.pop().unwrap();
    left.shutdown(Duration::ZERO).await;
    all_see(&nodes, NODES - 3, 2).await;
}
