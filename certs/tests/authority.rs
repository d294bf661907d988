//! What the CA issues, seen by other people's tools, and what its files do.

mod scratch;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use vioduct_certs::UnixTime;
use vioduct_certs::ca::{CA_VALIDITY, CaError, ClusterCa, IssuedBundle, LEAF_VALIDITY};
use vioduct_certs::ca_dir::{CaLock, IfExists};
use vioduct_certs::credentials::{Credentials, LoadError, crls_from_pem};
use vioduct_certs::crl::CrlError;
use vioduct_certs::dev::DevCa;
use vioduct_certs::files::FileError;
use vioduct_certs::identity::{Identity, Kind, Roles};
use vioduct_certs::install::{InstallError, Installation, install, make_request};
use vioduct_certs::inventory::Inventory;
use vioduct_certs::issue_all::{IssueAllError, IssuePlan, issue_all};
use vioduct_certs::moment::{DAY, after, at};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use scratch::Scratch;

// 2026-01-15; openssl reads the real clock, so its tests pass -attime.
const NOW: UnixTime = at(1_768_435_200);

fn cluster_ca() -> ClusterCa {
    let cluster = "prod".parse().expect("a name");
    ClusterCa::create(cluster, CA_VALIDITY, NOW).expect("a CA")
}

fn node(name: &str, roles: &str) -> Identity {
    let cluster = "prod".parse().expect("a name");
    Identity::node(cluster, name.parse().expect("a name"), roles.parse().expect("roles"))
}

fn tool(name: &str) -> Identity {
    Identity::tool("prod".parse().expect("a name"), name.parse().expect("a name"))
}

fn issue(ca: &mut ClusterCa, identity: &Identity) -> IssuedBundle {
    ca.issue(identity, LEAF_VALIDITY, NOW).expect("a bundle")
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o7777
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().expect("valid").expect("present");
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => format!("URI:{uri}"),
        GeneralName::DNSName(dns) => format!("DNS:{dns}"),
        other => format!("{other:?}"),
    };
    extension.value.general_names.iter().map(text).collect()
}

#[test]
fn the_root_has_its_profile() {
    let ca = cluster_ca();
    let (_, root) = X509Certificate::from_der(ca.root()).unwrap();
    assert!(root.subject().to_string().starts_with("CN=vioduct CA prod "));
    let constraints = root.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = root.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    let limits = root.name_constraints().unwrap().unwrap();
    assert!(limits.critical);
    let permitted = limits.value.permitted_subtrees.as_ref().unwrap();
    assert_eq!(permitted.len(), 1);
    assert!(matches!(permitted[0].base, GeneralName::DNSName("prod.vioduct.internal")));
    let excluded = limits.value.excluded_subtrees.as_ref().unwrap();
    let zeros = |subtree: &x509_parser::extensions::GeneralSubtree<'_>| match subtree.base {
        GeneralName::IPAddress(bytes) => bytes.iter().all(|byte| *byte == 0).then_some(bytes.len()),
        _ => None,
    };
    assert_eq!(excluded.iter().map(zeros).collect::<Vec<_>>(), [Some(8), Some(32)]);
    let life = root.validity().not_after.timestamp() - root.validity().not_before.timestamp();
    assert_eq!(life, 3650 * 86_400 + 300);
    assert_eq!((ca.crl().number, ca.crl().revoked_count), (1, 0));
}

