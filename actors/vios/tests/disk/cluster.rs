//! Storage, two VIOSes and a client's hypervisor: four nodes in one process, over loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::{NodeName, Roles};
use vioduct_runtime::{Access, ActorName, ActorRef, LocalRef, Node, RestartPolicy};
use vioduct_transport::seam::Surroundings;
use vioduct_transport::{Endpoint, TransportConfig};
use vioduct_vios::carry::{CarriedCall, CarriedWord};
use vioduct_vios::cke::{CKE_NAME, Cke, PathNews, Peer, PeerSeen, Redirect, VIOS_NAME, Vios};
use vioduct_vios::fabric::FabricEnd;
use vioduct_vios::lpar::{ClientLpar, Entry, EntryFound, Figures, Look, LparDisk};
use vioduct_vios::redirect::Epoch;
use vioduct_vios::redirect::hold::Fence;
use vioduct_vios::redirect::limits::{OwnerLimits, RelayLimits, StoreLimits};
use vioduct_vios::redirect::name::{Holder, LuId, OwnerId, ViosId};
use vioduct_vios::redirect::owner::Attachment;
use vioduct_vios::repository::actor::Repository;
use vioduct_vios::repository::volume::Volume;

pub(crate) const SIZE: u64 = 8 << 20;
const LU: LuId = LuId(7);
const VIOSES: [(&str, u32); 2] = [("a", 1), ("b", 2)];
const BOUND: Duration = Duration::from_secs(20);
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

fn vioses() -> BTreeMap<NodeName, ViosId> {
    VIOSES.into_iter().map(|(name, id)| (name.parse().unwrap(), ViosId(id))).collect()
}

async fn node(credentials: &Arc<Credentials>) -> Node {
    Node::builder(Arc::clone(credentials)).workers(1).start().await.unwrap()
}

struct Storage {
    node: Node,
    fabric: Endpoint,
    addr: SocketAddr,
}

impl Storage {
    async fn start(credentials: &Arc<Credentials>, dir: &Path, run: u64, addr: SocketAddr) -> Self {
        let node = node(credentials).await;
        let opened = Volume::open(dir, run).unwrap();
        let limits = StoreLimits::default();
        let mut repository = Some(Repository::new(opened, limits, vioses()).unwrap());
        let actor = node.actor(move || repository.take().expect("it is made once"));
        let actor = actor.restart(RestartPolicy::never()).start().await.unwrap();
        let end = FabricEnd::<Repository, CarriedCall>::new(actor.now().unwrap());
        let fabric = fabric(credentials, run, addr, end);
        let addr = fabric.local_addr().unwrap();
        Self { node, fabric, addr }
    }

    async fn stop(self) {
        self.fabric.close().await;
        self.node.shutdown(LONG).await;
    }
}

fn fabric(
    credentials: &Arc<Credentials>,
    run: u64,
    addr: SocketAddr,
    end: impl vioduct_transport::Inbound,
) -> Endpoint {
    let config = fabric_config();
    let surroundings = Surroundings::bind(addr, config.socket_buffer_bytes).unwrap();
    Endpoint::new(config, run, Arc::clone(credentials), surroundings, Arc::new(end)).unwrap()
}

struct ViosNode {
    node: Node,
    redirect: LocalRef<Redirect>,
    fabric: Endpoint,
}

impl ViosNode {
    async fn start(credentials: &Arc<Credentials>, id: u32, storage: SocketAddr) -> Self {
        let node = node(credentials).await;
        let limits = RelayLimits::default();
        let mut redirect = Some(Redirect::new(limits, ViosId(id), 1).unwrap());
        let redirect = node.actor(move || redirect.take().expect("it is made once"));
        let redirect =
            redirect.restart(RestartPolicy::never()).named(ActorName::new(VIOS_NAME).unwrap());
        let redirect = redirect.accept::<CarriedCall>(Access::nodes()).start().await.unwrap();
        let redirect = redirect.now().unwrap();
        let front = redirect.clone();
        let cke = node.actor(move || Cke::new(front.clone(), vioses())).beside(&redirect);
        let cke = cke.named(ActorName::new(CKE_NAME).unwrap());
        let cke = cke.accept::<CarriedCall>(Access::nodes()).accept::<CarriedWord>(Access::nodes());
        cke.accept::<PathNews>(Access::nodes()).start().await.unwrap();
        let end = FabricEnd::<Redirect, CarriedWord>::new(redirect.clone());
        let fabric = fabric(credentials, 1, any(), end);
        fabric.connect("storage".parse().unwrap(), storage).await.unwrap();
        Self { node, redirect, fabric }
    }

    async fn meet(&self, name: &str, vios: u32, addr: SocketAddr) {
        let name: NodeName = name.parse().unwrap();
        self.node.connect(name.clone(), addr).await.unwrap();
        let cke_name = ActorName::new(CKE_NAME).unwrap();
        let cke: ActorRef<Peer> = self.node.lookup(&name, &cke_name).await.unwrap();
        self.redirect.tell(PeerSeen { vios: ViosId(vios), cke }).await.unwrap();
    }
}

