//! What operators do wrong, on real processes: nothing changes, and each is told the mistake and
//! the mend. What is said stands in `mistakes/`, and is written anew with `UPDATE_EXPECT=1`.

use std::fs;
use std::process::Output;
use std::time::Duration;

use expect_test::expect_file;
use serde_json::Value;
use vioduct_tests::built;
use vioduct_tests::cluster::Cluster;
use vioduct_tests::disks::{DiskCluster, DiskPlan};

const WITHIN: Duration = Duration::from_secs(20);
const EXIT_CONFIG: i32 = 78;
const FILE: &str = "n1/vioduct.toml";

/// A command, how it ended, and what it said.
fn told(words: &str, output: &Output) -> String {
    let (code, said) = (output.status.code(), String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty(), "{words}: {}", String::from_utf8_lossy(&output.stdout));
    let said = said.split("has version ").enumerate().map(|(place, part)| match place {
        0 => part.to_owned(),
        // It depends on what else was written before.
        _after => format!("has version N{}", part.trim_start_matches(|c: char| c.is_ascii_digit())),
    });
    let said: String = said.collect();
    format!("$ vioduct {words}\n{said}[{}]\n\n", code.unwrap_or(-1))
}

/// Each is wrong in one way.
const COMMANDS: [&str; 26] = [
    "lu create --pool gold --size 1MiB",
    "lu create --pool pool --size 1000",
    "lu create --pool pool --size 2PiB",
    "lu delete 9",
    "lu delete 1",
    "lu delete 2 --if-version 1",
    "lu resize 1 --size 512",
    "lu resize 2 --size 2MiB --if-version 1",
    "pool create pool --storage s1",
    "pool create b --storage s9",
    "pool create b --storage v1",
    "pool create B --storage s1",
    "pool delete gold",
    "pool delete pool",
    "client add 1/lpar1",
    "client add lpar2",
    "client remove 9/x",
    "client remove 1/lpar2 --if-version 1",
    "vtd create --lu 1 --client 1/x",
    "vtd create --lu 1 --client 1/lpar1",
    "vtd create --lu 1 --client 1/lpar2",
    "vtd create --lu 2 --client 1/lpar1 --socket lu2.sock",
    "vtd delete 9",
    "cluster create --name demo v1",
    "vios add s9",
    "vios remove s1",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_commands_change_nothing_and_say_the_mend() {
    let plan = DiskPlan { lu: 1, size: 1 << 20 };
    let mut disks = DiskCluster::create(built::vioduct().unwrap(), &[plan]).await.unwrap();
    disks.start(WITHIN).await.unwrap();
    for made in
        [&["lu", "create", "--pool", "pool", "--size", "1MiB"][..], &["client", "add", "1/lpar2"]]
    {
        disks.command(made).await.unwrap();
    }
    let target = ["--certs", "tool", "--cluster", "cluster.toml"];
    let rows = async || {
        let mut all = Vec::new();
        for (what, list) in
            [("pool", "pools"), ("client", "clients"), ("vtd", "vtds"), ("lu", "rows")]
        {
            let mut rows = disks.answer(&[what, "ls", "--cluster", "cluster.toml"]).await.unwrap()
                [list]
                .clone();
            for row in rows.as_array_mut().unwrap() {
                // Others write to the same file system.
                row.as_object_mut().unwrap().remove("free");
            }
            all.push(rows);
        }
        all
    };
    let before = rows().await;
    assert_eq!(before[3].as_array().unwrap().len(), 2, "{before:?}");
    let mut all = String::new();
    for words in COMMANDS {
        let split: Vec<_> = words.split(' ').chain(target).collect();
        all += &told(words, &disks.output(&split).await.unwrap());
    }
    expect_file!["mistakes/commands.txt"].assert_eq(&all);
    assert_eq!(rows().await, before);

    // Programs are told the same in their form.
    let words = ["lu", "delete", "9", "--output", "json"].into_iter().chain(target);
    let output = disks.output(&words.collect::<Vec<_>>()).await.unwrap();
    let failure: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(failure["error"]["code"], "missing", "{failure}");
}

/// Each is wrong in one way: what is exchanged in the good file, by what.
const FILES: [(&str, &str); 25] = [
    ("[node]", "[nodes]"),
    ("name = \"n1\"", "name = \"N 1\""),
    ("name = \"n1\"", "name = \"n9\""),
    ("listen = \"127.0.0.1:7400\"", "listen = \"localhost\""),
    ("listen = \"127.0.0.1:7400\"", "listen = \"127.0.0.1:0\""),
    ("listen = \"127.0.0.1:7400\"", "listen = \"0.0.0.0:7400\""),
    ("data_dir = \"data\"\n", ""),
    ("certs_dir = \".\"", "certs_dir = \"nowhere\""),
    ("[[peer]]\nname = \"n2\"", "[[peer]]\nname = \"n1\""),
    ("addr = \"127.0.0.1:7401\"", "addr = \"127.0.0.1\""),
    ("[db]\n", "[db]\nshards = 99999\n"),
    ("[db]\n", "[db]\nheartbeat_ms = 0\n"),
    ("[db]\n", "[db]\nreserve = \"plenty\"\n"),
    ("[cm]\n", "[cm]\nattempts = 0\n"),
    ("[cm]\n", "[cm]\nattemps = 3\n"),
    ("[cm]\n", "[cm]\npause_ms = -1\n"),
    ("[cm]\ncec = 1\n", "[cm]\n"),
    ("[cm]\ncec = 1\n", ""),
    ("[dsa]\n", "[outside]\nserver = \"tcp:127.0.0.1:10809\"\n[dsa]\n"),
    ("name = \"fcs1\"", "name = \"fcs0\""),
    ("127.0.0.1:7501", "127.0.0.1:7500"),
    ("name = \"fcs1\"\nstorage = \"n2\"\n", "name = \"fcs1\"\n"),
    ("[dsa]\n", "[dsa]\nsilence_max_ms = 1\n"),
    ("[db]\n", "[storage]\nvolume = \"volume\"\nlisten = \"127.0.0.1:7500\"\n[db]\n"),
    ("[transport]\n", "[transport]\nlanes = 0\n"),
];

const GOOD: &str = r#"[node]
name = "n1"
listen = "127.0.0.1:7400"
data_dir = "data"
certs_dir = "."

[[peer]]
name = "n2"
addr = "127.0.0.1:7401"

[[adapter]]
name = "fcs0"
storage = "n2"
addr = "127.0.0.1:7500"

[[adapter]]
name = "fcs1"
storage = "n2"
addr = "127.0.0.1:7501"

[dsa]

[db]
dir = "db"

[cm]
cec = 1

[transport]
"#;

#[tokio::test]
async fn wrong_files_are_refused_and_say_the_mend() {
    let members = [("n1", r#""db", "vios""#), ("n2", r#""storage""#)];
    let cluster = Cluster::create_of(built::vioduct().unwrap(), &members).await.unwrap();
    let check = async |text: &str| {
        fs::write(cluster.dir().join(FILE), text).unwrap();
        cluster.output(&["node", "start", "--check", "--config", FILE]).await.unwrap()
    };
    let good = check(GOOD).await;
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    let mut all = String::new();
    for (good, wrong) in FILES {
        assert_eq!(GOOD.matches(good).count(), 1, "{good}");
        let output = check(&GOOD.replace(good, wrong)).await;
        assert_eq!(output.status.code(), Some(EXIT_CONFIG), "{wrong}");
        let said = String::from_utf8_lossy(&output.stderr);
        all += &format!(
            "- {}\n+ {}\n{said}\n",
            good.trim_end().replace('\n', "\n- "),
            wrong.trim_end().replace('\n', "\n+ ")
        );
    }
    expect_file!["mistakes/files.txt"].assert_eq(&all);
}
