//! Clients log in to the VIOSes that they use: each has its ClientID, and a vioAdapterID for each
//! VIOS, which stays its own. Their requests don't wait for that.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by it")]

use std::time::Duration;

use serde_json::Value;
use tokio::time::{interval, timeout};
use vioduct_tests::built;
use vioduct_tests::disks::{DATABASE, DiskCluster, DiskPlan, STORAGE};

const WITHIN: Duration = Duration::from_secs(30);
/// Its client enters by v1, and then by v2.
const LU: u64 = 2;
const PLAN: DiskPlan = DiskPlan { lu: LU, size: 1 << 20 };

/// What `path ls` says of the LU's client on a VIOS, once that is as it should be.
async fn adapter(disks: &DiskCluster, vios: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let looking = async {
        let mut looks = interval(Duration::from_millis(100));
        loop {
            looks.tick().await;
            last = disks.answer(&["path", "ls", "--cluster", "cluster.toml"]).await.unwrap();
            let mut adapters = last["adapters"].as_array().unwrap().iter();
            let is_it = |one: &&Value| one["lu"] == LU && one["vios"] == vios && is_so(one);
            if let Some(found) = adapters.find(is_it) {
                return found.clone();
            }
        }
    };
    let found = timeout(WITHIN, looking).await;
    found.unwrap_or_else(|_late| panic!("no such adapter on {vios}: {last:#}"))
}

fn has_logged_in(adapter: &Value) -> bool {
    adapter["adapter_id"].is_u64() && !adapter["physical"].is_null()
}

async fn served_by(disks: &DiskCluster, entry: u64) {
    let is_served = |lus: &Value| {
        let disk = lus["disks"].as_array()?.iter().find(|disk| disk["lu"] == LU)?;
        (disk["state"] == "serving" && disk["entry"] == entry).then_some(())
    };
    disks.until(WITHIN, "the disk is served", is_served).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_has_an_adapter_of_its_own_on_each_vios_that_it_uses() {
    let mut disks = DiskCluster::create(built::vioduct().unwrap(), &[PLAN]).await.unwrap();
    disks.start(WITHIN).await.unwrap();
    let first = adapter(&disks, "v1", has_logged_in).await;
    assert_eq!(
        (&first["client"], &first["phyp"], &first["storage"], &first["reason"]),
        (&"1/lpar1".into(), &"p1".into(), &STORAGE.into(), &Value::Null)
    );
    assert_eq!(first["port"], disks.fabric("v1").unwrap().addr().to_string());

    // Without the fabric its requests leave by another VIOS: its adapter is the same one.
    disks.fabric("v1").unwrap().cut_both();
    let redirected = adapter(&disks, "v1", |one| one["over"].is_u64()).await;
    assert_eq!(redirected["adapter_id"], first["adapter_id"]);

    disks.cluster().kill("v1").await.unwrap();
    let second = adapter(&disks, "v2", has_logged_in).await;
    assert_eq!(second["client_id"], first["client_id"]);
    assert_ne!(second["adapter_id"], first["adapter_id"]);

    disks.fabric("v1").unwrap().heal().unwrap();
    disks.cluster().start("v1").await.unwrap();
    disks.cluster().kill("v2").await.unwrap();
    let again = adapter(&disks, "v1", has_logged_in).await;
    assert_eq!(again["adapter_id"], first["adapter_id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_moves_while_the_database_is_away_and_its_client_logs_in_afterwards() {
    let vioduct = built::vioduct().unwrap();
    let mut disks = DiskCluster::create_beside_database(vioduct, &[PLAN]).await.unwrap();
    disks.start(WITHIN).await.unwrap();
    adapter(&disks, "v1", has_logged_in).await;
    for name in DATABASE {
        disks.cluster().kill(name).await.unwrap();
    }
    disks.cluster().kill("v1").await.unwrap();
    served_by(&disks, 2).await;
    let is_refused =
        |one: &Value| one["reason"].as_str().is_some_and(|why| why.contains("database"));
    let waits = adapter(&disks, "v2", is_refused).await;
    assert_eq!(waits["client"], Value::Null);
    for name in DATABASE {
        disks.cluster().start(name).await.unwrap();
    }
    adapter(&disks, "v2", has_logged_in).await;
}
