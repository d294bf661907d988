//! Whole TLS handshakes in memory: who is let in, who is refused, and for which reason.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, NamedGroup, ServerConfig, ServerConnection};
use rustls_pki_types::{ServerName, UnixTime};

use crate::credentials::Credentials;
use crate::dev::{DevCa, ForgedUsage, Forgery, client_config_without_certificate};
use crate::identity::{Identity, NodeName, Role, Roles};
use crate::moment::{DAY, after, at, before};
use crate::profile::{LeafProfile, Lifetime};
use crate::provider::with_groups;
use crate::refusal::{Refusal, RefusalSlot};

const NOW: UnixTime = at(1_800_000_000);
const ALPN: &[&[u8]] = &[b"vioduct/1"];

#[derive(Debug)]
struct Fixed(UnixTime);

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

fn clock() -> Arc<dyn TimeProvider> {
    Arc::new(Fixed(NOW))
}

fn vios() -> Roles {
    Roles::none().with(Role::Vios)
}

/// Both ends of a finished or failed handshake.
struct Outcome {
    client: ClientConnection,
    server: ServerConnection,
    error: Option<rustls::Error>,
}

fn shake(client: ClientConfig, server: ServerConfig, name: &str) -> Outcome {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let mut error = None;
    for _flight in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        error = error.or(server.process_new_packets().err());
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        error = error.or(client.process_new_packets().err());
    }
    Outcome { client, server, error }
}

/// `dialler` dials `acceptor` under `name`; what each of them found wrong with the other.
fn refusals(
    dialler: &Credentials,
    acceptor: &Credentials,
    name: &str,
) -> (Option<Refusal>, Option<Refusal>) {
    let (ours, theirs) = (RefusalSlot::default(), RefusalSlot::default());
    let client = dialler.client_config(ALPN, clock(), ours.clone()).unwrap();
    let server = acceptor.server_config(ALPN, clock(), theirs.clone()).unwrap();
    let outcome = shake(client, server, name);
    assert_eq!(outcome.error.is_some(), ours.get().is_some() || theirs.get().is_some());
    (ours.get(), theirs.get())
}

fn name_of(credentials: &Credentials) -> String {
    credentials.identity().server_name()
}

#[test]
fn two_nodes_of_a_cluster_accept_each_other() {
    let mut ca = DevCa::new("prod", NOW).unwrap();
    let (n1, n2) = (ca.node("n1", vios()).unwrap(), ca.node("n2", Roles::none()).unwrap());
    assert_eq!(refusals(&n1, &n2, &name_of(&n2)), (None, None));
}

#[test]
fn a_tool_dials_a_node_and_accepts_nobody() {
    let mut ca = DevCa::new("prod", NOW).unwrap();
    let (n1, tool) = (ca.node("n1", vios()).unwrap(), ca.tool("load").unwrap());
    assert_eq!(refusals(&tool, &n1, &name_of(&n1)), (None, None));
    assert!(tool.server_config(ALPN, clock(), RefusalSlot::default()).is_err());
}

/// The certificates of the table below, each in the hands of somebody who calls itself n1.
fn bad_dialler(ca: &mut DevCa, flaw: &str) -> Credentials {
    let n1 = Identity::node("prod".parse().unwrap(), "n1".parse().unwrap(), vios());
    let forgery = match flaw {
        "foreign_ca" => {
            let mut stranger = DevCa::new("prod", NOW).unwrap();
            return ca.infiltrate(&mut stranger, &n1).unwrap();
        }
        "revoked" => {
            let credentials = ca.node("n1", vios()).unwrap();
            ca.revoke(&credentials.serial()).unwrap();
            return credentials;
        }
        "expired" => Forgery {
            not_before: Some(before(NOW, DAY * 2)),
            not_after: Some(before(NOW, DAY)),
            ..Forgery::default()
        },
        "not_yet_valid" => Forgery { not_before: Some(after(NOW, DAY)), ..Forgery::default() },
        "wrong_cluster" => {
            Forgery { uri: Some("spiffe://test/node/n1/vios".to_owned()), ..Forgery::default() }
        }
        "wrong_usage" => Forgery { usages: Some(ForgedUsage::CodeSigning), ..Forgery::default() },
        "self_signed" => Forgery { self_signed: true, ..Forgery::default() },
        "bad_identity" => {
            Forgery { uri: Some("spiffe://prod/node/n1/vios.db".to_owned()), ..Forgery::default() }
        }
        other => panic!("no such flaw: {other}"),
    };
    ca.forge(&n1, &forgery).unwrap()
}

