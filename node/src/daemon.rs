//! A running node: credentials, data directory, actors, links to its peers.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::{Credentials, LoadError};
use vioduct_certs::identity::{Identity, Kind, Role};
use vioduct_certs::install::{InstallError, finish, pending};
use vioduct_certs::serial::Serial;
use vioduct_db::role::{DbEnd, DbRoleError, DiskRole};
use vioduct_runtime::membership::{ExpelReason, Seed};
use vioduct_runtime::relay::{self, RelayConfig, RelayError};
use vioduct_runtime::{ClusterConfig, ClusterView, Node, NodeError, Standing};
use vioduct_transport::EndpointError;
use vioduct_transport::seam::ResetSecret;
use vioduct_vios::cluster::cm::{CmConfig, CmError, CmRole, OwnVios};
use vioduct_vios::cluster::local::LocalStores;
use vioduct_vios::roles::RoleError;
use vioduct_vios::roles::phyp::OpenDisks;

use crate::addresses::{self, Addresses};
use crate::config::{CmSettings, ConfigError, DiskRoles, NodeConfig};
use crate::db;
use crate::disks::Disks;
use crate::incarnation::{DataDir, DataDirError};
use crate::reload::{Loaded, Prompt, Watcher};
use crate::renewal::Renewer;
use crate::reporter::Reporter;
use crate::system;
use crate::troubles::Troubles;

/// Where a VIOS keeps what it knows of its cluster, in the data directory.
const CM_DIR: &str = "cluster";

/// Why a node did not start. No packet was sent.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its file is refused. Fault: the operator.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its certificates are refused. Fault: the operator.
    #[error("certificates in {}, which `vioduct ca issue` makes", dir.display())]
    Credentials {
        /// The certificate directory.
        dir: PathBuf,
        /// What is wrong with them.
        #[source]
        source: LoadError,
    },
    /// A certificate whose installation was cut off can't be put in place. Fault: the operator; or
    /// none, when another installation is under way.
    #[error("certificate half installed in {}", dir.display())]
    HalfInstalled {
        /// The certificate directory.
        dir: PathBuf,
        /// Why the installation can't be ended.
        #[source]
        source: InstallError,
    },
    /// The certificate is somebody else's. Fault: the operator.
    #[error(
        "{}: node.name is {name:?}; \
         it must be the name in the certificate in {}, which is for {holder}",
        path.display(), dir.display()
    )]
    Holder {
        /// The node's file.
        path: PathBuf,
        /// The name in it.
        name: String,
        /// The certificate directory.
        dir: PathBuf,
        /// Whom the certificate is for.
        holder: Box<Identity>,
    },
    /// The certificate does not let the node do what its file says. Fault: the operator.
    #[error(
        "{}: [{table}] needs role {role}, which the certificate in {} does not grant; \
         it is for {holder}: issue another one with `vioduct ca issue --roles`",
        path.display(), dir.display()
    )]
    Role {
        /// The node's file.
        path: PathBuf,
        /// The table in it.
        table: &'static str,
        /// The role.
        role: Role,
        /// The certificate directory.
        dir: PathBuf,
        /// Whom the certificate is for.
        holder: Box<Identity>,
    },
    /// What the node is to do for disks can't be done.
    #[error("disks")]
    Disks(#[from] RoleError),
    /// The node's replicas of the database do not start.
    #[error("the database in {}", dir.display())]
    Db {
        /// Its directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: DbRoleError,
    },
    /// The node's VIOS can't be a member of the cluster.
    #[error("the VIOS's cluster management")]
    Cm(#[from] CmError),
    /// The data directory can't be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The name under which others are to dial it has no address. Fault: the operator's, or none.
    #[error("no address found for {addr}, node.advertise in {}", path.display())]
    Advertise {
        /// The name and port.
        addr: String,
        /// The node's file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nothing can listen there.
    #[error("can't listen on {addr}; correct node.listen in {}", path.display())]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The node's file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The actors' node did not start. Fault: the system.
    #[error(transparent)]
    Node(NodeError),
    /// A peer can't be linked to.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A system actor did not start. Fault: ours.
    #[error("system actors")]
    Actors(#[from] vioduct_runtime::StartError),
    /// Links by third nodes. Fault: ours.
    #[error("links by third nodes")]
    Relay(#[from] RelayError),
}

impl StartError {
    /// Whether files have to be mended before the node can start.
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::HalfInstalled { source: InstallError::Busy { .. }, .. }
            | Self::Advertise { .. } => false,
            Self::Config(_)
            | Self::Credentials { .. }
            | Self::HalfInstalled { .. }
            | Self::Holder { .. }
            | Self::Role { .. } => true,
            Self::Db { source, .. } => db::is_configuration(source),
            Self::Cm(error) => error.is_configuration(),
            Self::DataDir(_)
            | Self::Listen { .. }
            | Self::Disks(_)
            | Self::Node(_)
            | Self::Endpoint(_)
            | Self::Actors(_)
            | Self::Relay(_) => false,
        }
    }
}

/// Reads the certificates that a node's file names, and checks that they are its own.
fn credentials(config: &NodeConfig, now: UnixTime) -> Result<Loaded, StartError> {
    let dir = &config.certs_dir;
    let loaded = Loaded::read(dir, now)
        .map_err(|source| StartError::Credentials { dir: dir.clone(), source })?;
    require_own(config, &loaded.credentials)?;
    Ok(loaded)
}

fn require_own(config: &NodeConfig, credentials: &Credentials) -> Result<(), StartError> {
    let holder = credentials.identity();
    if holder.kind == Kind::Node && holder.name == config.name {
        return require_roles(config, holder);
    }
    Err(StartError::Holder {
        path: config.path.clone(),
        name: config.name.to_string(),
        dir: config.certs_dir.clone(),
        holder: Box::new(holder.clone()),
    })
}

/// Others let a node in by what its certificate grants.
fn require_roles(config: &NodeConfig, holder: &Identity) -> Result<(), StartError> {
    let DiskRoles { storage, phyp, .. } = &config.disks;
    let needed = [
        ("storage", Role::Storage, storage.is_some()),
        ("phyp", Role::Phyp, phyp.is_some()),
        ("db", Role::Db, config.db.is_some()),
        ("cm", Role::Vios, config.cm.is_some_and(|cm| cm.cec.is_some())),
    ];
    let is_missing = |(_, role, is_needed): &(&str, Role, bool)| {
        *is_needed && !holder.roles.iter().any(|granted| granted == *role)
    };
    match needed.into_iter().find(is_missing) {
        None => Ok(()),
        Some((table, role, _is_needed)) => Err(StartError::Role {
            path: config.path.clone(),
            table,
            role,
            dir: config.certs_dir.clone(),
            holder: Box::new(holder.clone()),
        }),
    }
}

fn half_installed(config: &NodeConfig) -> impl FnOnce(InstallError) -> StartError + '_ {
    |source| StartError::HalfInstalled { dir: config.certs_dir.clone(), source }
}

/// What a check found good.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Whom the certificate is for.
    pub identity: Identity,
    /// The certificate that the next start puts in place, because its installation was cut off.
    pub pending: Option<Serial>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.identity)?;
        let Some(serial) = self.pending else { return Ok(()) };
        write!(f, "; installation of certificate {serial} was cut off, the start will finish it")
    }
}

