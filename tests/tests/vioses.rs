//! VIOSes become members of a cluster, on real processes: admitted, registered, known again after
//! a restart, refused; what one does whose database is silent; and one is the primary.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by it")]
#![expect(clippy::print_stdout, reason = "figures, for whoever runs it with --nocapture")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, interval, timeout};
use vioduct_db::ShardId;
use vioduct_db::client::{DbConfig, WatchEvent, WatchFrom};
use vioduct_db::machine::EventKind;
use vioduct_db::schema::Schema;
use vioduct_db::watch::Filter;
use vioduct_tests::built;
use vioduct_tests::cluster::Cluster;
use vioduct_tests::db::{DbClient, client_on};
use vioduct_tests::registering::run;
use vioduct_vios::api::{self, Vio, VioId, VioRequest};
use vioduct_vios::cluster::row::with_tables;

const WITHIN: Duration = Duration::from_secs(20);
const DB: [&str; 4] = ["--certs", "tool", "--cluster", "cluster.toml"];

/// Nodes of one CEC each, with the database on the first three, and `[cm]` on all.
async fn nodes(members: &[(&str, &str)], cm: &str) -> Cluster {
    let cluster = Cluster::create_of(built::vioduct().unwrap(), members).await.unwrap();
    for ((name, roles), cec) in members.iter().zip(1..) {
        let mut file = File::options().append(true).open(cluster.config(name)).unwrap();
        if roles.contains("db") {
            writeln!(file, "\n[db]\ndir = \"db\"").unwrap();
        }
        writeln!(file, "\n[cm]\ncec = {cec}\n{cm}").unwrap();
    }
    cluster
}

fn with_db<'a>(words: &[&'a str]) -> Vec<&'a str> {
    words.iter().copied().chain(DB).collect()
}

/// The answer of a command, whatever its exit code.
async fn answer(cluster: &Cluster, words: &[&str]) -> Value {
    let mut args = with_db(words);
    args.extend(["--output", "json"]);
    let output = cluster.output(&args).await.unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_none| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

async fn fails_with(cluster: &Cluster, words: &[&str], said: &str) {
    let output = cluster.output(&with_db(words)).await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains(said), "{error}");
}

/// The VIOS of a node as it is listed, once `is` holds for it.
async fn listed(cluster: &Cluster, node: &str, is: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let looking = async {
        let mut looks = interval(Duration::from_millis(100));
        loop {
            looks.tick().await;
            last = answer(cluster, &["vios", "ls"]).await;
            let found = last["vioses"].as_array().unwrap().iter().find(|vios| vios["node"] == node);
            if let Some(found) = found.filter(|found| is(found)) {
                return found.clone();
            }
        }
    };
    let found = timeout(WITHIN, looking).await;
    found.unwrap_or_else(|_late| panic!("{node} is not so: {last:#}"))
}

/// Waits until a node has logged this; gives all of its log.
async fn logged(cluster: &Cluster, node: &str, text: &str) -> String {
    let looking = async {
        let mut looks = interval(Duration::from_millis(50));
        loop {
            looks.tick().await;
            let log = fs::read_to_string(cluster.log(node)).unwrap();
            if log.contains(text) {
                return log;
            }
        }
    };
    timeout(WITHIN, looking).await.unwrap_or_else(|_late| panic!("{node} has not logged: {text}"))
}

fn is_member(vios: &Value) -> bool {
    vios["state"] == "member" || vios["state"] == "primary"
}

async fn client(cluster: &Cluster) -> DbClient {
    let schema = Arc::new(with_tables(Schema::new(0)));
    client_on(cluster, ["n1", "n2", "n3"], schema, DbConfig::default()).await.unwrap()
}

/// The node of the primary by the database, once it is none of `old`.
async fn primary_after(client: &DbClient, old: Option<&str>) -> String {
    let vio = Vio::new(client.db.clone());
    let looking = async {
        let mut looks = interval(Duration::from_millis(20));
        loop {
            looks.tick().await;
            // In an election of the database's own there is no answer.
            let id = VioId::Cluster;
            let Ok(cluster) = vio.call(VioRequest::Read { id }).await else { continue };
            let primary = cluster.first::<api::Cluster>().unwrap().primary;
            if let Some(primary) = primary.filter(|primary| Some(primary.as_str()) != old) {
                return primary;
            }
        }
    };
    timeout(WITHIN, looking).await.expect("there is a primary")
}

/// Follows the primary's row; fails when one is written before the one before it was gone.
async fn one_at_a_time(client: DbClient) -> usize {
    let schema = with_tables(Schema::new(0));
    let filter = Filter::of([schema.named("primary").unwrap()]);
    let mut watch = client.db.watch(ShardId(0), filter, WatchFrom::After(0)).await.unwrap();
    let mut kinds = Vec::new();
    loop {
        match watch.next().await {
            Ok(WatchEvent::Changes { changes, .. }) => {
                kinds.extend(changes.into_iter().map(|change| change.kind));
            }
            Ok(WatchEvent::Progress { .. }) => break,
            Ok(WatchEvent::Resync { .. }) => panic!("changes are missing"),
            Err(_away) => {}
        }
    }
    let (written, gone): (Vec<_>, Vec<_>) =
        kinds.iter().enumerate().partition(|(_number, kind)| **kind == EventKind::Put);
    assert!(written.iter().all(|(number, _kind)| number % 2 == 0), "two at once: {kinds:?}");
    assert!(gone.iter().all(|(number, _kind)| number % 2 == 1), "gone twice: {kinds:?}");
    written.len()
}

