//! Storage, two VIOSes and a client's hypervisor in one process, with a proxy in each way to the
//! storage.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::{Role, Roles};
use vioduct_runtime::{ActorName, ActorRef, Node};
use vioduct_tests::fault::{UdpProxy, UdpProxyConfig};
use vioduct_transport::{Endpoint, TransportConfig};
use vioduct_vios::block::{Extent, Failure, Reply, Request};
use vioduct_vios::disk::Disk;
use vioduct_vios::dsa::DSA_NAME;
use vioduct_vios::dsa::limits::DsaLimits;
use vioduct_vios::dsa::operator::{Listing, Operated, PathRow, Paths};
use vioduct_vios::lpar::{Figures, LparConfig, LparDisk};
use vioduct_vios::redirect::limits::{OwnerLimits, RelayLimits, StoreLimits};
use vioduct_vios::redirect::name::{LuId, ViosId};
use vioduct_vios::roles::layout::{Layout, Place};
use vioduct_vios::roles::storage::{StorageConfig, StorageRole};
use vioduct_vios::roles::vios::{AdapterConfig, ViosConfig, ViosRole};

/// Longer than anything here takes, and much shorter than whatever else could notice a silence.
pub(crate) const BOUND: Duration = Duration::from_secs(30);
const MUCH_LONGER: Duration = Duration::from_secs(600);
const SIZE: u64 = 8 << 20;
const BLOCK: u32 = 4096;
/// An even number: its client enters by the first VIOS.
const LU: LuId = LuId(8);
const STORAGE: &str = "storage";
/// The VIOS by which the client enters, and the other one.
pub(crate) const A: ViosId = ViosId(1);
pub(crate) const B: ViosId = ViosId(2);

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// QUIC notices no silence here.
fn fabric_config() -> TransportConfig {
    TransportConfig {
        keep_alive: Duration::from_secs(60),
        idle_timeout: MUCH_LONGER,
        drain_timeout: Duration::from_millis(100),
        ..TransportConfig::default()
    }
}

/// Nor does the owner.
fn owner_limits() -> OwnerLimits {
    OwnerLimits { silence_max: MUCH_LONGER, open_max: MUCH_LONGER, ..OwnerLimits::default() }
}

fn layout() -> Layout {
    let place = |(vios, node): (ViosId, &str)| Place { vios, node: node.parse().unwrap(), cec: 1 };
    Layout::new([(A, "a"), (B, "b")].map(place).into()).unwrap()
}

async fn node(credentials: &Arc<Credentials>) -> Node {
    Node::builder(Arc::clone(credentials)).workers(1).start().await.unwrap()
}

async fn link(one: &Node, other: &Node) {
    one.connect(other.name().clone(), other.local_addr().unwrap()).await.unwrap();
}

/// A VIOS, with a proxy before each of its adapters.
pub(crate) struct Vios {
    pub(crate) node: Node,
    role: ViosRole,
    pub(crate) fabrics: Vec<UdpProxy>,
    operated: ActorRef<Operated>,
}

impl Vios {
    async fn start(credentials: &Arc<Credentials>, storage: &[SocketAddr], dsa: DsaLimits) -> Self {
        let node = node(credentials).await;
        let proxy = |target: &SocketAddr| {
            let config = UdpProxyConfig { listen: any(), target: *target, seed: 1 };
            UdpProxy::start(config).unwrap()
        };
        let fabrics: Vec<UdpProxy> = storage.iter().map(proxy).collect();
        let adapter = |(number, fabric): (usize, &UdpProxy)| AdapterConfig {
            name: format!("fab{number}"),
            listen: any(),
            storage: STORAGE.parse().unwrap(),
            addr: fabric.addr(),
        };
        let adapters = fabrics.iter().enumerate().map(adapter).collect();
        let (limits, fabric) = (RelayLimits::default(), fabric_config());
        let config = ViosConfig { adapters, outside: None, limits, dsa, fabric };
        let role = ViosRole::start(&node, &layout().into(), config).await.unwrap();
        let name = ActorName::new(DSA_NAME).unwrap();
        let operated = node.lookup(node.name(), &name).await.unwrap();
        Self { node, role, fabrics, operated }
    }

    /// As operators see them.
    pub(crate) async fn paths(&self) -> Vec<PathRow> {
        self.listing().await.paths
    }

    pub(crate) async fn listing(&self) -> Listing {
        self.operated.ask(Paths, BOUND).await.unwrap()
    }

    pub(crate) const fn operated(&self) -> &ActorRef<Operated> {
        &self.operated
    }

    async fn stop(self) {
        self.role.close().await;
        self.node.shutdown(BOUND).await;
    }
}

pub(crate) struct Site {
    _dir: TempDir,
    storage: (Node, StorageRole),
    pub(crate) a: Vios,
    pub(crate) b: Vios,
    phyp: Node,
    disk: LparDisk,
    /// Blocks written so far.
    blocks: u64,
    longest: Duration,
}

