//! Pools, LUs, clients and VTDs, on real processes: made and deleted by commands on any node while
//! those whom they concern run, or are away and learn it at their return.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by it")]

mod operator;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;
use vioduct_tests::built;
use vioduct_tests::disks::{DiskCluster, DiskPlan, OTHER_PHYP, PHYP, STORAGE};

use self::operator::{fails_with, so};

const WITHIN: Duration = Duration::from_secs(20);
const SIZE: u64 = 1 << 20;

async fn json(disks: &DiskCluster, words: &[&str]) -> Value {
    let said = disks.command(&[words, &["--output", "json"]].concat()).await.unwrap();
    serde_json::from_str(&said).unwrap()
}

/// Where the client finds an LU, once it is served.
async fn served(disks: &DiskCluster, lu: u64) -> String {
    let is_it = |lus: &Value| {
        let disk = lus["disks"].as_array()?.iter().find(|disk| disk["lu"] == lu)?;
        (disk["state"] == "serving").then(|| disk["uri"].as_str().unwrap().to_owned())
    };
    disks.until(WITHIN, "the LU is served", is_it).await.unwrap()
}

async fn copy(from: &str, to: &str) {
    let copied = Command::new("nbdcopy").args([from, to]).stderr(Stdio::inherit()).status();
    assert!(timeout(WITHIN, copied).await.unwrap().unwrap().success(), "nbdcopy {from} {to}");
}

