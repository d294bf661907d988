//! A node and a client of it over loopback, in one process.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use vioduct_certs::UnixTime;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::{NodeName, Roles};
use vioduct_transport::seam::Surroundings;
use vioduct_transport::{Endpoint, Fate, Flow, TransportConfig};

use super::*;
use crate::reload::TrustState;

/// Longer than anything a passing test waits for.
const BOUND: Duration = Duration::from_secs(20);

fn loopback() -> std::net::SocketAddr {
    std::net::SocketAddr::from(([127, 0, 0, 1], 0))
}

fn name() -> NodeName {
    "n1".parse().unwrap()
}

/// Starts node n1.
fn node(ca: &mut DevCa) -> (Arc<Service>, Endpoint) {
    let trust = Arc::new(Mutex::new(TrustState::default()));
    let service = Arc::new(Service::new(7, trust));
    let credentials = Arc::new(ca.node("n1", Roles::all()).unwrap());
    let config = TransportConfig::default();
    let surroundings = Surroundings::bind(loopback(), config.socket_buffer_bytes).unwrap();
    let inbound = Arc::<Service>::clone(&service);
    let endpoint = Endpoint::new(config, 7, credentials, surroundings, inbound).unwrap();
    service.set_endpoint(Some(endpoint.clone()));
    (service, endpoint)
}

fn client(ca: &mut DevCa, outstanding_max: usize) -> ServiceClient {
    let config = ClientConfig { bind: loopback(), outstanding_max, ..ClientConfig::default() };
    ServiceClient::start(Arc::new(ca.tool("tool").unwrap()), config).unwrap()
}

async fn pair(outstanding_max: usize) -> (Arc<Service>, Endpoint, ServiceClient, ServicePeer) {
    let mut ca = DevCa::new("test", UnixTime::now()).unwrap();
    let (service, endpoint) = node(&mut ca);
    let client = client(&mut ca, outstanding_max);
    let peer = client.connect(name(), endpoint.local_addr().unwrap()).await.unwrap();
    peer.up(BOUND).await.unwrap();
    (service, endpoint, client, peer)
}

#[tokio::test]
async fn many_echoes_at_once_each_get_their_own_body() {
    let (service, _endpoint, client, peer) = pair(1024).await;
    let mut asked = tokio::task::JoinSet::new();
    for number in 0_u32..500 {
        let peer = peer.clone();
        asked.spawn(async move {
            let flow = if number == 0 { Flow::Control } else { Flow::Pair(number) };
            let body = Bytes::copy_from_slice(&number.to_le_bytes());
            (body.clone(), peer.echo(flow, &body).await.unwrap())
        });
    }
    for (sent, received) in timeout(BOUND, asked.join_all()).await.unwrap() {
        assert_eq!(sent, received);
    }
    let status = service.status(UnixTime::now()).unwrap();
    assert_eq!(status.service, ServiceCounts { echoes: 500, ..ServiceCounts::default() });
    assert_eq!(client.strays(), 0);
}

#[tokio::test]
async fn a_status_tells_the_node_and_the_link_it_was_asked_on() {
    let (_service, endpoint, client, peer) = pair(16).await;
    let status = peer.status(BOUND).await.unwrap();
    assert_eq!((status.schema, status.incarnation, status.node.clone()), (SCHEMA, 7, name()));
    assert_eq!(status.trust.leaf.serial, endpoint.credentials().serial());
    let [link] = status.links.as_slice() else { panic!("one link: {status:?}") };
    assert_eq!((link.peer.as_str(), link.state), ("tool", LinkCondition::Up));
    let connection = link.connection.as_ref().unwrap();
    assert_eq!(connection.serial, client.endpoint().credentials().serial());
}

#[tokio::test]
async fn sink_messages_are_counted_before_a_later_query_of_their_flow() {
    let (_service, _endpoint, _client, peer) = pair(16).await;
    let flow = Flow::Pair(3);
    for sequence in [1, 2, 3, 3, 5] {
        peer.sink(flow, sequence, &Bytes::from_static(b"body")).await.unwrap();
    }
    let count = peer.sink_count(flow).await.unwrap();
    assert_eq!(count, SinkCount { received: 5, out_of_order: 1 });
}