/// Checks all that can be checked without starting. Writes nothing.
///
/// # Errors
/// What [`Daemon::start`] would say of the file and the certificates.
pub fn check(config: &NodeConfig, now: UnixTime) -> Result<Checked, StartError> {
    let waiting = pending(&config.certs_dir, now).map_err(half_installed(config))?;
    if let Some(credentials) = waiting {
        require_own(config, &credentials)?;
        let identity = credentials.identity().clone();
        return Ok(Checked { identity, pending: Some(credentials.serial()) });
    }
    let identity = credentials(config, now)?.credentials.identity().clone();
    Ok(Checked { identity, pending: None })
}

/// A node that runs.
#[derive(Debug)]
pub struct Daemon {
    node: Node,
    drain: Duration,
    watcher: Watcher,
    /// Look-ups of names, and renewal.
    tasks: Vec<JoinHandle<()>>,
    disks: Disks,
    replicas: Option<DiskRole>,
    _cm: Option<CmRole>,
    /// Held while the node runs.
    _data_dir: DataDir,
}

impl Daemon {
    /// Starts a node: when this returns, it listens, its system actors run, and it dials its peers.
    /// An installation of a certificate that was cut off is ended first.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn start(config: NodeConfig, now: UnixTime) -> Result<Self, StartError> {
        // First, so that a second process of this node leaves the certificates alone.
        let data_dir = DataDir::lock(&config.data_dir)?;
        let finished = finish(&config.certs_dir, now).map_err(half_installed(&config))?;
        if let Some(finished) = finished {
            let serial = finished.credentials.serial();
            tracing::warn!(%serial, "installation of a certificate was cut off, now it is done");
        }
        let loaded = credentials(&config, now)?;
        let (peers, named) = Addresses::split(&config.peers);
        let advertise = match &config.advertise {
            Some(addr) => Some(addresses::find(addr, config.listen).await.map_err(|source| {
                let (addr, path) = (addr.to_string(), config.path.clone());
                StartError::Advertise { addr, path, source }
            })?),
            None => None,
        };
        let (run, troubles) = (Run::begin(&data_dir)?, Arc::<Troubles>::default());
        let cluster = ClusterConfig { seeds: peers.clone(), advertise, ..Default::default() };
        let node = start_node(&config, cluster, &loaded, run, &troubles).await?;
        let (endpoint, trust) = (node.endpoint().clone(), loaded.trust_state());
        let reporter = Reporter::new(&node, Arc::clone(&trust), troubles);
        system::start(&node, Arc::new(reporter)).await?;
        relay::start(&node, RelayConfig::default()).await?;
        for Seed { node: name, addr } in &peers {
            node.connect(name.clone(), *addr).await?;
        }
        let replicas = match config.db {
            Some(config) => {
                let dir = config.disk.dir.clone();
                let started = db::start(&node, config).await;
                Some(started.map_err(|source| StartError::Db { dir, source })?)
            }
            None => None,
        };
        let cm = match config.cm {
            Some(settings) => Some(start_cm(&node, settings, config.data_dir.join(CM_DIR)).await?),
            None => None,
        };
        let disks = match &cm {
            Some(cm) => Disks::start(&node, config.disks, cm.sight()).await?,
            None => Disks::default(),
        };
        let mut tasks = Vec::new();
        if !named.is_empty() {
            let addresses = Addresses::new(config.listen, peers, named);
            tasks.push(tokio::spawn(addresses.keep(node.clone())));
        }
        let (name, dir) = (config.name, config.certs_dir);
        if let Some(renewal) = config.renewal {
            let (dir, trust) = (dir.clone(), Arc::clone(&trust));
            let renewer = Renewer::new(renewal, name, dir, endpoint.clone(), trust);
            tasks.push(tokio::spawn(renewer.run()));
        }
        let watcher = Watcher::new(dir, loaded, endpoint, disks.fabrics(), trust);
        let drain = config.transport.drain_timeout;
        Ok(Self { node, drain, watcher, tasks, disks, replicas, _cm: cm, _data_dir: data_dir })
    }

    /// Its end of the cluster: actors and links.
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// The disks of clients that it carries, for a program that uses them without NBD in this
    /// process; none unless the node's file has `[phyp]`.
    pub fn disks(&self) -> Option<&OpenDisks> {
        self.disks.open()
    }

    /// Waits until this run of the node is over for its cluster, and says why.
    pub async fn expelled(&self) -> ExpelReason {
        let is_expelled = |view: &ClusterView| matches!(view.standing, Standing::Expelled(_));
        loop {
            let view = self.node.cluster_is(is_expelled).await;
            if let Standing::Expelled(reason) = view.standing {
                return reason;
            }
        }
    }

    /// Waits until the node can do nothing more for the database, and says why. What it
    /// acknowledged is not lost, but it has to be stopped: others would wait for it in vain.
    /// Cancel-safe.
    pub async fn database_ended(&self) -> DbEnd {
        match &self.replicas {
            Some(replicas) => replicas.ended().await,
            None => std::future::pending().await,
        }
    }

    /// How long to wait before [`look_at_credentials`](Self::look_at_credentials).
    pub const fn pause(&self) -> Duration {
        self.watcher.pause()
    }

    /// Takes changed certificates into use.
    pub async fn look_at_credentials(&mut self, now: UnixTime) {
        self.watcher.look(Prompt::Poll, now).await;
    }

    /// Reads the certificates again, changed or not, and says at once what is wrong with them.
    pub async fn reload_credentials(&mut self, now: UnixTime) {
        self.watcher.look(Prompt::Signal, now).await;
    }

    /// Leaves in order: clients' disks end, and the fabric is closed; actors take no more and
    /// finish what they have, then every link is closed; what was sent is acknowledged first.
    /// `drain_timeout` at most for each of the latter two.
    pub async fn close(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.disks.close().await;
        if let Some(replicas) = &self.replicas {
            replicas.close().await;
        }
        self.node.shutdown(self.drain).await;
    }
}