fn kills() -> usize {
    std::env::var("PRIMARY_KILLS").map_or(5, |kills| kills.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_killed_is_followed_by_another_one_and_never_two_at_once() {
    let both = r#""db", "vios""#;
    let mut cluster = nodes(&[("n1", both), ("n2", both), ("n3", both)], "").await;
    for name in ["n1", "n2", "n3"] {
        cluster.start(name).await.unwrap();
    }
    cluster.run(&with_db(&["db", "init"])).await.unwrap();
    let create = ["cluster", "create", "--name", "blue", "n1", "n2", "n3"];
    cluster.run(&with_db(&create)).await.unwrap();
    let eye = client(&cluster).await;
    let mut took = Vec::new();
    for _kill in 0..kills() {
        for node in ["n1", "n2", "n3"] {
            listed(&cluster, node, is_member).await;
        }
        let primary = primary_after(&eye, None).await;
        let killed = Instant::now();
        cluster.kill(&primary).await.unwrap();
        primary_after(&eye, Some(&primary)).await;
        took.push(killed.elapsed().as_millis());
        cluster.start(&primary).await.unwrap();
    }
    let elections = one_at_a_time(eye).await;
    assert!(elections > kills(), "{elections} elections");
    took.sort_unstable();
    let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
    println!("{} primaries killed: another one after {median} ms, at most {worst} ms", took.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vioses_are_admitted_and_register_and_are_known_again() {
    let both = r#""db", "vios""#;
    let members = [("n1", both), ("n2", both), ("n3", both), ("n4", r#""vios""#)];
    let mut cluster = nodes(&members, "").await;
    for (name, _roles) in &members {
        cluster.start(name).await.unwrap();
    }
    cluster.run(&with_db(&["db", "init", "--nodes", "n1,n2,n3"])).await.unwrap();
    fails_with(&cluster, &["vios", "ls"], "make one with `vioduct cluster create`").await;
    let create = ["cluster", "create", "--name", "blue", "n1", "n2", "n3"];
    cluster.run(&with_db(&create)).await.unwrap();
    fails_with(&cluster, &create, "holds cluster blue already").await;
    let mut first = Value::Null;
    for (number, node) in (1..).zip(["n1", "n2", "n3"]) {
        let vios = listed(&cluster, node, is_member).await;
        assert_eq!((&vios["number"], &vios["cec"]), (&number.into(), &number.into()), "{vios}");
        first = vios;
    }

    // One that nobody admitted says who has to do what.
    cluster.signal("n4", "TERM").await.unwrap();
    cluster.ended("n4").await.unwrap();
    cluster.start("n4").await.unwrap();
    logged(&cluster, "n4", "admit it with `vioduct vios add n4`").await;
    fails_with(&cluster, &["vios", "remove", "n4"], "n4 is no VIOS of the cluster").await;
    cluster.run(&with_db(&["vios", "add", "n4"])).await.unwrap();
    fails_with(&cluster, &["vios", "add", "n4"], "n4 is a VIOS of the cluster already").await;
    let fourth = listed(&cluster, "n4", is_member).await;
    assert_eq!(fourth["number"], 4);
    // All are told of it.
    for node in ["n1", "n2", "n3", "n4"] {
        listed(&cluster, node, |vios| vios["knows"] == 4).await;
    }

    // Killed and started again it is the same one.
    cluster.kill("n3").await.unwrap();
    cluster.start("n3").await.unwrap();
    let again = listed(&cluster, "n3", is_member).await;
    assert_eq!((&again["number"], &again["unique_id"]), (&first["number"], &first["unique_id"]));

    // Its number is given to no other one, and a lost disk is not taken for it.
    cluster.run(&with_db(&["vios", "remove", "n4"])).await.unwrap();
    for node in ["n1", "n2", "n3"] {
        listed(&cluster, node, |vios| vios["knows"] == 3).await;
    }
    logged(&cluster, "n4", "the database knows this VIOS no more").await;
    cluster.run(&with_db(&["vios", "add", "n4"])).await.unwrap();
    assert_eq!(listed(&cluster, "n4", is_member).await["number"], 5);
    cluster.kill("n4").await.unwrap();
    fs::remove_file(cluster.dir().join("n4/data/cluster/odm")).unwrap();
    cluster.start("n4").await.unwrap();
    let lost = listed(&cluster, "n4", |vios| vios["state"] == "failed").await;
    assert!(lost["reason"].as_str().unwrap().contains("has registered as"), "{lost}");

    // Neither is a copy of another one's disk.
    cluster.kill("n4").await.unwrap();
    fs::copy(cluster.dir().join("n1/data/cluster/odm"), cluster.dir().join("n4/data/cluster/odm"))
        .unwrap();
    cluster.start("n4").await.unwrap();
    let copied = listed(&cluster, "n4", |vios| vios["state"] == "failed").await;
    assert!(copied["reason"].as_str().unwrap().contains("is that of n1"), "{copied}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vios_whose_database_is_silent_resends_and_then_fails_and_says_why() {
    let members = [("n1", r#""vios""#)];
    let mut cluster = nodes(&members, "attempts = 3\nanswer_within_ms = 200\npause_ms = 50").await;
    cluster.start("n1").await.unwrap();
    let log = logged(&cluster, "n1", "the VIOS is no member of its cluster").await;
    assert_eq!(log.matches("the VIOS is not registered").count(), 3, "{log}");
    assert!(log.contains("not registered after 3 attempts"), "{log}");
    // The node itself goes on.
    assert!(cluster.is_alive("n1").unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vioses_that_start_at_once_are_all_registered_and_told_of_each_other() {
    let program = Path::new(env!("CARGO_BIN_EXE_vioduct-register"));
    let figures = run(built::vioduct().unwrap(), program, 30).await.unwrap();
    println!("{figures:?}");
    assert!(figures.all_ms < 60_000 && figures.told_ms >= figures.half_ms, "{figures:?}");
}
