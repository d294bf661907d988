//! Messages to real nodes: the result, the exit code, and what is said of a dead node.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;
use vioduct_tests::built;
use vioduct_tests::cluster::{Cluster, send_signal};

use super::{built_loadtest, ended, output, result, under_way};

/// More than a busy machine holds a thread up; these tests are not about the machine.
const LATE_AFTER: &str = "2000ms";

async fn started(names: &[&str]) -> Cluster {
    let mut cluster = Cluster::create(built::vioduct().expect("vioduct is built"), names)
        .await
        .expect("certificates are made");
    for name in names {
        cluster.start(name).await.expect("the node starts");
    }
    cluster
}

/// `msg` against the cluster's inventory, with JSON on standard output.
fn msg(cluster: &Cluster, args: &str) -> Command {
    let mut command = Command::new(built_loadtest());
    command.args(["msg", "--certs", "tool", "--inventory", "cluster.toml", "--output", "json"]);
    command.args(args.split(' ')).current_dir(cluster.dir()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn count(result: &Value, name: &str) -> u64 {
    let count = result.get("counts").and_then(|counts| counts.get(name)?.as_u64());
    count.unwrap_or_else(|| panic!("no count {name}: {result:#}"))
}

#[tokio::test]
async fn both_loops_get_every_reply_from_three_nodes_and_say_so() {
    let cluster = started(&["n1", "n2", "n3"]).await;
    let run = "--warmup 500ms --duration 2s --deadline 10s";

    let closed = output(msg(&cluster, &format!("{run} --concurrency 16"))).await;
    let result_closed = result(&closed);
    assert_eq!(closed.status.code(), Some(0), "{result_closed:#}");
    assert!(closed.stderr.is_empty(), "no progress unless asked for");
    assert_eq!(result_closed["schema"], 2);
    assert_eq!(result_closed["config"]["nodes"], serde_json::json!(["n1", "n2", "n3"]));
    assert_eq!(result_closed["config"]["loop"], "closed");
    assert!(count(&result_closed, "sent") > 0);
    assert_eq!(count(&result_closed, "ok"), count(&result_closed, "sent"));
    assert_eq!(result_closed["service"]["count"], result_closed["counts"]["ok"]);

    let rate = format!("{run} --rate 301 --late-after {LATE_AFTER} --json result.json");
    let open = output(msg(&cluster, &rate)).await;
    let result_open = result(&open);
    assert_eq!(open.status.code(), Some(0), "{result_open:#}");
    assert_eq!((count(&result_open, "sent"), count(&result_open, "ok")), (602, 602));
    assert_eq!((&result_open["late"], &result_open["valid"]), (&0.into(), &true.into()));
    let [service, response] =
        ["service", "response"].map(|times| result_open[times]["p50_us"].as_f64().unwrap());
    assert!(0.0 < service && service <= response, "{result_open:#}");
    let file = std::fs::read(cluster.dir().join("result.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&file).unwrap(), result_open);
}

#[tokio::test]
async fn bodies_of_every_size_come_back_as_they_were() {
    let cluster = started(&["n1"]).await;
    // Nothing, less than a message's number, one past the limit of a lane.
    for size in [0, 5, 300_000] {
        let args = format!("--size {size} --concurrency 8 --warmup 0s --duration 300ms");
        let output = output(msg(&cluster, &args)).await;
        let result = result(&output);
        assert_eq!(output.status.code(), Some(0), "{result:#}");
        assert!(count(&result, "ok") > 0);
    }
}

#[tokio::test]
async fn messages_to_a_killed_node_are_counted_as_lost_and_give_exit_code_1() {
    let mut cluster = started(&["n1", "n2"]).await;
    let args = "--concurrency 16 --warmup 0s --duration 3s --deadline 1s";
    let run = under_way(msg(&cluster, args)).await;
    cluster.kill("n2").await.unwrap();
    let output = ended(run).await;
    let result = result(&output);
    assert_eq!(output.status.code(), Some(1), "{result:#}");
    // Half of those outstanding were the dead node's, and a deadline ends each, again and again.
    let lost = ["not_delivered", "maybe_delivered", "deadline"].map(|name| count(&result, name));
    assert!(lost.iter().sum::<u64>() >= 8, "{result:#}");
    assert!(lost[1] + lost[2] > 0, "what was sent is not known to be undelivered: {result:#}");
    let wrong = ["wrong_body", "wrong_order", "unfinished"].map(|name| count(&result, name));
    assert_eq!(wrong, [0, 0, 0]);
    assert_eq!(count(&result, "sent"), count(&result, "ok") + lost.iter().sum::<u64>());
    let told = ["n2 not_delivered", "n2 maybe_delivered"].map(|label| &result["errors"][label][0]);
    assert_eq!(
        told.iter().filter_map(|count| count.as_u64()).sum::<u64>(),
        lost.iter().sum::<u64>()
    );
    assert_eq!(result["errors"]["n1 maybe_delivered"], Value::Null);
}

#[tokio::test]
async fn tells_are_counted_to_the_last_one_by_every_node() {
    let cluster = started(&["n1", "n2"]).await;
    let run = "--tell --warmup 300ms --duration 1s --deadline 10s";

    let fast = output(msg(&cluster, run)).await;
    let result_fast = result(&fast);
    assert_eq!(fast.status.code(), Some(0), "{result_fast:#}");
    let config = &result_fast["config"];
    assert_eq!((&config["kind"], &config["loop"]), (&"tell".into(), &"credit".into()));
    assert!(count(&result_fast, "ok") > 1000, "{result_fast:#}");
    assert_eq!(count(&result_fast, "ok"), count(&result_fast, "sent"));
    assert!(result_fast["measured_s"].as_f64() >= Some(1.0));

    let args = format!("{run} --rate 1001 --late-after {LATE_AFTER}");
    let paced = output(msg(&cluster, &args)).await;
    let result_paced = result(&paced);
    assert_eq!(paced.status.code(), Some(0), "{result_paced:#}");
    assert_eq!((count(&result_paced, "sent"), count(&result_paced, "ok")), (1001, 1001));
    assert_eq!(result_paced["warmup"]["ok"], result_paced["warmup"]["sent"]);
}

#[tokio::test]
async fn tells_to_a_killed_node_are_not_reported_as_done() {
    let mut cluster = started(&["n1"]).await;
    let run = under_way(msg(&cluster, "--tell --warmup 0s --duration 3s --deadline 1s")).await;
    cluster.kill("n1").await.unwrap();
    let output = ended(run).await;
    let result = result(&output);
    assert_eq!(output.status.code(), Some(1), "{result:#}");
    assert_eq!(count(&result, "ok"), 0, "nobody says that they came: {result:#}");
    assert!(count(&result, "maybe_delivered") > 0, "{result:#}");
    let lost = ["not_delivered", "maybe_delivered"].map(|name| count(&result, name));
    assert_eq!(lost.iter().sum::<u64>(), count(&result, "sent"));
}

#[tokio::test]
async fn an_interrupt_ends_a_run_early_with_its_result() {
    let cluster = started(&["n1"]).await;
    let args = format!("--rate 100 --warmup 0s --duration 60s --late-after {LATE_AFTER}");
    let run = under_way(msg(&cluster, &args)).await;
    send_signal(run.0.id().unwrap(), "INT").await.unwrap();
    let output = ended(run).await;
    let result = result(&output);
    assert_eq!(output.status.code(), Some(0), "{result:#}");
    assert_eq!(result["interrupted"], true);
    assert!(result["measured_s"].as_f64().unwrap() < 20.0);
    assert_eq!(count(&result, "ok"), count(&result, "sent"));
}

#[tokio::test]
async fn a_generator_that_is_late_says_so_with_exit_code_98() {
    let cluster = started(&["n1"]).await;
    // More than any machine sends: the bound on what is outstanding, or the sender, holds it up.
    let args = "--rate 10000000 --warmup 0s --duration 500ms --deadline 10s --late-after 1ms";
    let output = output(msg(&cluster, args)).await;
    let result = result(&output);
    assert_eq!(output.status.code(), Some(98), "{result:#}");
    assert_eq!(result["valid"], false);
    assert_eq!(count(&result, "ok"), count(&result, "sent"));
    let schedule = &result["schedule"];
    assert_eq!(schedule["planned"], 5_000_000);
    assert!(schedule["missed"].as_u64() > Some(0), "{schedule}");
}

#[tokio::test]
async fn a_run_that_can_not_start_prints_no_result() {
    let cluster = Cluster::create(built::vioduct().unwrap(), &["n1", "n2"]).await.unwrap();
    for (args, code, expected) in [
        ("--node n9", 2, "cluster.toml has no node n9"),
        ("--concurrency 1", 2, "spread over 2 nodes"),
        ("--node n1 --deadline 200ms", 1, "n1"),
    ] {
        let output = output(msg(&cluster, args)).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(output.stdout.is_empty());
    }
}
