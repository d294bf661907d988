//! The server processes: a local file over NBD, a node of a cluster, or a cluster of two nodes.
//!
//! A cluster has two VIOSes, each on a CEC of its own; the client's is that of the first.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use vioduct_certs::UnixTime;
use vioduct_certs::ca::ClusterCa;
use vioduct_certs::ca_dir::IfExists;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::{Identity, NodeName, Role, Roles};
use vioduct_runtime::Node;
use vioduct_transport::TransportConfig;
use vioduct_vios::dsa::limits::DsaLimits;
use vioduct_vios::file::{self, FileDisk};
use vioduct_vios::nbd::server::{Config, Listener, OneExport};
use vioduct_vios::redirect::limits::{OwnerLimits, RelayLimits, StoreLimits};
use vioduct_vios::redirect::name::{LuId, ViosId};
use vioduct_vios::roles::layout::{Layout, Place};
use vioduct_vios::roles::phyp::{DiskConfig, Front, PhypConfig, PhypRole};
use vioduct_vios::roles::storage::{StorageConfig, StorageRole};
use vioduct_vios::roles::vios::{AdapterConfig, ViosConfig, ViosRole};

const LU: LuId = LuId(2);
/// Nodes that have a process each.
pub(super) const PHYP: &str = "phyp";
pub(super) const VIOSES: [&str; 2] = ["v1", "v2"];
pub(super) const STORAGE: &str = "storage";
/// Nodes of one process: the client's CEC, and the other one with the storage.
const HERE: &str = "here";
const THERE: &str = "there";

/// What a server process is.
#[derive(Debug, Subcommand)]
pub(crate) enum ServerOptions {
    /// A local file.
    File {
        #[arg(long)]
        file: PathBuf,
        #[arg(long)]
        socket: PathBuf,
    },
    /// Client, VIOSes and repository.
    Cluster(Whole),
    /// The repository alone.
    Storage {
        #[command(flatten)]
        common: Common,
        #[arg(long)]
        volume: PathBuf,
        #[arg(long)]
        bytes: u64,
    },
    /// A VIOS alone.
    Vios {
        #[command(flatten)]
        common: Common,
        /// The first or the second.
        #[arg(long)]
        number: u32,
        /// Where the storage listens for the fabric; none has no fabric.
        #[arg(long)]
        fabric: Option<SocketAddr>,
    },
    /// The client's side alone.
    Phyp {
        #[command(flatten)]
        common: Common,
        #[arg(long)]
        socket: PathBuf,
    },
}

/// What a process of one node is told.
#[derive(Args, Debug)]
pub(crate) struct Common {
    #[arg(long)]
    credentials: PathBuf,
    /// Largest UDP payload that is tried.
    #[arg(long)]
    mtu_max: Option<u16>,
    /// Nodes to connect to: NAME=ADDR.
    #[arg(long, value_parser = peer)]
    peer: Vec<(NodeName, SocketAddr)>,
}

impl Common {
    fn links(&self) -> TransportConfig {
        let default = TransportConfig::default();
        TransportConfig { mtu_max: self.mtu_max.unwrap_or(default.mtu_max), ..default }
    }
}

/// What a process of a whole cluster is told.
#[derive(Args, Debug)]
pub(crate) struct Whole {
    #[command(flatten)]
    common: Common,
    #[arg(long)]
    volume: PathBuf,
    #[arg(long)]
    bytes: u64,
    #[arg(long)]
    socket: PathBuf,
    /// The client's VIOS has no fabric.
    #[arg(long)]
    redirected: bool,
}

fn peer(text: &str) -> Result<(NodeName, SocketAddr), String> {
    let (name, addr) = text.split_once('=').ok_or("it is NAME=ADDR")?;
    let name = name.parse().map_err(|error| format!("{error}"))?;
    Ok((name, addr.parse().map_err(|error| format!("{error}"))?))
}

/// Issues a certificate for each node into `dir`.
pub(super) fn issue(dir: &Path) -> Result<()> {
    let now = UnixTime::now();
    let validity = std::time::Duration::from_secs(24 * 3600);
    let mut ca = ClusterCa::create("bench".parse()?, validity, now)?;
    let [first, second] = VIOSES;
    for (name, roles) in [
        (PHYP, vec![Role::Phyp]),
        (first, vec![Role::Vios]),
        (second, vec![Role::Vios]),
        (STORAGE, vec![Role::Storage]),
        (HERE, vec![Role::Phyp, Role::Vios]),
        (THERE, vec![Role::Vios, Role::Storage]),
    ] {
        let roles = Roles::from_iter(roles);
        let identity = Identity::node(ca.cluster().clone(), name.parse()?, roles);
        ca.issue(&identity, validity, now)?.write_to(&dir.join(name), IfExists::Refuse)?;
    }
    Ok(())
}

