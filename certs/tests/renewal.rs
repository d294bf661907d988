//! A host renews its certificate and changes its CA: what is asked for, what is put in place, and
//! what is left when it is cut off halfway.

mod scratch;

use std::fs;
use std::path::Path;

use vioduct_certs::UnixTime;
use vioduct_certs::ca::{CA_VALIDITY, ClusterCa, LEAF_VALIDITY};
use vioduct_certs::ca_dir::IfExists;
use vioduct_certs::credentials::{Credentials, LoadError};
use vioduct_certs::identity::{Identity, Kind, Roles};
use vioduct_certs::install::{
    Answer, InstallError, Installation, finish, install, make_request, pending, pending_request,
};
use vioduct_certs::moment::{DAY, after, at};
use vioduct_certs::trust::{TrustError, TrustFiles, TrustSource};

use scratch::Scratch;

const NOW: UnixTime = at(1_768_435_200);

fn ca(cluster: &str) -> ClusterCa {
    ClusterCa::create(cluster.parse().expect("a name"), CA_VALIDITY, NOW).expect("a CA")
}

fn n1() -> Identity {
    Identity {
        cluster: "prod".parse().expect("a name"),
        name: "n1".parse().expect("a name"),
        kind: Kind::Node,
        roles: Roles::parse_list(["db"]).expect("a role"),
    }
}

/// A host's directory with a certificate of `ca` in it.
fn host(ca: &mut ClusterCa) -> Scratch {
    let scratch = Scratch::new();
    let bundle = ca.issue(&n1(), LEAF_VALIDITY, NOW).expect("issued");
    bundle.write_to(&scratch.0, IfExists::Refuse).expect("written");
    scratch
}

fn signed(ca: &mut ClusterCa, request: &str) -> Answer {
    let bundle = ca.sign_csr(request, &n1(), LEAF_VALIDITY, NOW).expect("signed");
    Answer::parse(format!("hello\n{}{}", bundle.cert_pem, bundle.crl_pem).as_bytes())
        .expect("an answer")
}

fn source(ca: &ClusterCa) -> TrustSource<'_> {
    TrustSource { roots: ca.roots_pem().as_bytes(), crls: ca.crl_pem().as_bytes() }
}

fn trusted<'a>(files: &'a TrustFiles) -> Installation<'a> {
    Installation {
        roots: Some(files.roots_pem.as_bytes()),
        crls: Some(files.crls_pem.as_bytes()),
        ..Installation::default()
    }
}

fn read(dir: &Path, file: &str) -> Vec<u8> {
    fs::read(dir.join(file)).expect("a file")
}

#[test]
fn a_key_that_waits_is_asked_for_again_until_its_certificate_is_there() {
    let mut ca = ca("prod");
    let host = host(&mut ca);
    let (dir, name) = (host.0.as_path(), n1().name);
    let first = pending_request(dir, &name).unwrap();
    let key = read(dir, "node.key.new");
    // Killed before the request was written.
    fs::remove_file(dir.join("node.csr")).unwrap();
    let second = pending_request(dir, &name).unwrap();
    assert_eq!(read(dir, "node.key.new"), key);
    assert_eq!(read(dir, "node.csr"), second.as_bytes());

    // The answer to the first request is as good as that to the second.
    let answer = signed(&mut ca, &first);
    let installed = install(dir, &answer.installation(), NOW).unwrap();
    assert!(installed.replaced.is_some());
    assert_eq!(read(dir, "node.key"), key);
    for gone in ["node.key.new", "node.csr", "node.crt.new"] {
        assert!(!dir.join(gone).exists(), "{gone}");
    }
    pending_request(dir, &name).unwrap();
    assert_ne!(read(dir, "node.key.new"), key, "each certificate has a key of its own");
}

#[test]
fn a_damaged_key_that_waits_is_named_and_left_alone() {
    let mut ca = ca("prod");
    let host = host(&mut ca);
    fs::write(host.path("node.key.new"), "no key").unwrap();
    let error = pending_request(&host.0, &n1().name).unwrap_err();
    assert!(matches!(error, InstallError::File(_)), "others may read it: {error}");
    make_request(&host.0, &n1().name, IfExists::Replace).unwrap();
    fs::write(host.path("node.key.new"), "no key").unwrap();
    let error = pending_request(&host.0, &n1().name).unwrap_err();
    assert!(error.to_string().contains("node.key.new is no private key"), "{error}");
    assert_eq!(read(&host.0, "node.key.new"), b"no key");
}

