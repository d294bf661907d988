//! A directory that an earlier build has left is taken over: what is in it is found, and goes on.
//!
//! The fixture of a format is made once, by the last build that writes it:
//! `DB_FIXTURE=$PWD/tests/fixtures/db-2.tar.gz cargo test --workspace --test db -- format`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use vioduct_db::client::{DbConfig, Freshness};
use vioduct_db::schema::{Class, Schema};
use vioduct_tests::built;
use vioduct_tests::cluster::Cluster;
use vioduct_tests::db::{DbClient, DbCluster, TABLE, client_on, key};

const ROWS: usize = 100;
/// Numbers that were given in the fixture: 1 to this one.
const GIVEN: u64 = 10;

fn value(number: usize) -> Bytes {
    format!("value {number}").repeat(20).into()
}

fn counter() -> Bytes {
    Bytes::from_static(b"ids")
}

fn tar(args: &[&OsStr]) {
    let ran = Command::new("tar").args(args).output().expect("tar is there");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

async fn make(file: &OsStr) {
    let vioduct = built::vioduct().expect("vioduct is built");
    let mut cluster = DbCluster::start(vioduct, 1).await.expect("the database begins");
    let client = cluster.client(DbConfig::default()).await.unwrap();
    for number in 0..ROWS {
        client.db.put(key(&format!("{number:03}")), value(number)).await.unwrap();
        // The first half is in a table, the second one in the log.
        if number == ROWS / 2 {
            cluster.cluster.signal("d1", "TERM").await.unwrap();
            assert!(cluster.cluster.ended("d1").await.unwrap().success());
            cluster.cluster.start("d1").await.unwrap();
        }
    }
    let count = u32::try_from(GIVEN).unwrap();
    assert_eq!(client.db.allocate(counter(), count).await, Ok(1));
    cluster.cluster.kill("d1").await.unwrap();
    let home = cluster.cluster.dir().join("d1");
    let words = ["--exclude=LOG*", "--exclude=LOCK", "--exclude=OPTIONS*", "-C"].map(OsStr::new);
    let what = [OsStr::new("-czf"), file];
    tar(&[&what[..], &words, &[home.as_os_str(), OsStr::new("db")]].concat());
}

async fn has_all_of_it(client: &DbClient) {
    for number in 0..ROWS {
        let place = key(&format!("{number:03}"));
        let found = client.db.get(place, Freshness::Linearizable).await.unwrap();
        assert!(found.is_some_and(|row| row.value == value(number)), "row {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_format_2_is_taken_over() {
    if let Some(file) = std::env::var_os("DB_FIXTURE") {
        return make(&file).await;
    }
    let vioduct = built::vioduct().expect("vioduct is built");
    let mut cluster = Cluster::create_of(vioduct, &[("d1", r#""db""#)]).await.unwrap();
    let mut config = File::options().append(true).open(cluster.config("d1")).unwrap();
    writeln!(config, "\n[db]\ndir = \"db\"").unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/db-2.tar.gz");
    let home = cluster.dir().join("d1");
    let words = [OsStr::new("-xzf"), fixture.as_os_str(), OsStr::new("-C"), home.as_os_str()];
    tar(&words);
    let format = fs::read_to_string(home.join("db/FORMAT")).unwrap();
    assert_eq!(format.trim(), "2", "the fixture is of this format");
    cluster.start("d1").await.expect("it starts with what is there");
    let schema = Arc::new(Schema::new(0).spread_table(TABLE, "kv", Class::Lifecycle));
    let client = client_on(&cluster, ["d1"], schema, DbConfig::default()).await.unwrap();
    has_all_of_it(&client).await;
    let next = client.db.allocate(counter(), 1).await.expect("numbers are given");
    assert_eq!(next, GIVEN + 1, "a number is given twice, or left out");
    client.db.put(key("new"), Bytes::from_static(b"v")).await.expect("it is written on");
    cluster.kill("d1").await.unwrap();
    cluster.start("d1").await.expect("it starts again");
    has_all_of_it(&client).await;
}
