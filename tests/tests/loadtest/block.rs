//! Block I/O against served disks: every broken promise is found, and a sound disk passes.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use vioduct_tests::cluster::{Scratch, send_signal};

use super::disks::{Fault, SIZE, Served};
use super::{built_loadtest, ended, output, result, under_way};

/// More than a busy machine holds a thread up; these tests are not about the machine.
const LATE_AFTER: &str = "2000ms";

fn scratch() -> Scratch {
    Scratch::create().expect("a directory is made")
}

pub(crate) fn block(args: &str, dir: &Path) -> Command {
    let mut command = Command::new(built_loadtest());
    command.args(["block", "--output", "json"]).args(args.split_whitespace());
    command.current_dir(dir).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A short run with many requests to few blocks; `args` come before what it is without them.
async fn judged(fault: Fault, args: &str) -> (Output, Value) {
    let dir = scratch();
    let served = Served::new(fault, dir.path());
    let mut command = block(&format!("{} {args}", served.uri()), dir.path());
    for (option, value) in [
        ("--range", "256k"),
        ("--reads", "40"),
        ("--warmup", "0s"),
        ("--duration", "1s"),
        ("--settle", "0s"),
        ("--deadline", "10s"),
    ] {
        if !args.contains(option) {
            command.args([option, value]);
        }
    }
    let output = output(command).await;
    let result = result(&output);
    (output, result)
}

fn number(result: &Value, path: &str) -> u64 {
    let found = result.pointer(path).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("no number {path}: {result:#}"))
}

