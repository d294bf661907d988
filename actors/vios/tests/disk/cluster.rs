//! Storage, two VIOSes and a client's hypervisor: four nodes in one process, over loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::{Role, Roles};
use vioduct_runtime::{ActorName, ActorRef, Node};
use vioduct_transport::TransportConfig;
use vioduct_vios::dsa::limits::DsaLimits;
use vioduct_vios::lpar::{Figures, LparConfig, LparDisk};
use vioduct_vios::redirect::limits::{OwnerLimits, RelayLimits, StoreLimits};
use vioduct_vios::redirect::name::{LuId, ViosId};
use vioduct_vios::roles::layout::{Layout, Place};
use vioduct_vios::roles::storage::{StorageConfig, StorageRole};
use vioduct_vios::roles::vios::{AdapterConfig, ViosConfig, ViosRole};
use vioduct_vios::vsa::{Adapter, VSA_NAME};

pub(crate) const SIZE: u64 = 8 << 20;
/// Even numbers: their clients enter by the first VIOS.
const LU: LuId = LuId(8);
const OTHER_LU: LuId = LuId(10);
const STORAGE: &str = "storage";
pub(crate) const BOUND: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(10);

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// The fabric's links: silence is noticed soon.
fn fabric_config() -> TransportConfig {
    TransportConfig {
        keep_alive: Duration::from_millis(200),
        idle_timeout: Duration::from_secs(1),
        backoff_max: Duration::from_millis(500),
        ..TransportConfig::default()
    }
}

fn layout() -> Layout {
    let place = |(vios, node): (u32, &str)| Place {
        vios: ViosId(vios),
        node: node.parse().unwrap(),
        cec: 1,
    };
    Layout::new([(1, "a"), (2, "b")].map(place).into()).unwrap()
}

async fn node(credentials: &Arc<Credentials>) -> Node {
    Node::builder(Arc::clone(credentials)).workers(1).start().await.unwrap()
}

async fn link(one: &Node, other: &Node) {
    one.connect(other.name().clone(), other.local_addr().unwrap()).await.unwrap();
}

struct Storage {
    node: Node,
    role: StorageRole,
}

impl Storage {
    async fn start(credentials: &Arc<Credentials>, dir: PathBuf, listen: SocketAddr) -> Self {
        let node = node(credentials).await;
        let config = StorageConfig {
            dir,
            ports: vec![listen],
            lus: BTreeMap::from([(LU, SIZE), (OTHER_LU, SIZE)]),
            limits: StoreLimits::default(),
            fabric: fabric_config(),
        };
        let role = StorageRole::start(&node, &layout().into(), config).await.unwrap();
        Self { node, role }
    }

    fn addr(&self) -> SocketAddr {
        self.role.fabrics()[0].local_addr().unwrap()
    }

    async fn stop(self) {
        self.role.close().await;
        self.node.shutdown(LONG).await;
    }
}

struct ViosNode {
    node: Node,
    role: ViosRole,
}

impl ViosNode {
    async fn start(credentials: &Arc<Credentials>, storage: &Storage) -> Self {
        let node = node(credentials).await;
        let adapter = |name: &str| AdapterConfig {
            name: name.to_owned(),
            listen: any(),
            storage: STORAGE.parse().unwrap(),
            addr: storage.addr(),
        };
        let config = ViosConfig {
            adapters: vec![adapter("fab0")],
            outside: None,
            limits: RelayLimits::default(),
            dsa: DsaLimits::default(),
            fabric: fabric_config(),
        };
        let role = ViosRole::start(&node, &layout().into(), config).await.unwrap();
        Self { node, role }
    }

    async fn stop(self, drain: Duration) {
        self.role.close().await;
        self.node.shutdown(drain).await;
    }
}