#[test]
fn leaves_have_the_profile_of_their_kind() {
    let mut ca = cluster_ca();
    let root_key = X509Certificate::from_der(ca.root()).unwrap().1.public_key().raw.to_vec();
    let (n1, load) = (issue(&mut ca, &node("n1", "vios.db")), issue(&mut ca, &tool("load")));
    for (bundle, server, sans) in [
        (&n1, true, vec!["URI:spiffe://prod/node/n1/db.vios", "DNS:n1.prod.vioduct.internal"]),
        (&load, false, vec!["URI:spiffe://prod/tool/load"]),
    ] {
        let leaf = der(&bundle.cert_pem);
        let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
        assert_eq!(leaf.subject().to_string(), format!("CN={}", bundle.identity.name));
        assert_eq!(names(&leaf), sans);
        let usage = leaf.extended_key_usage().unwrap().unwrap().value;
        assert_eq!((usage.server_auth, usage.client_auth), (server, true));
        assert!(!usage.any && usage.other.is_empty());
        let usage = leaf.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.flags == 1, "digitalSignature alone");
        assert!(!leaf.is_ca());
        assert_eq!(leaf.raw_serial(), bundle.serial.as_bytes());
        assert_eq!(leaf.validity().not_before.timestamp(), 1_768_435_200 - 300);
        assert_eq!(leaf.validity().not_after.timestamp(), 1_768_435_200 + 7 * 86_400);
        let oids: Vec<_> = leaf.extensions().iter().map(|ext| ext.oid.to_string()).collect();
        assert!(oids.contains(&"2.5.29.35".to_owned()), "authority key identifier");
        assert_ne!(leaf.public_key().raw, root_key);
        assert_eq!(leaf.public_key().parsed().unwrap().key_size(), 256);
    }
    assert_ne!(n1.serial, load.serial);
}

fn openssl_verify(scratch: &Scratch, purpose: &str, leaf: &Path) -> (bool, String) {
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-crl_check", "-attime", "1768435260"])
        .arg("-CAfile")
        .arg(scratch.path("ca.crt"))
        .arg("-CRLfile")
        .arg(scratch.path("ca.crl"))
        .args(["-purpose", purpose])
        .arg(leaf)
        .output()
        .expect("these tests need the openssl program");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.success(), text)
}

#[test]
fn openssl_accepts_nodes_on_both_sides_and_tools_on_one() {
    let (scratch, mut ca) = (Scratch::new(), cluster_ca());
    let (n1, load) = (issue(&mut ca, &node("n1", "db")), issue(&mut ca, &tool("load")));
    fs::write(scratch.path("ca.crt"), ca.roots_pem()).unwrap();
    fs::write(scratch.path("ca.crl"), ca.crl_pem()).unwrap();
    for (bundle, purpose, accepted) in [
        (&n1, "sslserver", true),
        (&n1, "sslclient", true),
        (&load, "sslclient", true),
        (&load, "sslserver", false),
    ] {
        let leaf = scratch.path(&format!("{}-{purpose}.crt", bundle.identity.name));
        fs::write(&leaf, &bundle.cert_pem).unwrap();
        let (ok, text) = openssl_verify(&scratch, purpose, &leaf);
        assert_eq!(ok, accepted, "{purpose}: {text}");
    }
    ca.revoke(&n1.serial, NOW).unwrap();
    fs::write(scratch.path("ca.crl"), ca.crl_pem()).unwrap();
    let (ok, text) = openssl_verify(&scratch, "sslclient", &scratch.path("n1-sslclient.crt"));
    assert!(!ok && text.contains("revoked"), "{text}");
}

#[test]
fn a_greedy_request_gets_only_its_key_certified() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut wishes =
        CertificateParams::new(vec!["evil.example".to_owned(), "10.0.0.1".to_owned()]).unwrap();
    wishes.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wishes.subject_alt_names.push(SanType::URI("spiffe://prod/node/n9/db".try_into().unwrap()));
    wishes.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let request = wishes.serialize_request(&key).unwrap().pem().unwrap();

    let mut ca = cluster_ca();
    let bundle = ca.sign_csr(&request, &node("n1", "vios"), LEAF_VALIDITY, NOW).unwrap();
    assert!(bundle.key_pem.is_none());
    let leaf = der(&bundle.cert_pem);
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    assert!(!leaf.is_ca());
    assert_eq!(names(&leaf), ["URI:spiffe://prod/node/n1/vios", "DNS:n1.prod.vioduct.internal"]);
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth && !usage.code_signing);
    assert_eq!(leaf.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
}

#[test]
fn a_request_that_was_tampered_with_is_refused() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    let mut bytes = request.der().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let pem = der_to_pem("CERTIFICATE REQUEST", &bytes);
    let outcome = cluster_ca().sign_csr(&pem, &node("n1", "db"), LEAF_VALIDITY, NOW);
    assert!(matches!(outcome, Err(CaError::Library(_))), "{outcome:?}");
}

