//! Disks over real `vioduct` processes: two VIOSes on CEC 1, one on CEC 2, a storage, and the
//! hypervisor of CEC 1. Each VIOS reaches the storage through a fault proxy of its own. The nodes
//! of the VIOSes hold the cluster's database, and all that there is was made by commands.

pub mod crowd;
mod driver;
mod fabric;
pub mod history;
pub mod load;
mod outside;
pub mod scene;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::time::{interval, timeout};

use crate::cluster::{Cluster, free_addr};
use crate::fault::{TcpProxy, TcpProxyConfig, UdpProxy, UdpProxyConfig};
pub use fabric::Fabric;
use outside::{EXPORT, OutsideStorage, REQUEST_LIFE};

/// The storage's node.
pub const STORAGE: &str = "s1";
/// The hypervisor's node, on CEC 1.
pub const PHYP: &str = "p1";
/// Another hypervisor's node, on CEC 2, where there is one.
pub const OTHER_PHYP: &str = "p2";
/// The client partition that sees the disks.
const CLIENT: &str = "1/lpar1";
/// The VIOSes' nodes, numbered from 1, and their CECs.
pub const VIOSES: [(&str, u32); 3] = [("v1", 1), ("v2", 1), ("v3", 2)];

const VIOS_NODES: [&str; 3] = ["v1", "v2", "v3"];
/// Nodes that hold the database and nothing else, where there are such.
pub const DATABASE: [&str; 3] = ["d1", "d2", "d3"];
const PHYPS: [(&str, u32); 2] = [(PHYP, 1), (OTHER_PHYP, 2)];

/// How long it may take until each VIOS is registered and knows all.
const FORMED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A client's disk.
#[derive(Debug, Clone, Copy)]
pub struct DiskPlan {
    /// Its LU; clients of even ones enter by `v1`.
    pub lu: u64,
    /// Bytes.
    pub size: u64,
}

/// The processes, and the proxies between VIOSes and storage, which run in this one.
#[derive(Debug)]
pub struct DiskCluster {
    cluster: Cluster,
    storage: SocketAddr,
    fabrics: BTreeMap<String, Fabric>,
    outside: Option<OutsideStorage>,
    plans: Vec<DiskPlan>,
    /// The hypervisors' nodes, and their CECs.
    phyps: &'static [(&'static str, u32)],
    /// The nodes that hold the database.
    database: &'static [&'static str],
}

impl DiskCluster {
    /// Makes certificates, files and proxies. Starts no process.
    ///
    /// # Errors
    /// A command fails, or a file or socket can't be made.
    pub async fn create(vioduct: PathBuf, disks: &[DiskPlan]) -> Result<Self> {
        Self::create_for(vioduct, disks, &PHYPS[..1], &VIOS_NODES).await
    }

