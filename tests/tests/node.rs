//! Real `vioduct` processes: start, status, kill and restart, and what a node refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use vioduct_tests::built;
use vioduct_tests::cluster::{Cluster, link, node};

const BOUND: Duration = Duration::from_secs(20);
const EXIT_CONFIG: i32 = 78;

async fn cluster(names: &[&str]) -> Cluster {
    let vioduct = built::vioduct().expect("vioduct is built");
    Cluster::create(vioduct, names).await.expect("certificates are made")
}

async fn started(names: &[&str]) -> Cluster {
    let mut cluster = cluster(names).await;
    for name in names {
        cluster.start(name).await.expect("the node starts");
    }
    cluster
}

/// Exit code and message of `node start` with n1's file.
async fn start_refused(cluster: &Cluster) -> (i32, String) {
    let output = cluster.output(&["node", "start", "--config", "n1/vioduct.toml"]).await;
    let output = output.expect("the program runs");
    assert!(output.stdout.is_empty(), "nothing but ready lines goes to standard output");
    let code = output.status.code().expect("it ends by itself");
    (code, String::from_utf8(output.stderr).expect("messages are UTF-8"))
}

#[tokio::test]
async fn a_killed_node_is_shown_as_unreachable_and_comes_back_as_a_new_run() {
    let mut cluster = started(&["n1", "n2", "n3"]).await;
    let status = cluster.healthy(BOUND).await.unwrap();
    assert_eq!(status["schema"], 2);
    for name in ["n1", "n2", "n3"] {
        assert_eq!(node(&status, name)["incarnation"], 1);
        assert_eq!(node(&status, name)["cluster"], "demo");
        assert_eq!(node(&status, name)["trust"]["revocation_lists"][0]["number"], 1);
    }
    let serial = &link(&status, "n1", "n2")["connection"]["serial"];
    assert_eq!(serial, &node(&status, "n2")["trust"]["leaf"]["serial"]);

    cluster.kill("n3").await.unwrap();
    let (status, is_healthy) = cluster.status(None).await.unwrap();
    assert!(!is_healthy);
    assert_eq!(status["nodes"][2]["state"], "unreachable");
    assert_eq!(status["nodes"][2]["error"], "no answer from n3 within 2000 ms");
    assert_eq!(status["nodes"][0]["state"], "up");

    cluster.start("n3").await.unwrap();
    // Until they hear of the new run, its peers take the old one's links for live.
    let seen_by = |status: &serde_json::Value, name: &str| {
        link(status, name, "n3").pointer("/connection/incarnation").cloned()
    };
    let anew = |status: &serde_json::Value| {
        let runs = ["n1", "n2"].map(|name| seen_by(status, name));
        let is_new = runs.iter().all(|run| run.as_ref().is_some_and(|run| *run == 2));
        (is_new && status["healthy"] == true).then(|| status.clone())
    };
    let status = cluster.until(None, BOUND, "links to the new run", anew).await.unwrap();
    assert_eq!(node(&status, "n3")["incarnation"], 2);
}

#[tokio::test]
async fn a_node_told_to_stop_closes_its_links_and_ends_well() {
    let mut cluster = started(&["n1", "n2"]).await;
    cluster.healthy(BOUND).await.unwrap();
    cluster.signal("n2", "TERM").await.unwrap();
    assert_eq!(cluster.ended("n2").await.unwrap().code(), Some(0));
    let closed = |status: &serde_json::Value| {
        let link = link(status, "n1", "n2");
        let reason = link["down_reason"].as_str()?.to_owned();
        // It left, and is not dialled any more.
        (link["state"] == "unreachable").then_some(reason)
    };
    let reason = cluster.until(Some("n1"), BOUND, "a closed link", closed).await.unwrap();
    assert!(reason.starts_with("closed by the peer"), "{reason}");
}

#[tokio::test]
async fn a_hang_up_signal_takes_a_new_certificate_into_use() {
    let mut cluster = started(&["n1"]).await;
    let status = cluster.healthy(BOUND).await.unwrap();
    let old = node(&status, "n1")["trust"]["leaf"]["serial"].clone();
    let issue = ["ca", "issue", "--dir", "ca", "--node", "n1", "--out", "n1", "--force"];
    cluster.run(&issue).await.unwrap();
    cluster.signal("n1", "HUP").await.unwrap();
    let changed = |status: &serde_json::Value| {
        let trust = &node(status, "n1")["trust"];
        (trust["leaf"]["serial"] != old).then(|| trust["reloads"].as_u64())
    };
    let reloads = cluster.until(None, BOUND, "a new serial", changed).await.unwrap();
    assert!(reloads >= Some(1));
}

