//! Three nodes of ours, deployed as an operator does it.

use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use super::bound;
use super::cluster::{Server, Servers, last_line};
use crate::process::one_line;

/// Names of the nodes, in the order of their addresses.
pub(super) const NODES: [&str; 3] = ["d1", "d2", "d3"];
/// The name of the tool's directory.
const TOOL: &str = "tool";
const INVENTORY: &str = "cluster.toml";
/// Longest that a command, or the start of a node, may take.
const STEP_MAX: Duration = Duration::from_secs(30);

/// Makes certificates, starts the nodes, and begins the database.
pub(super) async fn start(home: &Path, vioduct: Option<&Path>) -> Result<Servers> {
    let vioduct = match vioduct {
        // Its commands run in another directory.
        Some(given) => std::path::absolute(given).context("the program of the nodes")?,
        None => std::env::current_exe().context("find this program")?.with_file_name("vioduct"),
    };
    ensure!(vioduct.is_file(), "there is no {}: build it, or give --vioduct", vioduct.display());
    let addrs = free_addrs()?;
    let mut inventory = "cluster = \"bench\"\n".to_owned();
    for (name, addr) in NODES.iter().zip(&addrs) {
        inventory += &format!("\n[[node]]\nname = \"{name}\"\naddr = \"{addr}\"\n");
        inventory += "roles = [\"db\"]\n";
    }
    fs::write(home.join(INVENTORY), inventory).context("write the inventory")?;
    let program = Program { vioduct, home };
    program.run(&["ca", "create", "--cluster", "bench", "--dir", "ca"]).await?;
    let issue_all = ["ca", "issue-all", "--dir", "ca", "--inventory", INVENTORY, "--out", "."];
    program.run(&issue_all).await?;
    let tool = ["ca", "issue", "--dir", "ca", "--tool", "--node", "bench", "--out", TOOL];
    program.run(&tool).await?;
    let mut processes = Vec::new();
    for (name, addr) in NODES.iter().zip(addrs) {
        processes.push(program.start(name, addr).await?);
    }
    program.run(&["db", "init", "--certs", TOOL, "--cluster", INVENTORY]).await?;
    Ok(Servers { processes, credentials: Some(home.join(TOOL)) })
}

struct Program<'a> {
    vioduct: PathBuf,
    home: &'a Path,
}

impl Program<'_> {
    async fn run(&self, args: &[&str]) -> Result<()> {
        let name = || format!("vioduct {}", args.join(" "));
        let mut command = bound::command(&self.vioduct)?;
        let output = command.args(args).current_dir(self.home).output();
        let output = timeout(STEP_MAX, output).await.with_context(name)?.with_context(name)?;
        let said = || one_line(&String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{}: {}: {}", name(), output.status, said());
        Ok(())
    }

    /// Starts a node, and waits until it says that it listens.
    async fn start(&self, name: &str, addr: SocketAddr) -> Result<Server> {
        let config = self.home.join(name).join("vioduct.toml");
        let file = File::options().append(true).open(&config);
        writeln!(file.context("open a node's file")?, "\n[db]\ndir = \"db\"")?;
        let log = self.home.join(format!("{name}.log"));
        let mut command = bound::command(&self.vioduct)?;
        command.args(["node", "start", "--config"]).arg(&config);
        command.stdout(Stdio::piped()).stderr(File::create(&log).context("a log")?);
        let mut process = command.spawn().context("start a node")?;
        let stdout = process.stdout.take().context("a node's output is not piped")?;
        let line = timeout(STEP_MAX, BufReader::new(stdout).lines().next_line()).await;
        let line = line.with_context(|| format!("{name} is not ready in time"))??;
        ensure!(line.is_some(), "{name} has ended: {}", last_line(&log));
        Ok(Server { name: name.to_owned(), addr, process, log })
    }
}

/// Ports of loopback that nobody uses at this moment.
fn free_addrs() -> Result<Vec<SocketAddr>> {
    let sockets: Vec<UdpSocket> = NODES
        .iter()
        .map(|_node| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()
        .context("find free ports")?;
    let addrs = sockets.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>();
    addrs.context("find free ports")
}
