//! Disks over real processes, with a real client's requests, while paths and processes are lost.
#![expect(clippy::unwrap_used, reason = "what goes wrong here fails the test")]
#![expect(clippy::print_stdout, reason = "the stalls are for whoever asks to see them")]

use std::time::Duration;

use bytes::Bytes;
use vioduct_tests::built;
use vioduct_tests::disks::scene::Scene;
use vioduct_tests::disks::{DiskCluster, DiskPlan, PHYP};
use vioduct_vios::block::{Extent, Failure, Reply, Request};
use vioduct_vios::disk::Disk;
use vioduct_vios::nbd::client::{Address, Config, Remote};

const BOUND: Duration = Duration::from_secs(20);
/// The second of its cluster: the first one has no client.
const LU: u64 = 2;
const BLOCK: u32 = 4096;

async fn started() -> DiskCluster {
    let disk = DiskPlan { lu: LU, size: 64 << 20 };
    let mut disks = DiskCluster::create(built::vioduct().unwrap(), &[disk]).await.unwrap();
    disks.start(BOUND).await.unwrap();
    disks
}

async fn write_and_read(client: &Remote, blocks: std::ops::Range<u32>) {
    let done = async |request| client.execute(request).await.map_err(Failure::from);
    for block in blocks {
        let data = Bytes::from(vec![u8::try_from(block % 251).unwrap(); 4096]);
        let offset = u64::from(block * BLOCK);
        let write = Request::Write { offset, data: data.clone(), fua: false };
        assert_eq!(done(write).await, Ok(Reply::Done), "{block}");
        let read = Request::Read { extent: Extent { offset, length: BLOCK } };
        assert_eq!(done(read).await, Ok(Reply::Data(data)), "{block}");
    }
}

#[tokio::test]
async fn a_client_of_processes_sees_nothing_of_a_killed_vios_nor_of_a_frozen_one() {
    let mut disks = started().await;
    let address = Address::Unix(disks.socket(LU));
    let client = Remote::connect(&address, &Config::default()).await.unwrap();
    write_and_read(&client, 0..50).await;
    disks.cluster().signal("v1", "STOP").await.unwrap();
    write_and_read(&client, 50..100).await;
    disks.cluster().kill("v2").await.unwrap();
    write_and_read(&client, 100..150).await;
    assert_eq!(client.execute(Request::Flush).await, Ok(Reply::Done));
    let lus = disks.lus().await.unwrap();
    assert_eq!(
        (&lus["disks"][0]["exit"], &lus["lus"][1]["owner"]),
        (&3.into(), &1.into()),
        "{lus:#}"
    );
    disks.cluster().signal("v1", "KILL").await.unwrap();

    // The hypervisor leaves in order; the next one takes the disk over.
    client.close().await;
    disks.cluster().signal(PHYP, "TERM").await.unwrap();
    assert!(disks.cluster().ended(PHYP).await.unwrap().success());
    disks.cluster().start(PHYP).await.unwrap();
    let owner = |lus: &serde_json::Value| (lus["lus"][1]["owner"] == 2).then_some(());
    disks.until(BOUND, "a second owner", owner).await.unwrap();
    let client = Remote::connect(&address, &Config::default()).await.unwrap();
    let read = Request::Read { extent: Extent { offset: 7 * 4096, length: BLOCK } };
    assert_eq!(client.execute(read).await, Ok(Reply::Data(vec![7; 4096].into())));
}

/// On a machine that does much else at the same time; what a quiet one shows is measured by
/// `cargo xtask bench stalls`.
const LONGEST_MS: f64 = 15_000.0;

async fn play(scene: Scene) {
    let loadtest = built::loadtest().unwrap();
    let figures = scene.play(built::vioduct().unwrap(), &loadtest).await.unwrap();
    println!("{scene:?}: {figures}");
    assert!(figures.is_sound(), "{scene:?}: {figures}");
    assert!(figures.longest_ms < LONGEST_MS, "{scene:?}: {figures}");
}

/// The same for a client over libnbd, with a checker of its own.
async fn record(scene: Scene) {
    let verdict = scene.record(built::vioduct().unwrap()).await.unwrap();
    println!("{scene:?}, history: {verdict}");
    assert!(verdict.is_sound(), "{scene:?}: {verdict}");
}

macro_rules! scenes {
    ($($name:ident: $scene:ident,)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                play(Scene::$scene).await;
            }
        )+

        mod history {
            use super::*;

            $(
                #[tokio::test]
                async fn $name() {
                    record(Scene::$scene).await;
                }
            )+
        }
    };
}

scenes! {
    a_path_that_is_taken_out_of_use: Reset,
    a_silent_fabric: Silent,
    a_fabric_that_loses_requests: OneWayThere,
    a_fabric_that_loses_answers: OneWayBack,
    a_fabric_that_comes_and_goes: Flapping,
    a_fabric_that_is_too_slow: Slow,
    a_vios_that_is_killed: EntryKilled,
    the_vios_that_requests_are_redirected_to_is_killed: ExitKilled,
    both_vioses_of_a_cec_are_killed: BothKilled,
    a_vios_that_stands_still: Frozen,
    a_cec_without_fabric: CecLost,
    all_fabrics_are_lost_and_one_comes_back: AllLost,
    a_storage_that_is_killed: StorageKilled,
    a_fabric_that_is_good_again: FailBack,
    a_cec_that_has_a_vios_again: Home,
}

/// On a storage outside of the cluster, which carries out whatever reaches it.
mod outside {
    use super::*;

    async fn play(scene: Scene) {
        let loadtest = built::loadtest().unwrap();
        let figures = scene.play_outside(built::vioduct().unwrap(), &loadtest).await.unwrap();
        println!("{scene:?}, outside: {figures}");
        assert!(figures.is_sound(), "{scene:?}: {figures}");
        assert!(figures.longest_ms < LONGEST_MS, "{scene:?}: {figures}");
    }

    #[tokio::test]
    async fn a_silent_fabric() {
        play(Scene::Silent).await;
    }

    #[tokio::test]
    async fn a_vios_that_is_killed() {
        play(Scene::EntryKilled).await;
    }

    #[tokio::test]
    async fn a_vios_that_stands_still() {
        play(Scene::Frozen).await;
    }
}