pub(crate) struct Cluster {
    credentials: Arc<Credentials>,
    dir: TempDir,
    runs: u64,
    storage: Option<Storage>,
    vioses: Vec<Option<ViosNode>>,
    phyp: Node,
    owner: LocalRef<ClientLpar>,
    pub(crate) disk: Arc<LparDisk>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        Volume::create(dir.path(), 5).unwrap();
        let opened = Volume::open(dir.path(), 1).unwrap();
        opened.volume.create_lu(LU, SIZE, opened.start.identity, Epoch::NONE).unwrap();
        drop(opened);
        let mut ca = DevCa::new("disks", UnixTime::now()).unwrap();
        let mut issue = |name: &str| Arc::new(ca.node(name, Roles::none()).unwrap());
        let credentials = issue("storage");
        let storage = Storage::start(&credentials, dir.path(), 1, any()).await;
        let mut vioses = Vec::new();
        for (name, id) in VIOSES {
            vioses.push(ViosNode::start(&issue(name), id, storage.addr).await);
        }
        for (this, (name, id)) in [(1, VIOSES[0]), (0, VIOSES[1])] {
            let addr = vioses[1 - this].node.local_addr().unwrap();
            vioses[this].meet(name, id, addr).await;
        }
        let phyp = node(&issue("phyp")).await;
        let owner = attach(&phyp, &vioses).await;
        let disk = Arc::new(LparDisk::new(owner.clone(), SIZE, 64));
        let (storage, vioses) = (Some(storage), vioses.into_iter().map(Some).collect());
        Self { credentials, dir, runs: 1, storage, vioses, phyp, owner, disk }
    }

    pub(crate) async fn figures(&self) -> Figures {
        self.owner.ask(Look, BOUND).await.unwrap()
    }

    /// The client's node, and its way to a VIOS.
    pub(crate) async fn by_hand(&self, vios: usize) -> (&Node, ActorRef<Vios>) {
        let name = VIOSES[vios].0.parse().unwrap();
        let vios = self.phyp.lookup(&name, &ActorName::new(VIOS_NAME).unwrap()).await.unwrap();
        (&self.phyp, vios)
    }

    pub(crate) async fn cut_fabric(&mut self, vios: usize) {
        let fabric = self.vioses[vios].as_ref().unwrap().fabric.clone();
        fabric.disconnect(&"storage".parse().unwrap()).await;
        fabric.close().await;
    }

    pub(crate) async fn kill_vios(&mut self, vios: usize) {
        let vios = self.vioses[vios].take().unwrap();
        vios.fabric.close().await;
        vios.node.shutdown(Duration::ZERO).await;
    }

    pub(crate) async fn restart_storage(&mut self) {
        let storage = self.storage.take().unwrap();
        let addr = storage.addr;
        storage.stop().await;
        self.runs += 1;
        let again = Storage::start(&self.credentials, self.dir.path(), self.runs, addr).await;
        self.storage = Some(again);
    }

    pub(crate) async fn stop(self) {
        self.phyp.shutdown(LONG).await;
        for vios in self.vioses.into_iter().flatten() {
            vios.fabric.close().await;
            vios.node.shutdown(LONG).await;
        }
        if let Some(storage) = self.storage {
            storage.stop().await;
        }
    }
}

async fn attach(phyp: &Node, vioses: &[ViosNode]) -> LocalRef<ClientLpar> {
    let attachment = Attachment {
        lu: LU,
        owner: OwnerId(1),
        holder: Holder(11),
        entries: VIOSES.iter().map(|(_name, id)| ViosId(*id)).collect(),
        is_client_new: false,
        fence: Fence::Epochs,
    };
    let entry = |(name, id): &(&str, u32)| Entry { vios: ViosId(*id), node: name.parse().unwrap() };
    let entries: Vec<Entry> = VIOSES.iter().map(entry).collect();
    let owner = ClientLpar::new(OwnerLimits::default(), attachment, entries, 1);
    let mut owner = Some(owner.unwrap());
    let owner = phyp.actor(move || owner.take().expect("it is made once"));
    let owner = owner.restart(RestartPolicy::never()).accept::<CarriedWord>(Access::nodes());
    let owner = owner.start().await.unwrap();
    let owner = owner.now().unwrap();
    for ((name, id), vios) in VIOSES.iter().zip(vioses) {
        let name: NodeName = name.parse().unwrap();
        phyp.connect(name.clone(), vios.node.local_addr().unwrap()).await.unwrap();
        let actor: ActorRef<Vios> =
            phyp.lookup(&name, &ActorName::new(VIOS_NAME).unwrap()).await.unwrap();
        owner.tell(EntryFound { vios: ViosId(*id), actor }).await.unwrap();
    }
    let opened = async {
        while owner.ask(Look, BOUND).await.unwrap().size == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(BOUND, opened).await.expect("the disk is there");
    owner
}
