//! Nodes in processes of their own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use vioduct_certs::UnixTime;
use vioduct_certs::ca::ClusterCa;
use vioduct_certs::ca_dir::IfExists;
use vioduct_certs::identity::{Identity, Roles};
use vioduct_runtime::Node;

use crate::support::BOUND;

const LIFE: Duration = Duration::from_secs(3600);

/// A node in a process of its own; gives where it listens.
pub(crate) async fn start(
    credentials: &Path,
    listen: SocketAddr,
    joins: Option<&Node>,
) -> (Child, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sleeper"));
    command.arg(credentials).arg(listen.to_string());
    if let Some(seed) = joins {
        command.arg(seed.name().as_str()).arg(seed.local_addr().unwrap().to_string());
    }
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let addr = timeout(BOUND, lines.next_line()).await.unwrap().unwrap().unwrap();
    (process, addr.parse().unwrap())
}

/// Certificates of the two nodes, on disk.
pub(crate) fn issue(dir: &Path) {
    let now = UnixTime::now();
    let mut ca = ClusterCa::create("killed".parse().unwrap(), LIFE, now).unwrap();
    let cluster = ca.cluster().clone();
    for node in ["here", "there"] {
        let identity = Identity::node(cluster.clone(), node.parse().unwrap(), Roles::none());
        let bundle = ca.issue(&identity, LIFE, now).unwrap();
        bundle.write_to(&dir.join(node), IfExists::Refuse).unwrap();
    }
}

/// Any port of this machine.
pub(crate) fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
