//! A client's hypervisor and two VIOSes in one process, with a TCP proxy in each way to a storage
//! that is none of theirs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::{Role, Roles};
use vioduct_runtime::Node;
use vioduct_tests::fault::{TcpProxy, TcpProxyConfig};
use vioduct_transport::TransportConfig;
use vioduct_vios::dsa::limits::DsaLimits;
use vioduct_vios::lpar::{LparConfig, LparDisk, OutsideLu, Records};
use vioduct_vios::nbd::client::Address;
use vioduct_vios::nbd::server::{Config, Listener, OneExport, serve};
use vioduct_vios::outside::{Export, OutsideConfig, Server};
use vioduct_vios::redirect::limits::{InitiatorLimits, OwnerLimits, RelayLimits};
use vioduct_vios::roles::vios::{ViosConfig, ViosRole};

use super::client::{BOUND, until};
use super::double::Double;
use super::nodes::{A, LU, any, know_vioses, layout, link, node};

pub(crate) struct Vios {
    node: Node,
    role: ViosRole,
    /// Its way to the storage.
    pub(crate) gateway: TcpProxy,
}

impl Vios {
    async fn start(credentials: &Arc<Credentials>, storage: SocketAddr) -> Self {
        let node = node(credentials).await;
        let gateway = TcpProxy::start(TcpProxyConfig { listen: any(), target: storage }).unwrap();
        let export = Export { name: "double".to_owned(), is_sole: false };
        let outside = OutsideConfig {
            name: "gateway".to_owned(),
            server: Server(Address::Tcp(gateway.addr())),
            exports: BTreeMap::from([(LU, export)]),
            limits: InitiatorLimits::default(),
        };
        let config = ViosConfig {
            adapters: Vec::new(),
            outside: Some(outside),
            limits: RelayLimits { hysteresis: Duration::from_millis(100), ..Default::default() },
            dsa: DsaLimits { steady_for: Duration::from_millis(500), ..Default::default() },
            fabric: TransportConfig::default(),
        };
        let role = ViosRole::start(&node, &layout().into(), config).await.unwrap();
        Self { node, role, gateway }
    }

    async fn stop(self) {
        self.role.close().await;
        self.node.shutdown(BOUND).await;
    }
}

pub(crate) struct Site {
    dir: TempDir,
    request_life: Option<Duration>,
    pub(crate) storage: Arc<Double>,
    server: JoinHandle<()>,
    pub(crate) a: Vios,
    b: Vios,
    phyp: Node,
    disk: Option<Arc<LparDisk>>,
}

impl Site {
    /// Served, with the client's own VIOS as the exit.
    pub(crate) async fn start(request_life: Option<Duration>) -> Self {
        let storage = Arc::new(Double::new());
        let listener = TcpListener::bind(any()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let export = OneExport::new("double", Arc::clone(&storage));
        let server = tokio::spawn(async move {
            let never = std::future::pending();
            serve(Listener::Tcp(listener), export, Config::default(), never).await.unwrap();
        });
        let mut ca = DevCa::new("outside", UnixTime::now()).unwrap();
        let mut issue =
            |name: &str, role| Arc::new(ca.node(name, Roles::from_iter([role])).unwrap());
        let a = Vios::start(&issue("a", Role::Vios), addr).await;
        let b = Vios::start(&issue("b", Role::Vios), addr).await;
        link(&a.node, &b.node).await;
        let phyp = node(&issue("phyp", Role::Phyp)).await;
        for node in [&a.node, &b.node] {
            link(&phyp, node).await;
        }
        know_vioses(&phyp).await;
        let dir = TempDir::new().unwrap();
        let disk = open(&phyp, &dir, request_life).await;
        until(&disk, |figures| figures.exit == Some(A)).await;
        let disk = Some(Arc::new(disk));
        Self { dir, request_life, storage, server, a, b, phyp, disk }
    }

    pub(crate) fn disk(&self) -> &Arc<LparDisk> {
        self.disk.as_ref().unwrap()
    }

    /// Without a word to anybody.
    pub(crate) fn kill_owner(&mut self) {
        self.disk = None;
    }

    pub(crate) async fn close_owner(&mut self) {
        self.disk.take().unwrap().close(BOUND).await;
    }

    pub(crate) async fn open_again(&mut self) {
        self.disk = Some(Arc::new(open(&self.phyp, &self.dir, self.request_life).await));
    }

    pub(crate) async fn stop(self) {
        self.disk().close(BOUND).await;
        self.phyp.shutdown(BOUND).await;
        self.a.stop().await;
        self.b.stop().await;
        self.server.abort();
    }
}

async fn open(phyp: &Node, dir: &TempDir, request_life: Option<Duration>) -> LparDisk {
    let outside = OutsideLu { records: Records::Dir(dir.path().to_owned()), request_life };
    let config = LparConfig {
        lu: LU,
        client: String::new(),
        entries: layout().entries(1, LU.0),
        limits: OwnerLimits::default(),
        outside: Some(outside),
    };
    LparDisk::open(phyp, config, BOUND).await.unwrap()
}
