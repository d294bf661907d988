//! Programs that others wrote.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::process::{Output, Stdio};

use tokio::process::{Child, Command};

/// Runs a program to its end, which must be a good one; gives what it wrote on both streams.
pub(crate) async fn run<A: AsRef<OsStr>>(program: &str, args: &[A]) -> String {
    let Output { status, stdout, stderr } = command(program, args)
        .output()
        .await
        .unwrap_or_else(|error| panic!("{program}: {error}: run `cargo xtask setup`"));
    let [stdout, stderr] = [stdout, stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(status.success(), "{program}: {status}\n{stdout}{stderr}");
    stdout + &stderr
}

/// Starts a server on a socket that listens already, so that nobody needs to wait for it.
///
/// It takes the socket over as systemd would hand it, as file descriptor 3.
pub(crate) fn start(program: &str, args: &[&str], listener: impl Into<OwnedFd>) -> Child {
    let hand_over = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\" 3<&0 </dev/null";
    let args = [&["-c", hand_over, program], args].concat();
    let child = command("sh", &args).stdin(Stdio::from(listener.into())).spawn();
    child.unwrap_or_else(|error| panic!("sh: {error}"))
}

fn command<A: AsRef<OsStr>>(program: &str, args: &[A]) -> Command {
    let mut command = Command::new(program);
    command.args(args).kill_on_drop(true).stdin(Stdio::null());
    command
}
