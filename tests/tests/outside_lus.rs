//! LUs on a storage outside of the cluster, by the cluster's database, on real processes: one
//! client uses one at a time, whichever its hypervisor is.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by it")]

mod operator;

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;
use vioduct_tests::built;
use vioduct_tests::disks::{DiskCluster, DiskPlan, OTHER_PHYP, PHYP};

use self::operator::{fails_with, so};

const WITHIN: Duration = Duration::from_secs(30);
const SIZE: u64 = 1 << 20;

async fn started() -> DiskCluster {
    let plan = DiskPlan { lu: 1, size: SIZE };
    let vioduct = built::vioduct().unwrap();
    let mut disks = DiskCluster::create_outside_for_two(vioduct, plan).await.unwrap();
    disks.start(WITHIN).await.unwrap();
    disks.command(&["client", "add", "2/lpar9"]).await.unwrap();
    disks
}

/// Where the client of a hypervisor finds LU `lu`, once that serves it.
async fn served(disks: &DiskCluster, phyp: &str, lu: u64) -> String {
    let is_it = |lus: &Value| {
        let is_its = |disk: &&Value| disk["lu"] == lu && disk["phyp"] == phyp;
        let disk = lus["disks"].as_array()?.iter().find(is_its)?;
        (disk["state"] == "serving").then(|| disk["uri"].as_str().unwrap().to_owned())
    };
    disks.until(WITHIN, "the LU is served", is_it).await.unwrap()
}

async fn copy(from: &str, to: &str) {
    let copied = Command::new("nbdcopy").args([from, to]).stderr(Stdio::inherit()).status();
    assert!(timeout(WITHIN, copied).await.unwrap().unwrap().success(), "nbdcopy {from} {to}");
}

/// Shows an LU to a client; gives the VTD.
async fn show(disks: &DiskCluster, lu: u64, client: &str) -> String {
    let words = ["vtd", "create", "--lu", &lu.to_string(), "--client", client, "--output", "json"];
    let said = disks.command(&words).await.unwrap();
    serde_json::from_str::<Value>(&said).unwrap()["vtd"].to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_lu_goes_from_one_hypervisor_to_another_once_that_has_let_it_go() {
    let mut disks = started().await;
    let (image, back) = (disks.dir().join("image"), disks.dir().join("back"));
    let bytes: Vec<u8> = (0..SIZE / 8).flat_map(u64::to_le_bytes).collect();
    std::fs::write(&image, &bytes).unwrap();
    let is_kept = async |uri: &str| {
        copy(uri, back.to_str().unwrap()).await;
        assert!(std::fs::read(&back).unwrap() == bytes, "it is not what was written");
        std::fs::remove_file(&back).unwrap();
    };
    copy(image.to_str().unwrap(), &served(&disks, PHYP, 1).await).await;
    fails_with(&disks, &["vtd", "create", "--lu", "1", "--client", "2/lpar9"], "one client").await;

    disks.command(&["vtd", "delete", "1"]).await.unwrap();
    let vtd = show(&disks, 1, "2/lpar9").await;
    is_kept(&served(&disks, OTHER_PHYP, 1).await).await;

    // One that was killed has not let it go, and nobody else knows what of it can land.
    disks.cluster().kill(OTHER_PHYP).await.unwrap();
    disks.command(&["vtd", "delete", &vtd]).await.unwrap();
    let owned = "the hypervisor on p2 has not let LU 1 go: it does once it runs";
    fails_with(&disks, &["lu", "delete", "1"], owned).await;
    let vtd = show(&disks, 1, "1/lpar1").await;
    so("the hypervisor says why", async || {
        let lus = disks.lus().await.unwrap();
        assert_eq!(lus["rows"][0]["owner"], OTHER_PHYP, "{lus}");
        let errors = lus["disks"].as_array().unwrap().iter().map(|disk| disk["error"].as_str());
        errors.flatten().any(|error| error.contains(owned))
    })
    .await;
    // Once it runs it knows that, though nobody is shown the LU there any more.
    disks.cluster().start(OTHER_PHYP).await.unwrap();
    is_kept(&served(&disks, PHYP, 1).await).await;

    // The same one has it again when it comes back.
    disks.cluster().kill(PHYP).await.unwrap();
    disks.cluster().start(PHYP).await.unwrap();
    is_kept(&served(&disks, PHYP, 1).await).await;

    // Of one that is off for good an operator knows it.
    fails_with(&disks, &["lu", "release", "1"], "LU 1 is shown by VTD").await;
    disks.cluster().kill(PHYP).await.unwrap();
    disks.command(&["vtd", "delete", &vtd]).await.unwrap();
    disks.command(&["lu", "release", "1"]).await.unwrap();
    fails_with(&disks, &["lu", "release", "1"], "owned by nobody").await;
    show(&disks, 1, "2/lpar9").await;
    is_kept(&served(&disks, OTHER_PHYP, 1).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_comes_goes_and_comes_back_as_another_lu() {
    let disks = started().await;
    served(&disks, PHYP, 1).await;
    for (words, said) in [
        (&["pool", "create", "b", "--outside"][..], "pool pool is the storage outside"),
        (&["pool", "create", "b", "--storage", PHYP], "a cluster has one storage"),
        (&["pool", "create", "b", "--outside", "--request-life-ms", "0"], "0 is not in 1.."),
        (&["lu", "create", "--pool", "pool", "--size", "1MiB"], "name it with `vioduct lu create"),
        (&["lu", "create", "--pool", "pool", "--export", "outside"], "LU 1 is export \"outside\""),
        (&["lu", "resize", "1", "--size", "2MiB"], "enlarge it there"),
        (&["lu", "delete", "1"], "LU 1 is shown by VTD 1"),
        (&["lu", "release", "1"], "LU 1 is shown by VTD 1"),
    ] {
        fails_with(&disks, words, said).await;
    }
    disks.command(&["vtd", "delete", "1"]).await.unwrap();
    let delete = ["lu", "delete", "1"];
    so("its hypervisor lets it go", async || disks.command(&delete).await.is_ok()).await;
    let create = ["lu", "create", "--pool", "pool", "--export", "outside", "--output", "json"];
    let made: Value = serde_json::from_str(&disks.command(&create).await.unwrap()).unwrap();
    assert_eq!((&made["lu"], &made["done"]), (&2.into(), &"LU 2 is made".into()));
    show(&disks, 2, "2/lpar9").await;
    served(&disks, OTHER_PHYP, 2).await;

    // An export that its server does not have is told of, with what that says.
    let none = ["lu", "create", "--pool", "pool", "--export", "none"];
    disks.command(&none).await.unwrap();
    show(&disks, 3, "1/lpar1").await;
    so("what is wrong is said", async || {
        let lus = disks.lus().await.unwrap();
        let disks = lus["disks"].as_array().unwrap();
        let of_lu = disks.iter().find(|disk| disk["lu"] == 3);
        let error = of_lu.and_then(|disk| disk["error"].as_str());
        error.is_some_and(|error| error.contains("its server: "))
    })
    .await;
}
