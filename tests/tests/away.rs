//! The database is away: disks go on, nodes start by what they knew last, changes are refused, and
//! all is well again by itself once it is back. A VIOS that alone is cut off from it reaches it by
//! others.
//!
//! `AWAY_S` says for how many seconds; how much longer requests may take meanwhile is asked only
//! of 30 or more, for a busy machine stalls now and then.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by it")]
#![expect(clippy::print_stdout, reason = "figures, for whoever runs it with --nocapture")]

#[path = "../../runtime/tests/nodes/relay/door.rs"]
mod door;

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, interval, sleep_until, timeout};
use vioduct_certs::UnixTime;
use vioduct_tests::built;
use vioduct_tests::disks::load::{Figures, Load};
use vioduct_tests::disks::{DATABASE, DiskCluster, DiskPlan, PHYP, STORAGE};

use self::door::Door;

const WITHIN: Duration = Duration::from_secs(30);
/// Its client enters by v1.
const LU: u64 = 2;
const SIZE: u64 = 64 << 20;
/// What the longest request may take more, milliseconds.
const MORE_MAX_MS: f64 = 100.0;
const LONG: Duration = Duration::from_secs(30);

fn away() -> Duration {
    Duration::from_secs(std::env::var("AWAY_S").map_or(4, |text| text.parse().unwrap()))
}

async fn load(disks: &DiskCluster) -> Load {
    let args = ["--range", "8m", "--settle", "1s", "--depth", "8"];
    Load::flowing(&built::loadtest().unwrap(), &[disks.uri(LU)], &args).await.unwrap()
}

/// How load does for so long.
async fn calm(disks: &DiskCluster) -> Figures {
    let load = load(disks).await;
    sleep_until(Instant::now() + away()).await;
    load.stop().await.unwrap()
}

/// Waits until a node has logged this since its last start.
async fn logged(disks: &DiskCluster, node: &str, text: &str) {
    let log = disks.dir().join(node).join("node.log");
    let looking = async {
        let mut looks = interval(Duration::from_millis(50));
        while !fs::read_to_string(&log).unwrap().contains(text) {
            looks.tick().await;
        }
    };
    timeout(WITHIN, looking).await.unwrap_or_else(|_late| panic!("{node} has not logged: {text}"));
}

/// Kills a node, and starts it with an empty log.
async fn restart(disks: &mut DiskCluster, node: &str) {
    disks.cluster().kill(node).await.unwrap();
    fs::write(disks.dir().join(node).join("node.log"), "").unwrap();
    disks.cluster().start(node).await.unwrap();
}

async fn served(disks: &DiskCluster) {
    let is_served = |lus: &Value| {
        let disk = lus["disks"].as_array()?.iter().find(|disk| disk["lu"] == LU)?;
        (disk["state"] == "serving").then_some(())
    };
    disks.until(WITHIN, "the disk is served", is_served).await.unwrap();
}

