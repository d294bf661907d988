//! The load harness against real nodes, served disks and a database.

mod block;
mod clients;
mod db;
mod disks;
mod history;
mod msg;

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use vioduct_tests::built;

const BOUND: Duration = Duration::from_secs(20);

/// The harness, built now beside the running test.
fn built_loadtest() -> PathBuf {
    built::loadtest().expect("the harness is built")
}

async fn output(mut command: Command) -> Output {
    timeout(BOUND, command.output()).await.expect("it ends in time").expect("it runs")
}

fn result(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}; {said}"))
}

/// The run, which has said its first line: messages flow.
async fn under_way(mut command: Command) -> (Child, BufReader<tokio::process::ChildStderr>) {
    let mut child = command.arg("--progress").spawn().expect("the harness runs");
    let mut stderr = BufReader::new(child.stderr.take().expect("standard error was asked for"));
    let mut line = String::new();
    let read = timeout(BOUND, stderr.read_line(&mut line)).await;
    read.expect("a line each second").expect("standard error is text");
    assert!(line.contains("errors 0"), "{line}");
    (child, stderr)
}

/// The end of a run that is under way.
async fn ended((child, mut stderr): (Child, BufReader<tokio::process::ChildStderr>)) -> Output {
    let mut rest = Vec::new();
    let both = async { tokio::join!(child.wait_with_output(), stderr.read_to_end(&mut rest)) };
    let (output, read) = timeout(BOUND, both).await.expect("it ends in time");
    read.expect("standard error is read");
    Output { stderr: rest, ..output.expect("it ends") }
}
