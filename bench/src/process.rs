//! The parent's side: one server and one client process per measurement, each on a core of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use vioduct_bench_harness::peer::{Home, PeerKind};
use vioduct_bench_harness::rows::{Load, Row};
use vioduct_bench_harness::sample::{Plan, Sample};

/// How long a server may take to listen.
const SERVER_START_MAX: Duration = Duration::from_secs(10);

/// How long a client may take beyond its warm-up and window.
const CLIENT_GRACE: Duration = Duration::from_secs(30);

/// The same with bulk data, which takes as long as it takes.
const BULK_GRACE: Duration = Duration::from_secs(120);

/// Starts the processes of a run.
#[derive(Debug)]
pub(crate) struct Launcher {
    bench: PathBuf,
    peers: Option<PathBuf>,
    credentials: PathBuf,
    taskset: Option<PathBuf>,
    cores: usize,
    plan: Plan,
}

impl Launcher {
    /// Finds this program and `taskset`. `peers` is the program of the other runtimes.
    pub(crate) fn new(
        credentials: &Path,
        peers: Option<&Path>,
        cores: usize,
        plan: Plan,
    ) -> Result<Self> {
        Ok(Self {
            bench: std::env::current_exe().context("find this program")?,
            peers: peers.map(Path::to_owned),
            credentials: credentials.to_owned(),
            taskset: find_program("taskset"),
            cores,
            plan,
        })
    }

    /// How the processes are bound to cores, in words.
    pub(crate) fn pinning(&self) -> &'static str {
        match (&self.taskset, self.cores) {
            (None, _) => "not pinned (taskset not found)",
            (Some(_), 0 | 1) => "server and client on core 0",
            (Some(_), _) => "server on core 0, client on core 1",
        }
    }

    /// Measures one row of one peer in a fresh pair of processes.
    pub(crate) async fn measure(&self, row: Row, peer: PeerKind) -> Result<Sample> {
        if row.is_local() {
            return self.run_client(row, peer, None).await;
        }
        let (mut server, address) = self.start_server(peer).await?;
        let server_pid = server.id().context("the server has ended")?;
        let sample = self.run_client(row, peer, Some((&address, server_pid))).await;
        server.kill().await.context("end the server")?;
        sample
    }

    async fn start_server(&self, peer: PeerKind) -> Result<(Child, String)> {
        let mut server = self
            .command("peer-server", 0, peer)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the server")?;
        let stdout = server.stdout.take().context("the server's output is not piped")?;
        let mut lines = BufReader::new(stdout).lines();
        let address = timeout(SERVER_START_MAX, lines.next_line())
            .await
            .context("the server did not listen in time")??
            .context("the server ended before it listened")?;
        Ok((server, address))
    }

    async fn run_client(
        &self,
        row: Row,
        peer: PeerKind,
        server: Option<(&str, u32)>,
    ) -> Result<Sample> {
        let mut client = self.command("peer-client", self.cores.saturating_sub(1).min(1), peer)?;
        if let Some((address, pid)) = server {
            client.args(["--server", address, "--server-pid", &pid.to_string()]);
        }
        let client = client
            .args(["--row", &row.to_string()])
            .args(["--seconds", &self.plan.window.as_secs_f64().to_string()])
            .args(["--warmup", &self.plan.warmup.as_secs_f64().to_string()])
            .args(["--bulk-bytes", &self.plan.bulk_bytes.to_string()])
            .stdin(Stdio::null())
            .output();
        let grace = match row.load() {
            Load::Bulk | Load::Mixed { .. } => BULK_GRACE,
            _ => CLIENT_GRACE,
        };
        let output = timeout(self.plan.warmup + self.plan.window + grace, client)
            .await
            .context("the client did not end in time")?
            .context("run the client")?;
        anyhow::ensure!(
            output.status.success(),
            "the client ended with {}: {}",
            output.status,
            one_line(&String::from_utf8_lossy(&output.stderr))
        );
        serde_json::from_slice(&output.stdout).context("read the client's sample")
    }

    fn command(&self, subcommand: &str, core: usize, peer: PeerKind) -> Result<Command> {
        let program = match peer.home() {
            Home::Bench => &self.bench,
            Home::Peers => self.peers.as_ref().context("not run: no --peers-program")?,
        };
        let mut command = match &self.taskset {
            Some(taskset) => {
                let mut command = Command::new(taskset);
                // taskset replaces itself, so the process id is the program's.
                command.args(["-c", &core.to_string()]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.arg(subcommand).args(["--peer", &peer.to_string()]);
        command.arg("--credentials").arg(&self.credentials);
        // Its words become a line below the table.
        command.env("RUST_LIB_BACKTRACE", "0").kill_on_drop(true);
        Ok(command)
    }
}

/// Words of a program, for a line of ours.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where a program is that the system has.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}
