//! Bad certificates over real links: each is refused for its own reason, and nothing gets through.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::NamedGroup;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::dev::{
    DevCa, ForgedUsage, Forgery, client_config_without_certificate, client_config_without_hybrid,
};
use vioduct_certs::identity::{Identity, Roles};
use vioduct_certs::refusal::RefusalSlot;
use vioduct_transport::seam::SystemClock;
use vioduct_transport::wire::ALPN;
use vioduct_transport::{DialError, Flow, LinkEvent, LinkState};

use crate::support::hostile::{Hostile, client};
use crate::support::tap::Tap;
use crate::support::{Node, ca, node, now, within};

const DAY: Duration = Duration::from_secs(86_400);

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy)]
enum Flaw {
    Expired,
    ForeignCa,
    NotYetValid,
    OfATool,
    OnlyForDialling,
    OnlyForListening,
    Revoked,
    SelfSigned,
    WrongCluster,
    WrongUsage,
}

/// A flaw, the label of its refusal, and the TLS alert that its holder is told (RFC 8446, section
/// 6.2): few numbers for many reasons, so as to tell a stranger little.
type Case = (Flaw, &'static str, u8);

/// Flaws that either side may have. No certificate and the wrong node have tests of their own.
const FLAWS: [Case; 7] = [
    (Flaw::Expired, "expired", 45),
    (Flaw::ForeignCa, "foreign_ca", 48),
    (Flaw::NotYetValid, "not_yet_valid", 45),
    (Flaw::Revoked, "revoked", 44),
    (Flaw::SelfSigned, "self_signed", 48),
    (Flaw::WrongCluster, "wrong_cluster", 46),
    (Flaw::WrongUsage, "wrong_usage", 43),
];
const DIALLERS_FLAWS: [Case; 1] = [(Flaw::OnlyForListening, "wrong_usage", 43)];
const LISTENERS_FLAWS: [Case; 2] =
    [(Flaw::OnlyForDialling, "wrong_usage", 43), (Flaw::OfATool, "wrong_usage", 42)];

/// What the holder of a bad certificate shows as n1.
fn bad(ca: &mut DevCa, flaw: Flaw) -> Credentials {
    let n1 = Identity::node("test".parse().unwrap(), "n1".parse().unwrap(), Roles::default());
    let moment = |from_now: Duration| UnixTime::since_unix_epoch(from_now);
    let today = Duration::from_secs(now().as_secs());
    let only = |usage| Forgery { usages: Some(usage), ..Forgery::default() };
    let forgery = match flaw {
        Flaw::Expired => Forgery {
            not_before: Some(moment(today - 2 * DAY)),
            not_after: Some(moment(today - DAY)),
            ..Forgery::default()
        },
        Flaw::ForeignCa => return ca.infiltrate(&mut self::ca(), &n1).unwrap(),
        Flaw::NotYetValid => {
            Forgery { not_before: Some(moment(today + DAY)), ..Forgery::default() }
        }
        Flaw::OfATool => Forgery {
            uri: Some("spiffe://test/tool/n1".to_owned()),
            dns_names: Some(Vec::new()),
            ..Forgery::default()
        },
        Flaw::OnlyForDialling => only(ForgedUsage::Client),
        Flaw::OnlyForListening => only(ForgedUsage::Server),
        Flaw::Revoked => {
            let credentials = ca.node("n1", Roles::default()).unwrap();
            ca.revoke(&credentials.serial()).unwrap();
            return credentials;
        }
        Flaw::SelfSigned => Forgery { self_signed: true, ..Forgery::default() },
        Flaw::WrongCluster => {
            Forgery { uri: Some("spiffe://prod/node/n1/none".to_owned()), ..Forgery::default() }
        }
        Flaw::WrongUsage => only(ForgedUsage::CodeSigning),
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

/// What a node was told when it turned a connection from outside down, or was turned down on one.
async fn refused(node: &mut Node) -> DialError {
    within(node.refused.recv()).await.expect("the endpoint lives").1
}

/// The one that refused knows why, the other one knows that it was refused.
fn assert_named((flaw, label, told): Case, refusing: &DialError, refused: &DialError) {
    assert!(matches!(refusing, DialError::Refused { .. }), "{flaw:?}: {refusing}");
    assert_eq!(refusing.label(), label, "{flaw:?}: {refusing}");
    let DialError::RefusedByPeer { alert, .. } = refused else { panic!("{flaw:?}: {refused}") };
    assert_eq!(*alert, told, "{flaw:?}: {refused}");
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
    for case in FLAWS.into_iter().chain(DIALLERS_FLAWS) {
        let mut ca = ca();
        let mut bad = Node::start(bad(&mut ca, case.0));
        let mut good = node(&mut ca, "n2");
        let link = bad.connect(&good).await;
        link.send(Flow::Pair(1), b"let me in", &Bytes::new()).await.unwrap();
        assert_named(case, &refused(&mut good).await, &dial_failed(&mut bad).await);
        assert_untouched(&mut good);
        assert_untouched(&mut bad);
    }
}

#[tokio::test]
async fn a_bad_listener_is_refused_for_its_own_reason() {
    for case in FLAWS.into_iter().chain(LISTENERS_FLAWS) {
        let mut ca = ca();
        let mut bad = Node::start(bad(&mut ca, case.0));
        let mut good = node(&mut ca, "n2");
        let link = good.connect(&bad).await;
        link.send(Flow::Pair(1), b"a secret", &Bytes::new()).await.unwrap();
        assert_named(case, &dial_failed(&mut good).await, &refused(&mut bad).await);
        assert_untouched(&mut good);
        assert_untouched(&mut bad);
    }
}

#[tokio::test]
async fn another_node_at_the_address_is_refused_by_name() {
    let mut ca = ca();
    let (mut one, mut two) = (node(&mut ca, "n1"), node(&mut ca, "n2"));
    let link = one.endpoint.connect("n3".parse().unwrap(), two.addr).await.unwrap();
    link.send(Flow::Pair(1), b"for n3", &Bytes::new()).await.unwrap();
    let error = dial_failed(&mut one).await;
    assert_eq!(error.label(), "wrong_node", "{error}");
    let text = error.to_string();
    assert!(text.contains("n3") && text.contains("n2"), "both names: {text}");
    let told = refused(&mut two).await;
    assert!(matches!(told, DialError::RefusedByPeer { alert: 42, .. }), "{told}");
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
    let told = match within(dialled).await {
        Ok(connection) => within(connection.closed()).await,
        Err(error) => error,
    };
    let quinn::ConnectionError::ConnectionClosed(close) = told else { panic!("{told}") };
    assert_eq!(u64::from(close.error_code), 0x100 + 116, "certificate_required: {close}");
    let error = refused(&mut good).await;
    assert_eq!(error.label(), "no_certificate", "{error}");
    assert_untouched(&mut good);
}

#[tokio::test]
async fn two_nodes_agree_on_the_hybrid_key_exchange() {
    let mut ca = ca();
    let (one, two) = (node(&mut ca, "n1"), node(&mut ca, "n2"));
    let mut tap = Tap::before(two.addr).await;
    let link = one.endpoint.connect(two.name(), tap.addr).await.unwrap();
    within(link.up()).await.unwrap();
    assert_eq!(tap.key_exchange().await, NamedGroup::X25519MLKEM768);

    // With a dialler that lacks it the listener settles for less, and the tap sees that.
    let old = Hostile::new(ca.node("n3", Roles::default()).unwrap());
    let (clock, slot) = (Arc::new(SystemClock), RefusalSlot::default());
    let tls = client_config_without_hybrid(&old.credentials, &[ALPN], clock, slot).unwrap();
    let mut tap = Tap::before(two.addr).await;
    let name = two.endpoint.credentials().identity().server_name();
    within(old.endpoint.connect_with(client(tls), tap.addr, &name).unwrap()).await.unwrap();
    assert_eq!(tap.key_exchange().await, NamedGroup::X25519);
}