pub(crate) struct Cluster {
    credentials: Arc<Credentials>,
    volume: PathBuf,
    _dir: Option<TempDir>,
    storage: Option<Storage>,
    vioses: Vec<Option<ViosNode>>,
    phyp: Node,
    pub(crate) disk: Arc<LparDisk>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(OwnerLimits::default()).await
    }

    /// The disk's owner has these bounds.
    pub(crate) async fn start_with(limits: OwnerLimits) -> Self {
        let dir = TempDir::new().unwrap();
        let volume = dir.path().join("volume");
        Self { _dir: Some(dir), ..Self::start_on(volume, limits).await }
    }

    /// The volume is in this directory.
    pub(crate) async fn start_on(volume: PathBuf, limits: OwnerLimits) -> Self {
        let mut ca = DevCa::new("disks", UnixTime::now()).unwrap();
        let mut issue = |name: &str, role| {
            // A small host's only node has the client's side, too.
            let roles = Roles::from_iter([role, Role::Phyp]);
            Arc::new(ca.node(name, roles).unwrap())
        };
        let credentials = issue(STORAGE, Role::Storage);
        let storage = Storage::start(&credentials, volume.clone(), any()).await;
        let a = ViosNode::start(&issue("a", Role::Vios), &storage).await;
        let b = ViosNode::start(&issue("b", Role::Vios), &storage).await;
        link(&a.node, &b.node).await;
        link(&a.node, &storage.node).await;
        let phyp = node(&issue("phyp", Role::Phyp)).await;
        for node in [&storage.node, &a.node, &b.node] {
            link(&phyp, node).await;
        }
        let disk = Arc::new(open(&phyp, LU, limits).await);
        let vioses = vec![Some(a), Some(b)];
        Self { credentials, volume, _dir: None, storage: Some(storage), vioses, phyp, disk }
    }

    pub(crate) async fn figures(&self) -> Figures {
        self.disk.figures(BOUND).await.unwrap()
    }

    /// Another owner of the same LU.
    pub(crate) async fn open_again(&self) -> LparDisk {
        open(&self.phyp, LU, OwnerLimits::default()).await
    }

    /// An owner of the same LU on the node of its VIOS.
    pub(crate) async fn open_beside_vios(&self, vios: usize) -> LparDisk {
        let node = &self.vioses[vios].as_ref().unwrap().node;
        open(node, LU, OwnerLimits::default()).await
    }

    /// An owner of the other LU.
    pub(crate) async fn open_other(&self) -> LparDisk {
        open(&self.phyp, OTHER_LU, OwnerLimits::default()).await
    }

    /// The client's node, and its way to a VIOS.
    pub(crate) async fn by_hand(&self, vios: usize) -> (&Node, ActorRef<Adapter>) {
        let name = self.vioses[vios].as_ref().unwrap().node.name();
        let vios = self.phyp.lookup(name, &ActorName::new(VSA_NAME).unwrap()).await.unwrap();
        (&self.phyp, vios)
    }

    pub(crate) async fn cut_fabric(&mut self, vios: usize) {
        let fabric = self.vioses[vios].as_ref().unwrap().role.fabrics()[0].clone();
        fabric.disconnect(&STORAGE.parse().unwrap()).await;
        fabric.close().await;
    }

    pub(crate) async fn kill_vios(&mut self, vios: usize) {
        self.vioses[vios].take().unwrap().stop(Duration::ZERO).await;
    }

    pub(crate) async fn restart_storage(&mut self) {
        let storage = self.storage.take().unwrap();
        let addr = storage.addr();
        storage.stop().await;
        let again = Storage::start(&self.credentials, self.volume.clone(), addr).await;
        self.storage = Some(again);
    }

    pub(crate) async fn stop(self) {
        self.disk.close(LONG).await;
        self.phyp.shutdown(LONG).await;
        for vios in self.vioses.into_iter().flatten() {
            vios.stop(LONG).await;
        }
        if let Some(storage) = self.storage {
            storage.stop().await;
        }
    }
}

async fn open(phyp: &Node, lu: LuId, limits: OwnerLimits) -> LparDisk {
    let entries = layout().entries(1, lu.0);
    let config = LparConfig { lu, client: String::new(), entries, limits, outside: None };
    LparDisk::open(phyp, config, BOUND).await.unwrap()
}
