//! LUs from and to image files, on real processes: what goes in comes out, what is in use is left
//! alone, and what a killed command has left is taken away by the next one.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod operator;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use vioduct_tests::built;
use vioduct_tests::cluster::send_signal;
use vioduct_tests::disks::{DiskCluster, DiskPlan, STORAGE};
use vioduct_tests::fault::Faults;

use self::operator::{fails_with, so};

const WITHIN: Duration = Duration::from_secs(30);
/// What the cluster's only disk has.
const SIZE: u64 = 1 << 20;
/// No multiple of 512.
const IMAGE: u64 = (24 << 20) + 321;

async fn started() -> DiskCluster {
    let plan = DiskPlan { lu: 1, size: SIZE };
    let mut disks = DiskCluster::create(built::vioduct().unwrap(), &[plan]).await.unwrap();
    disks.start(WITHIN).await.unwrap();
    disks
}

/// A command that copies may wait for a machine that has much to do.
const PATIENT: [&str; 4] = ["--timeout-ms", "14000", "--output", "json"];

async fn json(disks: &DiskCluster, words: &[&str]) -> Value {
    let said = disks.command(&[words, &PATIENT].concat()).await.unwrap();
    serde_json::from_str(&said).unwrap()
}

/// An image with random data at random places, and holes between.
fn image(path: &Path, seed: u64) {
    let mut chance = StdRng::seed_from_u64(seed);
    let file = File::create_new(path).unwrap();
    file.set_len(IMAGE).unwrap();
    for _run in 0..40 {
        let mut bytes = vec![0; chance.random_range(1..200_000)];
        chance.fill_bytes(&mut bytes);
        file.write_all_at(&bytes, chance.random_range(0..IMAGE - 200_000)).unwrap();
    }
    file.write_all_at(b"the end", IMAGE - 7).unwrap();
}

async fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().await.unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