#[tokio::test]
async fn hostile_messages_are_counted_and_dropped_and_the_link_lives_on() {
    let (service, _endpoint, _client, peer) = pair(16).await;
    let empty = Bytes::new();
    let reply = Head { kind: Kind::EchoReply, number: 1 }.encode();
    for head in [&b""[..], b"\x01", &[0; 9], &[8, 0, 0, 0, 0, 0, 0, 0, 0], &[1; 10], &reply] {
        peer.link().send(Flow::Pair(1), head, &empty).await.unwrap();
    }
    peer.echo(Flow::Pair(1), &empty).await.unwrap();
    let counts = service.status(UnixTime::now()).unwrap().service;
    assert_eq!((counts.malformed, counts.echoes), (6, 1));
}

#[tokio::test]
async fn the_error_says_what_is_known_of_a_question_without_an_answer() {
    let mut ca = DevCa::new("test", UnixTime::now()).unwrap();
    let client = client(&mut ca, 1);
    // Bound, and nobody answers.
    let silent = std::net::UdpSocket::bind(loopback()).unwrap();
    let peer = client.connect(name(), silent.local_addr().unwrap()).await.unwrap();
    let (short, empty) = (Duration::from_millis(50), Bytes::new());
    let ask = peer.ask(Flow::Pair(1), Request::Echo, &empty, short);
    let second = peer.ask(Flow::Pair(1), Request::Echo, &empty, short);
    let (first, second) = tokio::join!(ask, second);
    let error = first.unwrap_err();
    assert_eq!(error.to_string(), "no answer from n1 within 50 ms");
    assert_eq!(error.fate(), Some(Fate::MaybeDelivered));
    let error = second.unwrap_err();
    assert_eq!(error.to_string(), "1 questions to n1 wait for answers, the limit");
    assert_eq!(error.fate(), Some(Fate::NotDelivered));
    let error = peer.up(short).await.unwrap_err();
    assert_eq!((error.label(), error.fate()), ("deadline", Some(Fate::NotDelivered)));
}

#[tokio::test]
async fn a_client_that_is_turned_down_is_told_at_once() {
    let mut ca = DevCa::new("test", UnixTime::now()).unwrap();
    let (service, endpoint) = node(&mut ca);
    let mut foreign = DevCa::new("other", UnixTime::now()).unwrap();
    let client = client(&mut foreign, 1);
    let peer = client.connect(name(), endpoint.local_addr().unwrap()).await.unwrap();
    let error = peer.up(BOUND).await.unwrap_err();
    assert!(matches!(error, AskError::Turned(_)), "{error}");
    assert_eq!(error.fate(), Some(Fate::NotDelivered));
    assert!(service.status(UnixTime::now()).unwrap().links.is_empty());
}

#[tokio::test]
async fn a_node_that_has_closed_ends_the_questions_to_it() {
    let mut ca = DevCa::new("test", UnixTime::now()).unwrap();
    let (_service, endpoint) = node(&mut ca);
    let unreachable_after = Duration::from_millis(200);
    let transport = TransportConfig { unreachable_after, ..TransportConfig::default() };
    let config = ClientConfig { bind: loopback(), transport, ..ClientConfig::default() };
    let client = ServiceClient::start(Arc::new(ca.tool("tool").unwrap()), config).unwrap();
    let peer = client.connect(name(), endpoint.local_addr().unwrap()).await.unwrap();
    peer.up(BOUND).await.unwrap();
    endpoint.close().await;
    let answer = timeout(BOUND, peer.echo(Flow::Pair(1), &Bytes::new())).await.unwrap();
    // Long before the client's deadline; whether it was written depends on what it knew by then.
    let label = answer.unwrap_err().label();
    assert!(["not_delivered", "maybe_delivered", "refused"].contains(&label), "{label}");
}

#[tokio::test]
async fn a_node_is_no_tool() {
    let mut ca = DevCa::new("test", UnixTime::now()).unwrap();
    let credentials = Arc::new(ca.node("n2", Roles::default()).unwrap());
    let error = ServiceClient::start(credentials, ClientConfig::default()).unwrap_err();
    assert!(error.to_string().contains("vioduct ca issue --tool"), "{error}");
}
