//! A repository, two VIOSes and a client's hypervisor in one process, with a proxy in the fabric of
//! each VIOS; the bytes lie on a storage double.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::{NodeName, Role, Roles};
use vioduct_runtime::Node;
use vioduct_tests::fault::{UdpProxy, UdpProxyConfig};
use vioduct_transport::TransportConfig;
use vioduct_vios::dsa::limits::DsaLimits;
use vioduct_vios::lpar::{LparConfig, LparDisk};
use vioduct_vios::redirect::limits::{OwnerLimits, RelayLimits, StoreLimits};
use vioduct_vios::roles::storage::{StorageConfig, StorageRole};
use vioduct_vios::roles::vios::{AdapterConfig, ViosConfig, ViosRole};

use super::client::{BOUND, SIZE, until};
use super::double::{Behind, Double};
use super::nodes::{A, LU, any, know_vioses, layout, link, node};

fn fabric_config() -> TransportConfig {
    TransportConfig { backoff_max: Duration::from_millis(200), ..TransportConfig::default() }
}

struct Storage {
    node: Node,
    role: StorageRole,
    credentials: Arc<Credentials>,
    volume: PathBuf,
}

impl Storage {
    async fn start(
        credentials: Arc<Credentials>,
        volume: PathBuf,
        listen: SocketAddr,
        double: &Arc<Double>,
    ) -> Self {
        let node = node(&credentials).await;
        let config = StorageConfig {
            dir: volume.clone(),
            ports: vec![listen],
            lus: BTreeMap::from([(LU, SIZE)]),
            limits: StoreLimits::default(),
            fabric: fabric_config(),
        };
        let double = Arc::clone(double);
        let bytes = move |_: &_, _| Ok(Behind(Arc::clone(&double)));
        let role = StorageRole::start_with(&node, &layout().into(), config, bytes).await.unwrap();
        Self { node, role, credentials, volume }
    }

    fn addr(&self) -> SocketAddr {
        self.role.fabrics()[0].local_addr().unwrap()
    }

    async fn stop(self) {
        self.role.close().await;
        self.node.shutdown(BOUND).await;
    }
}

struct Vios {
    node: Node,
    role: ViosRole,
    fabric: UdpProxy,
}

impl Vios {
    async fn start(credentials: &Arc<Credentials>, storage: &Storage) -> Self {
        let node = node(credentials).await;
        let proxy = UdpProxyConfig { listen: any(), target: storage.addr(), seed: 1 };
        let fabric = UdpProxy::start(proxy).unwrap();
        let (storage, addr): (NodeName, _) = (storage.node.name().clone(), fabric.addr());
        let adapter = AdapterConfig { name: "fab0".to_owned(), listen: any(), storage, addr };
        let config = ViosConfig {
            adapters: vec![adapter],
            outside: None,
            limits: RelayLimits { hysteresis: Duration::from_millis(100), ..Default::default() },
            dsa: DsaLimits { steady_for: Duration::from_millis(500), ..Default::default() },
            fabric: fabric_config(),
        };
        let role = ViosRole::start(&node, &layout().into(), config).await.unwrap();
        Self { node, role, fabric }
    }

    async fn stop(self) {
        self.role.close().await;
        self.node.shutdown(BOUND).await;
    }
}

/// Whether both VIOSes lead to one repository, which keeps out what belongs to earlier sessions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fence {
    On,
    /// Each VIOS leads to a repository of its own over the same bytes: neither knows what the
    /// other has opened.
    Off,
}

pub(crate) struct Site {
    _dir: TempDir,
    pub(crate) double: Arc<Double>,
    storages: Vec<Storage>,
    a: Vios,
    b: Vios,
    phyp: Node,
    pub(crate) disk: Arc<LparDisk>,
}

impl Site {
    /// Served, with the client's own VIOS as the exit.
    pub(crate) async fn start(fence: Fence) -> Self {
        let double = Arc::new(Double::new());
        let dir = TempDir::new().unwrap();
        let mut ca = DevCa::new("repository", UnixTime::now()).unwrap();
        let mut issue =
            |name: &str, role| Arc::new(ca.node(name, Roles::from_iter([role])).unwrap());
        let mut storages = Vec::new();
        let names: &[&str] = if fence == Fence::On { &["s1"] } else { &["s1", "s2"] };
        for name in names {
            let credentials = issue(name, Role::Storage);
            storages.push(Storage::start(credentials, dir.path().join(name), any(), &double).await);
        }
        let a = Vios::start(&issue("a", Role::Vios), &storages[0]).await;
        let b = Vios::start(&issue("b", Role::Vios), storages.last().unwrap()).await;
        link(&a.node, &b.node).await;
        let phyp = node(&issue("phyp", Role::Phyp)).await;
        for node in [&storages[0].node, &a.node, &b.node] {
            link(&phyp, node).await;
        }
        know_vioses(&phyp).await;
        let config = LparConfig {
            lu: LU,
            client: String::new(),
            entries: layout().entries(1, LU.0),
            limits: OwnerLimits::default(),
            outside: None,
        };
        let disk = Arc::new(LparDisk::open(&phyp, config, BOUND).await.unwrap());
        until(&disk, |figures| figures.exit == Some(A)).await;
        Self { _dir: dir, double, storages, a, b, phyp, disk }
    }

    /// The fabric of the client's VIOS is silent.
    pub(crate) fn cut_fabric(&self) {
        self.a.fabric.cut_both();
    }

    pub(crate) async fn restart_storage(&mut self) {
        let storage = self.storages.remove(0);
        let (addr, credentials) = (storage.addr(), Arc::clone(&storage.credentials));
        let volume = storage.volume.clone();
        storage.stop().await;
        self.storages.push(Storage::start(credentials, volume, addr, &self.double).await);
    }

    pub(crate) async fn stop(self) {
        self.disk.close(BOUND).await;
        self.phyp.shutdown(BOUND).await;
        self.a.stop().await;
        self.b.stop().await;
        for storage in self.storages {
            storage.stop().await;
        }
    }
}