#[test]
fn an_installation_cut_off_between_key_and_certificate_is_finished() {
    let mut ca = ca("prod");
    let host = host(&mut ca);
    let dir = host.0.as_path();
    assert!(finish(dir, NOW).unwrap().is_none(), "nothing waits");
    let request = pending_request(dir, &n1().name).unwrap();
    let answer = signed(&mut ca, &request);

    // Cut off before the key: the old pair is whole and stays, its successor is asked for again.
    fs::write(dir.join("node.crt.new"), &answer.cert).unwrap();
    let old = Credentials::load(dir, NOW).unwrap().serial();
    assert!(pending(dir, NOW).unwrap().is_none());
    assert!(finish(dir, NOW).unwrap().is_none());
    assert_eq!(Credentials::load(dir, NOW).unwrap().serial(), old);
    assert!(!dir.join("node.crt.new").exists());

    // Cut off after the key.
    fs::write(dir.join("node.crt.new"), &answer.cert).unwrap();
    fs::copy(dir.join("node.key.new"), dir.join("node.key")).unwrap();
    assert!(matches!(Credentials::load(dir, NOW), Err(LoadError::Key(_))));
    let foretold = pending(dir, NOW).unwrap().expect("something to finish");
    let finished = finish(dir, NOW).unwrap().expect("something to finish");
    assert_eq!(finished.credentials.serial(), foretold.serial());
    assert_ne!(finished.credentials.serial(), old);
    assert_eq!(Credentials::load(dir, NOW).unwrap().serial(), finished.credentials.serial());
    assert!(!dir.join("node.crt.new").exists() && !dir.join("node.key.new").exists());
}

#[test]
fn an_answer_for_another_key_or_without_a_certificate_changes_nothing() {
    let mut ca = ca("prod");
    let (host, other) = (host(&mut ca), host(&mut ca));
    let foreign = pending_request(&other.0, &n1().name).unwrap();
    pending_request(&host.0, &n1().name).unwrap();
    let answer = signed(&mut ca, &foreign);
    let before = read(&host.0, "node.crt");
    let error = install(&host.0, &answer.installation(), NOW).unwrap_err();
    assert!(matches!(error, InstallError::NoKey));
    assert_eq!(read(&host.0, "node.crt"), before);
    assert_eq!(Answer::parse(b"no certificate"), None);
    assert_eq!(Answer::parse(ca.crl_pem().as_bytes()), None);
}

#[test]
fn two_cas_are_trusted_side_by_side_and_then_one() {
    let (mut old, mut new) = (ca("prod"), ca("prod"));
    let host = host(&mut old);
    let dir = host.0.as_path();
    let only_new = TrustFiles::join(&[source(&new)], NOW).unwrap();
    let error = install(dir, &trusted(&only_new), NOW).unwrap_err();
    assert!(error.to_string().contains("own certificate"), "the old leaf would be lost: {error}");

    // An older list beside a newer one of the same root gives way, in either order.
    let older = (old.roots_pem().to_owned(), old.crl_pem().to_owned());
    old.renew_crl(NOW).unwrap();
    let stale = TrustSource { roots: older.0.as_bytes(), crls: older.1.as_bytes() };
    for sources in [[stale, source(&old), source(&new)], [source(&old), stale, source(&new)]] {
        let both = TrustFiles::join(&sources, NOW).unwrap();
        assert_eq!(both.roots.iter().map(|r| r.crl.number).collect::<Vec<_>>(), [2, 1]);
    }
    let both = TrustFiles::join(&[source(&old), source(&new)], NOW).unwrap();
    let installed = install(dir, &trusted(&both), NOW).unwrap();
    assert_eq!(installed.credentials.crls().len(), 2);

    // A list of one root replaces that one only.
    new.renew_crl(NOW).unwrap();
    let list = Installation { crls: Some(new.crl_pem().as_bytes()), ..Installation::default() };
    let mut numbers: Vec<u64> =
        install(dir, &list, NOW).unwrap().credentials.crls().iter().map(|l| l.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 2]);

    let request = pending_request(dir, &n1().name).unwrap();
    install(dir, &signed(&mut new, &request).installation(), NOW).unwrap();
    assert_eq!(Credentials::load(dir, NOW).unwrap().crls().len(), 2, "both are still trusted");
    let only_new = Installation { roots: Some(new.roots_pem().as_bytes()), ..Default::default() };
    let left = install(dir, &only_new, NOW).unwrap().credentials.crls();
    assert_eq!(left.len(), 1, "the list of the root that goes, goes with it");
}

#[test]
fn cas_that_do_not_belong_together_are_refused() {
    let (old, new, foreign) = (ca("prod"), ca("prod"), ca("lab"));
    let join = |sources: &[TrustSource<'_>], now| TrustFiles::join(sources, now).unwrap_err();
    let error = join(&[source(&old), source(&foreign)], NOW);
    assert!(matches!(error, TrustError::OtherCluster { .. }), "{error}");
    let bare = TrustSource { crls: b"", ..source(&new) };
    assert!(matches!(join(&[source(&old), bare], NOW), TrustError::Crl(_)));
    let late = after(NOW, DAY * 31);
    let error = join(&[source(&old), source(&new)], late);
    assert!(matches!(error, TrustError::Stale { .. }), "{error}");
    let many: Vec<ClusterCa> = (0..9).map(|_number| ca("prod")).collect();
    let error = join(&many.iter().map(source).collect::<Vec<_>>(), NOW);
    assert!(error.to_string().contains("ca.crt holds 9 items"), "{error}");
}
