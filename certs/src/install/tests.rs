use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::staging::Step;
use super::*;
use crate::ca::{CA_VALIDITY, ClusterCa, LEAF_VALIDITY};
use crate::ca_dir::IfExists;
use crate::identity::{Kind, Roles};
use crate::moment::{DAY, after, at};
use crate::trust::{TrustFiles, TrustSource};

const NOW: UnixTime = at(1_768_435_200);
const STAGED: [&str; 3] = [NEW_CERT_FILE, NEW_ROOTS_FILE, NEW_CRL_FILE];

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vioduct-install-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).expect("scratch directory");
        Self(dir)
    }

    fn copy(&self) -> Self {
        let copy = Self::new();
        for entry in fs::read_dir(&self.0).expect("a directory") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), copy.0.join(entry.file_name())).expect("copied");
        }
        copy
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.0.join(file)).expect("a file")
    }

    fn has(&self, file: &str) -> bool {
        self.0.join(file).exists()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn ca() -> ClusterCa {
    ClusterCa::create("prod".parse().expect("a name"), CA_VALIDITY, NOW).expect("a CA")
}

fn node(name: &str) -> Identity {
    Identity {
        cluster: "prod".parse().expect("a name"),
        name: name.parse().expect("a name"),
        kind: Kind::Node,
        roles: Roles::all(),
    }
}

fn host(ca: &mut ClusterCa) -> Scratch {
    let host = Scratch::new();
    let bundle = ca.issue(&node("n1"), LEAF_VALIDITY, NOW).expect("issued");
    bundle.write_to(&host.0, IfExists::Refuse).expect("written");
    host
}

/// A certificate for the key that waits on `host`.
fn signed(ca: &mut ClusterCa, host: &Scratch) -> String {
    let request = pending_request(&host.0, &node("n1").name).expect("a request");
    ca.sign_csr(&request, &node("n1"), LEAF_VALIDITY, NOW).expect("signed").cert_pem
}

/// Another certificate for the key that `host` has installed.
fn signed_again(ca: &mut ClusterCa, host: &Scratch) -> String {
    let asking = Scratch::new();
    fs::copy(host.0.join(KEY_FILE), asking.0.join(NEW_KEY_FILE)).expect("copied");
    signed(ca, &asking)
}

fn trust_of(cas: &[&ClusterCa]) -> TrustFiles {
    let source = |ca: &ClusterCa| (ca.roots_pem().to_owned(), ca.crl_pem().to_owned());
    let files: Vec<(String, String)> = cas.iter().map(|ca| source(ca)).collect();
    let sources = files
        .iter()
        .map(|(roots, crls)| TrustSource { roots: roots.as_bytes(), crls: crls.as_bytes() });
    TrustFiles::join(&sources.collect::<Vec<_>>(), NOW).expect("joined")
}

fn installation<'a>(cert: Option<&'a str>, trust: &'a TrustFiles) -> Installation<'a> {
    Installation {
        cert: cert.map(str::as_bytes),
        roots: Some(trust.roots_pem.as_bytes()),
        crls: Some(trust.crls_pem.as_bytes()),
        change_holder: false,
    }
}

/// The set that a node would start with.
#[derive(Debug, PartialEq, Eq)]
struct Set {
    serial: Serial,
    roots: Vec<u8>,
    crls: Vec<u8>,
}

fn set(host: &Scratch) -> Option<Set> {
    let serial = Credentials::load(&host.0, NOW).ok()?.serial();
    Some(Set { serial, roots: host.read(ROOTS_FILE), crls: host.read(CRL_FILE) })
}

fn perform(host: &Scratch, steps: &[Step]) {
    for step in steps {
        step.perform(&host.0).expect("performed");
    }
}

/// Cuts an installation off after each of its steps, and what finishes it after each of that.
#[track_caller]
fn assert_old_or_new(before: &Scratch, new: &Installation<'_>) {
    let old = set(before);
    let whole = before.copy();
    install(&whole.0, new, NOW).unwrap();
    let expected = set(&whole);
    assert!(expected.is_some() && expected != old);

    let Plan { stage, apply } = prepare(&before.0, new, NOW).unwrap().plan;
    assert!(apply.len() > 2, "it changes more than a file");
    let steps: Vec<Step> = stage.into_iter().chain(apply).collect();
    for done in 0..=steps.len() {
        let cut = before.copy();
        perform(&cut, &steps[..done]);
        let goes_on = match waiting(&cut.0, NOW).unwrap() {
            Waiting::Goes(ready) => ready.plan.apply.len(),
            Waiting::Nothing | Waiting::Useless => 0,
        };
        for finished in 0..=goes_on {
            let cut = cut.copy();
            if let Waiting::Goes(ready) = waiting(&cut.0, NOW).unwrap() {
                perform(&cut, &ready.plan.apply[..finished]);
            }
            let foretold = pending(&cut.0, NOW).unwrap().map(|credentials| credentials.serial());
            let did = finish(&cut.0, NOW).unwrap();
            assert_eq!(foretold, did.map(|installed| installed.credentials.serial()));
            let found = set(&cut);
            assert!(
                found == expected || (found == old && done < steps.len() && goes_on == 0),
                "cut off after {done} steps, finished {finished}: {found:?}"
            );
            assert_eq!(STAGED.map(|file| cut.has(file)), [false; 3]);
        }
    }
}

#[test]
fn a_renewal_with_a_new_list_is_whole_wherever_it_is_cut_off() {
    let mut ca = ca();
    let host = host(&mut ca);
    let cert = signed(&mut ca, &host);
    ca.renew_crl(NOW).unwrap();
    let crls = Some(ca.crl_pem().as_bytes());
    let new = Installation { cert: Some(cert.as_bytes()), crls, ..Installation::default() };
    assert_old_or_new(&host, &new);
}

#[test]
fn a_change_of_trust_is_whole_wherever_it_is_cut_off() {
    let (mut old, mut new) = (ca(), ca());
    let host = host(&mut old);
    let both = trust_of(&[&old, &new]);
    assert_old_or_new(&host, &installation(None, &both));

    install(&host.0, &installation(None, &both), NOW).unwrap();
    let cert = signed(&mut new, &host);
    install(&host.0, &Installation { cert: Some(cert.as_bytes()), ..Default::default() }, NOW)
        .unwrap();
    assert_old_or_new(&host, &installation(None, &trust_of(&[&new])));

    // Each of these two files fits the other's old content.
    new.renew_crl(NOW).unwrap();
    let mut annotated = trust_of(&[&old, &new]);
    annotated.roots_pem.insert_str(0, "both, until the old one goes\n");
    assert_old_or_new(&host, &installation(None, &annotated));
}

#[test]
fn a_change_of_everything_is_whole_wherever_it_is_cut_off() {
    let (mut old, mut new) = (ca(), ca());
    let host = host(&mut old);
    let cert = signed(&mut new, &host);
    assert_old_or_new(&host, &installation(Some(&cert), &trust_of(&[&new])));
    let cert = signed_again(&mut old, &host);
    assert_old_or_new(&host, &installation(Some(&cert), &trust_of(&[&old, &new])));
    old.renew_crl(NOW).unwrap();
    let crls = Some(old.crl_pem().as_bytes());
    let new = Installation { cert: Some(cert.as_bytes()), crls, ..Installation::default() };
    assert_old_or_new(&host, &new);
}

#[test]
fn a_first_installation_is_whole_or_absent_wherever_it_is_cut_off() {
    let mut ca = ca();
    let host = Scratch::new();
    let cert = signed(&mut ca, &host);
    assert_old_or_new(&host, &installation(Some(&cert), &trust_of(&[&ca])));
}

#[test]
fn a_full_disk_before_the_commit_leaves_nothing_behind() {
    let mut ca = ca();
    let host = host(&mut ca);
    let cert = signed(&mut ca, &host);
    let before = set(&host);
    let new = Installation { cert: Some(cert.as_bytes()), ..Installation::default() };
    let mut ready = prepare(&host.0, &new, NOW).unwrap();
    // No directory of that name: this write fails.
    ready.plan.stage.push(Step::Write { file: "gone/file", bytes: Vec::new() });
    let error = ready.perform(&host.0).unwrap_err();
    assert!(matches!(error, InstallError::File(FileError::Write { .. })), "{error}");
    assert_eq!(STAGED.map(|file| host.has(file)), [false; 3]);
    assert_eq!(set(&host), before);
    install(&host.0, &new, NOW).unwrap();
}

#[test]
fn an_error_after_the_commit_says_that_the_installation_goes_on() {
    let mut ca = ca();
    let host = host(&mut ca);
    let cert = signed(&mut ca, &host);
    ca.renew_crl(NOW).unwrap();
    let crls = Some(ca.crl_pem().as_bytes());
    let new = Installation { cert: Some(cert.as_bytes()), crls, ..Installation::default() };
    let mut ready = prepare(&host.0, &new, NOW).unwrap();
    ready.plan.apply.insert(1, Step::Rename { from: "gone", to: CERT_FILE });
    let error = ready.perform(&host.0).unwrap_err();
    assert!(matches!(error, InstallError::CutOff(_)), "{error}");
    assert!(set(&host).is_none());
    // Here by the next installation, which finds its own work done.
    let list = Installation { crls, ..Installation::default() };
    let installed = install(&host.0, &list, NOW).unwrap();
    assert_eq!(installed.credentials.crls()[0].number, 2);
    assert_eq!(host.read(CERT_FILE), cert.as_bytes());
}

#[test]
fn a_certificate_left_behind_is_dropped_after_a_rotation_by_hand() {
    let mut ca = ca();
    let host = host(&mut ca);
    let cert = signed(&mut ca, &host);
    fs::write(host.0.join(NEW_CERT_FILE), &cert).unwrap();
    let by_hand = ca.issue(&node("n1"), LEAF_VALIDITY, NOW).unwrap();
    by_hand.write_to(&host.0, IfExists::Replace).unwrap();
    let installed = host.copy();
    assert!(finish(&host.0, NOW).unwrap().is_none());
    assert_eq!(set(&host).unwrap().serial, by_hand.serial);
    assert!(!host.has(NEW_CERT_FILE));

    // So does an installation, be it of something else.
    ca.renew_crl(NOW).unwrap();
    let list = Installation { crls: Some(ca.crl_pem().as_bytes()), ..Installation::default() };
    install(&installed.0, &list, NOW).unwrap();
    assert_eq!(set(&installed).unwrap().serial, by_hand.serial);
    assert!(!installed.has(NEW_CERT_FILE));
}

#[test]
fn a_certificate_that_waits_takes_the_place_of_one_that_has_expired() {
    let mut ca = ca();
    let host = host(&mut ca);
    let late = after(NOW, LEAF_VALIDITY + DAY);
    let request = pending_request(&host.0, &node("n1").name).unwrap();
    let fresh = ca.sign_csr(&request, &node("n1"), LEAF_VALIDITY, late).unwrap();
    fs::write(host.0.join(NEW_CERT_FILE), &fresh.cert_pem).unwrap();
    let finished = finish(&host.0, late).unwrap().unwrap();
    assert_eq!(finished.credentials.serial(), fresh.serial);
    Credentials::load(&host.0, late).unwrap();
}

#[test]
fn two_installations_do_not_share_a_directory() {
    let mut ca = ca();
    let host = host(&mut ca);
    let cert = signed(&mut ca, &host);
    ca.renew_crl(NOW).unwrap();
    let list = Installation { crls: Some(ca.crl_pem().as_bytes()), ..Installation::default() };
    let held = lock(&host.0).unwrap();
    let is_busy = |error: InstallError| matches!(error, InstallError::Busy { .. });
    assert!(is_busy(install(&host.0, &list, NOW).unwrap_err()));
    assert!(is_busy(pending_request(&host.0, &node("n1").name).unwrap_err()));
    assert!(is_busy(make_request(&host.0, &node("n1").name, IfExists::Replace).unwrap_err()));
    assert!(finish(&host.0, NOW).unwrap().is_none(), "nothing waits, so nobody is in the way");
    fs::write(host.0.join(NEW_CERT_FILE), &cert).unwrap();
    assert!(is_busy(finish(&host.0, NOW).unwrap_err()));
    drop(held);
    install(&host.0, &list, NOW).unwrap();
    assert_eq!(set(&host).unwrap().crls, ca.crl_pem().as_bytes());
}

#[test]
fn files_that_stay_the_same_are_not_written_again() {
    let mut ca = ca();
    let host = host(&mut ca);
    let inodes = || {
        let inode = |file: &str| fs::metadata(host.0.join(file)).expect("a file").ino();
        [CERT_FILE, KEY_FILE, ROOTS_FILE, CRL_FILE].map(inode)
    };
    let changed = |before: [u64; 4]| {
        let after = inodes();
        [0, 1, 2, 3].map(|file: usize| before[file] != after[file])
    };
    let trust = trust_of(&[&ca]);
    let before = inodes();
    install(&host.0, &installation(None, &trust), NOW).unwrap();
    assert_eq!(changed(before), [false; 4]);

    ca.renew_crl(NOW).unwrap();
    let newer = trust_of(&[&ca]);
    install(&host.0, &installation(None, &newer), NOW).unwrap();
    assert_eq!(changed(before), [false, false, false, true]);

    let cert = signed(&mut ca, &host);
    let before = inodes();
    install(&host.0, &installation(Some(&cert), &newer), NOW).unwrap();
    assert_eq!(changed(before), [true, true, false, false]);
}

#[test]
fn a_pair_that_does_not_fit_is_no_way_around_the_checks() {
    let mut ca = ca();
    let host = host(&mut ca);
    let older = ca.crl_pem().to_owned();
    ca.renew_crl(NOW).unwrap();
    fs::write(host.0.join(CRL_FILE), ca.crl_pem()).unwrap();
    // A key of another certificate.
    let mut rotated = ca.issue(&node("n1"), LEAF_VALIDITY, NOW).unwrap();
    let other = ca.issue(&node("n2"), LEAF_VALIDITY, NOW).unwrap();
    let key = rotated.key_pem.take().unwrap();
    fs::write(host.0.join(KEY_FILE), key.as_bytes()).unwrap();
    assert!(matches!(Credentials::load(&host.0, NOW), Err(LoadError::Key(_))));

    let cert = Some(rotated.cert_pem.as_bytes());
    let new = Installation { cert, crls: Some(older.as_bytes()), ..Installation::default() };
    let error = install(&host.0, &new, NOW).unwrap_err();
    let InstallError::Load(LoadError::Crl(error)) = error else { panic!("{error}") };
    assert_eq!(error, crl::CrlError::NumberFell { loaded: 2, offered: 1 });

    fs::write(host.0.join(KEY_FILE), other.key_pem.as_ref().unwrap().as_bytes()).unwrap();
    let new = Installation { cert: Some(other.cert_pem.as_bytes()), ..Installation::default() };
    let error = install(&host.0, &new, NOW).unwrap_err();
    assert!(matches!(error, InstallError::OtherHolder { .. }), "{error}");
    install(&host.0, &Installation { change_holder: true, ..new }, NOW).unwrap();
}