const FLAWS: [&str; 8] = [
    "foreign_ca",
    "expired",
    "not_yet_valid",
    "revoked",
    "wrong_cluster",
    "wrong_usage",
    "self_signed",
    "bad_identity",
];

#[test]
fn a_bad_dialler_is_refused_for_its_own_reason() {
    for flaw in FLAWS {
        let mut ca = DevCa::new("prod", NOW).unwrap();
        let bad = bad_dialler(&mut ca, flaw);
        let good = ca.node("n2", vios()).unwrap();
        let (ours, theirs) = refusals(&bad, &good, &name_of(&good));
        assert_eq!(ours, None, "{flaw}: the good side passes");
        assert_eq!(theirs.as_ref().map(Refusal::label), Some(flaw), "{theirs:?}");
    }
}

#[test]
fn a_bad_acceptor_is_refused_for_its_own_reason() {
    for flaw in FLAWS {
        let mut ca = DevCa::new("prod", NOW).unwrap();
        let bad = bad_dialler(&mut ca, flaw);
        let good = ca.node("n2", vios()).unwrap();
        let (ours, _theirs) = refusals(&good, &bad, "n1.prod.vioduct.internal");
        assert_eq!(ours.as_ref().map(Refusal::label), Some(flaw), "{ours:?}");
    }
}

#[test]
fn another_node_at_the_address_is_refused_by_name() {
    let mut ca = DevCa::new("prod", NOW).unwrap();
    let (n1, n2) = (ca.node("n1", vios()).unwrap(), ca.node("n2", vios()).unwrap());
    let (ours, theirs) = refusals(&n1, &n2, "n3.prod.vioduct.internal");
    let name = |text: &str| text.parse::<NodeName>().unwrap();
    assert_eq!(ours, Some(Refusal::WrongNode { expected: name("n3"), got: name("n2") }));
    assert_eq!(theirs, None);
}

#[test]
fn a_dialler_without_certificate_is_asked_for_one() {
    let mut ca = DevCa::new("prod", NOW).unwrap();
    let n1 = ca.node("n1", vios()).unwrap();
    let slot = RefusalSlot::default();
    let client = client_config_without_certificate(&n1, ALPN, clock(), slot.clone()).unwrap();
    let server = n1.server_config(ALPN, clock(), slot.clone()).unwrap();
    let outcome = shake(client, server, &name_of(&n1));
    // The verifier is never asked, so the slot stays empty: the caller maps this error, or alert
    // 116 on the other side.
    assert_eq!(outcome.error, Some(rustls::Error::NoCertificatesPresented));
    assert_eq!(slot.get(), None);
    assert_eq!(Refusal::NoCertificate.label(), "no_certificate");
}

#[test]
fn a_certificate_wholly_of_another_cluster_is_told_from_a_malformed_one() {
    let mut ca = DevCa::new("prod", NOW).unwrap();
    let other = Identity::node("test".parse().unwrap(), "n1".parse().unwrap(), vios());
    let bad = ca.forge(&other, &Forgery::default()).unwrap();
    let good = ca.node("n2", vios()).unwrap();
    let (_ours, theirs) = refusals(&bad, &good, &name_of(&good));
    assert_eq!(theirs.unwrap().label(), "wrong_cluster");
}

