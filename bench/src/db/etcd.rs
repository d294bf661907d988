//! Three processes of etcd, with its defaults.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::bound;
use super::cluster::{Server, Servers};
use crate::process::find_program;

const MEMBERS: [&str; 3] = ["e1", "e2", "e3"];

fn program() -> Result<PathBuf> {
    let found = find_program("etcd");
    found.context("there is no `etcd`: `cargo xtask bench db` installs it, package etcd-server")
}

/// What it says of itself.
pub(super) async fn version() -> Result<String> {
    let output = Command::new(program()?).arg("--version").output().await.context("run etcd")?;
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines().next().map(str::to_owned).context("etcd says no version")
}

/// Starts three, which find each other.
pub(super) fn start(home: &Path) -> Result<Servers> {
    let etcd = program()?;
    let ports = free_ports(2 * MEMBERS.len())?;
    let (clients, peers) = ports.split_at(MEMBERS.len());
    let cluster = MEMBERS.iter().zip(peers).map(|(name, peer)| format!("{name}=http://{peer}"));
    let cluster = cluster.collect::<Vec<_>>().join(",");
    let mut processes = Vec::new();
    for ((name, addr), peer) in MEMBERS.iter().zip(clients).zip(peers) {
        let log = home.join(format!("{name}.log"));
        let mut command = bound::command(&etcd)?;
        command.args(["--name", name, "--data-dir"]).arg(home.join(name));
        command.args(["--initial-cluster", &cluster, "--initial-cluster-state", "new"]);
        let (client, peer) = (format!("http://{addr}"), format!("http://{peer}"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        // Its defaults, said here because they are what it is compared at.
        command.args(["--heartbeat-interval", "100", "--election-timeout", "1000"]);
        command.stdout(Stdio::null()).stderr(File::create(&log).context("a log")?);
        let process = command.spawn().context("start etcd")?;
        processes.push(Server { name: (*name).to_owned(), addr: *addr, process, log });
    }
    Ok(Servers { processes, credentials: None })
}

/// Ports of loopback that nobody uses at this moment.
fn free_ports(count: usize) -> Result<Vec<SocketAddr>> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()
        .context("find free ports")?;
    let addrs = listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>();
    addrs.context("find free ports")
}