fn der_to_pem(label: &str, der: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let mut group = [0_u8; 4];
        for (slot, byte) in group.iter_mut().skip(1).zip(chunk) {
            *slot = *byte;
        }
        let bits = u32::from_be_bytes(group);
        for (position, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let index = usize::try_from((bits >> shift) & 63).expect("six bits");
            let letter = LETTERS.get(index).copied().unwrap_or(b'=');
            text.push(char::from(if position > chunk.len() { b'=' } else { letter }));
        }
    }
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

#[test]
fn the_ca_refuses_what_it_should_not_issue() {
    let mut ca = cluster_ca();
    let mut foreign = node("n1", "db");
    foreign.cluster = "test".parse().unwrap();
    assert!(matches!(ca.issue(&foreign, DAY, NOW), Err(CaError::OtherCluster { .. })));
    let mut greedy = tool("load");
    greedy.roles = Roles::all();
    assert!(matches!(ca.issue(&greedy, DAY, NOW), Err(CaError::ToolWithRoles)));
    let n1 = node("n1", "db");
    assert!(matches!(ca.issue(&n1, Duration::ZERO, NOW), Err(CaError::NoValidity)));
    assert!(matches!(ca.issue(&n1, CA_VALIDITY + DAY, NOW), Err(CaError::OutlivesCa { .. })));
    assert!(matches!(ca.issue(&n1, Duration::MAX, NOW), Err(CaError::DateRange)));
    assert!(ca.issued().is_empty());
}

#[test]
fn a_saved_ca_loads_and_goes_on() {
    let scratch = Scratch::new();
    let dir = scratch.path("pki/ca");
    let mut ca = cluster_ca();
    ca.save_new(&dir).unwrap();
    assert_eq!((mode(&dir), mode(&dir.join("ca.key"))), (0o700, 0o600));
    assert!(matches!(ca.save_new(&dir), Err(CaError::File(FileError::Exists { .. }))));

    let first = issue(&mut ca, &node("n1", "db"));
    let second = issue(&mut ca, &node("n1", "db"));
    ca.save(&dir).unwrap();
    let mut ca = ClusterCa::load(&dir).unwrap();
    assert_eq!(ca.issued().len(), 2);
    let name = "n1".parse().unwrap();
    let revoked = ca.revoke_name(Kind::Node, &name, NOW).unwrap();
    assert_eq!(revoked, [first.serial, second.serial]);
    assert!(matches!(ca.revoke_name(Kind::Node, &name, NOW), Err(CaError::UnknownName { .. })));
    assert!(matches!(ca.revoke(&first.serial, NOW), Err(CaError::UnknownSerial { .. })));
    ca.save(&dir).unwrap();
    let ca = ClusterCa::load(&dir).unwrap();
    assert_eq!((ca.crl().number, ca.crl().revoked_count), (2, 2));

    fs::set_permissions(dir.join("ca.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let error = ClusterCa::load(&dir).unwrap_err().to_string();
    assert!(error.contains("ca.key has mode 0640") && error.contains("chmod 600"), "{error}");
}

#[test]
fn two_commands_do_not_share_a_ca_directory() {
    let scratch = Scratch::new();
    let lock = CaLock::acquire(&scratch.0).unwrap();
    assert!(matches!(CaLock::acquire(&scratch.0), Err(CaError::Busy)));
    drop(lock);
    assert!(CaLock::acquire(&scratch.0).is_ok());
}

#[test]
fn foreign_parts_in_a_ca_directory_are_noticed() {
    let scratch = Scratch::new();
    let (ours, theirs) = (scratch.path("ours"), scratch.path("theirs"));
    cluster_ca().save_new(&ours).unwrap();
    let other = ClusterCa::create("test".parse().unwrap(), CA_VALIDITY, NOW).unwrap();
    other.save_new(&theirs).unwrap();
    for file in ["ca.crt", "ca.key", "ca.crl", "issued.toml"] {
        let kept = fs::read(ours.join(file)).unwrap();
        fs::copy(theirs.join(file), ours.join(file)).unwrap();
        assert!(ClusterCa::load(&ours).is_err(), "{file}");
        fs::write(ours.join(file), kept).unwrap();
        ClusterCa::load(&ours).unwrap();
    }
}

#[test]
fn revocation_lists_are_renewed_in_passing_and_forget_the_expired() {
    let mut ca = cluster_ca();
    let n1 = issue(&mut ca, &node("n1", "db"));
    ca.revoke(&n1.serial, NOW).unwrap();
    assert_eq!(ca.crl().number, 2);
    ca.issue(&node("n2", "db"), DAY, after(NOW, DAY * 14)).unwrap();
    assert_eq!(ca.crl().number, 2, "more than half of its 30 days are left");
    ca.issue(&node("n2", "db"), DAY, after(NOW, DAY * 16)).unwrap();
    assert_eq!((ca.crl().number, ca.crl().revoked_count), (3, 0));
}

#[test]
fn keys_that_others_can_read_are_refused() {
    let (scratch, mut ca) = (Scratch::new(), cluster_ca());
    let dir = scratch.path("n1");
    issue(&mut ca, &node("n1", "db")).write_to(&dir, IfExists::Refuse).unwrap();
    assert_eq!((mode(&dir), mode(&dir.join("node.key"))), (0o700, 0o600));
    let credentials = Credentials::load(&dir, NOW).unwrap();
    assert_eq!(credentials.identity(), &node("n1", "db"));
    for wide in [0o640, 0o604, 0o610, 0o644] {
        fs::set_permissions(dir.join("node.key"), fs::Permissions::from_mode(wide)).unwrap();
        let error = Credentials::load(&dir, NOW).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, LoadError::File(FileError::WideMode { mode, .. }) if mode == wide));
        assert!(text.contains("node.key") && text.contains(&format!("{wide:04o}")), "{text}");
    }
    fs::set_permissions(dir.join("node.key"), fs::Permissions::from_mode(0o400)).unwrap();
    Credentials::load(&dir, NOW).unwrap();
}

