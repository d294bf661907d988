//! Disks of a cluster by its database while one thing after the other goes wrong, drawn by a seed:
//! fabrics, VIOSes, the storage, the database's leader, and what operators change. No client sees
//! an error, and no acknowledged write is lost.
//!
//! `MIXED_S` says for how many seconds, `MIXED_SEED` what is drawn.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by it")]
#![expect(clippy::print_stdout, reason = "what happened, for whoever runs it with --nocapture")]

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep_until, timeout};
use vioduct_tests::built;
use vioduct_tests::disks::load::Load;
use vioduct_tests::disks::{DiskCluster, DiskPlan, STORAGE, VIOSES};

const WITHIN: Duration = Duration::from_secs(30);
/// Clients of the first enter by v1, of the second by v2.
const LUS: [u64; 2] = [2, 3];
const SIZE: u64 = 64 << 20;

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// A fabric is silent for a while.
    Silent,
    /// An operator takes a path out of use, and brings it back.
    Failed,
    /// A VIOS is killed, and started again after a while.
    Killed,
    /// A VIOS stands still for a while.
    Frozen,
    /// The storage is killed, and started again at once.
    Storage,
    /// The leader of the database is killed, and started again after a while.
    Leader,
    /// An LU is made, shown to another client, hidden and deleted.
    Changed,
}

const FAULTS: [Fault; 7] = [
    Fault::Silent,
    Fault::Failed,
    Fault::Killed,
    Fault::Frozen,
    Fault::Storage,
    Fault::Leader,
    Fault::Changed,
];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

async fn pass(time: Duration) {
    sleep_until(Instant::now() + time).await;
}

impl Fault {
    /// Begins, lasts, and ends.
    async fn happen(self, disks: &mut DiskCluster, chance: &mut StdRng) {
        let vios = VIOSES.choose(chance).unwrap().0;
        let lasts = Duration::from_millis(chance.random_range(500..4000));
        println!("{self:?} {vios} {lasts:?}");
        match self {
            Self::Silent => {
                disks.fabric(vios).unwrap().cut_both();
                pass(lasts).await;
                disks.fabric(vios).unwrap().heal().unwrap();
            }
            Self::Failed => {
                operate(disks, "fail", vios).await;
                pass(lasts).await;
                operate(disks, "restore", vios).await;
            }
            Self::Killed => {
                disks.cluster().kill(vios).await.unwrap();
                pass(lasts).await;
                disks.cluster().start(vios).await.unwrap();
            }
            Self::Frozen => {
                disks.cluster().signal(vios, "STOP").await.unwrap();
                pass(lasts).await;
                disks.cluster().signal(vios, "CONT").await.unwrap();
            }
            Self::Storage => {
                disks.cluster().kill(STORAGE).await.unwrap();
                disks.cluster().start(STORAGE).await.unwrap();
            }
            Self::Leader => {
                let leader = disks.database_leader(WITHIN).await.unwrap();
                disks.cluster().kill(&leader).await.unwrap();
                pass(lasts).await;
                disks.cluster().start(&leader).await.unwrap();
            }
            Self::Changed => change(disks).await,
        }
    }
}

/// A VIOS that has just started has its paths once it is registered.
async fn operate(disks: &DiskCluster, what: &str, vios: &str) {
    let command = ["path", what, "--vios", vios];
    let until = Instant::now() + WITHIN;
    while let Err(error) = disks.command(&command).await {
        assert!(Instant::now() < until, "{error}");
        pass(Duration::from_millis(200)).await;
    }
}

/// The number that a command answers with.
async fn number(disks: &DiskCluster, words: &[&str], key: &str) -> String {
    let within = ["--timeout-ms", "12000", "--output", "json"];
    let said = disks.command(&[words, &within].concat()).await.unwrap();
    serde_json::from_str::<serde_json::Value>(&said).unwrap()[key].to_string()
}

async fn change(disks: &DiskCluster) {
    let create = ["lu", "create", "--pool", "pool", "--size", "1MiB"];
    let lu = number(disks, &create, "lu").await;
    let show = ["vtd", "create", "--lu", &lu, "--client", "1/lpar1"];
    let vtd = number(disks, &show, "vtd").await;
    number(disks, &["vtd", "delete", &vtd], "vtd").await;
    number(disks, &["lu", "delete", &lu], "lu").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_sees_an_error_whatever_goes_wrong_one_after_the_other() {
    let (lasts, seed) = (setting("MIXED_S", 25), setting("MIXED_SEED", 1));
    let plans = LUS.map(|lu| DiskPlan { lu, size: SIZE });
    let mut disks = DiskCluster::create(built::vioduct().unwrap(), &plans).await.unwrap();
    disks.start(WITHIN).await.unwrap();
    let uris = LUS.map(|lu| disks.uri(lu));
    let args = ["--range", "8m", "--settle", "1s", "--depth", "4"];
    let load = Load::flowing(&built::loadtest().unwrap(), &uris, &args).await.unwrap();

    let (mut chance, mut faults) = (StdRng::seed_from_u64(seed), 0);
    let until = Instant::now() + Duration::from_secs(lasts);
    while Instant::now() < until {
        let fault = FAULTS.choose(&mut chance).unwrap();
        timeout(4 * WITHIN, fault.happen(&mut disks, &mut chance)).await.expect("it has an end");
        faults += 1;
        pass(Duration::from_millis(chance.random_range(0..3000))).await;
    }
    let is_served = |lus: &serde_json::Value| {
        let all = lus["disks"].as_array()?.iter().filter(|disk| disk["state"] == "serving");
        (all.count() == LUS.len()).then_some(())
    };
    disks.until(WITHIN, "both disks are served", is_served).await.unwrap();
    let figures = load.stop().await.unwrap();
    println!("{faults} faults in {lasts} s, seed {seed}: {figures}");
    assert!(figures.is_sound(), "{figures}");
}