fn room(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

fn data(disks: &DiskCluster, lu: u64) -> PathBuf {
    disks.dir().join(STORAGE).join(format!("volume/lus/{lu}/data"))
}

/// All clients but the cluster's own, all VTDs but its own, and the LUs.
async fn rows(disks: &DiskCluster) -> [usize; 3] {
    let count = |list: &Value, what: &str| list[what].as_array().unwrap().len();
    let clients = json(disks, &["client", "ls"]).await;
    let vtds = json(disks, &["vtd", "ls"]).await;
    let lus = disks.lus().await.unwrap();
    [count(&clients, "clients") - 1, count(&vtds, "vtds") - 1, count(&lus, "rows")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_imported_and_exported_is_the_same_and_keeps_its_holes() {
    let disks = started().await;
    let path = disks.dir().join("in.img");
    image(&path, 1);
    let import = ["lu", "import", "in.img", "--pool", "pool"];
    let imported = json(&disks, &import).await;
    assert_eq!((&imported["lu"], &imported["bytes"]), (&2.into(), &IMAGE.into()));
    assert!(imported["seconds"].as_f64().unwrap() > 0.0);
    // Rounded up, sparse, and nobody's any more.
    assert_eq!(fs::metadata(data(&disks, 2)).unwrap().len(), IMAGE.next_multiple_of(512));
    assert!(room(&data(&disks, 2)) < IMAGE / 2, "{}", room(&data(&disks, 2)));
    assert_eq!(rows(&disks).await, [0, 0, 2]);

    let exported = json(&disks, &["lu", "export", "2", "out.img"]).await;
    assert_eq!(exported["bytes"], IMAGE.next_multiple_of(512));
    let out = disks.dir().join("out.img");
    assert!(room(&out) < IMAGE / 2, "{}", room(&out));
    File::options().write(true).open(&out).unwrap().set_len(IMAGE).unwrap();
    assert_eq!(sha256(&out).await, sha256(&path).await);
    assert_eq!(rows(&disks).await, [0, 0, 2]);

    // A larger one, served where an operator says; what follows the image is zero.
    let socket = format!("unix:{}", disks.dir().join("own.sock").display());
    let larger = ["--size", "32MiB", "--front", &socket, "--cec", "1"];
    assert_eq!(json(&disks, &[&import[..], &larger].concat()).await["lu"], 3);
    json(&disks, &["lu", "export", "3", "larger.img"]).await;
    let bytes = fs::read(disks.dir().join("larger.img")).unwrap();
    let (start, rest) = bytes.split_at(usize::try_from(IMAGE).unwrap());
    assert!(start == fs::read(&path).unwrap() && rest.iter().all(|byte| *byte == 0));
    assert_eq!(bytes.len(), 32 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_lu_in_use_is_not_exported_and_wrong_images_leave_nothing() {
    let disks = started().await;
    fs::write(disks.dir().join("small.img"), [7; 4096]).unwrap();
    fs::write(disks.dir().join("empty.img"), []).unwrap();
    let before = rows(&disks).await;
    let import = ["lu", "import", "small.img", "--pool", "pool"];
    let wrong: [(&[&str], &str); 9] = [
        (
            &["lu", "export", "1", "x.img"],
            "LU 1 is in use: VTD 1 shows it to client 1/lpar1; stop that client, and hide the LU \
             with `vioduct vtd delete 1`",
        ),
        (&["lu", "export", "9", "x.img"], "there is no LU 9"),
        (&["lu", "export", "1", "small.img"], "there is small.img already; remove it"),
        (&["lu", "import", "none.img", "--pool", "pool"], "No such file"),
        (&["lu", "import", "empty.img", "--pool", "pool"], "an LU of 0 bytes"),
        (&["lu", "import", "small.img", "--pool", "gold"], "there is no pool gold"),
        (&[&import[..], &["--size", "512"]].concat(), "has 4096 bytes, and --size is less"),
        (
            &[&import[..], &["--cec", "7"]].concat(),
            "no hypervisor of CEC 7 answers, but p1 of CEC 1",
        ),
        (&[&import[..], &["--front", "x"]].concat(), "\"x\" is no socket; needed is unix:/PATH"),
    ];
    for (words, said) in wrong {
        fails_with(&disks, words, said).await;
    }
    so("failed imports leave no LU", async || rows(&disks).await == before).await;
    assert!(!disks.dir().join("x.img").exists() && !disks.dir().join("x.img.part").exists());
}

/// Begins a command.
fn begin(disks: &mut DiskCluster, words: &[&str]) -> Child {
    let target = ["--certs", "tool", "--cluster", "cluster.toml", "--timeout-ms", "14000"];
    let mut command = disks.cluster().command(&[words, &target].concat());
    command.kill_on_drop(true).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Begins an import as LU `lu` that takes seconds, and waits until something of it has come.
async fn begin_import(disks: &mut DiskCluster, lu: u64) -> Child {
    let bytes: Vec<u8> = StdRng::seed_from_u64(lu).random_iter().take(48 << 20).collect();
    fs::write(disks.dir().join("big.img"), bytes).unwrap();
    for vios in ["v1", "v2", "v3"] {
        let slow = Faults::none().with_rate(Some(6 << 20)).unwrap();
        disks.fabric(vios).unwrap().set_both(slow).unwrap();
    }
    let child = begin(disks, &["lu", "import", "big.img", "--pool", "pool"]);
    let path = data(disks, lu);
    so("some of it has come", async || path.exists() && room(&path) > 0).await;
    child
}

fn heal(disks: &DiskCluster) {
    for vios in ["v1", "v2", "v3"] {
        disks.fabric(vios).unwrap().heal().unwrap();
    }
}

/// What a command that has to end well says on standard error.
async fn remarks(disks: &DiskCluster, words: &[&str]) -> String {
    let target = ["--certs", "tool", "--cluster", "cluster.toml", "--timeout-ms", "14000"];
    let output = disks.output(&[words, &target].concat()).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{words:?}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_import_has_left_is_named_and_then_taken_away_by_the_next_runs() {
    let mut disks = started().await;
    let mut child = begin_import(&mut disks, 2).await;
    let process = child.id().unwrap();
    child.kill().await.unwrap();
    heal(&disks);
    assert_eq!(rows(&disks).await, [1, 1, 2]);
    fs::write(disks.dir().join("small.img"), [7; 4096]).unwrap();
    let said = remarks(&disks, &["lu", "import", "small.img", "--pool", "pool"]).await;
    let named = format!("an import of LU 2 runs, by process {process} of operator; or it was");
    assert!(said.contains(&named), "{said}");
    assert_eq!(rows(&disks).await, [1, 1, 3]);

    let swept = "taken away, since a killed import of LU 2 has left it: client 1/import-lu2, VTD 2";
    let swept = format!("{swept}, LU 2");
    so("it is taken away", async || {
        let said = remarks(&disks, &["lu", "export", "3", "small.out"]).await;
        fs::remove_file(disks.dir().join("small.out")).unwrap();
        said.contains(&swept)
    })
    .await;
    so("its room is freed", async || !data(&disks, 2).exists()).await;
    so("its row is gone", async || rows(&disks).await == [0, 0, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_export_after_a_killed_one_waits_for_its_end_and_takes_its_place() {
    let mut disks = started().await;
    image(&disks.dir().join("in.img"), 2);
    json(&disks, &["lu", "import", "in.img", "--pool", "pool"]).await;
    for vios in ["v1", "v2", "v3"] {
        disks.fabric(vios).unwrap().cut_both();
    }
    let export = ["lu", "export", "2", "out.img"];
    let mut child = begin(&mut disks, &export);
    so("it is shown", async || rows(&disks).await == [1, 1, 2]).await;
    fails_with(&disks, &["lu", "export", "2", "out.img"], "another process writes out.img.part")
        .await;
    child.kill().await.unwrap();
    heal(&disks);
    assert!(disks.dir().join("out.img.part").exists());
    let said = remarks(&disks, &export).await;
    assert!(said.contains("waiting whether the export by process"), "{said}");
    assert!(said.contains("a killed export of LU 2 has left it: client 1/export-lu2"), "{said}");
    let (path, out) = (disks.dir().join("in.img"), disks.dir().join("out.img"));
    File::options().write(true).open(&out).unwrap().set_len(IMAGE).unwrap();
    assert_eq!(sha256(&out).await, sha256(&path).await);
    assert!(!disks.dir().join("out.img.part").exists());
    assert_eq!(rows(&disks).await, [0, 0, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_interrupted_takes_away_all_that_it_has_made() {
    let mut disks = started().await;
    let child = begin_import(&mut disks, 2).await;
    send_signal(child.id().unwrap(), "INT").await.unwrap();
    let output = timeout(WITHIN, child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let why = "big.img is not imported: LU 2, which was made for it, is deleted: stopped by SIGINT";
    assert!(said.contains(why), "{said}");
    heal(&disks);
    assert_eq!(rows(&disks).await[..2], [0, 0]);
    so("its room is freed", async || !data(&disks, 2).exists()).await;
}