#[test]
fn own_certificates_that_peers_would_refuse_are_refused_at_load() {
    let (scratch, mut ca) = (Scratch::new(), cluster_ca());
    let dir = scratch.path("n1");
    let bundle = issue(&mut ca, &node("n1", "db"));
    bundle.write_to(&dir, IfExists::Refuse).unwrap();
    let label = |now| match Credentials::load(&dir, now) {
        Err(LoadError::OwnCertificate(refusal)) => refusal.label(),
        other => panic!("{other:?}"),
    };
    assert_eq!(label(after(NOW, DAY * 8)), "expired");
    assert_eq!(label(at(1_768_435_200 - 301)), "not_yet_valid");
    ca.revoke(&bundle.serial, NOW).unwrap();
    fs::write(dir.join("ca.crl"), ca.crl_pem()).unwrap();
    assert_eq!(label(NOW), "revoked");
    fs::copy(dir.join("ca.crt"), dir.join("node.crt")).unwrap();
    assert!(Credentials::load(&dir, NOW).is_err());
}

#[test]
fn revocation_lists_only_go_forward() {
    let mut ca = DevCa::new("prod", NOW).unwrap();
    let n1 = ca.node("n1", Roles::all()).unwrap();
    let first = ca.crls().unwrap();
    ca.renew_crl().unwrap();
    let second = ca.crls().unwrap();
    let n1 = n1.with_crls(second.clone()).unwrap();
    assert_eq!(n1.crls()[0].number, 2);
    let fell = n1.with_crls(first).unwrap_err();
    let expected = CrlError::NumberFell { loaded: 2, offered: 1 };
    assert!(matches!(fell, LoadError::Crl(error) if error == expected));
    n1.with_crls(second).unwrap();

    let stranger = DevCa::new("prod", NOW).unwrap().crls().unwrap();
    let foreign = n1.with_crls(stranger).unwrap_err();
    assert!(matches!(foreign, LoadError::Crl(CrlError::ForeignIssuer)));
    let mut forged = ca.crls().unwrap()[0].to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let forged = n1.with_crls(vec![forged.into()]).unwrap_err();
    assert!(matches!(forged, LoadError::Crl(CrlError::ForeignIssuer)));
    let huge = n1.with_crls(vec![vec![0x30; (1 << 20) + 1].into()]).unwrap_err();
    assert!(matches!(huge, LoadError::Crl(CrlError::TooLarge { .. })));
    let junk = n1.with_crls(vec![vec![0x30; 64].into()]).unwrap_err();
    assert!(matches!(junk, LoadError::Crl(CrlError::Malformed)));
}

