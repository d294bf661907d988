//! Processes that end with this one, however it ends.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::process::find_program;

/// A command of which the process is killed when the thread that started it ends: with this
/// process, were it killed, too.
pub(super) fn command(program: &Path) -> Result<Command> {
    let setpriv = find_program("setpriv");
    let setpriv = setpriv.context("`setpriv` is not found: it is in the package util-linux")?;
    let mut command = Command::new(setpriv);
    // It replaces itself, so that the process id is the program's.
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    // Its words become a line of ours.
    command.env("RUST_LIB_BACKTRACE", "0");
    Ok(command)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[tokio::test]
    async fn a_process_ends_with_the_thread_that_started_it() {
        let mut command = command(Path::new("sh")).unwrap();
        // Ends by itself only in an hour.
        command.args(["-c", "echo begun; exec sleep 3600"]).stdout(Stdio::piped());
        let runtime = tokio::runtime::Handle::current();
        let starting = std::thread::spawn(move || {
            let _entered = runtime.enter();
            let mut process = command.spawn().unwrap();
            // Only now it has asked to end with this thread.
            let mut said = process.stdout.take().unwrap();
            runtime.block_on(tokio::io::AsyncReadExt::read_u8(&mut said)).unwrap();
            process
        });
        let joined = tokio::task::spawn_blocking(|| starting.join()).await.unwrap();
        let status = joined.unwrap().wait().await.unwrap();
        assert_eq!(status.signal(), Some(9));
    }
}
