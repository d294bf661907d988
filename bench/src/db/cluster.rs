//! Three servers of one store, and what is done with them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use vioduct_bench_harness::store::{StoreKind, StoreRow, StoreSample};

use super::{bound, etcd, nodes};
use crate::process::one_line;

/// How long a client may take beyond its warm-up and window.
const GRACE: Duration = Duration::from_secs(60);

/// Programs that are not this one.
#[derive(Args, Debug)]
pub(crate) struct Programs {
    /// The program of our nodes. Default: `vioduct` beside this one.
    #[arg(long, value_name = "FILE")]
    pub(super) vioduct: Option<PathBuf>,
    /// The client of etcd. `cargo xtask bench db` builds and names it.
    #[arg(long, value_name = "FILE")]
    etcd_client: Option<PathBuf>,
}

/// What measures a store.
#[derive(Debug)]
struct Client {
    program: PathBuf,
    subcommand: Option<&'static str>,
}

impl Programs {
    fn client(&self, kind: StoreKind) -> Result<Client> {
        match kind {
            StoreKind::Vioduct => {
                let program = std::env::current_exe().context("find this program")?;
                Ok(Client { program, subcommand: Some("store-client") })
            }
            StoreKind::Etcd => {
                let program = self.etcd_client.clone();
                let program = program.context("without --etcd-client only vioduct is measured")?;
                Ok(Client { program, subcommand: None })
            }
        }
    }
}

/// How long each row is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) warmup: Duration,
    pub(super) window: Duration,
}

/// What a store's start gives.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) processes: Vec<Server>,
    /// Where the client finds its credentials.
    pub(super) credentials: Option<PathBuf>,
}

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: String,
    /// Where it listens for clients.
    pub(super) addr: SocketAddr,
    pub(super) process: Child,
    pub(super) log: PathBuf,
}

impl Server {
    /// Says why, if it has ended.
    fn runs(&mut self) -> Result<()> {
        let ended = self.process.try_wait().context("look after a server")?;
        ensure!(ended.is_none(), "{} has ended: {}", self.name, last_line(&self.log));
        Ok(())
    }
}

/// A store that serves.
#[derive(Debug)]
pub(super) struct Cluster {
    kind: StoreKind,
    servers: Servers,
    client: Client,
    plan: Plan,
}

impl Cluster {
    /// Starts three servers, with files in `dir`.
    pub(super) async fn start(
        kind: StoreKind,
        dir: &Path,
        programs: &Programs,
        plan: Plan,
    ) -> Result<Self> {
        let client = programs.client(kind)?;
        let home = dir.join(kind.to_string());
        std::fs::create_dir(&home).with_context(|| format!("make {}", home.display()))?;
        let servers = match kind {
            StoreKind::Vioduct => nodes::start(&home, programs.vioduct.as_deref()).await,
            StoreKind::Etcd => etcd::start(&home),
        };
        let servers = servers.with_context(|| format!("start {kind}"))?;
        Ok(Self { kind, servers, client, plan })
    }

    pub(super) fn kind(&self) -> StoreKind {
        self.kind
    }

    /// Writes the rows that gets ask for; waits for as long as the servers take to start.
    pub(super) async fn fill(&mut self) -> Result<()> {
        self.client(None, 0).await.map(|_nothing_measured| ())
    }

    /// Measures one row in a fresh process.
    pub(super) async fn measure(&mut self, row: StoreRow, round: u32) -> Result<StoreSample> {
        self.client(Some(row), round).await?.context("the client has measured nothing")
    }

    async fn client(&mut self, row: Option<StoreRow>, round: u32) -> Result<Option<StoreSample>> {
        let output = self.command(row, round)?.output();
        let within = self.plan.warmup + self.plan.window + GRACE;
        let output = timeout(within, output).await;
        for server in &mut self.servers.processes {
            server.runs()?;
        }
        let output = output.context("the client did not end in time")?.context("run the client")?;
        let said = || one_line(&String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "the client ended with {}: {}", output.status, said());
        serde_json::from_slice(&output.stdout).context("read the client's sample")
    }

    /// Ends its servers.
    pub(super) async fn stop(self) -> Result<()> {
        for mut server in self.servers.processes {
            server.process.kill().await.with_context(|| format!("end {}", server.name))?;
        }
        Ok(())
    }

    fn command(&self, row: Option<StoreRow>, round: u32) -> Result<Command> {
        let servers = self.servers.processes.iter();
        let addrs: Vec<String> = servers.clone().map(|server| server.addr.to_string()).collect();
        let pids = servers.filter_map(|server| server.process.id());
        let pids: Vec<String> = pids.map(|pid| pid.to_string()).collect();
        let mut command = bound::command(&self.client.program)?;
        command.args(self.client.subcommand);
        command.args(["--servers", &addrs.join(","), "--pids", &pids.join(",")]);
        command.args(row.map(|row| format!("--row={row}"))).arg(format!("--round={round}"));
        command.arg(format!("--seconds={}", self.plan.window.as_secs_f64()));
        command.arg(format!("--warmup={}", self.plan.warmup.as_secs_f64()));
        if let Some(credentials) = &self.servers.credentials {
            command.arg("--credentials").arg(credentials);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }
}

/// The last thing that a server wrote.
pub(super) fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("it wrote nothing").to_owned()
}
