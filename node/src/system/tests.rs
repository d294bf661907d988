//! A node with its system actors and a tool that asks them, over loopback in one process.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::task::LocalSet;
use tokio::time::timeout;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::{NodeName, Roles};
use vioduct_certs::inventory::NodeAddr;
use vioduct_runtime::AskError;

use super::*;
use crate::reload::TrustState;
use crate::status::{LinkCondition, SCHEMA};
use crate::tool::{Target, Tool, ToolError};
use crate::troubles::Troubles;

/// Longer than anything a passing test waits for.
const BOUND: Duration = Duration::from_secs(20);

fn node_name() -> NodeName {
    "n1".parse().unwrap()
}

fn ca() -> DevCa {
    DevCa::new("test", UnixTime::now()).unwrap()
}

/// Starts node n1 in its run 7.
async fn start_node(ca: &mut DevCa) -> (Node, Arc<Reporter>) {
    let troubles = Arc::<Troubles>::default();
    let builder = Node::builder(Arc::new(ca.node("n1", Roles::all()).unwrap())).workers(2);
    let listener = Arc::<Troubles>::clone(&troubles);
    let node = builder.incarnation(7).link_listener(listener).start().await.unwrap();
    let trust = Arc::new(Mutex::new(TrustState::default()));
    let reporter = Arc::new(Reporter::new(&node, trust, troubles));
    start(&node, Arc::clone(&reporter)).await.unwrap();
    (node, reporter)
}

async fn target(tool: &Tool, node: &Node) -> Target {
    let addr: NodeAddr = node.local_addr().unwrap().to_string().parse().unwrap();
    tool.connect(node_name(), &addr).await.unwrap()
}

struct Scene {
    node: Node,
    reporter: Arc<Reporter>,
    credentials: Credentials,
    target: Target,
    _tool: Tool,
}

/// Runs a test on a local set, with a node and a tool.
async fn with_scene(test: impl AsyncFnOnce(Scene)) {
    let scene = async {
        let mut ca = ca();
        let (node, reporter) = start_node(&mut ca).await;
        let credentials = ca.tool("tool").unwrap();
        let tool = Tool::new(credentials.clone()).unwrap();
        let target = target(&tool, &node).await;
        test(Scene { node, reporter, credentials, target, _tool: tool }).await;
    };
    timeout(BOUND, LocalSet::new().run_until(scene)).await.unwrap();
}

#[tokio::test]
async fn many_echoes_at_once_each_get_their_own_body_and_a_turn() {
    with_scene(async |scene| {
        let echo = scene.target.actor::<EchoActor>(ECHO);
        let asked = (0_u32..500).map(|number| {
            let body = Bytes::copy_from_slice(&number.to_le_bytes());
            async { (body.clone(), echo.ask(Echo { body }, BOUND).await.unwrap()) }
        });
        let mut turns = Vec::new();
        for (sent, Echoed { turn, body }) in join_all(asked).await {
            assert_eq!(sent, body);
            turns.push(turn);
        }
        turns.sort_unstable();
        let expected: Vec<Turn> = (1..=500).map(|number| Turn { run: 7, number }).collect();
        assert_eq!(turns, expected);
        let counts = scene.reporter.status(UnixTime::now()).service;
        assert_eq!(counts, ServiceCounts { echoes: 500, ..ServiceCounts::default() });
    })
    .await;
}

#[tokio::test]
async fn a_status_tells_the_node_and_the_link_it_was_asked_on() {
    with_scene(async |scene| {
        let status = scene.target.status(BOUND).await.unwrap();
        assert_eq!((status.schema, status.incarnation, status.node), (SCHEMA, 7, node_name()));
        let serial = scene.node.endpoint().credentials().serial();
        assert_eq!(status.trust.leaf.serial, serial);
        let [link] = status.links.as_slice() else { panic!("one link: {:?}", status.links) };
        assert_eq!((link.peer.as_str(), link.state), ("tool", LinkCondition::Up));
        let connection = link.connection.as_ref().unwrap();
        assert_eq!(connection.serial, scene.credentials.serial());
    })
    .await;
}

#[tokio::test]
async fn what_is_told_is_counted_before_a_later_query() {
    with_scene(async |scene| {
        let sink = scene.target.actor::<SinkActor>(SINK);
        for sequence in [1, 2, 3, 3, 5] {
            let body = Bytes::from_static(b"body");
            sink.tell(Sink { series: 9, sequence, body }, BOUND).await.unwrap();
        }
        let count = sink.ask(SinkQuery { series: 9 }, BOUND).await.unwrap();
        assert_eq!(count, SinkCount { received: 5, out_of_order: 1 });
        let unknown = sink.ask(SinkQuery { series: 8 }, BOUND).await.unwrap();
        assert_eq!(unknown, SinkCount::default());
    })
    .await;
}

#[tokio::test]
async fn an_actor_is_found_again_when_the_node_runs_anew() {
    let scene = async {
        let mut ca = ca();
        let (node, reporter) = start_node(&mut ca).await;
        let tool = Tool::new(ca.tool("tool").unwrap()).unwrap();
        let target = target(&tool, &node).await;
        let echo = target.find::<EchoActor>(ECHO, BOUND).await.unwrap();
        let ask = async || echo.ask(Echo { body: Bytes::new() }, BOUND).await;
        assert_eq!(ask().await.unwrap().turn, Turn { run: 7, number: 1 });
        let (addr, credentials) = (node.local_addr().unwrap(), node.endpoint().credentials());
        node.shutdown(Duration::ZERO).await;
        // It holds the socket, too.
        drop((node, reporter));
        let builder = Node::builder(credentials).workers(1).incarnation(8).listen(addr);
        let node = builder.start().await.unwrap();
        let counts = Arc::<Counts>::default();
        let echo = node.actor(move || EchoActor::new(8, Arc::clone(&counts))).named(name(ECHO));
        echo.accept::<Echo>(Access::tools()).start().await.unwrap();
        let turn = loop {
            match ask().await {
                Ok(Echoed { turn, .. }) => break turn,
                // The old run's end, until it is known.
                Err(AskError::NotDelivered(_) | AskError::MaybeDelivered(_)) => {}
            }
        };
        assert_eq!(turn, Turn { run: 8, number: 1 });
    };
    timeout(BOUND, LocalSet::new().run_until(scene)).await.unwrap();
}

#[tokio::test]
async fn a_tool_that_is_turned_down_is_told_at_once() {
    let scene = async {
        let (node, reporter) = start_node(&mut ca()).await;
        let tool = Tool::new(ca().tool("tool").unwrap()).unwrap();
        let error = target(&tool, &node).await.status(BOUND).await.unwrap_err();
        assert!(matches!(error, ToolError::TurnedDown(_)), "{error}");
        assert!(reporter.status(UnixTime::now()).links.is_empty());
    };
    timeout(BOUND, LocalSet::new().run_until(scene)).await.unwrap();
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_named_with_the_time() {
    let scene = async {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let tool = Tool::new(ca().tool("tool").unwrap()).unwrap();
        let addr: NodeAddr = silent.local_addr().unwrap().to_string().parse().unwrap();
        let target = tool.connect(node_name(), &addr).await.unwrap();
        let error = target.status(Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.to_string(), "no answer from n1 within 50 ms");
    };
    timeout(BOUND, LocalSet::new().run_until(scene)).await.unwrap();
}

#[test]
fn a_node_is_no_tool() {
    let error = Tool::new(ca().node("n2", Roles::none()).unwrap()).unwrap_err();
    assert!(error.to_string().contains("vioduct ca issue --tool"), "{error}");
}