#[test]
fn a_reload_takes_new_files_and_refuses_older_lists_and_other_holders() {
    let (scratch, mut ca) = (Scratch::new(), cluster_ca());
    let dir = scratch.path("n1");
    issue(&mut ca, &node("n1", "db")).write_to(&dir, IfExists::Refuse).unwrap();
    let old_crl = ca.crl_pem().to_owned();
    let loaded = Credentials::load(&dir, NOW).unwrap();
    ca.renew_crl(NOW).unwrap();
    let renewed = issue(&mut ca, &node("n1", "db.vios"));
    renewed.write_to(&dir, IfExists::Replace).unwrap();
    let loaded = loaded.reload(&dir, NOW).unwrap();
    assert_eq!((loaded.serial(), loaded.crls()[0].number), (renewed.serial, 2));
    fs::write(dir.join("ca.crl"), old_crl).unwrap();
    let error = loaded.reload(&dir, NOW).unwrap_err();
    assert!(matches!(error, LoadError::Crl(CrlError::NumberFell { loaded: 2, offered: 1 })));
    issue(&mut ca, &node("n2", "db")).write_to(&dir, IfExists::Replace).unwrap();
    assert!(matches!(loaded.reload(&dir, NOW), Err(LoadError::HolderChanged { .. })));
}

#[test]
fn each_root_of_a_bundle_needs_its_revocation_list() {
    let scratch = Scratch::new();
    let (mut old, new) = (cluster_ca(), cluster_ca());
    let dir = scratch.path("n1");
    issue(&mut old, &node("n1", "db")).write_to(&dir, IfExists::Refuse).unwrap();
    let both = format!("{}{}", old.roots_pem(), new.roots_pem());
    fs::write(dir.join("ca.crt"), both).unwrap();
    let error = Credentials::load(&dir, NOW).unwrap_err();
    assert!(matches!(error, LoadError::Crl(CrlError::Missing { .. })), "{error}");
    let lists = format!("{}{}", new.crl_pem(), old.crl_pem());
    fs::write(dir.join("ca.crl"), &lists).unwrap();
    assert_eq!(Credentials::load(&dir, NOW).unwrap().crls().len(), 2);
    assert_eq!(crls_from_pem(lists.as_bytes()).unwrap().len(), 2);
    fs::write(dir.join("ca.crl"), format!("{lists}{}", old.crl_pem())).unwrap();
    let error = Credentials::load(&dir, NOW).unwrap_err();
    assert!(matches!(error, LoadError::Crl(CrlError::Duplicate)), "{error}");
}

fn inventory(count: usize) -> Inventory {
    let node = |i| format!("[[node]]\nname = \"n{i}\"\naddr = \"10.0.0.{i}:7400\"\n");
    let text = (1..=count).map(node).collect::<String>();
    format!("cluster = \"prod\"\n{text}").parse().expect("an inventory")
}

/// Every file below `dir` with its content.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push((path.clone(), fs::read(&path).expect("a file")));
        }
    }
    found.sort();
    found
}