/// What is known of the cluster: told by the database, or by a node that remembers it.
async fn known(disks: &DiskCluster, is_away: bool) -> Vec<Value> {
    let lists = [
        ("client", "clients", "client"),
        ("pool", "pools", "name"),
        ("vios", "vioses", "unique_id"),
        ("vtd", "vtds", "client"),
    ];
    let mut known = Vec::new();
    for (what, list, key) in lists {
        let words = [what, "ls", "--cluster", "cluster.toml"];
        let hurry: &[&str] = if is_away { &["--timeout-ms", "1000"] } else { &[] };
        let said = disks.answer(&[&words, hurry].concat()).await.unwrap();
        assert_eq!(said["told_by"].is_string(), is_away, "{said:#}");
        let rows = said[list].as_array().unwrap();
        assert!(!rows.is_empty(), "{said:#}");
        known.extend(rows.iter().map(|row| row[key].clone()));
    }
    known
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_go_on_without_the_database_and_changes_are_refused_until_it_is_back() {
    let plan = DiskPlan { lu: LU, size: SIZE };
    let vioduct = built::vioduct().unwrap();
    let mut disks = DiskCluster::create_beside_database(vioduct, &[plan]).await.unwrap();
    disks.start(WITHIN).await.unwrap();
    let before = calm(&disks).await;
    let all = known(&disks, false).await;

    let load = load(&disks).await;
    for name in DATABASE {
        disks.cluster().kill(name).await.unwrap();
    }
    let until = Instant::now() + away();
    let create = ["lu", "create", "--pool", "pool", "--size", "1MiB", "--timeout-ms", "2000"];
    let refused = disks.command(&create).await.unwrap_err().to_string();
    assert!(refused.contains("the database: no replica of"), "{refused}");
    sleep_until(until).await;
    let meanwhile = load.stop().await.unwrap();
    println!("before: {before}\nmeanwhile: {meanwhile}");

    // Who starts meanwhile goes by what it knew.
    restart(&mut disks, "v1").await;
    logged(&disks, "v1", "the local store stands in for the database").await;
    logged(&disks, "v1", "clients are served").await;
    restart(&mut disks, PHYP).await;
    served(&disks).await;
    assert_eq!(known(&disks, true).await, all);

    for name in DATABASE {
        disks.cluster().start(name).await.unwrap();
    }
    logged(&disks, "v1", "the VIOS is registered").await;
    let made = async {
        let mut looks = interval(Duration::from_millis(200));
        while disks.command(&create).await.is_err() {
            looks.tick().await;
        }
    };
    timeout(WITHIN, made).await.expect("changes are made again");
    as_long(&before, &meanwhile);
}

fn as_long(before: &Figures, meanwhile: &Figures) {
    assert!(before.is_sound() && meanwhile.is_sound(), "{before}, {meanwhile}");
    if away() >= LONG {
        let more = meanwhile.longest_ms - before.longest_ms;
        assert!(more <= MORE_MAX_MS, "requests took {more} ms longer");
    }
}

/// The ways between one VIOS and the database's nodes: each is dialled at a door.
struct Ways {
    vios: (SocketAddr, Door),
    database: Vec<(SocketAddr, Door)>,
}

impl Ways {
    /// Of nodes that do not run yet.
    async fn to(disks: &mut DiskCluster, vios: &str) -> Self {
        let vios = Self::door(disks, vios).await;
        let mut database = Vec::new();
        for name in DATABASE {
            database.push(Self::door(disks, name).await);
        }
        Self { vios, database }
    }

    /// A door before a node, which all others are told of instead of where it listens.
    async fn door(disks: &mut DiskCluster, name: &str) -> (SocketAddr, Door) {
        let (direct, door) = (disks.addr(name).to_owned(), Door::new().await);
        let addr = direct.parse().unwrap();
        door.leads_to(addr);
        for other in DATABASE.into_iter().chain(["v1", "v2", "v3", STORAGE, PHYP]) {
            let (file, own) = (disks.cluster().config(other), other == name);
            let text = fs::read_to_string(&file).unwrap();
            let listen = format!("listen = \"{direct}\"");
            let text = if own {
                assert!(text.contains(&listen), "{text}");
                text.replace(&listen, &format!("{listen}\nadvertise = \"{}\"", door.addr))
            } else {
                text.replace(&direct, &door.addr.to_string())
            };
            fs::write(file, text).unwrap();
        }
        (addr, door)
    }

    /// Cuts them all, or heals them.
    fn cut(&self, is_cut: bool) {
        let (vios, its_door) = &self.vios;
        for (addr, door) in &self.database {
            door.shut(*vios, is_cut);
            its_door.shut(*addr, is_cut);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vios_that_is_cut_off_from_the_database_changes_it_by_others() {
    let plan = DiskPlan { lu: LU, size: SIZE };
    let vioduct = built::vioduct().unwrap();
    let mut disks = DiskCluster::create_beside_database(vioduct, &[plan]).await.unwrap();
    let ways = Ways::to(&mut disks, "v1").await;
    disks.start(WITHIN).await.unwrap();
    let before = calm(&disks).await;

    let load = load(&disks).await;
    ways.cut(true);
    let cut_since = UnixTime::now().as_secs() * 1000;
    let until = Instant::now() + away();
    // What it has to tell gets there, and what is changed it is told.
    let of_v1 = async |text: &str| {
        let told = async {
            let mut looks = interval(Duration::from_millis(200));
            loop {
                looks.tick().await;
                let list = disks.answer(&["event", "ls", "--cluster", "cluster.toml"]).await;
                let list = list.unwrap();
                let is_meant = |event: &Value| {
                    event["node"] == "v1"
                        && event["event"].as_str().unwrap().contains(text)
                        && event["at_ms"].as_u64().unwrap() >= cut_since
                };
                if list["events"].as_array().unwrap().iter().any(is_meant) {
                    assert!(list["away"].is_null(), "{list:#}");
                    return;
                }
            }
        };
        timeout(WITHIN, told).await.unwrap_or_else(|_late| panic!("v1 has not told: {text}"));
    };
    disks.command(&["path", "fail", "--vios", "v1"]).await.unwrap();
    of_v1("is lost: failed by hand").await;
    disks.command(&["path", "restore", "--vios", "v1"]).await.unwrap();
    of_v1("is good").await;
    sleep_until(until).await;
    let meanwhile = load.stop().await.unwrap();
    println!("before: {before}\nmeanwhile: {meanwhile}");

    // Started anew it registers, too.
    restart(&mut disks, "v1").await;
    logged(&disks, "v1", "the VIOS is registered").await;
    // Either end of a link may be the one that finds another way.
    let has_detour = |name: &&str| {
        let log = fs::read_to_string(disks.dir().join(name).join("node.log")).unwrap();
        log.contains("link goes by a third node")
    };
    let detours: Vec<&str> = DATABASE.into_iter().chain(["v1"]).filter(has_detour).collect();
    assert!(!detours.is_empty(), "nothing was cut");
    ways.cut(false);
    for name in detours {
        logged(&disks, name, "link is direct again").await;
    }
    as_long(&before, &meanwhile);
}