/// An image that is no other LU's.
fn image(dir: &Path, seed: u8) -> (PathBuf, Vec<u8>) {
    let block = |number: u64| (number ^ u64::from(seed)).to_le_bytes();
    let bytes: Vec<u8> = (0..SIZE / 8).flat_map(block).collect();
    let path = dir.join(format!("image{seed}"));
    std::fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

fn data(disks: &DiskCluster, lu: u64) -> PathBuf {
    disks.dir().join(STORAGE).join(format!("volume/lus/{lu}/data"))
}

async fn started() -> DiskCluster {
    let plan = DiskPlan { lu: 1, size: SIZE };
    let mut disks = DiskCluster::create(built::vioduct().unwrap(), &[plan]).await.unwrap();
    disks.start(WITHIN).await.unwrap();
    disks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_lu_is_made_shown_written_hidden_shown_again_and_deleted() {
    let disks = started().await;
    let size = SIZE.to_string();
    let made = json(&disks, &["lu", "create", "--pool", "pool", "--size", &size]).await;
    assert_eq!((&made["lu"], &made["done"]), (&2.into(), &"LU 2 is made".into()));
    json(&disks, &["client", "add", "1/lpar2"]).await;
    let shown = json(&disks, &["vtd", "create", "--lu", "2", "--client", "1/lpar2"]).await;
    assert_eq!(shown["vtd"], 2);
    let uri = served(&disks, 2).await;
    assert!(uri.ends_with("/p1/data/sockets/lpar2-lu2.sock"), "{uri}");
    let (path, bytes) = image(disks.dir(), 1);
    copy(path.to_str().unwrap(), &uri).await;

    // Who looks on sees all of it.
    let pools = json(&disks, &["pool", "ls"]).await;
    assert_eq!(
        (&pools["pools"][0]["lus"], &pools["pools"][0]["storage"]),
        (&2.into(), &STORAGE.into())
    );
    assert_eq!(json(&disks, &["vtd", "ls"]).await["vtds"][1]["client"], "1/lpar2");
    assert_eq!(json(&disks, &["client", "ls"]).await["clients"][1]["vtds"][0], 2);

    // What is in use is not deleted.
    fails_with(&disks, &["lu", "delete", "2"], "LU 2 is shown by VTD 2; delete that first").await;
    fails_with(&disks, &["client", "remove", "1/lpar2"], "client 1/lpar2 has VTD 2").await;
    fails_with(&disks, &["pool", "delete", "pool"], "pool pool has 2 LUs").await;

    // Out of sight and shown again it has what was written.
    json(&disks, &["vtd", "delete", "2"]).await;
    let socket = disks.dir().join("p1/data/sockets/lpar2-lu2.sock");
    so("the socket is gone", async || !socket.exists()).await;
    let again = json(&disks, &["vtd", "create", "--lu", "2", "--client", "1/lpar2"]).await;
    assert_eq!(again["vtd"], 3);
    let back = disks.dir().join("back");
    copy(&served(&disks, 2).await, back.to_str().unwrap()).await;
    assert!(std::fs::read(&back).unwrap() == bytes, "it is not what was written");

    json(&disks, &["vtd", "delete", "3"]).await;
    json(&disks, &["client", "remove", "1/lpar2"]).await;
    let gone = json(&disks, &["lu", "delete", "2"]).await;
    assert_eq!(gone["done"], "LU 2 is deleted");
    assert!(!data(&disks, 2).exists(), "its room is not freed");
    let next = json(&disks, &["lu", "create", "--pool", "pool", "--size", &size]).await;
    assert_eq!(next["lu"], 3);
    // The other disk was served all the time.
    served(&disks, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_while_lus_and_vtds_came_and_went_has_them_right_at_its_return() {
    let mut disks = started().await;
    let size = SIZE.to_string();
    let create = ["lu", "create", "--pool", "pool", "--size", &size];
    for lu in [2, 3] {
        assert_eq!(json(&disks, &create).await["lu"], lu);
        json(&disks, &["vtd", "create", "--lu", &lu.to_string(), "--client", "1/lpar1"]).await;
        served(&disks, lu).await;
    }
    for name in [STORAGE, PHYP, "v2"] {
        disks.cluster().kill(name).await.unwrap();
    }
    // While they are away, LU 2 goes, LU 4 comes and is shown, and LU 3 is hidden.
    json(&disks, &["vtd", "delete", "2"]).await;
    json(&disks, &["lu", "delete", "2", "--no-wait"]).await;
    let late = [&create[..], &["--timeout-ms", "3000"]].concat();
    fails_with(&disks, &late, "as soon as its storage runs").await;
    json(&disks, &["vtd", "create", "--lu", "4", "--client", "1/lpar1"]).await;
    json(&disks, &["vtd", "delete", "3"]).await;
    for name in [STORAGE, PHYP, "v2"] {
        disks.cluster().start(name).await.unwrap();
    }
    served(&disks, 4).await;
    served(&disks, 1).await;
    so("LU 2 is gone", async || !data(&disks, 2).exists()).await;
    so("LU 3 is hidden, and no other", async || {
        let lus = disks.lus().await.unwrap();
        let shown = lus["disks"].as_array().unwrap().iter().map(|disk| disk["lu"].clone());
        shown.collect::<Vec<_>>() == [1, 4]
    })
    .await;
    assert!(data(&disks, 3).exists(), "a hidden LU is kept");
    // The view of the one that was away is the others'.
    let view = async |node: &str| {
        let text =
            std::fs::read_to_string(disks.dir().join(node).join("data/cluster/view")).unwrap();
        let stored: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
        stored["value"]["rows"].clone()
    };
    so("all know the same", async || view("v2").await == view("v1").await).await;
    so("all know the same", async || view(PHYP).await == view(STORAGE).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_have_seen_one_version_the_first_changes_it_and_the_second_is_told() {
    let disks = started().await;
    let version = async || {
        let lus = disks.lus().await.unwrap();
        lus["rows"].as_array().unwrap().iter().find(|lu| lu["lu"] == 1).unwrap()["version"].clone()
    };
    let first = version().await;
    let seen = first.to_string();
    let resize = async |size| {
        let words = ["lu", "resize", "1", "--size", size, "--if-version", &seen, "--no-wait"];
        disks.command(&words).await
    };
    let (one, other) = tokio::join!(resize("2MiB"), resize("3MiB"));
    let errors: Vec<_> = [one, other].into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    let told = format!("error[changed]: it was changed since version {seen} and has version");
    assert!(errors[0].to_string().contains(&told), "{errors:?}");
    so("nodes know of the new one", async || version().await != first).await;
    // Whoever looks again, and whoever does not care, gets on.
    let seen = version().await.to_string();
    let words = ["lu", "resize", "1", "--size", "4MiB", "--if-version", &seen];
    assert_eq!(json(&disks, &words).await["done"], "LU 1 is 4194304 bytes large");
    json(&disks, &["lu", "resize", "1", "--size", "5MiB"]).await;
    // A VTD that comes is a change of its LU and of its client.
    let client = json(&disks, &["client", "ls"]).await["clients"][0]["version"].to_string();
    json(&disks, &["vtd", "delete", "1"]).await;
    let stale = ["client", "remove", "1/lpar1", "--if-version", &client];
    fails_with(&disks, &stale, "error[changed]").await;
}

/// Which hypervisors serve an LU, and what the others say.
async fn who(disks: &DiskCluster, lu: u64) -> (Vec<String>, Vec<String>) {
    let lus = disks.lus().await.unwrap();
    let of_lu = lus["disks"].as_array().unwrap().iter().filter(|disk| disk["lu"] == lu);
    let (serving, others): (Vec<_>, Vec<_>) = of_lu.partition(|disk| disk["state"] == "serving");
    let phyp = |disk: &Value| disk["phyp"].as_str().unwrap().to_owned();
    let error = |disk: &Value| disk["error"].as_str().unwrap_or_default().to_owned();
    (serving.into_iter().map(phyp).collect(), others.into_iter().map(error).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_clients_that_race_for_an_lu_one_has_it_until_it_ends() {
    let plan = DiskPlan { lu: 1, size: SIZE };
    let mut disks = DiskCluster::create_for_two(built::vioduct().unwrap(), &[plan]).await.unwrap();
    disks.start(WITHIN).await.unwrap();
    json(&disks, &["client", "add", "2/lpar9"]).await;
    let mut won = [0; 2];
    let size = SIZE.to_string();
    for lu in 2..12 {
        json(&disks, &["lu", "create", "--pool", "pool", "--size", &size]).await;
        let number = lu.to_string();
        let show = async |client| {
            json(&disks, &["vtd", "create", "--lu", &number, "--client", client]).await["vtd"]
                .clone()
        };
        tokio::join!(show("1/lpar1"), show("2/lpar9"));
        so("one serves, and the other one is told which", async || {
            let (serving, said) = who(&disks, lu).await;
            assert!(serving.len() < 2, "two at once: {serving:?}");
            serving.len() == 1 && said.len() == 1 && said[0].contains("it is in use by client")
        })
        .await;
        won[usize::from(who(&disks, lu).await.0 == [OTHER_PHYP])] += 1;
    }
    assert_eq!(won[0] + won[1], 10);

    // The one that waits has it once the other one has let it go.
    let (serving, _said) = who(&disks, 2).await;
    let (client, other) =
        if serving == [PHYP] { ("1/lpar1", OTHER_PHYP) } else { ("2/lpar9", PHYP) };
    let vtds = json(&disks, &["vtd", "ls"]).await;
    let vtds = vtds["vtds"].as_array().unwrap();
    let vtd = vtds.iter().find(|vtd| vtd["lu"] == 2 && vtd["client"] == client).unwrap();
    json(&disks, &["vtd", "delete", &vtd["vtd"].to_string()]).await;
    so("the other one serves", async || who(&disks, 2).await.0 == [other]).await;

    // Also when it was killed, as soon as the cluster counts it as down.
    let (serving, _said) = who(&disks, 3).await;
    let other = if serving == [PHYP] { OTHER_PHYP } else { PHYP };
    disks.cluster().kill(&serving[0]).await.unwrap();
    so("the other one serves", async || who(&disks, 3).await.0 == [other]).await;
}

/// The VIOSes by which an LU's requests enter and leave, while it is served.
async fn ways(disks: &DiskCluster, lu: u64) -> Option<[u64; 2]> {
    let lus = disks.lus().await.unwrap();
    let disk = lus["disks"].as_array().unwrap().iter().find(|disk| disk["lu"] == lu)?;
    let is_served = disk["state"] == "serving";
    let way = [disk["entry"].as_u64()?, disk["exit"].as_u64()?];
    is_served.then_some(way)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vios_that_is_taken_out_serves_nobody_and_comes_back_as_another_one() {
    let mut disks = started().await;
    so("v2 serves", async || ways(&disks, 1).await == Some([2, 2])).await;
    json(&disks, &["vios", "remove", "v2"]).await;
    so("v1 serves", async || ways(&disks, 1).await == Some([1, 1])).await;
    let (path, bytes) = image(disks.dir(), 2);
    let uri = served(&disks, 1).await;
    copy(path.to_str().unwrap(), &uri).await;

    // It is the preferred one of its CEC again, under another number, and open disks learn it.
    json(&disks, &["vios", "add", "v2"]).await;
    disks.cluster().signal("v2", "TERM").await.unwrap();
    disks.cluster().ended("v2").await.unwrap();
    disks.cluster().start("v2").await.unwrap();
    let log = disks.dir().join("v2/node.log");
    let text = "clients are served vios=4";
    so("it serves again", async || std::fs::read_to_string(&log).unwrap().contains(text)).await;
    disks.cluster().kill("v1").await.unwrap();
    so("v2 serves", async || ways(&disks, 1).await == Some([4, 4])).await;
    let back = disks.dir().join("back");
    copy(&uri, back.to_str().unwrap()).await;
    assert!(std::fs::read(&back).unwrap() == bytes, "it is not what was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_tells_what_its_lus_take_and_nothing_of_a_storage_that_is_away() {
    let mut disks = started().await;
    json(&disks, &["pool", "create", "empty", "--storage", STORAGE]).await;
    // More than there is: LUs are sparse.
    json(&disks, &["lu", "create", "--pool", "pool", "--size", "4TiB"]).await;
    let pools = json(&disks, &["pool", "ls"]).await["pools"].clone();
    let of = |pool: usize, what: &str| pools[pool][what].as_u64().unwrap();
    assert_eq!((&pools[0]["name"], &pools[1]["name"]), (&"empty".into(), &"pool".into()));
    assert_eq!((of(0, "allocated"), of(1, "allocated")), (0, 0));
    assert_eq!((of(0, "lu_bytes"), of(1, "lu_bytes")), (0, (4 << 40) + SIZE));
    assert_eq!(of(0, "capacity"), of(1, "capacity"));
    assert!(of(1, "free") > 0 && of(1, "free") < of(1, "capacity"), "{pools}");

    let (path, _bytes) = image(disks.dir(), 3);
    copy(path.to_str().unwrap(), &served(&disks, 1).await).await;
    let pools = json(&disks, &["pool", "ls"]).await["pools"].clone();
    let allocated = pools[1]["allocated"].as_u64().unwrap();
    assert!((SIZE..SIZE + 65_536).contains(&allocated), "{pools}");
    assert_eq!(pools[0]["allocated"], 0);

    disks.cluster().kill(STORAGE).await.unwrap();
    let target = ["--certs", "tool", "--cluster", "cluster.toml"];
    let output = disks.output(&[&["pool", "ls"][..], &target].concat()).await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let row: Vec<&str> = said.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(row[..7], ["pool", STORAGE, "2", "4398047559680", "-", "-", "-"]);
    let why = "pool pool: s1 does not tell its room: no answer from s1 within 2000 ms";
    assert!(said.contains(why), "{said}");
}