async fn start_cm(node: &Node, settings: CmSettings, dir: PathBuf) -> Result<CmRole, CmError> {
    let CmSettings { cec, limits } = settings;
    let config = CmConfig {
        stores: LocalStores::open(dir)?,
        vios: cec.map(|cec| OwnVios { cec, software: env!("CARGO_PKG_VERSION").to_owned() }),
        // The cluster's tables lie on the system's shard.
        schema: Arc::new(db::schema(0)),
        limits,
    };
    CmRole::start(node, config).await
}

/// What a run has of its data directory.
struct Run {
    incarnation: u64,
    reset_secret: ResetSecret,
}

impl Run {
    fn begin(dir: &DataDir) -> Result<Self, DataDirError> {
        Ok(Self { incarnation: dir.begin_run()?, reset_secret: dir.reset_secret()? })
    }
}

async fn start_node(
    config: &NodeConfig,
    cluster: ClusterConfig,
    loaded: &Loaded,
    run: Run,
    troubles: &Arc<Troubles>,
) -> Result<Node, StartError> {
    let mut builder = Node::builder(Arc::new(loaded.credentials.clone()));
    if let Some(workers) = config.workers {
        builder = builder.workers(workers);
    }
    let troubles = Arc::<Troubles>::clone(troubles);
    builder = builder.incarnation(run.incarnation).reset_secret(run.reset_secret);
    builder = builder.link_listener(troubles).listen(config.listen);
    let path = || config.path.clone();
    let builder = builder.transport(config.transport.clone()).cluster(cluster);
    builder.start().await.map_err(|error| match error {
        NodeError::Listen { addr, source } => StartError::Listen { addr, path: path(), source },
        other => StartError::Node(other),
    })
}