#[tokio::test]
async fn unusable_new_certificates_leave_the_old_ones_in_use_and_are_told_of() {
    let cluster = started(&["n1"]).await;
    let status = cluster.healthy(BOUND).await.unwrap();
    let serial = node(&status, "n1")["trust"]["leaf"]["serial"].clone();
    fs::write(cluster.dir().join("n1/ca.crl"), "no list").unwrap();
    let told = |status: &serde_json::Value| {
        let trust = &node(status, "n1")["trust"];
        let error = trust["reload_error"].as_str()?.to_owned();
        Some((error, trust["leaf"]["serial"].clone()))
    };
    let (error, in_use) = cluster.until(None, BOUND, "a refused reload", told).await.unwrap();
    assert!(error.contains("ca.crl"), "{error}");
    assert_eq!(in_use, serial);
}

#[tokio::test]
async fn a_bad_file_is_refused_with_its_key_and_a_code_of_its_own() {
    let cluster = cluster(&["n1", "n2"]).await;
    let path = cluster.dir().join("n1/vioduct.toml");
    let good = fs::read_to_string(&path).unwrap();
    let check = ["node", "start", "--config", "n1/vioduct.toml", "--check"];
    assert_eq!(
        cluster.run(&check).await.unwrap(),
        "n1/vioduct.toml: good, for spiffe://demo/node/n1/db.vios\n"
    );
    for (text, expected) in [
        (good.replace("data_dir", "data_dirs"), "did you mean `data_dir`?"),
        (good.clone() + "[transport]\nlanes = 99\n", "transport.lanes is 99; it must be 1 to 16"),
        (good.replacen("\"n1\"", "\"n9\"", 1), "node.name is \"n9\"; it must be the name"),
        (good.replace("certs_dir = \".\"", "certs_dir = \"gone\""), "n1/gone/node.crt"),
        (good.replacen("listen = ", "listen = 7 #", 1), "listen = 7"),
    ] {
        fs::write(&path, text).unwrap();
        let (code, message) = start_refused(&cluster).await;
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("n1/"), "the file is named: {message}");
        assert_eq!(code, EXIT_CONFIG, "{message}");
    }
}

#[tokio::test]
async fn a_key_that_others_may_read_is_refused_with_what_to_do() {
    let cluster = cluster(&["n1"]).await;
    let key = cluster.dir().join("n1/node.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let (code, message) = start_refused(&cluster).await;
    assert!(message.contains("mode 0640"), "{message}");
    assert!(message.contains("chmod 600"), "{message}");
    assert_eq!(code, EXIT_CONFIG);
}

#[tokio::test]
async fn a_certificate_whose_installation_was_cut_off_is_in_use_after_the_start() {
    let mut cluster = cluster(&["n1"]).await;
    cluster.run(&["cert", "request", "--node", "n1", "--dir", "n1"]).await.unwrap();
    let sign = ["ca", "sign", "--dir", "ca", "--node", "n1", "--out", "n1/node.crt.new"];
    cluster.run(&[&sign[..], &["n1/node.csr"]].concat()).await.unwrap();
    let (key, waiting) = (cluster.dir().join("n1/node.key"), cluster.dir().join("n1/node.key.new"));
    fs::copy(&waiting, &key).unwrap();
    let shown =
        cluster.run(&["cert", "show", "n1/node.crt.new", "--output", "json"]).await.unwrap();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();

    cluster.start("n1").await.unwrap();
    let status = cluster.healthy(BOUND).await.unwrap();
    let serial = &node(&status, "n1")["trust"]["leaf"]["serial"];
    assert_eq!(*serial, shown["certificates"][0]["serial"]);
    assert!(!waiting.exists());
}

#[tokio::test]
async fn a_second_process_on_the_same_data_directory_is_refused() {
    let cluster = started(&["n1"]).await;
    let (code, message) = start_refused(&cluster).await;
    assert!(message.contains("in use by process"), "{message}");
    assert_eq!(code, 1);
    let status = cluster.healthy(BOUND).await.unwrap();
    assert_eq!(node(&status, "n1")["incarnation"], 1);
}
