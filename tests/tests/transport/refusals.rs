//! Bad certificates over real links: each is refused for its own reason, and nothing gets through.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::time_provider::TimeProvider;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::dev::{
    DevCa, ForgedUsage, Forgery, client_config_without_certificate, hybrid_only,
};
use vioduct_certs::identity::{Identity, Roles};
use vioduct_certs::refusal::RefusalSlot;
use vioduct_transport::seam::SystemClock;
use vioduct_transport::wire::ALPN;
use vioduct_transport::{DialError, Flow, LinkEvent, LinkState};

use crate::support::hostile::{Hostile, client, listener_with};
use crate::support::{Node, ca, node, now, within};

const DAY: Duration = Duration::from_secs(86_400);

/// Flaws that either side may have. No certificate and the wrong node have tests of their own.
const FLAWS: [&str; 7] = [
    "expired",
    "foreign_ca",
    "not_yet_valid",
    "revoked",
    "self_signed",
    "wrong_cluster",
    "wrong_usage",
];

/// What the holder of a bad certificate shows as n1.
fn bad(ca: &mut DevCa, flaw: &str) -> Credentials {
    let n1 = Identity::node("test".parse().unwrap(), "n1".parse().unwrap(), Roles::default());
    let moment = |from_now: Duration| UnixTime::since_unix_epoch(from_now);
    let today = Duration::from_secs(now().as_secs());
    let forgery = match flaw {
        "expired" => Forgery {
            not_before: Some(moment(today - 2 * DAY)),
            not_after: Some(moment(today - DAY)),
            ..Forgery::default()
        },
        "foreign_ca" => return ca.infiltrate(&mut self::ca(), &n1).unwrap(),
        "not_yet_valid" => Forgery { not_before: Some(moment(today + DAY)), ..Forgery::default() },
        "revoked" => {
            let credentials = ca.node("n1", Roles::default()).unwrap();
            ca.revoke(&credentials.serial()).unwrap();
            return credentials;
        }
        "self_signed" => Forgery { self_signed: true, ..Forgery::default() },
        "wrong_cluster" => {
            Forgery { uri: Some("spiffe://prod/node/n1/none".to_owned()), ..Forgery::default() }
        }
        "wrong_usage" => Forgery { usages: Some(ForgedUsage::CodeSigning), ..Forgery::default() },
        other => panic!("no such flaw: {other}"),
    };
    ca.forge(&n1, &forgery).unwrap()
}

/// The dialling side's first failure.
async fn dial_failed(node: &mut Node) -> DialError {
    node.event(|event| match event {
        LinkEvent::DialFailed { error } => Some(error),
        LinkEvent::Up { .. } => panic!("the link came up"),
        _other => None,
    })
    .await
}

/// Nothing of the other side was taken, and no link to it is up.
fn assert_untouched(node: &mut Node) {
    assert!(node.messages.try_recv().is_err(), "a message got through");
    assert!(node.datagrams.try_recv().is_err(), "a datagram got through");
    while let Ok((_peer, event)) = node.events.try_recv() {
        assert!(!matches!(event, LinkEvent::Up { .. }), "a link came up: {event:?}");
    }
    assert!(node.endpoint.links().iter().all(|link| !matches!(link.state(), LinkState::Up(_))));
}

#[tokio::test]
async fn a_bad_dialler_is_refused_for_its_own_reason() {
    for flaw in FLAWS {
        let mut ca = ca();
        let mut bad = Node::start(bad(&mut ca, flaw));
        let mut good = node(&mut ca, "n2");
        let link = bad.connect(&good).await;
        link.send(Flow::Pair(1), b"let me in", &Bytes::new()).await.unwrap();
        let (_addr, error) = within(good.refused.recv()).await.unwrap();
        assert!(matches!(error, DialError::Refused { .. }), "{flaw}: {error}");
        assert_eq!(error.label(), flaw, "{error}");
        let told = dial_failed(&mut bad).await;
        assert!(matches!(told, DialError::RefusedByPeer { .. }), "{flaw}: {told}");
        assert_untouched(&mut good);
        assert_untouched(&mut bad);
    }
}

#[tokio::test]
async fn a_bad_listener_is_refused_for_its_own_reason() {
    for flaw in FLAWS {
        let mut ca = ca();
        let mut bad = Node::start(bad(&mut ca, flaw));
        let mut good = node(&mut ca, "n2");
        let link = good.connect(&bad).await;
        link.send(Flow::Pair(1), b"a secret", &Bytes::new()).await.unwrap();
        let error = dial_failed(&mut good).await;
        assert!(matches!(error, DialError::Refused { .. }), "{flaw}: {error}");
        assert_eq!(error.label(), flaw, "{error}");
        assert_untouched(&mut good);
        assert_untouched(&mut bad);
    }
}

#[tokio::test]
async fn another_node_at_the_address_is_refused_by_name() {
    let mut ca = ca();
    let (mut one, mut two) = (node(&mut ca, "n1"), node(&mut ca, "n2"));
    one.endpoint.connect("n3".parse().unwrap(), two.addr).await.unwrap();
    let error = dial_failed(&mut one).await;
    assert_eq!(error.label(), "wrong_node", "{error}");
    let text = error.to_string();
    assert!(text.contains("n3") && text.contains("n2"), "both names: {text}");
    assert_untouched(&mut one);
    assert_untouched(&mut two);
}

#[tokio::test]
async fn a_dialler_without_certificate_is_refused() {
    let mut ca = ca();
    let mut good = node(&mut ca, "n1");
    let credentials = good.endpoint.credentials();
    let (clock, slot) = (Arc::new(SystemClock), RefusalSlot::default());
    let tls = client_config_without_certificate(&credentials, &[ALPN], clock, slot).unwrap();
    let nobody = Hostile::new(ca.node("n2", Roles::default()).unwrap());
    let name = credentials.identity().server_name();
    let dialled = nobody.endpoint.connect_with(client(tls), good.addr, &name).unwrap();
    // In TLS 1.3 the dialler may be through before the acceptor has looked.
    if let Ok(connection) = within(dialled).await {
        within(connection.closed()).await;
    }
    let (_addr, error) = within(good.refused.recv()).await.unwrap();
    assert_eq!(error.label(), "no_certificate", "{error}");
    assert_untouched(&mut good);
}

/// A peer that knows no other exchange than the hybrid one shakes hands with an endpoint, whichever
/// dials; both prefer it, so two endpoints agree on it.
#[tokio::test]
async fn endpoints_agree_on_the_hybrid_key_exchange() {
    let mut ca = ca();
    let one = node(&mut ca, "n1");
    let peer = Hostile::new(ca.node("n2", Roles::default()).unwrap());
    let clock: Arc<dyn TimeProvider> = Arc::new(SystemClock);
    let (dialler, acceptor) = hybrid_only(&peer.credentials, &[ALPN], clock).unwrap();

    let name = one.endpoint.credentials().identity().server_name();
    let dialled = peer.endpoint.connect_with(client(dialler), one.addr, &name).unwrap();
    within(dialled).await.unwrap();

    let listener = listener_with(acceptor);
    let addr = listener.local_addr().unwrap();
    one.endpoint.connect("n2".parse().unwrap(), addr).await.unwrap();
    let incoming = within(listener.accept()).await.unwrap();
    within(incoming.accept().unwrap()).await.unwrap();
}
