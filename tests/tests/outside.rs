//! A project that is no member of the workspace builds on the runtime by its path, and runs.

#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use vioduct_certs::UnixTime;
use vioduct_certs::ca::ClusterCa;
use vioduct_certs::ca_dir::IfExists;
use vioduct_certs::identity::{Identity, Roles};
use vioduct_tests::cluster::Scratch;

const LIFE: Duration = Duration::from_secs(3600);

/// `cargo VERB` for the project.
fn cargo(verb: &str) -> Command {
    let test = env::current_exe().expect("the path of this test");
    // target/debug/deps/outside-0123456789abcdef
    let target = test.ancestors().nth(3).expect("a test lies in target/PROFILE/deps");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/outside/Cargo.toml");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([verb, "--quiet", "--locked", "--manifest-path"]).arg(manifest);
    cargo.arg("--target-dir").arg(target);
    cargo
}

/// What it printed, once it has ended well.
fn printed(mut command: Command) -> String {
    let output = command.output().expect("the program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    let mend =
        "if its lockfile is behind: `cargo metadata` in examples/outside brings it up to date";
    assert!(output.status.success(), "{errors}{mend}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_project_outside_the_workspace_embeds_the_runtime() {
    assert_eq!(printed(cargo("run")), "twice 21 is 42\n");
}

#[test]
fn a_project_outside_the_workspace_has_a_disk_that_survives_a_lost_fabric() {
    let mut run = cargo("run");
    run.args(["--bin", "disk"]);
    assert_eq!(printed(run), "200 blocks written and read over a lost fabric\n");
}

/// Builds the program whose builds differ, and keeps it beside the other build.
fn rollout(dir: &Path, features: &[&str]) -> PathBuf {
    let mut build = cargo("build");
    build.args(["--bin", "rollout", "--message-format", "json-render-diagnostics"]).args(features);
    let messages = printed(build);
    let artifact = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .expect("an executable");
    let kept = dir.join(format!("rollout{}", features.concat()));
    std::fs::copy(artifact, &kept).expect("the program can be copied");
    kept
}

fn issue(dir: &Path) {
    let now = UnixTime::now();
    let mut ca = ClusterCa::create("rollout".parse().unwrap(), LIFE, now).unwrap();
    let cluster = ca.cluster().clone();
    for node in ["server", "client"] {
        let identity = Identity::node(cluster.clone(), node.parse().unwrap(), Roles::none());
        let bundle = ca.issue(&identity, LIFE, now).unwrap();
        bundle.write_to(&dir.join(node), IfExists::Refuse).unwrap();
    }
}

/// The two fingerprints of "message M version V is HERE here and THERE on PEER".
fn fingerprints<'a>(line: &'a str, peer: &str) -> (&'a str, &'a str) {
    let (_, rest) = line.split_once("message rollout.Deposit version 1 is ").expect(line);
    let (here, rest) = rest.split_once(" here and ").expect(line);
    let (there, rest) = rest.split_once(" on ").expect(line);
    let told = format!("{peer}: the builds differ; give the changed message a new version");
    assert!(rest.starts_with(&told), "{line}");
    (here, there)
}

#[test]
fn two_builds_that_differ_in_a_message_both_say_so_and_go_on_with_the_others() {
    let dir = Scratch::create().unwrap();
    issue(dir.path());
    let before = rollout(dir.path(), &[]);
    let after = rollout(dir.path(), &["--features", "changed"]);

    let mut server = Command::new(&before)
        .arg("serve")
        .arg(dir.path().join("server"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut addr = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut addr).unwrap();
    let ask = |build: &Path| {
        let mut ask = Command::new(build);
        ask.arg("ask").arg(dir.path().join("client")).arg(addr.trim());
        printed(ask)
    };
    assert_eq!(ask(&before), "deposited: 5\nbalance: 5\n");
    let told = ask(&after);
    let [deposit, balance] = told.lines().collect::<Vec<_>>()[..] else { panic!("{told}") };
    assert!(deposit.starts_with("deposit: not delivered: "), "{told}");
    let (here, there) = fingerprints(deposit, "server");
    assert_ne!(here, there);
    assert_eq!(balance, "balance: 5");
    assert_eq!(ask(&before), "deposited: 10\nbalance: 10\n");

    drop(server.stdin.take());
    let mut log = String::new();
    server.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(server.wait().unwrap().success(), "{log}");
    let line = log.lines().find(|line| line.contains("rollout.Deposit")).expect(&log);
    assert_eq!(fingerprints(line, "client"), (there, here), "the other side tells it from its end");
}
