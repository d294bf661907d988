//! Real `vioduct` processes whose certificates are renewed, and whose CA is replaced, while their
//! links carry messages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::time::{Instant, interval, timeout};
use vioduct_tests::built;
use vioduct_tests::cluster::{Cluster, link, node, send_signal};

const BOUND: Duration = Duration::from_secs(20);
const NODES: [&str; 2] = ["n1", "n2"];

/// Two nodes, not started, whose leaves live for `lifetime` and are renewed by the CA in `ca/`.
async fn renewing(lifetime: &str) -> Cluster {
    let vioduct = built::vioduct().expect("vioduct is built");
    let cluster = Cluster::create(vioduct.clone(), &NODES).await.expect("certificates are made");
    for name in NODES {
        let sign = ["ca", "sign", "--dir", "ca", "--node", name, "--roles", "db,vios"];
        let sign = [&sign[..], &["--lifetime", lifetime, "--out", "-", "-"]].concat();
        configure_renewal(&cluster, name, &vioduct, &sign);
        let issue = ["ca", "issue", "--dir", "ca", "--node", name, "--roles", "db,vios"];
        let issue = [&issue[..], &["--lifetime", lifetime, "--out", name, "--force"]].concat();
        cluster.run(&issue).await.expect("a leaf is issued");
    }
    cluster
}

/// Gives a node's file a table `[renewal]` with this command of the program.
fn configure_renewal(cluster: &Cluster, name: &str, vioduct: &Path, args: &[&str]) {
    let path = cluster.dir().join(name).join("vioduct.toml");
    let mut text = fs::read_to_string(&path).expect("the node has a file");
    let words =
        std::iter::once(vioduct.to_str().expect("a UTF-8 path")).chain(args.iter().copied());
    let command: Vec<_> = words.collect();
    text += &format!("\n[renewal]\ncommand = {command:?}\n");
    text += "timeout_ms = 5000\nretry_min_ms = 400\nretry_max_ms = 1500\n";
    fs::write(path, text).expect("the node's file is written");
}

async fn start(cluster: &mut Cluster) {
    for name in NODES {
        cluster.start(name).await.expect("the node starts");
    }
    cluster.healthy(BOUND).await.expect("all links are up");
}

fn log(cluster: &Cluster, name: &str) -> String {
    fs::read_to_string(cluster.dir().join(name).join("node.log")).expect("the node has a log")
}

/// The first time that a node lost its link to the other, as it logged it.
fn lost_link(cluster: &Cluster, name: &str) -> Option<String> {
    let log = log(cluster, name);
    // The links of tools end with them.
    let mut lines = log.lines();
    lines.find(|line| line.contains("link down") && line.contains("peer=n")).map(str::to_owned)
}

#[track_caller]
fn assert_no_link_was_down(cluster: &Cluster) {
    assert_eq!(NODES.map(|name| lost_link(cluster, name)), [None, None]);
}

/// Messages to both nodes and back, until it is told to stop.
struct Pings {
    process: Child,
    started: Instant,
}

impl Pings {
    fn start(cluster: &Cluster) -> Self {
        let args = ["cluster", "ping", "--certs", "tool", "--cluster", "cluster.toml"];
        let mut command = cluster.command(&args);
        command.args(["--rate", "50", "--output", "json"]).kill_on_drop(true);
        let process = command.stdout(Stdio::piped()).spawn().expect("the program runs");
        Self { process, started: Instant::now() }
    }

    /// How many came back by the end of a second that began after this call; none may have failed.
    async fn stop(mut self) -> u64 {
        let last = self.started.elapsed().as_secs() + 2;
        let mut lines =
            BufReader::new(self.process.stdout.take().expect("its output was asked for")).lines();
        let mut came_back = 0;
        let counting = async {
            while let Some(line) = lines.next_line().await.expect("lines of UTF-8") {
                let second: Value = serde_json::from_str(&line).expect("a JSON document a line");
                let count = |key| second.get(key).and_then(Value::as_u64);
                assert_eq!(count("failed"), Some(0), "{second}");
                came_back += count("ok").expect("a number");
                if count("second") == Some(last) {
                    send_signal(self.process.id().expect("it runs"), "INT")
                        .await
                        .expect("it takes the signal");
                }
            }
            assert!(self.process.wait().await.expect("it ends").success());
        };
        timeout(BOUND, counting).await.expect("it ends");
        came_back
    }
}