fn float(result: &Value, path: &str) -> f64 {
    let found = result.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no number {path}: {result:#}"))
}

#[tokio::test]
async fn a_sound_disk_passes_with_every_kind_of_request() {
    for args in [
        "--flush-every 20 --fua 10 --zeroes 10 --trims 10",
        "--overlap --flush-every 20",
        "--size 512,4k,16k --depth 4",
        "--sequential --size 8k --reads 0",
        "--clients 4 --depth 4",
    ] {
        let (output, result) = judged(Fault::None, args).await;
        assert_eq!(output.status.code(), Some(0), "{args}: {result:#}");
        assert!(output.stderr.is_empty(), "no progress unless asked for");
        let troubles = ["/errors/total", "/violations/total", "/reconnects"];
        assert_eq!(troubles.map(|path| number(&result, path)), [0; 3]);
        assert!(number(&result, "/counts/writes") > 100, "{args}: {result:#}");
        let reads = number(&result, "/counts/reads");
        assert_eq!(reads > 100, !args.contains("--reads 0"), "{args}: {result:#}");
        assert_eq!(result["read_back"]["is_whole"], true);
    }
}

#[tokio::test]
async fn every_broken_promise_is_found_and_named() {
    for (fault, args, name) in [
        (Fault::Loses, "", "went_back"),
        (Fault::Reverts, "", "went_back"),
        (Fault::Tears, "", "torn"),
        (Fault::Misplaces, "", "moved"),
        (Fault::Spoils, "", "damaged"),
        (Fault::MakesLate, "", "went_back"),
        (Fault::KeepsWhatWasZeroed, "--zeroes 5", "went_back"),
    ] {
        let (output, result) = judged(fault, args).await;
        assert_eq!(output.status.code(), Some(1), "{fault:?}: {result:#}");
        assert!(number(&result, &format!("/violations/by_kind/{name}")) > 0, "{fault:?}");
        let first = result["violations"]["first"][0]["text"].as_str().unwrap();
        assert!(first.starts_with("block at "), "{first}");
        let errors = number(&result, "/errors/total");
        assert_eq!(errors > 0, fault == Fault::MakesLate, "{fault:?}: {result:#}");
    }
}

#[tokio::test]
async fn a_fault_that_no_read_has_met_is_found_by_reading_everything_back() {
    let (output, result) = judged(Fault::LosesAllLater, "--reads 0").await;
    assert_eq!(number(&result, "/counts/reads"), 0);
    assert_eq!(output.status.code(), Some(1), "{result:#}");
    assert!(number(&result, "/violations/by_kind/went_back") > 0);
}

#[tokio::test]
async fn only_what_was_flushed_is_expected_after_a_power_cut() {
    let cut = "touch cut";
    for (fault, code) in [(Fault::None, 0), (Fault::DoesNotFlush, 1)] {
        let dir = scratch();
        let served = Served::new(fault, dir.path());
        let args = "--range 256k --warmup 0s --duration 1s --settle 0s --flush-every 50 --fua 5";
        let mut command = block(&format!("{} {args}", served.uri()), dir.path());
        command.args(["--power-cut", &format!("500ms={cut}")]);
        let output = output(command).await;
        let result = result(&output);
        assert_eq!(output.status.code(), Some(code), "{fault:?}: {result:#}");
        let event = &result["events"][0];
        assert_eq!((&event["command"], &event["exit_code"]), (&cut.into(), &0.into()));
        assert!(float(&result, "/events/0/at_s") >= 0.5);
        let found = result.pointer("/violations/by_kind/went_back").and_then(Value::as_u64);
        assert_eq!(found.is_some(), fault != Fault::None, "{result:#}");
        assert_eq!((number(&result, "/errors/total"), number(&result, "/reconnects")), (0, 0));
    }
}

#[tokio::test]
async fn a_stall_is_reported_with_its_length_and_its_moment_and_is_no_error() {
    let length = Duration::from_millis(700);
    let (output, result) = judged(Fault::Stalls(length), "--duration 4s --clients 2").await;
    assert_eq!(output.status.code(), Some(0), "{result:#}");
    for path in ["/stall", "/longest_request"] {
        let (ms, at_s) =
            (float(&result, &format!("{path}/ms")), float(&result, &format!("{path}/at_s")));
        assert!(ms >= 690.0, "{path}: {result:#}");
        assert!((0.0..4.0).contains(&at_s), "{path}: {result:#}");
    }
    assert!(float(&result, "/clients/stall_ms/min") >= 690.0, "both clients: {result:#}");
    assert_eq!(result["clients"]["each"].as_array().unwrap().len(), 2);
    assert!(float(&result, "/latency/all/service/max_us") >= 690_000.0);
}

#[tokio::test]
async fn a_lost_connection_is_counted_made_anew_and_no_violation() {
    let dir = scratch();
    let mut served = Served::new(Fault::None, dir.path());
    let args = format!("{} --range 256k --warmup 0s --duration 3s --settle 0s", served.uri());
    let run = under_way(block(&args, dir.path())).await;
    served.restart().await;
    let output = ended(run).await;
    let result = result(&output);
    assert_eq!(output.status.code(), Some(1), "{result:#}");
    assert_eq!((number(&result, "/reconnects"), number(&result, "/violations/total")), (1, 0));
    let lost = ["not_sent", "unanswered"].map(|kind| {
        result.pointer(&format!("/errors/by_kind/{kind}")).and_then(Value::as_u64).unwrap_or(0)
    });
    assert_eq!(lost.iter().sum::<u64>(), number(&result, "/errors/total"));
    assert!(number(&result, "/errors/total") > 0, "{result:#}");
    assert_eq!(result["read_back"]["is_whole"], true);
}

#[tokio::test]
async fn an_open_loop_sends_what_was_planned_or_says_that_it_was_late() {
    let rate = format!("--rate 501 --clients 2 --late-after {LATE_AFTER} --json result.json");
    let (output, result) = judged(Fault::None, &rate).await;
    assert_eq!(output.status.code(), Some(0), "{result:#}");
    assert_eq!((number(&result, "/schedule/planned"), number(&result, "/late")), (501, 0));
    assert_eq!(number(&result, "/latency/all/response/count"), 501);
    // More than any machine sends: the bound on what is outstanding holds it up.
    let (output, result) = judged(Fault::None, "--rate 10000000 --late-after 1ms").await;
    assert_eq!(output.status.code(), Some(98), "{result:#}");
    assert_eq!(result["valid"], false);
}

#[tokio::test]
async fn an_interrupt_ends_a_run_early_with_its_result_and_everything_read_back() {
    let dir = scratch();
    let served = Served::new(Fault::None, dir.path());
    let args = format!("{} --range 256k --warmup 0s --duration 60s --settle 60s", served.uri());
    let run = under_way(block(&args, dir.path())).await;
    send_signal(run.0.id().unwrap(), "INT").await.unwrap();
    let output = ended(run).await;
    let result = result(&output);
    assert_eq!(output.status.code(), Some(0), "{result:#}");
    assert_eq!(result["interrupted"], true);
    assert_eq!(result["read_back"], serde_json::json!({"passes": 1, "is_whole": true}));
    assert!(float(&result, "/measured_s") < 20.0);
}

#[tokio::test]
async fn a_run_that_can_not_start_prints_no_result() {
    let dir = scratch();
    let served = Served::new(Fault::None, dir.path());
    let uri = served.uri();
    for (args, code, expected) in [
        ("nbd:unix:/nowhere/d.sock".to_owned(), 1, "nbd:unix:/nowhere/d.sock"),
        ("/nowhere/d.sock".to_owned(), 2, "nbd+unix:///EXPORT?socket=PATH"),
        (format!("{uri} --size 1000"), 2, "512"),
        (format!("{uri} --clients 1 {uri}"), 2, "2 disks"),
        (format!("{uri} --fua 60 --trims 60"), 2, "100 per cent"),
        (format!("{uri} --at 11s=true"), 2, "after the end"),
        (format!("{uri} --depth 64 --size {}", SIZE / 2), 1, "--depth 64"),
    ] {
        let output = output(block(&args, dir.path())).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args}: {said}");
        assert!(said.contains(expected), "{args}: {said}");
        assert!(output.stdout.is_empty());
    }
}
