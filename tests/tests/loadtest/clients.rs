//! Clients' disks through their actors: the harness is the node of their hypervisor.

#![expect(clippy::indexing_slicing, reason = "a test fails by it")]

use std::time::Duration;

use serde_json::Value;
use tokio::time::{interval, timeout};
use vioduct_tests::built;
use vioduct_tests::cluster::send_signal;
use vioduct_tests::disks::{DiskCluster, DiskPlan, PHYP};

use super::block::block;
use super::{ended, output, result, under_way};

const WITHIN: Duration = Duration::from_secs(30);
/// Its client enters by v1.
const PLAN: DiskPlan = DiskPlan { lu: 2, size: 16 << 20 };
const CLIENT: &str = "1/lpar1";
const OTHER_CLIENT: &str = "1/lpar2";

/// Shows another LU to another client; gives its number.
async fn show_another(disks: &DiskCluster) -> u64 {
    let run = async |command: &str| {
        let words: Vec<&str> = command.split(' ').collect();
        disks.command(&words).await.expect("the cluster takes it")
    };
    run(&format!("client add {OTHER_CLIENT}")).await;
    let made = run("lu create --pool pool --size 16MiB --timeout-ms 12000 --output json").await;
    let made: Value = serde_json::from_str(&made).expect("it is JSON");
    let lu = made["lu"].as_u64().expect("an LU has a number");
    run(&format!("vtd create --lu {lu} --client {OTHER_CLIENT}")).await;
    lu
}

/// Waits until each of these clients has logged in, for its LU, to a VIOS that is not this one.
async fn log_in(disks: &DiskCluster, clients: &[(u64, &str)], not_to: &str) {
    let mut last = Value::Null;
    let looking = async {
        let mut looks = interval(Duration::from_millis(100));
        loop {
            looks.tick().await;
            last = disks.answer(&["path", "ls", "--cluster", "cluster.toml"]).await.expect("JSON");
            let adapters = last["adapters"].as_array().expect("a list of adapters");
            let have_all = clients.iter().all(|(lu, client)| {
                adapters.iter().any(|one| {
                    let is_its_own = one["lu"] == *lu && one["client"] == *client;
                    let is_in_use = one["adapter_id"].is_u64() && !one["physical"].is_null();
                    is_its_own && is_in_use && one["phyp"] == PHYP && one["vios"] != not_to
                })
            });
            if have_all {
                return;
            }
        }
    };
    let logged_in = timeout(WITHIN, looking).await;
    logged_in.unwrap_or_else(|_late| panic!("not logged in: {clients:?}; last: {last:#}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_log_in_and_write_while_one_vios_after_the_other_dies_and_returns() {
    let mut disks = DiskCluster::create(built::vioduct().unwrap(), &[PLAN]).await.unwrap();
    disks.start(WITHIN).await.unwrap();
    let other = show_another(&disks).await;
    let clients = [(PLAN.lu, CLIENT), (other, OTHER_CLIENT)];
    disks.cluster().signal(PHYP, "TERM").await.unwrap();
    disks.cluster().ended(PHYP).await.unwrap();

    let args = format!(
        "--hypervisor {PHYP}/vioduct.toml lu:{} lu:{other} --range 1m --depth 4 --overlap \
         --flush-every 64 --warmup 0s --duration 10m",
        PLAN.lu
    );
    let run = under_way(block(&args, disks.dir())).await;
    log_in(&disks, &clients, "").await;
    for vios in ["v1", "v2"] {
        disks.cluster().kill(vios).await.unwrap();
        log_in(&disks, &clients, vios).await;
        disks.cluster().start(vios).await.unwrap();
    }
    send_signal(run.0.id().unwrap(), "INT").await.unwrap();

    let output = ended(run).await;
    let result = result(&output);
    assert_eq!(output.status.code(), Some(0), "{result:#}");
    assert_eq!(
        (&result["errors"]["total"], &result["violations"]["total"]),
        (&0.into(), &0.into())
    );
    assert_eq!(result["read_back"]["is_whole"], true);
    assert_eq!(result["config"]["disks"], serde_json::json!(["lu:2", format!("lu:{other}")]));
    for client in result["clients"]["each"].as_array().unwrap() {
        assert!(client["iops"].as_f64().unwrap() > 0.0, "{client:#}");
    }
    // The node was left as its next run needs it.
    disks.cluster().start(PHYP).await.unwrap();
    let are_served = |lus: &Value| {
        let served = lus["disks"].as_array()?.iter().filter(|disk| disk["state"] == "serving");
        (served.count() == clients.len()).then_some(())
    };
    disks.until(WITHIN, "both disks are served", are_served).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_does_not_come_is_given_up_with_what_its_hypervisor_says() {
    let disks = DiskCluster::create(built::vioduct().unwrap(), &[]).await.unwrap();
    let expected = "no VTD that the hypervisor knows of shows LU 9 to a client of CEC 1";
    let args = format!("--hypervisor {PHYP}/vioduct.toml lu:9 --deadline 1s");
    let output = output(block(&args, disks.dir())).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.stdout.is_empty() && said.contains(expected), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
}

#[tokio::test]
async fn an_lu_and_a_hypervisor_are_named_together_or_not_at_all() {
    let disks = DiskCluster::create(built::vioduct().unwrap(), &[]).await.unwrap();
    for (args, code, expected) in [
        ("lu:2", 2, "--hypervisor vioduct.toml"),
        ("--hypervisor p1/vioduct.toml nbd://127.0.0.1:1/", 2, "lu:N"),
        ("--hypervisor p1/vioduct.toml lu:two", 2, "lu:7"),
        ("--hypervisor v1/vioduct.toml lu:2", 1, "v1/vioduct.toml has no [phyp]"),
        ("--hypervisor none.toml lu:2", 1, "none.toml"),
    ] {
        let output = output(block(args, disks.dir())).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.stdout.is_empty() && said.contains(expected), "{args}: {said}");
        assert_eq!(output.status.code(), Some(code), "{args}: {said}");
    }
}