/// Serves until the parent closes our input, which it does by ending, too.
pub(crate) async fn serve(options: ServerOptions) -> Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    match options {
        ServerOptions::File { file, socket } => {
            let disk = FileDisk::open(&file, file::Config::default())?;
            let listener = Listener::Unix(UnixListener::bind(&socket)?);
            let exports = OneExport::new("", Arc::new(disk));
            say(&[])?;
            let until = async { drop(parent_gone().await) };
            vioduct_vios::nbd::server::serve(listener, exports, Config::default(), until).await?;
        }
        ServerOptions::Cluster(whole) => cluster(whole).await?,
        ServerOptions::Storage { common, volume, bytes } => {
            let node = start(&common, STORAGE).await?;
            let role = storage(&node, volume, bytes, &layout(VIOSES)?, common.links()).await?;
            let fabric = fabric_of(&role)?;
            say(&[node.local_addr()?, fabric])?;
            parent_gone().await?;
        }
        ServerOptions::Vios { common, number, fabric } => {
            let layout = layout(VIOSES)?;
            let own =
                VIOSES.get(number.saturating_sub(1) as usize).context("the first or second")?;
            let node = start(&common, own).await?;
            let _role =
                vios(&node, &layout, fabric.map(|addr| (STORAGE, addr)), common.links()).await?;
            say(&[node.local_addr()?])?;
            parent_gone().await?;
        }
        ServerOptions::Phyp { common, socket } => {
            let node = start(&common, PHYP).await?;
            let _role = phyp(&node, layout(VIOSES)?, socket).await?;
            say(&[])?;
            parent_gone().await?;
        }
    }
    Ok(())
}

/// Two nodes in one process.
async fn cluster(whole: Whole) -> Result<()> {
    let Whole { mut common, volume, bytes, socket, redirected } = whole;
    let layout = layout([HERE, THERE])?;
    let there = start(&common, THERE).await?;
    let storage = storage(&there, volume, bytes, &layout, common.links()).await?;
    let fabric = (THERE, fabric_of(&storage)?);
    let _vios_there = vios(&there, &layout, Some(fabric), common.links()).await?;
    common.peer.push((THERE.parse()?, there.local_addr()?));
    let here = start(&common, HERE).await?;
    let _vios_here = vios(&here, &layout, (!redirected).then_some(fabric), common.links()).await?;
    let _phyp = phyp(&here, layout, socket).await?;
    say(&[])?;
    parent_gone().await
}

fn layout(nodes: [&str; 2]) -> Result<Layout> {
    let mut places = Vec::new();
    for (number, node) in (1..).zip(nodes) {
        places.push(Place { vios: ViosId(number), node: node.parse()?, cec: number });
    }
    Ok(Layout::new(places)?)
}

async fn start(common: &Common, name: &str) -> Result<Node> {
    let credentials = Credentials::load(&common.credentials.join(name), UnixTime::now())?;
    let node = Node::builder(Arc::new(credentials)).transport(common.links()).start().await?;
    for (name, addr) in &common.peer {
        node.connect(name.clone(), *addr).await?;
    }
    Ok(node)
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn storage(
    node: &Node,
    dir: PathBuf,
    bytes: u64,
    layout: &Layout,
    links: TransportConfig,
) -> Result<StorageRole> {
    let config = StorageConfig {
        dir,
        ports: vec![any()],
        lus: BTreeMap::from([(LU, bytes)]),
        limits: StoreLimits::default(),
        fabric: links,
    };
    Ok(StorageRole::start(node, &layout.clone().into(), config).await?)
}

/// Where the storage listens for VIOSes.
fn fabric_of(storage: &StorageRole) -> Result<SocketAddr> {
    let fabric = storage.fabrics().first().context("a storage has a fabric")?;
    Ok(fabric.local_addr()?)
}

/// The VIOS that belongs on this node.
async fn vios(
    node: &Node,
    layout: &Layout,
    fabric: Option<(&str, SocketAddr)>,
    links: TransportConfig,
) -> Result<ViosRole> {
    let mut adapters = Vec::new();
    if let Some((storage, addr)) = fabric {
        let (name, storage) = ("fab0".to_owned(), storage.parse()?);
        adapters.push(AdapterConfig { name, listen: any(), storage, addr });
    }
    let config = ViosConfig {
        adapters,
        outside: None,
        limits: RelayLimits::default(),
        dsa: DsaLimits::default(),
        fabric: links,
    };
    Ok(ViosRole::start(node, &layout.clone().into(), config).await?)
}

/// The client's side, on the first CEC.
async fn phyp(node: &Node, layout: Layout, socket: PathBuf) -> Result<PhypRole> {
    let disks = vec![DiskConfig { lu: LU, front: Front::Unix(socket), vtd: None, outside: None }];
    let (sockets, limits) = (std::env::temp_dir(), OwnerLimits::default());
    let config = PhypConfig { cec: 1, sockets, limits };
    Ok(PhypRole::start(node, &layout.into(), config, disks).await?)
}

/// Tells the parent that this process serves, and where its nodes and their fabric listen.
fn say(addresses: &[SocketAddr]) -> Result<()> {
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", addresses.join(" ")).and_then(|()| out.flush()).context("tell the parent")
}

async fn parent_gone() -> Result<()> {
    let (orphaned, gone) = oneshot::channel();
    std::thread::spawn(move || {
        let end = std::io::stdin().read(&mut [0]);
        // The receiver is gone only when the server has ended by itself.
        drop(orphaned.send(end));
    });
    gone.await.context("watch the parent")??;
    Ok(())
}