#[test]
fn dns_names_have_to_agree_with_the_identity() {
    let mut ca = DevCa::new("prod", NOW).unwrap();
    let n1 = Identity::node("prod".parse().unwrap(), "n1".parse().unwrap(), vios());
    let names = vec!["n2.prod.vioduct.internal".to_owned()];
    let forgery = Forgery { dns_names: Some(names), ..Forgery::default() };
    let bad = ca.forge(&n1, &forgery).unwrap();
    let good = ca.node("n3", vios()).unwrap();
    let (_ours, theirs) = refusals(&bad, &good, &name_of(&good));
    assert_eq!(theirs.unwrap().label(), "bad_identity");
}

#[test]
fn only_one_of_the_two_usages_lets_a_node_do_only_one_side() {
    let mut ca = DevCa::new("prod", NOW).unwrap();
    let n1 = Identity::node("prod".parse().unwrap(), "n1".parse().unwrap(), vios());
    let good = ca.node("n2", vios()).unwrap();
    let with = |usage| Forgery { usages: Some(usage), ..Forgery::default() };
    let server_only = ca.forge(&n1, &with(ForgedUsage::Server)).unwrap();
    let client_only = ca.forge(&n1, &with(ForgedUsage::Client)).unwrap();
    let label = |refusal: Option<Refusal>| refusal.map(|refusal| refusal.label());
    assert_eq!(label(refusals(&server_only, &good, &name_of(&good)).1), Some("wrong_usage"));
    assert_eq!(
        label(refusals(&good, &client_only, "n1.prod.vioduct.internal").0),
        Some("wrong_usage")
    );
    assert_eq!(refusals(&client_only, &good, &name_of(&good)), (None, None));
}

#[test]
fn a_live_peer_is_refused_once_its_revocation_is_loaded() {
    let mut ca = DevCa::new("prod", NOW).unwrap();
    let (n1, n2) = (ca.node("n1", vios()).unwrap(), ca.node("n2", vios()).unwrap());
    let client = n2.client_config(ALPN, clock(), RefusalSlot::default()).unwrap();
    let server = n1.server_config(ALPN, clock(), RefusalSlot::default()).unwrap();
    let outcome = shake(client, server, &name_of(&n1));
    let chain = outcome.server.peer_certificates().unwrap();
    let peer = n1.verify_peer(chain, NOW).unwrap();
    assert_eq!((peer.serial, &peer.identity), (n2.serial(), n2.identity()));

    ca.revoke(&n2.serial()).unwrap();
    let n1 = n1.with_crls(ca.crls().unwrap()).unwrap();
    assert_eq!(n1.verify_peer(chain, NOW), Err(Refusal::Revoked { serial: n2.serial() }));
    assert_eq!(n1.verify_peer(&[], NOW), Err(Refusal::NoCertificate));
    let later = after(n2.not_after(), Duration::from_secs(1));
    assert_eq!(n1.verify_peer(chain, later).unwrap_err().label(), "expired");
}

#[test]
fn a_stale_revocation_list_refuses_everybody() {
    let mut ca = DevCa::new("prod", NOW).unwrap();
    ca.set_leaf_validity(DAY * 90);
    let n1 = ca.node("n1", vios()).unwrap();
    let stale = n1.crls()[0].next_update;
    assert_eq!(n1.check_own(before(stale, Duration::from_secs(1))), Ok(()));
    assert_eq!(n1.check_own(stale), Err(Refusal::CrlStale { next_update: stale }));
}

#[test]
fn the_hybrid_post_quantum_exchange_is_negotiated() {
    let mut ca = DevCa::new("prod", NOW).unwrap();
    let n1 = ca.node("n1", vios()).unwrap();
    let client = n1.client_config(ALPN, clock(), RefusalSlot::default()).unwrap();
    let server = n1.server_config(ALPN, clock(), RefusalSlot::default()).unwrap();
    let outcome = shake(client, server, &name_of(&n1));
    assert_eq!(outcome.error, None);
    let group = outcome.client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    let group = outcome.server.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    assert_eq!(outcome.client.alpn_protocol(), Some(b"vioduct/1".as_slice()));
}