#[test]
fn a_whole_inventory_is_issued_once() {
    let (scratch, mut ca) = (Scratch::new(), cluster_ca());
    let (ca_dir, out) = (scratch.path("ca"), scratch.path("out"));
    ca.save_new(&ca_dir).unwrap();
    let inventory = inventory(5);
    let plan = |if_exists| IssuePlan {
        inventory: &inventory,
        out: &out,
        validity: LEAF_VALIDITY,
        if_exists,
        now: NOW,
    };
    let hook = |node: &vioduct_certs::inventory::InventoryNode, dir: &Path| {
        fs::write(dir.join("vioduct.toml"), node.addr.as_str())
    };
    let save = |ca: &ClusterCa| ca.save(&ca_dir);
    let hosts = issue_all(&mut ca, plan(IfExists::Refuse), save, hook).unwrap();
    assert_eq!(hosts.len(), 5);
    for host in &hosts {
        assert_eq!(Credentials::load(&host.dir, NOW).unwrap().serial(), host.serial);
        let config = fs::read_to_string(host.dir.join("vioduct.toml")).unwrap();
        assert_eq!(config, host.node.addr.as_str());
        assert_eq!(mode(&host.dir.join("node.key")), 0o600);
    }

    let before = contents(&scratch.0);
    let refused = issue_all(&mut ca, plan(IfExists::Refuse), save, hook).unwrap_err();
    let IssueAllError::Exists { paths } = &refused else { panic!("{refused}") };
    assert_eq!(paths.len(), 5);
    assert!(refused.to_string().contains("out/n1"), "{refused}");
    assert_eq!(contents(&scratch.0), before);
    assert_eq!(ca.issued().len(), 5);

    let again = issue_all(&mut ca, plan(IfExists::Replace), save, hook).unwrap();
    assert_ne!(again[0].serial, hosts[0].serial);
    assert_eq!(ClusterCa::load(&ca_dir).unwrap().issued().len(), 10);
}

#[test]
fn a_requested_key_never_leaves_its_host() {
    let (scratch, mut ca) = (Scratch::new(), cluster_ca());
    let dir = scratch.path("n1");
    let name = "n1".parse().unwrap();
    let sign = |ca: &mut ClusterCa, who: &Identity| {
        let request = fs::read_to_string(dir.join("node.csr")).unwrap();
        ca.sign_csr(&request, who, LEAF_VALIDITY, NOW).unwrap()
    };
    make_request(&dir, &name, IfExists::Refuse).unwrap();
    assert_eq!(mode(&dir.join("node.key.new")), 0o600);
    let again = make_request(&dir, &name, IfExists::Refuse);
    assert!(matches!(again, Err(InstallError::File(FileError::Exists { .. }))));
    let first = sign(&mut ca, &node("n1", "db"));
    let everything = |bundle: &IssuedBundle| {
        let (cert, roots) = (bundle.cert_pem.clone(), bundle.roots_pem.clone());
        (cert, roots, bundle.crl_pem.clone())
    };
    let put = |(cert, roots, crl): &(String, String, String)| {
        let new = Installation {
            cert: Some(cert.as_bytes()),
            roots: Some(roots.as_bytes()),
            crls: Some(crl.as_bytes()),
            change_holder: false,
        };
        install(&dir, &new, NOW)
    };
    let installed = put(&everything(&first)).unwrap();
    assert_eq!((installed.credentials.serial(), installed.replaced), (first.serial, None));
    assert!(!dir.join("node.key.new").exists() && !dir.join("node.csr").exists());
    assert_eq!(mode(&dir.join("node.key")), 0o600);

    // A second round is a rotation: new key, new certificate, the old pair whole until then.
    make_request(&dir, &name, IfExists::Refuse).unwrap();
    assert_eq!(Credentials::load(&dir, NOW).unwrap().serial(), first.serial);
    let second = sign(&mut ca, &node("n1", "db"));
    assert_eq!(put(&everything(&second)).unwrap().replaced, Some(first.serial));
    assert!(matches!(put(&everything(&first)), Err(InstallError::NoKey)));

    make_request(&dir, &name, IfExists::Refuse).unwrap();
    let other = sign(&mut ca, &node("n2", "db"));
    let before = contents(&dir);
    assert!(matches!(put(&everything(&other)), Err(InstallError::OtherHolder { .. })));
    assert_eq!(contents(&dir), before);

    ca.renew_crl(NOW).unwrap();
    let crl_only = Installation { crls: Some(ca.crl_pem().as_bytes()), ..Installation::default() };
    let updated = install(&dir, &crl_only, NOW).unwrap();
    assert_eq!(updated.credentials.crls()[0].number, 2);
    let older = Installation { crls: Some(first.crl_pem.as_bytes()), ..Installation::default() };
    let error = install(&dir, &older, NOW).unwrap_err();
    assert!(matches!(error, InstallError::Load(LoadError::Crl(CrlError::NumberFell { .. }))));
}
