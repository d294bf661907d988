//! Three processes of this program on loopback, with certificates of one CA, and a proxy on the
//! path between n2 and n3.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use vioduct_certs::UnixTime;
use vioduct_certs::ca::{CA_VALIDITY, ClusterCa, LEAF_VALIDITY};
use vioduct_certs::ca_dir::IfExists;
use vioduct_certs::identity::{Identity, Roles};
use vioduct_tests::fault::{UdpProxy, UdpProxyConfig};

use crate::node::Layout;

/// Longest that a node may take to say what is expected of it.
const SAYING_MAX: Duration = Duration::from_secs(10);

/// A node's process.
#[derive(Debug)]
pub(crate) struct Node {
    name: &'static str,
    child: Child,
    orders: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Node {
    fn start(dir: &Path, name: &'static str, layout: Layout, peers: &[String]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("node").arg("--dir").arg(dir.join(name));
        command.arg("--threads").arg(format!("{:?}", layout.threads).to_lowercase());
        command.arg("--device").arg(format!("{:?}", layout.device).to_lowercase());
        for peer in peers {
            command.arg("--peer").arg(peer);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let orders = child.stdin.take().context("standard input was asked for")?;
        let stdout = child.stdout.take().context("standard output was asked for")?;
        Ok(Self { name, child, orders, said: BufReader::new(stdout).lines() })
    }

    /// Waits until the node says a line that begins so; gives the rest of it. Lines before it are
    /// shown.
    pub(crate) async fn says(&mut self, begin: &str) -> Result<String> {
        let listening = async {
            while let Some(line) = self.said.next_line().await? {
                if let Some(rest) = line.strip_prefix(begin) {
                    return Ok(rest.to_owned());
                }
                println!("{}, unasked: {line}", self.name);
            }
            anyhow::bail!("{} ended without {begin:?}", self.name)
        };
        timeout(SAYING_MAX, listening).await.with_context(|| format!("{}: {begin:?}", self.name))?
    }

    pub(crate) async fn order(&mut self, order: &str) -> Result<()> {
        Ok(self.orders.write_all(format!("{order}\n").as_bytes()).await?)
    }

    /// Ends the node's input, and waits until it has ended well.
    async fn end(self) -> Result<()> {
        let Self { name, mut child, orders, said } = self;
        drop(orders);
        let ended = timeout(SAYING_MAX, child.wait()).await;
        drop(said);
        let status = ended.with_context(|| format!("{name} does not end"))??;
        ensure!(status.success(), "{name} ended with {status}");
        Ok(())
    }
}

/// A directory of its own, removed at the end.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("vioduct-skeleton-{process}-{number}"));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the temporary directory harms nobody.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// All of it. The fields are in the order in which they are dropped: processes before files.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) n1: Node,
    pub(crate) n2: Node,
    pub(crate) n3: Node,
    pub(crate) fabric: UdpProxy,
    scratch: Scratch,
}

impl Cluster {
    /// Starts the nodes, from the storage up.
    pub(crate) async fn start(layout: Layout) -> Result<Self> {
        let scratch = Scratch::new()?;
        let dir = scratch.0.as_path();
        let now = UnixTime::now();
        let mut ca = ClusterCa::create("skeleton".parse()?, CA_VALIDITY, now)?;
        for (name, roles) in
            [("n1", &["phyp"][..]), ("n2", &["vios"]), ("n3", &["storage", "vios"])]
        {
            let roles = Roles::parse_list(roles.iter().copied())?;
            let identity = Identity::node("skeleton".parse()?, name.parse()?, roles);
            let bundle = ca.issue(&identity, LEAF_VALIDITY, now)?;
            bundle.write_to(&dir.join(name), IfExists::Refuse)?;
        }
        let mut n3 = Node::start(dir, "n3", layout, &[])?;
        let target = n3.says("ready ").await?;
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let proxy = UdpProxyConfig { listen, target: target.parse()?, seed: 1 };
        let fabric = UdpProxy::start(proxy)?;
        let mut n2 = Node::start(dir, "n2", layout, &[format!("n3={}", fabric.addr())])?;
        let peers = [format!("n2={}", n2.says("ready ").await?), format!("n3={target}")];
        let mut n1 = Node::start(dir, "n1", layout, &peers)?;
        n1.says("ready ").await?;
        Ok(Self { n1, n2, n3, fabric, scratch })
    }

    /// Where n1 serves the disk.
    pub(crate) fn socket(&self) -> PathBuf {
        self.scratch.0.join("n1").join("nbd.sock")
    }

    /// Ends the nodes, from the client down.
    pub(crate) async fn end(self) -> Result<()> {
        self.n1.end().await?;
        self.n2.end().await?;
        self.n3.end().await
    }
}