#[test]
fn a_classical_dialler_fails_where_only_the_hybrid_is_allowed() {
    let mut ca = DevCa::new("prod", NOW).unwrap();
    let n1 = ca.node("n1", vios()).unwrap();
    let shake_with = |dialler: Vec<_>, acceptor: Vec<_>| {
        let slot = RefusalSlot::default;
        let client = n1.client_config_with(with_groups(dialler), ALPN, clock(), slot()).unwrap();
        let server = n1.server_config_with(with_groups(acceptor), ALPN, clock(), slot()).unwrap();
        shake(client, server, &name_of(&n1)).error
    };
    let (hybrid, classical) = (kx_group::X25519MLKEM768, kx_group::X25519);
    assert_eq!(shake_with(vec![hybrid], vec![hybrid]), None);
    let error = shake_with(vec![classical], vec![hybrid]).unwrap();
    assert!(matches!(error, rustls::Error::PeerIncompatible(_)), "{error:?}");
}

#[test]
fn there_are_no_tickets_no_resumption_and_no_early_data() {
    let mut ca = DevCa::new("prod", NOW).unwrap();
    let n1 = ca.node("n1", vios()).unwrap();
    let client = Arc::new(n1.client_config(ALPN, clock(), RefusalSlot::default()).unwrap());
    let server = n1.server_config(ALPN, clock(), RefusalSlot::default()).unwrap();
    assert!(!client.enable_early_data);
    assert_eq!((server.send_tls13_tickets, server.max_early_data_size), (0, 0));
    assert!(!server.session_storage.can_cache());
    assert!(!server.ticketer.enabled());
    let server = Arc::new(server);
    for _handshake in 0..2 {
        let outcome = shake((*client).clone(), (*server).clone(), &name_of(&n1));
        assert_eq!(outcome.client.tls13_tickets_received(), 0);
        assert_eq!(outcome.client.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[test]
fn every_refusal_has_its_own_label() {
    let serial = "40000000000000000000000000000001".parse().unwrap();
    let cluster = || "prod".parse().unwrap();
    let node = |name: &str| name.parse().unwrap();
    let all = [
        Refusal::NoCertificate,
        Refusal::SelfSigned,
        Refusal::ForeignCa,
        Refusal::Expired { now: NOW, not_after: NOW },
        Refusal::NotYetValid { now: NOW, not_before: NOW },
        Refusal::Revoked { serial },
        Refusal::WrongCluster { expected: cluster(), got: cluster() },
        Refusal::WrongUsage,
        Refusal::WrongNode { expected: node("n1"), got: node("n2") },
        Refusal::CrlMissing,
        Refusal::CrlStale { next_update: NOW },
        Refusal::CrlUnusable(String::new()),
        Refusal::BadIdentity(crate::identity::IdentityError::ForeignName),
        Refusal::Malformed(String::new()),
    ];
    let labels: std::collections::BTreeSet<_> = all.iter().map(Refusal::label).collect();
    assert_eq!(labels.len(), all.len());
}

#[test]
fn the_longest_names_fit_and_a_bloated_certificate_is_not_read() {
    let mut ca = DevCa::new(&"c".repeat(32), NOW).unwrap();
    let longest = ca.node(&"n".repeat(63), Roles::all()).unwrap();
    let name = name_of(&longest);
    assert_eq!(refusals(&longest, &longest, &name), (None, None));

    let bloated = |ca: &mut DevCa| {
        let lifetime = Lifetime::from_now(DAY, NOW).unwrap();
        let mut profile = LeafProfile::of(longest.identity(), longest.serial(), lifetime);
        let suffix = longest.identity().cluster.dns_suffix();
        profile.dns_names = (0..40).map(|i| format!("a{i}.{suffix}")).collect();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        ca.ca().sign_leaf(&profile, &key).unwrap().der().clone()
    };
    let ours = longest.verify_peer(&[bloated(&mut ca)], NOW).unwrap_err();
    assert!(ours.to_string().contains("at most 1024 are read"), "{ours}");
    // Of a stranger it is still told that it is one.
    let mut stranger = DevCa::new(&"c".repeat(32), NOW).unwrap();
    let foreign = longest.verify_peer(&[bloated(&mut stranger)], NOW);
    assert_eq!(foreign, Err(Refusal::ForeignCa));
}