    /// The same with a hypervisor on CEC 2, too.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn create_for_two(vioduct: PathBuf, disks: &[DiskPlan]) -> Result<Self> {
        Self::create_for(vioduct, disks, &PHYPS, &VIOS_NODES).await
    }

    /// The same as [`create`](Self::create), with the database on nodes of its own.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn create_beside_database(vioduct: PathBuf, disks: &[DiskPlan]) -> Result<Self> {
        Self::create_for(vioduct, disks, &PHYPS[..1], &DATABASE).await
    }

    async fn create_for(
        vioduct: PathBuf,
        disks: &[DiskPlan],
        phyps: &'static [(&'static str, u32)],
        database: &'static [&'static str],
    ) -> Result<Self> {
        let beside = database.iter().filter(|name| !VIOS_NODES.contains(name));
        let members: Vec<(&str, &str)> = [(STORAGE, r#""storage""#)]
            .into_iter()
            .chain(phyps.iter().map(|(name, _cec)| (*name, r#""phyp""#)))
            .chain(VIOSES.map(|(name, _cec)| (name, r#""db", "vios""#)))
            .chain(beside.map(|name| (*name, r#""db""#)))
            .collect();
        let cluster = Cluster::create_of(vioduct, &members).await?;
        let storage: SocketAddr = free_addr(1)?.parse()?;
        let mut fabrics = BTreeMap::new();
        for (seed, (name, _cec)) in (1..).zip(VIOSES) {
            let config = UdpProxyConfig { listen: ANY, target: storage, seed };
            fabrics.insert(name.to_owned(), Fabric::Udp(UdpProxy::start(config)?));
        }
        let (plans, outside) = (disks.to_vec(), None);
        let disks = Self { cluster, storage, fabrics, outside, plans, phyps, database };
        disks.write_files()?;
        Ok(disks)
    }

    /// The same with one disk, on a storage outside of the cluster: a file behind an NBD server in
    /// this process.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn create_outside(vioduct: PathBuf, disk: DiskPlan) -> Result<Self> {
        let members: Vec<(&str, &str)> = [(PHYP, r#""phyp""#)]
            .into_iter()
            .chain(VIOSES.map(|(name, _cec)| (name, r#""db", "vios""#)))
            .collect();
        Self::create_outside_for(vioduct, disk, &members, &PHYPS[..1]).await
    }

    async fn create_outside_for(
        vioduct: PathBuf,
        disk: DiskPlan,
        members: &[(&str, &str)],
        phyps: &'static [(&'static str, u32)],
    ) -> Result<Self> {
        let cluster = Cluster::create_of(vioduct, members).await?;
        let outside = OutsideStorage::start(&cluster.dir().join("outside.img"), disk.size).await?;
        let (storage, mut fabrics) = (outside.addr, BTreeMap::new());
        for (name, _cec) in VIOSES {
            let config = TcpProxyConfig { listen: ANY, target: storage };
            fabrics.insert(name.to_owned(), Fabric::Tcp(TcpProxy::start(config)?));
        }
        let (outside, plans) = (Some(outside), vec![disk]);
        let disks =
            Self { cluster, storage, fabrics, outside, plans, phyps, database: &VIOS_NODES };
        disks.write_files()?;
        Ok(disks)
    }

    /// The same with a hypervisor on CEC 2, too.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn create_outside_for_two(vioduct: PathBuf, disk: DiskPlan) -> Result<Self> {
        let members: Vec<(&str, &str)> = PHYPS
            .map(|(name, _cec)| (name, r#""phyp""#))
            .into_iter()
            .chain(VIOSES.map(|(name, _cec)| (name, r#""db", "vios""#)))
            .collect();
        Self::create_outside_for(vioduct, disk, &members, &PHYPS).await
    }

    fn write_files(&self) -> Result<()> {
        if self.outside.is_none() {
            let (volume, listen) = ("volume = \"volume\"", self.storage);
            self.append(STORAGE, &format!("\n[cm]\n[storage]\n{volume}\nlisten = \"{listen}\"\n"))?;
        }
        for name in self.database {
            self.append(name, "\n[db]\ndir = \"db\"\n")?;
        }
        for (name, cec) in self.phyps {
            self.append(name, &format!("\n[cm]\n[phyp]\ncec = {cec}\n"))?;
        }
        for (name, cec) in VIOSES {
            let addr = self.fabric(name)?.addr();
            let way = match &self.outside {
                Some(_) => format!("[outside]\nserver = \"tcp:{addr}\"\n"),
                None => format!("[[adapter]]\nstorage = \"{STORAGE}\"\naddr = \"{addr}\"\n"),
            };
            self.append(name, &format!("\n[cm]\ncec = {cec}\nattempts = 100\n{way}"))?;
        }
        Ok(())
    }

    /// Adds to a node's file.
    ///
    /// # Errors
    /// It can't be written.
    pub fn append(&self, node: &str, text: &str) -> Result<()> {
        let mut file = File::options().append(true).open(self.cluster.config(node))?;
        Ok(file.write_all(text.as_bytes())?)
    }

    /// Starts every process, and waits until every disk is served. Gives the commands that made the
    /// cluster.
    ///
    /// # Errors
    /// One does not start, or a disk is not served in time.
    pub async fn start(&mut self, bound: Duration) -> Result<Vec<String>> {
        if self.outside.is_none() {
            self.cluster.start(STORAGE).await?;
        }
        for name in self.database.iter().filter(|name| !VIOS_NODES.contains(name)) {
            self.cluster.start(name).await?;
        }
        for (name, _cec) in VIOSES.iter().chain(self.phyps) {
            self.cluster.start(name).await?;
        }
        let said = self.form().await?;
        let count = self.plans.len().max(1);
        self.until(bound, "every disk is served", |lus| {
            let disks = lus["disks"].as_array()?;
            let is_served = |disk: &Value| disk["state"] == "serving";
            (disks.len() >= count && disks.iter().all(is_served)).then_some(())
        })
        .await?;
        Ok(said)
    }

    /// Begins the database, and makes the cluster, a pool, the disks and their client. Each VIOS
    /// knows all of them before there is a client, so that a client enters by the first of its CEC.
    /// LUs are numbered one after the other: those that no plan asks for are made, too. Gives the
    /// commands.
    async fn form(&self) -> Result<Vec<String>> {
        let begun = [
            format!("db init --nodes {}", self.database.join(",")),
            format!("cluster create --name demo {}", VIOS_NODES.join(" ")),
        ];
        for command in &begun {
            self.command(&words(command)).await?;
        }
        let list = &["vios", "ls", "--cluster", "cluster.toml"];
        self.seen(FORMED_WITHIN, "each VIOS knows all", list, |list| {
            let vioses = list["vioses"].as_array()?;
            let knows_all = |vios: &Value| vios["knows"] == VIOSES.len();
            vioses.iter().all(knows_all).then_some(())
        })
        .await?;
        let storage = match self.outside {
            Some(_) => format!("--outside --request-life-ms {}", REQUEST_LIFE.as_millis()),
            None => format!("--storage {STORAGE}"),
        };
        let mut said = vec![format!("pool create pool {storage}"), format!("client add {CLIENT}")];
        for lu in 1..=self.plans.iter().map(|plan| plan.lu).max().unwrap_or(0) {
            let plan = self.plans.iter().find(|plan| plan.lu == lu);
            let what = match (&self.outside, plan) {
                (Some(_), Some(_)) => format!("--export {EXPORT}"),
                (Some(_), None) => format!("--export none{lu}"),
                (None, plan) => format!("--size {}", plan.map_or(4096, |plan| plan.size)),
            };
            said.push(format!("lu create --pool pool {what} --no-wait"));
            if plan.is_some() {
                let socket = self.socket(lu);
                let socket = socket.display();
                said.push(format!("vtd create --lu {lu} --client {CLIENT} --socket unix:{socket}"));
            }
        }
        for command in &said {
            self.command(&words(command)).await?;
        }
        Ok(begun.into_iter().chain(said).collect())
    }

    /// The node whose replica leads the database, once there is one.
    ///
    /// # Errors
    /// There is none within `bound`.
    pub async fn database_leader(&self, bound: Duration) -> Result<String> {
        let looking = async {
            let mut looks = interval(LOOK_INTERVAL);
            loop {
                looks.tick().await;
                let args = ["--certs", "tool", "--cluster", "cluster.toml", "--output", "json"];
                let output = self.cluster.output(&[&["db", "status"][..], &args].concat()).await?;
                let Ok(status) = serde_json::from_slice::<Value>(&output.stdout) else { continue };
                let replicas = status.get("replicas").and_then(Value::as_array);
                let is_leader = |replica: &&Value| replica.get("state") == Some(&"leads".into());
                let leader = replicas.and_then(|replicas| replicas.iter().find(is_leader));
                if let Some(node) = leader.and_then(|leader| leader.get("node")?.as_str()) {
                    return anyhow::Ok(node.to_owned());
                }
            }
        };
        timeout(bound, looking).await.context("no replica of the database leads")?
    }

    /// Runs a command of the cluster's operator.
    ///
    /// # Errors
    /// As [`Cluster::run`].
    pub async fn command(&self, words: &[&str]) -> Result<String> {
        let target = ["--certs", "tool", "--cluster", "cluster.toml"];
        self.cluster.run(&[words, &target].concat()).await
    }

    /// Starts a node that was killed.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_if_dead(&mut self, name: &str) -> Result<()> {
        if self.cluster.runs(name) { Ok(()) } else { self.cluster.start(name).await }
    }

    /// Starts a VIOS anew that reaches the storage without its proxy.
    ///
    /// # Errors
    /// Its file can't be written, or it does not stop or start.
    pub async fn go_past_proxy(&mut self, vios: &str) -> Result<()> {
        let (file, proxy) = (self.cluster.config(vios), self.fabric(vios)?.addr().to_string());
        let text = fs::read_to_string(&file)?.replace(&proxy, &self.storage.to_string());
        fs::write(&file, text)?;
        self.cluster.signal(vios, "TERM").await?;
        self.cluster.ended(vios).await?;
        self.cluster.start(vios).await
    }

    /// Where a node listens; empty for a name that is none.
    pub fn addr(&self, name: &str) -> &str {
        self.cluster.addr(name)
    }

    /// As [`Cluster::output`].
    ///
    /// # Errors
    /// As [`Cluster::output`].
    pub async fn output(&self, args: &[&str]) -> Result<Output> {
        self.cluster.output(args).await
    }

    /// As [`Cluster::run`].
    ///
    /// # Errors
    /// As [`Cluster::run`].
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        self.cluster.run(args).await
    }

    /// Leaves logs and volumes behind, and says where.
    pub fn keep_files(&mut self) {
        self.cluster.keep_files();
    }

    /// As [`Cluster::keep`].
    pub fn keep(self) -> Vec<u32> {
        self.cluster.keep()
    }

    /// The processes.
    pub fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// The proxy between a VIOS and the storage.
    ///
    /// # Errors
    /// There is no such VIOS.
    pub fn fabric(&self, vios: &str) -> Result<&Fabric> {
        self.fabrics.get(vios).with_context(|| format!("{vios} is no VIOS"))
    }

    /// The socket of a disk.
    pub fn socket(&self, lu: u64) -> PathBuf {
        self.dir().join(PHYP).join(format!("lu{lu}.sock"))
    }

    /// How NBD clients name a disk.
    pub fn uri(&self, lu: u64) -> String {
        format!("nbd+unix:///?socket={}", self.socket(lu).display())
    }

    /// The directory of it all.
    pub fn dir(&self) -> &Path {
        self.cluster.dir()
    }

    /// What `lu ls` answers.
    ///
    /// # Errors
    /// It gives no JSON.
    pub async fn lus(&self) -> Result<Value> {
        self.answer(&["lu", "ls", "--cluster", "cluster.toml"]).await
    }

    /// What a command of the cluster's operator answers, whatever its exit code.
    ///
    /// # Errors
    /// It gives no JSON.
    pub async fn answer(&self, words: &[&str]) -> Result<Value> {
        let form = ["--certs", "tool", "--output", "json"];
        let output = self.cluster.output(&[words, &form].concat()).await?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Asks for the LUs until `pick` finds in them what it looks for.
    ///
    /// # Errors
    /// It does not within `bound`; with the last answer.
    pub async fn until<T>(
        &self,
        bound: Duration,
        what: &str,
        pick: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T> {
        self.seen(bound, what, &["lu", "ls", "--cluster", "cluster.toml"], pick).await
    }

    /// The same for what another command of the cluster's operator answers.
    async fn seen<T>(
        &self,
        bound: Duration,
        what: &str,
        words: &[&str],
        mut pick: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T> {
        let mut last = Value::Null;
        let looking = async {
            let mut looks = interval(LOOK_INTERVAL);
            loop {
                looks.tick().await;
                last = self.answer(words).await?;
                if let Some(picked) = pick(&last) {
                    return Ok(picked);
                }
            }
        };
        match timeout(bound, looking).await {
            Ok(found) => found,
            Err(_elapsed) => bail!("not seen within {bound:?}: {what}; last: {last:#}"),
        }
    }
}

fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

/// Lets time pass in which nothing is done to the disks.
async fn pass(time: Duration) {
    let mut ticks = interval(time);
    ticks.tick().await;
    ticks.tick().await;
}
