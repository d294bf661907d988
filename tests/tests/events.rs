//! What happens to nodes is told: by the database, and while that is away by the nodes themselves.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by it")]

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{interval, timeout};
use vioduct_certs::UnixTime;
use vioduct_tests::built;
use vioduct_tests::disks::{DATABASE, DiskCluster, DiskPlan, PHYP, STORAGE};

const WITHIN: Duration = Duration::from_secs(30);
const ALL: [&str; 4] = ["event", "ls", "--cluster", "cluster.toml"];
const REDUNDANCY: [&str; 4] = ["path", "redundancy", "--cluster", "cluster.toml"];

/// How often this was told of a node.
fn count(list: &Value, node: &str, class: &str, text: &str) -> usize {
    let is_meant = |event: &&Value| {
        event["node"] == node
            && event["class"] == class
            && event["event"].as_str().unwrap().contains(text)
    };
    list["events"].as_array().unwrap().iter().filter(is_meant).count()
}

/// Waits until a command tells of it; gives all that it tells.
async fn told(disks: &DiskCluster, words: &[&str], is: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let looking = async {
        let mut looks = interval(Duration::from_millis(200));
        loop {
            looks.tick().await;
            last = disks.answer(words).await.unwrap();
            if is(&last) {
                return;
            }
        }
    };
    let found = timeout(WITHIN, looking).await;
    found.unwrap_or_else(|_late| panic!("it is not told: {last:#}"));
    last
}

/// Waits until the database has it so: how the path of each VIOS is, and who may help it.
async fn told_paths(disks: &DiskCluster, expected: [(&str, &str, &[&str]); 2]) {
    told(disks, &REDUNDANCY, |list| {
        let all = list["vioses"].as_array().unwrap();
        expected.iter().all(|(vios, state, helpers)| {
            let row = all.iter().find(|row| row["vios"] == *vios);
            row.is_some_and(|row| {
                let helped = serde_json::json!(helpers);
                row["paths"][0]["state"] == *state && row["may_be_helped_by"] == helped
            })
        })
    })
    .await;
}

async fn path(disks: &DiskCluster, change: &str) {
    disks.command(&["path", change, "--vios", "v1"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_told_by_the_database_and_without_it_by_the_nodes() {
    let plan = DiskPlan { lu: 1, size: 16 << 20 };
    let vioduct = built::vioduct().unwrap();
    let mut disks = DiskCluster::create_beside_database(vioduct, &[plan]).await.unwrap();
    disks.start(WITHIN).await.unwrap();
    let begun = told(&disks, &ALL, |list| {
        ["v1", "v2", "v3"].iter().all(|vios| count(list, vios, "lifecycle", "registered as") == 1)
    });
    let begun = begun.await;
    assert!(begun["away"].is_null(), "{begun:#}");
    let primaries =
        ["v1", "v2", "v3"].map(|vios| count(&begun, vios, "lifecycle", "is the primary"));
    assert!(primaries.iter().sum::<usize>() >= 1, "{begun:#}");

    // It is told as it comes, too.
    let follow = ["event", "follow", "--certs", "tool", "--cluster", "cluster.toml"];
    let mut follower = disks.cluster().command(&follow);
    let mut follower = follower.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let lost = format!("to {STORAGE} is lost: failed by hand");
    let coming = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it goes on");
            if line.contains(&lost) {
                return line;
            }
        }
    };
    let failing = async {
        let mut again = interval(Duration::from_secs(2));
        loop {
            again.tick().await;
            path(&disks, "fail").await;
            path(&disks, "restore").await;
        }
    };
    let line = tokio::select! {
        line = timeout(WITHIN, coming) => line.expect("the event is printed"),
        () = failing => unreachable!("it goes on for ever"),
    };
    assert!(line.contains(" v1 alert: path by "), "{line}");
    path(&disks, "fail").await;
    told(&disks, &ALL, |list| count(list, "v1", "alert", &lost) >= 1).await;
    // And who may take over for whom.
    told_paths(&disks, [("v1", "lost", &["v2", "v3"]), ("v2", "good", &["v3"])]).await;

    // The primary tells of nodes that come and go.
    disks.cluster().kill(PHYP).await.unwrap();
    let of_phyp = |list: &Value, class: &str, state: &str| {
        let text = format!("node {PHYP} is {state}");
        ["v1", "v2", "v3"].iter().map(|vios| count(list, vios, class, &text)).sum::<usize>()
    };
    told(&disks, &ALL, |list| of_phyp(list, "alert", "down") == 1).await;
    disks.cluster().start(PHYP).await.unwrap();
    told(&disks, &ALL, |list| of_phyp(list, "lifecycle", "up") == 1).await;

    // Without the database the nodes tell each other, and it is told that they do.
    for name in DATABASE {
        disks.cluster().kill(name).await.unwrap();
    }
    let away_since = UnixTime::now().as_secs() * 1000;
    path(&disks, "restore").await;
    let addr = disks.addr("v2").to_owned();
    let of_v2 = ["event", "ls", "--node", "v2", "--addr", &addr, "--timeout-ms", "500"];
    let events = |list: &Value| list["events"].as_array().unwrap().clone();
    let is_good = |event: &Value| {
        event["node"] == "v1"
            && event["event"].as_str().unwrap().contains("is good")
            && event["at_ms"].as_u64().unwrap() >= away_since
    };
    let heard = told(&disks, &of_v2, |list| events(list).iter().any(is_good)).await;
    assert!(heard["away"].as_str().unwrap().contains("no replica of"), "{heard:#}");
    for name in DATABASE {
        disks.cluster().start(name).await.unwrap();
    }
    let good = events(&heard).into_iter().find(is_good).unwrap();
    told(&disks, &ALL, |list| list["away"].is_null() && events(list).contains(&good)).await;
    told_paths(&disks, [("v1", "good", &["v2", "v3"]), ("v2", "good", &["v1", "v3"])]).await;
}