impl Site {
    /// The client's VIOS has so many adapters, the other one has one.
    pub(crate) async fn start(adapters: usize, dsa: DsaLimits) -> Self {
        let dir = TempDir::new().unwrap();
        let mut ca = DevCa::new("fabric", UnixTime::now()).unwrap();
        let mut issue =
            |name: &str, role| Arc::new(ca.node(name, Roles::from_iter([role])).unwrap());
        let storage = node(&issue(STORAGE, Role::Storage)).await;
        let config = StorageConfig {
            dir: dir.path().join("volume"),
            ports: vec![any(); adapters],
            lus: BTreeMap::from([(LU, SIZE)]),
            limits: StoreLimits::default(),
            fabric: fabric_config(),
        };
        let role = StorageRole::start(&storage, &layout().into(), config).await.unwrap();
        let port = |fabric: &Endpoint| fabric.local_addr().unwrap();
        let ports: Vec<_> = role.fabrics().iter().map(port).collect();
        let a = Vios::start(&issue("a", Role::Vios), &ports, dsa.clone()).await;
        let b = Vios::start(&issue("b", Role::Vios), &ports[..1], dsa).await;
        link(&a.node, &b.node).await;
        let phyp = node(&issue("phyp", Role::Phyp)).await;
        for node in [&storage, &a.node, &b.node] {
            link(&phyp, node).await;
        }
        let config = LparConfig {
            lu: LU,
            client: String::new(),
            entries: layout().entries(1, LU.0),
            limits: owner_limits(),
            outside: None,
        };
        let disk = LparDisk::open(&phyp, config, BOUND).await.unwrap();
        let mut site = Self {
            _dir: dir,
            storage: (storage, role),
            a,
            b,
            phyp,
            disk,
            blocks: 0,
            longest: Duration::ZERO,
        };
        site.until(async |site| site.figures().await.exit == Some(A)).await;
        site
    }

    pub(crate) async fn figures(&self) -> Figures {
        self.disk.figures(BOUND).await.unwrap()
    }

    /// Writes and reads until that is so.
    pub(crate) async fn until(&mut self, is_so: impl AsyncFn(&Self) -> bool) {
        let reached = async {
            while !is_so(self).await {
                self.write_and_read(1).await;
            }
        };
        timeout(BOUND, reached).await.expect("it comes to that");
    }

    /// Writes so many blocks and reads each back; the longest that one request took.
    pub(crate) async fn write_and_read(&mut self, blocks: u64) -> Duration {
        let mut longest = Duration::ZERO;
        let range: Range<u64> = self.blocks..self.blocks + blocks;
        for block in range {
            let data = Bytes::from(vec![u8::try_from(block % 251).unwrap(); BLOCK as usize]);
            let offset = block % (SIZE / u64::from(BLOCK)) * u64::from(BLOCK);
            let extent = Extent { offset, length: BLOCK };
            let write = Request::Write { offset, data: data.clone(), fua: false };
            let done = [(write, Reply::Done), (Request::Read { extent }, Reply::Data(data))];
            for (request, reply) in done {
                let began = Instant::now();
                let answer = timeout(BOUND, self.disk.execute(request)).await.expect("an answer");
                assert_eq!(answer, Ok::<_, Failure>(reply), "block {block}");
                longest = longest.max(began.elapsed());
            }
        }
        self.blocks += blocks;
        self.longest = self.longest.max(longest);
        longest
    }

    /// So many writes of so many bytes each, all at once; how long they took.
    pub(crate) async fn write_at_once(&mut self, writes: u64, bytes: u32) -> Duration {
        let data = Bytes::from(vec![7; bytes as usize]);
        let write = |number: u64| {
            let offset = number * u64::from(bytes) % SIZE;
            self.disk.execute(Request::Write { offset, data: data.clone(), fua: false })
        };
        let began = Instant::now();
        let written = timeout(BOUND, join_all((0..writes).map(write))).await.expect("answers");
        assert!(written.iter().all(|answer| *answer == Ok(Reply::Done)), "{written:?}");
        began.elapsed()
    }

    /// The longest that any request took.
    pub(crate) const fn longest(&self) -> Duration {
        self.longest
    }

    /// The storage ends its connection with the client's VIOS, which may come back.
    pub(crate) async fn reset(&self) {
        let a = &self.a.node;
        self.storage.1.fabrics()[0].dismiss(a.name(), a.incarnation(), "a test").await;
    }

    pub(crate) async fn stop(self) {
        self.disk.close(BOUND).await;
        self.phyp.shutdown(BOUND).await;
        self.a.stop().await;
        self.b.stop().await;
        self.storage.1.close().await;
        self.storage.0.shutdown(BOUND).await;
    }
}