/// Files below `dir` that hold a private key.
fn private_keys(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(private_keys(&path));
        } else if String::from_utf8_lossy(&fs::read(&path).expect("a file")).contains("PRIVATE KEY")
        {
            found.insert(path);
        }
    }
    found
}

/// What a node tells of its credentials, by a pointer like `/leaf/serial`; null when it does not.
fn trust<'a>(status: &'a Value, name: &str, pointer: &str) -> &'a Value {
    static NONE: Value = Value::Null;
    node(status, name).pointer(&format!("/trust{pointer}")).unwrap_or(&NONE)
}

fn serial(status: &Value, name: &str) -> String {
    trust(status, name, "/leaf/serial").as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn certificates_are_renewed_again_and_again_under_a_link_that_stays_up() {
    let mut cluster = renewing("12s").await;
    start(&mut cluster).await;
    let pings = Pings::start(&cluster);
    let mut serials: BTreeMap<&str, Vec<String>> = NODES.map(|name| (name, Vec::new())).into();
    let mut keys = BTreeSet::new();
    let watching = async {
        let mut looks = interval(Duration::from_millis(300));
        while serials.values().any(|seen| seen.len() < 4) {
            looks.tick().await;
            let (status, is_healthy) = cluster.status(None).await.unwrap();
            assert!(is_healthy, "{status:#}");
            for (name, seen) in &mut serials {
                let serial = serial(&status, name);
                if seen.last() != Some(&serial) {
                    seen.push(serial);
                    keys.insert(fs::read(cluster.dir().join(name).join("node.key")).unwrap());
                }
            }
        }
    };
    timeout(Duration::from_secs(50), watching).await.expect("three renewals of each node");

    let (status, _is_healthy) = cluster.status(None).await.unwrap();
    for name in NODES {
        let renewal = trust(&status, name, "/renewal");
        // A fourth may just have been signed, but none twice.
        let renewed = renewal["renewed"].as_u64().unwrap();
        assert!((3..=4).contains(&renewed), "{renewal}");
        assert!(renewal["next_try_in_s"].as_u64() <= Some(9), "{renewal}");
    }
    assert!(pings.stop().await > 500);
    assert_no_link_was_down(&cluster);
    assert_eq!(keys.len(), 8, "each certificate has a key of its own");
    let expected = ["ca/ca.key", "n1/node.key", "n2/node.key", "tool/node.key"];
    let mut left = private_keys(cluster.dir());
    // A renewal may just have begun.
    left.retain(|path| !path.ends_with("node.key.new"));
    assert_eq!(left, expected.map(|file| cluster.dir().join(file)).into());
}

/// Waits until every node's renewal has failed `failures` times; gives the status then.
async fn failing(cluster: &Cluster, failures: u64) -> Value {
    let failed = |status: &Value| {
        let count = |name| trust(status, name, "/renewal/failures").as_u64();
        NODES.iter().all(|name| count(name) >= Some(failures)).then(|| status.clone())
    };
    let bound = Duration::from_secs(40);
    cluster.until(None, bound, "failed renewals", failed).await.expect("renewals fail")
}

#[tokio::test]
async fn a_node_that_is_not_renewed_goes_on_and_recovers_when_the_ca_is_back() {
    let mut cluster = renewing("30s").await;
    start(&mut cluster).await;
    let (ca, away) = (cluster.dir().join("ca"), cluster.dir().join("away"));
    fs::rename(&ca, &away).unwrap();
    let before = cluster.status(None).await.unwrap().0;
    let status = failing(&cluster, 2).await;
    assert_eq!(status["healthy"], true, "{status:#}");
    for name in NODES {
        assert_eq!(serial(&status, name), serial(&before, name));
        let error = trust(&status, name, "/renewal/last_error").as_str().unwrap();
        assert!(error.contains("the renewal command failed, exit status: 1"), "{error}");
        assert!(error.contains("ca is no directory"), "its last words are told: {error}");
    }
    assert_no_link_was_down(&cluster);
    let text =
        cluster.output(&["cluster", "status", "--certs", "tool", "--cluster", "cluster.toml"]);
    let text = String::from_utf8(text.await.unwrap().stdout).unwrap();
    assert!(text.contains("n1: certificate not renewed, tried "), "{text}");

    let waiting = |name| fs::read(cluster.dir().join(name).join("node.key.new")).unwrap();
    let keys = NODES.map(waiting);
    cluster.kill("n2").await.unwrap();
    cluster.start("n2").await.unwrap();
    failing(&cluster, 1).await;

    fs::rename(&away, &ca).unwrap();
    let back = Instant::now();
    let renewed = |status: &Value| {
        let is_new = |name: &&str| {
            let serial = serial(status, name);
            !serial.is_empty()
                && serial != self::serial(&before, name)
                && trust(status, name, "/renewal/failures") == 0
                && trust(status, name, "/renewal/last_error").is_null()
        };
        NODES.iter().all(is_new).then_some(())
    };
    cluster.until(None, BOUND, "new certificates", renewed).await.unwrap();
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    assert!(lost_link(&cluster, "n1").is_some(), "the kill shows in the log, so others would");
    for (name, key) in NODES.iter().zip(keys) {
        let installed = fs::read(cluster.dir().join(name).join("node.key")).unwrap();
        assert!(installed == key, "{name} has the certificate for the key that waited");
        let log = log(&cluster, name);
        assert!(log.contains("certificate not renewed, the old one stays in use"), "{log}");
        assert!(log.contains("certificate renewed"), "{log}");
    }
}

/// Waits until every node is judged by `roots` roots and holds a leaf of the issuers in `issuers`.
async fn trusting(cluster: &Cluster, roots: usize, issuers: [&str; 2]) -> Value {
    let is_so = |status: &Value| {
        let of = |(name, issuer): (&&str, &str)| {
            let count = trust(status, name, "/authorities").as_array().map(Vec::len);
            count == Some(roots) && trust(status, name, "/leaf/issuer") == issuer
        };
        let is_healthy = status.get("healthy") == Some(&Value::Bool(true));
        (is_healthy && NODES.iter().zip(issuers).all(of)).then(|| status.clone())
    };
    cluster.until(None, BOUND, "roots and issuers", is_so).await.expect("roots and issuers change")
}

/// Waits until each node sees the other's present leaf on their link.
async fn settled(cluster: &Cluster) {
    let is_so = |status: &Value| {
        let shows = |(from, to): &(&str, &str)| {
            let shown = link(status, from, to).pointer("/connection/serial");
            shown.is_some_and(|shown| *shown == serial(status, to))
        };
        [("n1", "n2"), ("n2", "n1")].iter().all(shows).then_some(())
    };
    cluster
        .until(None, BOUND, "links with the new leaves", is_so)
        .await
        .expect("links are replaced");
}

#[tokio::test]
async fn a_ca_is_replaced_in_three_phases_under_a_link_that_stays_up() {
    let vioduct = built::vioduct().expect("vioduct is built");
    let mut cluster = Cluster::create(vioduct.clone(), &NODES).await.unwrap();
    start(&mut cluster).await;
    let status = cluster.healthy(BOUND).await.unwrap();
    let old = trust(&status, "n1", "/leaf/issuer").as_str().unwrap().to_owned();

    // 1. Trust both.
    cluster.run(&["ca", "create", "--cluster", "demo", "--dir", "ca-new"]).await.unwrap();
    let both = ["ca", "trust", "--from", "ca", "--from", "ca-new", "--out", "both"];
    cluster.run(&both).await.unwrap();
    for dir in ["n1", "n2", "tool"] {
        let install = ["cert", "install", "--dir", dir, "--ca", "both/ca.crt"];
        cluster.run(&[&install[..], &["--crl", "both/ca.crl"]].concat()).await.unwrap();
    }
    let status = trusting(&cluster, 2, [&old, &old]).await;
    let authorities = trust(&status, "n1", "/authorities").as_array().unwrap();
    let subjects = authorities.iter().map(|root| root["subject"].as_str().unwrap());
    let new = subjects.into_iter().find(|subject| *subject != old).unwrap();

    // 2. Issue from the new one: n1 by the command in its file, n2 by hand.
    let pings = Pings::start(&cluster);
    let sign = ["ca", "sign", "--dir", "ca-new", "--roles", "db,vios", "--node"];
    configure_renewal(&cluster, "n1", &vioduct, &[&sign[..], &["n1", "--out", "-", "-"]].concat());
    cluster.run(&["cert", "renew", "--config", "n1/vioduct.toml"]).await.unwrap();
    trusting(&cluster, 2, [new, &old]).await;
    let drop_old = |dir| ["cert", "install", "--dir", dir, "--ca", "ca-new/ca.crt"];
    let too_early = cluster.run(&drop_old("n2")).await.unwrap_err().to_string();
    assert!(too_early.contains("nothing installed in n2: own certificate"), "{too_early}");
    cluster.run(&["cert", "request", "--node", "n2", "--dir", "n2"]).await.unwrap();
    let sign = [&sign[..], &["n2", "--out", "n2.crt", "n2/node.csr"]].concat();
    cluster.run(&sign).await.unwrap();
    cluster.run(&["cert", "install", "--dir", "n2", "--cert", "n2.crt"]).await.unwrap();
    trusting(&cluster, 2, [new, new]).await;
    settled(&cluster).await;
    assert!(pings.stop().await > 100);

    // 3. Drop the old one.
    cluster.run(&["cert", "request", "--node", "operator", "--dir", "tool"]).await.unwrap();
    let sign =
        ["ca", "sign", "--dir", "ca-new", "--node", "operator", "--tool", "--out", "tool.crt"];
    cluster.run(&[&sign[..], &["tool/node.csr"]].concat()).await.unwrap();
    cluster.run(&["cert", "install", "--dir", "tool", "--cert", "tool.crt"]).await.unwrap();
    let pings = Pings::start(&cluster);
    for dir in ["n1", "n2", "tool"] {
        cluster.run(&drop_old(dir)).await.unwrap();
    }
    let status = trusting(&cluster, 1, [new, new]).await;
    assert_eq!(trust(&status, "n1", "/revocation_lists").as_array().unwrap().len(), 1);
    assert!(pings.stop().await > 100);
    assert_no_link_was_down(&cluster);
}

#[tokio::test]
async fn a_change_of_trust_that_was_cut_off_is_told_by_a_check_and_finished_by_the_start() {
    let vioduct = built::vioduct().expect("vioduct is built");
    let mut cluster = Cluster::create(vioduct, &["n1"]).await.unwrap();
    cluster.run(&["ca", "create", "--cluster", "demo", "--dir", "ca-new"]).await.unwrap();
    let both = ["ca", "trust", "--from", "ca", "--from", "ca-new", "--out", "both"];
    cluster.run(&both).await.unwrap();
    let (from, to) = (cluster.dir().join("both"), cluster.dir().join("n1"));
    // Cut off between the two files.
    fs::copy(from.join("ca.crt"), to.join("ca.crt")).unwrap();
    fs::copy(from.join("ca.crl"), to.join("ca.crl.new")).unwrap();
    fs::copy(to.join("node.crt"), to.join("node.crt.new")).unwrap();
    cluster.run(&["cert", "verify", "--dir", "n1"]).await.unwrap_err();
    let check = ["node", "start", "--config", "n1/vioduct.toml", "--check"];
    let told = cluster.run(&check).await.unwrap();
    assert!(told.contains("good, for spiffe://demo/node/n1/db.vios; installation of"), "{told}");
    assert!(told.contains("was cut off, the start will finish it"), "{told}");
    assert!(to.join("ca.crl.new").exists(), "a check writes nothing");

    cluster.start("n1").await.unwrap();
    let (status, _is_healthy) = cluster.status(None).await.unwrap();
    assert_eq!(trust(&status, "n1", "/authorities").as_array().map(Vec::len), Some(2));
    assert!(log(&cluster, "n1").contains("was cut off, now it is done"));
    let left = ["ca.crl.new", "node.crt.new"].map(|file| to.join(file).exists());
    assert_eq!(left, [false, false]);
    let told = cluster.run(&check).await.unwrap();
    assert_eq!(told, "n1/vioduct.toml: good, for spiffe://demo/node/n1/db.vios\n");

    // Not the business of a process that may not start.
    fs::copy(to.join("ca.crl"), to.join("ca.crl.new")).unwrap();
    let again = cluster.output(&["node", "start", "--config", "n1/vioduct.toml"]).await.unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(to.join("ca.crl.new").exists());
}
